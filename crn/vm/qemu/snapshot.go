package qemu

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/crn/vm"
)

// The files of a snapshot. The guest's memory is the very file that the saved machine had it in; copies map it privately, so
// that the kernel keeps one copy in memory of whatever they do not change. All else that makes up the machine is in the state.
const (
	memoryFile   = "memory"
	stateFile    = "state"
	snapshotFile = "snapshot.json"
)

// Bounds of what is taken from a QEMU, which its guest may have got hold of. A state has some hundred KiB.
const (
	maxState   = 64 << 20
	maxAnswers = 1 << 20
)

// snapshot is what snapshotFile says, so that only the same machine is restored, and only from the same bytes.
type snapshot struct {
	Key        string    `json:"key"` // see Driver.SnapshotKey
	MemoryTime time.Time `json:"memory_time"`
	MemorySize int64     `json:"memory_size"` // bytes
	StateHash  string    `json:"state_hash"`  // hex SHA-256

	memory string   // path
	state  *os.File // open while a machine starts from it
}

// SnapshotKey implements [vm.Snapshotter]. A snapshot does not outlast the boot of the host: it need not be flushed to the disk
// then, and never meets another processor.
func (d *Driver) SnapshotKey(ctx context.Context, spec vm.Spec) (string, error) {
	print, err := d.Fingerprint(ctx)
	if err != nil {
		return "", err
	}
	binary, err := d.find()
	if err != nil {
		return "", err
	}
	args, err := arguments(spec, print.Accelerator)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n%q\n", bootID(), print.Version, args)
	for _, path := range []string{binary, spec.Kernel, spec.Initrd} {
		info, err := os.Stat(path)
		if err != nil {
			return "", fmt.Errorf("tell what a snapshot depends on: %w", err)
		}
		fmt.Fprintln(h, path, info.Size(), info.ModTime().UnixNano())
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// reserveMemory makes the file that holds the guest's memory. Its blocks are reserved: on a full disk the guest would be killed
// in the middle of a write to its memory.
func reserveMemory(dir string, spec vm.Spec) (string, error) {
	for _, drive := range spec.Drives {
		if !drive.ReadOnly {
			return "", fmt.Errorf("a machine that writes to %s cannot be copied", drive.Path)
		}
	}
	path := filepath.Join(dir, memoryFile)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return "", fmt.Errorf("make the file of the guest's memory: %w", err)
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, int64(spec.MemoryMiB)<<20); err != nil {
		return "", fmt.Errorf("reserve %d MiB of disk for the guest's memory: %w", spec.MemoryMiB, err)
	}
	return path, nil
}

// memoryArguments put the guest's memory into a file.
func memoryArguments(spec vm.Spec, path string, shared bool) []string {
	share := "off"
	if shared {
		share = "on"
	}
	return []string{
		"-object", fmt.Sprintf("memory-backend-file,id=memory,size=%dM,share=%s,mem-path=%s", spec.MemoryMiB, share, strings.ReplaceAll(path, ",", ",,")),
		"-machine", "memory-backend=memory",
	}
}

// Save implements [vm.Snapshotter].
func (d *Driver) Save(ctx context.Context, saved vm.Machine, dir string) (err error) {
	m, ok := saved.(*machine)
	if !ok || m.memory == "" {
		return errors.New("save machine: it was not started to be copied")
	}
	part, err := os.MkdirTemp(filepath.Dir(dir), ".new-")
	if err == nil {
		err = m.save(ctx, part)
	}
	// There is nothing to flush, and nothing that may still happen to its memory.
	now, cancel := context.WithCancel(ctx)
	cancel()
	err = errors.Join(err, m.Stop(now))
	if err == nil {
		err = describeSnapshot(part, m.key)
	}
	if err == nil {
		err = os.Rename(part, dir)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("save machine %s: %w", m.id, err), os.RemoveAll(part))
	}
	return nil
}

// save stops the guest and brings its state into the folder.
func (m *machine) save(ctx context.Context, part string) error {
	stream, err := socketPair("state")
	if err != nil {
		return err
	}
	defer stream.host.Close()
	defer stream.guest.Close()
	stop := context.AfterFunc(ctx, func() {
		stream.host.Close()
		_ = m.control.SetDeadline(time.Unix(1, 0))
	})
	defer stop()
	control := bufio.NewReader(io.LimitReader(m.control, maxAnswers))
	// QEMU itself stops the guest, when only the last of the state is left to write. Copies then run at once: one that was
	// stopped before would wait to be told.
	err = m.order(control, append(leaveMemory(),
		order{"getfd", with{"fdname": "state"}, stream.guest},
		order{"migrate", with{"uri": "fd:state"}, nil},
	))
	if err != nil {
		return err
	}
	stream.guest.Close() // QEMU has it, and closes it at the end of the state
	f, err := os.OpenFile(filepath.Join(part, stateFile), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := io.Copy(f, io.LimitReader(stream.host, maxState))
	if err == nil && n == maxState {
		err = fmt.Errorf("it has more than %d bytes", maxState)
	}
	if err != nil {
		return fmt.Errorf("read the machine's state: %w", err)
	}
	if err := m.awaitSaved(ctx, control); err != nil {
		return err
	}
	return os.Rename(m.memory, filepath.Join(part, memoryFile))
}

// awaitSaved waits until QEMU says that the state was complete: it notices a moment after its last byte.
func (m *machine) awaitSaved(ctx context.Context, control *bufio.Reader) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		raw, err := m.ask(control, order{command: "query-migrate"})
		if err != nil {
			return err
		}
		var answer struct {
			Status string `json:"status"`
			Reason string `json:"error-desc"`
		}
		if err := json.Unmarshal(raw, &answer); err != nil {
			return err
		}
		switch answer.Status {
		case "completed":
			return nil
		case "failed", "cancelled":
			return fmt.Errorf("QEMU did not save the machine: %s", answer.Reason)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// leaveMemory keeps memory that is in a file out of the state.
func leaveMemory() []order {
	return []order{
		{command: "qmp_capabilities"},
		{command: "migrate-set-capabilities", arguments: with{"capabilities": []any{with{"capability": "x-ignore-shared", "state": true}}}},
	}
}

// describeSnapshot writes the file that makes a folder a snapshot.
func describeSnapshot(dir, key string) error {
	info, err := os.Stat(filepath.Join(dir, memoryFile))
	if err != nil {
		return err
	}
	state, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		return err
	}
	sum := sha256.Sum256(state)
	raw, err := json.Marshal(snapshot{Key: key, MemoryTime: info.ModTime(), MemorySize: info.Size(), StateHash: hex.EncodeToString(sum[:])})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, snapshotFile), raw, 0o600)
}

// openSnapshot reads what is in a folder and makes sure that it is what was saved there. The memory is not read: that would take
// longer than all else. Whoever writes to the file changes its time.
func openSnapshot(dir, key string) (*snapshot, error) {
	raw, err := os.ReadFile(filepath.Join(dir, snapshotFile))
	if err != nil {
		return nil, err
	}
	s := &snapshot{memory: filepath.Join(dir, memoryFile)}
	if err := json.Unmarshal(raw, s); err != nil {
		return nil, err
	}
	if s.Key != key {
		return nil, errors.New("it is of another machine")
	}
	info, err := os.Stat(s.memory)
	if err != nil {
		return nil, err
	}
	if info.Size() != s.MemorySize || !info.ModTime().Equal(s.MemoryTime) {
		return nil, errors.New("its memory was changed")
	}
	if s.state, err = os.Open(filepath.Join(dir, stateFile)); err != nil {
		return nil, err
	}
	h := sha256.New()
	_, err = io.Copy(h, s.state)
	if err == nil {
		_, err = s.state.Seek(0, io.SeekStart)
	}
	if err == nil && hex.EncodeToString(h.Sum(nil)) != s.StateHash {
		err = errors.New("its state was changed")
	}
	if err != nil {
		s.state.Close()
		return nil, err
	}
	return s, nil
}

// stateDescriptor is where a machine that starts from a snapshot finds the state: behind its channel, control and card.
func stateDescriptor(spec vm.Spec) int {
	if spec.Card {
		return cardFile + 1
	}
	return cardFile
}

// arguments start a machine from the snapshot.
func (s *snapshot) arguments(spec vm.Spec) []string {
	return append(memoryArguments(spec, s.memory, false), "-incoming", "defer")
}

// Restore implements [vm.Snapshotter].
func (d *Driver) Restore(ctx context.Context, spec vm.Spec, dir string) (vm.Machine, error) {
	fail := func(err error) (vm.Machine, error) {
		return nil, fmt.Errorf("restore machine %s: %w", spec.ID, err)
	}
	print, err := d.Fingerprint(ctx)
	if err != nil {
		return nil, err
	}
	key, err := d.SnapshotKey(ctx, spec)
	if err != nil {
		return fail(err)
	}
	s, err := openSnapshot(dir, key)
	if err != nil {
		return fail(fmt.Errorf("%w: %w", vm.ErrSnapshot, err))
	}
	defer s.state.Close()
	spec.Kernel, spec.Initrd = "", "" // the guest has read them; reading them once more would take a while
	m, err := d.launch(spec, print.Accelerator, s)
	if err != nil {
		return fail(err)
	}
	stop := context.AfterFunc(ctx, func() { _ = m.control.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	// Of what follows the last, QEMU says only by ending that it could not: the guest goes on by itself.
	err = m.order(bufio.NewReader(io.LimitReader(m.control, maxAnswers)), append(leaveMemory(), order{command: "migrate-incoming", arguments: with{"uri": fmt.Sprint("fd:", stateDescriptor(spec))}}))
	if err != nil {
		now, cancel := context.WithCancel(ctx)
		cancel()
		return fail(errors.Join(err, m.Stop(now)))
	}
	return m, nil
}

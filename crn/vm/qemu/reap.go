package qemu

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// record is what a machine's folder says of its process. A pid alone may have gone to another process since; pid and start
// time together name one process of one boot of the host.
type record struct {
	PID    int    `json:"pid"`
	Start  uint64 `json:"start"` // clock ticks after the host's boot
	BootID string `json:"boot_id"`
	Form   string `json:"form,omitempty"` // of a machine that outlives the node; see Instances.Form
}

const recordFile = "process.json"

func writeRecord(dir string, pid int, form string) error {
	p, err := readProc(pid)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(record{pid, p.start, bootID(), form})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, recordFile), raw, 0o600)
}

// Reap implements [vm.Driver].
func (d *Driver) Reap(ctx context.Context) ([]string, error) {
	run := filepath.Join(d.cfg.Dir, "run")
	entries, err := os.ReadDir(run)
	if err != nil {
		return nil, fmt.Errorf("look for machines left behind: %w", err)
	}
	var ids []string
	var errs []error
	if err := endMarked(ctx, run, nil); err != nil {
		errs = append(errs, fmt.Errorf("end machines left behind by an earlier process: %w", err))
	}
	for _, entry := range entries {
		dir := d.runDir(entry.Name())
		if err := endRecorded(ctx, dir); err != nil {
			errs = append(errs, fmt.Errorf("end machine %s left behind by an earlier process: %w", entry.Name(), err))
			continue // its folder stays, so that the next start tries again
		}
		if err := os.RemoveAll(dir); err != nil {
			errs = append(errs, err)
			continue
		}
		ids = append(ids, entry.Name())
	}
	if d.groups != nil {
		errs = append(errs, d.groups.clear(func(string) bool { return false }))
	}
	return ids, errors.Join(errs...)
}

// endRecorded kills the process that the folder names, when it still is that process, and waits until it is gone.
func endRecorded(ctx context.Context, dir string) error {
	raw, err := os.ReadFile(filepath.Join(dir, recordFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var r record
	if err := json.Unmarshal(raw, &r); err != nil || r.PID <= 1 {
		return nil // the node was killed while writing it
	}
	return endProcess(ctx, r)
}

// endMarked kills the processes whose environment names a folder below dir, but for those to spare. It finds those that a killed
// node had no time to record, and those whose folder is gone.
func endMarked(ctx context.Context, dir string, spare map[int]bool) error {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	var errs []error
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil || !slices.ContainsFunc(bytes.Split(raw, []byte{0}), func(v []byte) bool { return bytes.HasPrefix(v, []byte(mark+dir+"/")) }) {
			continue // another user's, or gone
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil || pid == os.Getpid() || spare[pid] {
			continue
		}
		if p, err := readProc(pid); err == nil {
			errs = append(errs, endProcess(ctx, record{PID: pid, Start: p.start, BootID: bootID()}))
		}
	}
	return errors.Join(errs...)
}

func endProcess(ctx context.Context, r record) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	// The descriptor holds on to the process that the check below is about, whatever becomes of the number.
	fd, err := unix.PidfdOpen(r.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open process %d: %w", r.PID, err)
	}
	defer unix.Close(fd)
	if !r.alive() {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", r.PID, err)
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for r.alive() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("process %d does not end: %w", r.PID, ctx.Err())
		}
	}
	return nil
}

// alive reports whether the recorded process runs. One that only waits to be collected by its parent does not.
func (r record) alive() bool {
	p, err := readProc(r.PID)
	return err == nil && r.BootID == bootID() && p.start == r.Start && p.state != 'Z' && p.state != 'X'
}

func bootID() string {
	raw, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return string(bytes.TrimSpace(raw))
}

// proc is a part of /proc/<pid>/stat.
type proc struct {
	state  byte
	start  uint64
	cpu    time.Duration
	rssKiB int64
}

func readProc(pid int) (proc, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return proc{}, err
	}
	return parseStat(raw)
}

// parseStat reads proc(5). The name, in parentheses, may itself hold spaces and parentheses.
func parseStat(raw []byte) (proc, error) {
	fields := bytes.Fields(raw[bytes.LastIndexByte(raw, ')')+1:])
	if len(fields) < 22 {
		return proc{}, fmt.Errorf("process status has %d fields", len(fields))
	}
	var n [22]int64
	for _, i := range []int{11, 12, 19, 21} {
		v, err := strconv.ParseInt(string(fields[i]), 10, 64)
		if err != nil {
			return proc{}, fmt.Errorf("process status: %w", err)
		}
		n[i] = v
	}
	const ticks = 100 // USER_HZ is fixed by the kernel's ABI on the machines that we run on
	return proc{
		state: fields[0][0], start: uint64(n[19]),
		cpu: time.Duration(n[11]+n[12]) * time.Second / ticks, rssKiB: n[21] * int64(os.Getpagesize()) / 1024,
	}, nil
}

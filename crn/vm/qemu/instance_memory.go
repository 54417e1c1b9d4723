package qemu

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"
)

// A machine goes on elsewhere with the memory that it has here: QEMU writes it to a socket that it is handed, for it can open nothing
// itself, while the guest runs, and again what the guest changes meanwhile. When little is left it stops the guest and writes that and
// the state of all devices. From then on two machines are the same, and neither runs: the disks tell which of them is to, and that is
// the business of who calls.

const (
	// memoryRate bounds how fast QEMU writes, in bytes a second; its own bound is below that of many networks.
	memoryRate = 1 << 36
	// memoryPause is how long the guest may stand still for what is written last, in milliseconds.
	memoryPause = 1000
	// memoryPoll is how often QEMU is asked whether it is done.
	memoryPoll = 50 * time.Millisecond
)

// errRestless: the guest would travel for ever.
var errRestless = errors.New("its guest changes its memory faster than it travels")

// Form names what the guest of a machine sees of the QEMU and the host that run it. A machine passes its memory only to one of the
// same form.
func (i *Instances) Form(ctx context.Context, spec InstanceSpec) (string, error) {
	print, err := i.driver.Fingerprint(ctx)
	if err != nil {
		return "", err
	}
	// Where its files are is not for the guest to see.
	spec.Root, spec.Seed, spec.Drives = "root", "seed", slices.Clone(spec.Drives)
	for n := range spec.Drives {
		spec.Drives[n].Path = "drive"
	}
	args, err := instanceArguments(spec, print.Accelerator)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%q\n%s", args, processorOfHost(print.Accelerator == "kvm"))
	return fmt.Sprintf("QEMU %s %s %s", print.Version, print.Accelerator, hex.EncodeToString(h.Sum(nil)[:8])), nil
}

// processorOfHost is what a guest notices of the host's processor: how fast its clock goes and, unless it is emulated, what it is able to do.
func processorOfHost(direct bool) string {
	raw, _ := os.ReadFile("/proc/cpuinfo") // a host that does not say is like others that do not
	first, _, _ := strings.Cut(string(raw), "\n\n")
	var seen strings.Builder
	for line := range strings.Lines(first) {
		name, _, _ := strings.Cut(line, "\t")
		switch strings.TrimSpace(name) {
		case "model name":
			seen.WriteString(line)
		case "vendor_id", "cpu family", "model", "stepping", "flags":
			if direct {
				seen.WriteString(line)
			}
		}
	}
	return seen.String()
}

// Receive starts a machine that has no memory yet: ReceiveMemory must follow, then Continue. Its disks may change until it continues.
func (i *Instances) Receive(ctx context.Context, spec InstanceSpec) (*Instance, error) {
	return i.start(ctx, spec, "-incoming", "defer", "-S")
}

// Form is that which the machine was started with; empty when an earlier version of the node started it.
func (m *Instance) Form() string { return m.record.Form }

// SendMemory writes the machine's memory while its guest runs. When it returns without an error, all that makes up the machine is
// written, its guest stands still and its disks hold what the guest wrote last. It stands until Continue or Kill. After an error the
// guest goes on. Nothing else copies its disks meanwhile. limit bounds what is written, in bytes.
func (m *Instance) SendMemory(ctx context.Context, w io.Writer, limit int64) (err error) {
	select {
	case m.copying <- struct{}{}:
		m.sending.Store(true)
	case <-m.done:
		return errEnded
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() {
		if err != nil {
			_, stays := m.Continue(context.WithoutCancel(ctx))
			err = errors.Join(err, stays)
		}
	}()
	if err := m.endLeft(ctx); err != nil {
		return fmt.Errorf("end an earlier copy: %w", err)
	}
	memory, hangUp, err := m.openMemory(ctx,
		order{command: "migrate-set-capabilities", arguments: with{"capabilities": []any{with{"capability": "auto-converge", "state": true}}}},
		order{command: "migrate-set-parameters", arguments: with{"max-bandwidth": memoryRate, "downtime-limit": memoryPause}},
		order{command: "migrate", arguments: with{"uri": "fd:memory"}},
	)
	if err != nil {
		return err
	}
	defer hangUp()
	n, err := io.Copy(w, io.LimitReader(memory, limit))
	if err == nil && n == limit {
		err = errRestless
	}
	if err != nil {
		return errors.Join(fmt.Errorf("send the machine's memory: %w", err), context.Cause(ctx))
	}
	return m.awaitMemory(ctx)
}

// ReceiveMemory gives a machine of Receive the memory that SendMemory wrote. When it returns without an error, the machine has all of
// it; its guest stands still. After an error it is of no use.
func (m *Instance) ReceiveMemory(ctx context.Context, r io.Reader) (err error) {
	memory, hangUp, err := m.openMemory(ctx,
		// Up to Continue the disks are another machine's.
		order{command: "migrate-set-capabilities", arguments: with{"capabilities": []any{with{"capability": "late-block-activate", "state": true}}}},
		order{command: "migrate-incoming", arguments: with{"uri": "fd:memory"}},
	)
	if err != nil {
		return err
	}
	defer hangUp()
	if _, err := io.Copy(memory, r); err != nil {
		return errors.Join(fmt.Errorf("receive the machine's memory: %w%s", err, m.Said()), context.Cause(ctx))
	}
	hangUp() // there is no more
	if err := m.awaitMemory(ctx); err != nil {
		return fmt.Errorf("%w%s", err, m.Said())
	}
	return nil
}

// openMemory hands QEMU an end of a socket, under the name of memory, and the orders that have it use that. It returns the other end,
// which hangUp closes, as does the end of ctx.
func (m *Instance) openMemory(ctx context.Context, orders ...order) (memory net.Conn, hangUp func(), err error) {
	stream, err := socketPair("memory")
	if err != nil {
		return nil, nil, err
	}
	defer stream.guest.Close() // QEMU has its own, and closes it at the end
	stop := context.AfterFunc(ctx, func() { stream.host.Close() })
	hangUp = func() {
		stop()
		stream.host.Close()
	}
	for _, o := range append([]order{{command: "getfd", arguments: with{"fdname": "memory"}, file: stream.guest}}, orders...) {
		if _, err := m.ask(ctx, o); err != nil {
			hangUp()
			return nil, nil, err
		}
	}
	return stream.host, hangUp, nil
}

// passage is how far QEMU is with a machine's memory.
func (m *Instance) passage(ctx context.Context) (status, reason string, err error) {
	var answer struct {
		Status string
		Reason string `json:"error-desc"`
	}
	err = m.query(ctx, order{command: "query-migrate"}, &answer)
	return answer.Status, answer.Reason, err
}

// awaitMemory waits until QEMU says that the memory has passed: it notices a moment after its last byte.
func (m *Instance) awaitMemory(ctx context.Context) error {
	tick := time.NewTicker(memoryPoll)
	defer tick.Stop()
	for {
		status, reason, err := m.passage(ctx)
		switch {
		case errors.Is(err, errHungUp):
			return errEnded
		case err != nil:
			return err
		case status == "completed":
			return nil
		case status == "failed" || status == "cancelled":
			return fmt.Errorf("QEMU did not pass the machine's memory on: %s", reason)
		}
		select {
		case <-tick.C:
		case <-m.done:
			return errEnded
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Continue has a guest go on that stands still since its memory was sent or received, and reports whether it did. One that runs is left
// alone.
func (m *Instance) Continue(ctx context.Context) (stood bool, err error) {
	defer func() {
		if m.sending.Swap(false) {
			<-m.copying
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	_, _ = m.ask(ctx, order{command: "migrate_cancel"}) // whoever was to have it is gone
	tick := time.NewTicker(memoryPoll)
	defer tick.Stop()
	for {
		state, err := m.control.status(ctx)
		if err != nil {
			return false, fmt.Errorf("have the guest go on: %w", err)
		}
		switch state {
		case "finish-migrate": // it is being stopped just now
		case "postmigrate", "paused":
			if _, err := m.ask(ctx, order{command: "cont"}); err != nil {
				return false, fmt.Errorf("have the guest go on: %w", err)
			}
			return true, nil
		default:
			if status, _, err := m.passage(ctx); err != nil || status != "active" && status != "setup" && status != "device" && status != "cancelling" {
				return false, err
			}
		}
		select {
		case <-tick.C:
		case <-m.done:
			return false, errEnded
		case <-ctx.Done():
			return false, fmt.Errorf("have the guest go on: %w", ctx.Err())
		}
	}
}

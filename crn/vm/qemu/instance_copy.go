package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// DiskCopy is a disk of a running machine and where its content is to go.
type DiskCopy struct {
	Disk string   // path of the disk, as the machine was started with
	To   *os.File // an empty qcow2 image of the disk's size, open for reading and writing
}

const (
	// copyMark begins the names of all that copying makes in QEMU, so that what a killed node left there is found.
	copyMark = "copy"
	// askLimit bounds each question to QEMU. An emulated machine on a busy host takes some seconds at worst.
	askLimit = time.Minute
	// copyPoll is how often QEMU is asked how far it is.
	copyPoll = 200 * time.Millisecond
)

// errEnded: the machine ended while it was copied.
var errEnded = errors.New("the machine ended")

// Copy brings the content that the disks have at one moment into files, whole and compressed, while the machine goes on: QEMU
// copies what the guest is about to overwrite first. The files must have room for all: when the copy cannot be written, neither
// can what the guest writes. With freeze a guest agent, where the guest has one, makes filesystems whole for that moment. Only the
// moment holds the guest up. When ctx ends the copy is called off.
func (m *Instance) Copy(ctx context.Context, disks []DiskCopy, freeze bool) error {
	return m.copy(ctx, disks, freeze, func(_ string, backup with) error {
		backup["sync"], backup["compress"] = "full", true
		return nil
	})
}

// copy copies disks; how completes the order for one, of which QEMU's name is device.
func (m *Instance) copy(ctx context.Context, disks []DiskCopy, freeze bool, how func(device string, backup with) error) (err error) {
	select {
	case m.copying <- struct{}{}:
		defer func() { <-m.copying }()
	case <-m.done:
		return errEnded
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := m.endLeft(ctx); err != nil {
		return fmt.Errorf("end an earlier copy: %w", err)
	}
	defer func() {
		err = errors.Join(err, m.endCopies(context.WithoutCancel(ctx)))
		if errors.Is(err, errHungUp) {
			err = errEnded
		}
	}()
	devices, err := m.devices(ctx)
	if err != nil {
		return err
	}
	actions := []any{}
	for i, d := range disks {
		device := devices[d.Disk]
		if device == "" {
			return fmt.Errorf("the machine has no disk %s", d.Disk)
		}
		name := fmt.Sprint(copyMark, i)
		// QEMU can open nothing outside its jail, so it is handed the file.
		if _, err := m.ask(ctx, order{"add-fd", with{"fdset-id": i, "opaque": copyMark}, d.To}); err != nil {
			return err
		}
		file := with{"driver": "file", "filename": fmt.Sprintf("/dev/fdset/%d", i)}
		if _, err := m.ask(ctx, order{command: "blockdev-add", arguments: with{"driver": "qcow2", "node-name": name, "file": file}}); err != nil {
			return err
		}
		backup := with{"job-id": name, "device": device, "target": name, "auto-dismiss": false}
		if err := how(device, backup); err != nil {
			return err
		}
		actions = append(actions, with{"type": "blockdev-backup", "data": backup})
	}
	if err := m.beginCopies(ctx, actions, freeze); err != nil {
		return err
	}
	return m.awaitCopies(ctx)
}

// endLeft ends what a copy that was cut short left in QEMU and in the guest.
func (m *Instance) endLeft(ctx context.Context) error {
	m.freezing.Lock()
	err := m.thaw(ctx)
	m.freezing.Unlock()
	return errors.Join(err, m.endCopies(ctx))
}

// beginCopies has all copies begin at the same moment.
func (m *Instance) beginCopies(ctx context.Context, actions []any, freeze bool) (err error) {
	if freeze {
		m.freezing.Lock()
		defer m.freezing.Unlock()
		defer func() { err = errors.Join(err, m.thaw(context.WithoutCancel(ctx))) }()
		_ = m.freeze(ctx) // without, the copy is what a loss of power would leave, which filesystems are made for
	}
	_, err = m.ask(ctx, order{command: "transaction", arguments: with{"actions": actions, "properties": with{"completion-mode": "grouped"}}})
	return err
}

// ask asks QEMU within a bound.
func (m *Instance) ask(ctx context.Context, o order) (json.RawMessage, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// Not ended by ctx: a question that is given up is the last one.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askLimit)
	defer cancel()
	return m.control.ask(ctx, o)
}

// query asks QEMU for something and decodes the answer.
func (m *Instance) query(ctx context.Context, o order, v any) error {
	raw, err := m.ask(ctx, o)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("read QEMU's answer to %s: %w", o.command, err)
	}
	return nil
}

// devices returns QEMU's names of disks by their paths.
func (m *Instance) devices(ctx context.Context) (map[string]string, error) {
	var list []struct {
		Device   string
		Inserted struct{ Image struct{ Filename string } }
	}
	if err := m.query(ctx, order{command: "query-block"}, &list); err != nil {
		return nil, err
	}
	devices := map[string]string{}
	for _, d := range list {
		devices[d.Inserted.Image.Filename] = d.Device
	}
	return devices, nil
}

// copyJob is a copy that QEMU makes.
type copyJob struct{ ID, Status, Error string }

func (m *Instance) copies(ctx context.Context) (jobs []copyJob, running int, err error) {
	var all []copyJob
	if err := m.query(ctx, order{command: "query-jobs"}, &all); err != nil {
		return nil, 0, err
	}
	for _, j := range all {
		if strings.HasPrefix(j.ID, copyMark) {
			jobs = append(jobs, j)
			if j.Status != "concluded" {
				running++
			}
		}
	}
	return jobs, running, nil
}

// awaitCopies waits until all are made.
func (m *Instance) awaitCopies(ctx context.Context) error {
	tick := time.NewTicker(copyPoll)
	defer tick.Stop()
	for {
		jobs, running, err := m.copies(ctx)
		if err != nil {
			return err
		}
		for _, j := range jobs {
			if j.Error != "" {
				return fmt.Errorf("QEMU did not copy the disk: %s", j.Error)
			}
		}
		if running == 0 {
			return nil
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

// endCopies calls copies off that are being made, and takes everything of them from QEMU.
func (m *Instance) endCopies(ctx context.Context) error {
	jobs, running, err := m.copies(ctx)
	if err != nil {
		return err
	}
	for _, j := range jobs {
		if j.Status != "concluded" {
			// One that concluded just now cannot be called off any more.
			_, _ = m.ask(ctx, order{command: "job-cancel", arguments: with{"id": j.ID}})
		}
	}
	tick := time.NewTicker(copyPoll)
	defer tick.Stop()
	limit := time.NewTimer(askLimit)
	defer limit.Stop()
	for running > 0 {
		select {
		case <-tick.C:
		case <-m.done:
			return errEnded
		case <-limit.C:
			return errors.New("QEMU does not end a copy that was called off")
		}
		if _, running, err = m.copies(ctx); err != nil {
			return err
		}
	}
	var errs []error
	for _, j := range jobs {
		_, err := m.ask(ctx, order{command: "job-dismiss", arguments: with{"id": j.ID}})
		errs = append(errs, err)
	}
	var nodes []struct {
		Name string `json:"node-name"`
	}
	errs = append(errs, m.query(ctx, order{command: "query-named-block-nodes", arguments: with{"flat": true}}, &nodes))
	for _, n := range nodes {
		if strings.HasPrefix(n.Name, copyMark) {
			_, err := m.ask(ctx, order{command: "blockdev-del", arguments: with{"node-name": n.Name}})
			errs = append(errs, err)
		}
	}
	var sets []struct {
		ID  int `json:"fdset-id"`
		FDs []struct{ Opaque string }
	}
	errs = append(errs, m.query(ctx, order{command: "query-fdsets"}, &sets))
	for _, s := range sets {
		if len(s.FDs) > 0 && s.FDs[0].Opaque == copyMark {
			_, err := m.ask(ctx, order{command: "remove-fd", arguments: with{"fdset-id": s.ID}})
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

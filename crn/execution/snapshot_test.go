package execution_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aleph-im/aleph-go/crn/execution"
	"github.com/aleph-im/aleph-go/crn/vm"
	"github.com/aleph-im/aleph-go/guest/wire"
	"github.com/aleph-im/aleph-go/message"
)

// copyingDriver is a fake that keeps machines: a snapshot is a folder with a file of 64 KiB.
type copyingDriver struct {
	*fakeDriver
	key      string
	saving   error
	restored int
	restores error
	copies   wire.State // what a copy reports; ready when empty
}

func (d *copyingDriver) SnapshotKey(context.Context, vm.Spec) (string, error) { return d.key, nil }

func (d *copyingDriver) Save(ctx context.Context, m vm.Machine, dir string) error {
	defer func() { _ = m.Stop(ctx) }()
	if !m.(*fakeMachine).spec.Copyable {
		return errTest
	}
	if d.saving != nil {
		return d.saving
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "memory"), make([]byte, 64<<10), 0o600)
}

func (d *copyingDriver) Restore(_ context.Context, spec vm.Spec, dir string) (vm.Machine, error) {
	if d.restores != nil {
		return nil, d.restores
	}
	if _, err := os.Stat(filepath.Join(dir, "memory")); err != nil {
		return nil, err
	}
	d.restored++
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.machine(spec)
	m.copied = d.copies
	if m.copied == "" {
		m.copied = wire.StateReady
	}
	go m.serve()
	return m, nil
}

// copyingRig is a pool whose machines end with their last answer.
func copyingRig(t *testing.T, limit int64) (*rig, *copyingDriver) {
	d := &copyingDriver{fakeDriver: &fakeDriver{}}
	r := newRig(t, func(c *execution.Config) {
		c.Driver, c.SnapshotLimit, c.ReuseTimeout = d, limit, 0
	})
	r.driver = d.fakeDriver
	return r, d
}

// asgi adds a Python program.
func (n *fakeNetwork) asgi(name string, variables map[string]string) message.Hash {
	hash := n.program(name, 128)
	n.programs[hash].Code.Entrypoint, n.programs[hash].Variables = "main:app", variables
	return hash
}

// snapshots returns what is kept.
func (r *rig) snapshots(t *testing.T) []string {
	t.Helper()
	kept, err := filepath.Glob(filepath.Join(r.dir, "snapshots", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return kept
}

func TestAProgramIsKeptWhenItIsReadyAndCopiedFromThenOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, d := copyingRig(t, 1<<30)
		defer r.stop(t)
		hash := r.network.asgi("a", nil)
		for i := range 3 {
			if err := r.call(t, hash); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if booted, running := d.count(); booted != 1 || d.restored != i+1 || running != 0 {
				t.Errorf("after call %d: %d booted, %d restored, %d run", i, booted, d.restored, running)
			}
		}
		if kept := r.snapshots(t); len(kept) != 1 {
			t.Errorf("kept %v", kept)
		}
		// What was made from other files is another machine, and the old one is of no more use.
		d.key = "another QEMU"
		if err := r.call(t, hash); err != nil {
			t.Fatal(err)
		}
		if booted, _ := d.count(); booted != 2 || len(r.snapshots(t)) != 1 {
			t.Errorf("%d booted, kept %v", booted, r.snapshots(t))
		}
		// It goes when the program's message does.
		if !r.Holds(hash) {
			t.Error("the node says that it has nothing of a program that it keeps")
		}
		if err := r.Remove(t.Context(), hash); err != nil || r.Holds(hash) || len(r.snapshots(t)) != 0 {
			t.Errorf("kept after its end: %v, %v", r.snapshots(t), err)
		}
	})
}

func TestWhateverGoesWrongWithASnapshotTheProgramBoots(t *testing.T) {
	for name, test := range map[string]struct {
		change func(d *copyingDriver)
		boots  int // of two calls
		kept   int
	}{
		"it cannot be saved":     {func(d *copyingDriver) { d.saving = errTest }, 3, 0},
		"it cannot be restored":  {func(d *copyingDriver) { d.restores = errTest }, 3, 0},
		"copies fail":            {func(d *copyingDriver) { d.copies = wire.StateFailed }, 3, 0},
		"copies are never ready": {func(d *copyingDriver) { d.copies = wire.StateRunning }, 3, 0},
		"all goes well":          {func(*copyingDriver) {}, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r, d := copyingRig(t, 1<<30)
				defer r.stop(t)
				test.change(d)
				hash := r.network.asgi("a", nil)
				for range 2 {
					if err := r.call(t, hash); err != nil {
						t.Error(err)
					}
					synctest.Wait()
				}
				if booted, running := d.count(); booted != test.boots || running != 0 {
					t.Errorf("%d booted, %d run", booted, running)
				}
				if kept := r.snapshots(t); len(kept) != test.kept {
					t.Errorf("kept %v", kept)
				}
			})
		})
	}
}

func TestASnapshotThatBreaksLaterIsRemovedAndMadeAnew(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, d := copyingRig(t, 1<<30)
		defer r.stop(t)
		hash := r.network.asgi("a", nil)
		call := func(booted int) {
			t.Helper()
			if err := r.call(t, hash); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if got, _ := d.count(); got != booted {
				t.Errorf("%d booted, want %d", got, booted)
			}
		}
		call(1)
		if err := os.Remove(filepath.Join(r.snapshots(t)[0], "memory")); err != nil {
			t.Fatal(err)
		}
		call(2)
		call(2)
	})
}

func TestProgramsThatCannotBeCopiedBoot(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, d := copyingRig(t, 1<<30)
		defer r.stop(t)
		for i, hash := range []message.Hash{
			r.network.program("a binary that waits for nothing", 128), r.network.asgi("unwilling", map[string]string{"ALEPH_SNAPSHOT": "no"}),
		} {
			for range 2 {
				if err := r.call(t, hash); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
			}
			if booted, _ := d.count(); booted != 2*(i+1) || len(r.snapshots(t)) != 0 || d.last().spec.Copyable {
				t.Errorf("program %d: %d booted, kept %v", i, booted, r.snapshots(t))
			}
		}
	})
}

func TestABinaryThatWaitsToBeRenewedIsCopiedUnlessItStays(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, d := copyingRig(t, 1<<30)
		defer r.stop(t)
		d.renews = true
		var options []string
		d.behave = func(c wire.Config) wire.State {
			for _, variable := range c.Env {
				if value, ok := strings.CutPrefix(variable, "NODE_OPTIONS="); ok {
					options = append(options, value)
				}
			}
			return wire.StateReady
		}
		hash := r.network.program("binary", 128)
		r.network.programs[hash].Variables = map[string]string{"NODE_OPTIONS": "--enable-source-maps"}
		for range 2 {
			if err := r.call(t, hash); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if booted, _ := d.count(); booted != 1 || d.restored != 2 || len(r.snapshots(t)) != 1 {
			t.Errorf("%d booted, %d restored, kept %v", booted, d.restored, r.snapshots(t))
		}
		if want := "--require " + wire.NodePreload + " --enable-source-maps"; !slices.Equal(options, []string{want}) {
			t.Errorf("options of Node %q", options)
		}
		stays := r.network.program("stays", 128)
		r.Allocate(t.Context(), execution.Plan{Persistent: []message.Hash{stays}})
		if booted, _ := d.count(); booted != 2 || d.last().spec.Copyable || len(r.snapshots(t)) != 1 {
			t.Errorf("what stays: %d booted, kept %v", booted, r.snapshots(t))
		}
	})
}

func TestSnapshotsStayWithinTheirBoundAndTheUnusedLeaveFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, d := copyingRig(t, 2*64<<10)
		defer r.stop(t)
		var programs []message.Hash
		for i := range 3 {
			programs = append(programs, r.network.asgi(fmt.Sprint(i), nil))
		}
		// The second is used least recently when the third comes.
		for _, i := range []int{0, 1, 0, 2} {
			time.Sleep(time.Second)
			if err := r.call(t, programs[i]); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if kept := r.snapshots(t); len(kept) != 2 {
			t.Errorf("kept %v", kept)
		}
		if err := r.call(t, programs[0]); err != nil {
			t.Fatal(err)
		}
		if booted, _ := d.count(); booted != 3 {
			t.Errorf("%d booted: the one in use was removed", booted)
		}
	})
}

func TestAnUnfinishedSnapshotIsRemovedAndNoneAreKeptWhenTheyAreOff(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"snapshots/.new-1", "snapshots/whole"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		limit int64
		left  int
	}{{1 << 30, 1}, {0, 0}} {
		if _, err := execution.New(execution.Config{Driver: &copyingDriver{}, Dir: dir, SnapshotLimit: test.limit}); err != nil {
			t.Fatal(err)
		}
		if entries, _ := os.ReadDir(filepath.Join(dir, "snapshots")); len(entries) != test.left {
			t.Errorf("with a bound of %d: %v", test.limit, entries)
		}
	}
}

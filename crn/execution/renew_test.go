package execution_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aleph-im/aleph-go/crn/execution"
	"github.com/aleph-im/aleph-go/guest/wire"
	"github.com/aleph-im/aleph-go/message"
)

func all(message.Hash, []execution.Use) bool { return true }

func TestARenewedProgramEndsAfterItsCallsAndTheNextCallStartsItAnew(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		defer r.stop(t)
		hash := r.network.program("a", 128)
		x, err := r.Acquire(t.Context(), hash)
		if err != nil {
			t.Fatal(err)
		}
		var uses []execution.Use
		note := func(_ message.Hash, u []execution.Use) bool { uses = slices.Clone(u); return false }
		if renewed := r.Renew(note); len(renewed) > 0 {
			t.Errorf("renewed %v", renewed)
		}
		if len(uses) != 2 || uses[0].Ref != hash || uses[0].Owner != "0xowner" || uses[0].Resolved != hash {
			t.Errorf("uses %+v", uses)
		}
		if renewed := r.Renew(all); !slices.Equal(renewed, []message.Hash{hash}) {
			t.Errorf("renewed %v", renewed)
		}
		synctest.Wait()
		if _, running := r.driver.count(); running != 1 {
			t.Fatal("the machine ended during a call")
		}
		next := make(chan error, 1)
		go func() { next <- r.call(t, hash) }()
		synctest.Wait()
		select {
		case err := <-next:
			t.Fatalf("a call was taken by the old version: %v", err)
		default:
		}
		x.Release()
		if err := <-next; err != nil {
			t.Fatal(err)
		}
		if started, running := r.driver.count(); started != 2 || running != 1 {
			t.Errorf("%d started, %d run", started, running)
		}
	})
}

func TestRenewingWhileItStartsLosesNoCaller(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		defer r.stop(t)
		hash := r.network.program("a", 128)
		slow := make(chan struct{})
		r.driver.behave = func(wire.Config) wire.State { <-slow; return wire.StateReady }
		first := make(chan error, 1)
		go func() { first <- r.call(t, hash) }()
		synctest.Wait()
		r.Renew(all)
		synctest.Wait()
		close(slow)
		if err := <-first; err != nil {
			t.Errorf("who waited for the start got %v", err)
		}
		synctest.Wait()
		if _, running := r.driver.count(); running != 0 {
			t.Error("the outdated machine runs on")
		}
		if err := r.call(t, hash); err != nil {
			t.Error(err)
		}
	})
}

func TestAPersistentProgramIsRenewedAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		defer r.stop(t)
		hash := r.network.program("a", 128)
		r.Allocate(t.Context(), execution.Plan{Persistent: []message.Hash{hash}})
		for i := range 5 {
			begin := time.Now()
			r.Renew(all)
			synctest.Wait()
			if started, running := r.driver.count(); started != i+2 || running != 1 || !time.Now().Equal(begin) {
				t.Errorf("%d started, %d run, after %v", started, running, time.Since(begin))
			}
		}
	})
}

func TestAForgottenProgramTakesItsVolumesAlong(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var dir string
		r := newRig(t, func(c *execution.Config) { dir = c.Dir })
		defer r.stop(t)
		hash, other := r.network.program("a", 128), r.network.program("b", 128)
		for _, h := range []message.Hash{hash, other} {
			if r.Holds(h) {
				t.Error("holds what it never had")
			}
			if err := os.MkdirAll(filepath.Join(dir, "volumes", string(h)), 0o700); err != nil {
				t.Fatal(err)
			}
			if !r.Holds(h) {
				t.Error("does not know of its volumes")
			}
		}
		r.Allocate(t.Context(), execution.Plan{Persistent: []message.Hash{hash}})
		if err := r.Remove(t.Context(), hash); err != nil {
			t.Fatal(err)
		}
		for _, name := range []message.Hash{"", ".", "..", "../volumes", other + "/", "/"} {
			if r.Holds(name) || r.Remove(t.Context(), name) == nil {
				t.Errorf("%q is taken for a program", name)
			}
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if _, running := r.driver.count(); running != 0 || r.Holds(hash) || !r.Holds(other) {
			t.Errorf("%d run; holds it %v, the other %v", running, r.Holds(hash), r.Holds(other))
		}
	})
}

package execution_test

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aleph-im/aleph-go/crn/execution"
	"github.com/aleph-im/aleph-go/message"
)

func TestOwnersStopRebootAndEraseTheirPrograms(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var dir string
		r := newRig(t, func(c *execution.Config) { dir = c.Dir })
		defer r.stop(t)
		hash := r.network.program("a", 128)
		volume := filepath.Join(dir, "volumes", string(hash), "kept.ext4")
		disk := func() {
			t.Helper()
			if err := os.MkdirAll(filepath.Dir(volume), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(volume, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		kept := func(step string, want bool) {
			t.Helper()
			if _, err := os.Stat(volume); (err == nil) != want {
				t.Errorf("%s: the volume is there: %v", step, err == nil)
			}
		}
		machines := func(step string, want int) {
			t.Helper()
			if started, running := r.driver.count(); started != want || running > 1 {
				t.Errorf("%s: %d machines started, %d run, want %d", step, started, running, want)
			}
		}

		if running, err := r.Stop(t.Context(), hash); running || err != nil {
			t.Errorf("stop of what does not run: %v, %v", running, err)
		}
		r.Allocate(t.Context(), execution.Plan{Persistent: []message.Hash{hash}})
		machines("allocated", 1)
		disk()
		if running, err := r.Reboot(t.Context(), hash); !running || err != nil {
			t.Errorf("reboot: %v, %v", running, err)
		}
		machines("rebooted", 2)
		kept("rebooted", true)
		if i, ok := r.Find(hash); !ok || !i.Running || !i.Persistent || i.Program == nil {
			t.Errorf("rebooted: %+v, %v", i, ok)
		}
		if err := r.Reinstall(t.Context(), hash, false); err != nil {
			t.Error(err)
		}
		machines("reinstalled", 3)
		kept("reinstalled without erasing", true)
		if err := r.Reinstall(t.Context(), hash, true); err != nil {
			t.Error(err)
		}
		machines("reinstalled again", 4)
		kept("reinstalled", false)

		if running, err := r.Stop(t.Context(), hash); !running || err != nil {
			t.Errorf("stop: %v, %v", running, err)
		}
		disk()
		time.Sleep(time.Hour)
		machines("an hour after it was stopped", 4)
		if _, there := r.Find(hash); there {
			t.Error("a stopped program is still there")
		}
		if running, err := r.Reboot(t.Context(), hash); running || err != nil {
			t.Errorf("reboot of what does not run: %v, %v", running, err)
		}
		machines("started by a reboot", 5)
		if err := r.Erase(t.Context(), hash); err != nil {
			t.Error(err)
		}
		kept("erased", false)
		if left, _ := filepath.Glob(filepath.Join(dir, "scratch", "erased-*")); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
		if _, there := r.Find(hash); there {
			t.Error("an erased program is still there")
		}
	})
}

// Stopping takes a while, and who allocates meanwhile must not lose to it.
func TestAPlanWhileAProgramStopsStarts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		defer r.stop(t)
		hash := r.network.program("a", 128)
		x, err := r.Acquire(t.Context(), hash)
		if err != nil {
			t.Fatal(err)
		}
		stopped := make(chan error)
		go func() { _, err := r.Stop(t.Context(), hash); stopped <- err }()
		synctest.Wait()
		planned := make(chan execution.Outcome)
		go func() { planned <- r.Allocate(t.Context(), execution.Plan{Persistent: []message.Hash{hash}}) }()
		synctest.Wait()
		x.Release()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		if o := <-planned; len(o.Failing) > 0 {
			t.Errorf("plan %+v", o)
		}
		synctest.Wait()
		if i, ok := r.Find(hash); !ok || !i.Running || !i.Persistent {
			t.Errorf("after the plan: %+v", i)
		}
	})
}

func TestAProgramExpiresWhenItsOwnerSaid(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		defer r.stop(t)
		hash := r.network.program("a", 128)
		r.Allocate(t.Context(), execution.Plan{Persistent: []message.Hash{hash}})
		r.Expire(hash, time.Hour)
		r.Expire(hash, 10*time.Minute) // the last word counts
		if i, _ := r.Find(hash); i.Persistent {
			t.Error("what expires is kept for good")
		}
		time.Sleep(9 * time.Minute)
		if err := r.call(t, hash); err != nil {
			t.Fatal(err)
		}
		if started, running := r.driver.count(); started != 1 || running != 1 {
			t.Errorf("before its time: %d started, %d run", started, running)
		}
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if _, running := r.driver.count(); running != 0 {
			t.Error("still there after its time")
		}
		r.Expire(hash, time.Second) // of nothing: nothing
	})
}

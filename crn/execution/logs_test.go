package execution_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aleph-im/aleph-go/crn/execution"
	"github.com/aleph-im/aleph-go/message"
)

func TestLogsOfProgramsThatAreGoneAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dir := t.TempDir()
		path := func(hash message.Hash) string { return filepath.Join(dir, "logs", string(hash)+".log") }
		log := func(name string, mib int64, days int) (hash message.Hash) {
			t.Helper()
			hash = message.HashBytes([]byte(name))
			for _, err := range []error{
				os.MkdirAll(filepath.Dir(path(hash)), 0o700), os.WriteFile(path(hash), nil, 0o600), os.Truncate(path(hash), mib<<20), // takes no room
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			at := time.Now().AddDate(0, 0, -days)
			if err := os.Chtimes(path(hash), at, at); err != nil {
				t.Fatal(err)
			}
			return hash
		}
		kept := func(step string, hash message.Hash, want bool) {
			t.Helper()
			if _, err := os.Stat(path(hash)); (err == nil) != want {
				t.Errorf("%s: the log is there: %v", step, err == nil)
			}
		}
		forgotten, young := log("forgotten", 1, 40), log("young", 400, 1)
		r := newRig(t, func(c *execution.Config) { c.Dir = dir })
		defer r.stop(t)
		kept("older than a month, at the start", forgotten, false)
		kept("a day old", young, true)

		running := r.network.program("running", 128)
		if o := r.Allocate(t.Context(), execution.Plan{Persistent: []message.Hash{running}}); len(o.Failing) > 0 {
			t.Fatal(o)
		}
		log("running", 400, 9)
		longest, long := log("longest", 400, 3), log("long", 400, 2)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		kept("of what runs", running, true)
		kept("longest unused, and there is too much", longest, false)
		kept("the next", long, false)
		kept("what is left has room", young, true)

		if !r.Holds(young) {
			t.Error("the node has nothing to remove when the program is forgotten")
		}
		if err := r.Remove(t.Context(), running); err != nil {
			t.Fatal(err)
		}
		kept("of what its owner forgot", running, false)
		if _, _, err := r.Logs(running); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("reading it: %v", err)
		}
	})
}

// Who calls a program while it is being removed has a machine of its own, or none: nothing is taken from under it.
func TestARemovalTakesNothingFromARunningMachine(t *testing.T) {
	for range 20 {
		bubble(t, func(t *testing.T) {
			r := newRig(t, nil)
			defer r.stop(t)
			hash := r.network.program("a", 128)
			folder := filepath.Join(r.dir, "volumes", string(hash))
			if err := os.MkdirAll(folder, 0o700); err != nil {
				t.Fatal(err)
			}
			for i := range 200 {
				if err := os.WriteFile(filepath.Join(folder, string(rune('a'+i))), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			x, err := r.Acquire(t.Context(), hash)
			if err != nil {
				t.Fatal(err)
			}
			removed := make(chan error)
			go func() { removed <- r.Remove(t.Context(), hash) }()
			synctest.Wait() // it waits for the call to end
			called := make(chan struct{})
			go func() {
				defer close(called)
				y, err := r.Acquire(t.Context(), hash)
				if err != nil {
					return // it came in between
				}
				defer y.Release()
				disk := filepath.Join(folder, "disk")
				if err := errors.Join(os.MkdirAll(folder, 0o700), os.WriteFile(disk, nil, 0o600)); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Second)
				if _, err := os.Stat(disk); err != nil {
					t.Errorf("while a machine runs: %v", err)
				}
			}()
			synctest.Wait()
			x.Release()
			<-called
			if err := <-removed; err != nil {
				t.Error(err)
			}
		})
	}
}

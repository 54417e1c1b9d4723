package execution_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aleph-im/aleph-go/crn/corenode"
	"github.com/aleph-im/aleph-go/crn/execution"
	"github.com/aleph-im/aleph-go/crn/guest"
	"github.com/aleph-im/aleph-go/guest/wire"
	"github.com/aleph-im/aleph-go/message"
)

// bubble runs a test on a clock of its own. yamux keeps its timers in a global pool, and a timer of one bubble must not reach
// the next: two collections empty the pool.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	runtime.GC()
	runtime.GC()
	synctest.Test(t, f)
}

// call acquires and releases.
func (r *rig) call(t *testing.T, hash message.Hash) error {
	t.Helper()
	x, err := r.Acquire(t.Context(), hash)
	if err == nil {
		x.Release()
	}
	return err
}

func TestCallersShareOneMachine(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		defer r.stop(t)
		hash := r.network.program("a", 128)
		var callers sync.WaitGroup
		for range 50 {
			callers.Go(func() {
				if err := r.call(t, hash); err != nil {
					t.Error(err)
				}
			})
		}
		callers.Wait()
		if started, running := r.driver.count(); started != 1 || running != 1 {
			t.Errorf("%d machines started, %d run", started, running)
		}
		list := r.List()
		if len(list) != 1 || !list[0].Running || list[0].Slot != 4 || list[0].MemoryMiB != 128 || list[0].Persistent {
			t.Errorf("list %+v", list)
		}
		times := list[0].Times
		for i, pair := range [][2]time.Time{{times.Defined, times.Preparing}, {times.Preparing, times.Prepared}, {times.Prepared, times.Starting}, {times.Starting, times.Started}} {
			if pair[0].IsZero() || pair[1].IsZero() || pair[1].Before(pair[0]) {
				t.Errorf("times out of order at %d: %+v", i, times)
			}
		}
	})
}

func TestIdleMachinesEndAfterTheReuseTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		defer r.stop(t)
		hash := r.network.program("a", 128)
		if err := r.call(t, hash); err != nil {
			t.Fatal(err)
		}
		time.Sleep(59 * time.Minute)
		x, err := r.Acquire(t.Context(), hash)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Hour) // a call in progress is use
		if _, running := r.driver.count(); running != 1 {
			t.Fatal("the machine ended during a call")
		}
		x.Release()
		time.Sleep(59 * time.Minute)
		synctest.Wait()
		if started, running := r.driver.count(); started != 1 || running != 1 {
			t.Fatalf("%d started, %d run before the time is over", started, running)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if _, running := r.driver.count(); running != 0 || len(r.List()) != 0 {
			t.Errorf("%d run, list %v", running, r.List())
		}
		if err := r.call(t, hash); err != nil {
			t.Errorf("and the next call: %v", err)
		}
	})
}

func TestMemoryIsNeverOvercommitted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(c *execution.Config) { c.MemoryMiB = 300 })
		defer r.stop(t)
		a, b, c := r.network.program("a", 128), r.network.program("b", 128), r.network.program("c", 128)
		inUse, err := r.Acquire(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.call(t, b); err != nil {
			t.Fatal(err)
		}
		if err := r.call(t, c); err != nil {
			t.Fatalf("idle b did not make place: %v", err)
		}
		other, err := r.Acquire(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.call(t, b); !errors.Is(err, execution.ErrNoRoom) {
			t.Errorf("beside two machines in use: %v", err)
		}
		inUse.Release()
		other.Release()
		if err := r.call(t, b); err != nil {
			t.Errorf("after they were released: %v", err)
		}
		if err := r.call(t, r.network.program("large", 301)); !errors.Is(err, execution.ErrNoRoom) {
			t.Errorf("what never fits: %v", err)
		}
		if used, limit := r.Memory(); used > limit {
			t.Errorf("%d of %d MiB used", used, limit)
		}
	})
}

func TestAProgramThatDoesNotStartLeavesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for name, test := range map[string]struct {
			behave  wire.State
			refusal error
			want    func(error) bool
		}{
			"setup fails":       {behave: wire.StateFailed, want: func(err error) bool { var e *guest.SetupError; return errors.As(err, &e) }},
			"program exits":     {behave: wire.StateExited, want: func(err error) bool { var e *guest.ExitError; return errors.As(err, &e) && e.WhileInit }},
			"never listens":     {behave: "", want: func(err error) bool { var e *execution.SilentError; return errors.As(err, &e) }},
			"driver is refused": {refusal: errTest, want: func(err error) bool { return errors.Is(err, errTest) }},
		} {
			r := newRig(t, nil)
			r.driver.behave = func(wire.Config) wire.State { return test.behave }
			r.driver.refusal = test.refusal
			if err := r.call(t, r.network.program("a", 128)); !test.want(err) {
				t.Errorf("%s: %v", name, err)
			}
			synctest.Wait()
			if len(r.List()) != 0 {
				t.Errorf("%s: list %v", name, r.List())
			}
			if err := r.call(t, message.HashBytes([]byte("absent"))); !errors.Is(err, corenode.ErrNotFound) {
				t.Errorf("%s: then an absent one: %v", name, err)
			}
			r.stop(t)
		}
	})
}

func TestTheCallAfterACrashGetsAFreshMachine(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		defer r.stop(t)
		hash := r.network.program("a", 128)
		x, err := r.Acquire(t.Context(), hash)
		if err != nil {
			t.Fatal(err)
		}
		close(r.driver.last().crash)
		if err := x.Failure(); err == nil || !strings.Contains(err.Error(), "status 9") {
			t.Errorf("failure %v", err)
		}
		x.Release()
		if err := r.call(t, hash); err != nil {
			t.Fatal(err)
		}
		if started, running := r.driver.count(); started != 2 || running != 1 {
			t.Errorf("%d started, %d run", started, running)
		}
	})
}

func TestDrainingLetsCallsFinishAndTakesNoMore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		hash := r.network.program("a", 128)
		x, err := r.Acquire(t.Context(), hash)
		if err != nil {
			t.Fatal(err)
		}
		r.end()
		synctest.Wait()
		if err := r.call(t, hash); !errors.Is(err, execution.ErrDraining) {
			t.Errorf("got %v", err)
		}
		if _, running := r.driver.count(); running != 1 {
			t.Error("the machine ended during a call")
		}
		time.Sleep(time.Second)
		x.Release()
		r.stop(t)
	})
}

func TestACallThatNeverEndsDoesNotHoldTheNode(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		if _, err := r.Acquire(t.Context(), r.network.program("a", 128)); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		r.stop(t)
		if took := time.Since(begin); took > 30*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestPersistentProgramsStayAndComeBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(c *execution.Config) { c.ReuseTimeout = time.Minute })
		defer r.stop(t)
		kept, ahead, absent := r.network.program("kept", 128), r.network.program("ahead", 128), message.HashBytes([]byte("absent"))
		plan := execution.Plan{Persistent: []message.Hash{kept, kept, absent}, OnDemand: []message.Hash{ahead}, Instances: []message.Hash{"instance"}}
		o := r.Allocate(t.Context(), plan)
		if len(o.Successful) != 1 || o.Successful[0] != kept || len(o.Failing) != 2 || !errors.Is(o.Errors[absent], corenode.ErrNotFound) || !errors.Is(o.Errors["instance"], execution.ErrUnsupported) {
			t.Fatalf("outcome %+v", o)
		}
		synctest.Wait()
		if _, running := r.driver.count(); running != 2 {
			t.Errorf("%d run, want the kept one and the one booted ahead", running)
		}
		time.Sleep(10 * time.Minute)
		r.Allocate(t.Context(), plan) // the same again changes nothing
		synctest.Wait()
		list := r.List()
		if len(list) != 1 || list[0].Hash != kept || !list[0].Persistent {
			t.Fatalf("after the idle time: %+v", list)
		}
		started, _ := r.driver.count()
		for _, m := range r.driver.all() {
			close(m.crash)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if now, running := r.driver.count(); now != started+1 || running != 1 {
			t.Errorf("after a crash %d started and %d run", now-started, running)
		}
		o = r.Allocate(t.Context(), execution.Plan{})
		if len(o.Stopped) != 2 || len(r.List()) != 0 {
			t.Errorf("outcome %+v, list %+v", o, r.List())
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if _, running := r.driver.count(); running != 0 {
			t.Errorf("%d run though nothing is allocated", running)
		}
	})
}

func TestAPersistentProgramThatCannotRunIsTriedWithPatience(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		defer r.stop(t)
		r.driver.behave = func(wire.Config) wire.State { return wire.StateExited }
		r.Allocate(t.Context(), execution.Plan{Persistent: []message.Hash{r.network.program("a", 128)}})
		time.Sleep(time.Hour)
		if started, _ := r.driver.count(); started < 30 || started > 80 {
			t.Errorf("%d starts in an hour", started)
		}
	})
}

// Whatever callers do, memory is bounded, no machine is lost, and the pool ends empty.
func TestAnyMixOfCallsEndsClean(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(c *execution.Config) { c.MemoryMiB = 400; c.ReuseTimeout = 5 * time.Second })
		var hashes []message.Hash
		for i := range 6 {
			hashes = append(hashes, r.network.program(string(rune('a'+i)), 60+40*i))
		}
		random := rand.New(rand.NewPCG(1, 2))
		var callers sync.WaitGroup
		for range 300 {
			hash, wait, hold := hashes[random.IntN(len(hashes))], random.IntN(60), time.Duration(random.IntN(8000))*time.Millisecond
			patience := time.Duration(1+random.IntN(5000)) * time.Millisecond
			callers.Go(func() {
				time.Sleep(time.Duration(wait) * time.Second)
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				x, err := r.Acquire(ctx, hash)
				if used, limit := r.Memory(); used > limit {
					t.Errorf("%d of %d MiB used", used, limit)
				}
				if err != nil {
					if !errors.Is(err, execution.ErrNoRoom) && !errors.Is(err, context.DeadlineExceeded) {
						t.Error(err)
					}
					return
				}
				time.Sleep(hold)
				x.Release()
			})
		}
		callers.Wait()
		r.stop(t)
	})
}

func TestHostLabels(t *testing.T) {
	for hash, label := range map[message.Hash]string{
		"d2b74aa29898457bde0560e47f7cdd4e77287e9f1f7a1456161d2fd7d5c855d7": "2k3uviuytbcxxxqfmdsh67g5jz3sq7u7d55bivqwdux5pvoikxlq",
		"8920215b2e961a4d4c59a8ceb2803af53f91530ff53d6704273ab4d380bc6446": "reqccwzosyne2tczvdhlfab26u7zcuyp6u6wobbhhk2nhaf4mrda",
	} {
		if got := execution.HostLabel(hash); got != label {
			t.Errorf("label of %s is %s", hash, got)
		}
		if got, ok := execution.ParseHostLabel(strings.ToUpper(label)); !ok || got != hash {
			t.Errorf("hash of %s is %s", label, got)
		}
	}
	for _, label := range []string{"", "www", "2k3u", "not-base32-at-all-not-base32-at-all-not-base32-at-al"} {
		if hash, ok := execution.ParseHostLabel(label); ok {
			t.Errorf("%q became %s", label, hash)
		}
	}
}

func TestProcessorsAndDiskAreNeverOvercommitted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(c *execution.Config) { c.VCPUs, c.DiskMiB, c.OverheadMiB, c.ReuseTimeout = 3, 10, 50, 0 })
		defer r.stop(t)
		scratch := message.Volume{Kind: message.VolumeEphemeral, SizeMiB: 6}
		host := "host"
		stays := message.Volume{Kind: message.VolumePersistent, SizeMiB: 5, Persistence: &host}
		program := func(name string, vcpus int, volumes ...message.Volume) message.Hash {
			hash := r.network.program(name, 128)
			p := r.network.programs[hash]
			p.Resources.VCPUs, p.Volumes = vcpus, volumes
			return hash
		}
		refused := func(hash message.Hash, says string) {
			t.Helper()
			if err := r.call(t, hash); !errors.Is(err, execution.ErrNoRoom) || !strings.Contains(err.Error(), says) {
				t.Errorf("want a refusal that says %q, got %v", says, err)
			}
		}
		inUse, err := r.Acquire(t.Context(), program("two", 2, scratch))
		if err != nil {
			t.Fatal(err)
		}
		if used, _ := r.Memory(); used != 178 {
			t.Errorf("%d MiB of memory in use, want the guest's 128 and QEMU's 50", used)
		}
		refused(program("other two", 2), "2 processors and 1 are free")
		refused(program("four", 4), "4 processors")
		refused(program("disk", 1, stays), "5 MiB of disk and 4 MiB are free")
		inUse.Release()
		// Once its machine has ended there is room for a volume, which then stays.
		if err := r.call(t, program("disk", 1, stays)); err != nil {
			t.Fatal(err)
		}
		refused(program("more disk", 1, scratch), "6 MiB of disk and 5 MiB are free")
		if err := r.call(t, program("disk", 1, stays)); err != nil {
			t.Errorf("its own volume is counted against it: %v", err)
		}
	})
}

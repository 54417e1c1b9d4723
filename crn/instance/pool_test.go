package instance_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aleph-im/aleph-go/crn/corenode"
	"github.com/aleph-im/aleph-go/crn/instance"
	"github.com/aleph-im/aleph-go/crn/tap"
	"github.com/aleph-im/aleph-go/message"
)

func TestACrashedMachineIsStartedAgainWithPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		hash := r.publish("a", nil)
		r.begin()
		defer func() { r.stop() }()
		if err := r.Start(t.Context(), hash); err != nil {
			t.Fatal(err)
		}
		for _, pause := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
			crashed := time.Now()
			r.driver.machine(hash).end(false)
			for n := r.driver.count(); r.driver.count() == n; {
				time.Sleep(100 * time.Millisecond)
				synctest.Wait()
			}
			if waited := time.Since(crashed).Round(time.Second); waited != pause*time.Second {
				t.Errorf("started again after %v, want %v", waited, pause*time.Second)
			}
		}
		time.Sleep(2 * time.Minute) // it lives for a while
		crashed := time.Now()
		r.driver.machine(hash).end(false)
		for n := r.driver.count(); r.driver.count() == n; {
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
		}
		if waited := time.Since(crashed).Round(time.Second); waited != time.Second {
			t.Errorf("after a good while it waits %v", waited)
		}
	})
}

func TestTheConsoleCanBeFollowedWhileThereIsAMachine(t *testing.T) {
	r := newRig(t)
	hash := r.publish("a", nil)
	r.begin()
	follow := func() {
		t.Helper()
		f, err := r.Follow(hash)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := r.driver.machine(hash).console.Write([]byte("hello\n")); err != nil {
			t.Fatal(err)
		}
		if line := <-f.Live; line.Text != "hello" || line.Stream != "stdout" {
			t.Errorf("got %+v", line)
		}
	}
	if err := r.Start(t.Context(), hash); err != nil {
		t.Fatal(err)
	}
	follow()
	r.stop()
	r.begin() // and by the next node
	defer func() { r.stop() }()
	follow()
	if _, err := r.Stop(t.Context(), hash); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Follow(hash); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestAGuestThatTurnsItselfOffStaysOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		hash := r.publish("a", nil)
		r.begin()
		defer func() { r.stop() }()
		if o := r.Allocate(t.Context(), []message.Hash{hash}); len(o.Errors) > 0 {
			t.Fatal(o.Errors)
		}
		r.driver.machine(hash).end(true)
		time.Sleep(time.Hour)
		if o := r.Allocate(t.Context(), []message.Hash{hash}); len(o.Errors) > 0 || r.driver.count() != 1 {
			t.Errorf("%v, started %d times", o.Errors, r.driver.count())
		}
		if i := r.info(hash); i.Running || !i.Stopped {
			t.Errorf("got %+v", i)
		}
		if err := r.Start(t.Context(), hash); err != nil || r.driver.count() != 2 {
			t.Errorf("%v, started %d times", err, r.driver.count())
		}
	})
}

func TestAGuestThatIgnoresThePowerButtonIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.driver.deaf = true
		hash := r.publish("a", nil)
		r.begin()
		defer func() { r.stop() }()
		if err := r.Start(t.Context(), hash); err != nil {
			t.Fatal(err)
		}
		m, begin := r.driver.machine(hash), time.Now()
		running, err := r.Stop(t.Context(), hash)
		if err != nil || !running || m.kills == 0 {
			t.Errorf("%v, was running %v, killed %v", err, running, m.kills > 0)
		}
		if took := time.Since(begin); took != 50*time.Second || m.presses < 10 {
			t.Errorf("took %v, pressed %d times", took, m.presses)
		}
		if running, err := r.Stop(t.Context(), hash); err != nil || running {
			t.Errorf("stopped twice: %v, %v", running, err)
		}
	})
}

func TestInstancesAreStoppedAtTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		hash := r.publish("a", nil)
		r.begin()
		defer func() { r.stop() }()
		start := func() {
			t.Helper()
			if err := r.Start(t.Context(), hash); err != nil {
				t.Fatal(err)
			}
		}
		runs := func() bool { synctest.Wait(); return r.driver.machine(hash) != nil }

		start()
		r.Expire(hash, time.Hour)
		r.Expire(hash, 10*time.Minute) // the last word counts
		time.Sleep(10*time.Minute - time.Second)
		if !runs() {
			t.Error("it ended before its time")
		}
		time.Sleep(time.Second)
		if runs() || !r.info(hash).Stopped {
			t.Errorf("it goes on after its time: %+v", r.info(hash))
		}
		start()
		time.Sleep(time.Hour)
		if !runs() {
			t.Error("it was ended by a word that another took the place of")
		}

		r.Expire(hash, time.Minute)
		if _, err := r.Stop(t.Context(), hash); err != nil {
			t.Fatal(err)
		}
		start()
		time.Sleep(time.Hour)
		if !runs() {
			t.Error("an end that was set before it was stopped holds for what was started later")
		}

		r.Expire(hash, time.Minute)
		if err := r.Dismiss(t.Context(), hash); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if r.Has(hash) {
			t.Error("what was sent away came back at its end")
		}
	})
}

func TestWhatIsStartedWhileItIsStoppedRunsInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.driver.deaf = true
		hash := r.publish("a", nil)
		r.begin()
		defer func() { r.stop() }()
		if err := r.Start(t.Context(), hash); err != nil {
			t.Fatal(err)
		}
		stopped := make(chan error, 1)
		go func() { _, err := r.Stop(t.Context(), hash); stopped <- err }()
		synctest.Wait()
		m := r.driver.machine(hash)
		started := make(chan error, 1)
		go func() { started <- r.Start(t.Context(), hash) }()
		synctest.Wait()
		m.end(true) // the guest follows the first order only now
		if err := errors.Join(<-started, <-stopped); err != nil {
			t.Error(err)
		}
		if i := r.info(hash); !i.Running || r.driver.count() != 2 {
			t.Errorf("got %+v, started %d times", i, r.driver.count())
		}
	})
}

func TestMachinesGoOnWithoutTheirNodeAndAreAdopted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		a, b, c := r.publish("a", nil), r.publish("b", nil), r.publish("c", nil)
		r.begin()
		if o := r.Allocate(t.Context(), []message.Hash{a, b, c}); len(o.Errors) > 0 {
			t.Fatal(o.Errors)
		}
		before := r.List()
		r.stop()
		if len(r.driver.running) != 3 {
			t.Fatalf("%d machines go on", len(r.driver.running))
		}
		// While no node is there: one crashes, one turns itself off, and one is there that nobody knows.
		r.driver.machine(b).end(false)
		stray := &fakeMachine{driver: r.driver, id: "stray", done: make(chan struct{})}
		r.driver.running["stray"] = stray
		for _, name := range []string{"disks/stray", "parents/stray"} {
			if err := os.MkdirAll(filepath.Join(r.dir, name), 0o700); err != nil {
				t.Fatal(err)
			}
		}

		r.begin()
		time.Sleep(time.Second)
		synctest.Wait()
		if r.driver.count() != 4 || stray.kills == 0 {
			t.Errorf("started %d times, the stray one was ended: %v", r.driver.count(), stray.kills > 0)
		}
		for i, now := range r.List() {
			if !now.Running || now.Addresses != before[i].Addresses || !slices.Equal(now.Ports, before[i].Ports) {
				t.Errorf("was %+v, is %+v", before[i], now)
			}
		}
		for _, pattern := range []string{"disks/stray", "parents/stray", "logs/stray*"} {
			if left, _ := filepath.Glob(filepath.Join(r.dir, pattern)); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		}
		r.stop()
	})
}

func TestAStopThatWasCutShortIsFinishedByTheNextNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.driver.deaf = true
		hash := r.publish("a", nil)
		r.begin()
		if err := r.Start(t.Context(), hash); err != nil {
			t.Fatal(err)
		}
		stopped := make(chan error, 1)
		go func() { _, err := r.Stop(t.Context(), hash); stopped <- err }()
		synctest.Wait()
		r.stop()
		if err := <-stopped; !errors.Is(err, instance.ErrStopped) {
			t.Errorf("got %v", err)
		}
		m := r.driver.machine(hash)
		if m == nil || m.kills > 0 {
			t.Fatal("its power was cut by a node that ends")
		}
		r.driver.deaf = false
		r.begin()
		time.Sleep(time.Second)
		synctest.Wait()
		if i := r.info(hash); i.Running || !i.Stopped || r.driver.machine(hash) != nil {
			t.Errorf("got %+v", i)
		}
		r.stop()
	})
}

func TestWhatTheSchedulerSendsAwayKeepsItsDisksForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		planned, own := r.publish("planned", nil), r.publish("own", nil)
		r.begin()
		if o := r.Allocate(t.Context(), []message.Hash{planned}); len(o.Errors) > 0 {
			t.Fatal(o.Errors)
		}
		if err := r.Start(t.Context(), own); err != nil {
			t.Fatal(err)
		}
		o := r.Allocate(t.Context(), nil)
		if !slices.Equal(o.Stopped, []message.Hash{planned}) || r.driver.machine(planned) != nil || r.driver.machine(own) == nil {
			t.Errorf("stopped %v", o.Stopped)
		}
		if list := r.List(); len(list) != 1 || list[0].Hash != own {
			t.Errorf("list %+v", list)
		}
		disk := filepath.Join(r.dir, "disks", string(planned), "rootfs.qcow2")
		if _, err := os.Stat(disk); err != nil {
			t.Errorf("its disk: %v", err)
		}
		time.Sleep(6 * 24 * time.Hour)
		r.stop()
		r.begin()
		if _, err := os.Stat(disk); err != nil {
			t.Errorf("its disk after six days: %v", err)
		}
		time.Sleep(2 * 24 * time.Hour)
		r.stop()
		r.begin()
		synctest.Wait()
		if _, err := os.Stat(filepath.Dir(disk)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("its disk after eight days: %v", err)
		}
		if r.info(own).Running == false {
			t.Error("the owner's own instance does not run")
		}
		r.stop()
	})
}

func TestThereIsNeverMoreThanThereIs(t *testing.T) {
	for name, change := range map[string]func(*message.Instance){
		"memory":     func(m *message.Instance) { m.Resources.MemoryMiB = 800 },
		"overhead":   func(m *message.Instance) { m.Resources.MemoryMiB = 1000 - 256 - 2*10 + 1 },
		"processors": func(m *message.Instance) { m.Resources.VCPUs = 8 },
		"disk":       func(m *message.Instance) { m.Rootfs.SizeMiB = 1 << 40 },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.change = func(c *instance.Config) { c.OverheadMiB = 10 }
			first, second := r.publish("first", nil), r.publish("second", change)
			r.begin()
			defer func() { r.stop() }()
			o := r.Allocate(t.Context(), []message.Hash{first})
			if len(o.Errors) > 0 {
				t.Fatal(o.Errors)
			}
			o = r.Allocate(t.Context(), []message.Hash{first, second})
			if !errors.Is(o.Errors[second], instance.ErrNoRoom) || r.driver.count() != 1 {
				t.Errorf("got %v", o.Errors)
			}
			if err := r.Room(r.net.instances[second]); !errors.Is(err, instance.ErrNoRoom) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestWhatIsNotOfferedIsRefusedAtOnce(t *testing.T) {
	firecracker, store := "firecracker", "store"
	for name, change := range map[string]func(*message.Instance){
		"another hypervisor":     func(m *message.Instance) { m.Environment.Hypervisor = &firecracker },
		"a confidential machine": func(m *message.Instance) { m.Environment.TrustedExecution = &message.TrustedExecution{} },
		"a GPU": func(m *message.Instance) {
			m.Requirements = &message.Requirements{GPU: make([]message.GPURequirement, 1)}
		},
		"a volume kept on the store": func(m *message.Instance) {
			m.Volumes = []message.Volume{{Kind: message.VolumePersistent, Persistence: &store, SizeMiB: 1}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			hash := r.publish("a", change)
			r.begin()
			defer func() { r.stop() }()
			if err := r.Start(t.Context(), hash); !errors.Is(err, instance.ErrUnsupported) || r.Has(hash) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestAFailedStartIsSaidAndTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		hash := r.publish("a", nil)
		r.net.failFiles(corenode.ErrUnavailable)
		r.begin()
		defer func() { r.stop() }()
		o := r.Allocate(t.Context(), []message.Hash{hash})
		if !errors.Is(o.Errors[hash], corenode.ErrUnavailable) || !errors.Is(o.Errors[hash], instance.ErrResource) {
			t.Errorf("got %v", o.Errors)
		}
		r.net.failFiles(nil)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if !r.info(hash).Running {
			t.Errorf("got %+v", r.info(hash))
		}
	})
}

func TestAnImageThatIsNoDiskIsRefusedOnceAndForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		hash, other := r.publish("a", nil), r.publish("b", nil)
		image := r.net.image
		r.net.image = filepath.Join(t.TempDir(), "no disk")
		if err := os.WriteFile(r.net.image, make([]byte, 4096), 0o600); err != nil {
			t.Fatal(err)
		}
		r.begin()
		defer func() { r.stop() }()
		refused := func() {
			t.Helper()
			o := r.Allocate(t.Context(), []message.Hash{hash})
			if err := o.Errors[hash]; !errors.Is(err, instance.ErrRefused) || !strings.Contains(err.Error(), "boot sector") {
				t.Errorf("the scheduler is told %v", err)
			}
			if i := r.info(hash); i.Running || i.MemoryMiB != 0 || i.Failure == nil || !strings.Contains(i.Failure.Error(), "boot sector") {
				t.Errorf("lists show %+v", i)
			}
		}
		refused()
		asked := r.net.asked()
		time.Sleep(time.Hour)
		refused()
		r.stop()
		r.begin()
		time.Sleep(time.Hour)
		refused()
		if n := r.net.asked() - asked; n > 0 || r.driver.count() > 0 {
			t.Errorf("it was tried again %d times", n)
		}
		r.net.image = image // a newer version, say
		if _, err := r.Reboot(t.Context(), hash); err != nil || !r.info(hash).Running || r.info(hash).Failure != nil {
			t.Errorf("%v, %+v", err, r.info(hash))
		}
		if o := r.Allocate(t.Context(), []message.Hash{hash, other}); len(o.Errors) > 0 {
			t.Error(o.Errors)
		}
	})
}

func TestWhatTheSchedulerSendsAndIsNotOfferedIsShownToItsOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		hash := r.publish("a", func(m *message.Instance) { m.Environment.TrustedExecution = &message.TrustedExecution{} })
		r.begin()
		defer func() { r.stop() }()
		if o := r.Allocate(t.Context(), []message.Hash{hash}); !errors.Is(o.Errors[hash], instance.ErrRefused) {
			t.Errorf("the scheduler is told %v", o.Errors)
		}
		time.Sleep(time.Hour)
		if i := r.info(hash); i.Failure == nil || !strings.Contains(i.Failure.Error(), "confidential") || r.net.asked() > 0 {
			t.Errorf("got %+v", i)
		}
		if o := r.Allocate(t.Context(), nil); len(o.Stopped) != 1 || r.Has(hash) {
			t.Errorf("stopped %v", o.Stopped)
		}
	})
}

func TestForwardedPortsFollowMessagesThatComeAfterTheOwnersNotice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		hash := r.publish("a", nil)
		r.begin()
		defer func() { r.stop() }()
		if err := errors.Join(r.Start(t.Context(), hash), r.Update(t.Context(), hash)); err != nil {
			t.Fatal(err)
		}
		r.net.aggregate = fmt.Sprintf(`{"%s":{"ports":{"80":{"tcp":true}}}}`, hash)
		for _, step := range []struct {
			owner string
			ports int
		}{{"0xStranger", 1}, {"0xOwner", 2}} {
			r.PortsChanged(step.owner)
			synctest.Wait()
			if ports := r.info(hash).Ports; len(ports) != step.ports || len(r.guests.last[0].Forwards) != step.ports {
				t.Errorf("a message of %s: ports %+v, rules %+v", step.owner, ports, r.guests.last)
			}
		}
	})
}

func TestForwardedPortsFollowTheOwner(t *testing.T) {
	r := newRig(t)
	hash, other := r.publish("a", nil), r.publish("b", nil)
	r.begin()
	for _, h := range []message.Hash{hash, other} {
		if err := r.Start(t.Context(), h); err != nil {
			t.Fatal(err)
		}
	}
	show := func() (text string) {
		for _, p := range r.info(hash).Ports {
			text += fmt.Sprintf("%d tcp=%v udp=%v;", p.GuestPort, p.TCP, p.UDP)
		}
		return text
	}
	host := func(guest uint16) uint16 {
		for _, p := range r.info(hash).Ports {
			if p.GuestPort == guest {
				return p.HostPort
			}
		}
		return 0
	}
	ssh := host(22)
	if show() != "22 tcp=true udp=false;" || ssh < 24000 {
		t.Fatalf("got %+v", r.info(hash).Ports)
	}
	var web uint16
	for _, step := range []struct {
		name, aggregate string
		err             error
		want            string
	}{
		{"more", `{"%s":{"ports":{"80":{"tcp":true,"udp":true}}}}`, nil, "22 tcp=true udp=false;80 tcp=true udp=true;"},
		{"another protocol", `{"%s":{"ports":{"80":{"tcp":false,"udp":true}}}}`, nil, "22 tcp=true udp=false;80 tcp=false udp=true;"},
		{"the question fails", `{}`, corenode.ErrUnavailable, "22 tcp=true udp=false;80 tcp=false udp=true;"},
		{"nonsense", `{"%s":{"ports":{"99999":{"tcp":true}}}}`, nil, "22 tcp=true udp=false;80 tcp=false udp=true;"},
		{"SSH is listed", `{"%s":{"ports":{"22":{"tcp":true,"udp":true}}}}`, nil, "22 tcp=true udp=true;"},
		{"there is no aggregate", ``, corenode.ErrNotFound, "22 tcp=true udp=false;"},
	} {
		r.net.aggregate, r.net.aggregateErr = step.aggregate, step.err
		if step.aggregate != "" && step.aggregate != "{}" {
			r.net.aggregate = fmt.Sprintf(step.aggregate, hash)
		}
		err := r.Update(t.Context(), hash)
		if show() != step.want || host(22) != ssh {
			t.Errorf("%s: got %+v, %v", step.name, r.info(hash).Ports, err)
		}
		if now := host(80); web != 0 && now != 0 && now != web {
			t.Errorf("%s: port 80 was on %d and is on %d", step.name, web, now)
		} else {
			web = now
		}
	}
	r.stop()
	r.begin()
	if host(22) != ssh {
		t.Errorf("after a restart SSH is on %d", host(22))
	}
	if err := r.Erase(t.Context(), hash); err != nil || len(r.guests.last) != 1 {
		t.Errorf("%v, guests %+v", err, r.guests.last)
	}
	r.stop()
}

func TestAnInstanceGetsAnotherNumberWhereAnotherNodeIsFirst(t *testing.T) {
	r := newRig(t)
	first, second := r.publish("a", nil), r.publish("b", nil)
	r.begin()
	defer func() { r.stop() }()
	slotOf := func(hash message.Hash) int {
		for _, g := range r.guests.last {
			if g.Addresses == r.info(hash).Addresses {
				return g.Slot
			}
		}
		t.Fatalf("instance %s has no network: %+v", hash, r.guests.last)
		return 0
	}
	if err := r.Start(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	running := slotOf(first)
	r.guests.take(running+1, running+2) // which looked free
	if err := r.Start(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	if slotOf(first) != running || slotOf(second) != running+3 {
		t.Errorf("the numbers are %d and %d", slotOf(first), slotOf(second))
	}
	if spec := r.driver.specs[1]; spec.Tap != tap.Name(running+3) {
		t.Errorf("its machine has %s", spec.Tap)
	}
	seed, err := os.ReadFile(r.driver.specs[1].Seed)
	if want := r.info(second).Addresses.IPv4.String() + "/24"; err != nil || !strings.Contains(string(seed), want) {
		t.Errorf("cloud-init does not find %s: %v", want, err)
	}

	// A machine that runs keeps its number: it has its tap open. All others go on.
	r.guests.take(running)
	if _, err := r.Reboot(t.Context(), second); err != nil || slotOf(second) != running+3 {
		t.Errorf("%v, number %d", err, slotOf(second))
	}
	r.guests.take(running + 3)
	r.driver.machine(first).end(true)
	r.driver.machine(second).end(true)
	r.stop()
	r.begin() // after the host was started again
	if err := r.Start(t.Context(), first); err != nil || slotOf(first) == running {
		t.Errorf("%v, number %d", err, slotOf(first))
	}
	now := slotOf(second)
	r.stop()
	r.begin()
	if slotOf(second) != now || now == running+3 {
		t.Errorf("its number was %d and is %d", now, slotOf(second))
	}
}

func TestWithoutInternetThereIsNoNetworkCard(t *testing.T) {
	r := newRig(t)
	hash := r.publish("a", func(m *message.Instance) { m.Environment.Internet = false })
	r.begin()
	defer func() { r.stop() }()
	if err := r.Start(t.Context(), hash); err != nil {
		t.Fatal(err)
	}
	if spec := r.driver.specs[0]; spec.Tap != "" || len(r.guests.last) != 0 || len(r.info(hash).Ports) != 0 {
		t.Errorf("tap %q, guests %+v", spec.Tap, r.guests.last)
	}
}

func TestReinstallKeepsWhatItIsToldToKeep(t *testing.T) {
	r := newRig(t)
	persistence := "host"
	name := "data"
	hash := r.publish("a", func(m *message.Instance) {
		m.Volumes = []message.Volume{{Kind: message.VolumePersistent, Persistence: &persistence, Name: &name, SizeMiB: 8}}
	})
	r.begin()
	defer func() { r.stop() }()
	if err := r.Start(t.Context(), hash); err != nil {
		t.Fatal(err)
	}
	root, data := r.driver.specs[0].Root, r.driver.specs[0].Drives[0].Path
	mark := func(path string) {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString("mark"); err != nil {
			t.Fatal(err)
		}
	}
	marked := func(path string) bool {
		raw, err := os.ReadFile(path)
		return err == nil && string(raw[max(0, len(raw)-4):]) == "mark"
	}
	mark(root)
	mark(data)
	if err := r.Reinstall(t.Context(), hash, false); err != nil || marked(root) || !marked(data) {
		t.Errorf("%v: root old %v, data old %v", err, marked(root), marked(data))
	}
	if err := r.Reinstall(t.Context(), hash, true); err != nil || marked(data) {
		t.Errorf("%v: data old %v", err, marked(data))
	}
	if r.driver.count() != 3 {
		t.Errorf("started %d times", r.driver.count())
	}
}

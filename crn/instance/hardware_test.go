package instance_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aleph-im/aleph-go/crn/corenode"
	"github.com/aleph-im/aleph-go/crn/gpu"
	"github.com/aleph-im/aleph-go/crn/instance"
	"github.com/aleph-im/aleph-go/crn/vm/qemu"
	"github.com/aleph-im/aleph-go/message"
)

// secure has the nodes of a rig run confidential instances.
func (r *rig) secure() {
	r.change = func(c *instance.Config) {
		c.SEV = &qemu.SecureProcessor{Device: "/dev/sev", CBitPosition: 51, ReducedPhysBits: 1}
	}
}

func confidential(m *message.Instance) {
	m.Environment.TrustedExecution = &message.TrustedExecution{Policy: 5}
}

func TestAConfidentialInstanceWaitsForItsOwnerWhateverEndsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.secure()
		hash := r.publish("a", confidential)
		r.begin()
		defer func() { r.stop() }()
		plan := []message.Hash{hash}
		starts := 0
		waits := func(when string) {
			t.Helper()
			for range 3 { // and is not started by anybody else
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				if o := r.Allocate(t.Context(), plan); len(o.Errors) > 0 {
					t.Errorf("%s the plan fails: %v", when, o.Errors)
				}
			}
			if i := r.info(hash); i.Running || !i.Awaiting || i.MemoryMiB == 0 || r.driver.count() != starts {
				t.Errorf("%s: %+v, started %d times", when, i, r.driver.count())
			}
		}
		load := func() {
			t.Helper()
			if err := r.Initialize(t.Context(), hash, []byte("session"), []byte("owner")); err != nil {
				t.Fatal(err)
			}
			starts++
			if i := r.info(hash); !i.Running || i.Awaiting || r.driver.count() != starts {
				t.Errorf("loaded: %+v", i)
			}
		}
		waits("allocated")
		if o := r.Allocate(t.Context(), nil); len(o.Stopped) > 0 {
			t.Error("a plan without it sent it away")
		}
		waits("left out of a plan")
		r.stop()
		r.begin()
		waits("after its node")
		load()
		if err := r.Initialize(t.Context(), hash, []byte("session"), []byte("owner")); !errors.Is(err, instance.ErrRunning) {
			t.Errorf("loaded twice: %v", err)
		}
		l := r.driver.specs[0].Launch
		if l == nil || l.Policy != 5 || l.Processor.CBitPosition != 51 || l.Firmware != r.net.image {
			t.Fatalf("loaded as %+v", l)
		}
		for path, want := range map[string]string{l.Session: "session", l.Owner: "owner"} {
			if raw, err := os.ReadFile(path); err != nil || string(raw) != want {
				t.Errorf("%s: %q, %v", filepath.Base(path), raw, err)
			}
		}
		r.stop()
		r.begin()
		if i := r.info(hash); !i.Running || i.Awaiting {
			t.Errorf("the machine is another one's: %+v", i)
		}
		r.driver.machine(hash).end(false)
		waits("after a crash")
		if i := r.info(hash); i.Failure == nil || !strings.Contains(i.Failure.Error(), "only its owner") {
			t.Errorf("its owner is told %v", i.Failure)
		}
		load()
		if _, err := r.Reboot(t.Context(), hash); err != nil {
			t.Error(err)
		}
		waits("after a reboot")
		load()
		if err := r.Reinstall(t.Context(), hash, true); err != nil {
			t.Error(err)
		}
		waits("installed anew")
		load()
		if err := r.RestoreVolume(t.Context(), hash, message.HashBytes([]byte("image"))); err != nil {
			t.Error(err)
		}
		waits("restored")
		before := filepath.Join(r.dir, "disks", string(hash), "rootfs.qcow2.before")
		if _, err := os.Stat(before); err != nil {
			t.Errorf("what was replaced is gone before it was seen to run: %v", err)
		}
		load()
		synctest.Wait()
		if _, err := os.Stat(before); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("what was replaced: %v", err)
		}
		if _, err := r.Stop(t.Context(), hash); err != nil {
			t.Error(err)
		}
		if i := r.info(hash); i.Awaiting || !i.Stopped || i.MemoryMiB != 0 {
			t.Errorf("stopped: %+v", i)
		}
		load() // which is its owner's word, too
	})
}

func TestAConfidentialInstanceThatIsNotReadyIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.secure()
		hash := r.publish("a", confidential)
		r.net.failFiles(corenode.ErrUnavailable)
		r.begin()
		defer func() { r.stop() }()
		if o := r.Allocate(t.Context(), []message.Hash{hash}); !errors.Is(o.Errors[hash], corenode.ErrUnavailable) || r.info(hash).Awaiting {
			t.Errorf("got %v, %+v", o.Errors, r.info(hash))
		}
		r.net.failFiles(nil)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if i := r.info(hash); !i.Awaiting || i.Failure != nil {
			t.Errorf("got %+v", i)
		}
	})
}

func TestWhatTheProcessorRefusesIsToldToTheOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.secure()
		hash, plain := r.publish("a", confidential), r.publish("b", nil)
		r.begin()
		defer func() { r.stop() }()
		if o := r.Allocate(t.Context(), []message.Hash{hash, plain}); len(o.Errors) > 0 {
			t.Fatal(o.Errors)
		}
		refused := errors.New("bad measurement")
		r.driver.refuse(refused)
		if err := r.Initialize(t.Context(), hash, nil, nil); !errors.Is(err, refused) {
			t.Errorf("got %v", err)
		}
		if i := r.info(hash); !i.Awaiting || !errors.Is(i.Failure, refused) {
			t.Errorf("got %+v", i)
		}
		r.driver.refuse(nil)
		time.Sleep(time.Hour)
		if r.driver.count() != 2 {
			t.Errorf("it was tried %d times", r.driver.count())
		}
		if _, err := r.Measurement(t.Context(), hash); !errors.Is(err, instance.ErrNotRunning) {
			t.Errorf("measurement of what waits: %v", err)
		}
		if err := r.Initialize(t.Context(), hash, nil, nil); err != nil {
			t.Fatal(err)
		}
		if m, err := r.Measurement(t.Context(), hash); err != nil || m.Launch != "measured" {
			t.Errorf("got %+v, %v", m, err)
		}
		if _, err := r.InjectSecret(t.Context(), hash, "header", "another"); err == nil || !strings.Contains(err.Error(), "QEMU refuses it") {
			t.Errorf("a secret that is refused: %v", err)
		}
		if state, err := r.InjectSecret(t.Context(), hash, "header", "secret"); err != nil || string(state) != `{"running":true}` {
			t.Errorf("got %s, %v", state, err)
		}
		if _, _, err := r.Leave(hash); !errors.Is(err, instance.ErrConfidential) {
			t.Errorf("it moves: %v", err)
		}
		if _, err := r.Arrive(t.Context(), r.publish("c", confidential), instance.Arrival{}); !errors.Is(err, instance.ErrConfidential) {
			t.Errorf("another one comes: %v", err)
		}
		if _, err := r.Measurement(t.Context(), plain); !errors.Is(err, instance.ErrNotConfidential) {
			t.Errorf("measurement of what is not confidential: %v", err)
		}
		if _, err := r.Stop(t.Context(), plain); err != nil {
			t.Fatal(err)
		}
		if err := r.Initialize(t.Context(), plain, nil, nil); !errors.Is(err, instance.ErrNotConfidential) {
			t.Errorf("what is not confidential was loaded: %v", err)
		}
	})
}

func TestCardsBelongToOneInstanceWhileItRuns(t *testing.T) {
	r := newRig(t)
	const id = "10de:27b0"
	card := func(place string) gpu.Card {
		return gpu.Card{DeviceID: id, DeviceClass: gpu.ClassVGA, PCIHost: place, Group: place, OnDemand: true}
	}
	table := []gpu.Card{card("01:00.0"), card("02:00.0")}
	// A bus whose devices go where they are told.
	root := t.TempDir()
	for _, c := range table {
		folder := filepath.Join(root, c.Folder())
		if err := errors.Join(os.MkdirAll(folder, 0o700), os.Symlink("../groups/"+c.Group, filepath.Join(folder, "iommu_group"))); err != nil {
			t.Fatal(err)
		}
	}
	override := ""
	host := gpu.Host{Root: root, Write: func(path, value string) error {
		if filepath.Base(path) == "driver_override" {
			override = strings.TrimSpace(value)
			return nil
		}
		link := filepath.Join(root, card(strings.TrimPrefix(value, "0000:")).Folder(), "driver")
		_ = os.Remove(link)
		if filepath.Base(path) == "unbind" || override == "" {
			return nil
		}
		return os.Symlink("../drivers/"+override, link)
	}}
	bound := func() (places []string) {
		for _, c := range table {
			if _, err := os.Lstat(filepath.Join(root, c.Folder(), "driver")); err == nil {
				places = append(places, c.PCIHost)
			}
		}
		return places
	}
	r.change = func(c *instance.Config) { c.Cards, c.CardHost = gpu.NewTable(table), host }
	asks := func(n int) func(*message.Instance) {
		return func(m *message.Instance) {
			m.Requirements = &message.Requirements{GPU: slices.Repeat([]message.GPURequirement{{DeviceID: id}}, n)}
		}
	}
	first, second, three := r.publish("a", asks(1)), r.publish("b", asks(2)), r.publish("c", asks(3))
	r.begin()
	defer func() { r.stop() }()
	free := func() int { _, free := r.Cards(); return len(free) }
	if _, missing := r.ReserveCards("0xOwner", r.net.instances[first]); missing != nil || free() != 1 {
		t.Errorf("reserved: %v, %d are free", missing, free())
	}
	if err := r.Start(t.Context(), three); !errors.Is(err, instance.ErrUnsupported) {
		t.Errorf("three of two: %v", err)
	}
	if err := r.Start(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if got := r.driver.specs[0].Cards; len(got) != 1 || got[0].PCIHost != "01:00.0" || !slices.Equal(bound(), []string{"01:00.0"}) {
		t.Errorf("it got %v, and %v are taken from the host", got, bound())
	}
	if err := r.Start(t.Context(), second); !errors.Is(err, instance.ErrNoRoom) || r.Has(second) {
		t.Errorf("both, of which one is in use: %v", err)
	}
	if err := r.Room(r.net.instances[second]); !errors.Is(err, instance.ErrNoRoom) {
		t.Errorf("there is room: %v", err)
	}
	if o := r.Allocate(t.Context(), nil); len(o.Stopped) > 0 {
		t.Errorf("a plan without it sent it away: %v", o)
	}
	r.stop()
	r.begin()
	if free() != 1 || !slices.Equal(bound(), []string{"01:00.0"}) {
		t.Errorf("with the next node %d are free, %v are taken", free(), bound())
	}
	if _, err := r.Stop(t.Context(), first); err != nil || free() != 2 || bound() != nil {
		t.Errorf("stopped: %v, %d are free, %v are taken", err, free(), bound())
	}
	if err := r.Start(t.Context(), second); err != nil || len(bound()) != 2 {
		t.Errorf("both: %v, %v are taken", err, bound())
	}
	if err := r.Start(t.Context(), first); !errors.Is(err, instance.ErrNoRoom) {
		t.Errorf("its card is another's: %v", err)
	}
	if err := r.Erase(t.Context(), second); err != nil || bound() != nil {
		t.Errorf("erased: %v, %v are taken", err, bound())
	}
	r.driver.refuse(errors.New("QEMU does not like it"))
	_ = r.Start(t.Context(), first)
	if bound() != nil {
		t.Errorf("taken for a machine that did not start: %v", bound())
	}
}

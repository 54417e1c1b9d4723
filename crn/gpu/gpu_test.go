package gpu

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// bus is a host that is made up: a tree of the kernel's files, and what the kernel does when they are written to. It was written from
// Documentation/ABI/testing/sysfs-bus-pci; no card was ever taken from a real one by it.
type bus struct {
	Host
	t      *testing.T
	usual  map[string]string // the drivers that devices are made for, by address
	broken bool              // the module vfio-pci is not there
}

func newBus(t *testing.T) *bus {
	b := &bus{t: t, usual: map[string]string{}}
	b.Host = Host{Root: t.TempDir(), Write: b.write}
	return b
}

// add plugs a device in. Its group is that of its slot, unless one is given.
func (b *bus) add(address, class, id, driver string, group string) {
	b.t.Helper()
	folder := filepath.Join(b.Root, devices, address)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		b.t.Fatal(err)
	}
	vendor, number, _ := strings.Cut(id, ":")
	for name, content := range map[string]string{"class": "0x" + class, "vendor": "0x" + vendor, "device": "0x" + number, "driver_override": "(null)"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content+"\n"), 0o600); err != nil {
			b.t.Fatal(err)
		}
	}
	if group != "" {
		if err := os.Symlink("../../../kernel/iommu_groups/"+group, filepath.Join(folder, "iommu_group")); err != nil {
			b.t.Fatal(err)
		}
	}
	b.usual[address] = driver
	b.drive(address, driver)
}

// drive gives a device a driver, or none.
func (b *bus) drive(address, driver string) {
	link := filepath.Join(b.Root, devices, address, "driver")
	_ = os.Remove(link)
	if driver != "" {
		if err := os.Symlink("../../../bus/pci/drivers/"+driver, link); err != nil {
			b.t.Error(err)
		}
	}
}

func (b *bus) write(path, value string) error {
	relative, err := filepath.Rel(b.Root, path)
	if err != nil {
		return err
	}
	if relative == "sys/bus/pci/drivers_probe" {
		if b.device(value).driver != "" {
			return nil
		}
		override, err := os.ReadFile(filepath.Join(b.Root, devices, value, "driver_override"))
		switch name := strings.TrimSpace(string(override)); {
		case err != nil:
			return err
		case name == "" || name == "(null)":
			b.drive(value, b.usual[value])
		case !b.broken:
			b.drive(value, name)
		}
		return nil
	}
	address := strings.Split(relative, "/")[4]
	switch filepath.Base(path) {
	case "unbind":
		if b.device(address).driver == "" || value != address {
			return errors.New("no such device")
		}
		b.drive(address, "")
		return nil
	case "driver_override":
		return os.WriteFile(path, []byte(value), 0o600)
	}
	return fmt.Errorf("nothing is written to %s", relative)
}

func (b *bus) drivers(addresses ...string) string {
	var list []string
	for _, a := range addresses {
		list = append(list, b.device(a).driver)
	}
	return strings.Join(list, " ")
}

func TestCardsThatAMachineCanHaveAloneAreFound(t *testing.T) {
	b := newBus(t)
	b.add("0000:00:01.0", "060400", "8086:1901", "pcieport", "1") // the bridge before the first card
	b.add("0000:01:00.0", "030000", "10de:27b0", "nouveau", "1")
	b.add("0000:01:00.1", "040300", "10de:22bc", "snd_hda_intel", "1") // its sound
	b.add("0000:02:00.0", "030200", "10de:26b9", "vfio-pci", "2")
	b.add("0000:03:00.0", "030000", "1002:744c", "vfio-pci", "3")
	b.add("0000:04:00.0", "020000", "8086:1521", "igb", "3")
	b.add("0000:05:00.0", "030000", "1a03:2000", "vfio-pci", "5") // a vendor of no graphics cards
	b.add("0000:06:00.0", "030000", "10de:2204", "vfio-pci", "")
	b.add("0001:01:00.0", "030000", "8086:56c0", "vfio-pci", "9")
	b.add("0000:07:00.0", "010802", "144d:a80a", "vfio-pci", "10")
	cards, refused, err := b.Cards([]string{"01:00.0"})
	if err != nil {
		t.Fatal(err)
	}
	want := []Card{
		{Vendor: "NVIDIA", Model: "10de:27b0", DeviceName: "10de:27b0", DeviceClass: ClassVGA, PCIHost: "01:00.0", DeviceID: "10de:27b0", Group: "1", OnDemand: true},
		{Vendor: "NVIDIA", Model: "10de:26b9", DeviceName: "10de:26b9", DeviceClass: Class3D, PCIHost: "02:00.0", DeviceID: "10de:26b9", Group: "2"},
		{Vendor: "Intel", Model: "8086:56c0", DeviceName: "8086:56c0", DeviceClass: ClassVGA, PCIHost: "0001:01:00.0", DeviceID: "8086:56c0", Group: "9"},
	}
	if fmt.Sprint(cards) != fmt.Sprint(want) {
		t.Errorf("got %+v, want %+v", cards, want)
	}
	why := errors.Join(refused...).Error()
	if len(refused) != 2 || !strings.Contains(why, "03:00.0: it shares the IOMMU group 3 with 0000:04:00.0") || !strings.Contains(why, "06:00.0: the host's IOMMU is off") {
		t.Errorf("refused: %v", refused)
	}
	for _, place := range []string{"09:00.0", "04:00.0"} {
		if _, _, err := b.Cards([]string{place}); err == nil || !strings.Contains(err.Error(), "0000:01:00.0") {
			t.Errorf("%s: %v", place, err)
		}
	}
	if cards, refused, err := (Host{Root: t.TempDir()}).Cards(nil); err != nil || len(cards)+len(refused) > 0 {
		t.Errorf("a host without a bus: %v, %v, %v", cards, refused, err)
	}
}

func TestACardIsTakenWithAllThatGoesWithItAndGivenBack(t *testing.T) {
	b := newBus(t)
	b.add("0000:00:01.0", "060400", "8086:1901", "pcieport", "1")
	b.add("0000:01:00.0", "030000", "10de:27b0", "nouveau", "1")
	b.add("0000:01:00.1", "040300", "10de:22bc", "snd_hda_intel", "1")
	b.add("0000:02:00.0", "030200", "10de:26b9", "vfio-pci", "2")
	cards, _, err := b.Cards([]string{"01:00.0"})
	if err != nil || len(cards) != 2 {
		t.Fatal(cards, err)
	}
	for range 2 { // for one machine after the other
		for range 2 { // also by a node after one that was killed
			for _, card := range cards {
				if err := b.Bind(card); err != nil {
					t.Fatal(err)
				}
			}
		}
		if got := b.drivers("0000:00:01.0", "0000:01:00.0", "0000:01:00.1", "0000:02:00.0"); got != "pcieport vfio-pci vfio-pci vfio-pci" {
			t.Errorf("taken: %s", got)
		}
		for range 2 {
			for _, card := range cards {
				if err := b.GiveBack(card); err != nil {
					t.Fatal(err)
				}
			}
		}
		if got := b.drivers("0000:00:01.0", "0000:01:00.0", "0000:01:00.1", "0000:02:00.0"); got != "pcieport nouveau snd_hda_intel vfio-pci" {
			t.Errorf("given back: %s", got)
		}
	}
	b.broken = true
	if err := b.Bind(cards[0]); err == nil || !strings.Contains(err.Error(), "load that module") {
		t.Errorf("without the module: %v", err)
	}
	b.drive("0000:02:00.0", "nvidia")
	if err := b.Bind(cards[1]); err == nil || b.drivers("0000:02:00.0") != "nvidia" {
		t.Errorf("a card that its operator took back: %v", err)
	}
}

func TestCardsAreKeptForAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const id = "10de:27b0"
		r := NewTable([]Card{{DeviceID: id, PCIHost: "01:00.0"}, {DeviceID: id, PCIHost: "02:00.0"}, {DeviceID: id, PCIHost: "03:00.0"}})
		used := map[string]bool{"03:00.0": true}
		want := []message.GPURequirement{{Vendor: "NVIDIA", DeviceID: id}}
		two := append(want, want...)
		first, missing := r.Reserve("0xA", two, used)
		if missing != nil || first != time.Now().Add(time.Minute) || len(r.Free(used)) != 0 {
			t.Fatalf("first: %v, %v, free %v", first, missing, r.Free(used))
		}
		time.Sleep(30 * time.Second)
		if again, missing := r.Reserve("0xa", two, used); missing != nil || !again.After(first) {
			t.Errorf("again by the same user: %v, %v", again, missing)
		}
		if _, missing := r.Reserve("0xB", want, used); missing == nil || missing.DeviceID != id {
			t.Errorf("by another: %v", missing)
		}
		if _, err := r.Choose("0xB", []string{id}, nil, used); err == nil {
			t.Error("another's instance got one")
		}
		if _, missing := r.Reserve("0xA", append(two, want...), used); missing == nil {
			t.Error("three of two")
		}
		if _, missing := r.Reserve("0xA", want, used); missing != nil || len(r.Free(used)) != 1 {
			t.Errorf("one given back: %v, %v", missing, r.Free(used))
		}
		if got, err := r.Choose("0xa", []string{id, id}, []string{"02:00.0"}, used); err != nil || got[0].PCIHost != "02:00.0" || got[1].PCIHost != "01:00.0" {
			t.Errorf("its own before, then what it reserved: %v, %v", got, err)
		}
		time.Sleep(time.Minute)
		if _, missing := r.Reserve("0xB", two, used); missing != nil {
			t.Errorf("by another, later: %v", missing)
		}
		if _, missing := r.Reserve("0xB", []message.GPURequirement{{DeviceID: "1002:0001"}}, used); missing == nil {
			t.Error("a card that is not there")
		}
	})
}

func TestCardsAreCalledAsTheSettingsCallThem(t *testing.T) {
	cards := []Card{{Vendor: "NVIDIA", Model: "10de:26b9", DeviceName: "10de:26b9", DeviceID: "10de:26b9"}, {DeviceName: "10de:1", DeviceID: "10de:1"}}
	got := Describe(cards, []Model{{Model: "L40S", DeviceID: "10de:26b9"}, {Model: "other", DeviceID: "10de:26b9"}})
	if c := got[0]; c.Vendor != "NVIDIA" || c.Model != "L40S" || c.DeviceName != "L40S" || !c.Compatible {
		t.Errorf("known: %+v", c)
	}
	if got[1] != cards[1] || cards[0].Compatible {
		t.Errorf("unknown: %+v of %+v", got[1], cards)
	}
}

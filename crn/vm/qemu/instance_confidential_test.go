package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/crn/gpu"
)

func secretSpec() InstanceSpec {
	return InstanceSpec{
		ID: "a", VCPUs: 1, MemoryMiB: 64, Root: "/d/root", Seed: "/d/seed", Tap: "vmtap2048", MAC: "52:54:00:00:00:01",
		Launch: &Launch{
			Processor: SecureProcessor{Device: "/dev/sev", CBitPosition: 51, ReducedPhysBits: 5}, Policy: 5,
			Firmware: "/d/firm,ware", Owner: "/d/godh", Session: "/d/session",
		},
	}
}

func TestAConfidentialMachineIsLoadedAndWaits(t *testing.T) {
	args, err := instanceArguments(secretSpec(), "kvm")
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Join(args, " ")
	for _, want := range []string{
		"-machine q35,usb=off,hpet=off,confidential-guest-support=sev0 -accel kvm -cpu host,host-phys-bits-limit=0x28", " -S -no-reboot ",
		"-drive if=pflash,format=raw,unit=0,readonly=on,file=/d/firm,,ware",
		"-object sev-guest,id=sev0,sev-device=/dev/sev,policy=0x5,cbitpos=51,reduced-phys-bits=5,dh-cert-file=/d/godh,session-file=/d/session",
		"-device virtio-net-pci,netdev=net0,mac=52:54:00:00:00:01",
	} {
		if !strings.Contains(line, want) {
			t.Errorf("%q is missing: %s", want, line)
		}
	}
	for _, not := range []string{"rombar", "guest_agent", "balloon", "vfio"} {
		if strings.Contains(line, not) {
			t.Errorf("%q has no place: %s", not, line)
		}
	}
}

func TestAMachineIsGivenCards(t *testing.T) {
	spec := secretSpec()
	spec.Launch = nil
	spec.Cards = []gpu.Card{{PCIHost: "03:00.0", DeviceClass: gpu.Class3D, Group: "9"}, {PCIHost: "0001:01:00.0", DeviceClass: gpu.ClassVGA, Group: "9"}}
	args, err := instanceArguments(spec, "kvm")
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Join(args, " ")
	for _, want := range []string{
		"-machine q35,usb=off,hpet=off -accel kvm -cpu host,host-phys-bits-limit=0x28", "guest_agent",
		"-device vfio-pci,host=03:00.0,rombar=0 -device vfio-pci,host=0001:01:00.0,rombar=0,x-vga=on",
	} {
		if !strings.Contains(line, want) {
			t.Errorf("%q is missing: %s", want, line)
		}
	}
	if strings.Contains(line, "balloon") || strings.Contains(line, " -S") {
		t.Errorf("memory that cards reach for stays: %s", line)
	}
	d, err := New(Config{Dir: t.TempDir(), Accelerator: "tcg", HostRoot: "/h"})
	if err != nil {
		t.Fatal(err)
	}
	i, err := d.Instances(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	print, err := d.Fingerprint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c, err := i.confine(t.TempDir(), spec, print)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(c.devices, []string{"/h/dev/vfio/vfio", "/h/dev/vfio/9"}) || c.lockedMiB != c.memoryMiB {
		t.Errorf("it is given %v, and locks %d MiB", c.devices, c.lockedMiB)
	}
	for _, folder := range []string{"/h/sys/bus/pci/devices/0000:03:00.0", "/h/sys/bus/pci/devices/0001:01:00.0"} {
		if !slices.Contains(c.reads, folder) {
			t.Errorf("%s is not among %v", folder, c.reads)
		}
	}
}

// QEMU reads all arguments before it looks for the hardware. That it asks for it shows that it took the rest.
func TestQEMUTakesTheArgumentsOfHardware(t *testing.T) {
	firmware := filepath.Join(t.TempDir(), "firmware")
	if err := os.WriteFile(firmware, make([]byte, 4<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		change func(*InstanceSpec)
		want   string // what it misses
	}{
		"a secure processor": {func(s *InstanceSpec) { s.Launch.Firmware = firmware }, "cgs"},
		"a card": {func(s *InstanceSpec) {
			s.Launch, s.Cards = nil, []gpu.Card{{PCIHost: "ffff:ff:1f.7", DeviceClass: gpu.ClassVGA}}
		}, "no such host device"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, spec := t.TempDir(), secretSpec()
			spec.Tap, spec.Root, spec.Seed = "", filepath.Join(dir, "root"), filepath.Join(dir, "seed")
			spec.Launch.Session, spec.Launch.Owner = filepath.Join(dir, "session"), filepath.Join(dir, "godh")
			for _, path := range []string{spec.Seed, spec.Launch.Session, spec.Launch.Owner} {
				if err := os.WriteFile(path, make([]byte, 512), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", spec.Root, "1M").CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			test.change(&spec)
			d, err := New(Config{Dir: filepath.Join(t.TempDir(), "driver"), Accelerator: "tcg"})
			if err != nil {
				t.Fatal(err)
			}
			i, err := d.Instances(filepath.Join(t.TempDir(), "run"))
			if err != nil {
				t.Fatal(err)
			}
			// Not confined: the jail looks for the devices before.
			args, err := instanceArguments(spec, "tcg")
			if err != nil {
				t.Fatal(err)
			}
			binary, err := i.driver.find()
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, binary, args...)
			cmd.Dir = dir
			for _, name := range []string{serialSocket, controlSocket, agentSocket} {
				f, err := listen(dir, name)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				cmd.ExtraFiles = append(cmd.ExtraFiles, f)
			}
			if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), test.want) {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

func TestWhatIsMissingForConfidentialMachinesIsSaid(t *testing.T) {
	for want, files := range map[string]map[string]string{
		"flag sev of /proc/cpuinfo": {"proc/cpuinfo": "flags\t: fpu sev_es\n"},
		"load it with sev=1":        {"proc/cpuinfo": "flags\t: fpu sev\n", "sys/module/kvm_amd/parameters/sev": "N\n"},
		"the module ccp":            {"proc/cpuinfo": "flags\t: fpu sev\n", "sys/module/kvm_amd/parameters/sev": "Y\n"},
		"they need KVM":             {"dev/sev": ""},
	} {
		root := t.TempDir()
		for path, content := range files {
			path = filepath.Join(root, path)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		d, err := New(Config{Dir: t.TempDir(), Accelerator: "tcg", HostRoot: root})
		if err != nil {
			t.Fatal(err)
		}
		i, err := d.Instances(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := i.SecureProcessor(t.Context()); !errors.Is(err, ErrNoSecureProcessor) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
}

func TestWhatQEMUSaysOfTheProcessorIsRead(t *testing.T) {
	p, err := readCapabilities(json.RawMessage(`{"cpu0-id":"AA==","reduced-phys-bits":1,"cbitpos":47,"pdh":"AAE=","cert-chain":"AgM="}`), "/dev/sev")
	if err != nil || p.CBitPosition != 47 || p.ReducedPhysBits != 1 || !slices.Equal(p.Certificates, []byte{0, 1, 2, 3}) || p.Device != "/dev/sev" {
		t.Errorf("got %+v, %v", p, err)
	}
	for _, bad := range []string{`{`, `{"pdh":"?"}`} {
		if p, err := readCapabilities(json.RawMessage(bad), ""); err == nil {
			t.Errorf("%s: %+v", bad, p)
		}
	}
}

// With -no-reboot QEMU stays, paused, with a guest that wanted to begin again: only its owner may load it.
func TestAGuestThatMayNotBeginAgainEnds(t *testing.T) {
	host, end := net.Pipe()
	said := make(chan string, 2)
	go func() {
		defer close(said)
		for commands := json.NewDecoder(end); ; {
			var c struct{ Execute, ID string }
			if commands.Decode(&c) != nil {
				return
			}
			said <- c.Execute
			if _, err := io.WriteString(end, `{"return":{},"id":"`+c.ID+`"}`+"\n"); err != nil {
				return
			}
		}
	}()
	m := &Instance{}
	control, err := newMonitor(t.Context(), host, m.event)
	if err != nil {
		t.Fatal(err)
	}
	defer control.close()
	<-said
	m.event(control, "SHUTDOWN", json.RawMessage(`{"guest":true,"reason":"guest-reset"}`))
	if got := <-said; got != "quit" || m.TurnedOff() {
		t.Errorf("QEMU was told %q, and the guest turned itself off: %v", got, m.TurnedOff())
	}
}

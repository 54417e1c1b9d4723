package qemu

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/crn/vm"
)

// probeLimit is how long a guest may take to say its first word under KVM. It takes well below a second where KVM works.
const probeLimit = 5 * time.Second

// answer is what was found out about this host, and for what.
type answer struct {
	Key         string `json:"key"`
	Accelerator string `json:"accelerator"`
	Reason      string `json:"reason"`
}

// Fingerprint implements [vm.Driver]. That /dev/kvm exists proves nothing: on nested hosts guests may hang under it. So one is
// booted, once for each QEMU, guest kernel and host kernel.
func (d *Driver) Fingerprint(ctx context.Context) (vm.Fingerprint, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.print != nil {
		return *d.print, nil
	}
	binary, err := d.find()
	if err != nil {
		return vm.Fingerprint{}, err
	}
	version, err := qemuVersion(ctx, binary)
	if err != nil {
		return vm.Fingerprint{}, err
	}
	if d.jail == nil {
		if d.jail, err = newJail(ctx, d.cfg, binary, d.users, d.groups, d.noGroups); err != nil {
			return vm.Fingerprint{}, err
		}
	}
	a := answer{Accelerator: d.cfg.Accelerator, Reason: "configured"}
	if a.Accelerator == "" {
		if a, err = d.remembered(ctx, version); err != nil {
			return vm.Fingerprint{}, err
		}
	}
	d.print = &vm.Fingerprint{
		Driver: "qemu", Version: version, Accelerator: a.Accelerator, Reason: a.Reason,
		Isolation: d.jail.report, OverheadMiB: overheadMiB(a.Accelerator),
	}
	return *d.print, nil
}

// remembered returns the stored answer, or finds one and stores it.
func (d *Driver) remembered(ctx context.Context, version string) (answer, error) {
	file := filepath.Join(d.cfg.Dir, "accelerator.json")
	key, err := d.probeKey(version)
	if err != nil {
		return answer{}, err
	}
	var a answer
	if raw, err := os.ReadFile(file); err == nil && json.Unmarshal(raw, &a) == nil && a.Key == key {
		return a, nil
	}
	a = answer{Key: key, Accelerator: "kvm", Reason: "a guest started under it"}
	if err := d.probe(ctx); err != nil {
		if ctx.Err() != nil {
			return answer{}, ctx.Err()
		}
		a.Accelerator, a.Reason = "tcg", "no KVM: "+err.Error()
	}
	raw, err := json.Marshal(a)
	if err != nil {
		return answer{}, err
	}
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		return answer{}, fmt.Errorf("remember the accelerator: %w", err)
	}
	return a, nil
}

func (d *Driver) probeKey(version string) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, version)
	var host unix.Utsname
	if err := unix.Uname(&host); err != nil {
		return "", err
	}
	fmt.Fprintln(h, unix.ByteSliceToString(host.Release[:]))
	_, err := os.Stat("/dev/kvm")
	fmt.Fprintln(h, err == nil)
	f, err := os.Open(d.cfg.Kernel)
	if err != nil {
		return "", fmt.Errorf("guest kernel: %w; 'make guest' fetches it", err)
	}
	defer f.Close()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("guest kernel: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// probe boots a machine under KVM and returns nil when its guest spoke in time.
func (d *Driver) probe(ctx context.Context) error {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return errors.New("/dev/kvm does not exist")
	case errors.Is(err, os.ErrPermission):
		return errors.New("no permission to open /dev/kvm: add the node's user to the group kvm")
	case err != nil:
		return err
	}
	f.Close()
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	const id = "probe"
	_ = os.RemoveAll(d.runDir(id))
	m, err := d.launch(vm.Spec{ID: id, VCPUs: 1, MemoryMiB: 128, Kernel: d.cfg.Kernel, Initrd: d.cfg.Initrd}, "kvm", nil)
	if err != nil {
		return err
	}
	defer func() {
		now, cancel := context.WithCancel(context.Background())
		cancel()
		_ = m.Stop(now)
	}()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	console := filepath.Join(m.dir, consoleFile)
	for {
		if raw, err := os.ReadFile(console); err == nil && bytes.Contains(raw, []byte(d.cfg.BootMark)) {
			return nil
		}
		select {
		case <-tick.C:
		case <-m.done:
			return fmt.Errorf("the machine ended%s", m.said())
		case <-ctx.Done():
			return fmt.Errorf("/dev/kvm exists, but a guest did not start under it within %s", probeLimit)
		}
	}
}

var versionPattern = regexp.MustCompile(`version (\d+\.\d+\.\d+)`)

func qemuVersion(ctx context.Context, binary string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, binary, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("ask QEMU for its version: %w", err)
	}
	match := versionPattern.FindSubmatch(out)
	if match == nil {
		return "", fmt.Errorf("%s does not seem to be QEMU: it says %.80q", binary, out)
	}
	return string(match[1]), nil
}

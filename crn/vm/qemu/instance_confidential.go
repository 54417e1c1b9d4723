package qemu

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A confidential machine has its memory encrypted by a secure processor of AMD, SEV or SEV-ES, under a key that the host never sees
// (spec/crn.md §4.4). It is loaded and waits, paused, until its owner has checked what the processor measured and sent a secret.

// SecureProcessor is the one of this host, as QEMU describes it.
type SecureProcessor struct {
	Device          string // that it is reached by
	CBitPosition    int    // of the bit of an address that tells encrypted memory
	ReducedPhysBits int    // bits that addresses lose by it
	// Certificates are PDH, PEK, OCA and CEK, one after the other, which owners lead back to AMD.
	Certificates []byte
}

// Launch is how a machine is begun on a secure processor.
type Launch struct {
	Processor SecureProcessor
	Policy    uint32
	Firmware  string // path of the image that is measured
	Owner     string // path of the owner's certificate, in base64
	Session   string // path of the owner's session, in base64
}

// arguments are those of QEMU for it. The guest cannot begin again by itself: a launch measures one start.
func (l *Launch) arguments() []string {
	return []string{
		"-S", "-no-reboot",
		"-drive", "if=pflash,format=raw,unit=0,readonly=on,file=" + optionValue(l.Firmware),
		"-object", fmt.Sprintf("sev-guest,id=sev0,sev-device=%s,policy=0x%x,cbitpos=%d,reduced-phys-bits=%d,dh-cert-file=%s,session-file=%s",
			optionValue(l.Processor.Device), l.Policy, l.Processor.CBitPosition, l.Processor.ReducedPhysBits, optionValue(l.Owner), optionValue(l.Session)),
	}
}

// optionValue writes a path as the value of an option of QEMU.
func optionValue(path string) string { return strings.ReplaceAll(path, ",", ",,") }

// ErrNoSecureProcessor says that confidential machines cannot run on this host, after what is missing.
var ErrNoSecureProcessor = errors.New("this node runs no confidential machines")

// SecureProcessor asks QEMU for the secure processor of this host. The error says what is missing, and is ErrNoSecureProcessor.
func (i *Instances) SecureProcessor(ctx context.Context) (*SecureProcessor, error) {
	device := i.driver.hostPath("dev/sev")
	if _, err := os.Stat(device); err != nil {
		return nil, fmt.Errorf("%w: there is no /dev/sev: %s", ErrNoSecureProcessor, i.driver.whyNoSEV())
	}
	print, err := i.driver.Fingerprint(ctx)
	if err != nil {
		return nil, err
	}
	if print.Accelerator != "kvm" {
		return nil, fmt.Errorf("%w: they need KVM, and guests run emulated: %s", ErrNoSecureProcessor, print.Reason)
	}
	p, err := i.askProcessor(ctx, device)
	if err != nil {
		return nil, fmt.Errorf("%w: QEMU cannot use /dev/sev: %w", ErrNoSecureProcessor, err)
	}
	return p, nil
}

// whyNoSEV says why the kernel offers no SEV.
func (d *Driver) whyNoSEV() string {
	flags, _ := os.ReadFile(d.hostPath("proc/cpuinfo"))
	enabled, _ := os.ReadFile(d.hostPath("sys/module/kvm_amd/parameters/sev"))
	switch {
	case !slices.Contains(strings.Fields(string(flags)), "sev"):
		return "the processor has no SEV (flag sev of /proc/cpuinfo), or it is off in the host's firmware"
	case strings.TrimSpace(string(enabled)) != "Y" && strings.TrimSpace(string(enabled)) != "1":
		return "the kernel module kvm_amd does not use it: load it with sev=1"
	}
	return "the firmware of the processor does not answer: see what the kernel's log says of the module ccp"
}

// askProcessor has a QEMU without a machine say what it knows of the processor. It is confined as those with one.
func (i *Instances) askProcessor(ctx context.Context, device string) (_ *SecureProcessor, err error) {
	dir, err := os.MkdirTemp(i.driver.cfg.Dir, "sev-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	control, err := listen(dir, controlSocket)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	stderr, err := os.Create(filepath.Join(dir, stderrFile))
	if err != nil {
		return nil, err
	}
	defer stderr.Close()
	c := confined{
		id: "sev", dir: dir, devices: []string{i.driver.hostPath("dev/kvm"), device}, files: []*os.File{control}, stdout: stderr, stderr: stderr,
		memoryMiB: 256, vcpus: 1,
		args: []string{"-machine", "none", "-accel", "kvm", "-nodefaults", "-no-user-config", "-display", "none",
			"-chardev", "socket,id=control,fd=3,server=on,wait=off", "-mon", "chardev=control,mode=control"},
	}
	if c.binary, err = i.driver.find(); err != nil {
		return nil, err
	}
	cell, err := i.driver.jail.start(c)
	if err != nil {
		return nil, err
	}
	control.Close() // so that a QEMU that ended does not seem to be there
	defer func() {
		_ = unix.Kill(-cell.Process.Pid, unix.SIGKILL)
		_ = cell.Wait()
		err = errors.Join(err, cell.release())
	}()
	ctx, cancel := context.WithTimeout(ctx, attachLimit)
	defer cancel()
	conn, err := (&Instance{dir: dir}).dial(controlSocket)
	if err != nil {
		return nil, err
	}
	m, err := newMonitor(ctx, conn, func(*monitor, string, json.RawMessage) {})
	if err != nil {
		return nil, fmt.Errorf("%w%s", err, said(dir))
	}
	defer m.close()
	raw, err := m.ask(ctx, order{command: "query-sev-capabilities"})
	if err != nil {
		return nil, err
	}
	return readCapabilities(raw, device)
}

// readCapabilities reads QEMU's SevCapability.
func readCapabilities(raw json.RawMessage, device string) (*SecureProcessor, error) {
	var answer struct {
		PDH             string
		Chain           string `json:"cert-chain"`
		CBitPosition    int    `json:"cbitpos"`
		ReducedPhysBits int    `json:"reduced-phys-bits"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, err
	}
	p := &SecureProcessor{Device: device, CBitPosition: answer.CBitPosition, ReducedPhysBits: answer.ReducedPhysBits}
	for _, text := range []string{answer.PDH, answer.Chain} {
		part, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("certificates of the processor: %w", err)
		}
		p.Certificates = append(p.Certificates, part...)
	}
	return p, nil
}

// SEVInfo is what QEMU says of a launch.
type SEVInfo struct {
	Enabled bool   `json:"enabled"`
	Major   int    `json:"api_major"`
	Minor   int    `json:"api_minor"`
	Build   int    `json:"build_id"`
	Policy  uint32 `json:"policy"`
	State   string `json:"state"` // launch-secret while a secret is awaited
	Handle  int    `json:"handle"`
}

// Measurement is what the processor measured of a machine that is loaded.
type Measurement struct {
	SEV    SEVInfo `json:"sev_info"`
	Launch string  `json:"launch_measure"` // in base64
}

// Measurement asks for it.
func (m *Instance) Measurement(ctx context.Context) (*Measurement, error) {
	var info struct {
		Enabled bool
		Major   int `json:"api-major"`
		Minor   int `json:"api-minor"`
		Build   int `json:"build-id"`
		Policy  uint32
		State   string
		Handle  int
	}
	if err := m.query(ctx, order{command: "query-sev"}, &info); err != nil {
		return nil, err
	}
	var launch struct{ Data string }
	if err := m.query(ctx, order{command: "query-sev-launch-measure"}, &launch); err != nil {
		return nil, err
	}
	return &Measurement{SEVInfo(info), launch.Data}, nil
}

// InjectSecret gives the guest what its owner sealed for it, header and secret in base64, and lets it run. It returns QEMU's word on
// the state of the machine.
func (m *Instance) InjectSecret(ctx context.Context, header, secret string) (json.RawMessage, error) {
	for _, o := range []order{
		{command: "sev-inject-launch-secret", arguments: with{"packet-header": header, "secret": secret}},
		{command: "cont"},
	} {
		if _, err := m.ask(ctx, o); err != nil {
			return nil, err
		}
	}
	return m.ask(ctx, order{command: "query-status"})
}

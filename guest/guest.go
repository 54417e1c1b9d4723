// Package guest is the program that is PID 1 in our virtual machines. The host puts it in the initramfs, so that any Linux root
// filesystem is a runtime and needs nothing of ours inside.
//
// It loads the virtio modules, waits for the host on the serial port (guest/wire), mounts what the configuration names, becomes
// the init of that root, starts the user's program, hands it connections and tells the host what becomes of it. It trusts the
// host and nothing else; archives of users are unpacked here, where they can hurt only their own machine.
package guest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/guest/wire"
)

// Main runs the machine from the kernel's hand-over to power-off. It does not return.
func Main() {
	fmt.Println(wire.BootMark)
	debug.SetGCPercent(50) // memory here is memory that the user paid for
	if err := run(); err != nil {
		fmt.Println("aleph guest:", err)
	}
	powerOff()
}

// run returns when the host asked for it, or is gone: a machine without its node is of use to nobody.
func run() error {
	if err := mountKernelFilesystems(); err != nil {
		return err
	}
	if err := loadModules("/modules"); err != nil {
		return err
	}
	port, err := openPort(wire.PortName, 10*time.Second)
	if err != nil {
		return err
	}
	defer port.Close()
	if _, err := wire.GuestHandshake(port); err != nil {
		return err
	}
	session, err := yamux.Server(port, wire.Mux())
	if err != nil {
		return fmt.Errorf("start the multiplexer: %w", err)
	}
	defer session.Close()

	m := &machine{session: session, logs: newLogSender(), api: newHostAPI()}
	m.api.attach(session)
	for {
		stream, err := session.AcceptStream()
		if err != nil {
			return fmt.Errorf("the host is gone: %w", err)
		}
		go m.serve(stream)
	}
}

// machine is what the streams share.
type machine struct {
	session *yamux.Session
	logs    *logSender
	api     *hostAPI
}

// serve handles one stream by its kind.
func (m *machine) serve(stream *yamux.Stream) {
	defer stream.Close()
	var kind [1]byte
	if _, err := io.ReadFull(stream, kind[:]); err != nil {
		return
	}
	switch kind[0] {
	case wire.StreamControl:
		m.control(stream)
		m.session.Close() // the control stream lives as long as the machine
	case wire.StreamLogs:
		m.logs.run(stream)
	case wire.StreamProxy:
		proxy(stream)
	}
}

// control sets the machine up, runs the program and reports until it has ended and the host says stop.
func (m *machine) control(stream *yamux.Stream) {
	var (
		mu      sync.Mutex
		encoder = json.NewEncoder(stream)
		decoder = json.NewDecoder(stream)
		config  wire.Config
	)
	report := func(e wire.Event) {
		mu.Lock()
		defer mu.Unlock()
		_ = encoder.Encode(e) // a host that is gone ends the session
	}
	if err := decoder.Decode(&config); err != nil {
		return
	}
	var p *process
	if err := setUp(&config); err != nil {
		report(wire.Event{State: wire.StateFailed, Error: err.Error()})
	} else if err := m.api.listen(config.API); err != nil {
		report(wire.Event{State: wire.StateFailed, Error: err.Error()})
	} else if p, err = start(&config, m.logs); err != nil {
		report(wire.Event{State: wire.StateFailed, Error: err.Error()})
	} else {
		report(wire.Event{State: wire.StateRunning})
		go func() {
			if waitListening(wire.ProgramPort, p.done) {
				report(wire.Event{State: wire.StateReady})
			}
			<-p.done
			report(p.exit)
		}()
	}

	var command wire.Command
	for !command.Stop {
		if err := decoder.Decode(&command); err != nil {
			break
		}
	}
	if p != nil {
		p.stop(command.Grace)
	}
	unix.Sync()
	powerOff()
}

// powerOff ends the machine. A kernel without working power management panics instead, which ends it as well: QEMU is
// started with -no-reboot and the kernel with panic=-1.
func powerOff() {
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	os.Exit(1)
}

func mountKernelFilesystems() error {
	var errs []error
	for _, m := range []struct{ dir, fs, options string }{
		{"/proc", "proc", ""}, {"/sys", "sysfs", ""}, {"/dev", "devtmpfs", "mode=0755"},
	} {
		if err := mount(m.fs, m.dir, m.fs, unix.MS_NOSUID, m.options); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// loadModules loads the files that dir/list names. Each may need others: those that fail are tried again for as long as any
// other succeeds, so that their order, which differs between kernels, does not matter.
func loadModules(dir string) error {
	list, err := os.ReadFile(filepath.Join(dir, "list"))
	if errors.Is(err, os.ErrNotExist) {
		return nil // a kernel with everything built in
	}
	if err != nil {
		return fmt.Errorf("read the list of modules: %w", err)
	}
	for waiting := strings.Fields(string(list)); len(waiting) > 0; {
		var failed []string
		var errs []error
		for _, name := range waiting {
			if err := loadModule(filepath.Join(dir, name)); err != nil {
				failed, errs = append(failed, name), append(errs, err)
			}
		}
		if len(failed) == len(waiting) {
			return errors.Join(errs...)
		}
		waiting = failed
	}
	return nil
}

func loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("load module: %w", err)
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load module %s: %w", filepath.Base(path), err)
	}
	return nil
}

// openPort opens the virtio-serial port with the given name. The kernel finds its devices in the background, hence the wait.
func openPort(name string, wait time.Duration) (*os.File, error) {
	for deadline := time.Now().Add(wait); ; time.Sleep(2 * time.Millisecond) {
		files, _ := filepath.Glob("/sys/class/virtio-ports/*/name")
		for _, file := range files {
			if got, _ := os.ReadFile(file); string(bytes.TrimSpace(got)) == name {
				return os.OpenFile("/dev/"+filepath.Base(filepath.Dir(file)), os.O_RDWR, 0)
			}
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("no virtio-serial port named %s", name)
		}
	}
}

// waitDevice waits until the block device is there and returns its path.
func waitDevice(name string) (string, error) {
	path := "/dev/" + name
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("block device %s did not appear", name)
		}
	}
}

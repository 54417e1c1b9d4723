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
	"slices"
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
	m := &machine{logs: newLogSender(), api: newHostAPI()}
	for {
		if err := m.session(port); err != nil {
			return err
		}
	}
}

// machine is what outlives a session with the host.
type machine struct {
	logs     *logSender
	api      *hostAPI
	program  *process // nil until the first session has configured it
	card     bool     // the program is reached at the network card
	renewing *renewing
	booted   time.Time // the host's clock when it configured the machine
}

// session serves one host from its greeting on. It returns nil when the host has parked the machine.
func (m *machine) session(port *os.File) error {
	greet := m.resume
	if m.program == nil {
		greet = func(port io.ReadWriter) error {
			_, err := wire.GuestHandshake(port)
			return err
		}
	}
	if err := greet(port); err != nil {
		return err
	}
	mux, err := yamux.Server(held{port}, wire.Mux())
	if err != nil {
		return fmt.Errorf("start the multiplexer: %w", err)
	}
	defer mux.Close()
	m.api.attach(mux)
	s := &session{machine: m, mux: mux, parked: make(chan struct{})}
	for {
		stream, err := mux.AcceptStream()
		if err != nil {
			select {
			case <-s.parked:
			default:
				return fmt.Errorf("the host is gone: %w", err)
			}
			s.streams.Wait()
			if err := port.SetReadDeadline(time.Time{}); err != nil {
				return fmt.Errorf("wait for the next greeting: %w", err)
			}
			return wire.Parked(port)
		}
		s.streams.Go(func() { s.serve(stream) })
	}
}

// held is the port in the hands of one session, which must not close it: when a session ends only its reading does.
type held struct{ *os.File }

func (h held) Close() error { return h.SetReadDeadline(time.Unix(1, 0)) }

// session is what the streams share.
type session struct {
	*machine
	mux     *yamux.Session
	streams sync.WaitGroup
	logging sync.WaitGroup
	parked  chan struct{} // closed when the host has parked the machine
}

// serve handles one stream by its kind.
func (s *session) serve(stream *yamux.Stream) {
	defer stream.Close()
	var kind [1]byte
	if _, err := io.ReadFull(stream, kind[:]); err != nil {
		return
	}
	switch kind[0] {
	case wire.StreamControl:
		s.control(stream) // lives as long as the session
		s.api.attach(nil)
		close(s.parked)
		s.logging.Wait()
		s.mux.Close()
	case wire.StreamLogs:
		s.logging.Add(1)
		defer s.logging.Done()
		s.logs.run(stream, s.parked)
	case wire.StreamProxy:
		proxy(stream)
	}
}

// control sets the machine up and runs the program, or goes on with it, and reports until the host parks the machine or, when
// the program has ended and the host says stop, turns it off.
func (s *session) control(stream *yamux.Stream) {
	var mu sync.Mutex
	encoder, decoder := json.NewEncoder(stream), json.NewDecoder(stream)
	report := func(e wire.Event) {
		mu.Lock()
		defer mu.Unlock()
		_ = encoder.Encode(e) // a host that is gone ends the session
	}
	followed := make(chan struct{}) // closed when nothing more will be reported
	isNew := s.program == nil
	var err error
	if isNew {
		err = s.configure(decoder)
	}
	if err != nil {
		report(wire.Event{State: wire.StateFailed, Error: err.Error()})
		close(followed)
	} else {
		go func() {
			defer close(followed)
			if isNew {
				s.await(report)
			}
			s.follow(report)
		}()
	}

	var command wire.Command
	for !command.Stop {
		if err := decoder.Decode(&command); err != nil {
			break
		}
		if command.Park {
			return
		}
	}
	if s.program != nil {
		s.program.stop(command.Grace)
	}
	select {
	case <-followed: // the host has been told how the program ended
	case <-time.After(reportTime):
	}
	powerOff()
}

// reportTime is how long a machine that turns off waits for its host to take the last report.
const reportTime = 5 * time.Second

// configure makes the machine and starts the program.
func (s *session) configure(decoder *json.Decoder) error {
	var config wire.Config
	if err := decoder.Decode(&config); err != nil {
		return err
	}
	if err := setUp(&config); err != nil {
		return err
	}
	s.card, s.booted = configureCard(config.Internet), config.Time
	if err := s.api.listen(config.API); err != nil {
		return err
	}
	var err error
	if slices.Contains(config.Args, wire.ASGIServer) {
		if err = writeASGIServer(wire.ASGIServer); err != nil {
			return err
		}
	}
	if config.Copies {
		if s.renewing, err = listenForRenewing(wire.RenewSocket, wire.NodePreload); err != nil {
			return err
		}
	}
	s.program, err = start(&config, s.logs)
	return err
}

// await reports when a new program is ready.
func (s *session) await(report func(wire.Event)) {
	report(wire.Event{State: wire.StateRunning})
	if waitListening(wire.ProgramPort, s.program.done) {
		processes, err := userProcesses("/proc")
		report(wire.Event{State: wire.StateReady, Card: s.card, Renews: err == nil && s.renewing.everybody(processes)})
	}
}

// follow reports how the program ends, for as long as there is anybody to hear it.
func (s *session) follow(report func(wire.Event)) {
	select {
	case <-s.program.done:
		report(s.program.exit)
	case <-s.parked:
	}
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

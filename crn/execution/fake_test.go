package execution_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/aleph-im/aleph-go/crn/corenode"
	"github.com/aleph-im/aleph-go/crn/execution"
	"github.com/aleph-im/aleph-go/crn/vm"
	"github.com/aleph-im/aleph-go/guest/wire"
	"github.com/aleph-im/aleph-go/message"
)

// fakeDriver is a fake: no machine boots. Behind each channel a goroutine speaks the guest's part of the protocol, so that what
// is tested, the life of an execution, runs in microseconds. Real machines run in crn's own tests.
type fakeDriver struct {
	mu       sync.Mutex
	started  int
	running  int
	most     int // running at the same time
	refusal  error
	behave   func(config wire.Config) wire.State // what a guest reports; ready when nil
	renews   bool                                // binaries wait to be renewed; Python programs always do
	machines []*fakeMachine
}

func (d *fakeDriver) Fingerprint(context.Context) (vm.Fingerprint, error) {
	return vm.Fingerprint{Driver: "fake"}, nil
}
func (d *fakeDriver) Reap(context.Context) ([]string, error) { return nil, nil }

func (d *fakeDriver) Start(_ context.Context, spec vm.Spec) (vm.Machine, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.started++
	if d.refusal != nil {
		return nil, d.refusal
	}
	m := d.machine(spec)
	go m.serve()
	return m, nil
}

// machine makes one that does nothing yet. d.mu is held.
func (d *fakeDriver) machine(spec vm.Spec) *fakeMachine {
	d.running++
	d.most = max(d.most, d.running)
	host, guest := net.Pipe()
	m := &fakeMachine{driver: d, spec: spec, channel: host, guest: guest, done: make(chan struct{}), crash: make(chan struct{})}
	d.machines = append(d.machines, m)
	return m
}

func (d *fakeDriver) count() (started, running int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.started, d.running
}

// last returns the machine that was started last.
func (d *fakeDriver) last() *fakeMachine {
	all := d.all()
	return all[len(all)-1]
}

// all returns the machines that were started, the first one first.
func (d *fakeDriver) all() []*fakeMachine {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.machines)
}

type fakeMachine struct {
	driver         *fakeDriver
	spec           vm.Spec
	channel, guest net.Conn
	once           sync.Once
	done           chan struct{}
	crash          chan struct{} // closed by the test: the program exits
	copied         wire.State    // what it reports when it is a copy; empty when it is none
}

func (m *fakeMachine) Channel() net.Conn     { return m.channel }
func (m *fakeMachine) Card() net.Conn        { return nil }
func (m *fakeMachine) Inspect() vm.Status    { return vm.Status{Running: true} }
func (m *fakeMachine) Done() <-chan struct{} { return m.done }
func (m *fakeMachine) Err() error            { <-m.done; return nil }
func (m *fakeMachine) Stop(context.Context) error {
	m.once.Do(func() {
		m.guest.Close()
		m.channel.Close()
		m.driver.mu.Lock()
		m.driver.running--
		m.driver.mu.Unlock()
		close(m.done)
	})
	return nil
}

// held is the guest's end of the channel, which outlives a session.
type held struct{ net.Conn }

func (h held) Close() error { return h.SetReadDeadline(time.Unix(1, 0)) }

// serve is the guest.
func (m *fakeMachine) serve() {
	if m.copied != "" {
		if !m.resume() {
			return
		}
	} else if _, err := wire.GuestHandshake(m.guest); err != nil {
		return
	}
	session, err := yamux.Server(held{m.guest}, wire.Mux())
	if err != nil {
		return
	}
	defer session.Close()
	for {
		stream, err := session.AcceptStream()
		if err != nil {
			return
		}
		var kind [1]byte
		if _, err := io.ReadFull(stream, kind[:]); err != nil {
			return
		}
		if kind[0] == wire.StreamControl {
			go func() {
				parked := m.control(stream)
				session.Close()
				if parked && wire.Parked(m.guest) == nil {
					<-m.done
				}
				_ = m.Stop(context.Background())
			}()
		}
	}
}

// resume reports whether a copy goes on.
func (m *fakeMachine) resume() bool {
	r, epoch, err := wire.ReadResume(m.guest)
	if err != nil || r.Entropy == ([wire.EntropySize]byte{}) {
		return false
	}
	switch m.copied {
	case wire.StateReady:
		return wire.Resumed{}.Write(m.guest, epoch) == nil
	case wire.StateFailed:
		_ = wire.Resumed{Error: "as told"}.Write(m.guest, epoch)
	default:
		<-m.done
	}
	_ = m.Stop(context.Background())
	return false
}

// control reports whether it ended because the host parked the machine.
func (m *fakeMachine) control(stream io.ReadWriter) (parked bool) {
	decoder, encoder := json.NewDecoder(stream), json.NewEncoder(stream)
	if m.copied == "" {
		var config wire.Config
		if decoder.Decode(&config) != nil {
			return false
		}
		state := wire.StateReady
		if m.driver.behave != nil {
			state = m.driver.behave(config)
		}
		if state != "" {
			renews := config.Copies && (m.driver.renews || config.Args[0] == "python3")
			_ = encoder.Encode(wire.Event{State: state, Error: "as told", Code: 9, Renews: renews})
		}
	}
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		var command wire.Command
		_ = decoder.Decode(&command)
		parked = command.Park
	}()
	select {
	case <-stop:
	case <-m.crash:
		_ = encoder.Encode(wire.Event{State: wire.StateExited, Code: 9})
		<-stop
	}
	return parked
}

// fakeNetwork is a fake: it knows the programs that the test put in, and every file is the same small archive.
type fakeNetwork struct {
	mu       sync.Mutex
	programs map[message.Hash]*message.Program
	archive  string
	silent   chan struct{} // closed when the core node answers; nil when it does
}

func (n *fakeNetwork) Program(ctx context.Context, hash message.Hash) (*message.Program, error) {
	n.mu.Lock()
	silent := n.silent
	n.mu.Unlock()
	if silent != nil {
		select {
		case <-silent:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if p := n.programs[hash]; p != nil {
		return p, nil
	}
	return nil, corenode.ErrNotFound
}

func (n *fakeNetwork) File(_ context.Context, ref message.Hash, _ bool, limit int64) (corenode.File, error) {
	if ref == "" {
		return corenode.File{}, corenode.ErrNotFound
	}
	return corenode.File{Ref: ref, Hash: ref, Path: n.archive, Size: 4, Owner: "0xowner"}, nil
}

// program adds a program with the given need of memory.
func (n *fakeNetwork) program(name string, memoryMiB int) message.Hash {
	n.mu.Lock()
	defer n.mu.Unlock()
	hash := message.HashBytes([]byte(name))
	p := &message.Program{}
	p.Address = "0xowner"
	p.Code = message.Code{Encoding: message.EncodingPlain, Entrypoint: "program", Ref: hash}
	p.Runtime = message.Runtime{Ref: hash}
	p.Resources = message.Resources{VCPUs: 1, MemoryMiB: memoryMiB, Seconds: 10}
	n.programs[hash] = p
	return hash
}

// rig is a pool on fakes.
type rig struct {
	*execution.Pool
	dir     string
	driver  *fakeDriver
	network *fakeNetwork
	end     context.CancelFunc
	ended   chan error
}

func newRig(t *testing.T, change func(*execution.Config)) *rig {
	t.Helper()
	dir := t.TempDir()
	archive := filepath.Join(dir, "archive")
	if err := os.WriteFile(archive, []byte("hsqs"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &rig{dir: dir, driver: &fakeDriver{}, network: &fakeNetwork{programs: map[message.Hash]*message.Program{}, archive: archive}, ended: make(chan error, 1)}
	c := execution.Config{
		Network: r.network, Driver: r.driver, Dir: dir, MemoryMiB: 1000, ReuseTimeout: time.Hour, InitTimeout: time.Minute,
		DrainTimeout: 10 * time.Second, MaxBoots: 2,
	}
	if change != nil {
		change(&c)
	}
	var err error
	if r.Pool, err = execution.New(c); err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, r.end = context.WithCancel(context.Background())
	go func() { r.ended <- r.Run(ctx) }()
	return r
}

// stop ends the pool and fails when a machine is left.
func (r *rig) stop(t *testing.T) {
	t.Helper()
	r.end()
	if err := <-r.ended; err != nil {
		t.Error(err)
	}
	if _, running := r.driver.count(); running != 0 {
		t.Errorf("%d machines left", running)
	}
	if used, _ := r.Memory(); used != 0 {
		t.Errorf("%d MiB left in use", used)
	}
}

var errTest = errors.New("as the test wants")

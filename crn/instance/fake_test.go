package instance_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/crn/corenode"
	"github.com/aleph-im/aleph-go/crn/instance"
	"github.com/aleph-im/aleph-go/crn/tap"
	"github.com/aleph-im/aleph-go/crn/vm"
	"github.com/aleph-im/aleph-go/crn/vm/qemu"
	"github.com/aleph-im/aleph-go/message"
)

// rig is a pool on fakes, which can be ended and begun anew. No machine boots, so that failures and time are under control; real
// machines run in crn's own tests.
type rig struct {
	*instance.Pool
	t      *testing.T
	driver *fakeDriver
	net    *fakeNetwork
	guests *fakeGuests
	dir    string
	change func(*instance.Config)
	stop   func()
}

func newRig(t *testing.T) *rig {
	r := &rig{
		t: t, driver: &fakeDriver{running: map[string]*fakeMachine{}}, guests: &fakeGuests{}, dir: t.TempDir(),
		net: &fakeNetwork{instances: map[message.Hash]*message.Instance{}, aggregate: "{}"},
	}
	image := make([]byte, 4096)
	image[510], image[511] = 0x55, 0xaa
	r.net.image = filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(r.net.image, image, 0o600); err != nil {
		t.Fatal(err)
	}
	return r
}

// begin makes a node's pool and runs it until end.
func (r *rig) begin() {
	r.t.Helper()
	cfg := instance.Config{
		Network: r.net, Driver: r.driver, Guests: r.guests, Dir: r.dir, IPv6Pool: netip.MustParsePrefix("fc00:1:2:3::/64"),
		MemoryMiB: 1000, VCPUs: 8,
	}
	if r.change != nil {
		r.change(&cfg)
	}
	p, err := instance.New(r.t.Context(), cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	r.Pool = p
	r.stop = func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("pool ended with %v", err)
		}
	}
}

// publish makes an instance known to the network.
func (r *rig) publish(name string, change func(*message.Instance)) message.Hash {
	hash := message.HashBytes([]byte(name))
	m := &message.Instance{Rootfs: message.Rootfs{Parent: message.ParentVolume{Ref: message.HashBytes([]byte("parent"))}, Persistence: "host", SizeMiB: 64}}
	m.Address = "0xOwner"
	m.Environment.Internet = true
	m.Resources = message.Resources{VCPUs: 1, MemoryMiB: 256}
	if change != nil {
		change(m)
	}
	r.net.instances[hash] = m
	return hash
}

func (r *rig) info(hash message.Hash) instance.Info {
	for _, i := range r.List() {
		if i.Hash == hash {
			return i
		}
	}
	return instance.Info{}
}

type fakeNetwork struct {
	instances    map[message.Hash]*message.Instance
	image        string
	aggregate    string // the value of port-forwarding
	aggregateErr error

	mu      sync.Mutex
	fileErr error
	files   int // asked for
}

func (n *fakeNetwork) asked() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.files
}

func (n *fakeNetwork) failFiles(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fileErr = err
}

func (n *fakeNetwork) Instance(_ context.Context, hash message.Hash) (*message.Instance, error) {
	if m := n.instances[hash]; m != nil {
		return m, nil
	}
	return nil, corenode.ErrNotFound
}

func (n *fakeNetwork) File(context.Context, message.Hash, bool, int64) (corenode.File, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.files++
	raw, err := os.ReadFile(n.image)
	return corenode.File{Hash: message.HashBytes(raw), Path: n.image, Size: int64(len(raw))}, errors.Join(err, n.fileErr)
}

func (n *fakeNetwork) Aggregate(_ context.Context, _, _ string, _ time.Duration, v any) error {
	if n.aggregateErr != nil {
		return n.aggregateErr
	}
	return json.Unmarshal([]byte(n.aggregate), v)
}

type fakeGuests struct {
	slow  time.Duration // what setting rules takes
	mu    sync.Mutex
	last  []tap.Guest
	taken []int // numbers that another node's guests have
}

func (g *fakeGuests) Apply(_ context.Context, guests []tap.Guest) error {
	time.Sleep(g.slow)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last = nil
	var taken tap.TakenError
	for _, guest := range guests {
		if slices.Contains(g.taken, guest.Slot) {
			taken.Slots = append(taken.Slots, guest.Slot)
		} else {
			g.last = append(g.last, guest)
		}
	}
	if taken.Slots != nil {
		return &taken
	}
	return nil
}

// take has another node's guests take numbers.
func (g *fakeGuests) take(slots ...int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.taken = append(g.taken, slots...)
}

type fakeDriver struct {
	mu      sync.Mutex
	running map[string]*fakeMachine // as processes are: also without a pool
	starts  []time.Time
	specs   []qemu.InstanceSpec
	deaf    bool // guests do not heed the power button
	stuck   bool // machines cannot be ended
	refusal error
	form    string       // that machines would have here; "form" when empty
	passes  func() error // whether memory comes through
	copy    func(ctx context.Context, disks []qemu.DiskCopy, freeze bool) error
}

func (d *fakeDriver) Start(_ context.Context, spec qemu.InstanceSpec) (instance.Machine, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.starts = append(d.starts, time.Now())
	d.specs = append(d.specs, spec)
	if d.refusal != nil {
		return nil, d.refusal
	}
	if d.running[spec.ID] != nil {
		return nil, errors.New("it runs already")
	}
	m := &fakeMachine{driver: d, id: spec.ID, console: spec.Console, done: make(chan struct{}), memory: fmt.Sprint("boot ", len(d.starts))}
	d.running[spec.ID] = m
	return m, nil
}

// Receive implements instance.Driver. The machine has no memory before ReceiveMemory.
func (d *fakeDriver) Receive(ctx context.Context, spec qemu.InstanceSpec) (instance.Machine, error) {
	m, err := d.Start(ctx, spec)
	if err != nil {
		return nil, err
	}
	m.(*fakeMachine).memory, m.(*fakeMachine).still = "", true
	return m, nil
}

func (d *fakeDriver) Form(context.Context, qemu.InstanceSpec) (string, error) {
	return cmp.Or(d.form, "form"), nil
}

func (d *fakeDriver) Adopt(_ context.Context, console func(string) (io.WriteCloser, error)) (map[string]instance.Machine, error) {
	adopted := map[string]instance.Machine{}
	for id, m := range d.running {
		c, err := console(id)
		if err != nil {
			return nil, err
		}
		m.console = c
		adopted[id] = m
	}
	return adopted, nil
}

func (d *fakeDriver) machine(hash message.Hash) *fakeMachine {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.running[string(hash)]
}

// refuse makes all further starts fail, or none.
func (d *fakeDriver) refuse(why error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refusal = why
}

// stick has machines end no more when their power is cut, or end again.
func (d *fakeDriver) stick(stuck bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stuck = stuck
}

func (d *fakeDriver) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.starts)
}

type fakeMachine struct {
	driver  *fakeDriver
	id      string
	console io.WriteCloser
	done    chan struct{}
	off     bool
	presses int
	kills   int
	copies  int // of its disks

	// Guarded by driver.mu.
	memory string // what its guest knows
	still  bool   // its guest stands still
}

func (m *fakeMachine) Form() string { return "form" }

func (m *fakeMachine) SendMemory(_ context.Context, w io.Writer, _ int64) error {
	m.driver.mu.Lock()
	m.still = true
	memory := m.memory
	m.driver.mu.Unlock()
	_, err := io.WriteString(w, memory)
	if m.driver.passes != nil {
		err = errors.Join(err, m.driver.passes())
	}
	if err != nil {
		m.driver.mu.Lock()
		m.still = false
		m.driver.mu.Unlock()
	}
	return err
}

func (m *fakeMachine) ReceiveMemory(_ context.Context, r io.Reader) error {
	raw, err := io.ReadAll(r)
	m.driver.mu.Lock()
	defer m.driver.mu.Unlock()
	m.memory = string(raw)
	if m.driver.passes != nil {
		err = errors.Join(err, m.driver.passes())
	}
	return err
}

func (m *fakeMachine) Continue(context.Context) (stood bool, err error) {
	m.driver.mu.Lock()
	defer m.driver.mu.Unlock()
	stood, m.still = m.still, false
	return stood, nil
}

func (m *fakeMachine) CatchUp(context.Context) (time.Duration, error) {
	return 3 * time.Second, nil
}

// knows is what the guest of a machine that goes on knows; "" of one that stands still, or of none.
func (d *fakeDriver) knows(hash message.Hash) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if m := d.running[string(hash)]; m != nil && !m.still {
		return m.memory
	}
	return ""
}

func (m *fakeMachine) end(off bool) {
	m.driver.mu.Lock()
	defer m.driver.mu.Unlock()
	if m.driver.running[m.id] == m {
		m.off = off
		delete(m.driver.running, m.id)
		close(m.done)
	}
}

func (m *fakeMachine) Done() <-chan struct{} { return m.done }
func (m *fakeMachine) TurnedOff() bool       { return m.off }
func (m *fakeMachine) Said() string          { return "" }
func (m *fakeMachine) Release() error        { return m.console.Close() }
func (m *fakeMachine) Detach() error         { return m.console.Close() }

func (m *fakeMachine) PressPower() {
	m.presses++
	if !m.driver.deaf {
		m.end(true)
	}
}

func (m *fakeMachine) Kill() error {
	m.driver.mu.Lock()
	m.kills++
	stuck := m.driver.stuck
	m.driver.mu.Unlock()
	if stuck {
		return errors.New("it does not end")
	}
	m.end(false)
	return nil
}

func (m *fakeMachine) Copy(ctx context.Context, disks []qemu.DiskCopy, freeze bool) error {
	return m.driver.copy(ctx, disks, freeze)
}

// CopyChanges copies all that is not zeros, also when changes alone are asked for.
func (m *fakeMachine) CopyChanges(ctx context.Context, disks []qemu.DiskCopy, _ bool) error {
	m.copies++
	for _, d := range disks {
		out, err := exec.CommandContext(ctx, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-o", fmt.Sprintf("cluster_size=%d", qemu.ChunkSize), d.Disk, d.To.Name()).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
	}
	return nil
}

func (m *fakeMachine) Measurement(context.Context) (*qemu.Measurement, error) {
	return &qemu.Measurement{Launch: "measured"}, nil
}

func (m *fakeMachine) InjectSecret(_ context.Context, header, secret string) (json.RawMessage, error) {
	if header != "header" || secret != "secret" {
		return nil, errors.New("QEMU refuses it")
	}
	return json.RawMessage(`{"running":true}`), nil
}

func (m *fakeMachine) Inspect() vm.Status {
	m.driver.mu.Lock()
	defer m.driver.mu.Unlock()
	return vm.Status{Running: m.driver.running[m.id] == m}
}

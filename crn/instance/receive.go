package instance

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/crn/corenode"
	"github.com/aleph-im/aleph-go/crn/vm"
	"github.com/aleph-im/aleph-go/crn/vm/qemu"
	"github.com/aleph-im/aleph-go/message"
)

// errCold: the instance does not come with its memory. It goes on where it is, and is fetched when it is off.
var errCold = errors.New("it does not come with its memory")

// beginLive has an instance whose disks came ahead come with its memory, or notes why it does not.
func (p *Pool) beginLive(ctx context.Context, hash message.Hash, e *errand) {
	r, cold := p.receivable(ctx, hash, e)
	p.mu.Lock()
	defer p.mu.Unlock()
	if x := p.instances[hash]; x != nil && cold == nil {
		cold = errors.New("there are disks of an earlier stay")
	}
	if cold == nil {
		_, cold = p.add(r)
	}
	e.done, e.cold = true, cold
	if cold != nil {
		p.cfg.Log.Info("instance does not come with its memory", "hash", hash, "from", e.arrival.Source, "because", cold)
	}
}

// receivable is the record of an instance that comes with its memory. The error says why it cannot.
func (p *Pool) receivable(ctx context.Context, hash message.Hash, e *errand) (r record, cold error) {
	a, m := e.arrival, e.message
	if a.Live == nil {
		return r, errors.New("the node that it is on does not know how, or does not know its machine")
	}
	for i, v := range m.Volumes {
		if v.Kind == message.VolumeImmutable && v.UseLatest {
			return r, fmt.Errorf("volume %d follows the newest version of a file, which may be another one here", i)
		}
	}
	r = define(hash, m)
	r.Wanted, r.Parent = wantedArriving, a.Parent
	r.Move = &move{Token: a.Token, Files: a.Files, Parent: a.Parent, Begun: time.Now(), Source: a.Source, Claim: secret(), Live: true}
	r.Kept = &a.Live.Kept
	spec, err := p.receiverSpec(ctx, r, m)
	if err != nil {
		return r, err
	}
	form, err := p.cfg.Driver.Form(ctx, spec)
	if err != nil {
		return r, err
	}
	if form != a.Live.Form {
		return r, fmt.Errorf("its machine is %s, and here it would be %s", a.Live.Form, form)
	}
	return r, nil
}

// receiverSpec describes a machine that goes on with the disks that came, but for its console.
func (p *Pool) receiverSpec(ctx context.Context, r record, m *message.Instance) (spec qemu.InstanceSpec, err error) {
	spec = p.newSpec(r, m)
	spec.Backing = p.movedPath(r.Hash, r.Parent, parentFile)
	for i, v := range m.Volumes {
		name := volumeFile(v, i)
		drive := vm.Drive{Path: p.movedPath(r.Hash, "", name), ReadOnly: v.Kind == message.VolumeImmutable}
		if drive.ReadOnly {
			var file corenode.File
			if file, err = p.cfg.Network.File(ctx, v.Ref, false, maxImage); err != nil {
				return spec, fmt.Errorf("volume %d: %w: %w", i, ErrResource, err)
			}
			drive.Path = file.Path
		}
		spec.Drives = append(spec.Drives, drive)
	}
	return spec, nil
}

// awaitsWord reports whether all of the instance is here, memory included, and only the other node's word is missing. pool.mu is held.
func (x *instance) awaitsWord() bool {
	return x.rec.Wanted == wantedArriving && x.rec.Move.Live && x.rec.Move.Here
}

// receiveLive brings an instance with its memory and has it handed over. Before all of it is here an error is errCold; after that the other
// node's word is asked for until it comes.
func (p *Pool) receiveLive(ctx context.Context, x *instance, m *move) error {
	if m.Here {
		return p.askForIt(ctx, x.hash, m)
	}
	begin := time.Now()
	hangUp, err := p.bringLive(ctx, x, m)
	defer hangUp() // the other node's guest stands still up to then, or its word
	if err != nil {
		return fmt.Errorf("%w: %w", errCold, err)
	}
	m.Here = true
	p.mu.Lock()
	if ctx.Err() == nil {
		err = x.wantMove(wantedArriving, m)
	}
	p.mu.Unlock()
	if err = errors.Join(ctx.Err(), err); err != nil {
		return fmt.Errorf("%w: %w", errCold, err)
	}
	p.cfg.Log.Info("an instance and its memory have come", "hash", x.hash, "from", m.Source, "took", time.Since(begin).Round(time.Millisecond))
	return p.askForIt(ctx, x.hash, m)
}

// bringLive brings the memory into a machine, and what lacks of the disks. The other node has its guest stand still until hangUp, which
// is never nil.
func (p *Pool) bringLive(ctx context.Context, x *instance, m *move) (hangUp func(), err error) {
	hangUp = func() {}
	instance, err := p.cfg.Network.Instance(ctx, x.hash)
	if err != nil {
		return hangUp, err
	}
	came, err := p.placeAhead(ctx, x.hash, m)
	if err != nil {
		return hangUp, err
	}
	machine, err := p.startReceiver(ctx, x, instance)
	if err != nil {
		return hangUp, err
	}
	order, err := json.Marshal(map[string]string{"token": m.Token})
	if err != nil {
		return hangUp, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	response, err := p.ask(ctx, http.MethodPost, migrationPath(m.Source, x.hash)+"memory", bytes.NewReader(order), nil)
	if err != nil {
		cancel(nil)
		return hangUp, fmt.Errorf("ask for its memory: %w", err)
	}
	var watching sync.WaitGroup
	hangUp = func() {
		cancel(nil)
		response.Body.Close()
		watching.Wait()
	}
	stalled := time.AfterFunc(stallLimit, func() { cancel(fmt.Errorf("no bytes came for %s", stallLimit)) })
	defer stalled.Stop()
	tooLong := time.AfterFunc(travelTime(instance.Resources.MemoryMiB)+askLimit, func() { cancel(errors.New("it takes too long")) })
	defer tooLong.Stop()
	in := &memoryReader{r: heard{response.Body, stalled}, most: p.travels(int64(instance.Resources.MemoryMiB))}
	if err := machine.ReceiveMemory(ctx, in); err != nil {
		return hangUp, err
	}
	tooLong.Reset(standLimit) // the other node's guest stands still for no longer, if that node keeps its word
	files, err := in.files()
	if err != nil {
		return hangUp, fmt.Errorf("learn which disks it has: %w", err)
	}
	watching.Go(func() {
		cancel(fmt.Errorf("the other node has its guest go on: %w", in.watch()))
	})
	if err := p.mendAll(ctx, x, m, instance, came, files); err != nil {
		return hangUp, errors.Join(err, context.Cause(ctx))
	}
	select {
	case <-machine.Done():
		return hangUp, errors.New("its machine here ended" + machine.Said())
	default:
	}
	return hangUp, nil
}

// heard puts a timer off with all that is read.
type heard struct {
	io.Reader
	stalled *time.Timer
}

func (h heard) Read(b []byte) (int, error) {
	n, err := h.Reader.Read(b)
	if n > 0 {
		h.stalled.Reset(stallLimit)
	}
	return n, err
}

// startReceiver starts the machine that is to receive the memory.
func (p *Pool) startReceiver(ctx context.Context, x *instance, instance *message.Instance) (Machine, error) {
	if err := p.refreshPorts(ctx, x); err != nil {
		return nil, err
	}
	if err := p.applyNetwork(ctx); err != nil {
		return nil, err
	}
	p.mu.Lock()
	r := x.rec
	p.mu.Unlock()
	spec, err := p.receiverSpec(ctx, r, instance)
	if err != nil {
		return nil, err
	}
	if spec.Console, err = p.openConsole(string(x.hash)); err != nil {
		return nil, err
	}
	x.mark(&x.times.Starting)
	machine, err := p.cfg.Driver.Receive(ctx, spec)
	if err != nil {
		return nil, errors.Join(err, spec.Console.Close())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	x.machine, x.still = machine, true
	return machine, nil
}

// placeAhead makes what came ahead the disks of the instance, and returns the hashes of their pieces by name. They are whole and right
// only once mendAll has been there.
func (p *Pool) placeAhead(ctx context.Context, hash message.Hash, m *move) (came map[string][]byte, err error) {
	for _, dir := range []string{dataDir, scratchDir} {
		if err := os.MkdirAll(filepath.Join(p.disks(hash), dir), 0o700); err != nil {
			return nil, err
		}
	}
	came = map[string][]byte{}
	for _, f := range m.Files {
		path, ahead := p.movedPath(hash, m.Parent, f.Name), p.aheadPath(hash, f.Name)
		if f.Name == parentFile {
			if exists(path) {
				continue
			}
			if f.SHA256 = string(m.Parent); !same(ctx, ahead, f) {
				return nil, errors.New("the image under its root disk came as another one")
			}
		}
		if err := os.Rename(ahead, path); err != nil && !exists(path) {
			return nil, fmt.Errorf("disk %s: %w", f.Name, err)
		}
		if f.Name == parentFile {
			continue
		}
		if came[f.Name], err = p.prepare(ctx, path, f); err != nil {
			return nil, fmt.Errorf("disk %s: %w", f.Name, err)
		}
		if f.Name == rootFile {
			if err := checkOverlay(path, m.Parent); err != nil {
				return nil, err
			}
		}
	}
	return came, nil
}

// prepare gives a disk that came ahead its length, and returns the hashes of its pieces.
func (p *Pool) prepare(ctx context.Context, path string, f MovedFile) ([]byte, error) {
	out, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	if err := out.Truncate(f.Size); err != nil {
		return nil, err
	}
	if f.Name != rootFile && f.Name != seedFile {
		// Volumes have their blocks reserved.
		if err := unix.Fallocate(int(out.Fd()), 0, 0, f.Size); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
			return nil, err
		}
	}
	return pieceSums(ctx, out, f.Size)
}

// mendAll fetches what differs of the disks, now that the guest stands still. files are what the other node says that there is.
func (p *Pool) mendAll(ctx context.Context, x *instance, m *move, instance *message.Instance, came map[string][]byte, files []MovedFile) error {
	limits := movedNames(instance)
	for name, limit := range liveNames(instance) {
		limits[name] = limit
	}
	if len(files) != len(m.Files) {
		return fmt.Errorf("%d disks are announced, and %d came ahead", len(files), len(m.Files))
	}
	for _, f := range files {
		if f.Name == parentFile { // which never changes, and was checked
			continue
		}
		ours, known := came[f.Name]
		delete(came, f.Name) // once
		if !known || f.Size < 0 || f.Size > limits[f.Name] {
			return fmt.Errorf("disk %q of %d bytes is not one of its own", f.Name, f.Size)
		}
		if err := p.mend(ctx, x, m, f, ours); err != nil {
			return fmt.Errorf("disk %s: %w", f.Name, err)
		}
	}
	if err := checkOverlay(p.movedPath(x.hash, m.Parent, rootFile), m.Parent); err != nil {
		return err
	}
	return errors.Join(syncFolder(p.disks(x.hash)), syncFolder(filepath.Join(p.disks(x.hash), dataDir)), syncFolder(filepath.Join(p.cfg.Dir, parentDir)))
}

// mend fetches the pieces of a disk that differ from the other node's, and checks each that came.
func (p *Pool) mend(ctx context.Context, x *instance, m *move, f MovedFile, ours []byte) error {
	theirs, err := p.askPieces(ctx, movedURL(m.Source, x.hash, "pieces", f.Name, m.Token), f.Size)
	if err != nil {
		return err
	}
	if want := int(f.Size+pieceSize-1) / pieceSize * sha256.Size; len(theirs) != want {
		return fmt.Errorf("%d bytes came for the hashes of its pieces, %d are wanted", len(theirs), want)
	}
	out, err := os.OpenFile(p.movedPath(x.hash, m.Parent, f.Name), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := out.Truncate(f.Size); err != nil {
		return err
	}
	for _, part := range unlike(ours, theirs, f.Size) {
		begin, end := part[0], part[0]+part[1]
		if err := p.fetchRange(ctx, &x.fetched, out, movedURL(m.Source, x.hash, "disk", f.Name, m.Token), begin, end); err != nil {
			return err
		}
		sums, err := pieceSums(ctx, io.NewSectionReader(out, begin, end-begin), end-begin)
		if err != nil {
			return err
		}
		if !bytes.HasPrefix(theirs[begin/pieceSize*sha256.Size:], sums) {
			return errors.New("what came does not hash to what was announced")
		}
	}
	return out.Sync()
}

// giveUpMemory undoes the try to have an instance come with its memory: what came ahead is kept for when it is off. pool.mu is held.
func (x *instance) giveUpMemory(m *move, why error) {
	p := x.pool
	p.cfg.Log.Warn("instance does not come with its memory", "hash", x.hash, "from", m.Source, "because", why)
	if e := p.errands[x.hash]; e != nil {
		e.cold = why
		for _, f := range m.Files {
			if f.Name != parentFile {
				_ = os.Rename(p.movedPath(x.hash, m.Parent, f.Name), p.aheadPath(x.hash, f.Name)) // what is not there comes later
			}
		}
	}
	x.record(wantedErased)
}

// arrived has the guest of an instance that came with its memory go on, and tells its owner how it has come.
func (x *instance) arrived(m *move) {
	p := x.pool
	p.mu.Lock()
	here, machine := x.here(), x.machine
	goesOn := x.rec.Wanted == wantedRunning && x.still && machine != nil
	if goesOn {
		x.still = false
		x.times.Started = time.Now()
	}
	p.mu.Unlock()
	if !here {
		return
	}
	defer p.endErrand(x.hash)
	how := "moved here without its memory"
	switch {
	case goesOn:
		_, err := machine.Continue(context.WithoutCancel(p.life))
		if err == nil {
			how = "moved here with its memory"
			p.catchUp(x.hash, machine)
			break
		}
		how += ": its machine does not go on, and starts again from its disks: " + err.Error()
		p.cfg.Log.Error("instance does not go on with its memory, it starts again from its disks", "hash", x.hash, "error", err)
		defer x.cut(machine)
	case m.Live:
		how += ": its machine ended on the way"
	case m.Cold != "":
		how += ": " + m.Cold
	}
	if m.Source != "" {
		p.note(x.hash, how+" (from "+m.Source+")")
	}
}

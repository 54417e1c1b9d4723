package instance

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// Leaving is an instance that is stopped for another node to fetch.
type Leaving struct {
	Begun   time.Time
	Ready   bool // to be fetched
	Token   string
	Files   []MovedFile
	Parent  message.Hash
	Stopped bool  // it was not running, and is not to
	Failure error // of the last try to get it ready
}

// Leave stops an instance for another node to fetch, on the scheduler's word, or says how far that is. What was sent away before
// can be fetched as long as its disks are kept.
func (p *Pool) Leave(hash message.Hash) (l Leaving, begun bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.instances[hash]
	if x == nil || x.rec.Wanted == wantedErased {
		return l, false, fmt.Errorf("instance %s: %w", hash, ErrUnknown)
	}
	if x.rec.confidential() {
		return l, false, fmt.Errorf("instance %s: %w", hash, ErrConfidential)
	}
	if x.rec.Restore != nil {
		return l, false, fmt.Errorf("instance %s: %w", hash, ErrBusy)
	}
	switch x.rec.Wanted {
	case wantedArriving:
		return l, false, fmt.Errorf("instance %s is not here yet: %w", hash, ErrMoving)
	case wantedLeaving:
	default:
		m := &move{Token: secret(), Parent: x.rec.Parent, Stopped: x.rec.Wanted == wantedStopped, Begun: time.Now()}
		if err := x.wantMove(wantedLeaving, m); err != nil {
			return l, false, err
		}
		x.asked()
		begun = true
	}
	return x.leaving(), begun, nil
}

// Left says how far an instance is that leaves.
func (p *Pool) Left(hash message.Hash) (Leaving, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.instances[hash]
	if x == nil || x.rec.Wanted != wantedLeaving {
		return Leaving{}, fmt.Errorf("instance %s: %w", hash, ErrUnknown)
	}
	return x.leaving(), nil
}

func (x *instance) leaving() Leaving {
	m := x.rec.Move
	return Leaving{Begun: m.Begun, Ready: m.Ready, Token: m.Token, Files: m.Files, Parent: m.Parent, Stopped: m.Stopped, Failure: x.failure}
}

// Disk opens a file of an instance that leaves, or that another node may fetch ahead, for who has the token.
func (p *Pool) Disk(hash message.Hash, name, token string) (*os.File, error) {
	p.mu.Lock()
	if x := p.instances[hash]; x != nil && x.offers(name, token) {
		defer p.mu.Unlock()
		return os.Open(p.movedPath(hash, x.rec.Parent, name))
	}
	p.mu.Unlock()
	return p.leavingDisk(hash, name, token)
}

// leavingDisk opens a file of an instance that leaves, or stands still for another node.
func (p *Pool) leavingDisk(hash message.Hash, name, token string) (*os.File, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.instances[hash]
	if x != nil && x.stillOffers(name, token) {
		return os.Open(p.movedPath(hash, x.rec.Parent, name))
	}
	if x == nil || x.rec.Wanted != wantedLeaving || !x.rec.Move.Ready || x.rec.Move.Token != token {
		return nil, fmt.Errorf("instance %s: %w", hash, ErrUnknown)
	}
	for _, f := range x.rec.Move.Files {
		if f.Name == name {
			return os.Open(p.movedPath(hash, x.rec.Move.Parent, name))
		}
	}
	return nil, fmt.Errorf("disk %s of instance %s: %w", name, hash, os.ErrNotExist)
}

// HandOver gives an instance away for good, to the node that says claim and has all of its disks. It is ErrUnknown when this node
// has no such instance, and so no word in the matter, and ErrMoving when the instance is another's.
func (p *Pool) HandOver(hash message.Hash, token, claim string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.instances[hash]
	if x == nil || x.rec.Wanted == wantedErased {
		return fmt.Errorf("instance %s: %w", hash, ErrUnknown)
	}
	if given, err := x.giveAway(token, claim); given || err != nil {
		return err
	}
	m := x.rec.Move
	if x.rec.Wanted != wantedLeaving || !m.Ready || m.Token != token || claim == "" || m.Claim != "" && m.Claim != claim {
		return fmt.Errorf("instance %s is not handed over: %w elsewhere, or stays", hash, ErrMoving)
	}
	changed := *m
	changed.Claim = claim
	return x.wantMove(wantedLeaving, &changed)
}

// Forget removes what is left here of an instance that was handed over.
func (p *Pool) Forget(ctx context.Context, hash message.Hash) error {
	p.mu.Lock()
	x := p.instances[hash]
	if x == nil || x.rec.Wanted != wantedLeaving {
		p.mu.Unlock()
		return fmt.Errorf("instance %s: %w", hash, ErrUnknown)
	}
	if x.rec.Move.Claim == "" {
		p.mu.Unlock()
		return fmt.Errorf("instance %s is not handed over yet: %w", hash, ErrMoving)
	}
	if err := x.want(wantedErased); err != nil {
		p.mu.Unlock()
		return err
	}
	settled := x.asked()
	p.mu.Unlock()
	return wait(ctx, settled)
}

// stay calls a move off: the scheduler wants the instance here after all. pool.mu is held.
func (x *instance) stay() error {
	if x.rec.Move.Claim != "" {
		return fmt.Errorf("instance %s was handed over: %w", x.hash, ErrMoving)
	}
	w := wantedRunning
	if x.rec.Move.Stopped {
		w = wantedStopped
	}
	return x.want(w)
}

// list gets the files of an instance that leaves ready.
func (x *instance) list() {
	p := x.pool
	p.mu.Lock()
	m := *x.rec.Move
	ctx, cancel := context.WithCancel(p.life)
	defer cancel()
	x.abort = cancel
	p.mu.Unlock()
	files, err := p.movedFiles(x.hash, m.Parent, func(path string) (MovedFile, error) { return describe(ctx, path) })
	err = errors.Join(err, p.applyNetwork(ctx))
	p.mu.Lock()
	defer p.mu.Unlock()
	x.abort = nil
	if ctx.Err() != nil || x.rec.Wanted != wantedLeaving {
		return
	}
	if err == nil {
		m.Files, m.Ready = files, true
		err = x.wantMove(wantedLeaving, &m)
	}
	if x.failure = err; err != nil {
		x.patience()
		p.cfg.Log.Error("instance cannot leave", "hash", x.hash, "error", err)
		return
	}
	p.cfg.Log.Info("instance may be fetched", "hash", x.hash, "files", len(files))
}

// movedFiles lists the disks of an instance that there are. One that never ran has none.
func (p *Pool) movedFiles(hash, parent message.Hash, describe func(path string) (MovedFile, error)) (files []MovedFile, err error) {
	names := []string{}
	if _, err := os.Stat(p.movedPath(hash, parent, rootFile)); err == nil {
		names = append(names, rootFile, parentFile)
	}
	volumes, err := filepath.Glob(p.movedPath(hash, parent, dataPrefix+"*"))
	if err != nil {
		return nil, err
	}
	for _, path := range volumes {
		names = append(names, dataPrefix+strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)))
	}
	for _, name := range names {
		file, err := describe(p.movedPath(hash, parent, name))
		if err != nil {
			return nil, fmt.Errorf("disk %s: %w", name, err)
		}
		file.Name = name
		files = append(files, file)
	}
	return files, nil
}

// describe is outline with the hash of the file.
func describe(ctx context.Context, path string) (file MovedFile, err error) {
	if file, err = outline(path); err != nil {
		return file, err
	}
	f, err := os.Open(path)
	if err != nil {
		return file, err
	}
	defer f.Close()
	file.SHA256, err = sum(ctx, f)
	return file, err
}

// outline says how long a file is, and where it holds more than zeros.
func outline(path string) (file MovedFile, err error) {
	f, err := os.Open(path)
	if err != nil {
		return file, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return file, err
	}
	file.Size = info.Size()
	file.Extents, err = extents(f, file.Size)
	return file, err
}

// sum is the SHA-256 of a file, in hex.
func sum(ctx context.Context, f *os.File) (string, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	hash, buffer := sha256.New(), make([]byte, 1<<20)
	for ctx.Err() == nil {
		n, err := f.Read(buffer)
		hash.Write(buffer[:n])
		if errors.Is(err, io.EOF) {
			return hex.EncodeToString(hash.Sum(nil)), nil
		}
		if err != nil {
			return "", err
		}
	}
	return "", ctx.Err()
}

package execution

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// Find describes the execution of a program, if there is one.
func (p *Pool) Find(hash message.Hash) (Info, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.executions[hash]
	if x == nil {
		return Info{}, false
	}
	return x.info(), true
}

// Stop ends the machine of a program once the calls in progress are done, and keeps it no longer; the next call or plan starts
// another. It reports whether the program was running.
func (p *Pool) Stop(ctx context.Context, hash message.Hash) (running bool, err error) {
	running, err = p.vacate(ctx, hash, false, nil)
	if err != nil {
		return running, fmt.Errorf("stop program %s: %w", hash, err)
	}
	return running, nil
}

// Reboot gives a program a new machine with the same volumes and waits until that runs. It reports whether the program was
// running before.
func (p *Pool) Reboot(ctx context.Context, hash message.Hash) (running bool, err error) {
	return p.renew(ctx, hash, nil)
}

// Erase stops a program and removes the volumes that it keeps on this node.
func (p *Pool) Erase(ctx context.Context, hash message.Hash) error {
	var trash string
	_, err := p.vacate(ctx, hash, false, func() (err error) { trash, err = p.discardVolumes(hash); return err })
	if err := errors.Join(err, os.RemoveAll(trash)); err != nil {
		return fmt.Errorf("erase program %s: %w", hash, err)
	}
	return nil
}

// Reinstall gives a program a new machine, by choice with new volumes, and waits until that runs.
func (p *Pool) Reinstall(ctx context.Context, hash message.Hash, eraseVolumes bool) error {
	if !eraseVolumes {
		_, err := p.renew(ctx, hash, nil)
		return err
	}
	var trash string
	_, err := p.renew(ctx, hash, func() (err error) { trash, err = p.discardVolumes(hash); return err })
	return errors.Join(err, os.RemoveAll(trash))
}

// Expire keeps a program no longer and ends its machine after a time, whether it is used or not.
func (p *Pool) Expire(hash message.Hash, after time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.executions[hash]
	if x == nil {
		return
	}
	delete(p.kept, hash)
	if x.expiry != nil {
		x.expiry.Stop()
	}
	x.expiry = time.AfterFunc(after, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		x.requestStop()
	})
	if x.inflight == 0 && !x.times.Started.IsZero() && !x.isStopping() {
		x.arm()
	}
}

// renew replaces the machine of a program.
func (p *Pool) renew(ctx context.Context, hash message.Hash, between func() error) (running bool, err error) {
	if running, err = p.vacate(ctx, hash, true, between); err != nil {
		return running, fmt.Errorf("stop program %s: %w", hash, err)
	}
	x, err := p.Acquire(ctx, hash)
	if err != nil {
		return running, err
	}
	x.Release()
	p.mu.Lock()
	defer p.mu.Unlock()
	if k := p.kept[hash]; k != nil {
		k.failures = 0 // this end was no failure
	}
	return running, nil
}

// vacate ends the execution of a program and waits for it. then, if any, is called when there is none, and none can begin before
// it returns. What a plan or a call starts anew meanwhile is theirs: it is ended only for the sake of then.
func (p *Pool) vacate(ctx context.Context, hash message.Hash, keep bool, then func() error) (running bool, err error) {
	p.mu.Lock()
	if !keep {
		delete(p.kept, hash)
	}
	for x := p.executions[hash]; x != nil; x = p.executions[hash] {
		running = running || x.info().Running
		x.requestStop()
		p.mu.Unlock()
		select {
		case <-x.stopped:
		case <-ctx.Done():
			return running, ctx.Err()
		}
		if then == nil {
			return running, nil
		}
		p.mu.Lock()
	}
	defer p.mu.Unlock()
	if then != nil {
		err = then()
	}
	return running, err
}

// discardVolumes takes the disks of a program out of the way at once; what they held is removed by the caller, in its time.
// p.mu is held.
func (p *Pool) discardVolumes(hash message.Hash) (trash string, err error) {
	trash, err = os.MkdirTemp(filepath.Join(p.cfg.Dir, scratchDir), "erased-*")
	if err != nil {
		return "", fmt.Errorf("erase volumes of %s: %w", hash, err)
	}
	size, err := sizeMiB(p.volumeFolder(hash))
	if err == nil {
		err = os.Rename(p.volumeFolder(hash), filepath.Join(trash, "volumes"))
	}
	if errors.Is(err, os.ErrNotExist) {
		return trash, nil
	}
	if err != nil {
		return trash, fmt.Errorf("erase volumes of %s: %w", hash, err)
	}
	p.volumesMiB -= size
	return trash, nil
}

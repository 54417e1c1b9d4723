package instance

import (
	"errors"
	"fmt"
)

// newDisks removes what a reinstallation replaces.
func (x *instance) newDisks() {
	p := x.pool
	p.mu.Lock()
	data := x.eraseData
	p.mu.Unlock()
	err := p.removeDisks(x.hash, data)
	p.mu.Lock()
	defer p.mu.Unlock()
	x.prepared = false
	if err != nil {
		x.failure = fmt.Errorf("reinstall: %w", err)
		p.cfg.Log.Error("disks not removed", "hash", x.hash, "error", err)
		x.settle(x.generation, x.failure)
	}
	x.reinstall, x.eraseData = false, false
}

// erase removes everything.
func (x *instance) erase() {
	p := x.pool
	hash := x.hash
	p.mu.Lock()
	replicated := x.rec.Replica
	p.mu.Unlock()
	if replicated != nil {
		// Without this word it is another line's replica, and goes when nobody asks for one any more.
		if err := p.holder(hash, replicated).Reset(p.life); err != nil {
			p.cfg.Log.Warn("replica of an erased instance not removed", "hash", hash, "holder", replicated.Holder, "error", err)
		}
	}
	err := errors.Join(p.removeDisks(hash, true), p.removeAll(hash))
	p.mu.Lock()
	if err == nil {
		err = p.records.remove(hash)
	}
	if err == nil {
		delete(p.instances, hash)
	}
	p.mu.Unlock()
	err = errors.Join(err, p.removeParents(), p.applyNetwork(p.life))
	if err != nil {
		p.cfg.Log.Error("instance not erased", "hash", hash, "error", err)
	} else {
		p.cfg.Log.Info("instance erased", "hash", hash)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	x.settle(x.generation, err)
}

package execution

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/aleph-im/aleph-go/crn/corenode"
	"github.com/aleph-im/aleph-go/message"
)

// Use is a file of the network that an execution is made from.
type Use struct {
	Ref      message.Hash // the STORE message that the program names
	Latest   bool         // later versions take its place
	Resolved message.Hash // the STORE message in use; empty while it is looked up
	Owner    string       // of Ref, who alone publishes later versions; empty while it is looked up
}

// file fetches a file for an execution and notes its use. The note comes first: a version that appears meanwhile is not missed.
func (p *Pool) file(ctx context.Context, x *Execution, ref message.Hash, latest bool, limit int64) (corenode.File, error) {
	p.mu.Lock()
	i := len(x.uses)
	x.uses = append(x.uses, Use{Ref: ref, Latest: latest})
	p.mu.Unlock()
	file, err := p.cfg.Network.File(ctx, ref, latest, limit)
	if err == nil {
		p.mu.Lock()
		x.uses[i].Resolved, x.uses[i].Owner = file.Ref, file.Owner
		p.mu.Unlock()
	}
	return file, err
}

// Renew ends the executions that are out of date, once their calls in progress are done, and returns their hashes. The next
// call starts a program anew, with its files as they are then; what is kept is started at once.
func (p *Pool) Renew(outdated func(hash message.Hash, uses []Use) bool) (renewed []message.Hash) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for hash, x := range p.executions {
		if x.isStopping() || !outdated(hash, x.uses) {
			continue
		}
		renewed = append(renewed, hash)
		x.outdated = true
		// One that starts has callers who wait for it: it ends after them.
		if !x.times.Started.IsZero() {
			x.requestStop()
		}
	}
	slices.SortFunc(renewed, compareHash)
	return renewed
}

// Holds reports whether the node has anything of a program: an execution, an allocation, a snapshot, volumes
// that stay, or what it printed.
func (p *Pool) Holds(hash message.Hash) bool {
	if hash.Kind() == "" {
		return false
	}
	p.mu.Lock()
	active := p.executions[hash] != nil || p.kept[hash] != nil || p.ahead[hash]
	p.mu.Unlock()
	if active || p.snapshots.of(hash) != nil {
		return true
	}
	for _, path := range []string{p.volumeFolder(hash), p.logPath(hash)} {
		if _, err := os.Stat(path); err == nil {
			return true
		}
	}
	return false
}

// Remove ends a program whose message is forgotten and removes its snapshot, its volumes and what it printed. It returns when that is
// done, or with ctx.
func (p *Pool) Remove(ctx context.Context, hash message.Hash) error {
	if hash.Kind() == "" { // it comes from a message, and names a folder
		return fmt.Errorf("remove program %q: not a hash", hash)
	}
	var trash string
	_, err := p.vacate(ctx, hash, false, func() (err error) {
		delete(p.ahead, hash)
		trash, err = p.discardVolumes(hash)
		return errors.Join(err, p.removeLog(hash))
	})
	for _, path := range p.snapshots.of(hash) {
		err = errors.Join(err, p.snapshots.remove(path))
	}
	err = errors.Join(err, os.RemoveAll(trash))
	if err != nil {
		return fmt.Errorf("remove program %s: %w", hash, err)
	}
	return nil
}

// volumeFolder is the folder of the disks that a program keeps on this node.
func (p *Pool) volumeFolder(hash message.Hash) string {
	return filepath.Join(p.cfg.Dir, volumeDir, string(hash))
}

package trigger

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/crn/corenode"
	"github.com/aleph-im/aleph-go/crn/execution"
	"github.com/aleph-im/aleph-go/message"
)

// stored ends the executions whose files a STORE message amends (spec/crn.md §3.8). Only the owner of the file amends it, and
// only programs that asked for later versions are concerned.
func (t *Trigger) stored(m *client.StoredMessage) {
	var store struct {
		Address string       `json:"address"`
		Ref     message.Hash `json:"ref"`
	}
	if json.Unmarshal(m.Content, &store) != nil || store.Ref == "" {
		return
	}
	t.renew("a file has a new version", m.ItemHash, func(_ message.Hash, uses []execution.Use) bool {
		return slices.ContainsFunc(uses, func(u execution.Use) bool {
			return u.Latest && u.Ref == store.Ref && (u.Owner == store.Address || u.Owner == "") && u.Resolved != m.ItemHash
		})
	})
}

// portsKey is the key of the aggregate in which owners say which ports they want forwarded.
const portsKey = "port-forwarding"

// aggregated passes on that an owner wants other ports forwarded (spec/crn.md §4.9).
func (t *Trigger) aggregated(m *client.StoredMessage) {
	var aggregate struct {
		Address string `json:"address"`
		Key     string `json:"key"`
	}
	if t.cfg.PortsChanged != nil && json.Unmarshal(m.Content, &aggregate) == nil && aggregate.Key == portsKey {
		t.cfg.PortsChanged(aggregate.Address)
	}
}

// replaced ends the execution of a program that its owner replaces. The old hash goes on to name the old program: who calls it
// gets that (docs/decisions/0022).
func (t *Trigger) replaced(ctx context.Context, m *client.StoredMessage) {
	var program struct {
		Address  string       `json:"address"`
		Replaces message.Hash `json:"replaces"`
	}
	if json.Unmarshal(m.Content, &program) != nil || program.Replaces == "" || !t.cfg.Workloads.Holds(program.Replaces) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	old, err := t.cfg.Network.Program(ctx, program.Replaces)
	if err != nil || !old.AllowAmend || old.Address != program.Address {
		return
	}
	t.renew("the program is replaced", m.ItemHash, func(hash message.Hash, _ []execution.Use) bool { return hash == program.Replaces })
}

// renew logs what it ends.
func (t *Trigger) renew(why string, by message.Hash, outdated func(message.Hash, []execution.Use) bool) {
	if renewed := t.cfg.Workloads.Renew(outdated); len(renewed) > 0 {
		t.cfg.Log.Info("programs end for a new version", "programs", renewed, "reason", why, "message", by)
	}
}

// removalTimeout bounds how long the removal of one program takes, its calls in progress included.
const removalTimeout = 2 * time.Minute

// forget ends what a FORGET message takes: programs of this node with their volumes, and later versions of files in use.
func (t *Trigger) forget(ctx context.Context, m *client.StoredMessage) {
	var forget struct {
		Address string         `json:"address"`
		Hashes  []message.Hash `json:"hashes"`
	}
	if json.Unmarshal(m.Content, &forget) != nil {
		return
	}
	t.renew("a version of a file is forgotten", m.ItemHash, func(_ message.Hash, uses []execution.Use) bool {
		return slices.ContainsFunc(uses, func(u execution.Use) bool {
			return u.Resolved != u.Ref && u.Owner == forget.Address && slices.Contains(forget.Hashes, u.Resolved)
		})
	})
	for _, hash := range forget.Hashes {
		if !t.cfg.Workloads.Holds(hash) {
			continue
		}
		t.removals.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, removalTimeout)
			defer cancel()
			t.remove(ctx, hash, forget.Address)
			return nil
		})
	}
}

// remove ends a program that is forgotten. Volumes are lost for good with it: the core node must know the program no longer, or
// its owner be the one who forgets.
func (t *Trigger) remove(ctx context.Context, hash message.Hash, by string) {
	program, err := t.cfg.Network.Program(ctx, hash)
	if !errors.Is(err, corenode.ErrNotFound) && (err != nil || program.Address != by) {
		t.cfg.Log.Warn("a program is said to be forgotten and is not", "hash", hash, "by", by, "error", err)
		return
	}
	t.unregister(hash)
	if err := t.cfg.Workloads.Remove(ctx, hash); err != nil {
		t.cfg.Log.Error("forgotten program not removed", "hash", hash, "error", err)
		return
	}
	if t.cfg.Forgotten != nil {
		t.cfg.Forgotten(hash)
	}
	t.cfg.Log.Info("program is forgotten and removed", "hash", hash)
}

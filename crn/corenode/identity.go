package corenode

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// IdentityConfig says how a compute node finds the message that registered it (spec/crn.md §6.3).
type IdentityConfig struct {
	Explicit message.Hash  // what the operator says; it wins over everything
	File     string        // what an earlier run found
	Registry string        // the address that publishes the registry of nodes
	Owner    string        // the operator's address; without it nothing is looked for
	Address  string        // base URL that the node is registered under
	Interval time.Duration // the longest pause between two looks
	Log      *slog.Logger
}

// Identity knows which registered node this one is. Safe for concurrent use.
type Identity struct {
	cfg    IdentityConfig
	client *Client
	hash   atomic.Pointer[message.Hash]
}

// NewIdentity reads what is known from the start. Run looks for the rest.
func NewIdentity(client *Client, cfg IdentityConfig) (*Identity, error) {
	i := &Identity{cfg: cfg, client: client}
	if cfg.Explicit != "" {
		hash, err := message.ParseHash(string(cfg.Explicit))
		if err != nil {
			return nil, fmt.Errorf("hash of this node: %w", err)
		}
		i.hash.Store(&hash)
		return i, nil
	}
	raw, err := os.ReadFile(cfg.File)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("hash of this node, as found earlier: %w", err)
	}
	// A file that was cut short is as good as none.
	if hash, err := message.ParseHash(strings.TrimSpace(string(raw))); err == nil {
		i.hash.Store(&hash)
	}
	return i, nil
}

// Hash is the message that registered this node; empty while unknown.
func (i *Identity) Hash() message.Hash {
	if hash := i.hash.Load(); hash != nil {
		return *hash
	}
	return ""
}

// Run looks for the node in the registry until it is found, and returns nil then or when ctx ends.
func (i *Identity) Run(ctx context.Context) error {
	if i.cfg.Owner == "" {
		return nil
	}
	// A node is registered soon after it first runs, or long before. Until it is found, owners who name it are sent away.
	pause := min(500*time.Millisecond, i.cfg.Interval)
	for i.Hash() == "" {
		if err := i.discover(ctx); err != nil {
			i.cfg.Log.Info("this node's registration is not known yet", "address", i.cfg.Address, "owner", i.cfg.Owner, "error", err)
		} else {
			return nil
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, i.cfg.Interval)
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// discover looks once. Exactly one node of the owner's must have the address: of several, none is more likely than another.
func (i *Identity) discover(ctx context.Context) error {
	var registry struct {
		Nodes []registered `json:"resource_nodes"`
	}
	if err := i.client.Aggregate(ctx, i.cfg.Registry, "corechannel", 0, &registry); err != nil {
		return err
	}
	var found []message.Hash
	for _, n := range registry.Nodes {
		hash, err := message.ParseHash(n.Hash)
		if err == nil && strings.EqualFold(n.Owner, i.cfg.Owner) && strings.TrimRight(n.Address, "/") == i.cfg.Address {
			found = append(found, hash)
		}
	}
	if len(found) != 1 {
		return fmt.Errorf("the registry has %d nodes of this owner at this address, one is wanted", len(found))
	}
	i.hash.Store(&found[0])
	if err := writeAtomic(i.cfg.File, []byte(string(found[0])+"\n")); err != nil {
		i.cfg.Log.Warn("the hash of this node is not kept", "error", err)
	}
	i.cfg.Log.Info("found this node's registration", "hash", found[0])
	return nil
}

// Registered returns the base URL of the registered compute node that answers at a host and port. The error is ErrNotFound when
// there is none.
func (i *Identity) Registered(ctx context.Context, host, port string) (string, error) {
	var registry struct {
		Nodes []registered `json:"resource_nodes"`
	}
	if err := i.client.Aggregate(ctx, i.cfg.Registry, "corechannel", registryAge, &registry); err != nil {
		return "", err
	}
	for _, n := range registry.Nodes {
		u, err := url.Parse(n.Address)
		if err != nil || !strings.EqualFold(u.Hostname(), host) {
			continue
		}
		if at := cmp.Or(u.Port(), map[string]string{"https": "443", "http": "80"}[u.Scheme]); at == port {
			return strings.TrimRight(n.Address, "/"), nil
		}
	}
	return "", fmt.Errorf("compute node at %s: %w", net.JoinHostPort(host, port), ErrNotFound)
}

// registryAge is how old the registry may be.
const registryAge = time.Minute

// registered is a compute node in the registry. Entries of other shapes are passed over.
type registered struct{ Hash, Owner, Address string }

// UnmarshalJSON implements json.Unmarshaler: what is no such entry is an empty one.
func (r *registered) UnmarshalJSON(raw []byte) error {
	var entry struct{ Hash, Owner, Address any }
	if json.Unmarshal(raw, &entry) != nil {
		return nil
	}
	r.Hash, _ = entry.Hash.(string)
	r.Owner, _ = entry.Owner.(string)
	r.Address, _ = entry.Address.(string)
	return nil
}

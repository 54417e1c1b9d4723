package ccn

import (
	"context"
	"time"

	"github.com/aleph-im/aleph-go/ccn/api"
	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/p2p"
	"github.com/aleph-im/aleph-go/ccn/state"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// wire adds what stands on the node's core: the services that read and publish, and the API.
func (n *Node) wire(decides *state.State) error {
	if err := n.addServices(); err != nil {
		return err
	}
	cfg := api.Config{
		Params: n.cfg.Params, Store: n.store, Files: n.files, IPFS: n.ipfs, Uploads: n.uploads, Fetch: n.fetcher.Fetch, Intake: n.intake, Publish: n.publish, Addresses: n.p2p.Addrs,
		MaxSockets: int64(n.cfg.MaxSockets), Version: n.cfg.Version, Extra: n.scheduler.Routes(), Logger: n.cfg.Logger.With("part", "api"),
		OperationsOnly: n.cfg.Role == RoleWorker, Stopping: n.stopping, Fetches: n.fetches, Gossip: gossip(n.p2p),
		RecalculateKey: n.cfg.Params.OperatorKey, Recalculate: recalculate(decides), Covers: decides.Covers,
	}
	if n.chain != nil {
		cfg.Chain = n.chainProgress
	}
	n.api = api.New(cfg)
	n.services = append(n.services, service{"http", func(ctx context.Context) error { return n.api.Serve(ctx, n.listener) }})
	return nil
}

// recalculate computes the costs of a message again, and wakes what waits for what came of it.
func recalculate(decides *state.State) func(*store.Tx, message.Hash) error {
	return func(tx *store.Tx, h message.Hash) error {
		effect, err := decides.Reprice(tx, h)
		if err != nil || len(effect.Wakes) == 0 {
			return err
		}
		_, err = tx.WakePending(effect.Wakes, message.TimeFrom(time.Now()))
		return err
	}
}

// chainProgress tells how far the balances are read from the chain.
func (n *Node) chainProgress() api.ChainProgress {
	read, head := n.chain.Progress()
	return api.ChainProgress{Height: height(read), Head: height(head)}
}

func height(n uint64) *int64 {
	if n == 0 {
		return nil
	}
	h := int64(n)
	return &h
}

func gossip(p *p2p.Node) func() api.Gossip { return func() api.Gossip { return api.Gossip(p.Stats()) } }

func (n *Node) fetches() api.Fetches {
	c := n.fetcher.Counts()
	return api.Fetches{IPFS: fetched(c.IPFS), Storage: fetched(c.Peers)}
}

func fetched(c files.FetchCount) api.Fetched {
	return api.Fetched{Tried: c.Tried, Failed: c.Failed, Time: c.Time}
}

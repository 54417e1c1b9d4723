package ipfs

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/message"
)

// Peers gets blocks from other core nodes by the call that every trustless gateway of IPFS has, GET /ipfs/<cid>?format=raw.
type Peers struct {
	list  func() []string
	http  *http.Client
	hedge time.Duration

	mu   sync.Mutex
	last string          // guarded by mu; that had a block: it is asked first
	slow map[string]bool // guarded by mu; that said nothing for so long that another was asked as well: they are asked last
}

const (
	blockTime  = 15 * time.Second       // that one node may take for one block
	blockHedge = 500 * time.Millisecond // that one node may be silent before the next is asked as well
)

// NewPeers returns an exchange with the nodes that list names by their base URLs.
func NewPeers(list func() []string) *Peers {
	return &Peers{list: list, hedge: blockHedge, slow: make(map[string]bool), http: &http.Client{
		Timeout: blockTime,
		// A peer that answers for another would send this node wherever it likes.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Block implements Exchange: it asks one node, and the next when that is silent for a moment or bytes are not those of the
// block. It is files.ErrNotFound when none has them.
func (p *Peers) Block(ctx context.Context, h message.Hash) ([]byte, error) {
	c, err := parseCID(h)
	if err != nil {
		return nil, err
	}
	return files.Race(ctx, p.order(), p.hedge, func(ctx context.Context, peer string) ([]byte, error) { return p.ask(ctx, peer, c) })
}

// order lists the nodes as they are asked.
func (p *Peers) order() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	place := func(peer string) int {
		switch {
		case p.slow[peer]:
			return 2
		case peer == p.last:
			return 0
		}
		return 1
	}
	return slices.SortedStableFunc(slices.Values(p.list()), func(a, b string) int { return place(a) - place(b) })
}

// ask asks one node and remembers how it did.
func (p *Peers) ask(ctx context.Context, peer string, c cid.Cid) ([]byte, error) {
	mark := func(slow bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.slow[peer] = slow
	}
	silent := time.AfterFunc(p.hedge, func() { mark(true) })
	raw, err := p.from(ctx, peer, c)
	if silent.Stop() && ctx.Err() == nil {
		mark(false)
	}
	if err == nil {
		p.mu.Lock()
		p.last = peer
		p.mu.Unlock()
	}
	return raw, err
}

func (p *Peers) from(ctx context.Context, peer string, c cid.Cid) ([]byte, error) {
	url := strings.TrimRight(peer, "/") + "/ipfs/" + c.String() + "?format=raw"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", BlockType)
	resp, err := p.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxBlock+1))
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", url, err)
	}
	if is, err := c.Prefix().Sum(raw); err != nil || len(raw) > maxBlock || !is.Equals(c) {
		return nil, fmt.Errorf("GET %s: these are other bytes", url)
	}
	return raw, nil
}

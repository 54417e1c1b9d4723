package ipfs

import (
	"context"
	"errors"
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
	list func() []string
	http *http.Client

	mu   sync.Mutex
	last string // that had a block; it is asked first
}

// blockTime is how long one node may take for one block.
const blockTime = 15 * time.Second

// NewPeers returns an exchange with the nodes that list names by their base URLs.
func NewPeers(list func() []string) *Peers {
	return &Peers{list: list, http: &http.Client{
		Timeout: blockTime,
		// A peer that answers for another would send this node wherever it likes.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Block implements Exchange: it asks one node after the other, and the next when bytes are not those of the block. It is
// files.ErrNotFound when none has them.
func (p *Peers) Block(ctx context.Context, h message.Hash) ([]byte, error) {
	c, err := parseCID(h)
	if err != nil {
		return nil, err
	}
	peers := slices.Clone(p.list())
	p.mu.Lock()
	if i := slices.Index(peers, p.last); i > 0 {
		peers[0], peers[i] = peers[i], peers[0]
	}
	p.mu.Unlock()
	failed := []error{files.ErrNotFound}
	for _, peer := range peers {
		raw, err := p.from(ctx, peer, c)
		if err == nil {
			p.mu.Lock()
			p.last = peer
			p.mu.Unlock()
			return raw, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		failed = append(failed, err)
	}
	return nil, errors.Join(failed...)
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

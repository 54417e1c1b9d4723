package files

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aleph-im/aleph-go/internal/flight"
	"github.com/aleph-im/aleph-go/internal/redirect"
	"github.com/aleph-im/aleph-go/message"
)

// FetcherConfig is what a Fetcher needs. Store and Peers are required.
type FetcherConfig struct {
	Store Store
	// Peers lists the base URLs of the nodes to ask, such as http://127.0.0.1:4024. It is called for each file.
	Peers func() []string
	// IPFS gets what no peer has as a file and is named by a CID, such as a folder, until its context ends. Nil: nobody does.
	IPFS func(ctx context.Context, h message.Hash, limit int64) (Info, error)
	// Hedge is how long one peer may be silent before the next is asked as well. 500 ms if zero.
	Hedge time.Duration
	// Timeout bounds each request (spec/ccn-core.md §7.6): how long a peer may be silent, or take for 64 KiB. 15 s if zero.
	Timeout time.Duration
	Client  *http.Client // nil: one that does not decompress and stays on the host it was sent to
}

// Fetcher gets files that the store lacks from other nodes.
type Fetcher struct {
	cfg FetcherConfig

	asked       *peers
	peers, ipfs fetchCount
	flights     flight.Group[message.Hash, int64]
}

// FetchCounts tells what was fetched in each way.
type FetchCounts struct{ Peers, IPFS FetchCount }

// FetchCount counts fetches. A file that no peer has and IPFS then has counts in both.
type FetchCount struct {
	Tried, Failed int64
	Time          time.Duration // that all of them took together
}

type fetchCount struct{ tried, failed, nanoseconds atomic.Int64 }

func (c *fetchCount) add(began time.Time, err error) {
	c.tried.Add(1)
	if err != nil {
		c.failed.Add(1)
	}
	c.nanoseconds.Add(int64(time.Since(began)))
}

func (c *fetchCount) load() FetchCount {
	return FetchCount{c.tried.Load(), c.failed.Load(), time.Duration(c.nanoseconds.Load())}
}

// Counts returns what was fetched since the start.
func (f *Fetcher) Counts() FetchCounts { return FetchCounts{f.peers.load(), f.ipfs.load()} }

// NewFetcher returns a Fetcher.
func NewFetcher(cfg FetcherConfig) *Fetcher {
	if cfg.Hedge == 0 {
		cfg.Hedge = 500 * time.Millisecond
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 15 * time.Second
	}
	if cfg.Client == nil {
		cfg.Client = plainClient()
	}
	return &Fetcher{cfg: cfg, asked: newPeers(cfg.Timeout)}
}

// Fetch returns once the file is in the store, and its size in bytes. It is ErrNotFound when no peer has it. Calls for
// the same file share one transfer.
func (f *Fetcher) Fetch(ctx context.Context, h message.Hash, limit int64) (int64, error) {
	if info, err := f.cfg.Store.Keep(ctx, h); err == nil {
		return info.Size, nil
	}
	if h.Kind() == "" {
		return 0, fmt.Errorf("fetch %q: %w", h, ErrUnverifiable)
	}
	return f.flights.Do(ctx, h, func() (int64, error) { return f.bring(ctx, h, limit) })
}

// bring asks the peers and then IPFS.
func (f *Fetcher) bring(ctx context.Context, h message.Hash, limit int64) (int64, error) {
	began := time.Now()
	size, err := f.race(ctx, h, limit)
	f.peers.add(began, err)
	if err == nil || ctx.Err() != nil || h.Kind() != message.ItemIPFS || f.cfg.IPFS == nil {
		return size, err
	}
	began = time.Now()
	info, err2 := f.cfg.IPFS(ctx, h, limit)
	f.ipfs.add(began, err2)
	if err2 != nil {
		return 0, fmt.Errorf("%w; from IPFS: %w", err, err2)
	}
	return info.Size, nil
}

// plainClient takes bytes as they come: a peer's compressed answer could be far larger than it looks. It follows
// redirections only on the same host, so that no peer sends it elsewhere.
func plainClient() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableCompression = true
	return &http.Client{Transport: transport, CheckRedirect: redirect.SameHost}
}

// race asks the peers in random order, but those last that are slow.
func (f *Fetcher) race(ctx context.Context, h message.Hash, limit int64) (int64, error) {
	peers := append([]string(nil), f.cfg.Peers()...)
	for i, peer := range peers {
		peers[i] = strings.TrimRight(peer, "/")
	}
	rand.Shuffle(len(peers), func(i, j int) { peers[i], peers[j] = peers[j], peers[i] })
	f.asked.sort(peers)

	size, err := Race(ctx, peers, f.cfg.Hedge, func(ctx context.Context, peer string) (int64, error) { return f.from(ctx, peer, h, limit) })
	if err != nil {
		return 0, fmt.Errorf("fetch %s: %w", h, err)
	}
	return size, nil
}

// from gets the file from one peer: as it is, or in the base64 form that every reference node answers.
func (f *Fetcher) from(ctx context.Context, peer string, h message.Hash, limit int64) (size int64, err error) {
	if err := f.asked.enter(ctx, peer); err != nil {
		return 0, err
	}
	defer func() { f.asked.leave(ctx, peer, err) }()
	size, err = f.get(ctx, peer+"/api/v0/storage/raw/"+string(h), h, limit, func(r io.Reader) io.Reader { return r })
	if err == nil || ctx.Err() != nil || errors.Is(err, errSilent) {
		return size, err
	}
	size, err2 := f.get(ctx, peer+"/api/v0/storage/"+string(h), h, limit, func(r io.Reader) io.Reader {
		return base64.NewDecoder(base64.StdEncoding, &contentMember{r: bufio.NewReader(r)})
	})
	if err2 == nil {
		return size, nil
	}
	return 0, fmt.Errorf("%w; %w", err, err2)
}

func (f *Fetcher) get(ctx context.Context, url string, h message.Hash, limit int64, decode func(io.Reader) io.Reader) (size int64, err error) {
	within, cancel := context.WithCancel(ctx)
	defer cancel()
	silence := time.AfterFunc(f.cfg.Timeout, cancel)
	defer silence.Stop()
	defer func() {
		if err != nil && ctx.Err() == nil && within.Err() != nil {
			// Not wrapped: the caller's context did not end.
			err = fmt.Errorf("GET %s: %w for %s", url, errSilent, f.cfg.Timeout)
		}
	}()
	req, err := http.NewRequestWithContext(within, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := f.cfg.Client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	if e := resp.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return 0, fmt.Errorf("GET %s: the answer is encoded as %q, which was not asked for", url, e)
	}
	body := &heard{r: resp.Body, tell: func() { silence.Reset(f.cfg.Timeout) }}
	size, err = f.cfg.Store.PutExpecting(within, h, decode(body), limit)
	if err != nil {
		return 0, fmt.Errorf("GET %s: %w", url, err)
	}
	return size, nil
}

// heard tells when so many bytes came that the peer counts as no silent one.
type heard struct {
	r    io.Reader
	tell func()
	came int // since it was told
}

func (h *heard) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	if h.came += n; h.came >= slowest {
		h.came = 0
		h.tell()
	}
	return n, err
}

// contentMember reads the text of the member "content" out of a flat JSON object without holding the object. What it
// gives is only trusted after its hash was checked, so it need not be a strict parser.
type contentMember struct {
	r      *bufio.Reader
	inside bool
}

func (c *contentMember) Read(p []byte) (int, error) {
	if !c.inside {
		if err := c.seek(); err != nil {
			return 0, err
		}
		c.inside = true
	}
	n := 0
	for n < len(p) {
		if n > 0 && c.r.Buffered() == 0 {
			return n, nil
		}
		b, err := c.r.ReadByte()
		if err != nil {
			return n, unexpected(err)
		}
		switch b {
		case '"':
			if n == 0 {
				return 0, io.EOF
			}
			return n, c.r.UnreadByte()
		case '\\':
			if b, err = c.r.ReadByte(); err != nil {
				return n, unexpected(err)
			}
			if b == 'n' || b == 'r' { // base64 of MIME has line breaks
				continue
			}
		}
		p[n] = b
		n++
	}
	return n, nil
}

// seek moves behind the opening quote of the member's value.
func (c *contentMember) seek() error {
	const name = `"content"`
	for matched := 0; matched < len(name); {
		b, err := c.r.ReadByte()
		if err != nil {
			return unexpected(err)
		}
		switch {
		case b == name[matched]:
			matched++
		case b == name[0]:
			matched = 1
		default:
			matched = 0
		}
	}
	for {
		b, err := c.r.ReadByte()
		if err != nil {
			return unexpected(err)
		}
		switch b {
		case ':', ' ', '\t', '\r', '\n':
		case '"':
			return nil
		default:
			return errors.New(`the answer's member "content" is no text`)
		}
	}
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

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
	"sync"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// FetcherConfig is what a Fetcher needs. Store and Peers are required.
type FetcherConfig struct {
	Store Store
	// Peers lists the base URLs of the nodes to ask, such as http://127.0.0.1:4024. It is called for each file.
	Peers func() []string
	// Hedge is how long one peer may be silent before the next is asked as well. 500 ms if zero.
	Hedge time.Duration
	// Timeout bounds each request. 15 s if zero (spec/ccn-core.md §7.6).
	Timeout time.Duration
	Client  *http.Client // http.DefaultClient if nil
}

// Fetcher gets files that the store lacks from other nodes.
type Fetcher struct {
	cfg FetcherConfig

	mu     sync.Mutex
	flying map[message.Hash]*flight // guarded by mu
}

// flight is one file on its way, shared by all who asked for it.
type flight struct {
	done chan struct{}
	size int64
	err  error
}

// NewFetcher returns a Fetcher.
func NewFetcher(cfg FetcherConfig) *Fetcher {
	if cfg.Hedge == 0 {
		cfg.Hedge = 500 * time.Millisecond
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 15 * time.Second
	}
	if cfg.Client == nil {
		cfg.Client = http.DefaultClient
	}
	return &Fetcher{cfg: cfg, flying: make(map[message.Hash]*flight)}
}

// inParallel is how many peers are asked for one file at the same time.
const inParallel = 4

// Fetch returns once the file is in the store, and its size in bytes. It is ErrNotFound when no peer has it. Calls for
// the same file share one transfer.
func (f *Fetcher) Fetch(ctx context.Context, h message.Hash, limit int64) (int64, error) {
	if info, err := f.cfg.Store.Keep(ctx, h); err == nil {
		return info.Size, nil
	}
	if h.Kind() != message.ItemStorage {
		return 0, fmt.Errorf("fetch %s: %w", h, ErrUnverifiable)
	}
	for {
		f.mu.Lock()
		other := f.flying[h]
		if other == nil {
			break
		}
		f.mu.Unlock()
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-other.done:
		}
		// The one who led may have been called off; then somebody else takes over.
		if !errors.Is(other.err, context.Canceled) && !errors.Is(other.err, context.DeadlineExceeded) {
			return other.size, other.err
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
	}
	own := &flight{done: make(chan struct{})}
	f.flying[h] = own
	f.mu.Unlock()

	own.size, own.err = f.race(ctx, h, limit)
	f.mu.Lock()
	delete(f.flying, h)
	f.mu.Unlock()
	close(own.done)
	return own.size, own.err
}

// race asks the peers in random order, a further one whenever one failed or was silent for too long, and takes the first
// answer that is right.
func (f *Fetcher) race(ctx context.Context, h message.Hash, limit int64) (int64, error) {
	peers := append([]string(nil), f.cfg.Peers()...)
	rand.Shuffle(len(peers), func(i, j int) { peers[i], peers[j] = peers[j], peers[i] })

	ctx, stop := context.WithCancel(ctx)
	type answer struct {
		size int64
		err  error
	}
	answers := make(chan answer, inParallel)
	running := 0
	defer func() {
		stop()
		for ; running > 0; running-- {
			<-answers
		}
	}()
	hedge := time.NewTimer(0)
	defer hedge.Stop()
	failed := []error{ErrNotFound}
	for len(peers) > 0 || running > 0 {
		var next <-chan time.Time
		if len(peers) > 0 && running < inParallel {
			next = hedge.C
		}
		select {
		case <-next:
			peer := strings.TrimRight(peers[0], "/")
			peers = peers[1:]
			running++
			go func() {
				size, err := f.from(ctx, peer, h, limit)
				answers <- answer{size, err}
			}()
			hedge.Reset(f.cfg.Hedge)
		case a := <-answers:
			running--
			if a.err == nil {
				return a.size, nil
			}
			failed = append(failed, a.err)
			hedge.Reset(0)
		}
	}
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("fetch %s: %w", h, err)
	}
	return 0, fmt.Errorf("fetch %s: %w", h, errors.Join(failed...))
}

// from gets the file from one peer: as it is, or in the base64 form that every reference node answers.
func (f *Fetcher) from(ctx context.Context, peer string, h message.Hash, limit int64) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Timeout)
	defer cancel()
	size, err := f.get(ctx, peer+"/api/v0/storage/raw/"+string(h), h, limit, func(r io.Reader) io.Reader { return r })
	if err == nil || ctx.Err() != nil {
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

func (f *Fetcher) get(ctx context.Context, url string, h message.Hash, limit int64, decode func(io.Reader) io.Reader) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	resp, err := f.cfg.Client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	size, err := f.cfg.Store.PutExpecting(ctx, h, decode(resp.Body), limit)
	if err != nil {
		return 0, fmt.Errorf("GET %s: %w", url, err)
	}
	return size, nil
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

// Package intake takes every message in: from the API, from gossip, from chains and from the node itself. It parses and
// verifies on all cores, fetches contents and files that are elsewhere, and applies what is ready in group commits. It is
// the only caller of ccn/state. Package ccn wires it; ccn/api and ccn/p2p submit to it and listen to its events.
//
// A message is on disk when Submit returns: applied, waiting in pending_messages, or refused in rejected_messages. What
// waits is kept in the database only, with the keys of what it waits for. The commit that brings such a thing makes its
// waiters due at once, and one goroutine takes up what is due, so a restart needs nothing of its own.
package intake

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/state"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
)

// Origin is the way on which a message came.
type Origin string

const (
	OriginAPI  Origin = "api"  // a user of this node's API
	OriginP2P  Origin = "p2p"  // gossip of another node
	OriginNode Origin = "node" // made and signed by this node
)

// Config is what a Pipeline needs. Params, Store, State, Files and Verify are required.
type Config struct {
	Params *params.Network
	Store  *store.Store
	State  Applier
	Files  files.Store

	// Fetch brings a file of at most limit bytes into Files from wherever it is, and returns its size. Nil: nothing is
	// fetched; what is missing must be uploaded.
	Fetch func(ctx context.Context, h message.Hash, limit int64) (int64, error)

	// Verify checks a signature. The error of a wrong one is a *message.Error.
	Verify func(*message.Message) error

	// Journal is a folder in which messages are durable before the database has them; "" commits each group of messages
	// before anybody is answered, which is slower. A database that several processes share does without.
	Journal string

	// EnqueueOnly leaves applying to other processes on the same database. What is submitted is verified and made durable
	// here, and its outcome is theirs.
	EnqueueOnly bool

	Now    func() time.Time // time.Now if nil
	Logger *slog.Logger     // discarded if nil
}

// Applier decides what a message changes and writes it: *state.State. A *message.Error says that the message is refused
// and nothing was written; any other error spoils the transaction.
type Applier interface {
	Apply(tx *store.Tx, it *state.Item) (*state.Effect, error)
}

// Outcome is what became of a submitted message.
type Outcome struct {
	Hash      message.Hash   // "" when the bytes name none
	Status    message.Status // pending, processed or rejected
	Err       *message.Error // why it is rejected, or what it waits for
	Duplicate bool           // it had been applied before
	Message   *message.Message
	Content   message.Content // nil while the content is elsewhere
}

// ErrStopped is returned for messages that the pipeline could not take because it is stopping.
var ErrStopped = errors.New("the node is stopping: send the message again")

// Bounds of what is in memory.
const (
	maxGroup    = 512              // messages of one commit
	maxQueue    = 1024             // messages that wait for the next commits; submitters wait beyond
	maxDue      = 1024             // pending messages taken up and not settled
	maxFetches  = 64               // transfers at once
	maxContent  = 16 << 20         // bytes of a message content that is not inline
	fetchBudget = 15 * time.Second // for a message content
	fileBudget  = 5 * time.Minute  // for the file of a STORE, from a peer that keeps sending
)

// Pipeline takes messages in.
type Pipeline struct {
	cfg     Config
	cores   chan struct{} // holds a token for each message being parsed and verified
	queue   chan *entry   // to the goroutine that applies
	arrived chan message.Hash
	kick    chan struct{} // pending messages may be due
	stopped chan struct{} // closed when nothing is applied any more
	started chan struct{} // closed when everything is known that was before the last end
	keeper  keeper
	seen    *verdicts
	coming  atomic.Int64  // submitted, and not in the queue or settled yet
	company chan struct{} // signalled when nothing is coming any more, or the queue fills a group
	events  hub
	stats   counters

	mu     sync.Mutex
	flying map[copyKey]*entry // guarded by mu; submitted and not settled
	due    map[int64]struct{} // guarded by mu; pending rows taken up and not settled
	room   chan struct{}      // signalled when due shrinks

	// Of processes that share a database.
	shared  bool
	waiting map[int64][]waiter // guarded by mu; enqueued messages by row
	over    map[int64]struct{} // guarded by mu; rows of late whose first attempt is over, whether or not they are waited for
}

// copyKey identifies one copy of a message: copies with another signature are different, so that a bad one keeps no good
// one out.
type copyKey struct {
	hash   message.Hash
	sender string
	sig    string
	typ    message.Type
	chain  message.Chain
}

func keyOf(m *message.Message) copyKey {
	return copyKey{m.ItemHash, m.Sender, m.Signature, m.Type, m.Chain}
}

// entry is one message on its way through the pipeline.
type entry struct {
	item     state.Item
	envelope json.RawMessage // as received
	origin   Origin
	pending  *store.PendingRow // its row, when it waits
	fetched  []files.Info      // files of it that are in the store
	missing  message.Hash      // file that it cannot be applied without
	named    message.Hash      // of bytes that are no message: the hash that they give themselves
	refused  *message.Error    // settled before it came to be applied
	tried    bool              // a fetch was tried in this round
	coming   bool              // counted in Pipeline.coming
	first    bool              // another process enqueued it and it was never tried
	durable  chan struct{}     // closed when it is enqueued for others; nil where all is applied here

	out  Outcome // valid, like err, when done is closed
	err  error
	done chan struct{}
}

// New returns a Pipeline.
func New(cfg Config) (*Pipeline, error) {
	if cfg.Params == nil || cfg.Store == nil || cfg.State == nil || cfg.Files == nil || cfg.Verify == nil {
		return nil, errors.New("intake: Params, Store, State, Files and Verify are required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	shared := cfg.Store.Shared()
	if cfg.EnqueueOnly && !shared {
		return nil, errors.New("intake: only a database that several processes share can leave the work to others")
	}
	return &Pipeline{
		cfg:     cfg,
		shared:  shared,
		waiting: make(map[int64][]waiter),
		over:    make(map[int64]struct{}),
		cores:   make(chan struct{}, min(runtime.GOMAXPROCS(0), runtime.NumCPU())),
		queue:   make(chan *entry, maxQueue),
		company: make(chan struct{}, 1),
		arrived: make(chan message.Hash, maxQueue),
		kick:    make(chan struct{}, 1),
		stopped: make(chan struct{}),
		started: make(chan struct{}),
		seen:    newVerdicts(1 << 16),
		flying:  make(map[copyKey]*entry),
		due:     make(map[int64]struct{}),
		room:    make(chan struct{}, 1),
	}, nil
}

// Run applies messages until ctx ends, then settles what was queued and waits for everything it started. It must be
// running for Submit to return, and runs once.
func (p *Pipeline) Run(ctx context.Context) error {
	defer p.events.close()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(p.stopped)
	if p.shared {
		last, err := p.Position(ctx)
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("follow applied messages: %w", err)
		}
		wg.Go(func() { p.share(ctx, last) })
	}
	if err := p.recover(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("take in what the last end left in the journal: %w", err)
	}
	close(p.started)
	if !p.cfg.EnqueueOnly {
		wg.Go(func() { p.takeUp(ctx) })
	}
	p.applyAll(ctx)
	return p.closeJournal(context.WithoutCancel(ctx))
}

// Started is closed when the database has everything that was acknowledged before the node last ended.
func (p *Pipeline) Started() <-chan struct{} { return p.started }

// Submit takes an envelope as it travels on the wire. It returns after the message is durable. The error is not nil only
// when nothing is known of the message's fate: ctx ended, the node stops, or the database cannot be written.
func (p *Pipeline) Submit(ctx context.Context, raw []byte, origin Origin) (Outcome, error) {
	return p.SubmitAny(ctx, [][]byte{raw}, origin)
}

// SubmitParsed is Submit of an envelope that message.Parse read. Who does not wait for the outcome has an answer, where
// others apply, as soon as the message is durable, as pending; elsewhere the outcome is known by then.
func (p *Pipeline) SubmitParsed(ctx context.Context, m *message.Message, content message.Content, raw []byte, origin Origin, wait bool) (Outcome, error) {
	p.stats.received.Add(1)
	return p.submit(ctx, m, content, raw, origin, wait)
}

// SubmitAny takes the first of several readings of the same bytes that is a valid envelope, or the first reading when
// none is. Gossip needs it: see p2p.DecodeMessage.
func (p *Pipeline) SubmitAny(ctx context.Context, readings [][]byte, origin Origin) (Outcome, error) {
	if len(readings) == 0 {
		return p.refuseBytes(ctx, nil, message.Errorf(message.ErrInvalidFormat, "the bytes are not UTF-8 text"))
	}
	if err := p.acquire(ctx); err != nil {
		return Outcome{}, err
	}
	var m *message.Message
	var content message.Content
	var err, first error
	var raw []byte
	for _, raw = range readings {
		if m, content, err = parse(raw); err == nil {
			break
		}
		if first == nil {
			first = err
		}
	}
	p.release()
	p.stats.received.Add(1)
	if err != nil {
		var refusal *message.Error
		if !errors.As(first, &refusal) {
			return Outcome{}, fmt.Errorf("parse message: %w", first)
		}
		return p.refuseBytes(ctx, readings[0], refusal)
	}
	return p.submit(ctx, m, content, raw, origin, true)
}

// submit joins the copy that is already on its way, or sends a new entry. When who sent that copy gave up before it was queued,
// somebody else who waits for it sends it again.
func (p *Pipeline) submit(ctx context.Context, m *message.Message, content message.Content, raw []byte, origin Origin, wait bool) (Outcome, error) {
	e := &entry{envelope: raw, origin: origin, done: make(chan struct{})}
	if p.cfg.EnqueueOnly {
		e.durable = make(chan struct{})
	}
	e.item.Message, e.item.Content = m, content
	e.item.ReceptionTime = message.TimeFrom(p.cfg.Now())
	for {
		other := p.fly(e)
		if other == e {
			break
		}
		p.stats.duplicates.Add(1)
		out, err := p.await(ctx, other, wait)
		if !canceled(err) || ctx.Err() != nil {
			return out, err
		}
	}

	e.coming = true
	p.coming.Add(1)
	settled, err := p.check(ctx, e)
	if err != nil || settled {
		p.came(e)
		p.settle(e, e.out, err)
		return e.out, err
	}
	return p.enqueue(ctx, e, wait)
}

// fly returns the copy of e's message that is on its way, which is e from now on when none was.
func (p *Pipeline) fly(e *entry) *entry {
	key := keyOf(e.item.Message)
	p.mu.Lock()
	defer p.mu.Unlock()
	if other := p.flying[key]; other != nil {
		return other
	}
	p.flying[key] = e
	return e
}

// canceled reports whether an error says no more than that somebody's context ended.
func canceled(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// refuseBytes records bytes that are no message. Without a readable hash there is nothing to record them under.
func (p *Pipeline) refuseBytes(ctx context.Context, raw []byte, refusal *message.Error) (Outcome, error) {
	p.stats.rejected.Add(1)
	out := Outcome{Status: message.StatusRejected, Err: refusal}
	h := namedHash(raw)
	if h == "" {
		return out, nil
	}
	raw = bytes.ToValidUTF8(raw, []byte("\ufffd")) // no database keeps other bytes as text
	e := &entry{envelope: raw, refused: refusal, done: make(chan struct{})}
	e.item.ReceptionTime = message.TimeFrom(p.cfg.Now())
	e.named = h
	return p.enqueue(ctx, e, true)
}

// namedHash returns the hash that bytes give themselves, although they are no message; "" when there is none.
func namedHash(raw []byte) message.Hash {
	var named struct {
		ItemHash string `json:"item_hash"`
	}
	if json.Unmarshal(raw, &named) != nil {
		return ""
	}
	h, err := message.ParseHash(named.ItemHash)
	if err != nil {
		return ""
	}
	return h
}

func (p *Pipeline) enqueue(ctx context.Context, e *entry, wait bool) (Outcome, error) {
	select {
	case p.queue <- e:
		p.came(e)
		return p.await(ctx, e, wait)
	case <-ctx.Done():
		p.came(e)
		p.settle(e, Outcome{}, ctx.Err())
	case <-p.stopped:
		p.came(e)
		p.settle(e, Outcome{}, ErrStopped)
	}
	return e.out, e.err
}

// await waits for the outcome of e, or only until it is durable.
func (p *Pipeline) await(ctx context.Context, e *entry, wait bool) (Outcome, error) {
	durable := e.durable
	if wait {
		durable = nil
	}
	var err error
	select {
	case <-e.done:
	case <-durable:
	case <-ctx.Done():
		err = ctx.Err()
	case <-p.stopped:
		err = ErrStopped
	}
	select {
	case <-e.done: // what the last commit settled is told all the same
		return e.out, e.err
	default:
	}
	select {
	case <-e.durable: // and what others will apply is on disk
		return Outcome{Hash: hashOf(e), Status: message.StatusPending, Message: e.item.Message, Content: e.item.Content}, nil
	default:
		return Outcome{}, err
	}
}

// settle tells everybody who waits for e.
func (p *Pipeline) settle(e *entry, out Outcome, err error) {
	e.out, e.err = out, err
	p.mu.Lock()
	if e.item.Message != nil {
		if key := keyOf(e.item.Message); p.flying[key] == e {
			delete(p.flying, key)
		}
	}
	if e.pending != nil {
		delete(p.due, e.pending.ID)
	}
	p.mu.Unlock()
	signal(p.room)
	close(e.done)
}

// FileArrived says that a file was put into the store and its row written, so that the messages that wait for it go on.
func (p *Pipeline) FileArrived(ctx context.Context, h message.Hash) error {
	select {
	case p.arrived <- h:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-p.stopped:
		return ErrStopped
	}
}

func (p *Pipeline) acquire(ctx context.Context) error {
	select {
	case p.cores <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *Pipeline) release() { <-p.cores }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

package intake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// load fills in the content of a verified message as far as this node has it, and notes which of its files are in the
// store. It sets refused when the content is wrong and missing when it is elsewhere.
func (p *Pipeline) load(ctx context.Context, e *entry) (err error) {
	defer survive(&err)
	m := e.item.Message
	e.missing, e.fetched = "", e.fetched[:0]
	if m.ItemType == message.ItemInline {
		e.item.Raw = []byte(m.ItemContent)
		e.item.Size = int64(utf8.RuneCountInString(m.ItemContent))
	} else if err := p.loadFile(ctx, e); err != nil || e.refused != nil || e.missing != "" {
		return err
	}
	if e.refused = tooLong(m, e.item.Content); e.refused != nil {
		return nil
	}
	if s, ok := e.item.Content.(*message.Store); ok {
		info, err := p.cfg.Files.Keep(ctx, s.FileHash)
		switch {
		case err == nil:
			e.fetched = append(e.fetched, info)
		case !errors.Is(err, files.ErrNotFound):
			return fmt.Errorf("look for file of %s: %w", m.ItemHash, err)
		}
	}
	return nil
}

// loadFile reads a content that is a file of its own.
func (p *Pipeline) loadFile(ctx context.Context, e *entry) error {
	m := e.item.Message
	info, err := p.cfg.Files.Keep(ctx, m.ItemHash)
	if errors.Is(err, files.ErrNotFound) {
		e.missing = m.ItemHash
		return nil
	} else if err != nil {
		return fmt.Errorf("keep content of %s: %w", m.ItemHash, err)
	}
	e.fetched = append(e.fetched, info)
	if info.Dir {
		e.refused = message.Errorf(message.ErrInvalidFormat, "the content is a folder")
		return nil
	}
	if info.Size > maxContent {
		e.refused = message.Errorf(message.ErrInvalidFormat, "the content has %d bytes, more than the %d of a message", info.Size, maxContent)
		return nil
	}
	f, _, err := p.cfg.Files.Open(ctx, m.ItemHash)
	if err != nil {
		return fmt.Errorf("open content of %s: %w", m.ItemHash, err)
	}
	defer f.Close()
	raw, err := io.ReadAll(f)
	if err != nil {
		return fmt.Errorf("read content of %s: %w", m.ItemHash, err)
	}
	content, stored, err := m.ParseFetched(raw)
	if err != nil {
		if !errors.As(err, &e.refused) {
			return fmt.Errorf("parse content of %s: %w", m.ItemHash, err)
		}
		return nil
	}
	e.item.Content, e.item.Raw, e.item.Size = content, stored, info.Size
	return nil
}

// takeUp sends pending messages on their way again when they are due, until ctx ends.
func (p *Pipeline) takeUp(ctx context.Context) {
	fetches := newTransfers(maxFetches)
	defer fetches.wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.kick:
		case <-timer.C:
		}
		pause, err := p.takeDue(ctx, fetches)
		if err != nil && ctx.Err() == nil {
			p.stats.failures.Add(1)
			p.cfg.Logger.Error("pending messages not taken up, tried again soon", "error", err)
		}
		timer.Reset(pause)
	}
}

const (
	failurePause = time.Second // after an error of the database
	longestPause = time.Minute
)

// takeDue sends on what is due and returns how long nothing will be.
func (p *Pipeline) takeDue(ctx context.Context, fetches *transfers) (pause time.Duration, err error) {
	for {
		p.mu.Lock()
		taken := len(p.due)
		p.mu.Unlock()
		if taken < maxDue {
			break
		}
		select {
		case <-ctx.Done():
			return longestPause, nil
		case <-p.room:
		}
	}
	now := message.TimeFrom(p.cfg.Now())
	more, failed := p.cfg.Store.ReviveMore(ctx, now)
	if failed != nil {
		more = false // the others must not wait for it
		p.stats.failures.Add(1)
		p.cfg.Logger.Error("refused messages did not come back, tried again later", "error", failed)
	}
	p.mu.Lock()
	limit := len(p.due) + maxGroup // those already taken up may be due as well
	p.mu.Unlock()
	rows, next, err := p.cfg.Store.TakeDue(ctx, now, lease, limit)
	if err != nil {
		return failurePause, fmt.Errorf("list due messages: %w", err)
	}
	took := false
	for i := range rows {
		row := &rows[i]
		p.mu.Lock()
		_, taken := p.due[row.ID]
		if !taken {
			p.due[row.ID] = struct{}{}
		}
		p.mu.Unlock()
		if !taken {
			took = true
			p.takeRow(ctx, row, fetches)
		}
	}
	switch {
	case took && len(rows) >= maxGroup, more:
		return 0, nil // there may be more
	case len(rows) > 0:
		// Their commits kick when there is something to do; this is for those that a failing database leaves due.
		return failurePause, nil
	case next == 0:
		return longestPause, nil
	}
	return min(max(next.Std().Sub(now.Std()), time.Millisecond), longestPause), nil
}

// takeRow sends on one pending message, after a fetch when a file is what it lacks.
func (p *Pipeline) takeRow(ctx context.Context, row *store.PendingRow, fetches *transfers) {
	e := &entry{envelope: row.Envelope, origin: Origin(row.Origin), pending: row, done: make(chan struct{})}
	e.first = p.shared && row.ErrorCode == 0
	e.item.ReceptionTime = row.ReceptionTime
	m, content, err := parse(row.Envelope)
	if err != nil {
		// It parsed when it was stored, so the rules have changed since.
		e.item.Message = &message.Message{ItemHash: row.Hash, Sender: row.Sender, Signature: row.Signature}
		if !errors.As(err, &e.refused) {
			e.refused = message.Errorf(message.ErrInvalidFormat, "%v", err)
		}
		p.forward(ctx, e)
		return
	}
	e.item.Message, e.item.Content = m, content
	p.reload(ctx, e)
	h, limit := p.wanted(e)
	if h == "" || p.cfg.Fetch == nil {
		e.tried = true
		p.forward(ctx, e)
		return
	}
	fetches.start(ctx, func() {
		// A STORE that travels as a file lacks two files, one after the other.
		for ; h != "" && ctx.Err() == nil; h, limit = p.wanted(e) {
			budget := fileBudget
			if h == e.missing {
				budget = fetchBudget
			}
			ctx, cancel := context.WithTimeout(ctx, budget)
			_, err := p.cfg.Fetch(ctx, h, limit)
			cancel()
			if err != nil {
				p.cfg.Logger.Debug("file not fetched", "file", h, "message", m.ItemHash, "error", err)
				break
			}
			p.reload(ctx, e)
		}
		e.tried = true
		p.forward(ctx, e)
	})
}

// wanted returns the file that e lacks and how many bytes it may have.
func (p *Pipeline) wanted(e *entry) (message.Hash, int64) {
	if e.refused != nil {
		return "", 0
	}
	if e.missing != "" {
		return e.missing, maxContent
	}
	s, ok := e.item.Content.(*message.Store)
	if !ok {
		return "", 0
	}
	for _, f := range e.fetched {
		if f.Hash == s.FileHash {
			return "", 0
		}
	}
	if s.FileHash.Kind() == message.ItemIPFS { // what one node took, every other is to have
		return s.FileHash, max(p.cfg.Params.MaxIPFSFile, p.cfg.Params.MaxCAR)
	}
	return s.FileHash, p.cfg.Params.MaxFile
}

// reload is load for a message that waits: what fails here may succeed at its next attempt.
func (p *Pipeline) reload(ctx context.Context, e *entry) {
	if err := p.load(ctx, e); err != nil {
		p.stats.failures.Add(1)
		p.cfg.Logger.Error("content not loaded", "error", err)
		e.refused = message.Errorf(message.ErrInternal, "the node could not read the content")
	}
}

// forward queues e for the next commit.
func (p *Pipeline) forward(ctx context.Context, e *entry) {
	select {
	case p.queue <- e:
	case <-ctx.Done():
		p.settle(e, Outcome{}, ErrStopped)
	}
}

// transfers runs a bounded number of functions at once. Those that wait for their turn are bounded by who starts them.
type transfers struct {
	slots   chan struct{}
	started sync.WaitGroup
}

func newTransfers(n int) *transfers { return &transfers{slots: make(chan struct{}, n)} }

// start runs f when a slot is free, or when ctx ends, for it to give up.
func (t *transfers) start(ctx context.Context, f func()) {
	t.started.Go(func() {
		select {
		case t.slots <- struct{}{}:
			defer func() { <-t.slots }()
		case <-ctx.Done():
		}
		f()
	})
}

func (t *transfers) wait() { t.started.Wait() }

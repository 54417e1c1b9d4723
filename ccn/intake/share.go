package intake

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// Several processes on one database share the work. Those that apply take due messages up, each for itself alone; one that
// only enqueues makes what it verified durable and waits for the outcome. All tell their subscribers of what any of them
// applied, in the order of the commits. Notices say when to look and the database says what is there: a notice that is
// lost is made good by looking once a second.

const (
	lease       = 30 * time.Second // a message that was taken up and not settled is taken up again after it
	lookAgain   = time.Second
	longestWait = time.Minute // for an outcome; the message then counts as pending, which it is
	maxWaiting  = 1 << 16     // enqueued messages whose outcome is waited for
	maxFollow   = 256         // applied messages read at once
)

// waiter is an enqueued message whose outcome somebody waits for.
type waiter struct {
	entry *entry
	row   int64
	until time.Time
}

// share follows the other processes until ctx ends. last is the last message that was applied before.
func (p *Pipeline) share(ctx context.Context, last int64) {
	notices := make(chan store.Notice, 64)
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		p.listen(ctx, notices)
	}()
	defer func() { <-listening }()
	again := time.NewTicker(lookAgain)
	defer again.Stop()
	for {
		n := store.Notice{Kind: store.NoticeAny}
		select {
		case <-ctx.Done():
			return
		case n = <-notices:
		case <-again.C:
		}
		var err error
		all := n.Kind == store.NoticeAny
		if all || n.Kind == store.NoticeDue {
			signal(p.kick)
		}
		if all || n.Kind == store.NoticeApplied {
			last, err = p.follow(ctx, last)
		}
		if all || n.Kind == store.NoticeSettled {
			err = errors.Join(err, p.resolve(ctx, n.Rows, all))
		}
		if err != nil && ctx.Err() == nil {
			p.stats.failures.Add(1)
			p.cfg.Logger.Error("what other processes did could not be read, tried again soon", "error", err)
		}
	}
}

// listen passes notices on. One that finds no room is not needed: what is in the queue makes everything be looked at soon.
func (p *Pipeline) listen(ctx context.Context, notices chan<- store.Notice) {
	for {
		err := p.cfg.Store.Listen(ctx, func(n store.Notice) {
			select {
			case notices <- n:
			default:
			}
		})
		if ctx.Err() != nil {
			return
		}
		p.cfg.Logger.Warn("connection for notices lost, made again", "error", err)
		timer := time.NewTimer(lookAgain)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// follow tells the subscribers of what was applied after row last, and returns the new last row.
func (p *Pipeline) follow(ctx context.Context, last int64) (int64, error) {
	for {
		var rows []store.MessageRow
		err := p.cfg.Store.Read(ctx, func(r *store.Reader) (err error) {
			rows, err = r.MessagesAfter(last, maxFollow)
			return err
		})
		if err != nil {
			return last, fmt.Errorf("follow applied messages: %w", err)
		}
		for i := range rows {
			row := &rows[i]
			last = row.ID
			content, err := contentOf(row)
			if err != nil {
				p.cfg.Logger.Error("applied message not told to subscribers", "message", row.Message.ItemHash, "error", err)
				continue
			}
			p.events.publish(Event{
				Hash: row.Message.ItemHash, Status: message.StatusProcessed, Message: &row.Message, Content: content, Raw: row.Content,
				Size: row.Size, Received: row.ReceptionTime, Position: row.ID,
			})
		}
		if len(rows) < maxFollow {
			return last, nil
		}
	}
}

// contentOf parses the content of an applied message.
func contentOf(row *store.MessageRow) (message.Content, error) {
	if row.Message.ItemType == message.ItemInline {
		return row.Message.Check()
	}
	content, _, err := row.Message.ParseFetched(row.Content)
	return content, err
}

// tellOthers says what a transaction did, when somebody else may listen.
func (p *Pipeline) tellOthers(tx *store.Tx, group []*entry, results []result, due bool) error {
	if !p.shared {
		return nil
	}
	applied := false
	var settled []int64
	for i, e := range group {
		due = due || results[i].due
		applied = applied || results[i].event && results[i].out.Status == message.StatusProcessed
		if e.first {
			settled = append(settled, e.pending.ID)
		}
	}
	var err error
	if applied {
		err = errors.Join(err, tx.Notify(store.Notice{Kind: store.NoticeApplied}))
	}
	if due {
		err = errors.Join(err, tx.Notify(store.Notice{Kind: store.NoticeDue}))
	}
	if len(settled) > 0 {
		err = errors.Join(err, tx.Notify(store.Notice{Kind: store.NoticeSettled, Rows: settled}))
	}
	return err
}

// enqueueGroup does for a process that applies nothing what commit does: it makes a group durable. Refusals need no
// worker, nor do files that arrived.
func (p *Pipeline) enqueueGroup(ctx context.Context, group []*entry, arrived []message.Hash) {
	var refused, fresh []*entry
	for _, e := range group {
		if e.refused != nil {
			refused = append(refused, e)
		} else {
			fresh = append(fresh, e)
		}
	}
	if len(refused)+len(arrived) > 0 {
		p.commit(ctx, refused, arrived, p.commitNow)
	}
	if len(fresh) == 0 {
		return
	}
	// The same order everywhere, so that processes that enqueue the same messages do not wait for each other in a circle.
	slices.SortFunc(fresh, func(a, b *entry) int {
		a1, b1 := a.item.Message, b.item.Message
		return cmp.Or(cmp.Compare(a1.ItemHash, b1.ItemHash), cmp.Compare(a1.Sender, b1.Sender), cmp.Compare(a1.Signature, b1.Signature))
	})
	rows := make([]*store.PendingRow, len(fresh))
	now := message.TimeFrom(p.cfg.Now())
	for i, e := range fresh {
		m := e.item.Message
		rows[i] = &store.PendingRow{
			Hash: m.ItemHash, Sender: m.Sender, Signature: m.Signature, Envelope: e.envelope, Origin: string(e.origin),
			ReceptionTime: e.item.ReceptionTime, NextAttempt: now,
		}
	}
	err := p.cfg.Store.Enqueue(ctx, rows)
	if err != nil && len(fresh) > 1 {
		p.stats.failures.Add(1)
		for _, e := range fresh { // so that the one that cannot be stored blocks no other
			p.enqueueGroup(ctx, []*entry{e}, nil)
		}
		return
	}
	if err != nil {
		p.stats.failures.Add(1)
		p.settle(fresh[0], Outcome{}, err)
		return
	}
	p.stats.commits.Add(1)
	for i, e := range fresh {
		p.expect(ctx, e, rows[i])
	}
}

// expect waits for the outcome of an entry whose row is durable.
func (p *Pipeline) expect(ctx context.Context, e *entry, row *store.PendingRow) {
	if tried := row.ErrorCode != 0; tried {
		p.settle(e, p.waitingOutcome(e, row), nil)
		return
	}
	p.mu.Lock()
	_, over := p.over[row.ID]
	full := len(p.waiting) >= maxWaiting
	if !full {
		p.waiting[row.ID] = append(p.waiting[row.ID], waiter{e, row.ID, time.Now().Add(longestWait)})
	}
	p.mu.Unlock()
	close(e.durable)
	switch {
	case full:
		p.settle(e, p.waitingOutcome(e, row), nil)
	case over: // before it was expected: the next look at everything would find it as well
		if err := p.resolve(ctx, []int64{row.ID}, false); err != nil {
			p.cfg.Logger.Error("outcome not read, tried again soon", "error", err)
		}
	}
}

func (p *Pipeline) waitingOutcome(e *entry, row *store.PendingRow) Outcome {
	out := Outcome{Hash: row.Hash, Status: message.StatusPending, Message: e.item.Message, Content: e.item.Content}
	if row.ErrorCode != 0 {
		out.Err = refusalOf(row.ErrorCode, row.Details)
	}
	return out
}

// resolve reads the outcomes of the rows whose first attempt is over, or of all that are waited for.
func (p *Pipeline) resolve(ctx context.Context, ids []int64, all bool) error {
	p.mu.Lock()
	if all {
		for id := range p.waiting {
			ids = append(ids, id)
		}
	} else if p.cfg.EnqueueOnly {
		if len(p.over)+len(ids) > maxWaiting {
			clear(p.over)
		}
		for _, id := range ids {
			p.over[id] = struct{}{}
		}
	}
	var waiters []waiter
	for _, id := range ids {
		waiters = append(waiters, p.waiting[id]...)
	}
	p.mu.Unlock()
	if len(waiters) == 0 {
		return nil
	}
	outcomes := make([]Outcome, len(waiters))
	known := make([]bool, len(waiters))
	err := p.cfg.Store.Read(ctx, func(r *store.Reader) error {
		for i, w := range waiters {
			var err error
			if outcomes[i], known[i], err = p.outcome(r, w.entry); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read outcomes: %w", err)
	}
	for i, w := range waiters {
		if !known[i] && time.Now().Before(w.until) {
			continue
		}
		if p.unexpect(w) {
			p.settle(w.entry, outcomes[i], nil)
		}
	}
	return nil
}

// unexpect ends a wait. It reports whether it was still on.
func (p *Pipeline) unexpect(w waiter) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.waiting[w.row]
	rest := slices.DeleteFunc(slices.Clone(list), func(o waiter) bool { return o.entry == w.entry })
	if len(rest) == 0 {
		delete(p.waiting, w.row)
	} else {
		p.waiting[w.row] = rest
	}
	return len(rest) < len(list)
}

// outcome reads what became of an enqueued message. It is not known before the first attempt on it.
func (p *Pipeline) outcome(r *store.Reader, e *entry) (out Outcome, known bool, err error) {
	m := e.item.Message
	out = Outcome{Hash: m.ItemHash, Status: message.StatusPending, Message: m, Content: e.item.Content}
	rows, err := r.Pending(m.ItemHash)
	if err != nil {
		return out, false, err
	}
	for i := range rows {
		if row := &rows[i]; row.Sender == m.Sender && row.Signature == m.Signature {
			return p.waitingOutcome(e, row), row.ErrorCode != 0, nil
		}
	}
	signature, status, err := r.Signature(m.ItemHash)
	if err != nil {
		return out, false, err
	}
	if signature == m.Signature && (status == message.StatusProcessed || status == message.StatusRemoving) {
		out.Status = message.StatusProcessed
		return out, true, nil
	}
	out.Status = message.StatusRejected
	rejected, err := r.RejectedCopy(m.ItemHash, m.Sender)
	if err != nil {
		return out, false, err
	}
	if rejected != nil {
		out.Err = refusalOf(rejected.ErrorCode, rejected.Details)
	} else {
		out.Err = message.Errorf(message.ErrInvalidSignature, "another copy of the message stands")
	}
	return out, true, nil
}

// refusalOf is the refusal that was stored.
func refusalOf(code message.ErrorCode, details json.RawMessage) *message.Error {
	var stored struct {
		Errors []any `json:"errors"`
	}
	_ = json.Unmarshal(details, &stored) // absent details are none
	return &message.Error{Code: code, Errors: stored.Errors}
}

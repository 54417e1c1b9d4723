package intake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/state"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// applyAll commits what is queued, in groups, until ctx ends and the queue is empty. A group is what came while the last
// one was committed, so the more there is to do the more of it shares one sync of the disk.
func (p *Pipeline) applyAll(ctx context.Context) {
	group := make([]*entry, 0, maxGroup)
	var arrived []message.Hash
	for stopping := false; ; {
		group, arrived = group[:0], arrived[:0]
		if !stopping {
			select {
			case e := <-p.queue:
				group = append(group, e)
				p.gather()
			case h := <-p.arrived:
				arrived = append(arrived, h)
			case <-p.keeper.due():
				p.commitLate(context.WithoutCancel(ctx))
				continue
			case <-ctx.Done():
				stopping = true
			}
		}
	collect:
		for len(group) < maxGroup && len(arrived) < maxGroup {
			select {
			case e := <-p.queue:
				group = append(group, e)
			case h := <-p.arrived:
				arrived = append(arrived, h)
			default:
				break collect
			}
		}
		if stopping && len(group) == 0 && len(arrived) == 0 {
			return
		}
		if p.cfg.EnqueueOnly {
			p.enqueueGroup(context.WithoutCancel(ctx), group, arrived)
		} else {
			p.commit(context.WithoutCancel(ctx), group, arrived, p.keep)
		}
	}
}

// gatherFor bounds how long a commit waits for company.
const gatherFor = 2 * time.Millisecond

// gather waits for what is being verified at this moment: a commit costs much more than a message in it, and who sends
// alone waits for nobody. The last that comes ends the wait, so that it costs the scheduler one change and not one for each.
func (p *Pipeline) gather() {
	var timeout <-chan time.Time
	for p.coming.Load() > 0 && len(p.queue) < maxGroup {
		if timeout == nil {
			timer := time.NewTimer(gatherFor)
			defer timer.Stop()
			timeout = timer.C
		}
		select {
		case <-p.company:
		case <-timeout:
			return
		}
	}
}

// came notes that an entry is in the queue, or will not be.
func (p *Pipeline) came(e *entry) {
	if e.coming && (p.coming.Add(-1) == 0 || len(p.queue) >= maxGroup) {
		signal(p.company)
	}
}

// maxInterruptions bounds how often a transaction is tried that the database cuts off.
const maxInterruptions = 5

// write runs a transaction, again when the database cut it off. What it wrote may then be there already: to apply a
// message twice is to apply it once.
func (p *Pipeline) write(ctx context.Context, write func(tx *store.Tx) error) (err error) {
	for range maxInterruptions {
		if err = p.cfg.Store.Write(ctx, write); !errors.Is(err, store.ErrInterrupted) {
			return err
		}
	}
	return err
}

// result is what a transaction did with one entry; it holds once the transaction is committed.
type result struct {
	out   Outcome
	ended []message.Type // see Event
	event bool
	due   bool // its row, or one that it woke, is due now
}

// commit applies a group in one transaction, and answers when keep says that it is durable. When the group fails as a
// whole, its messages are applied one by one, so that the one that cannot be applied blocks no other.
func (p *Pipeline) commit(ctx context.Context, group []*entry, arrived []message.Hash, keep keeping) {
	if len(group)+len(arrived) == 0 {
		return
	}
	// Dependencies are older than what depends on them, so most are applied in the right order at once.
	slices.SortStableFunc(group, func(a, b *entry) int {
		return cmp.Or(cmp.Compare(contentTime(a), contentTime(b)), cmp.Compare(hashOf(a), hashOf(b)))
	})
	results := make([]result, len(group))
	due := false
	group = slices.Clone(group) // it may outlast the call
	err := keep(ctx, group, func(tx *store.Tx) error {
		due = false
		now := message.TimeFrom(p.cfg.Now())
		if err := tx.Foresee(hashesOf(group)); err != nil {
			return err
		}
		if len(arrived) > 0 {
			keys := make([]message.WaitKey, len(arrived))
			for i, h := range arrived {
				keys[i] = message.WaitFile(h)
			}
			woken, err := tx.WakePending(keys, now)
			if err != nil {
				return err
			}
			due = woken > 0
		}
		for i, e := range group {
			var err error
			if results[i], err = p.apply(tx, e, now); err != nil {
				return err
			}
		}
		return p.tellOthers(tx, group, results, due)
	}, func(err error) {
		p.stats.commits.Add(1)
		for i, e := range group {
			if err != nil {
				p.settle(e, Outcome{}, fmt.Errorf("make message %s durable: %w", hashOf(e), err))
				continue
			}
			due = due || results[i].due
			p.announce(e, results[i])
			p.settle(e, results[i].out, nil)
		}
		if due {
			signal(p.kick)
		}
	})
	if err != nil {
		p.stats.failures.Add(1)
		p.commitEach(ctx, group, arrived, err)
	}
}

// commitEach is what follows a failed commit.
func (p *Pipeline) commitEach(ctx context.Context, group []*entry, arrived []message.Hash, cause error) {
	if len(group)+len(arrived) > 1 {
		if len(arrived) > 0 {
			p.commit(ctx, nil, arrived[:1], p.commitNow)
			p.commitEachFile(ctx, arrived[1:])
		}
		for _, e := range group {
			p.commit(ctx, []*entry{e}, nil, p.commitNow)
		}
		return
	}
	if len(group) == 0 {
		p.cfg.Logger.Error("messages that wait for a file not woken; they are tried again later", "file", arrived[0], "error", cause)
		return
	}
	e := group[0]
	r, err := p.setToWait(ctx, e, cause)
	if err != nil {
		p.settle(e, Outcome{}, err)
		return
	}
	p.announce(e, r)
	p.settle(e, r.out, nil)
}

// setToWait lets a message wait that the node failed to apply.
func (p *Pipeline) setToWait(ctx context.Context, e *entry, cause error) (r result, err error) {
	err = p.write(ctx, func(tx *store.Tx) (err error) {
		r, err = p.refuse(tx, e, message.Errorf(message.ErrInternal, "the node failed to apply the message"), message.TimeFrom(p.cfg.Now()))
		if err != nil {
			return err
		}
		return p.tellOthers(tx, []*entry{e}, []result{r}, false)
	})
	if err != nil {
		p.cfg.Logger.Error("message neither applied nor set to wait", "message", hashOf(e), "error", errors.Join(cause, err))
		return result{}, fmt.Errorf("store message %s: %w", hashOf(e), errors.Join(cause, err))
	}
	p.cfg.Logger.Error("message not applied, set to wait", "message", hashOf(e), "error", cause)
	return r, nil
}

func (p *Pipeline) commitEachFile(ctx context.Context, arrived []message.Hash) {
	for _, h := range arrived {
		p.commit(ctx, nil, []message.Hash{h}, p.commitNow)
	}
}

// apply takes one entry as far as it gets now. An error spoils the transaction.
func (p *Pipeline) apply(tx *store.Tx, e *entry, now message.Time) (result, error) {
	wakes, err := p.note(tx, e.fetched)
	if err != nil {
		return result{}, err
	}
	refusal := e.refused
	var effect *state.Effect
	switch {
	case refusal != nil:
	case e.missing != "":
		refusal = &message.Error{Code: message.ErrContentUnavailable, WaitsFor: []message.WaitKey{message.WaitFile(e.missing)}}
	default:
		if effect, err = p.decide(tx, e); err != nil && !errors.As(err, &refusal) {
			return result{}, fmt.Errorf("apply message %s: %w", e.item.Message.ItemHash, err)
		}
	}
	var r result
	if refusal != nil {
		r, err = p.refuse(tx, e, refusal, now)
		err = errors.Join(err, p.keepAWhile(tx, e.fetched, now))
	} else {
		m := e.item.Message
		r.out = Outcome{Hash: m.ItemHash, Status: effect.Status, Err: effect.Refusal, Duplicate: effect.Duplicate, Message: m, Content: e.item.Content}
		r.event, r.ended = !effect.Duplicate, effect.Ended
		wakes = append(wakes, effect.Wakes...)
		if !effect.Duplicate && effect.Refusal == nil { // the refusal of one that undid itself stands
			err = tx.DeleteRejected(m.ItemHash)
		}
		err = errors.Join(err, tx.DeletePending(m.ItemHash, m.Sender, m.Signature))
	}
	if err != nil {
		return result{}, err
	}
	if len(wakes) > 0 {
		woken, err := tx.WakePending(wakes, now)
		if err != nil {
			return result{}, err
		}
		r.due = r.due || woken > 0
	}
	return r, nil
}

// note records files that are in the store, and returns the keys of those that are new.
func (p *Pipeline) note(tx *store.Tx, list []files.Info) (wakes []message.WaitKey, err error) {
	for _, f := range list {
		row := &store.FileRow{Hash: f.Hash, Size: f.Size, Type: store.FileTypeFile}
		if f.Dir {
			row.Type = store.FileTypeDir
		}
		isNew, err := tx.PutFile(row)
		if err != nil {
			return nil, err
		}
		if isNew {
			wakes = append(wakes, message.WaitFile(f.Hash))
		}
	}
	return wakes, nil
}

// keepAWhile gives the files of a refused message a time after which they go, unless something else keeps them: nobody paid for them.
func (p *Pipeline) keepAWhile(tx *store.Tx, list []files.Info, now message.Time) error {
	until := now + message.Time(p.cfg.Params.FileGracePeriod*1_000_000)
	for _, f := range list {
		pinned, err := tx.Pinned(f.Hash)
		if err == nil && !pinned {
			err = tx.KeepUntil(f.Hash, now, until)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// decide calls the state.
func (p *Pipeline) decide(tx *store.Tx, e *entry) (effect *state.Effect, err error) {
	defer survive(&err)
	return p.cfg.State.Apply(tx, &e.item)
}

// refuse lets a message wait, while its cause can vanish and attempts are left, or rejects it (spec/ccn-core.md §2.5).
func (p *Pipeline) refuse(tx *store.Tx, e *entry, refusal *message.Error, now message.Time) (result, error) {
	m := e.item.Message
	out := Outcome{Hash: hashOf(e), Status: message.StatusRejected, Err: refusal, Message: m, Content: e.item.Content}
	if m != nil && refusal.Retryable() {
		var row *store.PendingRow
		if e.pending != nil {
			again := *e.pending // the transaction may be tried again
			row = &again
		} else {
			waiting, err := tx.Pending(m.ItemHash)
			if err != nil {
				return result{}, err
			}
			same := func(row store.PendingRow) bool { return row.Sender == m.Sender && row.Signature == m.Signature }
			if slices.ContainsFunc(waiting, same) { // sent again while it waits: that uses up no attempt
				out.Status = message.StatusPending
				return result{out: out}, nil
			}
			row = &store.PendingRow{
				Hash: m.ItemHash, Sender: m.Sender, Signature: m.Signature,
				Envelope: e.envelope, Origin: string(e.origin), ReceptionTime: e.item.ReceptionTime,
			}
		}
		if row.Retries < p.cfg.Params.MaxRetries || row.ErrorCode != refusal.Code {
			out.Status = message.StatusPending
			due := p.retry(row, e, refusal, now)
			return result{out: out, event: e.pending == nil || e.first, due: due}, tx.PutPending(row, refusal.WaitsFor)
		}
	}
	return result{out: out, event: true}, p.reject(tx, e, refusal, now)
}

// retry sets when row is tried again. It reports whether that is at once, for its file to be fetched.
func (p *Pipeline) retry(row *store.PendingRow, e *entry, refusal *message.Error, now message.Time) (due bool) {
	if row.ErrorCode != refusal.Code {
		row.Retries = 0 // it came further than the last time
	}
	row.ErrorCode, row.Details = refusal.Code, refusal.Details()
	lacksFile := refusal.Code == message.ErrContentUnavailable || refusal.Code == message.ErrFileUnavailable
	if lacksFile && !e.tried {
		row.NextAttempt = now
		return true
	}
	longest := min(time.Second<<min(row.Retries, 20), 300*time.Second)
	row.NextAttempt = now + message.Time(rand.N(longest)/time.Microsecond)
	row.Retries++
	return false
}

// reject records a refusal, unless another copy of the message is valid, or may still be while this one is not even verified.
func (p *Pipeline) reject(tx *store.Tx, e *entry, refusal *message.Error, now message.Time) error {
	if e.pending != nil {
		if err := tx.DeletePending(e.pending.Hash, e.pending.Sender, e.pending.Signature); err != nil {
			return err
		}
	}
	verified := e.refused == nil && e.missing == ""
	status, _, err := tx.Status(hashOf(e))
	switch {
	case err != nil:
		return err
	case status == "", status == message.StatusRejected:
	case status == message.StatusPending && verified: // another sender's copy waits, which may be refused as well
	default:
		return nil
	}
	row := &store.RejectedRow{
		Hash: hashOf(e), Envelope: e.envelope, ErrorCode: refusal.Code, Details: refusal.Details(), ReceptionTime: e.item.ReceptionTime,
		JudgedAt: now, Verified: verified, WaitsFor: refusal.WaitsFor,
	}
	if m := e.item.Message; row.Verified {
		row.Sender, row.Own = m.Sender, strings.EqualFold(m.Sender, e.item.Content.Base().Address)
		if m.ItemType != message.ItemInline {
			row.Content = e.item.Raw
		}
	}
	if err := tx.PutRejected(row); err != nil || !row.Verified {
		return err
	}
	_, err = tx.WakePending([]message.WaitKey{message.WaitRefused(row.Hash)}, now)
	return err
}

// announce counts what a commit did and tells it to the subscribers.
func (p *Pipeline) announce(e *entry, r result) {
	switch {
	case r.out.Duplicate:
		p.stats.duplicates.Add(1)
	case r.out.Status == message.StatusProcessed:
		p.stats.processed.Add(1)
	case r.out.Status == message.StatusPending:
		p.stats.pending.Add(1)
	default:
		p.stats.rejected.Add(1)
	}
	if !r.event || p.shared && r.out.Status == message.StatusProcessed { // share tells of it
		return
	}
	p.events.publish(Event{
		Hash: r.out.Hash, Status: r.out.Status, Message: e.item.Message, Content: e.item.Content, Raw: e.item.Raw,
		Size: e.item.Size, Received: e.item.ReceptionTime, Origin: e.origin, Err: r.out.Err,
		Ended: r.ended,
	})
}

func contentTime(e *entry) float64 {
	if e.item.Content == nil {
		return 0
	}
	return e.item.Content.Base().Time
}

func hashesOf(group []*entry) []message.Hash {
	hashes := make([]message.Hash, len(group))
	for i, e := range group {
		hashes[i] = hashOf(e)
	}
	return hashes
}

func hashOf(e *entry) message.Hash {
	if e.item.Message == nil {
		return e.named
	}
	return e.item.Message.ItemHash
}

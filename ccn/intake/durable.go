package intake

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/intake/journal"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// With a journal a group of messages is durable as soon as it is applied in a transaction that is still open and written to
// the journal. The transaction is committed when somebody reads, or after maxLate, and so carries many groups: most of what
// a commit costs is for pages that the next group changes as well. The journal is written and synced while the group is
// applied, and the next ones, and what came meanwhile shares one sync. After a crash, what the database lost is in the
// journal behind the position that the database names, and is taken in again. Each may be ahead of the other, with messages
// that were not answered yet.

// Bounds of what is applied and not committed, and of the journal.
const (
	maxLate    = 5 * time.Second
	maxLateNum = 10240    // messages: one more changes few pages that none before it did, and the database's cache has room for those
	maxSegment = 32 << 20 // bytes of the journal, after which it begins anew, and the database must soon have all of it for good
	maxAhead   = 16       // groups that are applied and not in the journal yet
)

// positionKey is where the database names the position of the journal up to which it has everything.
const positionKey = "journal"

// keeper makes groups durable. The goroutine that applies uses it, and shares with the one that writes the journal what
// says so.
type keeper struct {
	journal *journal.Journal // of the goroutine that writes it, or while that has nothing to do, of the one that applies
	end     journal.Position // that the journal will have when everything is written
	late    []lateRound      // that are perhaps not committed, ascending
	applied int              // messages and files since the last look at what is committed
	timer   *time.Timer      // runs while there are some
	writing chan journaled   // to the goroutine that writes the journal; nil without one
	written chan struct{}    // closed when that goroutine has ended
	ended   segment          // of the journal, that was ended last
	broken  atomic.Bool      // the journal is not written any more, and stays as it is for the next start
	cause   error            // why, when writing it failed; of the goroutine that writes it
}

// segment is a part of the journal that is not needed any more once its messages outlast a loss of power in the database.
type segment struct {
	end   journal.Position // the beginning of the next; zero: there is no such segment
	round uint64           // by which all of it is committed
}

// journaled is a group on its way into the journal.
type journaled struct {
	records []journal.Record
	applied chan uint64 // gets the round of the transaction in which the group was applied, and is closed; nil: there was nothing to apply
	done    func(error) // called when the group is durable and applied, or when nobody can say; not when it was not applied
}

// due says when it is time to commit; nil while nothing waits for it.
func (k *keeper) due() <-chan time.Time {
	if k.applied == 0 {
		return nil
	}
	return k.timer.C
}

// lateRound is where the journal has the messages of a transaction, up to those of the next.
type lateRound struct {
	round uint64
	after journal.Position
}

// applying is what a transaction does with a group.
type applying func(tx *store.Tx) error

// A keeping applies a group in a transaction and sees to it that it is durable; then it calls done, with nil or why nobody
// knows whether the group is durable. When it returns an error nothing was applied, and done is not called.
type keeping func(ctx context.Context, group []*entry, apply applying, done func(error)) error

// commitNow makes a group durable by a commit of its own.
func (p *Pipeline) commitNow(ctx context.Context, _ []*entry, apply applying, done func(error)) error {
	err := p.write(ctx, apply)
	if err == nil {
		done(nil)
	}
	return err
}

// keep makes a group durable in the cheapest way there is.
func (p *Pipeline) keep(ctx context.Context, group []*entry, apply applying, done func(error)) error {
	k := &p.keeper
	if k.writing == nil || k.broken.Load() {
		return p.commitNow(ctx, group, apply, done)
	}
	g := journaled{recordsOf(group), make(chan uint64, 1), done}
	k.writing <- g
	after := k.end
	k.end = after.After(g.records)
	round, err := p.cfg.Store.WriteLater(ctx, func(tx *store.Tx) error {
		tx.SetAtCommit(positionKey, k.end.String())
		return apply(tx)
	})
	if err == nil {
		g.applied <- round
	}
	close(g.applied)
	if err != nil {
		p.redoLost(ctx)
		return err
	}
	if k.applied == 0 {
		k.timer.Reset(maxLate)
	}
	k.applied += max(len(group), 1)
	if n := len(k.late); n == 0 || k.late[n-1].round != round {
		k.late = append(k.late, lateRound{round, after})
	}
	if k.applied >= maxLateNum {
		p.commitLate(ctx)
	}
	return nil
}

// writeJournal writes what is being applied, until writing is closed.
func (p *Pipeline) writeJournal(ctx context.Context) {
	k := &p.keeper
	defer close(k.written)
	var records []journal.Record
	var groups []journaled
	for first := range k.writing {
		groups, records = append(groups[:0], first), append(records[:0], first.records...)
	collect:
		for len(groups) < maxAhead {
			select {
			case next, ok := <-k.writing:
				if !ok {
					break collect
				}
				groups, records = append(groups, next), append(records, next.records...)
			default:
				break collect
			}
		}
		inJournal := p.appendRecords(records)
		for _, g := range groups {
			p.endGroup(ctx, g, inJournal)
		}
		clear(groups)
		clear(records)
	}
}

// appendRecords reports whether records are in the journal for good.
func (p *Pipeline) appendRecords(records []journal.Record) bool {
	k := &p.keeper
	if k.broken.Load() {
		return false
	}
	err := k.journal.Append(records)
	if err != nil {
		p.cfg.Logger.Error("journal not written: groups of messages are committed one after the other", "error", err)
		k.cause = files.Full(err)
		k.broken.Store(true)
	}
	return err == nil
}

// endGroup answers a group once it is applied. Without the journal it is durable when its round is committed. A reader may have tried
// to commit that before, which undid it.
func (p *Pipeline) endGroup(ctx context.Context, g journaled, inJournal bool) {
	var round uint64
	if g.applied != nil {
		var ok bool
		if round, ok = <-g.applied; !ok {
			return
		}
	}
	var err error
	if !inJournal {
		err = p.write(ctx, func(*store.Tx) error { return nil })
		if err == nil && round > p.cfg.Store.Committed() {
			err = errors.Join(store.ErrUndone, p.keeper.cause)
		}
	}
	g.done(err)
}

// drainJournal waits until everything that was applied is durable and answered.
func (p *Pipeline) drainJournal() {
	select {
	case <-p.keeper.written:
		return // it was before that ended
	default:
	}
	idle := make(chan struct{})
	p.keeper.writing <- journaled{done: func(error) { close(idle) }}
	<-idle
}

// recordsOf lists what a crash could lose: what is in pending_messages already is safe there.
func recordsOf(group []*entry) []journal.Record {
	records := make([]journal.Record, 0, len(group))
	for _, e := range group {
		if e.pending == nil {
			records = append(records, journal.Record{Origin: string(e.origin), Received: int64(e.item.ReceptionTime), Message: e.envelope})
		}
	}
	return records
}

// commitLate commits what was applied. Once in a while it does so for good and empties the journal.
func (p *Pipeline) commitLate(ctx context.Context) {
	k := &p.keeper
	k.timer.Stop()
	var err error
	switch {
	case k.broken.Load():
		err = p.write(ctx, func(*store.Tx) error { return nil })
	case k.end.Offset > maxSegment:
		err = p.endSegment(ctx)
	default:
		err = p.cfg.Store.Commit(ctx)
	}
	if err != nil {
		p.cfg.Logger.Error("messages not committed with others: they are applied again", "error", err)
	}
	p.redoLost(ctx)
}

// endSegment commits what was applied, goes on in another segment of the journal and drops the one before. To have the
// database sync what is in that took a while, and by now it has done so by itself.
func (p *Pipeline) endSegment(ctx context.Context) error {
	k := &p.keeper
	if err := p.cfg.Store.Commit(ctx); err != nil {
		return err
	}
	p.drainJournal()
	if k.broken.Load() {
		return nil
	}
	if k.ended.end != (journal.Position{}) {
		if p.cfg.Store.Lasting() < k.ended.round {
			if err := p.write(ctx, func(*store.Tx) error { return nil }); err != nil {
				return fmt.Errorf("sync the database: %w", err)
			}
		}
		if err := k.journal.Drop(k.ended.end); err != nil {
			return err
		}
	}
	if err := k.journal.Rotate(); err != nil {
		return err
	}
	k.end = k.journal.End()
	k.ended = segment{k.end, p.cfg.Store.Committed()}
	return nil
}

// emptyJournal syncs everything into the database and drops what the journal has of it.
func (p *Pipeline) emptyJournal(ctx context.Context) error {
	k := &p.keeper
	if err := k.journal.Rotate(); err != nil {
		return err
	}
	end := k.journal.End()
	k.end, k.ended = end, segment{}
	if err := p.write(ctx, func(tx *store.Tx) error { return tx.Set(positionKey, end.String()) }); err != nil {
		return fmt.Errorf("sync the database: %w", err)
	}
	return k.journal.Drop(end)
}

// redoLost applies again what a failed commit undid. Its senders were answered, and it is in the journal. What waited in the
// database does so again, and is taken up as ever.
func (p *Pipeline) redoLost(ctx context.Context) {
	k := &p.keeper
	committed := p.cfg.Store.Committed()
	first := slices.IndexFunc(k.late, func(r lateRound) bool { return r.round > committed })
	var after journal.Position
	if first >= 0 {
		after = k.late[first].after
	}
	k.late, k.applied = k.late[:0], 0
	if first < 0 {
		return
	}
	lost, err := p.readBack(ctx, after)
	if err != nil {
		k.broken.Store(true)
		p.cfg.Logger.Error("messages not applied, but safe in the journal: restart the node when it can be read", "after", after, "error", err)
	}
	if len(lost) == 0 || p.redo(ctx, lost) == nil {
		return
	}
	for _, e := range lost {
		err := p.redo(ctx, []*entry{e})
		if err != nil {
			_, err = p.setToWait(ctx, e, err)
		}
		if err != nil {
			p.leaveInJournal(e.envelope, err)
		}
	}
}

// readBack returns what the journal has after a position, as far as it gets.
func (p *Pipeline) readBack(ctx context.Context, after journal.Position) (lost []*entry, err error) {
	p.drainJournal()
	return lost, p.keeper.journal.Replay(after, func(r journal.Record) error {
		e, err := p.recovered(ctx, r)
		if err != nil {
			p.leaveInJournal(r.Message, err)
			return nil
		}
		lost = append(lost, e)
		return nil
	})
}

// leaveInJournal leaves a message that was answered to the next start.
func (p *Pipeline) leaveInJournal(envelope []byte, err error) {
	p.keeper.broken.Store(true)
	p.cfg.Logger.Error("message not applied, but safe in the journal: restart the node when its database can be written", "message", namedHash(envelope), "error", err)
}

func (p *Pipeline) redo(ctx context.Context, lost []*entry) error {
	due := false
	err := p.write(ctx, func(tx *store.Tx) error {
		due = false
		now := message.TimeFrom(p.cfg.Now())
		for _, e := range lost {
			r, err := p.apply(tx, e, now)
			if err != nil {
				return err
			}
			due = due || r.due
		}
		return nil
	})
	if due {
		signal(p.kick)
	}
	return err
}

// recover takes in what the journal holds that the database lost in a crash. When the database cannot take all of it, the
// journal stays as it is for the next start.
func (p *Pipeline) recover(ctx context.Context) (err error) {
	k := &p.keeper
	if p.cfg.Journal == "" {
		return nil
	}
	if p.shared {
		return errors.New("a database that several processes share needs no journal")
	}
	var text string
	err = p.cfg.Store.Read(ctx, func(r *store.Reader) (err error) {
		text, err = r.Get(positionKey)
		return err
	})
	if err != nil {
		return err
	}
	position, err := journal.ParsePosition(text)
	if err != nil {
		return err
	}
	if k.journal, err = journal.Open(p.cfg.Journal); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, k.journal.Close())
		}
	}()
	k.timer = time.NewTimer(maxLate)
	k.timer.Stop()
	var group []*entry
	take := func() error {
		p.commit(ctx, group, nil, p.commitNow)
		for _, e := range group {
			if e.err != nil {
				return e.err
			}
		}
		group = nil
		return nil
	}
	taken := 0
	err = k.journal.Replay(position, func(r journal.Record) error {
		e, err := p.recovered(ctx, r)
		if err != nil {
			return err
		}
		taken++
		if group = append(group, e); len(group) == maxGroup {
			return take()
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := take(); err != nil {
		return err
	}
	if taken > 0 {
		p.cfg.Logger.Info("took in from the journal what was not committed when the node ended", "messages", taken)
	}
	if err := p.emptyJournal(ctx); err != nil {
		return err
	}
	k.writing, k.written = make(chan journaled, maxAhead), make(chan struct{})
	go p.writeJournal(ctx) // ends when closeJournal says so
	return nil
}

// recovered makes the entry of a record ready to be applied.
func (p *Pipeline) recovered(ctx context.Context, r journal.Record) (*entry, error) {
	e := &entry{envelope: r.Message, origin: Origin(r.Origin), done: make(chan struct{})}
	e.item.ReceptionTime = message.Time(r.Received)
	m, content, err := message.Parse(r.Message)
	if err != nil {
		if !errors.As(err, &e.refused) {
			return nil, fmt.Errorf("parse message: %w", err)
		}
		e.named = namedHash(r.Message)
		return e, nil
	}
	e.item.Message, e.item.Content = m, content
	_, err = p.check(ctx, e)
	return e, err
}

// closeJournal ends the journal after a last commit.
func (p *Pipeline) closeJournal(ctx context.Context) error {
	k := &p.keeper
	if k.writing == nil {
		return nil
	}
	close(k.writing)
	<-k.written
	k.timer.Stop()
	var err error
	if k.broken.Load() {
		err = p.write(ctx, func(*store.Tx) error { return nil })
	} else {
		err = p.emptyJournal(ctx)
	}
	p.redoLost(ctx)
	return errors.Join(err, k.journal.Close())
}

package intake

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aleph-im/aleph-go/ccn/intake/journal"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// With a journal a group of messages is durable as soon as it is applied in a transaction that is still open and written to
// the journal, both at the same time. The transaction is committed when somebody reads, or after maxLate, and so carries
// many groups: most of what a commit costs is for pages that the next group changes as well. After a crash, what the
// database lost is in the journal behind the position that the database names, and is taken in again.

// Bounds of what is applied and not committed, and of the journal.
const (
	maxLate    = 100 * time.Millisecond
	maxLateNum = 2048     // messages
	maxSegment = 16 << 20 // bytes of the journal, after which the database must have all of it for good
)

// positionKey is where the database names the position of the journal up to which it has everything.
const positionKey = "journal"

// keeper makes groups durable. The goroutine that applies is the only one to use it.
type keeper struct {
	journal *journal.Journal
	late    []lateEntry // applied and told, and perhaps not committed
	timer   *time.Timer // runs while there are some
	broken  bool        // the journal is not written any more, and stays as it is for the next start
}

// due says when it is time to commit; nil while nothing waits for it.
func (k *keeper) due() <-chan time.Time {
	if len(k.late) == 0 {
		return nil
	}
	return k.timer.C
}

type lateEntry struct {
	*entry
	round uint64
}

// applying is what a transaction does with a group.
type applying func(tx *store.Tx) error

// commitNow makes a group durable by a commit of its own.
func (p *Pipeline) commitNow(ctx context.Context, _ []*entry, apply applying) error {
	return p.write(ctx, apply)
}

// keep makes a group durable in the cheapest way there is. When it fails, nothing of the group was applied.
func (p *Pipeline) keep(ctx context.Context, group []*entry, apply applying) error {
	k := &p.keeper
	if k.journal == nil || k.broken {
		return p.write(ctx, apply)
	}
	records := recordsOf(group)
	end := k.journal.After(records)
	written := make(chan error, 1)
	go func() { written <- k.journal.Append(records) }()
	round, err := p.cfg.Store.WriteLater(ctx, func(tx *store.Tx) error {
		if err := apply(tx); err != nil {
			return err
		}
		return tx.Set(positionKey, end.String())
	})
	failed := <-written
	if err != nil {
		p.redoLost(ctx)
	} else {
		if len(k.late) == 0 {
			k.timer.Reset(maxLate)
		}
		for _, e := range group {
			k.late = append(k.late, lateEntry{e, round})
		}
	}
	if failed != nil {
		p.cfg.Logger.Error("journal not written: messages are committed one group after the other", "error", failed)
		k.broken = true
		err = errors.Join(err, p.commitLate(ctx))
	} else if len(k.late) >= maxLateNum {
		p.commitLateLogged(ctx)
	}
	return err
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
func (p *Pipeline) commitLate(ctx context.Context) error {
	k := &p.keeper
	if k.journal == nil {
		return nil
	}
	k.timer.Stop()
	var err error
	if k.broken {
		err = p.write(ctx, func(*store.Tx) error { return nil })
	} else if k.journal.End().Offset > maxSegment {
		err = p.emptyJournal(ctx)
	} else {
		err = p.cfg.Store.Commit(ctx)
	}
	p.redoLost(ctx)
	return err
}

func (p *Pipeline) commitLateLogged(ctx context.Context) {
	if err := p.commitLate(ctx); err != nil {
		p.cfg.Logger.Error("messages not committed with others: they are applied again one by one", "error", err)
	}
}

// emptyJournal syncs everything into the database and drops what the journal has of it.
func (p *Pipeline) emptyJournal(ctx context.Context) error {
	k := &p.keeper
	if err := k.journal.Rotate(); err != nil {
		return err
	}
	end := k.journal.End()
	if err := p.write(ctx, func(tx *store.Tx) error { return tx.Set(positionKey, end.String()) }); err != nil {
		return fmt.Errorf("sync the database: %w", err)
	}
	return k.journal.Drop(end)
}

// redoLost applies again what a failed commit undid. Its senders were answered, and it is in the journal.
func (p *Pipeline) redoLost(ctx context.Context) {
	k := &p.keeper
	defer func() {
		clear(k.late)
		k.late = k.late[:0]
	}()
	committed := p.cfg.Store.Committed()
	var lost []*entry
	for _, e := range k.late {
		if e.round > committed {
			lost = append(lost, e.entry)
		}
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
			k.broken = true // the next start takes it in again
			p.cfg.Logger.Error("message not applied, but safe in the journal: restart the node when its database can be written", "message", hashOf(e), "error", err)
		}
	}
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

// recover takes in what the journal holds that the database lost in a crash.
func (p *Pipeline) recover(ctx context.Context) error {
	k := &p.keeper
	if p.cfg.Journal == "" {
		return nil
	}
	if p.shared {
		return errors.New("a database that several processes share needs no journal")
	}
	var text string
	err := p.cfg.Store.Read(ctx, func(r *store.Reader) (err error) {
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
	k.timer = time.NewTimer(maxLate)
	k.timer.Stop()
	var group []*entry
	taken := 0
	err = k.journal.Replay(position, func(r journal.Record) error {
		e, err := p.recovered(ctx, r)
		if err != nil {
			return err
		}
		if group = append(group, e); len(group) == maxGroup {
			p.commit(ctx, group, nil, p.commitNow)
			group = nil
		}
		taken++
		return nil
	})
	if err != nil {
		return err
	}
	p.commit(ctx, group, nil, p.commitNow)
	if taken > 0 {
		p.cfg.Logger.Info("took in from the journal what was not committed when the node ended", "messages", taken)
	}
	return p.emptyJournal(ctx)
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
		e.out.Hash = namedHash(r.Message)
		return e, nil
	}
	e.item.Message, e.item.Content = m, content
	_, err = p.check(ctx, e)
	return e, err
}

// closeJournal ends the journal after a last commit.
func (p *Pipeline) closeJournal(ctx context.Context) error {
	k := &p.keeper
	if k.journal == nil {
		return nil
	}
	k.timer.Stop()
	var err error
	if k.broken {
		err = p.commitLate(ctx)
	} else {
		err = p.emptyJournal(ctx)
		p.redoLost(ctx)
	}
	return errors.Join(err, k.journal.Close())
}

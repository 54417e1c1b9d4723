package state

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// work is what one message, or one look at an account, brings about: its own effects, and what follows from them for
// messages that were applied before.
type work struct {
	state  *State
	tx     *store.Tx
	read   *reader // what tx writes is dropped from it
	effect *Effect
	own    message.Hash // that is being applied; "" where an account is looked at
	row    int64        // number of that message

	again     []message.Hash                   // applied messages to be judged again
	queued    map[message.Hash]bool            // those in again
	stale     map[aggregateKey]map[string]bool // documents that lost members, and the names of these
	regranted map[string]float64               // owners whose grants changed, and the content time from which on
}

func (s *State) work(tx *store.Tx, e *Effect) *work {
	return &work{state: s, tx: tx, read: s.reader(tx), effect: e}
}

// put makes a map when it gets its first entry: most messages need none of those of a work.
func put[K comparable, V any](m *map[K]V, key K, value V) {
	if *m == nil {
		*m = map[K]V{}
	}
	(*m)[key] = value
}

// reader is what messages are judged by: the database, and what many of them ask of it.
type reader struct {
	*store.Reader
	granted *granted         // of all messages of a transaction
	had     map[string]*past // by address
}

// apply writes a message that was accepted.
func (w *work) apply(it *Item, c *change) error {
	m, base := it.Message, it.Content.Base()
	row := &store.MessageRow{
		Message: *m, Content: it.Raw, Size: it.Size, Status: message.StatusProcessed, ReceptionTime: it.ReceptionTime,
		Owner: base.Address, ContentTime: base.Time,
	}
	if c.payment != nil {
		row.PaymentType = (*string)(&c.payment.Type)
	}
	if bytes.Contains(it.Raw, []byte("tags")) {
		c.columns.Tags = message.Tags(m.Type, it.Raw)
	}
	if err := w.tx.InsertMessage(row, &c.columns); err != nil {
		return err
	}
	w.row = row.ID
	if m.ItemType != message.ItemInline {
		if _, err := w.tx.PutFile(&store.FileRow{Hash: m.ItemHash, Size: it.Size, Type: store.FileTypeFile}); err != nil {
			return err
		}
		pin := &store.PinRow{File: m.ItemHash, Type: store.PinContent, Owner: m.Sender, Message: m.ItemHash, Created: base.Time}
		if err := w.pin(pin); err != nil {
			return err
		}
	}
	if c.charge != nil {
		if err := w.open(it, c.charge); err != nil {
			return err
		}
	}
	if err := c.write(w); err != nil {
		return err
	}
	for i := range c.forgottenBy {
		if err := w.forget(m.ItemHash, &c.forgottenBy[i]); err != nil {
			return err
		}
	}
	return nil
}

func (w *work) wake(keys ...message.WaitKey) { w.effect.Wakes = append(w.effect.Wakes, keys...) }

// judgeAgain asks for messages to be judged again, each once.
func (w *work) judgeAgain(hashes ...message.Hash) {
	for _, h := range hashes {
		if !w.queued[h] {
			put(&w.queued, h, true)
			w.again = append(w.again, h)
		}
	}
}

// settle follows what was done until nothing more follows from it. Grants are followed last: more of them may go with what
// is judged before.
func (w *work) settle() error {
	for {
		if err := w.refold(); err != nil {
			return err
		}
		if len(w.again) == 0 {
			if len(w.regranted) == 0 {
				return nil
			}
			if err := w.judgeDelegated(); err != nil {
				return err
			}
			continue
		}
		h := w.again[0]
		w.again = w.again[1:]
		delete(w.queued, h)
		if err := w.judge(h); err != nil {
			return err
		}
	}
}

// judge decides again on a message that was applied, and undoes it when it would be refused now.
func (w *work) judge(h message.Hash) error {
	m, err := w.tx.Message(h)
	if err != nil || m == nil {
		return err
	}
	content, err := message.ParseContent(m.Message.Type, m.Content)
	if err != nil {
		return nil // accepted under other rules: it stays
	}
	it := &Item{Message: &m.Message, Content: content, Raw: m.Content, Size: m.Size, ReceptionTime: m.ReceptionTime}
	c, err := w.state.decide(w.read, it)
	if refusal := refusalOf(err); refusal != nil {
		return w.undo(m, content, refusal)
	}
	if err != nil || c.charge == nil {
		return err
	}
	return w.reprice(it, c.charge)
}

// undo takes back a message that was accepted before something older came that speaks against it. It is rejected, as on
// the nodes that had that before, and what needs it is judged again.
func (w *work) undo(m *store.MessageRow, content message.Content, refusal *message.Error) error {
	h := m.Message.ItemHash
	if m.Message.Type == message.TypeForget {
		return nil // what is forgotten is gone
	}
	if err := w.judgeDependants(h); err != nil {
		return err
	}
	if err := w.erase(m); err != nil {
		return err
	}
	if err := w.close(h); err != nil {
		return err
	}
	if p, ok := content.(*message.Post); ok && slices.Contains(w.state.params.Credits.PostTypes, p.PostType) {
		if err := w.takeBack(h, placeAt(m)); err != nil {
			return err
		}
	}
	if a, ok := content.(*message.Aggregate); ok && a.Key == securityKey {
		w.followGrants(a.Address, 0)
	}
	envelope, err := m.Message.MarshalJSON()
	if err != nil {
		return fmt.Errorf("encode message %s: %w", h, err)
	}
	row := &store.RejectedRow{
		Hash: h, Sender: m.Message.Sender, Envelope: envelope, ErrorCode: refusal.Code, Details: refusal.Details(), ReceptionTime: m.ReceptionTime,
		JudgedAt: message.TimeFrom(w.state.now()), Verified: true, Own: sameAddress(m.Message.Sender, m.Owner),
		WaitsFor: refusal.WaitsFor,
	}
	if m.Message.ItemType != message.ItemInline {
		row.Content = m.Content
	}
	w.effect.Undone = append(w.effect.Undone, h)
	if h == w.own {
		w.effect.Refusal = refusal
	}
	w.effect.ended(m.Message.Type)
	w.wake(message.WaitRefused(h))
	return w.tx.PutRejected(row)
}

// judgeDependants asks for everything that refers to a message to be judged again: amendments, new versions, VMs.
func (w *work) judgeDependants(h message.Hash) error {
	for _, list := range []func() ([]message.Hash, error){
		func() ([]message.Hash, error) { return w.tx.Amendments(h) },
		func() ([]message.Hash, error) { return w.tx.Versions(string(h)) },
		func() ([]message.Hash, error) { return w.tx.VMsOf(string(h)) },
		func() ([]message.Hash, error) { return w.tx.Replacements(h) },
	} {
		hashes, err := list()
		if err != nil {
			return err
		}
		for _, d := range hashes {
			if d != h {
				w.judgeAgain(d)
			}
		}
	}
	return nil
}

// erase deletes a message with everything that it changed, except what it costs its owner, which close ends.
func (w *work) erase(m *store.MessageRow) error {
	h := m.Message.ItemHash
	w.wake(message.WaitGone(h))
	var err error
	switch m.Message.Type {
	case message.TypePost:
		err = w.erasePost(h)
	case message.TypeAggregate:
		err = w.eraseElement(h)
	case message.TypeStore:
		err = w.eraseVersion(h)
	case message.TypeProgram, message.TypeInstance, message.TypeVProgram:
		err = w.eraseVM(h)
	}
	if err == nil {
		err = w.unpin(h, store.PinContent, m.ContentTime)
	}
	if err == nil {
		err = w.tx.DeleteCosts(h)
	}
	if err == nil {
		err = w.tx.DeleteMessage(h)
	}
	return err
}

func placeAt(m *store.MessageRow) place { return place{m.ContentTime, m.Message.ItemHash} }

package state

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// forget decides on a FORGET (spec/ccn-core.md §3.6): all of its targets or none.
func (s *State) forget(r *reader, it *Item, c *message.Forget) (*change, error) {
	targets, err := s.checkTargets(r, it, c)
	if err != nil {
		return nil, err
	}
	by := &store.Forgetting{By: it.Message.ItemHash, ContentTime: c.Time, Time: it.Message.Time}
	return &change{write: func(w *work) error {
		for _, key := range c.Aggregates {
			f := &store.AggregateForgetting{Forgetting: *by, Sender: it.Message.Sender}
			if err := w.tx.InsertAggregateForgetting(c.Address, string(key), f); err != nil {
				return err
			}
		}
		for _, h := range targets {
			if err := w.forget(h, by); err != nil {
				return err
			}
		}
		return nil
	}}, nil
}

type missingMessage struct {
	Message message.Hash `json:"message"`
}

type missingAggregate struct {
	Aggregate message.Hash `json:"aggregate"`
}

// target is a message that can be forgotten: it is applied, or it was refused, removed or forgotten before.
type target struct {
	hash    message.Hash
	owner   string
	scope   scope
	applied bool
}

// findTarget returns a message that can be forgotten; nil when there is none, or none whose signature is right.
func findTarget(r *store.Reader, h message.Hash) (*target, error) {
	m, err := r.Message(h)
	if err != nil {
		return nil, err
	}
	if m != nil {
		return &target{h, m.Owner, storedScope(m), true}, nil
	}
	f, err := r.Forgotten(h)
	if err != nil {
		return nil, err
	}
	if f != nil {
		return &target{h, f.Owner, forgottenScope(f), false}, nil
	}
	removed, err := r.Removed(h)
	if err != nil {
		return nil, err
	}
	if removed != nil {
		return &target{h, removed.Owner, scopeOf(&removed.Message, nil), false}, nil
	}
	m, content, err := refused(r, h)
	if err != nil || m == nil {
		return nil, err
	}
	return &target{h, m.Owner, scopeOf(&m.Message, content), false}, nil
}

// refused returns a message that was refused although its signature and content are right; nil when there is none.
func refused(r *store.Reader, h message.Hash) (*store.MessageRow, message.Content, error) {
	row, err := r.Rejected(h)
	if err != nil || row == nil || !row.Verified {
		return nil, nil, err
	}
	m, content, err := message.Parse(row.Envelope)
	if err == nil && m.ItemType != message.ItemInline {
		content, err = message.ParseContent(m.Type, row.Content)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read rejected message %s: %w", h, err)
	}
	base := content.Base()
	text := row.Content
	if m.ItemType == message.ItemInline {
		text = []byte(m.ItemContent)
	}
	return &store.MessageRow{
		Message: *m, Content: text, ReceptionTime: row.ReceptionTime, Owner: base.Address, ContentTime: base.Time,
	}, content, nil
}

// untilThere lets a refusal wait for what is absent as well.
func untilThere(err error, absent *message.Error) error {
	if absent == nil {
		return err
	}
	return waitingFor(err, absent.WaitsFor...)
}

// checkTargets lists what is to be forgotten. Permissions come before everything else that can be wrong. What is wrong with the
// first target is told, so a refusal because of another is judged again when one comes that is named before.
func (s *State) checkTargets(r *reader, it *Item, c *message.Forget) ([]message.Hash, error) {
	at := placeOf(it)
	named := slices.Clone(c.Hashes)
	var absent *message.Error
	for _, key := range c.Aggregates {
		elements, err := elementsBefore(r.Reader, c.Address, string(key), at)
		if err != nil {
			return nil, err
		}
		if named = append(named, elements...); len(elements) == 0 && absent == nil {
			absent = &message.Error{
				Code: message.ErrForgetNotFound, Errors: []any{missingAggregate{key}},
				WaitsFor: []message.WaitKey{message.WaitAggregate(c.Address, string(key))},
			}
		}
	}
	var targets []message.Hash
	var applied []message.Hash
	for i, h := range named {
		t, err := findTarget(r.Reader, h)
		if err != nil {
			return nil, err
		}
		if t == nil {
			if absent == nil {
				absent = &message.Error{
					Code: message.ErrForgetNotFound, Errors: []any{missingMessage{h}},
					WaitsFor: []message.WaitKey{message.WaitMessage(h), message.WaitRefused(h)},
				}
			}
			continue
		}
		if t.scope.typ == message.TypeForget {
			return nil, untilThere(&message.Error{Code: message.ErrForgetForget, Errors: []any{missingMessage{h}}}, absent)
		}
		if err := s.permitAs(r, it, t.owner, t.scope); err != nil {
			return nil, untilThere(err, absent)
		}
		targets = append(targets, h)
		if t.applied && i < len(c.Hashes) {
			applied = append(applied, h)
		}
	}
	switch {
	case len(c.Hashes) == 0 && len(c.Aggregates) == 0:
		return nil, &message.Error{Code: message.ErrForgetNoTarget}
	case it.Accepted:
		return targets, nil
	case absent != nil:
		return nil, absent
	}
	for _, h := range applied {
		vm, err := r.FileUser(h)
		if err != nil {
			return nil, err
		}
		if vm != "" {
			return nil, waitingFor(message.Errorf(message.ErrForgetNotAllowed, "File %s used on vm %s", h, vm), message.WaitUnused(h))
		}
	}
	return targets, nil
}

// elementsBefore lists the elements of a key before a place, forgotten ones among them.
func elementsBefore(r *store.Reader, owner, key string, at place) ([]message.Hash, error) {
	elements, err := r.ElementsBefore(owner, key, at.time, at.hash)
	if err != nil {
		return nil, err
	}
	forgotten, err := r.ForgottenElements(owner, key, at.time, at.hash)
	return append(elements, forgotten...), err
}

// forget lets a FORGET take a message with what it changed and what hangs on it. One that was forgotten before only gets
// the FORGET noted.
func (w *work) forget(h message.Hash, by *store.Forgetting) error {
	m, err := w.tx.Message(h)
	if err != nil {
		return err
	}
	if m != nil {
		err = w.bury(m, by)
	} else {
		err = w.buryRemains(h, by)
	}
	if err != nil {
		return err
	}
	if err := w.tx.InsertForgetting(h, by); err != nil {
		return err
	}
	if err := w.tx.RefreshForgotten(h); err != nil {
		return err
	}
	if row, err := w.tx.Forgotten(h); err != nil {
		return err
	} else if row != nil && deref(row.ContentKey) == securityKey {
		w.read.dropGrants(row.Owner)
		w.followGrants(row.Owner, 0)
	}
	if err := w.end(h, by); err != nil {
		return err
	}
	return w.forgetAmendments(h, by)
}

// forgetAmendments lets the amendments of a post go with it.
func (w *work) forgetAmendments(original message.Hash, by *store.Forgetting) error {
	live, err := w.tx.Amendments(original)
	if err != nil {
		return err
	}
	gone, err := w.tx.ForgottenAmendments(original)
	if err != nil {
		return err
	}
	for _, h := range append(live, gone...) {
		if err := w.forget(h, by); err != nil {
			return err
		}
	}
	return nil
}

// bury replaces an applied message by what must remain of it.
func (w *work) bury(m *store.MessageRow, by *store.Forgetting) error {
	h := m.Message.ItemHash
	row, err := w.remains(m)
	if err != nil {
		return err
	}
	if err := w.tx.InsertForgotten(row); err != nil {
		return err
	}
	if err := w.tx.DeleteConfirmations(h); err != nil {
		return err
	}
	w.effect.Forgotten = append(w.effect.Forgotten, h)
	w.effect.ended(m.Message.Type)
	return w.erase(m)
}

// buryRemains turns what is left of a refused or a removed message into a forgotten one.
func (w *work) buryRemains(h message.Hash, by *store.Forgetting) error {
	known, err := w.tx.Forgotten(h)
	if err != nil || known != nil {
		return err
	}
	removed, err := w.tx.Removed(h)
	if err != nil {
		return err
	}
	var row *store.ForgottenRow
	if removed != nil {
		row = &store.ForgottenRow{
			Message: removed.Message, Owner: removed.Owner, PaymentType: removed.PaymentType, Size: removed.Size,
			ReceptionTime: removed.ReceptionTime, ContentTime: removed.ContentTime, ContentRef: removed.ContentRef, AllowAmend: removed.AllowAmend,
		}
		err = w.tx.DeleteRemoved(h)
	} else {
		m, content, err := refused(w.tx.Reader, h)
		if err != nil || m == nil {
			return err
		}
		if row, err = w.remains(m); err != nil {
			return err
		}
		if err := w.askForgotten(&Item{Message: &m.Message, Content: content}); err != nil {
			return err
		}
		if err := w.tx.DeleteRejected(h); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	// What waits for the message learns that it is gone.
	w.wake(message.WaitMessage(h))
	if row.ContentKey != nil {
		w.wake(message.WaitAggregate(row.Owner, *row.ContentKey))
	}
	w.effect.Forgotten = append(w.effect.Forgotten, h)
	if err := w.tx.DeleteConfirmations(h); err != nil {
		return err
	}
	if err := w.tx.InsertForgotten(row); err != nil {
		return err
	}
	return w.inherit(row)
}

// inherit notes who forgot what a forgotten message was a part of: its key, or the post of the same owner that it amends.
func (w *work) inherit(row *store.ForgottenRow) error {
	at := place{row.ContentTime, row.Message.ItemHash}
	list, err := w.state.keyForgottenBy(w.read, row.Owner, forgottenScope(row), at)
	if err != nil {
		return err
	}
	if deref(row.ContentType) == message.PostTypeAmend && row.ContentRef != nil {
		o, err := w.tx.Forgotten(message.Hash(*row.ContentRef))
		if err != nil {
			return err
		}
		if o != nil && o.Owner == row.Owner {
			if list, err = w.tx.Forgettings(o.Message.ItemHash); err != nil {
				return err
			}
		}
	}
	for i := range list {
		if err == nil {
			err = w.tx.InsertForgetting(row.Message.ItemHash, &list[i])
		}
	}
	return err
}

// remains returns what is kept of a message that is forgotten.
func (w *work) remains(m *store.MessageRow) (*store.ForgottenRow, error) {
	row := &store.ForgottenRow{
		Message: m.Message, Owner: m.Owner, PaymentType: string(message.PaymentHold), ReceptionTime: m.ReceptionTime, ContentTime: m.ContentTime,
	}
	content, err := message.ParseContent(m.Message.Type, m.Content)
	if err != nil {
		return row, nil // accepted under other rules
	}
	var payment *message.Payment
	switch c := content.(type) {
	case *message.Post:
		row.ContentType = &c.PostType
		if c.Ref != "" {
			row.ContentRef = &c.Ref
		}
	case *message.Aggregate:
		row.ContentKey = &c.Key
		if c.Key == securityKey && sameAddress(m.Message.Sender, m.Owner) {
			document, err := members(c.Content)
			if err != nil {
				return nil, fmt.Errorf("read grants of %s: %w", m.Message.ItemHash, err)
			}
			row.Grants = document[authorizations]
		}
	case *message.Store:
		payment = c.Payment
	case *message.Program:
		payment, row.AllowAmend, row.ContentRef = c.Payment, c.AllowAmend, c.Replaces
	case *message.Instance:
		payment = c.Payment
	case *message.VProgram:
		payment = c.Payment
	}
	if payment != nil {
		row.PaymentType = string(payment.Type)
	}
	if _, ok := content.(*message.Store); ok {
		row.Size, row.ContentRef, err = w.stored(m)
	}
	return row, err
}

// stored returns the size of the file of a STORE message, when it is known, and the ref of the message.
func (w *work) stored(m *store.MessageRow) (size *int64, ref *string, err error) {
	if m.Message.Type != message.TypeStore {
		return nil, nil, nil
	}
	var c struct {
		File message.Hash `json:"item_hash"`
		Ref  *string      `json:"ref"`
	}
	if err := json.Unmarshal(m.Content, &c); err != nil {
		return nil, nil, fmt.Errorf("read content of %s: %w", m.Message.ItemHash, err)
	}
	if n, ok, err := w.tx.FileSize(c.File); err != nil {
		return nil, nil, err
	} else if ok {
		size = &n
	}
	if c.Ref != nil && *c.Ref != "" {
		ref = c.Ref
	}
	return size, ref, nil
}

// forgottenScope returns the scope of a message that was forgotten.
func forgottenScope(f *store.ForgottenRow) scope {
	sc := scopeOf(&f.Message, nil)
	sc.postType, sc.key = deref(f.ContentType), deref(f.ContentKey)
	return sc
}
func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

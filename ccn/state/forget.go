package state

import (
	"fmt"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// forget decides on a FORGET (spec/ccn-core.md §3.6): all of its targets or none.
func (s *State) forget(tx *store.Tx, it *Item, c *message.Forget) (*change, error) {
	targets, err := checkTargets(tx.Reader, it, c)
	if err != nil {
		return nil, err
	}
	return &change{write: func(e *Effect) error {
		f := &forgetting{
			state: s, tx: tx, by: it.Message.ItemHash, at: it.Message.Time, time: c.Time, done: map[message.Hash]bool{}, effect: e,
		}
		for _, h := range targets {
			if err := f.forget(h); err != nil {
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

// checkTargets lists what is to be forgotten. Permissions come before everything else that can be wrong.
func checkTargets(r *store.Reader, it *Item, c *message.Forget) ([]message.Hash, error) {
	named := append([]message.Hash(nil), c.Hashes...)
	var targets []message.Hash
	var absent *message.Error
	for _, key := range c.Aggregates {
		before := len(named)
		err := r.Elements(c.Address, string(key), func(e *store.Element) (bool, error) {
			named = append(named, e.Hash)
			return true, nil
		})
		if err != nil {
			return nil, err
		}
		if len(named) == before && absent == nil {
			absent = &message.Error{
				Code: message.ErrForgetNotFound, Errors: []any{missingAggregate{key}},
				WaitsFor: []message.WaitKey{message.WaitAggregate(c.Address, string(key))},
			}
		}
	}
	for _, h := range named {
		target, err := r.Message(h)
		if err != nil {
			return nil, err
		}
		if target == nil {
			if absent == nil {
				absent = &message.Error{
					Code: message.ErrForgetNotFound, Errors: []any{missingMessage{h}}, WaitsFor: []message.WaitKey{message.WaitMessage(h)},
				}
			}
			continue
		}
		if target.Message.Type == message.TypeForget {
			return nil, &message.Error{Code: message.ErrForgetForget, Errors: []any{missingMessage{h}}}
		}
		if err := permitAs(r, it, target.Owner, storedScope(target)); err != nil {
			return nil, err
		}
		targets = append(targets, h)
	}
	if len(c.Hashes) == 0 && len(c.Aggregates) == 0 {
		return nil, &message.Error{Code: message.ErrForgetNoTarget}
	}
	if it.Accepted {
		return targets, nil
	}
	if absent != nil {
		return nil, absent
	}
	for _, h := range c.Hashes {
		vm, err := r.FileUser(h)
		if err != nil {
			return nil, err
		}
		if vm != "" {
			return nil, message.Errorf(message.ErrForgetNotAllowed, "File %s used on vm %s", h, vm)
		}
	}
	return targets, nil
}

// forgetting is one FORGET at work.
type forgetting struct {
	state  *State
	tx     *store.Tx
	by     message.Hash
	at     message.Time // envelope time of the FORGET
	time   float64      // its content time
	done   map[message.Hash]bool
	effect *Effect
}

// forget forgets one message with what it changed and what hangs on it.
func (f *forgetting) forget(h message.Hash) error {
	if f.done[h] {
		return nil
	}
	f.done[h] = true
	m, err := f.tx.Message(h)
	if err != nil {
		return err
	}
	if m == nil {
		return fmt.Errorf("forget %s: the message is gone", h)
	}
	if err := f.bury(m); err != nil {
		return err
	}
	f.effect.Forgotten = append(f.effect.Forgotten, h)
	switch m.Message.Type {
	case message.TypePost:
		err = f.forgetPost(h)
	case message.TypeAggregate:
		err = f.forgetElement(h)
	case message.TypeStore:
		err = f.forgetFile(h)
	case message.TypeProgram, message.TypeInstance, message.TypeVProgram:
		err = f.tx.DeleteVM(h)
	}
	if err != nil {
		return err
	}
	return f.unpin(h, store.PinContent)
}

// bury replaces a message by what must remain of it.
func (f *forgetting) bury(m *store.MessageRow) error {
	h := m.Message.ItemHash
	row := &store.ForgottenRow{
		Message: m.Message, Owner: m.Owner, PaymentType: string(message.PaymentHold),
		ForgottenBy: []message.Hash{f.by}, ForgottenAt: f.at, ReceptionTime: m.ReceptionTime,
	}
	if m.PaymentType != nil {
		row.PaymentType = *m.PaymentType
	}
	if m.Message.Type == message.TypeStore {
		pin, err := f.tx.Pin(h, store.PinMessage)
		if err != nil {
			return err
		}
		if pin != nil {
			size, ok, err := f.tx.FileSize(pin.File)
			if err != nil {
				return err
			}
			if ok {
				row.Size = &size
			}
		}
	}
	if err := f.tx.InsertForgotten(row); err != nil {
		return err
	}
	if err := f.tx.DeleteMessage(h); err != nil {
		return err
	}
	return f.tx.DeleteCosts(h)
}

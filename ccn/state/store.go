package state

import (
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// file decides on a STORE (spec/ccn-core.md §3.3).
func (s *State) file(tx *store.Tx, it *Item, c *message.Store) (*change, error) {
	h := it.Message.ItemHash
	if c.FileHash.Kind() != c.FileType {
		return nil, message.Errorf(message.ErrInvalidFormat, "item_type %q does not fit item_hash %q", c.FileType, c.FileHash)
	}
	if err := permit(tx.Reader, it); err != nil {
		return nil, err
	}
	file, err := tx.File(c.FileHash)
	if err != nil {
		return nil, err
	}
	if file == nil {
		return nil, &message.Error{
			Code: message.ErrFileUnavailable, Errors: []any{"File not found: " + string(c.FileHash)},
			WaitsFor: []message.WaitKey{message.WaitFile(c.FileHash)},
		}
	}
	tag := &store.TagRow{Tag: c.Tag(h), Owner: c.Address, File: c.FileHash, Message: h, ContentTime: c.Time}
	if err := it.waive(checkVersion(tx.Reader, c)); err != nil {
		return nil, err
	}
	current, err := tx.Tag(tag.Tag)
	if err != nil {
		return nil, err
	}
	if current != nil && current.Owner != c.Address && !it.Accepted {
		return nil, message.Errorf(message.ErrPermissionDenied, "only %s can store new versions of %s", current.Owner, tag.Tag)
	}
	held := c.Payment == nil || c.Payment.Type != message.PaymentCredit
	costs, err := s.charge(tx.Reader, it, held && file.Size <= s.params.MaxUnauthenticated)
	if err != nil {
		return nil, err
	}
	ch := &change{payment: c.Payment, costs: costs}
	ch.columns.ItemHash = (*string)(&c.FileHash)
	if c.Ref != "" {
		ch.columns.Ref = &c.Ref
	}
	ch.write = func(e *Effect) error {
		pin := &store.PinRow{
			File: c.FileHash, Type: store.PinMessage, Owner: c.Address, Message: h, Ref: ch.columns.Ref, Tag: &tag.Tag, Created: c.Time,
		}
		if err := tx.InsertPin(pin); err != nil {
			return err
		}
		e.Wakes = append(e.Wakes, message.WaitTag(tag.Tag))
		if current != nil && !laterThan(c.Time, h, current.ContentTime, current.Message) {
			return nil
		}
		return tx.PutTag(tag)
	}
	return ch, nil
}

// checkVersion refuses a new version of what is not the first version of a file.
func checkVersion(r *store.Reader, c *message.Store) error {
	target := message.Hash(c.Ref)
	if target.Kind() == "" {
		return nil
	}
	pin, err := r.Pin(target, store.PinMessage)
	switch {
	case err != nil:
		return err
	case pin == nil:
		return &message.Error{
			Code: message.ErrStoreRefNotFound, Errors: []any{c.Ref}, WaitsFor: []message.WaitKey{message.WaitMessage(target)},
		}
	case pin.Ref != nil:
		return &message.Error{Code: message.ErrStoreUpdateUpdate}
	}
	return nil
}

func (f *forgetting) forgetFile(h message.Hash) error {
	return f.unpin(h, store.PinMessage)
}

// unpin gives up the pin that a message holds. A file without another pin is kept for the grace period.
func (f *forgetting) unpin(h message.Hash, kind string) error {
	pin, err := f.tx.Pin(h, kind)
	if err != nil || pin == nil {
		return err
	}
	if err := f.tx.DeletePin(h, kind); err != nil {
		return err
	}
	if pin.Tag != nil {
		if err := f.tx.RebuildTag(*pin.Tag); err != nil {
			return err
		}
	}
	pinned, err := f.tx.Pinned(pin.File)
	if err != nil || pinned {
		return err
	}
	until := message.TimeFrom(f.state.now()) + message.Time(f.state.params.FileGracePeriod*1_000_000)
	return f.tx.InsertPin(&store.PinRow{File: pin.File, Type: store.PinGrace, Created: f.time, DeleteBy: &until})
}

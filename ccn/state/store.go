package state

import (
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// file decides on a STORE (spec/ccn-core.md §3.3).
func (s *State) file(r *reader, it *Item, c *message.Store) (*change, error) {
	h := it.Message.ItemHash
	if c.FileHash.Kind() != c.FileType {
		return nil, message.Errorf(message.ErrInvalidFormat, "item_type %q does not fit item_hash %q", c.FileType, c.FileHash)
	}
	if err := s.permit(r, it); err != nil {
		return nil, err
	}
	file, err := r.File(c.FileHash)
	if err != nil {
		return nil, err
	}
	if file == nil {
		return nil, &message.Error{
			Code: message.ErrFileUnavailable, Errors: []any{"File not found: " + string(c.FileHash)},
			WaitsFor: []message.WaitKey{message.WaitFile(c.FileHash)},
		}
	}
	tag := c.Tag(h)
	if err := it.waive(checkVersion(r.Reader, c)); err != nil {
		return nil, err
	}
	current, err := r.Tag(tag)
	if err != nil {
		return nil, err
	}
	if current != nil && current.Owner != c.Address && !it.Accepted {
		return nil, waitingFor(onlyOwnerStores(current.Owner, tag), message.WaitTag(tag))
	}
	charge, err := s.chargeFile(r.Reader, it, c, file.Size)
	if err != nil {
		return nil, err
	}
	ch := &change{payment: c.Payment, charge: charge}
	ch.columns.ItemHash = (*string)(&c.FileHash)
	if c.Ref != "" {
		ch.columns.Ref = &c.Ref
	}
	ch.write = func(w *work) error {
		pin := &store.PinRow{
			File: c.FileHash, Type: store.PinMessage, Owner: c.Address, Message: h, Ref: ch.columns.Ref, Tag: &tag, Created: c.Time,
		}
		if err := w.pin(pin); err != nil {
			return err
		}
		w.wake(message.WaitTag(tag))
		if c.Ref != "" {
			return w.judgeUsers(tag, c.Time)
		}
		return nil
	}
	return ch, nil
}

// chargeFile is charge for a file of a size in bytes. Small ones cost who holds nothing.
func (s *State) chargeFile(r *store.Reader, it *Item, c *message.Store, size int64) (*charge, error) {
	small := size <= s.params.MaxUnauthenticated
	held := c.Payment == nil || c.Payment.Type != message.PaymentCredit
	beforeCredits := c.Time < float64(s.params.CutOffs.CreditOnly)
	var needs []message.Hash
	if first := message.Hash(c.Ref); first.Kind() != "" {
		needs = append(needs, first)
	}
	return s.charge(r, it, small && held, small && (held || beforeCredits), needs...)
}

func onlyOwnerStores(owner, tag string) *message.Error {
	return message.Errorf(message.ErrPermissionDenied, "only %s can store new versions of %s", owner, tag)
}

// checkVersion refuses a new version of what is not the first version of a file. A first version that was forgotten or
// removed can still have new ones.
func checkVersion(r *store.Reader, c *message.Store) error {
	target := message.Hash(c.Ref)
	if target.Kind() == "" {
		return nil
	}
	owner, ref, known, err := firstVersion(r, target)
	switch {
	case err != nil:
		return err
	case !known:
		return &message.Error{
			Code: message.ErrStoreRefNotFound, Errors: []any{c.Ref}, WaitsFor: []message.WaitKey{message.WaitMessage(target)},
		}
	case ref != nil:
		return waitingFor(&message.Error{Code: message.ErrStoreUpdateUpdate}, message.WaitGone(target))
	case owner != c.Address:
		return waitingFor(onlyOwnerStores(owner, c.Ref), message.WaitGone(target))
	}
	return nil
}

// firstVersion returns the owner and the ref of a STORE message that is applied, or was.
func firstVersion(r *store.Reader, h message.Hash) (owner string, ref *string, known bool, err error) {
	pin, err := r.Pin(h, store.PinMessage)
	if err != nil || pin != nil {
		if pin != nil {
			owner, ref = pin.Owner, pin.Ref
		}
		return owner, ref, err == nil, err
	}
	forgotten, err := r.Forgotten(h)
	if err != nil {
		return "", nil, false, err
	}
	if forgotten != nil {
		return forgotten.Owner, forgotten.ContentRef, forgotten.Message.Type == message.TypeStore, nil
	}
	removed, err := r.Removed(h)
	if err != nil || removed == nil {
		return "", nil, false, err
	}
	return removed.Owner, removed.ContentRef, removed.Message.Type == message.TypeStore, nil
}

// judgeUsers asks for the VMs that use the newest version under a tag to be judged again, when they are not older than a
// version of content time t that came or went.
func (w *work) judgeUsers(tag string, t float64) error {
	vms, err := w.tx.VMsOf(tag)
	if err != nil {
		return err
	}
	for _, h := range vms {
		vm, err := w.tx.VM(h)
		if err != nil {
			return err
		}
		if vm != nil && vm.ContentTime >= t {
			w.judgeAgain(h)
		}
	}
	return nil
}

// eraseVersion gives up the file of a STORE message.
func (w *work) eraseVersion(h message.Hash) error {
	for _, kind := range []string{store.PinMessage, store.PinGrace} {
		pin, err := w.tx.Pin(h, kind)
		if err != nil {
			return err
		}
		if pin == nil {
			continue
		}
		if err := w.unpin(h, kind, pin.Created); err != nil {
			return err
		}
		if pin.Tag == nil {
			continue
		}
		w.wake(message.WaitTag(*pin.Tag))
		// The oldest version stands for the time before it, so its end can concern every user.
		if err := w.judgeUsers(*pin.Tag, 0); err != nil {
			return err
		}
	}
	return nil
}

// pin keeps a file for a message. Nothing else needs to keep it for a while then.
func (w *work) pin(p *store.PinRow) error {
	if err := w.tx.DeleteGracePins(p.File); err != nil {
		return err
	}
	return w.tx.InsertPin(p)
}

// unpin gives up the pin that a message holds. A file without another pin is kept for the grace period.
func (w *work) unpin(h message.Hash, kind string, created float64) error {
	pin, err := w.tx.Pin(h, kind)
	if err != nil || pin == nil {
		return err
	}
	if err := w.tx.DeletePin(h, kind); err != nil {
		return err
	}
	pinned, err := w.tx.Pinned(pin.File)
	if err != nil || pinned {
		return err
	}
	until := message.TimeFrom(w.state.now()) + message.Time(w.state.params.FileGracePeriod*1_000_000)
	return w.tx.InsertPin(&store.PinRow{File: pin.File, Type: store.PinGrace, Created: created, DeleteBy: &until})
}

package state

import (
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// Covers reports whether the funds of its owner cover a STORE message whose file is known, as Apply would judge it now.
// That it would be refused for another reason does not matter. Package api asks before it takes a file for it.
func (s *State) Covers(r *store.Reader, it *Item) (bool, error) {
	_, status, err := r.Signature(it.Message.ItemHash)
	if err != nil || status != "" {
		return true, err // it is paid for, or lost: its file may come again
	}
	c, ok := it.Content.(*message.Store)
	if !ok {
		return true, nil
	}
	file, err := r.File(c.FileHash)
	if err != nil || file == nil {
		return file != nil, err
	}
	_, err = s.chargeFile(r, it, c, file.Size)
	refusal := refusalOf(err)
	if refusal == nil {
		return err == nil, err
	}
	return refusal.Code != message.ErrBalanceInsufficient && refusal.Code != message.ErrCreditInsufficient, nil
}

// Reprice computes again what an applied message costs, with the prices at its place (spec/ccn-api.md §11.6). The message
// stays applied. Normally nothing changes, as what moves prices has messages judged again by itself.
func (s *State) Reprice(tx *store.Tx, h message.Hash) (*Effect, error) {
	w := s.work(tx, &Effect{})
	m, err := tx.Message(h)
	if err != nil || m == nil {
		return w.effect, err
	}
	content, err := message.ParseContent(m.Message.Type, m.Content)
	if err != nil {
		return w.effect, nil // accepted under other rules: it stays
	}
	it := &Item{Message: &m.Message, Content: content, Raw: m.Content, Size: m.Size, ReceptionTime: m.ReceptionTime, Accepted: true}
	c, err := s.decide(w.read, it)
	if err != nil {
		return nil, err
	}
	if c.charge != nil {
		if err := w.reprice(it, c.charge); err != nil {
			return nil, err
		}
	}
	return w.effect, w.settle()
}

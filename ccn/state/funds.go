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

// JudgeAgain judges an applied message once more, at its place, so that its costs are computed again
// (spec/ccn-api.md §11.6). Normally nothing changes: what moves a judgement has messages judged again by itself.
func (s *State) JudgeAgain(tx *store.Tx, h message.Hash) (*Effect, error) {
	w := &work{state: s, tx: tx, effect: &Effect{}}
	w.judgeAgain(h)
	return w.effect, w.settle()
}

package convergence

import (
	"errors"

	"pgregory.net/rapid"

	"github.com/aleph-im/aleph-go/ccn/state"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// copyKey names a copy of a message.
type copyKey struct {
	hash      message.Hash
	signature string
}

// node takes news in as package intake would once all attempts are used up: what is refused is rejected, and comes back
// when what it waits for comes to be.
type node struct {
	t     *rapid.T
	tx    *store.Tx
	state *state.State
	now   message.Time
	known map[copyKey]news
}

func (n *node) must(err error) {
	if err != nil {
		n.t.Fatal(err)
	}
}

// hear takes one thing in, and what it wakes.
func (n *node) hear(what news) {
	switch {
	case what.file != nil:
		if _, err := n.tx.PutFile(what.file); err != nil {
			n.t.Fatal(err)
		}
		n.wake([]message.WaitKey{message.WaitFile(what.file.Hash)})
	case what.anchor != nil:
		n.must(n.state.Confirm(n.tx, what.item.Message, *what.anchor))
	default:
		n.take(what)
	}
}

func (n *node) take(what news) {
	it := what.item
	m := it.Message
	n.known[copyKey{m.ItemHash, m.Signature}] = what
	if what.forged {
		n.reject(it, &message.Error{Code: message.ErrInvalidSignature}, false)
		return
	}
	if m.ItemType != message.ItemInline {
		f, err := n.tx.File(m.ItemHash)
		n.must(err)
		if f == nil {
			n.reject(it, &message.Error{Code: message.ErrContentUnavailable, WaitsFor: []message.WaitKey{message.WaitFile(m.ItemHash)}}, false)
			return
		}
	}
	effect, err := n.state.Apply(n.tx, it)
	var refusal *message.Error
	switch {
	case errors.As(err, &refusal):
		n.reject(it, refusal, true)
		return
	case err != nil:
		n.t.Fatal(err)
	}
	if !effect.Duplicate {
		n.must(n.tx.DeleteRejected(m.ItemHash))
	}
	n.wake(effect.Wakes)
}

func (n *node) reject(it *state.Item, refusal *message.Error, verified bool) {
	m := it.Message
	status, _, err := n.tx.Status(m.ItemHash)
	n.must(err)
	if status != "" && status != message.StatusRejected {
		return
	}
	envelope, err := m.MarshalJSON()
	n.must(err)
	row := &store.RejectedRow{
		Hash: m.ItemHash, Envelope: envelope, ErrorCode: refusal.Code, Details: refusal.Details(), ReceptionTime: it.ReceptionTime,
		JudgedAt: n.now, Verified: verified, WaitsFor: refusal.WaitsFor,
	}
	if verified && m.ItemType != message.ItemInline {
		row.Content = it.Raw
	}
	n.must(n.tx.PutRejected(row))
	if verified {
		n.wake([]message.WaitKey{message.WaitRefused(m.ItemHash)})
	}
}

func (n *node) wake(keys []message.WaitKey) {
	_, err := n.tx.WakePending(keys, 0)
	n.must(err)
	due, err := n.tx.PendingDue(0, 1000)
	n.must(err)
	for _, row := range due {
		n.must(n.tx.DeletePending(row.Hash, row.Sender, row.Signature))
	}
	for _, row := range due {
		n.take(n.known[copyKey{row.Hash, row.Signature}])
	}
}

// settle looks at the funds of the accounts until nothing changes.
func (n *node) settle() {
	for range 100 {
		due, err := n.tx.AccountsDue(n.now, 1000)
		n.must(err)
		if len(due) == 0 {
			return
		}
		for _, a := range due {
			effect, err := n.state.SettleAccount(n.tx, a.Owner, a.PaymentType)
			n.must(err)
			n.wake(effect.Wakes)
		}
	}
	n.t.Fatal("accounts do not settle")
}

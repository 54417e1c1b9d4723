package convergence

import (
	"errors"
	"strings"

	"pgregory.net/rapid"

	"github.com/aleph-im/aleph-go/ccn/state"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
)

// node takes news in as package intake would once all attempts are used up: what is refused is rejected, and comes back
// when what it waits for comes to be. All that it knows is in its database and on its disk.
type node struct {
	t     *rapid.T
	tx    *store.Tx
	state *state.State
	now   message.Time
	disk  map[message.Hash][]byte // contents that are files
}

// at returns a node at work in a transaction.
func at(t *rapid.T, tx *store.Tx, told *telling) *node {
	return &node{
		t: t, tx: tx, now: message.TimeFrom(told.clock), disk: told.contents,
		state: state.New(state.Config{Params: params.Devnet(), Now: told.now}),
	}
}

func (n *node) must(err error) {
	if err != nil {
		n.t.Fatal(err)
	}
}

// hearAll takes news in. Then accounts are looked at.
func (n *node) hearAll(batch []news) {
	for _, what := range batch {
		n.hear(what)
	}
	n.settle()
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
		n.must(n.state.Confirm(n.tx, what.message, *what.anchor))
	default:
		n.take(what.message)
	}
}

// take takes a copy of a message in.
func (n *node) take(m *message.Message) {
	it := &state.Item{Message: m, Raw: []byte(m.ItemContent), Size: int64(len(m.ItemContent)), ReceptionTime: n.now}
	var err error
	if m.ItemType == message.ItemInline {
		it.Content, err = m.Check()
	} else {
		var f *store.FileRow
		if f, err = n.tx.File(m.ItemHash); err == nil && f != nil {
			it.Size = f.Size
			it.Content, it.Raw, err = m.ParseFetched(n.disk[m.ItemHash])
		}
	}
	n.must(err)
	switch {
	case m.Signature != signature:
		n.reject(it, &message.Error{Code: message.ErrInvalidSignature}, false)
		return
	case it.Content == nil:
		n.reject(it, &message.Error{Code: message.ErrContentUnavailable, WaitsFor: []message.WaitKey{message.WaitFile(m.ItemHash)}}, false)
		return
	}
	effect, err := n.state.Apply(n.tx, it)
	var refusal *message.Error
	if errors.As(err, &refusal) {
		n.reject(it, refusal, true)
		return
	}
	n.must(err)
	if !effect.Duplicate && effect.Refusal == nil {
		n.must(n.tx.DeleteRejected(m.ItemHash))
	}
	n.wake(effect.Wakes)
}

func (n *node) reject(it *state.Item, refusal *message.Error, verified bool) {
	m := it.Message
	status, _, err := n.tx.Status(m.ItemHash)
	n.must(err)
	if status != "" && status != message.StatusRejected && !(status == message.StatusPending && verified) {
		return
	}
	envelope, err := m.MarshalJSON()
	n.must(err)
	row := &store.RejectedRow{
		Hash: m.ItemHash, Envelope: envelope, ErrorCode: refusal.Code, Details: refusal.Details(), ReceptionTime: it.ReceptionTime,
		JudgedAt: n.now, Verified: verified, WaitsFor: refusal.WaitsFor,
	}
	if verified {
		row.Sender, row.Own = m.Sender, strings.EqualFold(m.Sender, it.Content.Base().Address)
		if m.ItemType != message.ItemInline {
			row.Content = it.Raw
		}
	}
	n.must(n.tx.PutRejected(row))
	if verified {
		n.wake([]message.WaitKey{message.WaitRefused(m.ItemHash)})
	}
}

func (n *node) wake(keys []message.WaitKey) {
	_, err := n.tx.WakePending(keys, n.now)
	n.must(err)
	due, err := n.tx.PendingDue(n.now, 1000)
	n.must(err)
	for _, row := range due {
		n.must(n.tx.DeletePending(row.Hash, row.Sender, row.Signature))
	}
	for _, row := range due {
		m, _, err := message.Parse(row.Envelope)
		n.must(err)
		n.take(m)
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

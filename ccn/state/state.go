// Package state decides what a message means: whether it is allowed, what it changes, what it lets go on. It is the only
// writer of the tables that messages add up to, and what they add up to does not depend on the order of arrival: every
// message is judged at its place, which is its content time and between equal times its hash, by what comes before that
// place, and judged again when something arrives late that changes it (docs/decisions). Package intake applies messages,
// package upkeep settles accounts.
package state

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/aleph-im/aleph-go/ccn/ledger"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
)

// Config is what a State needs.
type Config struct {
	Params *params.Network
	Now    func() time.Time // time.Now if nil; dates grace periods and balance changes, never an order
}

// State applies messages.
type State struct {
	params *params.Network
	now    func() time.Time

	mu      sync.Mutex
	table   priced    // guarded by mu; the last price table, with the texts it was read from
	tx      *store.Tx // guarded by mu; the last transaction
	granted *granted  // guarded by mu; what its messages are judged by, which is of who has the transaction
}

// New returns a State.
func New(cfg Config) *State {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &State{params: cfg.Params, now: cfg.Now}
}

// Item is a message whose envelope, signature and content were checked.
type Item struct {
	Message       *message.Message
	Content       message.Content
	Raw           []byte // JSON of a content that is not inline
	Size          int64  // inline: code points of item_content; otherwise bytes of the content file
	ReceptionTime message.Time

	// Accepted says that the message was applied once, when all that it needed was there, and is applied again to compute
	// what it adds up to: what came and went since, such as permissions, funds and forgotten messages, does not refuse it.
	Accepted bool
}

// waive drops a refusal of a message that was accepted once.
func (it *Item) waive(err error) error {
	if it.Accepted && refusalOf(err) != nil {
		return nil
	}
	return err
}

// waitingFor adds to a refusal what would lift it.
func waitingFor(err error, keys ...message.WaitKey) error {
	if refusal := refusalOf(err); refusal != nil {
		refusal.WaitsFor = append(refusal.WaitsFor, keys...)
	}
	return err
}

// refusalOf returns the refusal that an error is, nil when it is another error or none.
func refusalOf(err error) *message.Error {
	var refusal *message.Error
	if errors.As(err, &refusal) {
		return refusal
	}
	return nil
}

// Effect is what applying a message did.
type Effect struct {
	Status    message.Status
	Duplicate bool              // it had been applied before; nothing changed
	Wakes     []message.WaitKey // what came to be
	Forgotten []message.Hash    // messages that are forgotten now
	Undone    []message.Hash    // messages that were applied and are rejected now
	Refusal   *message.Error    // why the message itself is among these: something that it put an end to was what it needs
	Ended     []message.Type    // types of messages that were applied and are not any more, forgotten or undone; each once
}

func (e *Effect) ended(t message.Type) {
	if !slices.Contains(e.Ended, t) {
		e.Ended = append(e.Ended, t)
	}
}

// Needs lists the files that must be in the files table before Apply.
func (s *State) Needs(it *Item) []message.Hash {
	if c, ok := it.Content.(*message.Store); ok {
		return []message.Hash{c.FileHash}
	}
	return nil
}

// place is where a message stands in the order in which everything is folded.
type place struct {
	time float64 // content time
	hash message.Hash
}

func placeOf(it *Item) place { return place{it.Content.Base().Time, it.Message.ItemHash} }

func (p place) before(q place) bool { return p.time < q.time || p.time == q.time && p.hash < q.hash }

// clock returns the time of the place, for what expires.
func (p place) clock() message.Time { return message.TimeFromSeconds(p.time) }

// change is what a message that is accepted does. Everything that can refuse it was checked when there is one.
type change struct {
	columns     store.ContentColumns
	payment     *message.Payment
	charge      *charge            // what it costs; nil when it costs nothing
	forgottenBy []store.Forgetting // FORGETs that came first
	write       func(w *work) error
}

// Apply applies a message (spec/ccn-core.md §2.5). A *message.Error says that it is refused and that nothing was written;
// any other error means that the transaction must be abandoned.
func (s *State) Apply(tx *store.Tx, it *Item) (*Effect, error) {
	m := it.Message
	signature, status, err := tx.Signature(m.ItemHash)
	if err != nil {
		return nil, err
	}
	switch {
	case status == "":
	case signature != m.Signature:
		return nil, anotherSignature()
	case status == message.StatusForgotten || status == message.StatusRemoved:
		return nil, &message.Error{Code: message.ErrForgottenDuplicate}
	default:
		return &Effect{Status: status, Duplicate: true}, nil
	}
	e := &Effect{Status: message.StatusProcessed, Wakes: []message.WaitKey{message.WaitMessage(m.ItemHash)}}
	w := s.work(tx, e)
	w.own = m.ItemHash
	c, err := s.decide(w.read, it)
	if err != nil {
		return nil, err
	}
	if err := w.apply(it, c); err != nil {
		return nil, err
	}
	if err := w.settle(); err != nil {
		return nil, err
	}
	switch {
	case e.Refusal != nil:
		e.Status = message.StatusRejected
	case len(c.forgottenBy) > 0:
		e.Status = message.StatusForgotten
	}
	return e, nil
}

// Confirm keeps that a chain transaction anchored a copy of a message, whatever the state of the message. A copy with
// another signature than the one that was applied is refused.
func (s *State) Confirm(tx *store.Tx, m *message.Message, c store.Confirmation) error {
	signature, status, err := tx.Signature(m.ItemHash)
	switch {
	case err != nil:
		return err
	case status != "" && signature != m.Signature:
		return anotherSignature()
	case status == message.StatusForgotten:
		return nil
	}
	c.Signature = m.Signature
	if err := tx.InsertConfirmation(m.ItemHash, c); err != nil {
		return err
	}
	claim, err := tx.Claim(m.ItemHash)
	if err != nil || claim == nil {
		return err
	}
	return tx.TouchAccount(claim.Owner, claim.PaymentType, 0, "")
}

func anotherSignature() *message.Error {
	return message.Errorf(message.ErrInvalidSignature, "the message is known with another signature")
}

// decide checks everything that can refuse the message, as if it were not applied yet.
func (s *State) decide(r *reader, it *Item) (*change, error) {
	c, err := s.decideContent(r, it)
	if owner := it.Content.Base().Address; err != nil && !sameAddress(it.Message.Sender, owner) {
		err = waitingFor(err, message.WaitGrant(owner)) // grants come before everything else
	}
	return c, err
}

func (s *State) decideContent(r *reader, it *Item) (*change, error) {
	switch c := it.Content.(type) {
	case *message.Post:
		return s.post(r, it, c)
	case *message.Aggregate:
		return s.aggregate(r, it, c)
	case *message.Store:
		return s.file(r, it, c)
	case *message.Program:
		return s.program(r, it, c)
	case *message.Instance:
		return s.instance(r, it, c)
	case *message.VProgram:
		return s.vprogram(r, it, c)
	case *message.Forget:
		return s.forget(r, it, c)
	}
	return nil, fmt.Errorf("message %s has content of type %T", it.Message.ItemHash, it.Content)
}

func putCosts(tx *store.Tx, h message.Hash, owner string, costs *ledger.Costs) error {
	for _, line := range costs.Lines {
		row := &store.CostRow{
			Owner: owner, Hash: h, Type: line.Type, Name: line.Name, PaymentType: costs.PaymentType,
			Hold: ledger.Text(line.Hold), Stream: ledger.Text(line.Stream), Credit: ledger.Text(line.Credit),
		}
		if line.Ref != "" {
			row.Ref = (*string)(&line.Ref)
		}
		if err := tx.PutCost(row); err != nil {
			return err
		}
	}
	return nil
}

// Package state decides what a message means: whether it is allowed, what it changes, what it lets go on. It is the only
// writer of the tables that messages add up to, and what they add up to does not depend on the order of arrival: ties of
// content time are broken by hash. Package intake is its only caller.
package state

import (
	"encoding/json"
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

	mu     sync.Mutex
	prices priced // guarded by mu; the last price table, with the texts it was read from
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
	var refusal *message.Error
	if it.Accepted && errors.As(err, &refusal) {
		return nil
	}
	return err
}

// Effect is what applying a message did.
type Effect struct {
	Status    message.Status
	Duplicate bool              // it had been applied before; nothing changed
	Wakes     []message.WaitKey // what came to be
	Forgotten []message.Hash    // messages that are forgotten now
}

// Needs lists the files that must be in the files table before Apply.
func (s *State) Needs(it *Item) []message.Hash {
	if c, ok := it.Content.(*message.Store); ok {
		return []message.Hash{c.FileHash}
	}
	return nil
}

// change is what a message that is accepted does. Everything that can refuse it was checked when there is one.
type change struct {
	columns store.ContentColumns
	payment *message.Payment
	costs   *ledger.Costs
	write   func(e *Effect) error
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
		return nil, message.Errorf(message.ErrInvalidSignature, "the message is known with another signature")
	case status == message.StatusForgotten || status == message.StatusRemoved:
		return nil, &message.Error{Code: message.ErrForgottenDuplicate}
	default:
		return &Effect{Status: status, Duplicate: true}, nil
	}
	c, err := s.decide(tx, it)
	if err != nil {
		return nil, err
	}
	e := &Effect{Status: message.StatusProcessed, Wakes: []message.WaitKey{message.WaitMessage(m.ItemHash)}}
	if err := s.write(tx, it, c, e); err != nil {
		return nil, err
	}
	return e, nil
}

// decide checks everything that can refuse the message.
func (s *State) decide(tx *store.Tx, it *Item) (*change, error) {
	switch c := it.Content.(type) {
	case *message.Post:
		return s.post(tx, it, c)
	case *message.Aggregate:
		return s.aggregate(tx, it, c)
	case *message.Store:
		return s.file(tx, it, c)
	case *message.Program:
		return s.program(tx, it, c)
	case *message.Instance:
		return s.instance(tx, it, c)
	case *message.VProgram:
		return s.vprogram(tx, it, c)
	case *message.Forget:
		return s.forget(tx, it, c)
	}
	return nil, fmt.Errorf("message %s has content of type %T", it.Message.ItemHash, it.Content)
}

func (s *State) write(tx *store.Tx, it *Item, c *change, e *Effect) error {
	m, base := it.Message, it.Content.Base()
	row := &store.MessageRow{
		Message: *m, Content: it.Raw, Size: it.Size, Status: message.StatusProcessed, ReceptionTime: it.ReceptionTime,
		Owner: base.Address, ContentTime: base.Time,
	}
	if c.payment != nil {
		row.PaymentType = (*string)(&c.payment.Type)
	}
	if err := tx.InsertMessage(row, &c.columns); err != nil {
		return err
	}
	if m.ItemType != message.ItemInline {
		if _, err := tx.PutFile(&store.FileRow{Hash: m.ItemHash, Size: it.Size, Type: store.FileTypeFile}); err != nil {
			return err
		}
		pin := &store.PinRow{File: m.ItemHash, Type: store.PinContent, Owner: m.Sender, Message: m.ItemHash, Created: base.Time}
		if err := tx.InsertPin(pin); err != nil {
			return err
		}
	}
	if err := putCosts(tx, m.ItemHash, base.Address, c.costs); err != nil {
		return err
	}
	return c.write(e)
}

func putCosts(tx *store.Tx, h message.Hash, owner string, costs *ledger.Costs) error {
	if costs == nil {
		return nil
	}
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

// laterThan reports whether (t, h) comes after (u, g) in the order in which everything is folded.
func laterThan(t float64, h message.Hash, u float64, g message.Hash) bool {
	return t > u || t == u && h > g
}

// tags returns content.content.tags when it is a list of strings.
func tags(content json.RawMessage) []string {
	var doc struct {
		Tags json.RawMessage `json:"tags"`
	}
	var list []string
	if json.Unmarshal(content, &doc) != nil || doc.Tags == nil || json.Unmarshal(doc.Tags, &list) != nil {
		return nil
	}
	slices.Sort(list)
	return slices.Compact(list)
}

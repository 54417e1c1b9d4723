package ledger

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/cockroachdb/apd/v3"

	"github.com/aleph-im/aleph-go/message"
)

// The types of POST that move credits (spec/ccn-core.md §5.9).
const (
	CreditDistribution = "aleph_credit_distribution" // grants credits that were bought
	CreditExpense      = "aleph_credit_expense"      // charges what resources used
	CreditTransfer     = "aleph_credit_transfer"     // gives credits to other addresses
)

// CreditEntry is one entry of a POST that moves credits. What its kind of POST does not have is nil.
type CreditEntry struct {
	Address       string
	Amount        int64         // > 0
	Expiration    *message.Time // nil: never
	Price         *string       // decimal text
	BonusAmount   *int64
	TxHash        *string // of an expense: its node_id
	Token         *string
	Chain         *string
	Provider      *string
	Origin        *string // of an expense: its execution_id
	Ref           *string
	PaymentMethod *string
	Count         *int64
	SizeMiB       *string // decimal text
}

// maxCredits bounds an amount, and what one transfer moves, so that every client reads it exactly.
const maxCredits = 1<<53 - 1

// ParseCredits reads the content of a POST that moves credits. Amounts are multiplied by scale, which is 10 000 for posts
// before the cut-off of the precision and 1 afterwards. The error says what is wrong with the content.
func ParseCredits(postType string, content json.RawMessage, scale int64) ([]CreditEntry, error) {
	kind := strings.TrimPrefix(postType, "aleph_credit_")
	doc := &fields{path: "content"}
	doc.object(content)
	body := &fields{path: "content." + kind, err: doc.err}
	body.object(doc.members[kind])
	var shared CreditEntry
	if postType == CreditDistribution {
		shared.Token, shared.Chain = body.must("token", body.text), body.must("chain", body.text)
	}
	var list []json.RawMessage
	if body.err == nil && (json.Unmarshal(body.members["credits"], &list) != nil || len(list) == 0) {
		body.fail("credits", "must be a list of at least one entry")
	}
	entries := make([]CreditEntry, len(list))
	room := int64(maxCredits)
	for i, raw := range list {
		f := &fields{path: fmt.Sprintf("%s.credits[%d]", body.path, i)}
		f.object(raw)
		entries[i] = shared
		f.entry(postType, scale, &entries[i])
		if f.err != nil {
			return nil, f.err
		}
		if postType != CreditTransfer {
			continue
		}
		if room -= entries[i].Amount; room < 0 {
			return nil, fmt.Errorf("%s.credits must not add up to more than %d", body.path, int64(maxCredits))
		}
	}
	return entries, body.err
}

// entry reads what one kind of POST has.
func (f *fields) entry(postType string, scale int64, e *CreditEntry) {
	if address := f.must("address", f.text); address != nil {
		if e.Address = *address; strings.TrimSpace(e.Address) == "" {
			f.fail("address", "must not be blank")
		}
	}
	amount := f.integer("amount")
	switch {
	case amount == nil || *amount <= 0:
		f.fail("amount", "must be a whole number above 0")
	case *amount > maxCredits/scale:
		f.fail("amount", "is too large")
	default:
		e.Amount = *amount * scale
	}
	switch postType {
	case CreditDistribution:
		e.Price, e.TxHash, e.Provider = f.must("price", f.decimal), f.must("tx_hash", f.text), f.must("provider", f.text)
		e.Origin, e.Ref, e.PaymentMethod = f.text("origin"), f.text("ref"), f.text("payment_method")
		e.BonusAmount, e.Expiration = f.integer("bonus_amount"), f.milliseconds("expiration")
	case CreditExpense:
		e.Origin, e.TxHash, e.Ref, e.Price = f.text("execution_id"), f.text("node_id"), f.text("ref"), f.decimal("price")
		e.Count, e.SizeMiB = f.integer("count"), f.decimal("size")
		if e.Count != nil && *e.Count < 0 {
			f.fail("count", "must not be negative")
		}
		if e.SizeMiB != nil && strings.HasPrefix(*e.SizeMiB, "-") {
			f.fail("size", "must not be negative")
		}
	case CreditTransfer:
		e.Expiration = f.milliseconds("expiration")
	}
}

// fields reads the members of an object until the first error, which it keeps. A member that is absent or null is nil.
type fields struct {
	path    string
	members map[string]json.RawMessage
	err     error
}

func (f *fields) fail(member, problem string) {
	if f.err == nil {
		f.err = fmt.Errorf("%s.%s %s", f.path, member, problem)
	}
}

func (f *fields) object(raw json.RawMessage) {
	if f.err == nil && (json.Unmarshal(raw, &f.members) != nil || f.members == nil) {
		f.err = fmt.Errorf("%s must be an object", f.path)
	}
}

func (f *fields) raw(member string) string {
	if text := string(f.members[member]); text != "null" {
		return text
	}
	return ""
}

// must reads a member that may not be absent.
func (f *fields) must(member string, read func(member string) *string) *string {
	value := read(member)
	if value == nil {
		f.fail(member, "is missing")
	}
	return value
}

func (f *fields) text(member string) *string {
	raw := f.raw(member)
	if raw == "" {
		return nil
	}
	var s string
	if json.Unmarshal([]byte(raw), &s) != nil {
		f.fail(member, "must be text")
	}
	return &s
}

// integer takes whole numbers only: no text, no fraction, not even 1.0, no true.
func (f *fields) integer(member string) *int64 {
	raw := f.raw(member)
	if raw == "" {
		return nil
	}
	n, err := strconv.ParseInt(raw, 10, 64)
	if err != nil {
		f.fail(member, "must be a whole number")
	}
	return &n
}

// decimal takes a number or the text of one.
func (f *fields) decimal(member string) *string {
	text := f.raw(member)
	if text == "" {
		return nil
	}
	if text[0] == '"' {
		text = strings.TrimSpace(*f.text(member))
	}
	d, _, err := apd.NewFromString(text)
	if err != nil || d.Form != apd.Finite || d.Exponent > 100 || d.Exponent < -100 {
		f.fail(member, "must be a decimal number")
		return &text
	}
	text = d.Text('f')
	return &text
}

// milliseconds takes a Unix time in milliseconds; 0 means never.
func (f *fields) milliseconds(member string) *message.Time {
	n := f.integer(member)
	if n == nil || *n == 0 {
		return nil
	}
	const last = 253402300799999 // the end of the year 9999
	if *n < -last || *n > last {
		f.fail(member, "is out of range")
		return nil
	}
	t := message.Time(*n * 1000)
	return &t
}

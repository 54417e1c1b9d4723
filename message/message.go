// Package message is the vocabulary of the network: the signed envelope, its hashes, the typed contents, the states a
// message goes through and the codes with which it is refused. It does no I/O; every other package speaks in its types.
//
// Formats: docs/protocol.md; what each field may hold is checked by [Parse] (the envelope) and [ParseContent].
package message

import (
	"math"
	"strconv"
	"time"
)

// Type is what a message asks for.
type Type string

const (
	TypePost      Type = "POST"
	TypeAggregate Type = "AGGREGATE"
	TypeStore     Type = "STORE"
	TypeProgram   Type = "PROGRAM"
	TypeInstance  Type = "INSTANCE"
	TypeForget    Type = "FORGET"
	TypeVProgram  Type = "V-PROGRAM"
)

// Types lists every message type.
func Types() []Type {
	return []Type{TypePost, TypeAggregate, TypeStore, TypeProgram, TypeInstance, TypeForget, TypeVProgram}
}

// ItemType says where the content of a message is.
type ItemType string

const (
	ItemInline  ItemType = "inline"  // in the envelope, item_content
	ItemStorage ItemType = "storage" // a file named by its sha256
	ItemIPFS    ItemType = "ipfs"    // a file named by its CID
)

// Status is where a message is in its life on one node.
type Status string

const (
	StatusPending   Status = "pending"   // durable, waits for its content or for another message
	StatusProcessed Status = "processed" // valid and applied
	StatusRejected  Status = "rejected"  // refused; may come back when its cause is gone
	StatusForgotten Status = "forgotten" // forgotten by a FORGET; final
	StatusRemoving  Status = "removing"  // its owner cannot pay; grace period running
	StatusRemoved   Status = "removed"   // its resources were dropped; final
)

// Time is a point in time in microseconds since the Unix epoch, the precision that the network keeps of an envelope's
// time.
type Time int64

// TimeFromSeconds rounds Unix seconds to microseconds, half to even on the binary double as the network does.
func TimeFromSeconds(s float64) Time {
	whole, frac := math.Modf(s)
	return Time(int64(whole)*1_000_000 + int64(math.RoundToEven(frac*1e6)))
}

// TimeFrom converts a [time.Time], truncating to microseconds.
func TimeFrom(t time.Time) Time { return Time(t.UnixMicro()) }

// Seconds returns Unix seconds.
func (t Time) Seconds() float64 { return float64(t) / 1e6 }

// Std returns the same instant as a UTC [time.Time].
func (t Time) Std() time.Time { return time.UnixMicro(int64(t)).UTC() }

// MarshalJSON writes Unix seconds as a JSON number with the shortest text that reads back equal.
func (t Time) MarshalJSON() ([]byte, error) { return t.AppendJSON(nil), nil }

// AppendJSON appends what MarshalJSON returns to dst. Whole seconds keep a ".0", as a float does on the reference node.
func (t Time) AppendJSON(dst []byte) []byte {
	start := len(dst)
	dst = strconv.AppendFloat(dst, t.Seconds(), 'f', -1, 64)
	for _, c := range dst[start:] {
		if c == '.' {
			return dst
		}
	}
	return append(dst, '.', '0')
}

// RFC3339 formats t in UTC with a "Z" and six fractional digits, or none when the fraction is zero (ccn-api §1.7, J1).
func (t Time) RFC3339() string {
	if t%1_000_000 == 0 {
		return t.Std().Format("2006-01-02T15:04:05Z")
	}
	return t.Std().Format("2006-01-02T15:04:05.000000Z")
}

// Message is the signed envelope: who says what, where the content is, and the proof.
type Message struct {
	Sender      string   // address of the signer, verbatim: its exact text is signed
	Chain       Chain    // whose signature scheme applies
	Type        Type     //
	Signature   string   // verbatim text; empty only on messages that a smart contract event made
	ItemType    ItemType //
	ItemContent string   // exact text of the content, only when ItemType is inline
	ItemHash    Hash     // identity of the message: hash of its content
	Time        Time     // the signer's clock; not covered by the signature
	Channel     *string  // free text; nil when absent
}

// SigningPayload returns the bytes that the signature covers: chain, sender, type and item hash, joined by line feeds.
func (m *Message) SigningPayload() []byte {
	b := make([]byte, 0, len(m.Chain)+len(m.Sender)+len(m.Type)+len(m.ItemHash)+3)
	b = append(b, m.Chain...)
	b = append(b, '\n')
	b = append(b, m.Sender...)
	b = append(b, '\n')
	b = append(b, m.Type...)
	b = append(b, '\n')
	return append(b, m.ItemHash...)
}

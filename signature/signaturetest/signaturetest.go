// Package signaturetest has what the tests of every family of chains do with the shared vectors.
package signaturetest

import (
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/internal/vectors"
	"github.com/aleph-im/aleph-go/message"
)

// Account is an account of the vectors. Detail has what only its chain knows, with JSON tags.
type Account[Detail any] struct {
	ID, Address string
	Chain       message.Chain
	Detail      Detail
}

// Accounts runs check on each account of a chain, in a test of its own, and returns how many there are: one at the least.
func Accounts[Detail any](t *testing.T, chain message.Chain, check func(*testing.T, Account[Detail])) (n int) {
	t.Helper()
	var file struct{ Accounts []Account[Detail] }
	vectors.Load(t, "accounts.json", &file)
	for _, a := range file.Accounts {
		if a.Chain == chain {
			n++
			t.Run(a.ID, func(t *testing.T) { check(t, a) })
		}
	}
	if n == 0 {
		t.Fatalf("no accounts of %s in the vectors", chain)
	}
	return n
}

// Fuzz holds a chain to refusing every signature of a message that nobody signed. It begins with the signatures of the vectors.
func Fuzz(f *testing.F, chain message.Chain, verify func(*message.Message) error) {
	var file struct {
		Own []struct {
			Message struct{ Sender, Signature string }
		}
	}
	vectors.Load(f, "signatures_"+strings.ToLower(string(chain))+".json", &file)
	for _, v := range file.Own {
		f.Add(v.Message.Sender, v.Message.Signature, int64(1700000000500000))
	}
	f.Fuzz(func(t *testing.T, sender, signature string, microseconds int64) {
		m := &message.Message{Sender: sender, Chain: chain, Signature: signature, Time: message.Time(microseconds)}
		if err := verify(m); err == nil {
			t.Error("accepted a signature of a message that nobody signed")
		}
	})
}

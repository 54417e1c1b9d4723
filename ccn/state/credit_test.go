package state

import (
	"testing"

	"github.com/aleph-im/aleph-go/ccn/ledger"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
)

// moved makes a POST that moves credits.
func moved(name, owner string, t float64, kind, content string, edit ...func(*message.Message)) *Item {
	c := post(owner, t, content)
	c.PostType = kind
	channel := "ALEPH_CREDIT"
	return item(name, c, append(edit, func(m *message.Message) { m.Channel = &channel })...)
}

func (w *world) credits(address string) (sum int64) {
	w.t.Helper()
	err := w.db.Read(w.t.Context(), func(r *store.Reader) (err error) {
		sum, err = r.Credits(address, message.TimeFrom(now))
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return sum
}

// reject keeps a refusal as intake does.
func (w *world) reject(code message.ErrorCode, it *Item) {
	w.t.Helper()
	refusal := w.refuses(code, it)
	envelope, err := it.Message.MarshalJSON()
	if err != nil {
		w.t.Fatal(err)
	}
	w.write(func(tx *store.Tx) error {
		return tx.PutRejected(&store.RejectedRow{Hash: it.Message.ItemHash, Envelope: envelope, ErrorCode: refusal.Code, Verified: true})
	})
}

// A transfer that was forgotten before it was known that its signer might act for its owner moves what it would have moved
// before it was forgotten, and no more once it turns out that the signer might not.
func TestForgottenTransferFollowsTheGrantsOfItsPlace(t *testing.T) {
	w := newWorld(t, params.Devnet())
	transfer := moved("", alice, 3, ledger.CreditTransfer, `{"transfer":{"credits":[{"address":"0xEve","amount":400}]}}`, sender(bob))
	transfer.Message.ItemHash = message.HashBytes([]byte(transfer.Message.ItemContent)) // it is parsed again
	w.must(moved("buy", params.DevnetAuthority, 1, ledger.CreditDistribution,
		`{"distribution":{"token":"T","chain":"ETH","credits":[{"address":"0xAlice","amount":1000,"price":"1","tx_hash":"","provider":"p"}]}}`))
	w.reject(message.ErrPermissionDenied, transfer)
	f := forget(alice, 4)
	f.Hashes = []message.Hash{transfer.Message.ItemHash}
	w.must(item("f", f))
	for _, step := range []struct {
		grant       *Item
		alice, eves int64
	}{
		{item("g", aggregate(alice, 2, securityKey, `{"authorizations":[{"address":"0xBob"}]}`)), 600, 400},
		{item("r", aggregate(alice, 2.5, securityKey, `{"authorizations":[]}`)), 1000, 0},
	} {
		w.must(step.grant)
		if a, e := w.credits(alice), w.credits("0xEve"); a != step.alice || e != step.eves {
			t.Errorf("after %s they have %d and %d, want %d and %d", step.grant.Message.ItemContent, a, e, step.alice, step.eves)
		}
	}
}

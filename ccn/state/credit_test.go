package state

import (
	"fmt"
	"math"
	"slices"
	"strings"
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

// What a transfer moves cannot be so much that its sum looks like little.
func TestTransferOfMoreThanCreditsCanBeIsRefused(t *testing.T) {
	w := newWorld(t, params.Devnet())
	w.must(moved("buy", params.DevnetAuthority, 1, ledger.CreditDistribution,
		`{"distribution":{"token":"T","chain":"ETH","credits":[{"address":"0xAlice","amount":100000,"price":"1","tx_hash":"","provider":"p"}]}}`))
	var entries []string
	for i := range 2048 {
		entries = append(entries, fmt.Sprintf(`{"address":"a%d","amount":9007199254740991}`, i))
	}
	for name, list := range map[string][]string{
		"wraps to 1":           append(slices.Clone(entries), `{"address":"z","amount":2049}`),
		"wraps to less than 0": entries[:1025],
		"is 1 too much":        {entries[0], `{"address":"z","amount":1}`},
	} {
		w.refuses(message.ErrInvalidFormat, moved(name, alice, 2, ledger.CreditTransfer, `{"transfer":{"credits":[`+strings.Join(list, ",")+`]}}`))
	}
	if has, z := w.credits(alice), w.credits("z"); has != 100000 || z != 0 {
		t.Errorf("alice and z have %d and %d credits", has, z)
	}
}

// Grants and expenses of more than 64 bits hold are summed up as the most that they hold.
func TestSumsOfCreditsDoNotOverflow(t *testing.T) {
	w := newWorld(t, params.Devnet())
	grant := strings.Repeat(`{"address":"0xAlice","amount":9007199254740991,"price":"1","tx_hash":"","provider":"p"},`, 1024)
	spent := strings.Repeat(`{"address":"0xBob","amount":9007199254740991,"execution_id":"vm"},`, 1025)
	w.must(moved("buy", params.DevnetAuthority, 1, ledger.CreditDistribution, `{"distribution":{"token":"T","chain":"ETH","credits":[`+grant[:len(grant)-1]+`]}}`))
	w.must(moved("spend", params.DevnetAuthority, 2, ledger.CreditExpense, `{"expense":{"credits":[`+spent[:len(spent)-1]+`]}}`))
	most := int64(1024 * (1<<53 - 1))
	if has := w.credits(alice); has != most {
		t.Errorf("alice has %d credits, want %d", has, most)
	}
	w.must(moved("buy more", params.DevnetAuthority, 3, ledger.CreditDistribution, `{"distribution":{"token":"T","chain":"ETH","credits":[`+grant[:len(grant)-1]+`]}}`))
	if has := w.credits(alice); has != math.MaxInt64 {
		t.Errorf("alice has %d credits, want the most that there is", has)
	}
	w.must(moved("give", alice, 4, ledger.CreditTransfer, `{"transfer":{"credits":[{"address":"0xEve","amount":9007199254740991}]}}`))
	err := w.db.Read(t.Context(), func(r *store.Reader) error {
		gave, err := r.SumCredits(store.CreditFilter{Address: alice})
		if want := (store.CreditSummary{Count: 2049, Total: math.MaxInt64, Incoming: math.MaxInt64, Outgoing: -(1<<53 - 1)}); err != nil || gave != want {
			t.Errorf("the movements of alice are %+v, %v, want %+v", gave, err, want)
		}
		took, err := r.SumCredits(store.CreditFilter{Address: bob})
		if want := (store.CreditSummary{Count: 1025, Total: math.MinInt64, Outgoing: math.MinInt64}); err != nil || took != want {
			t.Errorf("the movements of bob are %+v, %v, want %+v", took, err, want)
		}
		for _, sum := range []func() (int64, error){
			func() (int64, error) { return r.ConsumedCredits("vm") }, func() (int64, error) { return r.ConsumedByOwner(bob) },
		} {
			if consumed, err := sum(); err != nil || consumed != math.MaxInt64 {
				t.Errorf("%d credits consumed, %v", consumed, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

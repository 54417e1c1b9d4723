package state

import (
	"errors"
	"fmt"
	"testing"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
)

// FuzzPostsThatFeedTheState lets the authority say anything in the posts that balances, credits and measurements are read
// from. It is refused, or what it says can be read and added up.
func FuzzPostsThatFeedTheState(f *testing.F) {
	p := params.Devnet()
	var kinds []string
	for _, trusted := range []params.Publisher{p.Balances, p.Credits, p.Scores} {
		kinds = append(kinds, trusted.PostTypes...)
	}
	channel := "ALEPH_CREDIT"
	if len(p.Scores.Channels) > 0 {
		channel = p.Scores.Channels[0]
	}
	for i := range kinds {
		for _, content := range []string{
			`{"chain":"ETH","main_height":1,"balances":{"0xAlice":12.5,"0xBob":1e2}}`, `{"chain":"ETH","main_height":1,"balances":{"0xAlice":"1"},"dapp":"d"}`,
			`{"chain":"ETH","main_height":-1,"balances":{"0xAlice":-1}}`, `{"chain":"ETH","main_height":1,"balances":{"0xAlice":1e100000}}`,
			`{"chain":"ETH","main_height":1,"balances":{"0xAlice":1e-100000,"":0}}`, `{"chain":"ETH","main_height":99999999999999999999,"balances":{}}`,
			`{"chain":"MOON","main_height":1,"balances":{}}`, `{"chain":"ETH","main_height":1,"balances":null}`, `{"balances":[]}`,
			`{"distribution":{"token":"T","chain":"ETH","credits":[{"address":"0xAlice","amount":9007199254740991,"price":"1","tx_hash":"","provider":"p"}]}}`,
			`{"expense":{"credits":[{"address":"0xAlice","amount":9007199254740991}]}}`, `{"transfer":{"credits":[{"address":"0xAlice","amount":1}]}}`,
			`{"metrics":{"ccn":[{"node_id":"n","measured_at":1,"base_latency":0.1,"pending_messages":"3"}],"crn":[{"node_id":"n","measured_at":"2"}]}}`,
			`{"metrics":{"ccn":[{"node_id":"n","measured_at":1e300},{"node_id":"n","measured_at":1,"base_latency":"NaN"},7,null,{"node_id":""}],"crn":{}}}`,
			`{"metrics":[]}`, `{"metrics":null}`, `{}`, `null`, `0`, `""`, `[[[[]]]]`, `"\u0000"`,
		} {
			f.Add(i, content)
		}
	}
	w := newWorld(f, p)
	undone := errors.New("undone on purpose")
	f.Fuzz(func(t *testing.T, kind int, text string) {
		it := item("", post(params.DevnetAuthority, 1, `{}`), func(m *message.Message) {
			m.Channel = &channel
			m.ItemContent = fmt.Sprintf(`{"address":%q,"time":1,"type":%q,"content":%s}`, m.Sender, kinds[uint(kind)%uint(len(kinds))], text)
			m.ItemHash = message.HashBytes([]byte(m.ItemContent))
		})
		content, err := it.Message.Check()
		if err != nil {
			return
		}
		it.Content = content
		err = w.db.Write(t.Context(), func(tx *store.Tx) error {
			var refusal *message.Error
			if _, err := w.state.Apply(tx, it); errors.As(err, &refusal) {
				return undone
			} else if err != nil {
				return err
			}
			for _, address := range []string{alice, bob, ""} {
				if _, err := Holding(tx.Reader, address); err != nil {
					return err
				}
				for _, payment := range []message.PaymentType{message.PaymentHold, message.PaymentCredit} {
					claim := &store.ClaimRow{Hash: hash(address + string(payment)), Owner: address, PaymentType: payment, ContentTime: 1, Need: "1", MustPay: true, Status: store.ClaimProcessed}
					if err := tx.PutClaim(claim); err != nil {
						return err
					}
					if err := tx.PutAccount(&store.AccountRow{Owner: address, PaymentType: payment, Used: "1"}); err != nil {
						return err
					}
					if _, err := w.state.SettleAccount(tx, address, payment); err != nil {
						return fmt.Errorf("settle account: %w", err)
					}
				}
			}
			for _, k := range []string{KindCore, KindCompute} {
				if _, err := tx.NodeMetrics(k, "n", 0, 0, false); err != nil {
					return err
				}
			}
			return undone
		})
		if !errors.Is(err, undone) {
			t.Errorf("%.300s: %v", it.Message.ItemContent, err)
		}
	})
}

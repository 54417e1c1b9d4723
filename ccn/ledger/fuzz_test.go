package ledger

import (
	"slices"
	"testing"

	"github.com/cockroachdb/apd/v3"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
)

var creditKinds = []string{CreditDistribution, CreditExpense, CreditTransfer}

func FuzzParseCredits(f *testing.F) {
	for i, content := range []string{
		`{"distribution":{"token":"T","chain":"ETH","credits":[{"address":"0xA","amount":5,"price":"1.5","tx_hash":"","provider":"p","expiration":99}]}}`,
		`{"expense":{"credits":[{"address":"0xA","amount":5,"count":1,"size":1e-3,"price":1e99}]}}`,
		`{"transfer":{"credits":[{"address":"0xA","amount":9007199254740991},{"address":"0xB","amount":1,"expiration":-1}]}}`,
		`null`, `[]`, `{"transfer":null}`, `{"transfer":{"credits":[]}}`, `{"transfer":{"credits":[null]}}`, `{"transfer":{"credits":{}}}`,
		`{"transfer":{"credits":[{"address":" ","amount":1}]}}`, `{"transfer":{"credits":[{"address":"0xA","amount":1.0}]}}`,
		`{"transfer":{"credits":[{"address":"0xA","amount":1e3}]}}`, `{"transfer":{"credits":[{"address":"0xA","amount":-1}]}}`,
		`{"transfer":{"credits":[{"address":"0xA","amount":99999999999999999999}]}}`, `{"transfer":{"credits":[{"address":"0xA","amount":"1"}]}}`,
		`{"transfer":{"credits":[{"address":"0xA","amount":1,"expiration":1e400}]}}`, `{"expense":{"credits":[{"address":"0xA","amount":1,"price":"NaN"}]}}`,
		`{"expense":{"credits":[{"address":"0xA","amount":1,"price":"1e1000000000"}]}}`, `{"expense":{"credits":[{"address":"0xA","amount":1,"size":"-1"}]}}`,
		`{"expense":{"credits":[{"address":"0xA","amount":1,"price":true}]}}`, `{"expense":{"credits":[{"address":"0xA","amount":1,"price":""}]}}`,
	} {
		f.Add(i, content, i%2 == 0)
	}
	f.Fuzz(func(t *testing.T, kind int, content string, scaled bool) {
		scale := int64(1)
		if scaled {
			scale = 10_000
		}
		entries, err := ParseCredits(creditKinds[uint(kind)%3], []byte(content), scale)
		if err != nil {
			if err.Error() == "" {
				t.Error("nobody is told what is wrong")
			}
			return
		}
		if len(entries) == 0 {
			t.Error("it moves nothing")
		}
		for _, e := range entries {
			if e.Address == "" || e.Amount < scale || e.Amount > maxCredits || e.Amount%scale != 0 {
				t.Errorf("%q gets %d", e.Address, e.Amount)
			}
			for _, text := range []*string{e.Price, e.SizeMiB} {
				if text == nil {
					continue
				}
				if _, _, err := apd.NewFromString(*text); err != nil || len(*text) > len(content)+110 {
					t.Errorf("a decimal is %.200q", *text)
				}
			}
		}
	})
}

func FuzzPriceTable(f *testing.F) {
	for _, seed := range [][2]string{
		{`{"storage":{"price":{"storage":{"holding":"2","credit":3600}}},"note":"not a product"}`, `{"compatible_gpus":[]}`},
		{`{"instance":{"price":{"storage":{"payg":"1"},"compute_unit":{"payg":1e3}},"tiers":[{"id":"t","compute_units":1}],"compute_unit":{"vcpus":1,"memory_mib":2048,"disk_mib":2048}}}`, `{}`},
		{`{"instance":{"price":{},"tiers":[{"id":"t"}],"compute_unit":{"memory_mib":0}}}`, `null`},
		{`{"storage":{"price":{"storage":{"holding":"1e100000"}}}}`, `{"compatible_gpus":[{"name":"n","model":"m","vendor":"v","device_id":"10de:2684"}]}`},
		{`{"storage":{"price":{"storage":{"holding":"NaN"}}}}`, `[]`},
		{`{"storage":{"price":{"storage":{"holding":true}}}}`, `{"compatible_gpus":null}`},
		{`[]`, ``}, {`null`, ``}, {``, `{"compatible_gpus":{}}`},
	} {
		f.Add(seed[0], seed[1])
	}
	contents := []message.Content{
		stored(message.PaymentHold), stored(message.PaymentCredit), instance(executable(4, message.PaymentSuperfluid, 50)), gpus(8, 16384, "10de:2684"),
		&message.Program{Executable: executable(1, "")},
	}
	f.Fuzz(func(t *testing.T, pricing, settings string) {
		table, err := NewTable(params.Mainnet(), []byte(pricing), []byte(settings))
		if err != nil {
			return
		}
		for _, content := range contents {
			costs, err := Cost(sizes{"file": 30 * mib}, table, "hash", content)
			if err != nil {
				continue
			}
			if _, err := costs.Total(); err == nil {
				for _, line := range costs.Lines {
					Text(line.Hold)
				}
			}
		}
	})
}

// FuzzAccount folds movements of credits that were made up from bytes: three of them are one movement.
func FuzzAccount(f *testing.F) {
	f.Add([]byte{100, 0, 0, 200, 0, 0}, int64(1000))
	f.Add([]byte{10, 50, 0, 250, 20, 1, 10, 200, 2, 129, 0, 3}, int64(100))
	f.Fuzz(func(t *testing.T, moves []byte, until int64) {
		var history []store.CreditRow
		var granted int64
		for i, move := range slices.Collect(slices.Chunk(moves, 3)) {
			row := store.CreditRow{Index: int64(i), Amount: int64(int8(move[0])), ContentTime: float64(i)}
			if len(move) == 3 && move[1] > 0 {
				expiration := message.TimeFromSeconds(float64(move[1]) / float64(1+move[2]))
				row.Expiration = &expiration
			}
			granted += max(row.Amount, 0)
			history = append(history, row)
		}
		var purse Purse
		for i := range history {
			purse.Fold(&history[i])
		}
		for _, lot := range purse.Lots {
			if lot.Remaining < 0 {
				t.Errorf("a grant has %d left", lot.Remaining)
			}
		}
		now := message.TimeFromSeconds(float64(until % 1_000_000))
		funds := CreditFunds(history, now)
		for i, f := range funds {
			if f.Amount.Negative || f.Amount.Cmp(apd.New(granted, 0)) > 0 {
				t.Errorf("%s of %d credits", f.Amount, granted)
			}
			if i > 0 && f.Time < funds[i-1].Time {
				t.Errorf("funds at %v follow those at %v", f.Time, funds[i-1].Time)
			}
		}
	})
}

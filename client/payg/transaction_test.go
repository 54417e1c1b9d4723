package payg

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aleph-im/aleph-go/params"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// failing is a chain without a network, of one stream and one transaction, on which questions fail.
type failing struct {
	lost      bool // the transaction arrives, the answer to it does not
	refused   string
	unheard   bool // it does not even arrive
	noReceipt int  // questions for the receipt that fail
	lag       int  // reads of the stream after the receipt that see the block before
	reverts   bool
	pending   int // questions while a transaction is on its way

	rate      int64
	sent      string // hash
	confirmed bool
}

// RoundTrip implements [http.RoundTripper].
func (f *failing) RoundTrip(request *http.Request) (*http.Response, error) {
	var asked struct {
		Method string
		Params []any
	}
	if err := json.NewDecoder(request.Body).Decode(&asked); err != nil {
		return nil, err
	}
	answer := func(text string) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(text))}, nil
	}
	result := `"0x1"`
	switch asked.Method {
	case "eth_call":
		rate := f.rate
		if f.confirmed && f.lag > 0 {
			f.lag--
			rate = 0
		}
		words := make([]byte, 4*32)
		big.NewInt(rate).FillBytes(words[32:64])
		result = `"0x` + hex.EncodeToString(words) + `"`
	case "eth_getTransactionCount":
		if asked.Params[1] == "pending" && f.pending > 0 {
			f.pending--
			result = `"0x2"`
		}
	case "eth_getBlockByNumber":
		result = `{"baseFeePerGas":"0x1"}`
	case "eth_sendRawTransaction":
		raw, err := hex.DecodeString(asked.Params[0].(string)[2:])
		if err != nil {
			return nil, err
		}
		if f.sent = "0x" + hex.EncodeToString(keccak(raw)); f.unheard {
			f.sent = ""
		}
		if f.lost || f.unheard {
			return nil, errors.New("connection reset")
		}
		if f.refused != "" {
			return answer(`{"error":{"code":-32000,"message":"` + f.refused + `"}}`)
		}
	case "eth_getTransactionByHash":
		if result = "null"; asked.Params[0] == f.sent && f.refused == "already known" {
			result = `{"nonce":"0x1"}`
		}
	case "eth_getTransactionReceipt":
		switch f.noReceipt--; {
		case f.noReceipt >= 0:
			return nil, errors.New("connection reset")
		case asked.Params[0] != f.sent:
			result = "null"
		case f.reverts:
			result = `{"status":"0x0"}`
		default:
			f.rate, f.confirmed, result = 5, true, `{"status":"0x1"}`
		}
	}
	return answer(`{"result":` + result + `}`)
}

func TestTransactionsAreFollowedUntilTheirEndIsKnown(t *testing.T) {
	sender, err := ethereum.Generate()
	if err != nil {
		t.Fatal(err)
	}
	const other = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
	for name, test := range map[string]struct {
		chain     failing
		says      string // "" when it works
		unsettled bool
		within    time.Duration
	}{
		"all answers come":                     {chain: failing{}, within: time.Second},
		"questions for the receipt fail":       {chain: failing{noReceipt: 5}, within: 10 * time.Second},
		"the answer to sending is lost":        {chain: failing{lost: true}, within: time.Second},
		"it was sent twice on its way":         {chain: failing{refused: "already known"}, within: time.Second},
		"other nodes are a block behind":       {chain: failing{lag: 4}, within: 5 * time.Second},
		"it is refused":                        {chain: failing{refused: "insufficient funds"}, says: "insufficient funds", within: time.Second},
		"the contract refuses it":              {chain: failing{reverts: true}, says: "the contract refused it", within: time.Second},
		"nobody says whether it arrived":       {chain: failing{unheard: true}, says: "connection reset", unsettled: true, within: awaitTime},
		"the chain's node is gone after that":  {chain: failing{noReceipt: 1e6}, says: "in no block yet", unsettled: true, within: awaitTime},
		"a stream that stays as it was before": {chain: failing{lag: 1e6}, says: "at 0 wei a second instead of 5", unsettled: true, within: settleTime + time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, err := New(Config{HTTPClient: &http.Client{Transport: &test.chain}, Chain: params.StreamChain{
					Chain: "AVAX", ChainID: 1, RPC: "http://chain", Token: other, Agreement: other,
				}})
				if err != nil {
					t.Fatal(err)
				}
				plan := &Plan{Chain: "AVAX", Sender: sender.Address(), Steps: []Step{{other, new(big.Int), big.NewInt(5)}}}
				began := time.Now()
				err = s.Apply(t.Context(), sender, plan)
				if took := time.Since(began); took > test.within {
					t.Errorf("it took %s", took)
				}
				var unsettled *UnsettledError
				if (test.says == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), test.says) || errors.As(err, &unsettled) != test.unsettled {
					t.Fatal(err)
				}
				if test.unsettled && (unsettled.Transaction == "" || !strings.Contains(err.Error(), "may still be taken")) {
					t.Error(err)
				}
			})
		})
	}
}

func TestStreamsAreReadWhenNoTransactionIsOnItsWay(t *testing.T) {
	const account = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
	for name, test := range map[string]struct {
		pending int
		says    string
	}{"none": {0, ""}, "one that is taken": {3, ""}, "one that is not": {1e6, "try again later"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				chain := &failing{pending: test.pending}
				s, err := New(Config{HTTPClient: &http.Client{Transport: chain}, Chain: params.StreamChain{
					Chain: "AVAX", RPC: "http://chain", Token: account, Agreement: account,
				}})
				if err != nil {
					t.Fatal(err)
				}
				err = s.Quiet(t.Context(), account)
				if (test.says == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), test.says) || err == nil && chain.pending > 0 {
					t.Error(err)
				}
			})
		})
	}
}

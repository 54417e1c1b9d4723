package payg

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/contracts"
	"github.com/aleph-im/aleph-go/devnet/chain"
	"github.com/aleph-im/aleph-go/devnet/chain/chaintest"
	"github.com/aleph-im/aleph-go/params"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// rig is a development chain and the accounts that it has.
type rig struct {
	*Streams
	node           *gate
	sender         *ethereum.Account
	crn, community string
}

// gate stands before the chain's node and can refuse transactions.
type gate struct {
	*httptest.Server
	left atomic.Int32 // transactions that still pass
}

func newRig(t *testing.T) *rig {
	t.Helper()
	c := chaintest.Start(t)
	node := &gate{}
	node.left.Store(1000)
	node.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		_, _ = body.ReadFrom(r.Body)
		if bytes.Contains(body.Bytes(), []byte("eth_sendRawTransaction")) && node.left.Add(-1) < 0 {
			_, _ = w.Write([]byte(`{"error":{"code":-32000,"message":"txpool is full"}}`))
			return
		}
		resp, err := http.Post(c.Endpoint(), "application/json", &body)
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		var answer bytes.Buffer
		_, _ = answer.ReadFrom(resp.Body)
		_, _ = w.Write(answer.Bytes())
	}))
	t.Cleanup(node.Close)
	accounts := chain.Accounts()
	sender, err := ethereum.NewAccount(accounts[1].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Chain: params.StreamChain{
		Chain: "AVAX", ChainID: 31337, RPC: node.URL, Token: chain.TokenAddress.Hex(), Agreement: chain.FlowsAddress.Hex(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	return &rig{s, node, sender, accounts[2].Address.Hex(), accounts[3].Address.Hex()}
}

func (r *rig) flows(t *testing.T, crn, community int64) {
	t.Helper()
	for receiver, want := range map[string]int64{r.crn: crn, r.community: community} {
		if got, err := r.Flow(t.Context(), r.sender.Address(), receiver); err != nil || got.Cmp(big.NewInt(want)) != 0 {
			t.Errorf("stream to %s is %v, %v; want %d", receiver, got, err, want)
		}
	}
}

func TestPlansAreKeptAsEverySDKReadsThem(t *testing.T) {
	plan := Plan{"AVAX", "0x1", []Step{{"0x2", new(big.Int), new(big.Int).Lsh(big.NewInt(1), 90)}}}
	const kept = `{"chain":"AVAX","sender":"0x1","steps":[{"receiver":"0x2","from":"0","to":"1237940039285380274899124224"}]}`
	if raw, err := json.Marshal(plan); err != nil || string(raw) != kept {
		t.Errorf("kept as %s, %v", raw, err)
	}
	for _, text := range []string{kept, `{"chain":"AVAX","sender":"0x1","steps":[{"receiver":"0x2","from":0,"to":1237940039285380274899124224}]}`} {
		var read Plan
		if err := json.Unmarshal([]byte(text), &read); err != nil || read.Steps[0].From.Sign() != 0 || read.Steps[0].To.Cmp(plan.Steps[0].To) != 0 {
			t.Errorf("%s is read as %v, %v", text, read, err)
		}
	}
	for _, text := range []string{`{"steps":[{"from":"x"}]}`, `{"steps":[{"from":1.5}]}`, `{"steps":[{"from":{}}]}`} {
		if err := json.Unmarshal([]byte(text), new(Plan)); err == nil {
			t.Errorf("%s is read", text)
		}
	}
}

func TestStreamsAreOpenedResumedAndEnded(t *testing.T) {
	r := newRig(t)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	shares, err := Shares("0.00001", r.crn, r.community)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := r.Increase(ctx, r.sender.Address(), shares)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Check(ctx, plan); err != nil {
		t.Fatal(err)
	}
	// The chain takes no more after the first of the two streams.
	r.node.left.Store(1)
	if err := r.Apply(ctx, r.sender, plan); err == nil {
		t.Fatal("applied what was refused")
	}
	r.flows(t, 8_000_000_000_000, 0)
	r.node.left.Store(1000)
	kept, err := json.Marshal(plan)
	var again Plan
	if err := errors.Join(err, json.Unmarshal(kept, &again)); err != nil {
		t.Fatal(err)
	}
	if done, err := r.Done(ctx, &again); done || err != nil {
		t.Errorf("done after half: %v, %v", done, err)
	}
	for range 2 { // the second time there is nothing left to do
		if err := r.Apply(ctx, r.sender, &again); err != nil {
			t.Fatal(err)
		}
		r.flows(t, 8_000_000_000_000, 2_000_000_000_000)
	}
	if done, err := r.Done(ctx, &again); !done || err != nil {
		t.Errorf("done: %v, %v", done, err)
	}

	second, err := r.Increase(ctx, r.sender.Address(), shares)
	if err := errors.Join(err, r.Apply(ctx, r.sender, second)); err != nil {
		t.Fatal(err)
	}
	r.flows(t, 16_000_000_000_000, 4_000_000_000_000)
	if err := r.Apply(ctx, r.sender, plan); err == nil || !strings.Contains(err.Error(), "plan anew") {
		t.Errorf("a plan that is overtaken: %v", err)
	}
	if err := r.Apply(ctx, r.sender, second.Reverse()); err != nil {
		t.Fatal(err)
	}
	r.flows(t, 8_000_000_000_000, 2_000_000_000_000)
	// A receiver that is named twice, in any spelling, gets one stream.
	less := []Flow{{r.crn, big.NewInt(3_000_000_000_000)}, {strings.ToLower(r.crn), big.NewInt(5_000_000_000_000 - 50)}, {r.community, big.NewInt(1_000_000_000_000)}}
	end, err := r.Reduce(ctx, r.sender.Address(), less)
	if err == nil && len(end.Steps) != 2 {
		t.Errorf("%d steps for two receivers", len(end.Steps))
	}
	if err := errors.Join(err, r.Apply(ctx, r.sender, end)); err != nil {
		t.Fatal(err)
	}
	r.flows(t, 0, 1_000_000_000_000) // what rounding leaves is ended
}

func TestStreamsAreCheckedBeforeTheyBegin(t *testing.T) {
	r := newRig(t)
	poor, err := ethereum.Generate()
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		sender string
		rate   *big.Int
		unit   string
	}{
		"no gas":         {poor.Address(), big.NewInt(1), client.UnitGas},
		"too few tokens": {r.sender.Address(), new(big.Int).Exp(big.NewInt(10), big.NewInt(24), nil), client.UnitALEPH},
	} {
		plan, err := r.Increase(t.Context(), test.sender, []Flow{{r.crn, test.rate}})
		if err != nil {
			t.Fatal(err)
		}
		var short *client.InsufficientFundsError
		if err := r.Check(t.Context(), plan); !errors.As(err, &short) || short.Unit != test.unit || short.Address != test.sender {
			t.Errorf("%s: %v", name, err)
		}
	}
	plan, err := r.Increase(t.Context(), r.sender.Address(), []Flow{{r.crn, big.NewInt(5)}})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Apply(t.Context(), poor, plan); err == nil {
		t.Error("another account applied the plan")
	}
	r.cfg.Chain.ChainID = 1
	if err := r.Apply(t.Context(), r.sender, plan); err == nil || !strings.Contains(err.Error(), "31337") {
		t.Errorf("the wrong chain: %v", err)
	}
	r.cfg.Chain.ChainID = 31337
	plan.Steps[0].To = big.NewInt(-1)
	if err := r.Apply(t.Context(), r.sender, plan); err == nil {
		t.Error("a negative rate was taken")
	}
	r.agreement = address(chain.SyncAddress)
	if _, err := r.Flow(t.Context(), r.sender.Address(), r.crn); err == nil {
		t.Error("a contract without streams answers")
	}
}

func TestPricesAreSplit(t *testing.T) {
	for _, test := range []struct{ price, node, community string }{
		{"0.00001", "8000000000000", "2000000000000"},
		{"0.000030555555555555", "24444444444444", "6111111111111"},
		{"1", "800000000000000000", "200000000000000000"},
	} {
		flows, err := Shares(test.price, "0xa", "0xb")
		if err != nil || flows[0].Rate.String() != test.node || flows[1].Rate.String() != test.community {
			t.Errorf("%s: %v, %v", test.price, flows, err)
		}
	}
	if flows, err := Shares("1", "0xa", ""); err != nil || len(flows) != 1 || flows[0].Rate.String() != "1000000000000000000" {
		t.Errorf("%v, %v", flows, err)
	}
	for _, bad := range []string{"", "0", "-1", "x"} {
		if _, err := Shares(bad, "0xa", "0xb"); err == nil {
			t.Errorf("%q was split", bad)
		}
	}
}

// The forms are compared with those of Ethereum's own library.
func TestTransactionsAreEncodedAsOthersDo(t *testing.T) {
	key, err := ethereum.FromHex(strings.Repeat("5a", 32))
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, 1, 55, 56, 300} {
		mine := &transaction{
			chainID: big.NewInt(43114), nonce: big.NewInt(int64(size)), tip: big.NewInt(1e9), fee: big.NewInt(3e9), gas: big.NewInt(200_000),
			to: address(common.HexToAddress("0x5FbDB2315678afecb367f032d93F642f64180aa3")), input: bytes.Repeat([]byte{7}, size),
		}
		to := common.Address(mine.to)
		theirs := types.NewTx(&types.DynamicFeeTx{
			ChainID: mine.chainID, Nonce: uint64(size), GasTipCap: mine.tip, GasFeeCap: mine.fee, Gas: 200_000, To: &to, Data: mine.input,
		})
		sig, err := key.SignTransaction(t.Context(), mine.encode(nil))
		if err != nil {
			t.Fatal(err)
		}
		signer := types.LatestSignerForChainID(mine.chainID)
		if got := crypto.Keccak256Hash(mine.encode(nil)); got != signer.Hash(theirs) {
			t.Errorf("%d bytes: what is signed is %s", size, got)
		}
		signed, err := theirs.WithSignature(signer, sig[:])
		if err != nil {
			t.Fatal(err)
		}
		want, err := signed.MarshalBinary()
		if got := mine.encode(&sig); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes: %x, want %x, %v", size, got, want, err)
		}
	}
	receiver := common.HexToAddress("0x5FbDB2315678afecb367f032d93F642f64180aa3")
	want, err := contracts.SetFlowInput(chain.TokenAddress, receiver, big.NewInt(12345))
	if got := encodeCall("setFlow(address,address,int96)", address(chain.TokenAddress), address(receiver), big.NewInt(12345)); err != nil || !bytes.Equal(got, want) {
		t.Errorf("call %x, want %x", got, want)
	}
	// Superfluid's forwarder is called by this selector.
	if got := encodeCall("setFlowrate(address,address,int96)"); hex.EncodeToString(got) != "57e6aa36" {
		t.Errorf("selector %x", got)
	}
}

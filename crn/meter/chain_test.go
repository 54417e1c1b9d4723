package meter

import (
	"context"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/ethclient"

	"github.com/aleph-im/aleph-go/contracts"
	"github.com/aleph-im/aleph-go/devnet/chain"
	"github.com/aleph-im/aleph-go/devnet/chain/chaintest"
	"github.com/aleph-im/aleph-go/params"
)

func TestStreamsAreReadFromAContract(t *testing.T) {
	c := chaintest.Start(t)
	streams, err := NewChains([]params.StreamChain{
		{Chain: "AVAX", RPC: c.Endpoint(), Token: chain.TokenAddress.Hex(), Agreement: chain.FlowsAddress.Hex()},
		{Chain: "BASE", RPC: c.Endpoint(), Token: chain.TokenAddress.Hex(), Agreement: chain.SyncAddress.Hex()},
	})
	if err != nil {
		t.Fatal(err)
	}
	accounts := chain.Accounts()
	sender, receiver := accounts[1], accounts[2].Address
	flow := func(want string) {
		t.Helper()
		if got, err := streams.Flow(t.Context(), "AVAX", sender.Address.Hex(), receiver.Hex()); err != nil || got.Cmp(dec(want)) != 0 {
			t.Errorf("got %v, %v, want %s", got, err, want)
		}
	}
	flow("0")
	for nonce, step := range []struct {
		rate int64 // wei per second
		want string
	}{{8_000_000_000_000, "0.000008"}, {1, "0.000000000000000001"}, {0, "0"}} {
		input, err := contracts.SetFlowInput(chain.TokenAddress, receiver, big.NewInt(step.rate))
		if err != nil {
			t.Fatal(err)
		}
		send(t, c.Endpoint(), sender, uint64(nonce), input)
		flow(step.want)
	}
	if _, err := streams.Flow(t.Context(), "ETH", sender.Address.Hex(), receiver.Hex()); !errors.Is(err, ErrChain) {
		t.Errorf("a chain without streams: %v", err)
	}
	if _, err := streams.Flow(t.Context(), "AVAX", "4zvwRjXUKGfvwnParsHAS3HuSVzV5cA4McphgmoCtajS", receiver.Hex()); !errors.Is(err, ErrAddress) {
		t.Errorf("an address of another chain: %v", err)
	}
	if rate, err := streams.Flow(t.Context(), "BASE", sender.Address.Hex(), receiver.Hex()); err == nil {
		t.Errorf("a contract that keeps no streams says %v", rate)
	}
}

// send makes a transaction to the contract of streams and waits until it is in a block.
func send(t *testing.T, endpoint string, from chain.Account, nonce uint64, input []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	client, err := ethclient.DialContext(ctx, endpoint)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	key, err := crypto.ToECDSA(from.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	id, err := client.ChainID(ctx)
	if err != nil {
		t.Fatal(err)
	}
	tx, err := types.SignNewTx(key, types.LatestSignerForChainID(id), &types.DynamicFeeTx{
		ChainID: id, Nonce: nonce, To: &chain.FlowsAddress, Data: input, Gas: 200_000, GasTipCap: big.NewInt(1e9), GasFeeCap: big.NewInt(100e9),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.SendTransaction(ctx, tx); err != nil {
		t.Fatal(err)
	}
	for {
		receipt, err := client.TransactionReceipt(ctx, tx.Hash())
		switch {
		case err == nil && receipt.Status == types.ReceiptStatusSuccessful:
			return
		case err == nil:
			t.Fatal("the transaction failed")
		case ctx.Err() != nil:
			t.Fatalf("no receipt: %v", err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

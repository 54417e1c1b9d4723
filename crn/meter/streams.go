package meter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/apd/v3"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/ethclient"

	"github.com/aleph-im/aleph-go/contracts"
	"github.com/aleph-im/aleph-go/params"
)

// Why there can be no stream.
var (
	// ErrChain: streams on this chain are not taken.
	ErrChain = errors.New("no streams are taken on this chain")
	// ErrAddress: the address is none of an Ethereum-like chain.
	ErrAddress = errors.New("not an Ethereum address")
)

// flowTimeout bounds a question to a chain.
const flowTimeout = 20 * time.Second

// Chains reads streams from the contract that keeps them on each chain, over JSON-RPC.
type Chains struct {
	chains map[string]streamChain
}

type streamChain struct {
	client           *ethclient.Client
	agreement, token common.Address
}

// NewChains prepares to read; it connects to nothing yet.
func NewChains(chains []params.StreamChain) (*Chains, error) {
	c := &Chains{chains: map[string]streamChain{}}
	for _, s := range chains {
		client, err := ethclient.Dial(s.RPC)
		if err != nil {
			return nil, fmt.Errorf("streams on chain %s: %w", s.Chain, err)
		}
		agreement, err := address(s.Agreement)
		if err != nil {
			return nil, fmt.Errorf("contract of streams on chain %s: %w", s.Chain, err)
		}
		token, err := address(s.Token)
		if err != nil {
			return nil, fmt.Errorf("token of streams on chain %s: %w", s.Chain, err)
		}
		c.chains[s.Chain] = streamChain{client, agreement, token}
	}
	return c, nil
}

// Flow implements [Streams].
func (c *Chains) Flow(ctx context.Context, chain, sender, receiver string) (*apd.Decimal, error) {
	s, ok := c.chains[chain]
	if !ok {
		return nil, fmt.Errorf("%s: %w", chain, ErrChain)
	}
	from, err := address(sender)
	if err != nil {
		return nil, err
	}
	to, err := address(receiver)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, flowTimeout)
	defer cancel()
	rate, err := contracts.FlowRate(ctx, s.client, s.agreement, s.token, from, to)
	if err != nil {
		return nil, fmt.Errorf("stream from %s to %s on chain %s: %w", sender, receiver, chain, err)
	}
	return apd.NewWithBigInt(new(apd.BigInt).SetMathBigInt(rate), -18), nil
}

func address(text string) (common.Address, error) {
	if !common.IsHexAddress(text) {
		return common.Address{}, fmt.Errorf("%q: %w", text, ErrAddress)
	}
	return common.HexToAddress(text), nil
}

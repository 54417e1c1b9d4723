package contracts

import (
	"context"
	"fmt"
	"math/big"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
)

// FlowRate asks the contract that keeps constant flows at what rate sender streams a token to receiver, in wei per second, at
// the newest block. No flow is a rate of zero.
func FlowRate(ctx context.Context, chain ethereum.ContractCaller, agreement, token, sender, receiver common.Address) (*big.Int, error) {
	a, err := Flows()
	if err != nil {
		return nil, err
	}
	input, err := a.ABI.Pack("getFlow", token, sender, receiver)
	if err != nil {
		return nil, fmt.Errorf("encode a call of getFlow: %w", err)
	}
	out, err := chain.CallContract(ctx, ethereum.CallMsg{To: &agreement, Data: input}, nil)
	if err != nil {
		return nil, fmt.Errorf("call getFlow of contract %s: %w", agreement, err)
	}
	values, err := a.ABI.Unpack("getFlow", out)
	if err != nil {
		return nil, fmt.Errorf("decode answer of getFlow of contract %s (is it on this chain?): %w", agreement, err)
	}
	rate, ok := values[1].(*big.Int)
	if !ok {
		return nil, fmt.Errorf("decode answer of getFlow of contract %s: the rate is a %T", agreement, values[1])
	}
	return rate, nil
}

// SetFlowInput encodes a call by which its sender streams a token to receiver at a rate in wei per second.
func SetFlowInput(token, receiver common.Address, rate *big.Int) ([]byte, error) {
	a, err := Flows()
	if err != nil {
		return nil, err
	}
	input, err := a.ABI.Pack("setFlow", token, receiver, rate)
	if err != nil {
		return nil, fmt.Errorf("encode a call of setFlow: %w", err)
	}
	return input, nil
}

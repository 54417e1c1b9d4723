// Package contracts holds the contracts of development networks, their compiled form and what Go programs call of them.
// The artifacts in artifacts/ are committed; `npm run check` shows that they are what the sources compile to.
package contracts

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"math/big"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
)

//go:embed artifacts/AlephToken.json
var tokenArtifact []byte

//go:embed artifacts/AlephSync.json
var syncArtifact []byte

// Artifact is a compiled contract.
type Artifact struct {
	ABI              abi.ABI       `json:"abi"`
	Bytecode         hexutil.Bytes `json:"bytecode"`         // creates the contract
	DeployedBytecode hexutil.Bytes `json:"deployedBytecode"` // what the contract's account holds
}

// Token returns the ALEPH token (p2p.md §4.7).
func Token() (*Artifact, error) { return parse("AlephToken", tokenArtifact) }

// Sync returns the contract that anchors messages (p2p.md §4.8).
func Sync() (*Artifact, error) { return parse("AlephSync", syncArtifact) }

func parse(name string, raw []byte) (*Artifact, error) {
	a := &Artifact{}
	if err := json.Unmarshal(raw, a); err != nil {
		return nil, fmt.Errorf("artifact of contract %s: %w", name, err)
	}
	return a, nil
}

// TransferTopic is the first topic of an ERC-20 Transfer event.
var TransferTopic = common.HexToHash("0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef")

// Transfer is one movement of tokens. A mint comes from the zero address.
type Transfer struct {
	From, To common.Address
	Value    *big.Int // wei
}

// ParseTransfer decodes the log of a Transfer event.
func ParseTransfer(log types.Log) (Transfer, error) {
	if len(log.Topics) != 3 || log.Topics[0] != TransferTopic || len(log.Data) != 32 {
		return Transfer{}, fmt.Errorf("log %d of transaction %s is not an ERC-20 transfer", log.Index, log.TxHash)
	}
	return Transfer{
		From:  common.BytesToAddress(log.Topics[1][:]),
		To:    common.BytesToAddress(log.Topics[2][:]),
		Value: new(big.Int).SetBytes(log.Data),
	}, nil
}

// BalanceOf asks the token what an address holds, in wei, at the newest block.
func BalanceOf(ctx context.Context, chain ethereum.ContractCaller, token, holder common.Address) (*big.Int, error) {
	a, err := Token()
	if err != nil {
		return nil, err
	}
	input, err := a.ABI.Pack("balanceOf", holder)
	if err != nil {
		return nil, fmt.Errorf("encode balanceOf %s: %w", holder, err)
	}
	out, err := chain.CallContract(ctx, ethereum.CallMsg{To: &token, Data: input}, nil)
	if err != nil {
		return nil, fmt.Errorf("balance of %s at token %s: %w", holder, token, err)
	}
	return new(big.Int).SetBytes(out), nil
}

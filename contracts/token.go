package contracts

import (
	"context"
	"fmt"
	"math/big"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
)

// BalanceOf asks the token what an address holds, in wei, at the newest block.
func BalanceOf(ctx context.Context, chain ethereum.ContractCaller, token, holder common.Address) (*big.Int, error) {
	return read[*big.Int](ctx, chain, token, "balanceOf", holder)
}

// TotalSupply asks the token how much of it there is, in wei, at the newest block.
func TotalSupply(ctx context.Context, chain ethereum.ContractCaller, token common.Address) (*big.Int, error) {
	return read[*big.Int](ctx, chain, token, "totalSupply")
}

// Allowance asks the token how much spender may move of what owner holds, in wei, at the newest block.
func Allowance(ctx context.Context, chain ethereum.ContractCaller, token, owner, spender common.Address) (*big.Int, error) {
	return read[*big.Int](ctx, chain, token, "allowance", owner, spender)
}

// Symbol asks the token for its short name.
func Symbol(ctx context.Context, chain ethereum.ContractCaller, token common.Address) (string, error) {
	return read[string](ctx, chain, token, "symbol")
}

// Decimals asks the token how many digits of an amount follow the decimal point; 18 for ALEPH.
func Decimals(ctx context.Context, chain ethereum.ContractCaller, token common.Address) (uint8, error) {
	return read[uint8](ctx, chain, token, "decimals")
}

// read calls a method that returns one value.
func read[T any](ctx context.Context, chain ethereum.ContractCaller, address common.Address, method string, args ...any) (value T, err error) {
	input, err := encode(method, args...)
	if err != nil {
		return value, err
	}
	out, err := chain.CallContract(ctx, ethereum.CallMsg{To: &address, Data: input}, nil)
	if err != nil {
		return value, fmt.Errorf("call %s of token %s: %w", method, address, err)
	}
	if len(out) == 0 {
		return value, fmt.Errorf("call %s of token %s: there is no token at this address; check the address and that the node serves the right chain", method, address)
	}
	a, err := Token()
	if err != nil {
		return value, err
	}
	values, err := a.ABI.Unpack(method, out)
	if err != nil {
		return value, fmt.Errorf("decode answer of %s of token %s: %w", method, address, err)
	}
	value, ok := values[0].(T)
	if !ok {
		return value, fmt.Errorf("decode answer of %s of token %s: it is a %T", method, address, values[0])
	}
	return value, nil
}

// TransferInput is the input of a transaction to the token that gives its sender's tokens, in wei, to an address.
func TransferInput(to common.Address, value *big.Int) ([]byte, error) {
	return encode("transfer", to, value)
}

// MintInput is the input of a transaction to the token that makes new tokens, in wei; only the token's owner may send it.
func MintInput(to common.Address, value *big.Int) ([]byte, error) {
	return encode("mint", to, value)
}

func encode(method string, args ...any) ([]byte, error) {
	a, err := Token()
	if err != nil {
		return nil, err
	}
	input, err := a.ABI.Pack(method, args...)
	if err != nil {
		return nil, fmt.Errorf("encode call of %s%v: %w", method, args, err)
	}
	return input, nil
}

// TransferTopic is the first topic of an ERC-20 Transfer event.
var TransferTopic = common.HexToHash("0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef")

// Transfer is one movement of tokens. A mint comes from the zero address.
type Transfer struct {
	From, To common.Address
	Value    *big.Int    // wei
	Block    uint64      // height of the block that holds the event
	Hash     common.Hash // of that block
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
		Block: log.BlockNumber,
		Hash:  log.BlockHash,
	}, nil
}

// LogReader is the part of an Ethereum node that finds events; ethclient.Client is one.
type LogReader interface {
	FilterLogs(ctx context.Context, query ethereum.FilterQuery) ([]types.Log, error)
}

// FilterTransfers returns the token's transfers in the blocks from first to last, both included, in the chain's order.
// Nodes refuse ranges that are too wide or hold too much.
func FilterTransfers(ctx context.Context, chain LogReader, token common.Address, first, last uint64) ([]Transfer, error) {
	logs, err := chain.FilterLogs(ctx, ethereum.FilterQuery{
		FromBlock: new(big.Int).SetUint64(first), ToBlock: new(big.Int).SetUint64(last),
		Addresses: []common.Address{token}, Topics: [][]common.Hash{{TransferTopic}},
	})
	if err != nil {
		return nil, fmt.Errorf("read transfers of token %s in blocks %d to %d: %w", token, first, last, err)
	}
	transfers := make([]Transfer, 0, len(logs))
	for _, log := range logs {
		if log.Removed {
			continue
		}
		t, err := ParseTransfer(log)
		if err != nil {
			return nil, err
		}
		transfers = append(transfers, t)
	}
	return transfers, nil
}

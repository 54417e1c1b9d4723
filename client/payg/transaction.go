package payg

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"golang.org/x/crypto/sha3"
)

// address of an account or contract.
type address [20]byte

func (a address) String() string { return "0x" + hex.EncodeToString(a[:]) }

func parseAddress(text string) (a address, err error) {
	raw, err := hex.DecodeString(strings.TrimPrefix(text, "0x"))
	if err != nil || len(raw) != len(a) || !strings.HasPrefix(text, "0x") {
		return a, fmt.Errorf("%.80q is no address of an Ethereum-like chain", text)
	}
	return address(raw), nil
}

func keccak(b []byte) []byte {
	h := sha3.NewLegacyKeccak256()
	h.Write(b)
	return h.Sum(nil)
}

// encodeCall writes a call of a contract: the first four bytes of the hash of its signature, and words of 32 bytes.
func encodeCall(signature string, words ...any) []byte {
	b := keccak([]byte(signature))[:4]
	for _, w := range words {
		var word [32]byte
		switch w := w.(type) {
		case address:
			copy(word[12:], w[:])
		case *big.Int:
			w.FillBytes(word[:])
		default:
			panic(fmt.Sprintf("a word of %T", w))
		}
		b = append(b, word[:]...)
	}
	return b
}

// transaction is one with fees of its own (EIP-1559).
type transaction struct {
	chainID, nonce, tip, fee, gas *big.Int
	to                            address
	input                         []byte
}

// encode writes the type and the fields; sig is nil for what is to be signed.
func (t *transaction) encode(sig *[65]byte) []byte {
	var fields []byte
	for _, n := range []*big.Int{t.chainID, t.nonce, t.tip, t.fee, t.gas} {
		fields = appendRLP(fields, n.Bytes())
	}
	fields = appendRLP(fields, t.to[:])
	fields = appendRLP(fields, nil) // no value
	fields = appendRLP(fields, t.input)
	fields = append(fields, 0xc0) // no access list
	if sig != nil {
		for _, n := range [][]byte{sig[64:], sig[:32], sig[32:64]} {
			fields = appendRLP(fields, new(big.Int).SetBytes(n).Bytes())
		}
	}
	return append(appendLength([]byte{2}, 0xc0, len(fields)), fields...)
}

// appendRLP writes a text of bytes in Ethereum's recursive length prefix form.
func appendRLP(dst, b []byte) []byte {
	if len(b) == 1 && b[0] < 0x80 {
		return append(dst, b[0])
	}
	return append(appendLength(dst, 0x80, len(b)), b...)
}

// appendLength writes the head of a text (0x80) or of a list (0xc0).
func appendLength(dst []byte, kind byte, n int) []byte {
	if n < 56 {
		return append(dst, kind+byte(n))
	}
	length := big.NewInt(int64(n)).Bytes()
	return append(append(dst, kind+55+byte(len(length))), length...)
}

// Sender signs transactions. The accounts of package signature/ethereum are such, and those of package wallet.
type Sender interface {
	Address() string
	// SignTransaction returns r, s and the parity for the type and the unsigned fields of a transaction.
	SignTransaction(ctx context.Context, unsigned []byte) ([65]byte, error)
}

// UnsettledError says that a transaction was sent, or may have been, and that nobody knows yet what became of it. It may still be taken:
// what it changes is to be read later before anything is built on it.
type UnsettledError struct {
	Transaction string // hash
	Err         error
}

func (e *UnsettledError) Error() string {
	return fmt.Sprintf("transaction %s may still be taken: %v", e.Transaction, e.Err)
}

func (e *UnsettledError) Unwrap() error { return e.Err }

// send makes a transaction, waits until it is in a block, and returns its hash. The error is an [*UnsettledError] when the transaction may
// still be taken.
func (r *rpc) send(ctx context.Context, by Sender, chainID int64, to address, input []byte) (hash string, err error) {
	from, err := parseAddress(by.Address())
	if err != nil {
		return "", err
	}
	t := &transaction{chainID: big.NewInt(chainID), to: to, input: input}
	draft := map[string]string{"from": from.String(), "to": to.String(), "input": "0x" + hex.EncodeToString(input)}
	if t.gas, err = r.quantity(ctx, "eth_estimateGas", draft); err != nil {
		return "", err
	}
	t.gas.Add(t.gas, new(big.Int).Div(t.gas, big.NewInt(4))) // the state may change until it runs
	if t.nonce, err = r.quantity(ctx, "eth_getTransactionCount", from.String(), "pending"); err != nil {
		return "", err
	}
	if t.tip, err = r.quantity(ctx, "eth_maxPriorityFeePerGas"); err != nil {
		return "", err
	}
	var block struct {
		BaseFee number `json:"baseFeePerGas"`
	}
	if err := r.call(ctx, &block, "eth_getBlockByNumber", "latest", false); err != nil {
		return "", err
	}
	t.fee = new(big.Int).Lsh(&block.BaseFee.Int, 1) // holds while fees double
	t.fee.Add(t.fee, t.tip)
	sig, err := by.SignTransaction(ctx, t.encode(nil))
	if err != nil {
		return "", err
	}
	raw := t.encode(&sig)
	hash = "0x" + hex.EncodeToString(keccak(raw)) // known without the answer, which may be lost
	var told string
	err = r.call(ctx, &told, "eth_sendRawTransaction", "0x"+hex.EncodeToString(raw))
	if refused := new(rpcError); errors.As(err, &refused) && !r.knows(ctx, hash) {
		return hash, err
	}
	return hash, r.await(ctx, hash, err)
}

// knows reports whether a transaction is known to the chain's node. One that was sent twice on its way is refused the second time.
func (r *rpc) knows(ctx context.Context, hash string) bool {
	var found *struct{}
	return r.call(ctx, &found, "eth_getTransactionByHash", hash) == nil && found != nil
}

var errReverted = errors.New("the contract refused it")

const (
	awaitTime  = 2 * time.Minute  // for a transaction to be in a block
	settleTime = 15 * time.Second // for a change to be seen by all nodes that answer for a chain
)

// await returns when a transaction is in a block and did what it should. A question that fails is asked again; last is what failed before.
func (r *rpc) await(ctx context.Context, hash string, last error) error {
	ctx, cancel := context.WithTimeout(ctx, awaitTime)
	defer cancel()
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		var receipt *struct {
			Status number `json:"status"`
		}
		err := r.call(ctx, &receipt, "eth_getTransactionReceipt", hash)
		switch {
		case err == nil && receipt != nil && receipt.Status.Sign() == 0:
			return errReverted
		case err == nil && receipt != nil:
			return nil
		case err != nil && ctx.Err() == nil:
			last = err
		}
		if ended := wait(ctx, pause); ended != nil {
			return &UnsettledError{hash, errors.Join(fmt.Errorf("it is in no block yet: %w", ended), last)}
		}
	}
}

// Pauses between two questions; each is twice as long as the one before.
const (
	firstPause = 50 * time.Millisecond
	maxPause   = 2 * time.Second
)

func wait(ctx context.Context, pause time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(pause):
		return nil
	}
}

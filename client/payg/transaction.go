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

// encodeCall writes a call of a contract: the first four bytes of the hash of its signature, and words of 32 bytes.
func encodeCall(signature string, words ...any) []byte {
	h := sha3.NewLegacyKeccak256()
	h.Write([]byte(signature))
	b := h.Sum(nil)[:4]
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

// send makes a transaction and waits until it is in a block. It returns its hash too when it fails after that.
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
	if err := r.call(ctx, &hash, "eth_sendRawTransaction", "0x"+hex.EncodeToString(t.encode(&sig))); err != nil {
		return "", err
	}
	return hash, r.await(ctx, hash)
}

var errReverted = errors.New("the contract refused it")

// await returns when a transaction is in a block and did what it should.
func (r *rpc) await(ctx context.Context, hash string) error {
	pause := 50 * time.Millisecond
	for {
		var receipt *struct {
			Status number `json:"status"`
		}
		if err := r.call(ctx, &receipt, "eth_getTransactionReceipt", hash); err != nil {
			return err
		}
		switch {
		case receipt != nil && receipt.Status.Sign() == 0:
			return errReverted
		case receipt != nil:
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("transaction %s is in no block yet: %w", hash, ctx.Err())
		case <-time.After(pause):
		}
		pause = min(2*pause, 2*time.Second)
	}
}

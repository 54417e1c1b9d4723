package payg

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"time"
)

const (
	rpcTimeout = 20 * time.Second // of one call
	rpcAnswer  = 4 << 20          // bytes
)

// rpc speaks JSON-RPC with a node of a chain: the few calls that streams need.
type rpc struct {
	url  string
	http *http.Client
}

// rpcError is a refusal by the node. Data is what a contract reverted with, if anything.
type rpcError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Data    any    `json:"data"`
}

func (e *rpcError) Error() string { return e.Message }

// call makes one call and reads its result into dst.
func (r *rpc) call(ctx context.Context, dst any, method string, params ...any) error {
	if params == nil {
		params = []any{}
	}
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	ctx, cancel := context.WithTimeout(ctx, rpcTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := r.http.Do(req)
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, rpcAnswer))
	if err != nil {
		return fmt.Errorf("%s: read the answer: %w", method, err)
	}
	var reply struct {
		Result json.RawMessage `json:"result"`
		Error  *rpcError       `json:"error"`
	}
	if err := json.Unmarshal(raw, &reply); err != nil {
		return fmt.Errorf("%s: the chain's node answered %d with what is no JSON: %w", method, resp.StatusCode, err)
	}
	if reply.Error != nil {
		return fmt.Errorf("%s: %w", method, reply.Error)
	}
	if err := json.Unmarshal(reply.Result, dst); err != nil {
		return fmt.Errorf("%s: the answer is not what was expected: %w", method, err)
	}
	return nil
}

// quantity makes a call whose result is a number.
func (r *rpc) quantity(ctx context.Context, method string, params ...any) (*big.Int, error) {
	var n number
	err := r.call(ctx, &n, method, params...)
	return &n.Int, err
}

// number is an integer in hex, as JSON-RPC of Ethereum has them.
type number struct{ big.Int }

// UnmarshalJSON implements [json.Unmarshaler].
func (n *number) UnmarshalJSON(raw []byte) error {
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return err
	}
	digits, ok := strings.CutPrefix(text, "0x")
	if _, valid := n.SetString(digits, 16); !ok || !valid || len(digits) > 64 {
		return fmt.Errorf("%.80q is no number", text)
	}
	return nil
}

// contract reads from a contract at the newest block, and returns its answer in words of 32 bytes.
func (r *rpc) contract(ctx context.Context, to address, input []byte) ([]*big.Int, error) {
	var text string
	if err := r.call(ctx, &text, "eth_call", map[string]string{"to": to.String(), "input": "0x" + hex.EncodeToString(input)}, "latest"); err != nil {
		return nil, err
	}
	raw, err := hex.DecodeString(strings.TrimPrefix(text, "0x"))
	if err != nil || len(raw)%32 != 0 {
		return nil, errors.New("the contract's answer is not made of words")
	}
	if len(raw) == 0 {
		return nil, fmt.Errorf("there is no contract at %s; check the address, and that the node is of the right chain", to)
	}
	words := make([]*big.Int, len(raw)/32)
	for i := range words {
		words[i] = new(big.Int).SetBytes(raw[32*i : 32*i+32])
	}
	return words, nil
}

package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"strings"

	"github.com/aleph-im/aleph-go/message"
)

// Balance is what an address holds. Tokens are in ALEPH; Exact keeps the digits that a float64 loses.
type Balance struct {
	Address string
	Balance float64            // on all chains
	Details map[string]float64 // by chain
	Locked  float64            // held for what the address uses
	Credits int64
	Exact   struct{ Balance, Locked json.Number }
}

// UnmarshalJSON reads the answer of ccn-api §10.1.
func (b *Balance) UnmarshalJSON(raw []byte) error {
	var v struct {
		Address string             `json:"address"`
		Balance json.Number        `json:"balance"`
		Details map[string]float64 `json:"details"`
		Locked  json.Number        `json:"locked_amount"`
		Credits int64              `json:"credit_balance"`
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		return err
	}
	*b = Balance{Address: v.Address, Details: v.Details, Credits: v.Credits}
	b.Exact.Balance, b.Exact.Locked = v.Balance, v.Locked
	var bad, worse error
	b.Balance, bad = v.Balance.Float64()
	b.Locked, worse = v.Locked.Float64()
	return errors.Join(bad, worse)
}

// Balance returns what address holds; one that the node never heard of holds nothing.
func (c *Client) Balance(ctx context.Context, address string) (*Balance, error) {
	b := &Balance{}
	if err := c.get(ctx, "/api/v0/addresses/"+url.PathEscape(address)+"/balance", nil, b); err != nil {
		return nil, fmt.Errorf("balance of %s: %w", address, err)
	}
	return b, nil
}

// Cost is what a resource costs in the way it is paid: ALEPH to hold, ALEPH a second, or credits a second.
type Cost struct {
	Required float64             `json:"required_tokens"` // Cost as a float
	Payment  message.PaymentType `json:"payment_type"`
	Cost     string              `json:"cost"` // 18 decimals
	Charged  string              `json:"charged_address"`
	Detail   []CostDetail        `json:"detail"`
}

// CostDetail is one line of a [Cost], in the three ways to pay.
type CostDetail struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Hold    string   `json:"cost_hold"`
	Stream  string   `json:"cost_stream"`
	Credit  string   `json:"cost_credit"`
	SizeMiB *float64 `json:"size_mib"`
}

// Totals are the sums of a cost in each way to pay, as decimals: ALEPH to hold, ALEPH a second, credits a second.
type Totals struct{ Hold, Stream, Credit string }

// Totals adds up what a resource would cost in each way to pay, whichever its owner chose.
func (c *Cost) Totals() (Totals, error) {
	var hold, stream, credit big.Rat
	for _, d := range c.Detail {
		for sum, text := range map[*big.Rat]string{&hold: d.Hold, &stream: d.Stream, &credit: d.Credit} {
			v, ok := new(big.Rat).SetString(text)
			if !ok {
				return Totals{}, fmt.Errorf("the node's price %q of %s is not a number", text, d.Name)
			}
			sum.Add(sum, v)
		}
	}
	return Totals{decimal(&hold), decimal(&stream), decimal(&credit)}, nil
}

// Price returns what a processed message costs.
func (c *Client) Price(ctx context.Context, hash message.Hash) (*Cost, error) {
	cost := &Cost{}
	if err := c.get(ctx, "/api/v0/price/"+url.PathEscape(string(hash)), nil, cost); err != nil {
		return nil, fmt.Errorf("price of %s: %w", hash, err)
	}
	return cost, nil
}

// EstimatePrice returns what a content of type t would cost owner. content is a JSON object and may carry the members
// estimated_size_mib of ccn-api §11.3 in place of files that are not stored yet. It needs no signature.
func (c *Client) EstimatePrice(ctx context.Context, owner string, chain message.Chain, t message.Type, content json.RawMessage) (*Cost, error) {
	envelope := map[string]any{
		"type": t, "item_type": message.ItemInline, "item_content": string(content), "item_hash": message.HashBytes(content),
		"sender": owner, "chain": chain, "signature": "0x", "time": 0,
	}
	cost := &Cost{}
	if err := c.post(ctx, "/api/v0/price/estimate", map[string]any{"message": envelope}, cost); err != nil {
		return nil, fmt.Errorf("estimate the price: %w", err)
	}
	return cost, nil
}

// EnoughFor compares costs, paid from one account, with what its balance leaves free, and returns an
// [*InsufficientFundsError] when it is too little. Streams are not judged: they are paid on chain.
func (b *Balance) EnoughFor(costs ...*Cost) error {
	hold, credit := new(big.Rat), new(big.Rat)
	for _, c := range costs {
		v, ok := new(big.Rat).SetString(c.Cost)
		if !ok {
			return fmt.Errorf("the node's price %q is not a number", c.Cost)
		}
		switch c.Payment {
		case message.PaymentHold:
			hold.Add(hold, v)
		case message.PaymentCredit:
			credit.Add(credit, v.Mul(v, big.NewRat(86400, 1))) // a day must be covered
		}
	}
	total, ok := new(big.Rat).SetString(b.Exact.Balance.String())
	locked, ok2 := new(big.Rat).SetString(b.Exact.Locked.String())
	if !ok || !ok2 {
		return fmt.Errorf("the node's balance %q, %q locked, is not a number", b.Exact.Balance, b.Exact.Locked)
	}
	free := total.Sub(total, locked)
	if hold.Cmp(free) > 0 && hold.Sign() > 0 {
		return &InsufficientFundsError{Address: b.Address, Required: decimal(hold), Available: decimal(free), Unit: UnitALEPH}
	}
	if have := new(big.Rat).SetInt64(b.Credits); credit.Cmp(have) > 0 {
		whole := new(big.Int).Add(credit.Num(), new(big.Int).Sub(credit.Denom(), big.NewInt(1))) // there are no parts of a credit
		whole.Div(whole, credit.Denom())
		return &InsufficientFundsError{Address: b.Address, Required: whole.String(), Available: decimal(have), Unit: UnitCredits}
	}
	return nil
}

// decimal writes v with at most 18 decimals and no zeros at the end.
func decimal(v *big.Rat) string {
	s := v.FloatString(18)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// CheckFunds returns an [*InsufficientFundsError] when address cannot pay for the file of size bytes that store keeps.
func (c *Client) CheckFunds(ctx context.Context, address string, store *message.Message, size int64) error {
	var content map[string]any
	if err := json.Unmarshal([]byte(store.ItemContent), &content); err != nil {
		return fmt.Errorf("content of %s: %w", store.ItemHash, err)
	}
	content["estimated_size_mib"] = float64(size) / (1 << 20)
	raw, err := json.Marshal(content)
	if err != nil {
		return fmt.Errorf("content of %s: %w", store.ItemHash, err)
	}
	cost, err := c.EstimatePrice(ctx, address, store.Chain, message.TypeStore, raw)
	if err != nil {
		return err
	}
	balance, err := c.Balance(ctx, address)
	if err != nil {
		return err
	}
	return balance.EnoughFor(cost)
}

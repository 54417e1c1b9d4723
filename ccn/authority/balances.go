package authority

import (
	"encoding/json"
	"math/big"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
	"github.com/aleph-im/aleph-go/registry"
)

// Rules converts network parameters into the rules of the registry.
func Rules(p *params.Network) registry.Params {
	return registry.Params{
		CoreThreshold:  registry.ALEPH(p.Nodes.CoreThreshold),
		StakeThreshold: registry.ALEPH(p.Nodes.StakeThreshold),
		Activation:     registry.ALEPH(p.Nodes.Activation),
		MaxLinked:      p.Nodes.MaxLinked,
		OperationType:  p.Nodes.OperationType,
		Tag:            p.Nodes.Tag,
		BonusEnd:       p.Nodes.BonusEndHeight,
		RemovalHeight:  p.Nodes.RemovalHeight,
		RemovalAfter:   p.Nodes.RemovalDays * p.Nodes.BlocksPerDay,
	}
}

// heights follows the height of the ordering chain as balance posts tell it.
type heights struct{ last int64 }

// balances converts the content of a balances-update post (spec/corechannel.md §9.1). Only balances on Ethereum count for
// nodes and stakes, and a post that is not newer than the last one says nothing.
func (h *heights) balances(content json.RawMessage) (registry.Balances, bool) {
	var update struct {
		MainHeight int64                  `json:"main_height"`
		Chain      message.Chain          `json:"chain"`
		Platform   string                 `json:"platform"`
		Balances   map[string]json.Number `json:"balances"`
	}
	if err := json.Unmarshal(content, &update); err != nil || update.Chain != message.ChainETH || update.MainHeight < h.last {
		return registry.Balances{}, false
	}
	h.last = update.MainHeight
	amounts := make(map[string]*big.Int, len(update.Balances))
	for address, text := range update.Balances {
		if wei, ok := toWei(text.String()); ok {
			amounts[address] = wei
		}
	}
	return registry.Balances{Height: h.last, Platform: update.Platform, Amounts: amounts, Partial: true}, true
}

// toWei converts a decimal amount of ALEPH exactly; what is below one wei is dropped.
func toWei(text string) (*big.Int, bool) {
	amount, ok := new(big.Rat).SetString(text)
	if !ok {
		return nil, false
	}
	amount.Mul(amount, new(big.Rat).SetInt(registry.ALEPH(1)))
	return new(big.Int).Quo(amount.Num(), amount.Denom()), true
}

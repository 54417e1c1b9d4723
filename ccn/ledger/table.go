package ledger

import (
	"encoding/json"
	"fmt"

	"github.com/cockroachdb/apd/v3"

	"github.com/aleph-im/aleph-go/params"
)

// Table is what every product costs, ready to compute with.
type Table struct {
	products map[params.Product]*product
	gpus     []params.GPU
}

type product struct {
	name    params.Product
	storage amounts // per MiB
	unit    amounts // per compute unit
	shape   params.UnitShape
	shaped  bool // the definition of a compute unit is known
	tiers   []params.Tier
}

// amounts is a cost in the three ways to pay; stream and credit are per second.
type amounts struct{ hold, stream, credit *apd.Decimal }

// NewTable reads the price table of a network. pricing and settings are the contents of the aggregates of the same names;
// nil when they do not exist (spec/ccn-core.md §5.1).
func NewTable(p *params.Network, pricing, settings []byte) (*Table, error) {
	t := &Table{products: map[params.Product]*product{}, gpus: p.GPUs}
	prices := p.Prices
	if pricing != nil {
		var err error
		if prices, err = readPricing(pricing); err != nil {
			return nil, fmt.Errorf("read pricing aggregate: %w", err)
		}
	}
	if settings != nil {
		var s struct {
			GPUs []params.GPU `json:"compatible_gpus"`
		}
		if err := json.Unmarshal(settings, &s); err != nil {
			return nil, fmt.Errorf("read settings aggregate: %w", err)
		}
		if s.GPUs != nil {
			t.gpus = s.GPUs
		}
	}
	for _, price := range prices {
		var c calculator
		read := func(a params.Amounts) amounts {
			return amounts{c.amount(a.Holding), c.perSecond(c.amount(a.PAYG)), c.perSecond(c.amount(a.Credit))}
		}
		entry := &product{name: price.Product, storage: read(price.Storage), tiers: price.Tiers}
		entry.shape = params.UnitShape{VCPUs: 1, MemoryMiB: 2048, DiskMiB: 2048}
		var unit params.Amounts
		if price.Unit != nil && len(price.Tiers) > 0 {
			entry.shape, entry.shaped = *price.Unit, true
		}
		if price.Unit != nil && price.ComputeUnit != nil {
			unit = *price.ComputeUnit
		}
		entry.unit = read(unit)
		if c.err != nil {
			return nil, fmt.Errorf("price of %s: %w", price.Product, c.err)
		}
		if entry.shape.MemoryMiB <= 0 {
			return nil, fmt.Errorf("price of %s: a compute unit has %d MiB of memory", price.Product, entry.shape.MemoryMiB)
		}
		t.products[price.Product] = entry
	}
	return t, nil
}

// decimalText is a decimal that publishers write as a string or as a number.
type decimalText string

func (d *decimalText) UnmarshalJSON(raw []byte) error {
	if len(raw) > 0 && raw[0] == '"' {
		return json.Unmarshal(raw, (*string)(d))
	}
	if string(raw) != "null" {
		*d = decimalText(raw)
	}
	return nil
}

// readPricing reads the shape of the aggregate. Members that are not products with a price are ignored.
func readPricing(raw []byte) ([]params.Price, error) {
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, err
	}
	type wire struct {
		PAYG    decimalText `json:"payg"`
		Holding decimalText `json:"holding"`
		Credit  decimalText `json:"credit"`
	}
	var prices []params.Price
	for name, member := range doc {
		var p struct {
			Price struct {
				Storage     json.RawMessage `json:"storage"`
				ComputeUnit json.RawMessage `json:"compute_unit"`
			} `json:"price"`
			Tiers []struct {
				ID           string `json:"id"`
				ComputeUnits int64  `json:"compute_units"`
				Model        string `json:"model"`
				VRAM         int64  `json:"vram"`
			} `json:"tiers"`
			Unit *params.UnitShape `json:"compute_unit"`
		}
		if err := json.Unmarshal(member, &p); err != nil {
			continue
		}
		price := params.Price{Product: params.Product(name), Unit: p.Unit}
		for _, tier := range p.Tiers {
			price.Tiers = append(price.Tiers, params.Tier(tier))
		}
		var w wire
		if p.Price.Storage != nil && json.Unmarshal(p.Price.Storage, &w) == nil {
			price.Storage = params.Amounts{Holding: string(w.Holding), PAYG: string(w.PAYG), Credit: string(w.Credit)}
		}
		w = wire{}
		if p.Price.ComputeUnit != nil && json.Unmarshal(p.Price.ComputeUnit, &w) == nil {
			price.ComputeUnit = &params.Amounts{Holding: string(w.Holding), PAYG: string(w.PAYG), Credit: string(w.Credit)}
		}
		prices = append(prices, price)
	}
	return prices, nil
}

func (t *Table) product(name params.Product) (*product, error) {
	p := t.products[name]
	if p == nil {
		return nil, fmt.Errorf("the price table has no product %q", name)
	}
	return p, nil
}

// model returns what a PCI device is sold as.
func (t *Table) model(device string) (string, error) {
	for _, gpu := range t.gpus {
		if gpu.DeviceID == device {
			return gpu.Model, nil
		}
	}
	return "", fmt.Errorf("GPU device %q is not offered on this network", device)
}

// gpuUnits returns the compute units of a model in a product, 0 when it has no tier for it.
func (p *product) gpuUnits(model string) int64 {
	for _, tier := range p.tiers {
		if tier.Model == model {
			return tier.ComputeUnits
		}
	}
	return 0
}

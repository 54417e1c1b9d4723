package state

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strconv"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// Kinds of nodes that are measured.
const (
	KindCore    = "ccn"
	KindCompute = "crn"
)

// Quantity is something that is measured of a node.
type Quantity struct {
	Name  string
	Whole bool // counted, not timed in seconds
}

var coreQuantities = [...]Quantity{
	{Name: "base_latency"}, {Name: "base_latency_ipv4"}, {Name: "metrics_latency"}, {Name: "aggregate_latency"},
	{Name: "file_download_latency"}, {Name: "pending_messages", Whole: true}, {Name: "eth_height_remaining", Whole: true},
}

var computeQuantities = [...]Quantity{
	{Name: "base_latency"}, {Name: "base_latency_ipv4"}, {Name: "full_check_latency"}, {Name: "diagnostic_vm_latency"},
}

// Quantities lists what is measured of a kind of nodes, in the order of store.NodeMetricRow.
func Quantities(kind string) []Quantity {
	if kind == KindCore {
		return coreQuantities[:]
	}
	return computeQuantities[:]
}

// measurements reads a POST of the network's scoring; nil when it is something else (spec/ccn-core.md §11.3). Entries that
// make no sense are passed over.
func (s *State) measurements(it *Item, c *message.Post) []store.NodeMetricRow {
	p := s.params.Scores
	channel := ""
	if it.Message.Channel != nil {
		channel = *it.Message.Channel
	}
	if !p.Trusts(c.Address) || !slices.Contains(p.PostTypes, c.PostType) || len(p.Channels) > 0 && !slices.Contains(p.Channels, channel) {
		return nil
	}
	var content struct {
		Metrics struct {
			Core    []json.RawMessage `json:"ccn"`
			Compute []json.RawMessage `json:"crn"`
		} `json:"metrics"`
	}
	if json.Unmarshal(c.Content, &content) != nil {
		return nil
	}
	var list []store.NodeMetricRow
	for kind, entries := range map[string][]json.RawMessage{KindCore: content.Metrics.Core, KindCompute: content.Metrics.Compute} {
		for i, raw := range entries {
			if row, ok := measurement(kind, raw); ok {
				row.Message, row.Entry = it.Message.ItemHash, i
				list = append(list, row)
			}
		}
	}
	return list
}

func measurement(kind string, raw json.RawMessage) (row store.NodeMetricRow, ok bool) {
	var entry map[string]json.RawMessage
	if json.Unmarshal(raw, &entry) != nil {
		return row, false
	}
	at := readQuantity(entry["measured_at"], false)
	if json.Unmarshal(entry["node_id"], &row.NodeID) != nil || row.NodeID == "" || at == nil || *at < 0 || *at >= 253402300800 {
		return row, false
	}
	row.Kind, row.MeasuredAt = kind, message.TimeFromSeconds(*at)
	for _, q := range Quantities(kind) {
		row.Values = append(row.Values, readQuantity(entry[q.Name], q.Whole))
	}
	return row, true
}

// readQuantity reads a number that may be written as a text; nil when it is none.
func readQuantity(raw json.RawMessage, whole bool) *float64 {
	text := string(bytes.Trim(raw, `"`))
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(v, 0) || math.IsNaN(v) {
		return nil
	}
	if whole && (v != math.Trunc(v) || math.Abs(v) > 1<<53) {
		return nil
	}
	return &v
}

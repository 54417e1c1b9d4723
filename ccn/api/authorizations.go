package api

import (
	"encoding/json"
	"net/http"
	"slices"

	"github.com/aleph-im/aleph-go/ccn/store"
)

func (a *API) authorizationRoutes() routes {
	return routes{
		"GET /api/v0/authorizations/granted/{address}.json":  inJSON(a.granted),
		"GET /api/v0/authorizations/received/{address}.json": inJSON(a.received),
	}
}

// securityKey is the key of the aggregate in which addresses say who may act for them.
const securityKey = "security"

// grantFilter chooses entries of security aggregates. An entry that restricts nothing passes every list.
type grantFilter struct {
	other                                             string // "" for any
	types, channels, postTypes, aggregateKeys, chains []string
}

func (a *arguments) grantFilter(other string) grantFilter {
	f := grantFilter{
		types: a.list("types"), channels: a.list("channels"), postTypes: a.list("postTypes", "post_types"),
		aggregateKeys: a.list("aggregateKeys", "aggregate_keys"), chains: a.list("chains"),
	}
	f.other, _ = a.text(other)
	return f
}

// grantEntry is one entry as it is stored, with the parts that are filtered by.
type grantEntry struct {
	address string
	shown   json.RawMessage // without its address
	entry   struct {
		Chain         string   `json:"chain"`
		Channels      []string `json:"channels"`
		Types         []string `json:"types"`
		PostTypes     []string `json:"post_types"`
		AggregateKeys []string `json:"aggregate_keys"`
	}
}

func (f *grantFilter) passes(g *grantEntry) bool {
	meets := func(wanted, own []string) bool {
		return wanted == nil || len(own) == 0 || slices.ContainsFunc(own, func(v string) bool { return slices.Contains(wanted, v) })
	}
	return meets(f.types, g.entry.Types) && meets(f.channels, g.entry.Channels) && meets(f.postTypes, g.entry.PostTypes) &&
		meets(f.aggregateKeys, g.entry.AggregateKeys) && (f.chains == nil || g.entry.Chain == "" || slices.Contains(f.chains, g.entry.Chain))
}

// grantsIn reads the entries of a security aggregate. What is no entry is left out, as it grants nothing.
func grantsIn(content []byte) []grantEntry {
	var doc struct {
		Authorizations []json.RawMessage `json:"authorizations"`
	}
	if json.Unmarshal(content, &doc) != nil {
		return nil
	}
	var list []grantEntry
	for _, raw := range doc.Authorizations {
		var g grantEntry
		var members map[string]json.RawMessage
		if json.Unmarshal(raw, &members) != nil || json.Unmarshal(raw, &g.entry) != nil || json.Unmarshal(members["address"], &g.address) != nil {
			continue
		}
		delete(members, "address")
		shown, err := json.Marshal(members)
		if err != nil {
			continue
		}
		g.shown = shown
		list = append(list, g)
	}
	return list
}

// granted shows whom an address lets act for it (ccn-api §7).
func (a *API) granted(w http.ResponseWriter, r *http.Request, q *arguments) error {
	address := r.PathValue("address")
	return a.replyGrants(w, r, q, address, "grantee", func(rd *store.Reader, f *grantFilter, add func(string, *grantEntry)) error {
		row, err := rd.Aggregate(address, securityKey)
		if err != nil || row == nil {
			return err
		}
		for _, g := range grantsIn(row.Content) {
			if f.other == "" || f.other == g.address {
				add(g.address, &g)
			}
		}
		return nil
	})
}

// received shows for whom an address may act (ccn-api §7).
func (a *API) received(w http.ResponseWriter, r *http.Request, q *arguments) error {
	address := r.PathValue("address")
	return a.replyGrants(w, r, q, address, "granter", func(rd *store.Reader, f *grantFilter, add func(string, *grantEntry)) error {
		filter := store.AggregateFilter{Keys: []string{securityKey}}
		if f.other != "" {
			filter.Owners = []string{f.other}
		}
		rows, err := rd.ListAggregates(filter)
		if err != nil {
			return err
		}
		slices.SortFunc(rows, func(a, b store.AggregateRow) int { return compareText(a.Owner, b.Owner) })
		for i := range rows {
			for _, g := range grantsIn(rows[i].Content) {
				if g.address == address {
					add(rows[i].Owner, &g)
				}
			}
		}
		return nil
	})
}

func compareText(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (a *API) replyGrants(w http.ResponseWriter, r *http.Request, q *arguments, address, other string,
	read func(*store.Reader, *grantFilter, func(string, *grantEntry)) error,
) error {
	f := q.grantFilter(other)
	p := q.page(defaultPage, 1, 500)
	if q.err != nil {
		return q.err
	}
	var order []string
	entries := map[string][]json.RawMessage{}
	err := a.cfg.Store.Read(r.Context(), func(rd *store.Reader) error {
		return read(rd, &f, func(who string, g *grantEntry) {
			if !f.passes(g) {
				return
			}
			if entries[who] == nil {
				order = append(order, who)
			}
			entries[who] = append(entries[who], g.shown)
		})
	})
	if err != nil {
		return err
	}
	total := int64(len(order))
	from := min(p.offset(), total)
	raw := []byte(`{"authorizations":{`)
	for i, who := range order[from:min(from+p.size, total)] {
		if i > 0 {
			raw = append(raw, ',')
		}
		raw = append(appendText(raw, who), ":["...)
		for j, entry := range entries[who] {
			if j > 0 {
				raw = append(raw, ',')
			}
			raw = append(raw, entry...)
		}
		raw = append(raw, ']')
	}
	raw = append(raw, `},"address":`...)
	return replyRaw(w, p.appendPage(appendText(raw, address), "authorizations", total, ""))
}

package api

import (
	"errors"
	"net/http"
	"strings"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

func (a *API) aggregateRoutes() routes {
	return routes{
		"GET /api/v0/aggregates/{address}.json": inJSON(a.getAggregates),
		"GET /api/v0/aggregates":                inJSON(a.listAggregates),
		"GET /api/v0/aggregates.json":           inJSON(a.listAggregates),
	}
}

// inJSON marks the problems of parameters as the JSON that they are; only few routes do (ccn-api §1.5).
func inJSON(h query) query {
	return func(w http.ResponseWriter, r *http.Request, q *arguments) error {
		err := h(w, r, q)
		var f *fault
		if errors.As(err, &f) && strings.HasPrefix(f.text, "[") {
			return &fault{status: f.status, text: f.text, json: true}
		}
		return err
	}
}

// isoTime writes Unix seconds with an offset, as the answers do that are not made from models (ccn-api §1.7, J4).
func isoTime(seconds float64) string {
	return strings.TrimSuffix(message.TimeFromSeconds(seconds).RFC3339(), "Z") + "+00:00"
}

// getAggregates shows what an address published under its keys (ccn-api §6.1).
func (a *API) getAggregates(w http.ResponseWriter, r *http.Request, q *arguments) error {
	address := r.PathValue("address")
	q.integer(1000, -maxInt, maxInt, "limit")
	withInfo, valueOnly := q.isTrue("with_info"), q.isTrue("value_only")
	keys := q.list("keys")
	if q.err != nil {
		return q.err
	}
	var rows []store.AggregateRow
	err := a.cfg.Store.Read(r.Context(), func(rd *store.Reader) (err error) {
		rows, err = rd.Aggregates(address, keys)
		return err
	})
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		return refuse(http.StatusNotFound, "No aggregate found for this address")
	}
	if valueOnly && len(keys) == 1 {
		return replyRaw(w, rows[0].Content)
	}
	raw := appendText([]byte(`{"address":`), address)
	raw = append(raw, `,"data":{`...)
	for i := range rows {
		if i > 0 {
			raw = append(raw, ',')
		}
		raw = append(appendText(raw, rows[i].Key), ':')
		raw = append(raw, rows[i].Content...)
	}
	raw = append(raw, `},"info":{`...)
	for i := range rows {
		if !withInfo {
			break
		}
		if i > 0 {
			raw = append(raw, ',')
		}
		row := &rows[i]
		raw = appendText(append(appendText(raw, row.Key), `:{"created":`...), isoTime(row.Created))
		raw = appendText(append(raw, `,"last_updated":`...), isoTime(row.LastUpdated))
		raw = appendText(append(raw, `,"original_item_hash":`...), row.LastRevision) // of the last one too: clients see it so
		raw = append(appendText(append(raw, `,"last_update_item_hash":`...), row.LastRevision), '}')
	}
	return replyRaw(w, append(raw, "}}"...))
}

// listAggregates lists the documents of all addresses (ccn-api §6.2).
func (a *API) listAggregates(w http.ResponseWriter, r *http.Request, q *arguments) error {
	f := store.AggregateFilter{
		Owners: q.list("addresses"), Keys: q.list("keys"), Descending: !q.ascending("sortOrder"),
		ByCreation: q.choice("last_modified", []string{"last_modified", "creation_time"}, "sortBy") == "creation_time",
	}
	p := q.paging(defaultPage, 1, 500)
	if q.err != nil {
		return q.err
	}
	f.Limit, f.Offset = p.limit(), p.offset()
	if p.after != "" {
		var c struct {
			Key   *string `json:"k"`
			Owner *string `json:"o"`
			Time  string  `json:"t"`
		}
		err := readPosition(p.after, &c)
		var t message.Time
		if err == nil {
			t, err = readPositionTime(c.Time)
		}
		if err == nil && (c.Key == nil || c.Owner == nil) {
			err = refuse(http.StatusUnprocessableEntity, "Invalid cursor: want key and owner")
		}
		if err != nil {
			return err
		}
		f.AfterTime, f.AfterKey, f.AfterOwner = t.Seconds(), *c.Key, *c.Owner
	}
	rows, more, total, err := readPage(r.Context(), a, p, func(rd *store.Reader) ([]store.AggregateRow, error) { return rd.ListAggregates(f) }, counted{
		count: func(rd *store.Reader, _ int) (int64, error) { return rd.CountAggregates(f) },
	})
	if err != nil {
		return err
	}
	next := ""
	if more {
		last := &rows[len(rows)-1]
		t := last.LastUpdated
		if f.ByCreation {
			t = last.Created
		}
		next = position(map[string]any{"k": last.Key, "o": last.Owner, "t": positionTime(message.TimeFromSeconds(t))})
	}
	raw := []byte(`{"aggregates":[`)
	for i := range rows {
		if i > 0 {
			raw = append(raw, ',')
		}
		row := &rows[i]
		raw = appendText(append(raw, `{"address":`...), row.Owner)
		raw = appendText(append(raw, `,"key":`...), row.Key)
		raw = append(append(raw, `,"content":`...), row.Content...)
		raw = appendText(append(raw, `,"created":`...), isoTime(row.Created))
		raw = append(appendText(append(raw, `,"last_updated":`...), isoTime(row.LastUpdated)), '}')
	}
	return replyRaw(w, p.appendPage(append(raw, ']'), "aggregates", total, next))
}

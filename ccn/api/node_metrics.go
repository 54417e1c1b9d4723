package api

import (
	"net/http"
	"strings"

	"github.com/aleph-im/aleph-go/ccn/state"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// metricWindow is how far back measurements are shown unless the client says otherwise, in microseconds: 14 days.
const metricWindow message.Time = 14 * 24 * 3600 * 1_000_000

func (a *API) measurementRoutes() routes {
	return routes{
		"GET /api/v0/core/{node_id}/metrics":    query(a.coreMetrics),
		"GET /api/v0/compute/{node_id}/metrics": query(a.computeMetrics),
	}
}

func (a *API) coreMetrics(w http.ResponseWriter, r *http.Request, q *arguments) error {
	return a.nodeMetrics(w, r, q, state.KindCore)
}

func (a *API) computeMetrics(w http.ResponseWriter, r *http.Request, q *arguments) error {
	return a.nodeMetrics(w, r, q, state.KindCompute)
}

// nodeMetrics shows what the network's scoring measured of a node, a list for each quantity (ccn-api §13.2).
func (a *API) nodeMetrics(w http.ResponseWriter, r *http.Request, q *arguments, kind string) error {
	start, end := q.seconds("start_date"), q.seconds("end_date")
	descending := false
	if order, ok := q.text("sort"); ok {
		switch strings.ToUpper(order) {
		case "ASC", "ASCENDING", "1":
		case "DESC", "DESCENDING", "-1":
			descending = true
		default:
			q.refuse("enum", "sort", "Input should be ASC or DESC", order)
		}
	}
	if q.err != nil {
		return q.err
	}
	var from, to message.Time
	if end != nil {
		to = message.TimeFromSeconds(*end)
	}
	switch {
	case start != nil:
		from = message.TimeFromSeconds(*start)
	case end != nil:
		from = to - metricWindow
	default:
		from = message.TimeFrom(a.cfg.Now()) - metricWindow
	}
	var rows []store.NodeMetricRow
	err := a.cfg.Store.Read(r.Context(), func(rd *store.Reader) (err error) {
		rows, err = rd.NodeMetrics(kind, r.PathValue("node_id"), from, to, descending)
		return err
	})
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		return &fault{status: http.StatusNotFound}
	}
	columns := map[string][]any{}
	for _, row := range rows {
		columns["item_hash"] = append(columns["item_hash"], row.Message)
		columns["measured_at"] = append(columns["measured_at"], row.MeasuredAt)
		for i, quantity := range state.Quantities(kind) {
			columns[quantity.Name] = append(columns[quantity.Name], measured(quantity, row.Values, i))
		}
	}
	return reply(w, http.StatusOK, map[string]any{"metrics": columns})
}

func measured(q state.Quantity, values []*float64, i int) any {
	switch {
	case i >= len(values) || values[i] == nil:
		return nil
	case q.Whole:
		return int64(*values[i])
	}
	return double(*values[i])
}

package store

import (
	"database/sql"
	"encoding/json"
	"math"

	"github.com/aleph-im/aleph-go/message"
)

// NodeMetricRow is one measurement of a node.
type NodeMetricRow struct {
	NodeID     string
	Kind       string // "ccn" or "crn"
	MeasuredAt message.Time
	Message    message.Hash // the POST that tells it
	Entry      int          // position in the POST
	Values     []*float64   // nil where nothing was measured
}

// PutNodeMetric stores a measurement; a known one stays as it is. Its message must be stored before and takes it along when
// it is deleted.
func (tx *Tx) PutNodeMetric(m *NodeMetricRow) error {
	values, err := json.Marshal(m.Values)
	if err != nil {
		return wrap(err, "store measurement of %s", m.NodeID)
	}
	return wrap(tx.exec(`INSERT INTO node_metrics (node_id, kind, measured_at, item_hash, entry, measured) VALUES (?,?,?,?,?,?) ON CONFLICT DO NOTHING`,
		m.NodeID, m.Kind, int64(m.MeasuredAt), string(m.Message), m.Entry, string(values)), "store measurement of %s", m.NodeID)
}

// NodeMetrics lists the measurements of a node from start to end, both inclusive, by their time; an end of 0 is no bound.
func (r *Reader) NodeMetrics(kind, node string, start, end message.Time, descending bool) ([]NodeMetricRow, error) {
	order := " ASC"
	if descending {
		order = " DESC"
	}
	if end == 0 {
		end = math.MaxInt64
	}
	rows, err := r.rows(`SELECT node_id, kind, measured_at, item_hash, entry, measured FROM node_metrics
		WHERE node_id = ? AND kind = ? AND measured_at >= ? AND measured_at <= ?
		ORDER BY measured_at`+order+`, item_hash, entry`, node, kind, int64(start), int64(end))
	list, err := collect(rows, err, func(rows *sql.Rows, m *NodeMetricRow) error {
		var values []byte
		if err := rows.Scan(&m.NodeID, &m.Kind, &m.MeasuredAt, &m.Message, &m.Entry, &values); err != nil {
			return err
		}
		return json.Unmarshal(values, &m.Values)
	})
	return list, wrap(err, "list measurements of %s", node)
}

package store

import (
	"fmt"

	"github.com/aleph-im/aleph-go/message"
)

// WorkloadRow is a program or an instance that is to run somewhere.
type WorkloadRow struct {
	Hash        message.Hash
	Type        message.Type
	Owner       string
	Persistent  bool         // runs all the time
	NodeHash    message.Hash // compute node that the owner asked for; "" for any
	PaymentType message.PaymentType
	ContentTime float64 // Unix seconds
}

// Workloads lists the programs and instances that are in force, by hash. Programs that are only a new version of another
// one are listed as well: each has its own address.
func (r *Reader) Workloads() ([]WorkloadRow, error) {
	rows, err := r.rows(`SELECT v.item_hash, m.type, v.owner, v.persistent, COALESCE(v.node_hash, ''), v.payment_type, v.content_time
		FROM vms v CROSS JOIN ` + messagesByEnd + ` WHERE ` + sameHash("v.item_hash") + ` AND m.status IN ('processed', 'removing') ORDER BY v.item_hash`)
	if err != nil {
		return nil, fmt.Errorf("list workloads: %w", err)
	}
	defer rows.Close()
	var list []WorkloadRow
	for rows.Next() {
		var w WorkloadRow
		var persistent int64
		if err := rows.Scan(&w.Hash, &w.Type, &w.Owner, &persistent, &w.NodeHash, &w.PaymentType, &w.ContentTime); err != nil {
			return nil, fmt.Errorf("list workloads: %w", err)
		}
		w.Persistent = persistent != 0
		list = append(list, w)
	}
	return list, rows.Err()
}

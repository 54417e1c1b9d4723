package store

import (
	"database/sql"

	"github.com/aleph-im/aleph-go/message"
)

// CostFilter chooses lines of costs that are paid for in one way.
type CostFilter struct {
	PaymentType message.PaymentType
	ByOwner     bool
	Owner       string // counts only with ByOwner
	ByResource  bool
	Resource    string // counts only with ByResource
}

// VisitCosts calls visit with lines of costs, ordered by resource.
func (r *Reader) VisitCosts(f CostFilter, visit func(*CostRow) error) error {
	w := &where{}
	w.add("payment_type = ?", string(f.PaymentType))
	if f.ByOwner {
		w.add("owner = ?", f.Owner)
	}
	if f.ByResource {
		w.add("item_hash = ?", f.Resource)
	}
	rows, err := r.rows(costColumns+w.String()+" ORDER BY item_hash, type, name", w.args...)
	if err != nil {
		return wrap(err, "list costs")
	}
	defer rows.Close()
	for rows.Next() {
		var c CostRow
		if err := scanCost(rows, &c); err != nil {
			return wrap(err, "list costs")
		}
		if err := visit(&c); err != nil {
			return err
		}
	}
	return wrap(rows.Err(), "list costs")
}

// Charged lists the resources that have costs, by content time and hash; only the one that resource names unless it is "".
func (r *Reader) Charged(resource message.Hash) ([]message.Hash, error) {
	w := &where{}
	w.add(sameHash("c.item_hash"))
	if resource != "" {
		w.add("c.item_hash = ?", string(resource))
	}
	rows, err := r.rows("SELECT item_hash FROM messages WHERE id IN (SELECT m.id FROM account_costs c CROSS JOIN "+messagesByEnd+w.String()+
		") ORDER BY content_time, item_hash", w.args...)
	list, err := collect(rows, err, func(rows *sql.Rows, h *message.Hash) error { return scanHash(rows, h) })
	return list, wrap(err, "list resources that cost something")
}

package store

import (
	"database/sql"

	"github.com/aleph-im/aleph-go/message"
)

// CostRow is one line of what a resource costs; amounts are decimal texts with 18 places (spec/ccn-core.md §5.4).
type CostRow struct {
	Owner       string
	Hash        message.Hash
	Type, Name  string
	Ref         *string
	PaymentType message.PaymentType
	Hold        string // ALEPH to hold
	Stream      string // ALEPH per second
	Credit      string // credits per second
}

const costColumns = `SELECT owner, item_hash, type, name, ref, payment_type, cost_hold, cost_stream, cost_credit FROM account_costs `

func scanCost(rows *sql.Rows, c *CostRow) error {
	return rows.Scan(&c.Owner, &c.Hash, &c.Type, &c.Name, &c.Ref, &c.PaymentType, &c.Hold, &c.Stream, &c.Credit)
}

// Costs lists the lines of one resource.
func (r *Reader) Costs(h message.Hash) ([]CostRow, error) {
	rows, err := r.rows(costColumns+`WHERE item_hash = ? ORDER BY type, name`, string(h))
	list, err := collect(rows, err, scanCost)
	return list, wrap(err, "read costs of %s", h)
}

// AccountCosts lists the lines of all resources of an owner that are paid for in one way.
func (r *Reader) AccountCosts(owner string, payment message.PaymentType) ([]CostRow, error) {
	rows, err := r.rows(costColumns+`WHERE owner = ? AND payment_type = ? ORDER BY item_hash, type, name`, owner, string(payment))
	list, err := collect(rows, err, scanCost)
	return list, wrap(err, "read costs of account %s", owner)
}

// PutCost stores one line.
func (tx *Tx) PutCost(c *CostRow) error {
	return wrap(tx.exec(`INSERT INTO account_costs (owner, item_hash, type, name, ref, payment_type, cost_hold, cost_stream, cost_credit)
		VALUES (?,?,?,?,?,?,?,?,?) ON CONFLICT (item_hash, type, name) DO UPDATE SET cost_hold = excluded.cost_hold,
		cost_stream = excluded.cost_stream, cost_credit = excluded.cost_credit`,
		c.Owner, string(c.Hash), c.Type, c.Name, c.Ref, string(c.PaymentType), c.Hold, c.Stream, c.Credit), "store costs of %s", c.Hash)
}

// DeleteCosts deletes the lines of one resource.
func (tx *Tx) DeleteCosts(h message.Hash) error {
	return wrap(tx.exec(`DELETE FROM account_costs WHERE item_hash = ?`, string(h)), "delete costs of %s", h)
}

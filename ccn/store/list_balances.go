package store

import (
	"database/sql"

	"github.com/aleph-im/aleph-go/message"
)

// BalanceFilter chooses balances.
type BalanceFilter struct {
	Chains  []string
	Minimum int64       // whole ALEPH; 0: no bound
	After   *BalanceRow // only what follows it in the order of (address, chain, dapp); without a chain, the next address
	Limit   int         // 0: no limit
	Offset  int64
}

func (f *BalanceFilter) where() *where {
	w := &where{}
	w.in("chain", f.Chains)
	if f.Minimum > 0 {
		w.add("CAST(balance AS DOUBLE PRECISION) >= ?", float64(f.Minimum))
	}
	return w
}

// ListBalances lists what addresses hold, those in dapps among them, by address.
func (r *Reader) ListBalances(f BalanceFilter) ([]BalanceRow, error) {
	w := f.where()
	switch a := f.After; {
	case a != nil && a.Chain == "":
		w.add("address > ?", a.Address)
	case a != nil:
		w.add("(address, chain, dapp) > (?, ?, ?)", a.Address, string(a.Chain), a.Dapp)
	}
	rows, err := r.rows("SELECT address, chain, dapp, balance, eth_height, item_hash, last_update FROM balances"+w.String()+
		" ORDER BY address, chain, dapp"+w.limit(f.Limit, f.Offset), w.args...)
	list, err := collectFor(r, rows, err, func(rows *sql.Rows, b *BalanceRow) error {
		return rows.Scan(&b.Address, &b.Chain, &b.Dapp, &b.Balance, &b.Height, &b.Message, &b.LastUpdate)
	}, nil)
	return list, wrap(err, "list balances")
}

// CountBalances counts what ListBalances would list without its limit.
func (r *Reader) CountBalances(f BalanceFilter) (n int64, err error) {
	w := f.where()
	_, err = found(r.row("SELECT COUNT(*) FROM balances"+w.String(), w.args...), &n)
	return n, wrap(err, "count balances")
}

// CreditBalance is what an address can spend.
type CreditBalance struct {
	Address string
	Credits int64
}

// CreditBalanceFilter chooses addresses that were granted credits.
type CreditBalanceFilter struct {
	At      message.Time // lots that expired by then do not count
	Minimum int64
	After   string // only addresses after it
	Limit   int    // 0: no limit
	Offset  int64
}

// query groups the lots of each address.
func (f *CreditBalanceFilter) query() (string, *where) {
	w := &where{}
	w.args = append(w.args, int64(f.At))
	if f.After != "" {
		w.add("address > ?", f.After)
	}
	query := `SELECT address, CAST(SUM(CASE WHEN expiration_date IS NULL OR expiration_date > ? THEN amount_remaining ELSE 0 END) AS BIGINT)
		AS credits FROM credit_lots` + w.String() + ` GROUP BY address`
	if f.Minimum > 0 {
		query += ` HAVING SUM(CASE WHEN expiration_date IS NULL OR expiration_date > ? THEN amount_remaining ELSE 0 END) >= ?`
		w.args = append(w.args, int64(f.At), f.Minimum)
	}
	return query, w
}

// ListCreditBalances lists what addresses can spend, by address.
func (r *Reader) ListCreditBalances(f CreditBalanceFilter) ([]CreditBalance, error) {
	query, w := f.query()
	rows, err := r.rows(query+" ORDER BY address"+w.limit(f.Limit, f.Offset), w.args...)
	list, err := collectFor(r, rows, err, func(rows *sql.Rows, c *CreditBalance) error { return rows.Scan(&c.Address, &c.Credits) }, nil)
	return list, wrap(err, "list credit balances")
}

// CountCreditBalances counts what ListCreditBalances would list without its limit.
func (r *Reader) CountCreditBalances(f CreditBalanceFilter) (n int64, err error) {
	query, w := f.query()
	_, err = found(r.row("SELECT COUNT(*) FROM ("+query+") AS spenders", w.args...), &n)
	return n, wrap(err, "count credit balances")
}

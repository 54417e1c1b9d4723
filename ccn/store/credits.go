package store

import (
	"database/sql"

	"github.com/aleph-im/aleph-go/message"
)

// CreditRow is one movement of credits of one address (spec/ccn-core.md §5.9).
type CreditRow struct {
	Ref            message.Hash // the POST that moved them
	Index          int64
	Address        string
	Amount         int64   // credits; negative when they left the address
	Price          *string // decimal text
	BonusAmount    *int64
	TxHash         *string
	Token          *string
	Chain          *string
	Provider       *string
	Origin         *string
	OriginRef      *string
	PaymentMethod  *string
	ExpenseCount   *int64
	ExpenseSizeMiB *string       // decimal text
	Expiration     *message.Time // nil: never
	ContentTime    float64
	LastUpdate     message.Time // when this node stored it
}

// CreditLot is what is left of one grant. It counts before Expiration; nil means for ever.
type CreditLot struct {
	Ref         message.Hash
	Index       int64
	Remaining   int64
	Expiration  *message.Time
	ContentTime float64
}

// Unexpired reports whether the lot counts at t.
func (l *CreditLot) Unexpired(t message.Time) bool { return l.Expiration == nil || *l.Expiration > t }

// CreditTransfer is one entry of a transfer as it was asked for.
type CreditTransfer struct {
	Ref         message.Hash
	Entry       int64 // position in the message
	Sender      string
	Recipient   string
	Amount      int64
	Expiration  *message.Time
	ContentTime float64
}

const creditColumns = `SELECT credit_ref, credit_index, address, amount, price, bonus_amount, tx_hash, token, chain, provider, origin,
	origin_ref, payment_method, expense_count, expense_size_mib, expiration_date, content_time, last_update FROM credit_history `

func scanCredit(rows *sql.Rows, c *CreditRow) error {
	return rows.Scan(&c.Ref, &c.Index, &c.Address, &c.Amount, &c.Price, &c.BonusAmount, &c.TxHash, &c.Token, &c.Chain, &c.Provider, &c.Origin,
		&c.OriginRef, &c.PaymentMethod, &c.ExpenseCount, &c.ExpenseSizeMiB, &c.Expiration, &c.ContentTime, &c.LastUpdate)
}

// CreditHistory lists the movements of an address in the order in which they are folded.
func (r *Reader) CreditHistory(address string) ([]CreditRow, error) {
	rows, err := r.rows(creditColumns+`WHERE address = ? ORDER BY content_time, credit_ref, credit_index`, address)
	list, err := collect(rows, err, scanCredit)
	return list, wrap(err, "read credit history of %s", address)
}

// CreditRows lists the movements that one POST made.
func (r *Reader) CreditRows(ref message.Hash) ([]CreditRow, error) {
	rows, err := r.rows(creditColumns+`WHERE credit_ref = ? ORDER BY credit_index`, string(ref))
	list, err := collect(rows, err, scanCredit)
	return list, wrap(err, "read credits moved by %s", ref)
}

// CreditLots lists the grants of an address that something is left of, expired ones among them, the oldest first.
func (r *Reader) CreditLots(address string) ([]CreditLot, error) {
	rows, err := r.rows(`SELECT credit_ref, credit_index, amount_remaining, expiration_date, content_time FROM credit_lots
		WHERE address = ? AND amount_remaining > 0 ORDER BY content_time, credit_ref, credit_index`, address)
	list, err := collect(rows, err, func(rows *sql.Rows, l *CreditLot) error {
		return rows.Scan(&l.Ref, &l.Index, &l.Remaining, &l.Expiration, &l.ContentTime)
	})
	return list, wrap(err, "read credits of %s", address)
}

// Credits returns what an address can spend at t.
func (r *Reader) Credits(address string, t message.Time) (int64, error) {
	var sum halves
	_, err := found(r.row("SELECT "+sumOf("amount_remaining")+` FROM credit_lots
		WHERE address = ? AND (expiration_date IS NULL OR expiration_date > ?)`, address, int64(t)), &sum.high, &sum.low)
	return sum.sum(), wrap(err, "read credits of %s", address)
}

// ConsumedCredits returns what was spent for a resource.
func (r *Reader) ConsumedCredits(resource string) (int64, error) {
	var sum halves
	_, err := found(r.row("SELECT "+sumOf("-amount")+` FROM credit_history
		WHERE effective_origin = ? AND payment_method = 'credit_expense'`, resource), &sum.high, &sum.low)
	return sum.sum(), wrap(err, "read credits consumed by %s", resource)
}

// LastCredit returns the content time and the POST of the last movement of an address; 0 and "" when there is none.
func (r *Reader) LastCredit(address string) (t float64, ref message.Hash, err error) {
	_, err = found(r.row(`SELECT content_time, credit_ref FROM credit_history WHERE address = ?
		ORDER BY content_time DESC, credit_ref DESC, credit_index DESC LIMIT 1`, address), &t, &ref)
	return t, ref, wrap(err, "read last credit movement of %s", address)
}

// CreditTransfersFrom lists what an address asked to transfer from (t, ref) on, in the order in which it is folded.
func (r *Reader) CreditTransfersFrom(sender string, t float64, ref message.Hash) ([]CreditTransfer, error) {
	rows, err := r.rows(`SELECT credit_ref, entry, sender, recipient, amount, expiration_date, content_time FROM credit_transfers
		WHERE sender = ? AND (content_time, credit_ref) >= (?, ?) ORDER BY content_time, credit_ref, entry`, sender, t, string(ref))
	list, err := collect(rows, err, func(rows *sql.Rows, c *CreditTransfer) error {
		return rows.Scan(&c.Ref, &c.Entry, &c.Sender, &c.Recipient, &c.Amount, &c.Expiration, &c.ContentTime)
	})
	return list, wrap(err, "read credit transfers of %s", sender)
}

// FirstForgottenTransfer returns the place of the first forgotten transfer from an address that another address signed; ok
// is false when there is none.
func (r *Reader) FirstForgottenTransfer(sender string) (t float64, ref message.Hash, ok bool, err error) {
	ok, err = found(r.row(`SELECT t.content_time, t.credit_ref FROM credit_transfers t JOIN forgotten_messages m ON m.item_hash = t.credit_ref
		WHERE t.sender = ? AND m.sender <> t.sender ORDER BY t.content_time, t.credit_ref LIMIT 1`, sender), &t, &ref)
	return t, ref, ok, wrap(err, "look for forgotten transfers of %s", sender)
}

// InsertCredit stores a movement; a known one stays as it is.
func (tx *Tx) InsertCredit(c *CreditRow) error {
	origin := c.Origin
	if value(origin) == "" {
		origin = c.OriginRef
	}
	return wrap(tx.exec(`INSERT INTO credit_history (credit_ref, credit_index, address, amount, price, bonus_amount, tx_hash, token, chain,
		provider, origin, origin_ref, payment_method, expense_count, expense_size_mib, effective_origin, expiration_date, content_time, last_update)
		VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING`,
		string(c.Ref), c.Index, c.Address, c.Amount, c.Price, c.BonusAmount, c.TxHash, c.Token, c.Chain, c.Provider, c.Origin, c.OriginRef,
		c.PaymentMethod, c.ExpenseCount, c.ExpenseSizeMiB, origin, (*int64)(c.Expiration), c.ContentTime, int64(c.LastUpdate)),
		"store credit movement %s/%d", c.Ref, c.Index)
}

// DeleteCredits deletes the movements that one POST made.
func (tx *Tx) DeleteCredits(ref message.Hash) error {
	return wrap(tx.exec(`DELETE FROM credit_history WHERE credit_ref = ?`, string(ref)), "delete credits moved by %s", ref)
}

// InsertCreditTransfer stores an entry of a transfer as it was asked for; a known one stays as it is.
func (tx *Tx) InsertCreditTransfer(c *CreditTransfer) error {
	return wrap(tx.exec(`INSERT INTO credit_transfers (credit_ref, entry, sender, recipient, amount, expiration_date, content_time)
		VALUES (?,?,?,?,?,?,?) ON CONFLICT DO NOTHING`, string(c.Ref), c.Entry, c.Sender, c.Recipient, c.Amount, (*int64)(c.Expiration), c.ContentTime),
		"store credit transfer %s/%d", c.Ref, c.Entry)
}

// DeleteCreditTransfers deletes what a POST asked to transfer.
func (tx *Tx) DeleteCreditTransfers(ref message.Hash) error {
	return wrap(tx.exec(`DELETE FROM credit_transfers WHERE credit_ref = ?`, string(ref)), "delete credit transfers of %s", ref)
}

// PutCreditLot stores what is left of a grant.
func (tx *Tx) PutCreditLot(address string, l *CreditLot) error {
	return wrap(tx.exec(`INSERT INTO credit_lots (address, credit_ref, credit_index, amount_remaining, expiration_date, content_time) VALUES (?,?,?,?,?,?)
		ON CONFLICT (address, content_time, credit_ref, credit_index) DO UPDATE SET amount_remaining = excluded.amount_remaining`,
		address, string(l.Ref), l.Index, l.Remaining, (*int64)(l.Expiration), l.ContentTime), "store credits of %s", address)
}

// DeleteCreditLots deletes the grants of an address.
func (tx *Tx) DeleteCreditLots(address string) error {
	return wrap(tx.exec(`DELETE FROM credit_lots WHERE address = ?`, address), "delete credits of %s", address)
}

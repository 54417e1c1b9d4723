package store

import (
	"database/sql"

	"github.com/aleph-im/aleph-go/message"
)

// Statuses of a claim. Those in force count against the funds of the owner.
const (
	ClaimRefused   = "refused" // for want of funds; the message is rejected and has no row
	ClaimProcessed = "processed"
	ClaimRemoving  = "removing"
	ClaimRemoved   = "removed"
	ClaimForgotten = "forgotten"
)

// ClaimRow is what a resource asks of the funds of its owner.
type ClaimRow struct {
	Hash        message.Hash
	Owner       string
	PaymentType message.PaymentType // hold or credit
	ContentTime float64
	Need        string // decimal text: ALEPH to hold, or credits for the least time that they must last
	MustPay     bool   // false: accepted without funds, although it counts
	Exempt      bool   // kept when funds are short
	Status      string
	Ended       *float64 // content time of the FORGET that ended it
	EndedBy     message.Hash
	Height      *int64 // at which it was first anchored on Ethereum; nil when it was not
}

// AccountRow is what the claims of an owner that are paid for in one way add up to.
type AccountRow struct {
	Owner       string
	PaymentType message.PaymentType
	Used        string  // decimal text: sum of the claims in force
	LastTime    float64 // with LastHash: place of the newest event, a claim, its end or a change of funds
	LastHash    message.Hash
	CheckAt     *message.Time // when funds must be looked at again; nil: when something happens
}

// BalanceStatement is one publication of what an address itself holds on a chain.
type BalanceStatement struct {
	Address     string
	Chain       message.Chain
	ContentTime float64
	Message     message.Hash
	Height      int64
	Balance     string // decimal text in ALEPH
}

var claimColumns = `SELECT c.item_hash, c.owner, c.payment_type, c.content_time, c.need, c.must_pay, c.exempt, c.status, c.ended,
	COALESCE(c.ended_by, ''), (SELECT MIN(f.height) FROM confirmations f WHERE f.item_hash = c.item_hash AND f.chain = 'ETH' AND (
		EXISTS (SELECT 1 FROM ` + messagesByEnd + ` WHERE ` + sameHash("f.item_hash") + ` AND COALESCE(m.signature, '') = f.signature) OR
		EXISTS (SELECT 1 FROM removed_messages m WHERE m.item_hash = f.item_hash AND COALESCE(m.signature, '') = f.signature))) FROM claims c `

func scanClaim(rows *sql.Rows, c *ClaimRow) error {
	var mustPay, exempt int64
	err := rows.Scan(&c.Hash, &c.Owner, &c.PaymentType, &c.ContentTime, &c.Need, &mustPay, &exempt, &c.Status, &c.Ended,
		&c.EndedBy, &c.Height)
	c.MustPay, c.Exempt = mustPay != 0, exempt != 0
	return err
}

// Claims lists the claims of an owner that are paid for in one way, ended ones among them, in the order in which they are
// folded.
func (r *Reader) Claims(owner string, payment message.PaymentType) ([]ClaimRow, error) {
	rows, err := r.rows(claimColumns+`WHERE c.owner = ? AND c.payment_type = ? ORDER BY c.content_time, c.item_hash`, owner, string(payment))
	list, err := collect(rows, err, scanClaim)
	return list, wrap(err, "read claims of %s", owner)
}

// Claim returns the claim of a message, nil when it has none.
func (r *Reader) Claim(h message.Hash) (*ClaimRow, error) {
	rows, err := r.rows(claimColumns+`WHERE `+byHash("c.item_hash"), hashArgs(h)...)
	list, err := collect(rows, err, scanClaim)
	if err != nil || len(list) == 0 {
		return nil, wrap(err, "read claim of %s", h)
	}
	return &list[0], nil
}

// ClaimsSince lists the messages of the claims with a content time of t or later.
func (r *Reader) ClaimsSince(t float64) ([]message.Hash, error) {
	list, err := r.hashes(`SELECT item_hash FROM claims WHERE content_time >= ? ORDER BY item_hash`, t)
	return list, wrap(err, "list claims since %v", t)
}

// PutClaim stores a claim. Of one that is known, its owner, way to pay and time stay.
func (tx *Tx) PutClaim(c *ClaimRow) error {
	changes := []any{c.Need, integer(c.MustPay), integer(c.Exempt), c.Status, c.Ended, optional(string(c.EndedBy))}
	n, err := tx.affected(`UPDATE claims SET need = ?, must_pay = ?, exempt = ?, status = ?, ended = ?, ended_by = ? WHERE `+byHash("item_hash"),
		append(changes, hashArgs(c.Hash)...)...)
	if err == nil && n == 0 {
		err = tx.exec(`INSERT INTO claims (need, must_pay, exempt, status, ended, ended_by, item_hash, owner, payment_type, content_time)
			VALUES (?,?,?,?,?,?,?,?,?,?)`, append(changes, string(c.Hash), c.Owner, string(c.PaymentType), c.ContentTime)...)
	}
	return wrap(err, "store claim of %s", c.Hash)
}

// DeleteClaim deletes the claim of a message that was never accepted.
func (tx *Tx) DeleteClaim(h message.Hash) error {
	return wrap(tx.exec(`DELETE FROM claims WHERE `+byHash("item_hash"), hashArgs(h)...), "delete claim of %s", h)
}

// Account returns what an owner uses of one kind of funds, nil when it never claimed any.
func (r *Reader) Account(owner string, payment message.PaymentType) (*AccountRow, error) {
	a := &AccountRow{Owner: owner, PaymentType: payment}
	ok, err := found(r.row(`SELECT used, last_time, last_hash, check_at FROM accounts WHERE owner = ? AND payment_type = ?`, owner, string(payment)),
		&a.Used, &a.LastTime, &a.LastHash, &a.CheckAt)
	if err != nil || !ok {
		return nil, wrap(err, "read account %s", owner)
	}
	return a, nil
}

// PutAccount stores an account.
func (tx *Tx) PutAccount(a *AccountRow) error {
	return wrap(tx.exec(`INSERT INTO accounts (owner, payment_type, used, last_time, last_hash, check_at) VALUES (?,?,?,?,?,?)
		ON CONFLICT (owner, payment_type) DO UPDATE SET used = excluded.used, last_time = excluded.last_time, last_hash = excluded.last_hash,
		check_at = excluded.check_at`, a.Owner, string(a.PaymentType), a.Used, a.LastTime, string(a.LastHash), (*int64)(a.CheckAt)),
		"store account %s", a.Owner)
}

// AccountsDue lists up to limit accounts whose funds must be looked at by now.
func (r *Reader) AccountsDue(now message.Time, limit int) ([]AccountRow, error) {
	rows, err := r.rows(`SELECT owner, payment_type, used, last_time, last_hash, check_at FROM accounts WHERE check_at <= ?
		ORDER BY check_at, owner, payment_type LIMIT ?`, int64(now), limit)
	list, err := collect(rows, err, func(rows *sql.Rows, a *AccountRow) error {
		return rows.Scan(&a.Owner, &a.PaymentType, &a.Used, &a.LastTime, &a.LastHash, &a.CheckAt)
	})
	return list, wrap(err, "list accounts whose funds are to be looked at")
}

// PutBalanceStatement stores a publication of a balance; a known one stays as it is.
func (tx *Tx) PutBalanceStatement(b *BalanceStatement) error {
	return wrap(tx.exec(`INSERT INTO balance_history (address, chain, content_time, item_hash, eth_height, balance) VALUES (?,?,?,?,?,?)
		ON CONFLICT DO NOTHING`, b.Address, string(b.Chain), b.ContentTime, string(b.Message), b.Height, b.Balance),
		"store balance of %s", b.Address)
}

// BalanceStatements lists what was published of the balances of an address, in the order in which it is folded.
func (r *Reader) BalanceStatements(address string) ([]BalanceStatement, error) {
	rows, err := r.rows(`SELECT address, chain, content_time, item_hash, eth_height, balance FROM balance_history WHERE address = ?
		ORDER BY content_time, item_hash, chain`, address)
	list, err := collect(rows, err, func(rows *sql.Rows, b *BalanceStatement) error {
		return rows.Scan(&b.Address, &b.Chain, &b.ContentTime, &b.Message, &b.Height, &b.Balance)
	})
	return list, wrap(err, "read balances of %s", address)
}

// LastBalance returns the place of the last publication of a balance of an address; 0 and "" when there is none.
func (r *Reader) LastBalance(address string) (t float64, h message.Hash, err error) {
	_, err = found(r.row(`SELECT content_time, item_hash FROM balance_history WHERE address = ? ORDER BY content_time DESC, item_hash DESC LIMIT 1`,
		address), &t, &h)
	return t, h, wrap(err, "read last balance of %s", address)
}

// TouchAccount notes an event at the place (t, h) in an account, if there is one, so that its funds are looked at.
func (tx *Tx) TouchAccount(owner string, payment message.PaymentType, t float64, h message.Hash) error {
	return wrap(tx.exec(`UPDATE accounts SET check_at = 0,
		last_time = CASE WHEN last_time < ? OR last_time = ? AND last_hash < ? THEN ? ELSE last_time END,
		last_hash = CASE WHEN last_time < ? OR last_time = ? AND last_hash < ? THEN ? ELSE last_hash END
		WHERE owner = ? AND payment_type = ?`, t, t, string(h), t, t, t, string(h), string(h), owner, string(payment)), "touch account %s", owner)
}

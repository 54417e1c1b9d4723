package store

import (
	"database/sql"

	"github.com/aleph-im/aleph-go/message"
)

// BalanceRow is what an address holds on one chain.
type BalanceRow struct {
	Address    string
	Chain      message.Chain
	Dapp       string // "" for tokens held by the address itself
	Balance    string // decimal text in ALEPH
	Height     int64
	Message    message.Hash // the post that set it
	LastUpdate message.Time // when this node saw the balance change
}

// Balances lists what an address holds, on every chain and in every dapp.
func (r *Reader) Balances(address string) ([]BalanceRow, error) {
	rows, err := r.rows(`SELECT address, chain, dapp, balance, eth_height, item_hash, last_update FROM balances WHERE address = ?
		ORDER BY chain, dapp`, address)
	list, err := collect(rows, err, func(rows *sql.Rows, b *BalanceRow) error {
		return rows.Scan(&b.Address, &b.Chain, &b.Dapp, &b.Balance, &b.Height, &b.Message, &b.LastUpdate)
	})
	return list, wrap(err, "read balances of %s", address)
}

// PutBalance stores a balance unless one of a greater (height, message) is known.
func (tx *Tx) PutBalance(b *BalanceRow) error {
	return wrap(tx.exec(`INSERT INTO balances (address, chain, dapp, balance, eth_height, item_hash, last_update) VALUES (?,?,?,?,?,?,?)
		ON CONFLICT (address, chain, dapp) DO UPDATE SET balance = excluded.balance, eth_height = excluded.eth_height,
		item_hash = excluded.item_hash,
		last_update = CASE WHEN balances.balance = excluded.balance THEN balances.last_update ELSE excluded.last_update END
		WHERE excluded.eth_height > balances.eth_height
		OR (excluded.eth_height = balances.eth_height AND excluded.item_hash > balances.item_hash)`,
		b.Address, string(b.Chain), b.Dapp, b.Balance, b.Height, string(b.Message), int64(b.LastUpdate)), "store balance of %s", b.Address)
}

package store

import (
	"fmt"
	"strings"
)

// derived lists what the tables of derived state hold, without what depends on this node: row numbers and reception times.
var derived = []string{
	`SELECT 'message', item_hash, status, time, size, owner, content_time, content_type, content_ref, content_key, payment_type FROM messages ORDER BY 2, 3, 4, 5, 6`,
	`SELECT 'tag', m.item_hash, t.tag FROM message_tags t JOIN messages m ON m.id = t.message_id ORDER BY 2, 3`,
	`SELECT 'stats', address, total, aggregate, forget, instance, post, program, store FROM address_stats ORDER BY 2`,
	`SELECT 'term', address, kind, term, messages FROM address_terms ORDER BY 2, 3, 4`,
	`SELECT 'forgotten', item_hash, owner, payment_type, size, forgotten_by, forgotten_at FROM forgotten_messages ORDER BY 2, 3, 4, 5, 6`,
	`SELECT 'post', item_hash, owner, type, ref, amends, content_time, latest_amend, last_updated FROM posts ORDER BY 2, 3, 4, 5, 6`,
	`SELECT 'element', item_hash, owner, key, content_time, content FROM aggregate_elements ORDER BY 2, 3, 4, 5, 6`,
	`SELECT 'aggregate', owner, key, content, created, last_updated, last_revision_hash FROM aggregates ORDER BY 2, 3, 4, 5, 6`,
	`SELECT 'file', hash, size, type FROM files ORDER BY 2, 3, 4`,
	`SELECT 'pin', file_hash, type, owner, item_hash, ref, tag FROM file_pins ORDER BY 2, 3, 4, 5, 6`,
	`SELECT 'version', tag, owner, file_hash, item_hash, content_time FROM file_tags ORDER BY 2, 3, 4, 5, 6`,
	`SELECT 'vm', item_hash, type, owner, allow_amend, replaces, persistent, payment_type, node_hash, content_time FROM vms ORDER BY 2, 3, 4, 5, 6`,
	`SELECT 'vm ref', vm_hash, ref FROM vm_refs ORDER BY 2, 3`,
	`SELECT 'cost', item_hash, type, name, owner, payment_type, cost_hold, cost_stream, cost_credit FROM account_costs ORDER BY 2, 3, 4, 5, 6`,
	`SELECT 'balance', address, chain, dapp, balance, eth_height, item_hash FROM balances ORDER BY 2, 3, 4, 5, 6`,
	`SELECT 'credit', credit_ref, credit_index, address, amount, origin, payment_method, expiration_date, content_time FROM credit_history ORDER BY 2, 3`,
	`SELECT 'lot', address, credit_ref, credit_index, amount_remaining, expiration_date, content_time FROM credit_lots ORDER BY 2, 3, 4`,
}

// Dump writes what the messages add up to as text, one row a line. Two nodes with the same messages must give the same
// text. It reads whole tables: it is for comparing small nodes.
func (r *Reader) Dump() (string, error) {
	var b strings.Builder
	for _, query := range derived {
		if err := r.dump(&b, query); err != nil {
			return "", fmt.Errorf("dump: %w", err)
		}
	}
	return b.String(), nil
}

func (r *Reader) dump(b *strings.Builder, query string) error {
	rows, err := r.rows(query)
	if err != nil {
		return err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	values, targets := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		targets[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(targets...); err != nil {
			return err
		}
		for i, v := range values {
			if text, ok := v.([]byte); ok {
				v = string(text)
			}
			if i > 0 {
				b.WriteByte('\t')
			}
			fmt.Fprint(b, v)
		}
		b.WriteByte('\n')
	}
	return rows.Err()
}

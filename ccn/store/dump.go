package store

import (
	"fmt"
	"slices"
	"strings"
)

// derived is what a table of derived state holds. Its rows are ordered by the first keys columns, which differ from row to
// row; zero: ordered, but two rows may be equal.
type derived struct {
	name  string
	keys  int
	query string
}

// derivations lists the tables of derived state without what depends on this node: row numbers, reception
// times and what is kept for a while by its clock.
var derivations = []derived{
	{"message", 1, `SELECT item_hash, status, time, size, owner, content_time, content_type, content_ref, content_key, payment_type FROM messages ORDER BY 1`},
	{"tag", 2, `SELECT m.item_hash, t.tag FROM message_tags t JOIN messages m ON m.id = t.message_id ORDER BY 1, 2`},
	{"stats", 1, `SELECT address, total, aggregate, forget, instance, post, program, store FROM address_stats ORDER BY 1`},
	{"term", 3, `SELECT address, kind, term, messages FROM address_terms ORDER BY 1, 2, 3`},
	{"forgotten", 1, `SELECT item_hash, owner, payment_type, size, forgotten_by, forgotten_at FROM forgotten_messages ORDER BY 1`},
	{"post", 1, `SELECT item_hash, owner, type, ref, amends, content_time, latest_amend, last_updated, tags FROM posts ORDER BY 1`},
	{"post tag", 2, `SELECT p.item_hash, t.tag FROM post_tags t JOIN posts p ON p.id = t.post_id ORDER BY 1, 2`},
	{"element", 1, `SELECT item_hash, owner, key, content_time, content FROM aggregate_elements ORDER BY 1`},
	{"aggregate", 2, "SELECT owner, key, " + document + ", created, last_updated, last_revision_hash FROM aggregates a ORDER BY 1, 2"},
	{"shadow", 5, `SELECT owner, key, member, content_time, item_hash FROM aggregate_shadows ORDER BY 1, 2, 3, 4, 5`},
	{"file", 1, `SELECT hash, size, type FROM files ORDER BY 1`},
	{"pin", 2, `SELECT item_hash, type, file_hash, owner, ref, tag, created FROM file_pins WHERE item_hash IS NOT NULL ORDER BY 1, 2`},
	{"other pin", 0, `SELECT file_hash, type, owner, ref, tag FROM file_pins WHERE item_hash IS NULL AND type <> 'grace_period' ORDER BY 1, 2, 3, 4, 5`},
	{"vm", 1, `SELECT item_hash, type, owner, allow_amend, replaces, persistent, payment_type, node_hash, content_time FROM vms ORDER BY 1`},
	{"vm ref", 2, `SELECT vm_hash, ref FROM vm_refs ORDER BY 1, 2`},
	{"cost", 3, `SELECT item_hash, type, name, owner, payment_type, cost_hold, cost_stream, cost_credit FROM account_costs ORDER BY 1, 2, 3`},
	{"balance", 3, `SELECT address, chain, dapp, balance, eth_height, item_hash FROM balances ORDER BY 1, 2, 3`},
	{"credit", 2, `SELECT credit_ref, credit_index, address, amount, origin, payment_method, expiration_date, content_time FROM credit_history ORDER BY 1, 2`},
	{"lot", 3, `SELECT address, credit_ref, credit_index, amount_remaining, expiration_date, content_time FROM credit_lots ORDER BY 1, 2, 3`},
}

// verdicts lists the tables that hold what was decided of messages that are not there any more, or not accepted. The
// amounts that a message failed on are those of the last time that it was judged, which differs from node to node.
var verdicts = []derived{
	{"rejected", 2, `SELECT item_hash, sender, verified, error_code, CASE WHEN error_code IN (5, 6) THEN NULL ELSE details END
		FROM rejected_messages ORDER BY 1, 2`},
	{"forgetting", 2, `SELECT target, item_hash, content_time, time FROM forgets ORDER BY 1, 2`},
	{"key forgetting", 3, `SELECT owner, key, item_hash, content_time, sender, time FROM aggregate_forgets ORDER BY 1, 2, 3`},
	{"claim", 1, `SELECT item_hash, owner, payment_type, content_time, need, must_pay, exempt, status, ended, ended_by FROM claims
		WHERE status <> 'forgotten' ORDER BY 1`},
	{"account", 2, `SELECT owner, payment_type, used FROM accounts WHERE EXISTS (SELECT 1 FROM claims
		WHERE claims.owner = accounts.owner AND claims.payment_type = accounts.payment_type AND claims.status <> 'forgotten') ORDER BY 1, 2`},
	{"balances", 4, `SELECT address, chain, content_time, item_hash, eth_height, balance FROM balance_history ORDER BY 1, 2, 3, 4`},
	{"transfer", 2, `SELECT credit_ref, entry, sender, recipient, amount, expiration_date, content_time FROM credit_transfers ORDER BY 1, 2`},
	{"removed", 1, `SELECT item_hash, owner, payment_type, size, removed_at FROM removed_messages ORDER BY 1`},
	{"confirmation", 2, `SELECT item_hash, tx_hash, height, time, signature FROM confirmations ORDER BY 1, 2`},
}

// Dump writes what the messages add up to as text, one row a line below the name of its table. Two nodes with the same
// messages must give the same text. It reads whole tables: it is for comparing small nodes.
func (r *Reader) Dump() (string, error) {
	var b strings.Builder
	for _, d := range slices.Concat(derivations, verdicts) {
		b.WriteString("# " + d.name + "\n")
		if err := r.dump(&b, d.query); err != nil {
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

package store

import (
	"fmt"
	"strings"

	"github.com/aleph-im/aleph-go/message"
)

// PostsOfTypes lists the live POST messages, amendments among them when named, whose content type is one of types, in the
// order in which derived state folds them: content time, then hash.
func (r *Reader) PostsOfTypes(types ...string) ([]MessageRow, error) {
	args := make([]any, len(types))
	for i, t := range types {
		args[i] = t
	}
	rows, err := r.rows(`SELECT item_hash, sender, chain, time, owner, content_time, COALESCE(item_content, content)
		FROM messages WHERE type = 'POST' AND content_type IN (?`+strings.Repeat(",?", len(types)-1)+`)
		ORDER BY content_time, item_hash`, args...)
	if err != nil {
		return nil, fmt.Errorf("list posts of types %v: %w", types, err)
	}
	defer rows.Close()
	var list []MessageRow
	for rows.Next() {
		m := MessageRow{Message: message.Message{Type: message.TypePost}}
		if err := rows.Scan(&m.Message.ItemHash, &m.Message.Sender, &m.Message.Chain, &m.Message.Time, &m.Owner, &m.ContentTime, &m.Content); err != nil {
			return nil, fmt.Errorf("list posts of types %v: %w", types, err)
		}
		list = append(list, m)
	}
	return list, rows.Err()
}

package store

import (
	"encoding/json"
	"slices"

	"github.com/aleph-im/aleph-go/message"
)

// Rows are found by a tag through a table that gives them in the order in which they are listed. A column of the row
// itself says under which tags it is there, so that nothing else must lead from a row to its tags.

// searched returns the tags that are searched for: the others are too long, or there twice.
func searched(tags []string) (list []string) {
	for _, tag := range tags {
		if len(tag) <= MaxIndexed && !slices.Contains(list, tag) {
			list = append(list, tag)
		}
	}
	return list
}

// tagColumn is a JSON list of tags, nil when there are none.
func tagColumn(tags []string) (*string, error) {
	if len(tags) == 0 {
		return nil, nil
	}
	raw, err := json.Marshal(tags)
	if err != nil {
		return nil, err
	}
	s := string(raw)
	return &s, nil
}

func parseTags(column *string) (tags []string, err error) {
	if column == nil {
		return nil, nil
	}
	return tags, json.Unmarshal([]byte(*column), &tags)
}

func (tx *Tx) untagMessage(id int64, t message.Time, column *string) error {
	tags, err := parseTags(column)
	for _, tag := range tags {
		if err = tx.exec(`DELETE FROM message_tags WHERE tag = ? AND time = ? AND message_id = ?`, tag, int64(t), id); err != nil {
			break
		}
	}
	return wrap(err, "delete tags")
}

func (tx *Tx) tagPost(id int64, updated float64, column *string) error {
	tags, err := parseTags(column)
	for _, tag := range tags {
		if err = tx.exec(`INSERT INTO post_tags (tag, last_updated, post_id) VALUES (?,?,?)`, tag, updated, id); err != nil {
			break
		}
	}
	return wrap(err, "store tags")
}

func (tx *Tx) untagPost(id int64, updated float64, column *string) error {
	tags, err := parseTags(column)
	for _, tag := range tags {
		if err = tx.exec(`DELETE FROM post_tags WHERE tag = ? AND last_updated = ? AND post_id = ?`, tag, updated, id); err != nil {
			break
		}
	}
	return wrap(err, "delete tags")
}

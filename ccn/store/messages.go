package store

import (
	"fmt"

	"github.com/aleph-im/aleph-go/message"
)

// MessageRow is a message that was applied.
type MessageRow struct {
	ID            int64
	Message       message.Message
	Content       []byte // JSON: item_content or fetched
	Size          int64  // inline: code points of item_content; otherwise bytes of the content file
	Status        message.Status
	ReceptionTime message.Time
	Owner         string  // content.address
	ContentTime   float64 // Unix seconds
	PaymentType   *string // nil when the content has no payment object
	Confirmations []Confirmation
}

// ContentColumns are the members of a content that messages are searched by; nil when absent.
type ContentColumns struct {
	Type     *string // POST, PROGRAM
	Ref      *string // POST, STORE
	Key      *string // AGGREGATE
	ItemHash *string // STORE
	Tags     []string
}

// Message returns an applied message, nil when there is none.
func (r *Reader) Message(h message.Hash) (*MessageRow, error) {
	m := &MessageRow{}
	var signature, text *string
	var confirmed *int64
	ok, err := found(r.row(`SELECT id, type, chain, sender, signature, item_type, item_content, COALESCE(item_content, content),
		time, channel, size, status, reception_time, owner, content_time, payment_type, first_confirmed_at
		FROM `+messagesByEnd+` WHERE `+messageHash, hashArgs(h)...),
		&m.ID, &m.Message.Type, &m.Message.Chain, &m.Message.Sender, &signature, &m.Message.ItemType, &text, &m.Content,
		&m.Message.Time, &m.Message.Channel, &m.Size, &m.Status, &m.ReceptionTime, &m.Owner, &m.ContentTime, &m.PaymentType, &confirmed)
	if err != nil {
		return nil, fmt.Errorf("read message %s: %w", h, err)
	}
	if !ok {
		return nil, nil
	}
	m.Message.ItemHash = h
	m.Message.Signature = value(signature)
	m.Message.ItemContent = value(text)
	if err := r.read(messageText(m)); err != nil {
		return nil, err
	}
	if confirmed != nil {
		if m.Confirmations, err = r.Confirmations(h); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Signature returns the signature under which a message was applied or forgotten, "" when it has none; known is false
// when the message is neither.
func (r *Reader) Signature(h message.Hash) (signature string, status message.Status, err error) {
	if r.foreseen.fresh[h] {
		return "", "", nil
	}
	hash := string(h)
	_, err = found(r.row(`SELECT COALESCE(signature, ''), status FROM `+messagesByEnd+` WHERE `+messageHash+`
		UNION ALL SELECT COALESCE(signature, ''), 'forgotten' FROM forgotten_messages WHERE item_hash = ?
		UNION ALL SELECT COALESCE(signature, ''), 'removed' FROM removed_messages WHERE item_hash = ?`, append(hashArgs(h), hash, hash)...), &signature, &status)
	return signature, status, wrap(err, "read signature of %s", h)
}

// Status returns where a message is in its life and when it was received; "" when it is unknown. The furthest state wins.
func (r *Reader) Status(h message.Hash) (message.Status, message.Time, error) {
	var status message.Status
	var received message.Time
	hash := string(h)
	_, err := found(r.row(`SELECT status, reception_time FROM (
		SELECT 1 AS place, status, reception_time FROM `+messagesByEnd+` WHERE `+messageHash+`
		UNION ALL SELECT 2, 'forgotten', reception_time FROM forgotten_messages WHERE item_hash = ?
		UNION ALL SELECT 3, 'removed', reception_time FROM removed_messages WHERE item_hash = ?
		UNION ALL SELECT 4, 'pending', reception_time FROM pending_messages WHERE item_hash = ?
		UNION ALL SELECT 5, 'rejected', reception_time FROM rejected_messages WHERE item_hash = ?
		) AS places ORDER BY place, reception_time LIMIT 1`, append(hashArgs(h), hash, hash, hash, hash)...), &status, &received)
	return status, received, wrap(err, "read status of %s", h)
}

// InsertMessage stores an applied message and sets m.ID.
func (tx *Tx) InsertMessage(m *MessageRow, c *ContentColumns) error {
	var text, content *string
	if m.Message.ItemType == message.ItemInline {
		text = &m.Message.ItemContent
	} else {
		s := string(m.Content)
		content = &s
	}
	e := &m.Message
	at, height, err := tx.firstConfirmed(e.ItemHash, e.Signature)
	if err != nil {
		return err
	}
	tags := searched(c.Tags)
	tagged, err := tagColumn(tags)
	if err != nil {
		return fmt.Errorf("list tags of message %s: %w", e.ItemHash, err)
	}
	row := []any{
		string(e.ItemHash), string(e.Type), string(e.Chain), e.Sender, optional(e.Signature), string(e.ItemType), text, content, int64(e.Time), e.Channel,
		m.Size, string(m.Status), int64(m.ReceptionTime), m.Owner, m.ContentTime, c.Type, c.Ref, c.Key, c.ItemHash, m.PaymentType, tagged, at, height,
	}
	if err := tx.putMessage(m, row); err != nil {
		return fmt.Errorf("store message %s: %w", e.ItemHash, err)
	}
	tx.appears(e.ItemHash)
	for _, tag := range tags {
		tx.inserts.tags = append(tx.inserts.tags, tag, int64(e.Time), m.ID, string(e.Type))
	}
	if m.Status == message.StatusProcessed {
		tx.tallies.countStat(e.Sender, e.Type, 1)
	}
	tx.tallies.countTerms(e, c.Type, 1)
	return nil
}

// DelegatedSince lists the applied messages of an owner with a content time of t or later that another address signed, in the
// order in which they are folded.
func (r *Reader) DelegatedSince(owner string, t float64) ([]message.Hash, error) {
	list, err := r.hashes(`SELECT item_hash FROM messages WHERE owner = ? AND content_time >= ? AND sender <> owner ORDER BY content_time, item_hash`, owner, t)
	return list, wrap(err, "list messages for %s", owner)
}

// SetMessageStatus moves an applied message between processed and removing.
func (tx *Tx) SetMessageStatus(h message.Hash, s message.Status) error {
	var sender string
	var typ message.Type
	changed, err := found(tx.row(`UPDATE messages SET status = ? WHERE status <> ? AND id = `+messageID+` RETURNING sender, type`,
		append([]any{string(s), string(s)}, hashArgs(h)...)...), &sender, &typ)
	if err != nil || !changed {
		return wrap(err, "set status of %s", h)
	}
	n := int64(1)
	if s != message.StatusProcessed {
		n = -1
	}
	tx.tallies.countStat(sender, typ, n)
	return nil
}

// DeleteMessage deletes the row of an applied message, its tags and what it measured.
func (tx *Tx) DeleteMessage(h message.Hash) error {
	var e message.Message
	var id int64
	var status message.Status
	var contentType, tags *string
	deleted, err := found(tx.row(`DELETE FROM messages WHERE id = `+messageID+` RETURNING id, time, sender, type, chain, status, channel, content_type, tags`,
		hashArgs(h)...), &id, &e.Time, &e.Sender, &e.Type, &e.Chain, &status, &e.Channel, &contentType, &tags)
	tx.inserts.lastID = 0 // it may have been the last
	if err == nil && deleted {
		err = tx.forgetEnd(string(h), id)
	}
	if err == nil && deleted {
		err = tx.untagMessage(id, e.Time, tags)
	}
	if err == nil && deleted && e.Type == message.TypePost {
		err = tx.exec(`DELETE FROM node_metrics WHERE item_hash = ?`, string(h))
	}
	if err != nil || !deleted {
		return wrap(err, "delete message %s", h)
	}
	if status == message.StatusProcessed {
		tx.tallies.countStat(e.Sender, e.Type, -1)
	}
	tx.tallies.countTerms(&e, contentType, -1)
	return nil
}

// wrap says what was attempted; nil stays nil.
func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}

// optional turns "" into NULL.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// Shared reports whether other processes may work on the same database. They tell each other by notices what they did.
func (s *Store) Shared() bool { return s.engine.shared() }

// NoticeKind is what a notice is about.
type NoticeKind string

const (
	NoticeAny     NoticeKind = "any"     // notices may have been lost: look at everything
	NoticeDue     NoticeKind = "due"     // pending messages are due
	NoticeApplied NoticeKind = "applied" // messages were applied: see MessagesAfter
	NoticeSettled NoticeKind = "settled" // the first attempt on these pending rows is over
)

// Notice says that something is there to be read, so that nobody has to ask all the time. It carries nothing that counts.
type Notice struct {
	Kind NoticeKind
	Rows []int64 // ids of pending messages, of NoticeSettled
}

const (
	noticeChannel = "aleph"
	maxNotice     = 7900 // bytes; the server takes less than 8,000
)

// Notify sends a notice to all processes, this one among them, when the transaction commits. A database that is not
// shared sends nothing.
func (tx *Tx) Notify(n Notice) error {
	if !tx.conn.engine.shared() {
		return nil
	}
	send := func(payload string) error {
		var nothing any
		return wrap(tx.row(`SELECT pg_notify(?, ?)`, noticeChannel, payload).Scan(&nothing), "notify of what is %s", n.Kind)
	}
	payload := []byte(n.Kind)
	for _, id := range n.Rows {
		if len(payload) > maxNotice-20 {
			if err := send(string(payload)); err != nil {
				return err
			}
			payload = []byte(n.Kind)
		}
		payload = strconv.AppendInt(append(payload, ' '), id, 10)
	}
	return send(string(payload))
}

func parseNotice(payload string) Notice {
	fields := strings.Fields(payload)
	if len(fields) == 0 {
		return Notice{Kind: NoticeAny}
	}
	n := Notice{Kind: NoticeKind(fields[0])}
	for _, field := range fields[1:] {
		id, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return Notice{Kind: NoticeAny} // of a release that says it in another way
		}
		n.Rows = append(n.Rows, id)
	}
	return n
}

// Listen calls heard with the notices of all processes until ctx ends, from one goroutine. After each connection that was
// lost and made again it says NoticeAny. Its error, if not that of ctx, is that of a lost connection: call it again.
func (s *Store) Listen(ctx context.Context, heard func(Notice)) error {
	return wrap(s.engine.listen(ctx, heard), "listen to the database")
}

// Enqueue makes verified messages durable for a worker to take up, without waiting for the one that writes, and sets
// their ID. A copy that is there already stays as it is; its row says in Retries and ErrorCode what became of it so far.
// The rows must not hold the same copy twice and be sorted by hash, sender and signature.
func (s *Store) Enqueue(ctx context.Context, rows []*PendingRow) error {
	c, err := s.take(ctx, s.queue)
	if err != nil {
		return fmt.Errorf("wait for the queue of messages: %w", err)
	}
	defer func() { s.queue <- c }()
	return c.transaction(ctx, func(ctx context.Context) error {
		tx := newTx(ctx, c)
		for _, p := range rows {
			if err := tx.enqueue(p); err != nil {
				return wrap(err, "store pending message %s", p.Hash)
			}
		}
		return tx.Notify(Notice{Kind: NoticeDue})
	})
}

func (tx *Tx) enqueue(p *PendingRow) error {
	for {
		ok, err := found(tx.row(`INSERT INTO pending_messages (item_hash, sender, signature, message, origin, reception_time, next_attempt, retries, error_code)
			VALUES (?,?,?,?,?,?,?,0,0) ON CONFLICT (item_hash, sender, signature) DO NOTHING RETURNING id`,
			string(p.Hash), p.Sender, p.Signature, string(p.Envelope), p.Origin, int64(p.ReceptionTime), int64(p.NextAttempt)), &p.ID)
		if err != nil || ok {
			return err
		}
		ok, err = found(tx.row(`SELECT id, retries, error_code, details FROM pending_messages WHERE item_hash = ? AND sender = ? AND signature = ?`,
			string(p.Hash), p.Sender, p.Signature), &p.ID, &p.Retries, &p.ErrorCode, (*[]byte)(&p.Details))
		if err != nil || ok {
			return err
		}
		// It was settled between the two statements: the next round inserts it.
	}
}

// TakeDue takes up to limit messages whose next attempt is not after now, the longest due first, and returns when the next
// one is due; 0 when none waits. On a shared database each goes to one process: the others see it again when lease is
// over, if it was not settled by then.
func (s *Store) TakeDue(ctx context.Context, now message.Time, lease time.Duration, limit int) (rows []PendingRow, next message.Time, err error) {
	if !s.Shared() {
		err = s.Read(ctx, func(r *Reader) (err error) {
			if rows, err = r.PendingDue(now, limit); err == nil {
				next, err = r.NextPending()
			}
			return err
		})
		return rows, next, err
	}
	c, err := s.take(ctx, s.queue)
	if err != nil {
		return nil, 0, fmt.Errorf("wait for the queue of messages: %w", err)
	}
	defer func() { s.queue <- c }()
	err = c.transaction(ctx, func(ctx context.Context) error {
		r := &Reader{ctx: ctx, conn: c}
		list, err := r.rows(`UPDATE pending_messages p SET next_attempt = ? WHERE p.id IN (SELECT id FROM pending_messages
			WHERE next_attempt <= ? ORDER BY next_attempt, id LIMIT ? FOR UPDATE SKIP LOCKED) RETURNING p.id, p.item_hash, p.sender,
			p.signature, p.message, p.origin, p.reception_time, p.next_attempt, p.retries, p.error_code, p.details`,
			int64(now)+lease.Microseconds(), int64(now), limit)
		if rows, err = collect(list, err, scanPending); err != nil {
			return wrap(err, "take up pending messages")
		}
		next, err = r.NextPending()
		return err
	})
	return rows, next, err
}

// MessagesAfter lists up to limit applied messages with row numbers greater than id, in the order in which they were
// applied by all processes of a shared database. What was deleted again is left out.
func (r *Reader) MessagesAfter(id int64, limit int) ([]MessageRow, error) {
	list, err := r.rows(`SELECT item_hash FROM messages WHERE id > ? ORDER BY id LIMIT ?`, id, limit)
	hashes, err := collect(list, err, scanHash)
	if err != nil {
		return nil, wrap(err, "list messages after row %d", id)
	}
	var rows []MessageRow
	for _, h := range hashes {
		m, err := r.Message(h)
		if err != nil {
			return nil, err
		}
		if m != nil {
			rows = append(rows, *m)
		}
	}
	return rows, nil
}

// LastMessage returns the row number of the message that was applied last, 0 when there is none.
func (r *Reader) LastMessage() (id int64, err error) {
	_, err = found(r.row(`SELECT COALESCE(MAX(id), 0) FROM messages`), &id)
	return id, wrap(err, "find the last message")
}

package check

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/aleph-im/aleph-go/ccn/state"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// batch is how many messages are applied in one transaction of the scratch database.
const batch = 2000

// state applies all messages again, in the order in which they were applied, to an empty database, and compares.
func (c *checker) state(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp(c.cfg.Scratch, "aleph-check-")
	if err != nil {
		return fmt.Errorf("make a folder for the computed state: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	fresh, err := store.Open(ctx, "sqlite:"+filepath.Join(dir, "state.db"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, fresh.Close()) }()

	st := state.New(state.Config{Params: c.cfg.Params})
	var applied int64
	rows := make([]*store.MessageRow, 0, batch)
	flush := func() error {
		err := fresh.Write(ctx, func(tx *store.Tx) error {
			for _, row := range rows {
				if err := c.apply(tx, st, row); err != nil {
					return err
				}
			}
			return nil
		})
		applied += int64(len(rows))
		c.cfg.Progress("state", applied)
		rows = rows[:0]
		return err
	}
	err = c.r.EachMessage(func(row *store.MessageRow) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if rows = append(rows, row); len(rows) == batch {
			return flush()
		}
		return nil
	})
	if err == nil {
		err = flush()
	}
	if err != nil {
		return err
	}
	return fresh.Read(ctx, func(r *store.Reader) error {
		return store.Compare(c.r, r, func(d store.Difference) error { return c.differs(&d) })
	})
}

// apply applies one message again.
func (c *checker) apply(tx *store.Tx, st *state.State, row *store.MessageRow) error {
	content, err := message.ParseContent(row.Message.Type, row.Content)
	if err != nil {
		return nil // said already
	}
	it := &state.Item{
		Message: &row.Message, Content: content, Raw: row.Content, Size: row.Size, ReceptionTime: row.ReceptionTime, Accepted: true,
	}
	for _, h := range st.Needs(it) {
		f, err := c.look.File(h)
		if err != nil {
			return err
		}
		if f == nil {
			continue // the pin that is missing a file was found
		}
		if _, err := tx.PutFile(f); err != nil {
			return err
		}
	}
	effect, err := st.Apply(tx, it)
	if err == nil && effect.Refusal != nil {
		err = effect.Refusal
	}
	var refusal *message.Error
	if errors.As(err, &refusal) {
		c.report.add(Finding{
			"state", string(row.Message.ItemHash), fmt.Sprintf("the message was applied and would be refused now: %v", refusal), rebuild,
		})
		return nil
	} else if err != nil {
		return fmt.Errorf("apply message %s again: %w", row.Message.ItemHash, err)
	}
	if row.Status != message.StatusProcessed {
		return tx.SetMessageStatus(row.Message.ItemHash, row.Status)
	}
	return nil
}

// gone are the tables whose rows may come from a message that is no longer there: column of its hash in a row.
var gone = map[string]int{"balance": 5, "credit": 0, "lot": 1}

// differs reports a row that is not what the messages add up to, unless it cannot be computed.
func (c *checker) differs(d *store.Difference) error {
	switch d.Table {
	case "forgotten": // checked by themselves
		return nil
	case "file":
		if d.Right == nil {
			return nil // kept for a grace period, or uploaded and not referred to yet
		}
	}
	if column, ok := gone[d.Table]; ok && d.Left != nil {
		h, _ := d.Left[column].(string)
		_, status, err := c.look.Signature(message.Hash(h))
		if err != nil {
			return err
		}
		if status == message.StatusForgotten || status == message.StatusRemoved {
			return nil
		}
	}
	problem := fmt.Sprintf("the %s row is %s; the messages add up to %s", d.Table, text(d.Left), text(d.Right))
	switch {
	case d.Left == nil:
		problem = fmt.Sprintf("the %s row is missing; the messages add up to %s", d.Table, text(d.Right))
	case d.Right == nil:
		problem = fmt.Sprintf("the %s row is there and no message makes it: %s", d.Table, text(d.Left))
	}
	key := make([]string, len(d.Key))
	for i, v := range d.Key {
		key[i] = fmt.Sprint(v)
	}
	c.report.add(Finding{"state", strings.Join(key, " "), problem, rebuild})
	return nil
}

// text writes a row for people, long values cut.
func text(row []any) string {
	var b strings.Builder
	for i, v := range row {
		if i > 0 {
			b.WriteString(" | ")
		}
		s := fmt.Sprint(v)
		if v == nil {
			s = "-"
		}
		if len(s) > 200 {
			s = s[:200] + "…"
		}
		b.WriteString(s)
	}
	return b.String()
}

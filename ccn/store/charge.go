package store

import (
	"context"
	"database/sql"
)

// Lists have as many rows as a client asks for, and rows as much text as users sent. Who reads them for a client is told of each
// row, so that it can stop before memory is full.

type chargeKey struct{}

// Charging returns a context in which charge is told the bytes of each row of a list, and of each long text, when it is read. An
// error of charge ends the reading and is returned by it.
func Charging(ctx context.Context, charge func(bytes int) error) context.Context {
	return context.WithValue(ctx, chargeKey{}, charge)
}

// rowBytes is about what a row takes without its long texts.
const rowBytes = 512

// charged returns what is told of the rows; nil: nobody wants to know.
func charged(ctx context.Context) func(bytes int) error {
	charge, _ := ctx.Value(chargeKey{}).(func(int) error)
	return charge
}

// read tells of a row that was read and has so many bytes of long texts.
func (r *Reader) read(text int) error {
	if r.charge == nil {
		return nil
	}
	return r.charge(rowBytes + text)
}

// collectFor is collect for a list that a client asks for. text is how many bytes of long texts a row has; nil: none.
func collectFor[T any](r *Reader, rows *sql.Rows, err error, scan func(*sql.Rows, *T) error, text func(*T) int) ([]T, error) {
	return collect(rows, err, func(rows *sql.Rows, item *T) error {
		if err := scan(rows, item); err != nil {
			return err
		}
		if text == nil {
			return r.read(0)
		}
		return r.read(text(item))
	})
}

func messageText(m *MessageRow) int { return len(m.Content) + len(m.Message.ItemContent) }

func aggregateText(a *AggregateRow) int { return len(a.Content) }

package store

import (
	"cmp"
	"database/sql"
	"fmt"
	"slices"
)

// Difference is a row of derived state that two databases do not agree on.
type Difference struct {
	Table string // as Dump calls it
	Key   []any  // what names the row: int64, float64 or string
	Left  []any  // the row with its key; nil when only the right database has it
	Right []any  // nil when only the left one has it
}

// Compare calls visit with each row of derived state that differs between two databases, until it returns an error, which
// Compare then returns. It holds two rows in memory at a time. Pins that no message holds are left out: they depend on
// when the node let go of a file.
func Compare(left, right *Reader, visit func(Difference) error) error {
	for _, d := range derivations {
		if d.keys == 0 {
			continue
		}
		if err := compare(left, right, d, visit); err != nil {
			return fmt.Errorf("compare %s rows: %w", d.name, err)
		}
	}
	return nil
}

func compare(left, right *Reader, d derived, visit func(Difference) error) error {
	l, err := openCursor(left, d.query)
	if err != nil {
		return err
	}
	defer l.rows.Close()
	r, err := openCursor(right, d.query)
	if err != nil {
		return err
	}
	defer r.rows.Close()
	for l.row != nil || r.row != nil {
		order := 0
		switch {
		case r.row == nil:
			order = -1
		case l.row == nil:
			order = 1
		default:
			order = slices.CompareFunc(l.row[:d.keys], r.row[:d.keys], compareValues)
		}
		diff := Difference{Table: d.name}
		if order <= 0 {
			diff.Key, diff.Left = l.row[:d.keys], l.row
			if err := l.next(); err != nil {
				return err
			}
		}
		if order >= 0 {
			diff.Key, diff.Right = r.row[:d.keys], r.row
			if err := r.next(); err != nil {
				return err
			}
		}
		if order == 0 && slices.Equal(diff.Left, diff.Right) {
			continue
		}
		if err := visit(diff); err != nil {
			return err
		}
	}
	return nil
}

// cursor is a query and the row it stands on, nil after the last one.
type cursor struct {
	rows *sql.Rows
	row  []any
	n    int
}

func openCursor(r *Reader, query string) (*cursor, error) {
	rows, err := r.rows(query)
	if err != nil {
		return nil, err
	}
	columns, err := rows.Columns()
	if err != nil {
		rows.Close()
		return nil, err
	}
	c := &cursor{rows: rows, n: len(columns)}
	if err := c.next(); err != nil {
		rows.Close()
		return nil, err
	}
	return c, nil
}

func (c *cursor) next() error {
	c.row = nil
	if !c.rows.Next() {
		return c.rows.Err()
	}
	row, targets := make([]any, c.n), make([]any, c.n)
	for i := range row {
		targets[i] = &row[i]
	}
	if err := c.rows.Scan(targets...); err != nil {
		return err
	}
	for i, v := range row {
		if text, ok := v.([]byte); ok {
			row[i] = string(text)
		}
	}
	c.row = row
	return nil
}

// compareValues orders the values of a key as both engines do: text by byte.
func compareValues(a, b any) int {
	switch a := a.(type) {
	case int64:
		if b, ok := b.(int64); ok {
			return cmp.Compare(a, b)
		}
	case string:
		if b, ok := b.(string); ok {
			return cmp.Compare(a, b)
		}
	}
	return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b))
}

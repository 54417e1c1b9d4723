package store

import (
	"database/sql"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/aleph-im/aleph-go/message"
)

// AddressStats counts the processed messages of a sender.
type AddressStats struct {
	Address                                                      string
	Total, Aggregate, Forget, Instance, Post, Program, FileStore int64
}

// Sorted returns the count that a sort column names.
func (s *AddressStats) Sorted(column string) int64 {
	switch column {
	case "aggregate":
		return s.Aggregate
	case "forget":
		return s.Forget
	case "instance":
		return s.Instance
	case "post":
		return s.Post
	case "program":
		return s.Program
	case "store":
		return s.FileStore
	}
	return s.Total
}

// StatColumns lists the columns that address statistics are sorted by.
func StatColumns() []string { return statColumns[:] }

// StatsFilter chooses senders.
type StatsFilter struct {
	Addresses    []string // nil: all
	Contains     string   // part of the address, in any case of letters
	Sort         string   // one of StatColumns; "" is total
	Ascending    bool     // of the sort column; ties go by ascending address
	AfterValue   int64    // with AfterAddress: only what follows
	AfterAddress string
	Limit        int // 0: no limit
	Offset       int64
}

func (f *StatsFilter) where() *where {
	w := &where{}
	if f.Addresses != nil {
		w.in("address", f.Addresses)
	}
	if f.Contains != "" {
		pattern := strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(strings.ToLower(f.Contains))
		w.add(`LOWER(address) LIKE ? ESCAPE '\'`, "%"+pattern+"%")
	}
	return w
}

// ListStats lists senders by how much they sent.
func (r *Reader) ListStats(f StatsFilter) ([]AddressStats, error) {
	if f.Sort == "" {
		f.Sort = statColumns[0]
	}
	if !slices.Contains(statColumns[:], f.Sort) {
		return nil, fmt.Errorf("list address statistics: no column %q", f.Sort)
	}
	w := f.where()
	order, past := "DESC", "<"
	if f.Ascending {
		order, past = "ASC", ">"
	}
	if f.AfterAddress != "" {
		w.add(f.Sort+" "+past+"= ? AND ("+f.Sort+" "+past+" ? OR address > ?)", f.AfterValue, f.AfterValue, f.AfterAddress)
	}
	query := "SELECT address, total, aggregate, forget, instance, post, program, store FROM address_stats" + w.String() +
		" ORDER BY " + f.Sort + " " + order + ", address ASC" + w.limit(f.Limit, f.Offset)
	rows, err := r.rows(query, w.args...)
	list, err := collectFor(r, rows, err, func(rows *sql.Rows, s *AddressStats) error {
		return rows.Scan(&s.Address, &s.Total, &s.Aggregate, &s.Forget, &s.Instance, &s.Post, &s.Program, &s.FileStore)
	}, nil)
	return list, wrap(err, "list address statistics")
}

// CountStats counts what ListStats would list without its limit.
func (r *Reader) CountStats(f StatsFilter) (n int64, err error) {
	w := f.where()
	_, err = found(r.row("SELECT COUNT(*) FROM address_stats"+w.String(), w.args...), &n)
	return n, wrap(err, "count addresses")
}

// atMost takes a number of rows. The cast hides the number from SQLite, which would otherwise read a table as a whole and sort
// it where it is asked for so few rows that sorting seems to cost nothing, although an index has them in order.
const atMost = " LIMIT CAST(? AS BIGINT)"

// limit returns the clause that cuts a page out; a limit of 0 or less cuts nothing.
func (w *where) limit(limit int, offset int64) string {
	if limit <= 0 {
		return ""
	}
	w.args = append(w.args, limit, offset)
	return atMost + " OFFSET ?"
}

// reach returns how many rows of each part of a list a page may be made of. Pages beyond all bounds are asked for too.
func reach(limit int, offset int64) int64 {
	return int64(limit) + min(offset, math.MaxInt64-int64(limit))
}

// PostTypes lists the types of the posts that an address sent.
func (r *Reader) PostTypes(address string) ([]string, error) { return r.terms(address, termPostType) }

// Channels lists the channels of the messages that an address sent; "" for every address.
func (r *Reader) Channels(address string) ([]string, error) { return r.terms(address, termChannel) }

func (r *Reader) terms(address, kind string) ([]string, error) {
	rows, err := r.rows(`SELECT term FROM address_terms WHERE address = ? AND kind = ? ORDER BY term`, address, kind)
	list, err := collect(rows, err, func(rows *sql.Rows, s *string) error { return rows.Scan(s) })
	return list, wrap(err, "list %ss of %s", kind, address)
}

// OwnedFile is a file that a STORE message of an address keeps.
type OwnedFile struct {
	File    message.Hash
	Size    int64
	Type    string
	Created float64 // content time of the STORE
	Message message.Hash
}

// OwnedFileFilter chooses files of an owner.
type OwnedFileFilter struct {
	Owner     string
	File      string // only this one; "" for all
	Ascending bool   // by Created; ties go by ascending message
	AfterTime float64
	After     message.Hash // with AfterTime: only what follows that message
	Limit     int          // 0: no limit
	Offset    int64
}

// OwnedFiles lists the files of an owner.
func (r *Reader) OwnedFiles(f OwnedFileFilter) ([]OwnedFile, error) {
	w := &where{}
	w.add("p.owner = ?", f.Owner)
	w.add("p.type = 'message'")
	if f.File != "" {
		w.add("p.file_hash = ?", f.File)
	}
	order, past := "DESC", "<"
	if f.Ascending {
		order, past = "ASC", ">"
	}
	if f.After != "" {
		// The time in a cursor is rounded; that of the pin itself is exact.
		pin, err := r.Pin(f.After, PinMessage)
		if err != nil {
			return nil, err
		}
		if pin != nil {
			f.AfterTime = pin.Created
		}
		w.add("p.created "+past+"= ? AND (p.created "+past+" ? OR p.item_hash > ?)", f.AfterTime, f.AfterTime, string(f.After))
	}
	rows, err := r.rows("SELECT p.file_hash, f.size, f.type, p.created, p.item_hash FROM file_pins p JOIN files f ON f.hash = p.file_hash"+
		w.String()+" ORDER BY p.created "+order+", p.item_hash ASC"+w.limit(f.Limit, f.Offset), w.args...)
	list, err := collectFor(r, rows, err, func(rows *sql.Rows, o *OwnedFile) error {
		return rows.Scan(&o.File, &o.Size, &o.Type, &o.Created, &o.Message)
	}, nil)
	return list, wrap(err, "list files of %s", f.Owner)
}

// OwnedTotal returns how many files an owner has and how many bytes they are together; a file that two messages keep
// counts twice.
func (r *Reader) OwnedTotal(owner string) (count, size int64, err error) {
	_, err = found(r.row(`SELECT COUNT(*), CAST(COALESCE(SUM(f.size), 0) AS BIGINT) FROM file_pins p JOIN files f ON f.hash = p.file_hash
		WHERE p.owner = ? AND p.type = 'message'`, owner), &count, &size)
	return count, size, wrap(err, "sum files of %s", owner)
}

// CountPins counts the pins of a file, of any kind.
func (r *Reader) CountPins(file string) (n int64, err error) {
	_, err = found(r.row(`SELECT COUNT(*) FROM file_pins WHERE file_hash = ?`, file), &n)
	return n, wrap(err, "count pins of %s", file)
}

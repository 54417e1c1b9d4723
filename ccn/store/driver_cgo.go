//go:build cgo

package store

import (
	"errors"

	"github.com/mattn/go-sqlite3" // SQLite compiled from C: the faster of the two
)

const sqliteDriver = "sqlite3"

func sqliteBusy(err error) bool {
	var e sqlite3.Error
	return errors.As(err, &e) && e.Code == sqlite3.ErrBusy
}

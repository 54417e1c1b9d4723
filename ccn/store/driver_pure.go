//go:build !cgo

package store

import (
	"errors"

	modernc "modernc.org/sqlite" // SQLite translated to Go, for builds without a C compiler
	codes "modernc.org/sqlite/lib"
)

const sqliteDriver = "sqlite"

func sqliteBusy(err error) bool {
	var e *modernc.Error
	return errors.As(err, &e) && e.Code()&0xff == codes.SQLITE_BUSY // without what extends the code
}

//go:build cgo

package instance

import _ "github.com/mattn/go-sqlite3" // SQLite compiled from C: the faster of the two

const sqliteDriver = "sqlite3"

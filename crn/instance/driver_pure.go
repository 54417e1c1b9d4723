//go:build !cgo

package instance

import _ "modernc.org/sqlite" // SQLite translated to Go, for builds without a C compiler

const sqliteDriver = "sqlite"

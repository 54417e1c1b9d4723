package store

import (
	"errors"
	"fmt"
	"strings"
)

// ErrFull says that the disk of the database has no room for what was to be written. Nothing of it was.
var ErrFull = errors.New("the disk of the database is full: make room on it")

// full makes an ErrFull of what an engine says of a disk without room.
func full(err error) error {
	if err == nil || errors.Is(err, ErrFull) {
		return err
	}
	// Words of SQLite, of PostgreSQL, and of the system in what either passes on.
	for _, text := range []string{"disk is full", "disk full", "No space left on device"} {
		if strings.Contains(err.Error(), text) {
			return fmt.Errorf("%w (%w)", ErrFull, err)
		}
	}
	return err
}

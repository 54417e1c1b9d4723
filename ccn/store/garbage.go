package store

import (
	"slices"

	"github.com/aleph-im/aleph-go/message"
)

// FilesDue lists up to limit files that were kept until now, or shorter, on nobody's behalf: those that are due for longest.
func (r *Reader) FilesDue(now message.Time, limit int) ([]message.Hash, error) {
	list, err := r.hashes(`SELECT file_hash FROM file_pins WHERE delete_by <= ? AND type = 'grace_period' AND item_hash IS NULL
		ORDER BY delete_by, file_hash LIMIT ?`, int64(now), limit)
	slices.Sort(list) // a file may be kept twice
	list = slices.Compact(list)
	return list, wrap(err, "list files that were kept long enough")
}

// ReleaseFile deletes the pins of a file that ended by now and, when nothing else keeps it, its row. It reports whether the
// file is garbage then.
func (tx *Tx) ReleaseFile(file message.Hash, now message.Time) (bool, error) {
	err := tx.exec(`DELETE FROM file_pins WHERE file_hash = ? AND delete_by <= ? AND type = 'grace_period' AND item_hash IS NULL`,
		string(file), int64(now))
	if err != nil {
		return false, wrap(err, "release file %s", file)
	}
	pinned, err := tx.Pinned(file)
	if err != nil || pinned {
		return false, err
	}
	return true, wrap(tx.exec(`DELETE FROM files WHERE hash = ?`, string(file)), "forget file %s", file)
}

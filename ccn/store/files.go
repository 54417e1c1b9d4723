package store

import (
	"database/sql"

	"github.com/aleph-im/aleph-go/message"
)

// FileRow is a file or folder that some message refers to.
type FileRow struct {
	Hash message.Hash
	Size int64  // bytes
	Type string // FileTypeFile or FileTypeDir
}

// Types of files and of pins.
const (
	FileTypeFile = "file"
	FileTypeDir  = "dir"

	PinMessage = "message"      // a STORE message
	PinContent = "content"      // the content of a message
	PinGrace   = "grace_period" // nothing else, until DeleteBy
)

// PinRow is a reason to keep a file.
type PinRow struct {
	File     message.Hash
	Type     string
	Owner    string
	Message  message.Hash // that pins; "" when none does
	Ref      *string
	Tag      *string // file tag that the pin competes for
	Created  float64 // content time
	DeleteBy *message.Time
}

// TagRow names the newest version of a file.
type TagRow struct {
	Tag         string
	Owner       string
	File        message.Hash
	Message     message.Hash
	ContentTime float64
}

func scanHash(rows *sql.Rows, h *message.Hash) error { return rows.Scan(h) }

// File returns a file, nil when it is unknown.
func (r *Reader) File(h message.Hash) (*FileRow, error) {
	f := &FileRow{Hash: h}
	ok, err := found(r.row(`SELECT size, type FROM files WHERE hash = ?`, string(h)), &f.Size, &f.Type)
	if err != nil || !ok {
		return nil, wrap(err, "read file %s", h)
	}
	return f, nil
}

// FileSize returns the size in bytes of a file.
func (r *Reader) FileSize(h message.Hash) (size int64, ok bool, err error) {
	f, err := r.File(h)
	if err != nil || f == nil {
		return 0, false, err
	}
	return f.Size, true, nil
}

// ReferencedFile returns the file that a reference of a VM means: the newest version under the tag ref, or the file
// pinned by exactly the STORE message ref. The size is in bytes.
func (r *Reader) ReferencedFile(ref message.Hash, latest bool) (file message.Hash, size int64, ok bool, err error) {
	query := `SELECT f.hash, f.size FROM file_pins p JOIN files f ON f.hash = p.file_hash WHERE p.item_hash = ? AND p.type = 'message'`
	if latest {
		query = `SELECT f.hash, f.size FROM file_tags t JOIN files f ON f.hash = t.file_hash WHERE t.tag = ?`
	}
	ok, err = found(r.row(query, string(ref)), &file, &size)
	return file, size, ok, wrap(err, "read file named by %s", ref)
}

// VersionAt returns the file that a tag meant at the place (t, h): its newest version before it, or the oldest when there
// was none yet. The size is in bytes.
func (r *Reader) VersionAt(tag string, t float64, h message.Hash) (file message.Hash, size int64, ok bool, err error) {
	const version = `SELECT f.hash, f.size FROM file_pins p JOIN files f ON f.hash = p.file_hash WHERE p.tag = ? AND p.type = 'message' `
	ok, err = found(r.row(version+`AND (p.created, p.item_hash) < (?, ?) ORDER BY p.created DESC, p.item_hash DESC LIMIT 1`,
		tag, t, string(h)), &file, &size)
	if err == nil && !ok {
		ok, err = found(r.row(version+`ORDER BY p.created, p.item_hash LIMIT 1`, tag), &file, &size)
	}
	return file, size, ok, wrap(err, "read version of %s", tag)
}

// Versions lists the STORE messages whose files compete for a tag.
func (r *Reader) Versions(tag string) ([]message.Hash, error) {
	list, err := r.hashes(`SELECT item_hash FROM file_pins WHERE tag = ? AND type = 'message' ORDER BY item_hash`, tag)
	return list, wrap(err, "list versions of %s", tag)
}

// PutFile records a file; what is known of it stays. It reports whether the file is new.
func (tx *Tx) PutFile(f *FileRow) (bool, error) {
	n, err := tx.affected(`INSERT INTO files (hash, size, type) VALUES (?,?,?) ON CONFLICT DO NOTHING`, string(f.Hash), f.Size, f.Type)
	return n > 0, wrap(err, "store file %s", f.Hash)
}

// Pin returns the pin of a kind that a message holds, nil when there is none. A type that could choose an index would have SQLite
// plan the query anew for each.
func (r *Reader) Pin(h message.Hash, kind string) (*PinRow, error) {
	p := &PinRow{Message: h, Type: kind}
	var owner *string
	ok, err := found(r.row(`SELECT file_hash, owner, ref, tag, created, delete_by FROM file_pins WHERE item_hash = ? AND `+r.conn.engine.checked("type")+` = ?`, string(h), kind),
		&p.File, &owner, &p.Ref, &p.Tag, &p.Created, &p.DeleteBy)
	if err != nil || !ok {
		return nil, wrap(err, "read pin of %s", h)
	}
	p.Owner = value(owner)
	return p, nil
}

// Pinned reports whether a file has a pin of any kind.
func (r *Reader) Pinned(file message.Hash) (bool, error) {
	var one int
	ok, err := found(r.row(`SELECT 1 FROM file_pins WHERE file_hash = ? LIMIT 1`, string(file)), &one)
	return ok, wrap(err, "read pins of file %s", file)
}

// InsertPin stores a pin.
func (tx *Tx) InsertPin(p *PinRow) error {
	return wrap(tx.exec(`INSERT INTO file_pins (file_hash, type, owner, item_hash, ref, tag, created, delete_by) VALUES (?,?,?,?,?,?,?,?)`,
		string(p.File), p.Type, optional(p.Owner), optional(string(p.Message)), p.Ref, p.Tag, p.Created, (*int64)(p.DeleteBy)),
		"pin file %s", p.File)
}

// DeletePin deletes the pin of a kind that a message holds.
func (tx *Tx) DeletePin(h message.Hash, kind string) error {
	return wrap(tx.exec(`DELETE FROM file_pins WHERE item_hash = ? AND `+tx.conn.engine.checked("type")+` = ?`, string(h), kind), "delete pin of %s", h)
}

// DeleteGracePins deletes the pins that keep a file for a while on nobody's behalf.
func (tx *Tx) DeleteGracePins(file message.Hash) error {
	return wrap(tx.exec(`DELETE FROM file_pins WHERE file_hash = ? AND type = 'grace_period' AND item_hash IS NULL`, string(file)),
		"delete grace pins of file %s", file)
}

// Tag returns a file tag, nil when there is none.
func (r *Reader) Tag(tag string) (*TagRow, error) {
	t := &TagRow{Tag: tag}
	ok, err := found(r.row(`SELECT owner, file_hash, item_hash, content_time FROM file_tags WHERE tag = ?`, tag),
		&t.Owner, &t.File, &t.Message, &t.ContentTime)
	if err != nil || !ok {
		return nil, wrap(err, "read file tag %s", tag)
	}
	return t, nil
}

// PutTag stores a file tag.
func (tx *Tx) PutTag(t *TagRow) error {
	return wrap(tx.exec(`INSERT INTO file_tags (tag, owner, file_hash, item_hash, content_time) VALUES (?,?,?,?,?)
		ON CONFLICT (tag) DO UPDATE SET owner = excluded.owner, file_hash = excluded.file_hash, item_hash = excluded.item_hash,
		content_time = excluded.content_time`, t.Tag, t.Owner, string(t.File), string(t.Message), t.ContentTime), "store file tag %s", t.Tag)
}

// RebuildTag makes a tag name the newest of the pins that compete for it, and deletes it when there is none.
func (tx *Tx) RebuildTag(tag string) error {
	t := &TagRow{Tag: tag}
	ok, err := found(tx.row(`SELECT COALESCE(owner, ''), file_hash, item_hash, created FROM file_pins WHERE tag = ? AND type = 'message'
		ORDER BY created DESC, item_hash DESC LIMIT 1`, tag), &t.Owner, &t.File, &t.Message, &t.ContentTime)
	if err != nil {
		return wrap(err, "rebuild file tag %s", tag)
	}
	if !ok {
		return wrap(tx.exec(`DELETE FROM file_tags WHERE tag = ?`, tag), "delete file tag %s", tag)
	}
	return tx.PutTag(t)
}

// KeepUntil keeps a file that nothing else keeps until a time, or longer when that was promised before.
func (tx *Tx) KeepUntil(file message.Hash, now, until message.Time) error {
	n, err := tx.affected(`UPDATE file_pins SET delete_by = CASE WHEN delete_by < ? THEN ? ELSE delete_by END
		WHERE file_hash = ? AND type = 'grace_period'`, int64(until), int64(until), string(file))
	if err != nil || n > 0 {
		return wrap(err, "keep file %s", file)
	}
	return tx.InsertPin(&PinRow{File: file, Type: PinGrace, Created: now.Seconds(), DeleteBy: &until})
}

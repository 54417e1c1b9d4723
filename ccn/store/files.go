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

// VersionRow is a file that is stored under a tag.
type VersionRow struct {
	Owner       string
	File        message.Hash
	Message     message.Hash
	ContentTime float64
}

// newestVersion and oldestVersion choose among the pins p that compete for a tag, along their index. It has the beginnings of hashes,
// so that who gives many versions the same time makes none of them slow to find.
var (
	newestVersion = ` ORDER BY p.created DESC, ` + hashStart("p.item_hash") + ` DESC, p.item_hash DESC LIMIT 1`
	oldestVersion = ` ORDER BY p.created, ` + hashStart("p.item_hash") + `, p.item_hash LIMIT 1`
)

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
	const pinned = `SELECT f.hash, f.size FROM file_pins p JOIN files f ON f.hash = p.file_hash WHERE p.type = 'message' AND `
	if latest {
		ok, err = found(r.row(pinned+`p.tag = ?`+newestVersion, string(ref)), &file, &size)
	} else {
		ok, err = found(r.row(pinned+byHash("p.item_hash"), hashArgs(ref)...), &file, &size)
	}
	return file, size, ok, wrap(err, "read file named by %s", ref)
}

// VersionAt returns the file that a tag meant at the place (t, h): its newest version before it, or the oldest when there
// was none yet. The size is in bytes.
func (r *Reader) VersionAt(tag string, t float64, h message.Hash) (file message.Hash, size int64, ok bool, err error) {
	const version = `SELECT f.hash, f.size FROM file_pins p JOIN files f ON f.hash = p.file_hash WHERE p.tag = ? AND p.type = 'message' `
	ok, err = found(r.row(version+`AND (p.created, p.item_hash) < (?, ?)`+newestVersion, tag, t, string(h)), &file, &size)
	if err == nil && !ok {
		ok, err = found(r.row(version+oldestVersion, tag), &file, &size)
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
	ok, err := found(r.row(`SELECT file_hash, owner, ref, tag, created, delete_by FROM file_pins WHERE `+byHash("item_hash")+` AND `+r.conn.engine.checked("type")+` = ?`,
		append(hashArgs(h), kind)...),
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
	return wrap(tx.exec(`DELETE FROM file_pins WHERE `+byHash("item_hash")+` AND `+tx.conn.engine.checked("type")+` = ?`, append(hashArgs(h), kind)...), "delete pin of %s", h)
}

// DeleteGracePins deletes the pins that keep a file for a while on nobody's behalf.
func (tx *Tx) DeleteGracePins(file message.Hash) error {
	return wrap(tx.exec(`DELETE FROM file_pins WHERE file_hash = ? AND type = 'grace_period' AND item_hash IS NULL`, string(file)),
		"delete grace pins of file %s", file)
}

// Tag returns the newest version under a tag by (content time, hash), nil when there is none.
func (r *Reader) Tag(tag string) (*VersionRow, error) {
	v := &VersionRow{}
	ok, err := found(r.row(`SELECT COALESCE(p.owner, ''), p.file_hash, p.item_hash, p.created FROM file_pins p
		WHERE p.tag = ? AND p.type = 'message'`+newestVersion, tag), &v.Owner, &v.File, &v.Message, &v.ContentTime)
	if err != nil || !ok {
		return nil, wrap(err, "read file tag %s", tag)
	}
	return v, nil
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

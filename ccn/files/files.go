// Package files keeps files by the hash of their bytes, and fetches those it lacks from other nodes.
//
// The node's API puts uploads in and reads downloads out; intake reads message contents and asks the [Fetcher] for what is
// missing; the collection of garbage deletes what the database no longer names. Nothing enters a [Store] whose bytes do not
// hash to its name. Files named by their sha256 are kept by [Disk] or by files/s3, those named by a CID by files/ipfs, and
// [Combine] makes one Store of both. Every Store must pass ccn/files/filestest.
package files

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// Info is what a store knows of a file.
type Info struct {
	Hash message.Hash
	// Size is in bytes; of a folder, that of all blocks below it, as IPFS counts.
	Size int64
	Dir  bool // a folder; only IPFS has them
	// Stored is when the file was last put or kept.
	Stored time.Time
}

// Store holds files by hash. All methods may be called at once from many goroutines, and by several processes on the same
// data. A file that Put, PutExpecting or Keep returned is whole and durable: it survives a power cut.
type Store interface {
	// Put stores what r gives and names it by its hash: sha256, or CIDv0 where files are IPFS. More than limit bytes is
	// ErrTooLarge; a limit of 0 or less means none. After an error nothing of the file can be read.
	Put(ctx context.Context, r io.Reader, limit int64) (message.Hash, int64, error)

	// PutExpecting is Put for a file whose hash is known; other bytes are ErrWrongHash. A hash that this store cannot
	// compute is ErrUnverifiable.
	PutExpecting(ctx context.Context, h message.Hash, r io.Reader, limit int64) (int64, error)

	// Open returns the file and its size in bytes, or ErrNotFound. A folder is ErrFolder. The caller closes the file.
	Open(ctx context.Context, h message.Hash) (io.ReadSeekCloser, int64, error)

	// Stat describes a file, or returns ErrNotFound when the store does not hold it, or not all of it.
	Stat(ctx context.Context, h message.Hash) (Info, error)

	// Keep is Stat for a caller that is about to rely on the file: the file counts as put now, so that an Expire which
	// was decided before spares it. What is IPFS is pinned by it.
	Keep(ctx context.Context, h message.Hash) (Info, error)

	// Delete removes the file. One that is not there is no error.
	Delete(ctx context.Context, h message.Hash) error

	// Expire is Delete for a file that was neither put nor kept since before, and reports whether it deleted one. Who
	// decides from a database that a file is not needed must use it: an upload of the same bytes may be under way.
	Expire(ctx context.Context, h message.Hash, before time.Time) (bool, error)

	// Verify reads all of the file and returns ErrWrongHash when it is not what its name says, ErrNotFound when it is not
	// all there.
	Verify(ctx context.Context, h message.Hash) error

	// Walk calls f for each file, in no order, until f returns an error, which Walk then returns. Files that come or go
	// meanwhile may be left out.
	Walk(ctx context.Context, f func(Info) error) error
}

var (
	// ErrNotFound says that the store does not hold the file. It matches fs.ErrNotExist.
	ErrNotFound = notFound{}
	// ErrTooLarge says that there were more bytes than the limit of the call.
	ErrTooLarge = errors.New("file is larger than allowed")
	// ErrWrongHash says that the bytes do not hash to the name under which they were offered.
	ErrWrongHash = errors.New("bytes do not match the file's hash")
	// ErrUnverifiable says that the store has no way to check bytes against that kind of name.
	ErrUnverifiable = errors.New("the store cannot verify files with this kind of name")
	// ErrFolder says that the name is a folder's, which has no bytes of its own.
	ErrFolder = errors.New("a folder, not a file")
	// ErrFull says that there is no room left on the disk.
	ErrFull = errors.New("no space left for files: free space on the disk of the data folder")
)

type notFound struct{}

func (notFound) Error() string        { return "file not found" }
func (notFound) Is(target error) bool { return target == fs.ErrNotExist }

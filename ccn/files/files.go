// Package files keeps files by the hash of their bytes, and fetches those it lacks from other nodes.
//
// The node's API puts uploads in and reads downloads out; intake reads message contents and asks the [Fetcher] for what is
// missing. Nothing enters a [Store] whose bytes do not hash to its name. [Disk] is the implementation on a folder; every
// implementation must pass ccn/files/filestest.
package files

import (
	"context"
	"errors"
	"io"
	"io/fs"

	"github.com/aleph-im/aleph-go/message"
)

// Store holds files by hash. All methods may be called at once from many goroutines. A file that Put or PutExpecting
// returned is durable: it survives a power cut.
type Store interface {
	// Put stores what r gives and names it by its sha256. More than limit bytes is ErrTooLarge; a limit of 0 or less means
	// none. After an error nothing of the file remains.
	Put(ctx context.Context, r io.Reader, limit int64) (message.Hash, int64, error)

	// PutExpecting is Put for a file whose hash is known; other bytes are ErrWrongHash. A hash that is not a sha256 is
	// ErrUnverifiable.
	PutExpecting(ctx context.Context, h message.Hash, r io.Reader, limit int64) (int64, error)

	// Open returns the file and its size in bytes, or ErrNotFound. The caller closes it.
	Open(ctx context.Context, h message.Hash) (io.ReadSeekCloser, int64, error)

	// Stat returns the size in bytes, or ErrNotFound.
	Stat(ctx context.Context, h message.Hash) (int64, error)

	// Delete removes the file. One that is not there is no error.
	Delete(ctx context.Context, h message.Hash) error
}

var (
	// ErrNotFound says that the store does not hold the file. It matches fs.ErrNotExist.
	ErrNotFound = notFound{}
	// ErrTooLarge says that there were more bytes than the limit of the call.
	ErrTooLarge = errors.New("file is larger than allowed")
	// ErrWrongHash says that the bytes do not hash to the name under which they were offered.
	ErrWrongHash = errors.New("bytes do not match the file's hash")
	// ErrUnverifiable says that the name is no sha256, so that bytes cannot be checked against it.
	ErrUnverifiable = errors.New("only files named by their sha256 can be verified")
	// ErrFull says that there is no room left on the disk.
	ErrFull = errors.New("no space left for files: free space on the disk of the data folder")
)

type notFound struct{}

func (notFound) Error() string        { return "file not found" }
func (notFound) Is(target error) bool { return target == fs.ErrNotExist }

package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/aleph-im/aleph-go/internal/unixfs"
	"github.com/aleph-im/aleph-go/message"
)

// Folder is a folder that is ready to be sent to IPFS: it was read to its end and has its CID.
type Folder struct {
	Hash message.Hash // CID, of version 1
	Size int64        // bytes of the archive that is sent

	archive *unixfs.Archive
}

// HashFolder reads a folder and computes the CID under which IPFS will have it. Links and devices are refused.
func HashFolder(ctx context.Context, folder fs.FS) (*Folder, error) {
	a, err := unixfs.Pack(ctx, folder, unixfs.V1)
	if err != nil {
		return nil, fmt.Errorf("hash folder: %w", err)
	}
	return &Folder{message.Hash(a.Root), a.Size, a}, nil
}

// UploadFolder sends a folder together with the signed STORE message that pays for it. It is read once more and packed on the
// way, never held in memory. Engine of the options is not used: folders are on IPFS.
func (c *Client) UploadFolder(ctx context.Context, by Account, folder *Folder, o UploadOptions) (*Uploaded, error) {
	o.Engine = message.ItemIPFS
	return c.upload(ctx, by, carPath, upload{hash: folder.Hash, size: folder.Size, archive: true, open: func(from int64) (io.ReadCloser, error) {
		r, w := io.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.CloseWithError(folder.archive.WriteTo(ctx, w))
		}()
		p := &packing{r, done}
		if _, err := io.CopyN(io.Discard, p, from); err != nil { // an archive is made anew, the same
			return nil, errors.Join(err, p.Close())
		}
		return p, nil
	}}, o)
}

// packing is an archive while it is written by a goroutine, which Close ends.
type packing struct {
	*io.PipeReader
	done chan struct{}
}

func (p *packing) Close() error {
	err := p.PipeReader.Close()
	<-p.done
	return err
}

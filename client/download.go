package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/internal/unixfs"
	"github.com/aleph-im/aleph-go/message"
)

// DownloadFile writes the file with the given hash to w and returns its size in bytes; a folder of IPFS is written as the tar
// archive that nodes make of it. A transfer that breaks off goes on where it was, at another node if there is one.
//
// The bytes are proven while they pass: an error after the last one means that w holds what must not be used. Other bytes than
// those asked for are an [*UntrustedError], a file or folder of IPFS that cannot be proven an [*UnprovenError].
func (c *Client) DownloadFile(ctx context.Context, hash message.Hash, w io.Writer) (int64, error) {
	c.compare(ctx)
	d := &download{c: c, hash: hash, to: w}
	defer d.close()
	_, err := c.repeat(ctx, func() (answer, error) {
		base := c.pool.first()
		began := time.Now()
		a, err := d.fetch(ctx, base)
		var wrong *UntrustedError
		if !errors.As(err, &wrong) {
			c.note(ctx, base, began, a, err, false)
		}
		if d.failed == nil && err != nil && !d.open() {
			d.failed = err
		}
		if d.failed != nil {
			return a, nil // no further attempt helps
		}
		return a, err
	}, len(c.pool.nodes))
	if err = errors.Join(d.failed, err); err != nil {
		return d.size, fmt.Errorf("download file %s: %w", hash, err)
	}
	return d.size, nil
}

// download is a file that comes in one or more pieces.
type download struct {
	c    *Client
	hash message.Hash
	to   io.Writer
	size int64 // bytes that were written

	proof  proof // made with the first piece
	folder bool
	failed error // ends it for good
}

// proof takes the bytes of a file and says whether they are those that a hash names.
type proof interface {
	io.Writer
	// Holds reports whether the bytes so far are the file. Nothing is written after it.
	Holds() (bool, error)
	Close() error
}

// open reports whether what is missing can be asked for again.
func (d *download) open() bool { return !d.folder || d.size == 0 }

func (d *download) close() {
	if d.proof != nil {
		_ = d.proof.Close() // it only frees memory
	}
}

// fetch asks a node for what is missing. The answer has no body.
func (d *download) fetch(ctx context.Context, base string) (answer, error) {
	target := base + "/api/v0/storage/raw/" + url.PathEscape(string(d.hash))
	ctx, alive, cancel := untilStall(ctx)
	defer cancel()
	req, err := d.c.request(ctx, http.MethodGet, target, nil)
	if err != nil {
		return answer{}, err
	}
	if d.size > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", d.size))
	}
	resp, err := d.c.http.Do(req)
	if err != nil {
		return answer{}, because(ctx, err)
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, url: target, wait: retryAfter(resp.Header, time.Now())}
	body := &meter{r: resp.Body, moved: func(int64) { alive(stall) }}
	switch {
	case resp.StatusCode == http.StatusOK:
		if _, err := io.CopyN(io.Discard, body, d.size); err != nil { // a node that knows no ranges begins anew
			return a, because(ctx, err)
		}
	case resp.StatusCode == http.StatusPartialContent &&
		strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", d.size)):
	default:
		if a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxError)); err != nil {
			return a, because(ctx, err)
		}
		if err = httpError(http.MethodGet, target, a); tryLater(a.status) {
			return a, err
		}
		d.failed = err
		return a, nil
	}
	if d.proof == nil {
		d.folder = resp.Header.Get("Content-Type") == "application/x-tar"
		if d.proof, err = d.prover(); err != nil {
			d.failed = err
			return a, nil
		}
	}
	n, err := io.Copy(&both{d}, body)
	d.size += n
	if err != nil {
		return a, because(ctx, err)
	}
	d.failed = d.prove(base)
	return a, nil
}

// both hands bytes to the proof and to the caller, whose errors no other node mends.
type both struct{ d *download }

func (b *both) Write(p []byte) (int, error) {
	n, err := b.d.to.Write(p)
	if err != nil {
		b.d.failed = err
		return n, err
	}
	if _, err := b.d.proof.Write(p); err != nil {
		b.d.failed = err
		return n, err
	}
	return n, nil
}

func (d *download) prover() (proof, error) {
	switch {
	case d.c.cfg.TrustNode:
		return believed{}, nil
	case d.hash.Kind() == message.ItemStorage:
		return &sha256Proof{sha256.New(), d.hash}, nil
	case d.hash.Kind() != message.ItemIPFS:
		return nil, fmt.Errorf("%q is not the hash of a file", d.hash)
	case d.folder:
		return unixfs.ProveFolder(string(d.hash))
	}
	return unixfs.ProveFile(string(d.hash))
}

// prove decides on the whole file.
func (d *download) prove(base string) error {
	ok, err := d.proof.Holds()
	switch {
	case err != nil:
		return err
	case ok:
		return nil
	case d.hash.Kind() == message.ItemIPFS:
		return &UnprovenError{d.hash}
	}
	err = &UntrustedError{Node: base, What: "file " + string(d.hash), Err: errors.New("these bytes have another hash")}
	d.c.pool.failed(base, err, 0)
	return err
}

type sha256Proof struct {
	hash.Hash
	want message.Hash
}

func (p *sha256Proof) Holds() (bool, error) {
	return hex.EncodeToString(p.Hash.Sum(nil)) == string(p.want), nil
}

func (p *sha256Proof) Close() error { return nil }

// believed proves nothing.
type believed struct{}

func (believed) Write(p []byte) (int, error) { return len(p), nil }
func (believed) Holds() (bool, error)        { return true, nil }
func (believed) Close() error                { return nil }

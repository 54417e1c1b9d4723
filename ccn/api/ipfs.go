package api

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/files/ipfs"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// IPFS is the node's IPFS: an *ipfs.Node.
type IPFS interface {
	files.Store
	ImportCAR(ctx context.Context, r io.Reader, limit int64, accept func(root message.Hash) error) (message.Hash, int64, error)
	WriteTar(ctx context.Context, h message.Hash, w io.Writer) error
	Lookup(ctx context.Context, folder message.Hash, path string) (message.Hash, error)
	Describe(ctx context.Context, h message.Hash) (files.Info, error)
	Block(ctx context.Context, h message.Hash) ([]byte, error)
}

func (a *API) ipfsRoutes() routes {
	return routes{
		"POST /api/v0/ipfs/add_file": long{plain(a.addIPFS)},
		"POST /api/v0/ipfs/add_car":  long{plain(a.addCAR)},
		"POST /api/v0/ipfs/add_json": long{plain(a.addIPFSJSON)},
	}
}

func (a *API) ipfsBoundary(r *http.Request) (string, error) {
	if a.cfg.IPFS == nil {
		return "", refuse(http.StatusForbidden, "403: IPFS is disabled on this node")
	}
	if err := plainBody(r); err != nil {
		return "", err
	}
	boundary, isForm := multipartFields(r)
	if !isForm {
		return "", refuse(http.StatusBadRequest, "400: Expected Content-Type: multipart/form-data")
	}
	return boundary, nil
}

// readIPFSPayment is readPayment for a file whose name is a CID.
func readIPFSPayment(raw []byte) (*payment, error) {
	p, err := readPayment(raw)
	if err != nil {
		return nil, err
	}
	if p.content.FileType != message.ItemIPFS {
		return nil, refuse(http.StatusUnprocessableEntity, "422: Expected item_type=ipfs in STORE message, got ItemType.%s", p.content.FileType)
	}
	return p, nil
}

// addIPFS stores a file under its CIDv0 (ccn-api §8.2).
func (a *API) addIPFS(w http.ResponseWriter, r *http.Request) error {
	boundary, err := a.ipfsBoundary(r)
	if err != nil {
		return err
	}
	var u upload
	f, err := a.readForm(w, r, boundary, a.cfg.Params.MaxIPFSFile, func(part io.Reader) (err error) {
		u.hash, u.size, err = a.cfg.IPFS.Put(r.Context(), part, a.cfg.Params.MaxIPFSFile)
		return err
	})
	defer f.release()
	free := a.cfg.Params.MaxUnauthenticated
	switch {
	case err != nil:
		return err
	case !f.found:
		return refuse(http.StatusUnprocessableEntity, "422: Missing 'file' in multipart form.")
	case f.metadata == nil && u.size > free:
		return a.drop(r.Context(), &u, tooLarge(free))
	}
	status := http.StatusOK
	if f.metadata == nil {
		err = a.keep(r.Context(), &u)
	} else {
		status, err = a.payIPFS(r.Context(), f.metadata, &u)
	}
	if err != nil {
		return err
	}
	name := f.name
	if name == "" {
		name = "file"
	}
	return reply(w, status, map[string]any{"status": "success", "hash": u.hash, "name": name, "size": u.size})
}

func (a *API) payIPFS(ctx context.Context, metadata []byte, u *upload) (int, error) {
	p, err := readIPFSPayment(metadata)
	if err != nil {
		return 0, a.drop(ctx, u, err)
	}
	if p.content.FileHash != u.hash {
		return 0, a.drop(ctx, u, refuse(http.StatusUnprocessableEntity, "422: File hash does not match (%s != %s)", u.hash, p.content.FileHash))
	}
	status, err := a.pay(ctx, p, u)
	if err != nil {
		return 0, a.drop(ctx, u, err)
	}
	return status, nil
}

// drop gives up what was pinned for an upload that is refused, unless the network knows it, and returns the refusal.
func (a *API) drop(ctx context.Context, u *upload, refusal error) error {
	ctx = context.WithoutCancel(ctx)
	var row *store.FileRow
	err := a.cfg.Store.Read(ctx, func(r *store.Reader) (err error) {
		row, err = r.File(u.hash)
		return err
	})
	if err == nil && row == nil {
		err = a.cfg.IPFS.Delete(ctx, u.hash)
	}
	if err != nil {
		a.cfg.Logger.Error("refused upload not dropped", "file", u.hash, "error", err)
	}
	return refusal
}

// addCAR imports an archive of blocks, which a signed message must pay for (ccn-api §8.2). The archive is streamed before
// it is known who pays when its part comes first; the refusals go in the order of the specification all the same.
func (a *API) addCAR(w http.ResponseWriter, r *http.Request) error {
	boundary, err := a.ipfsBoundary(r)
	if err != nil {
		return err
	}
	limit := a.cfg.Params.MaxCAR
	var u upload
	var imported error
	f, err := a.readForm(w, r, boundary, limit, func(part io.Reader) error {
		u = upload{}
		accept := func(root message.Hash) error { u.hash = root; return nil }
		_, u.size, imported = a.cfg.IPFS.ImportCAR(r.Context(), part, limit, accept)
		if errors.Is(imported, files.ErrTooLarge) || errors.Is(imported, files.ErrFull) {
			return imported
		}
		return nil
	})
	defer f.release()
	switch {
	case err != nil:
		return err
	case !f.found:
		return refuse(http.StatusUnprocessableEntity, "422: Missing 'file' in multipart form.")
	}
	status, err := a.payCAR(r.Context(), f.metadata, &u, imported)
	if err != nil {
		if imported == nil {
			return a.drop(r.Context(), &u, err)
		}
		return err
	}
	return reply(w, status, map[string]any{"status": "success", "hash": u.hash, "size": u.size})
}

func (a *API) payCAR(ctx context.Context, metadata []byte, u *upload, imported error) (int, error) {
	if metadata == nil {
		return 0, refuse(http.StatusUnprocessableEntity, "422: metadata is required for CAR upload")
	}
	p, err := readIPFSPayment(metadata)
	if err != nil {
		return 0, err
	}
	if errors.Is(imported, ipfs.ErrInvalidCAR) {
		return 0, refuse(http.StatusUnprocessableEntity, "422: Invalid CAR file: %v", imported)
	}
	if u.hash != "" && u.hash != p.content.FileHash {
		return 0, refuse(http.StatusUnprocessableEntity, "422: Root CID does not match (%s != %s)", u.hash, p.content.FileHash)
	}
	if imported != nil {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		return 0, refuse(http.StatusBadGateway, "502: Failed to import CAR into IPFS: %v", imported)
	}
	info, err := a.stat(ctx, u.hash)
	if err != nil {
		return 0, err
	}
	u.dir = info.Dir
	recorded := *u
	if !info.Dir {
		recorded.size = info.Size
	}
	return a.pay(ctx, p, &recorded)
}

// stat looks for a file in IPFS as long as a client waits for it.
func (a *API) stat(ctx context.Context, h message.Hash) (files.Info, error) {
	within, cancel := context.WithTimeout(ctx, a.limits.Stat)
	defer cancel()
	info, err := a.cfg.IPFS.Stat(within, h)
	if err != nil && ctx.Err() == nil && within.Err() != nil {
		return info, refuse(http.StatusGatewayTimeout, "504: Timed out waiting for IPFS stat")
	}
	return info, err
}

// addIPFSJSON stores a JSON value in canonical form under its CIDv0 (ccn-api §8.3).
func (a *API) addIPFSJSON(w http.ResponseWriter, r *http.Request) error {
	if a.cfg.IPFS == nil {
		return refuse(http.StatusForbidden, "403: IPFS is disabled on this node")
	}
	return a.putJSON(w, r, a.cfg.IPFS)
}

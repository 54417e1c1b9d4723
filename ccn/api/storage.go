package api

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"mime"
	"mime/multipart"
	"net/http"
	"strconv"
	"time"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/ledger"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature"
)

// metadata is the part of an upload that pays for it: a signed STORE message.
type metadata struct {
	Message json.RawMessage `json:"message"`
	Sync    *bool           `json:"sync"`
}

// addFile stores a file, streamed to disk while it is hashed (ccn-api §8.1).
func (a *API) addFile(w http.ResponseWriter, r *http.Request) error {
	kind, fields, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind != "multipart/form-data" {
		limit := a.cfg.Params.MaxUnauthenticated
		hash, size, err := a.cfg.Files.Put(r.Context(), http.MaxBytesReader(w, r.Body, limit), limit)
		if err != nil {
			return a.uploadFault(err, limit)
		}
		return a.keepUnpaid(w, r.Context(), hash, size)
	}
	var meta *metadata
	var hash message.Hash
	var size int64
	found := false
	parts := multipart.NewReader(r.Body, fields["boundary"])
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return refuse(http.StatusBadRequest, "400: upload ended early or is malformed: %v", err)
		}
		switch part.FormName() {
		case "file":
			if hash, size, err = a.cfg.Files.Put(r.Context(), part, a.cfg.Params.MaxFile); err != nil {
				return a.uploadFault(err, a.cfg.Params.MaxFile)
			}
			found = true
		case "metadata":
			raw, err := io.ReadAll(io.LimitReader(part, maxBody))
			if err != nil {
				return refuse(http.StatusBadRequest, "400: upload ended early: %v", err)
			}
			meta = &metadata{}
			if err := json.Unmarshal(raw, meta); err != nil || len(meta.Message) == 0 || meta.Sync == nil {
				return refuse(http.StatusUnprocessableEntity, "422: Could not decode metadata: want {\"message\": <STORE message>, \"sync\": <bool>}")
			}
		}
	}
	switch {
	case !found:
		return refuse(http.StatusBadRequest, "400: File should be sent as FormData or Raw Upload")
	case meta == nil && size > a.cfg.Params.MaxUnauthenticated:
		return a.uploadFault(files.ErrTooLarge, a.cfg.Params.MaxUnauthenticated)
	case meta == nil:
		return a.keepUnpaid(w, r.Context(), hash, size)
	}
	return a.keepPaid(w, r.Context(), meta, hash, size)
}

func (a *API) uploadFault(err error, limit int64) error {
	var tooLarge *http.MaxBytesError
	if errors.Is(err, files.ErrTooLarge) || errors.As(err, &tooLarge) {
		return refuse(http.StatusRequestEntityTooLarge, "Maximum request body size %d exceeded.", limit)
	}
	if errors.Is(err, files.ErrFull) {
		return refuse(http.StatusInsufficientStorage, "507: the node's disk is full, the file was not stored: %v", err)
	}
	return err
}

// keepUnpaid pins a file for the grace period.
func (a *API) keepUnpaid(w http.ResponseWriter, ctx context.Context, hash message.Hash, size int64) error {
	now := time.Now()
	deleteBy := message.TimeFrom(now.Add(time.Duration(a.cfg.Params.FileGracePeriod) * time.Second))
	err := a.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		if _, err := tx.PutFile(&store.FileRow{Hash: hash, Size: size, Type: store.FileTypeFile}); err != nil {
			return err
		}
		return tx.InsertPin(&store.PinRow{File: hash, Type: store.PinGrace, Created: message.TimeFrom(now).Seconds(), DeleteBy: &deleteBy})
	})
	if err != nil {
		return err
	}
	if err := a.cfg.Intake.FileArrived(ctx, hash); err != nil {
		return err
	}
	return reply(w, http.StatusOK, map[string]any{"status": "success", "hash": hash})
}

// keepPaid checks that the signed STORE message is for this file and can be paid, records the file and takes the message.
func (a *API) keepPaid(w http.ResponseWriter, ctx context.Context, meta *metadata, hash message.Hash, size int64) error {
	m, content, err := message.Parse(meta.Message)
	if err != nil {
		return refuse(http.StatusUnprocessableEntity, "422: Invalid store message content: %v", err)
	}
	if err := signature.Default().Verify(m); err != nil {
		return &fault{status: http.StatusForbidden}
	}
	file, ok := content.(*message.Store)
	if !ok {
		return refuse(http.StatusUnprocessableEntity, "422: Invalid store message content: want an inline STORE message, got %s", m.Type)
	}
	if file.FileHash != hash {
		return refuse(http.StatusUnprocessableEntity, "422: File hash does not match (%s != %s)", hash, file.FileHash)
	}
	affordable := true
	err = a.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		if _, err := tx.PutFile(&store.FileRow{Hash: hash, Size: size, Type: store.FileTypeFile}); err != nil {
			return err
		}
		affordable, err = a.affordable(tx.Reader, m.ItemHash, file, size)
		return err
	})
	if err != nil {
		return err
	}
	if !affordable {
		return &fault{status: http.StatusPaymentRequired}
	}
	if err := a.cfg.Intake.FileArrived(ctx, hash); err != nil {
		return err
	}
	_, status, err := a.submit(ctx, meta.Message, *meta.Sync)
	if err != nil {
		return err
	}
	return reply(w, status, map[string]any{"status": "success", "hash": hash})
}

// affordable tells whether the tokens that the owner holds cover the file beside all that they cover already. Small files
// are free to who holds, and credits are checked when the message is applied.
func (a *API) affordable(r *store.Reader, hash message.Hash, file *message.Store, size int64) (bool, error) {
	if ledger.PaymentType(file) != message.PaymentHold || size <= a.cfg.Params.MaxUnauthenticated {
		return true, nil
	}
	costs, err := a.costs(r, hash, file)
	if err != nil {
		return false, err
	}
	total, err := costs.Total()
	if err != nil {
		return false, err
	}
	held, locked, err := holdings(r, file.Address)
	if err != nil {
		return false, err
	}
	cost, ok := new(big.Rat).SetString(ledger.Text(total))
	if !ok {
		return false, fmt.Errorf("cost of %s is not a number: %s", hash, total)
	}
	return held.Cmp(cost.Add(cost, locked)) >= 0, nil
}

// addJSON stores a JSON value in canonical form: compact, members sorted (ccn-api §8.3).
func (a *API) addJSON(w http.ResponseWriter, r *http.Request) error {
	limit := a.cfg.Params.MaxUnauthenticated
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		return err
	}
	canonical, err := canonicalJSON(body)
	if err != nil {
		return refuse(http.StatusUnprocessableEntity, "422: the body is not JSON: %v", err)
	}
	hash, size, err := a.cfg.Files.Put(r.Context(), bytes.NewReader(canonical), int64(len(canonical)))
	if err != nil {
		return a.uploadFault(err, limit)
	}
	return a.keepUnpaid(w, r.Context(), hash, size)
}

// file finds a stored file by the hash in the path.
func (a *API) file(r *http.Request, refusal string) (*store.FileRow, error) {
	hash, err := message.ParseHash(r.PathValue("hash"))
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "%s", refusal)
	}
	var row *store.FileRow
	err = a.cfg.Store.Read(r.Context(), func(rd *store.Reader) (err error) {
		row, err = rd.File(hash)
		return err
	})
	if err != nil {
		return nil, err
	}
	if row == nil {
		return nil, refuse(http.StatusNotFound, "Not found")
	}
	return row, nil
}

// rawFile serves the bytes of a file (ccn-api §8.4).
func (a *API) rawFile(w http.ResponseWriter, r *http.Request) error {
	row, err := a.file(r, "Invalid hash")
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Length", strconv.FormatInt(row.Size, 10))
	h.Set("Accept-Ranges", "none")
	if r.Method == http.MethodHead {
		return nil
	}
	f, _, err := a.cfg.Files.Open(r.Context(), row.Hash)
	if errors.Is(err, files.ErrNotFound) {
		h.Del("Content-Length")
		return refuse(http.StatusNotFound, "Not found")
	}
	if err != nil {
		return err
	}
	defer f.Close()
	_, _ = io.Copy(w, f) // too late for another answer; the client sees a short body
	return nil
}

// encodedFile serves a file as base64 in JSON, which reference nodes ask each other for (ccn-api §8.5).
func (a *API) encodedFile(w http.ResponseWriter, r *http.Request) error {
	row, err := a.file(r, "Invalid hash provided")
	if err != nil {
		return err
	}
	if row.Size > a.cfg.Params.MaxFile {
		return refuse(http.StatusRequestEntityTooLarge, "Maximum request body size %d exceeded.", a.cfg.Params.MaxFile)
	}
	f, _, err := a.cfg.Files.Open(r.Context(), row.Hash)
	if errors.Is(err, files.ErrNotFound) {
		return refuse(http.StatusNotFound, "No file found for hash %s", row.Hash)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	fmt.Fprintf(w, `{"status":"success","hash":"%s","engine":"%s","content":"`, row.Hash, row.Hash.Kind())
	encoder := base64.NewEncoder(base64.StdEncoding, w)
	_, _ = io.Copy(encoder, f) // too late for another answer; the client sees a short body
	encoder.Close()
	_, _ = io.WriteString(w, `"}`)
	return nil
}

package api

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/files/partial"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/internal/listen"
	"github.com/aleph-im/aleph-go/message"
)

// Uploads that resume speak tus 1.0.0 (https://tus.io/protocols/resumable-upload) with its extensions below. What pays for one
// comes in its Upload-Metadata, under "metadata" as in the form of a plain upload; "format" is "car" for an archive of blocks.
const (
	tusVersion    = "1.0.0"
	tusExtensions = "creation,expiration,termination"
	tusExposed    = "Date,Content-Length,Location,Tus-Resumable,Tus-Version,Tus-Extension,Tus-Max-Size,Upload-Offset,Upload-Length,Upload-Expires"
	uploadsPath   = "/api/v0/uploads"

	finishing = 30 * time.Minute // in which a whole upload is stored
)

func (a *API) resumeRoutes() routes {
	if a.cfg.Uploads == nil {
		return nil
	}
	return routes{
		"OPTIONS " + uploadsPath:          plain(a.tellUploads),
		"POST " + uploadsPath:             plain(tus(a.beginUpload)),
		"GET " + uploadsPath + "/{id}":    long{plain(tus(a.uploadOffset))}, // it waits for one that is being stored
		"PATCH " + uploadsPath + "/{id}":  long{plain(tus(a.appendUpload))},
		"DELETE " + uploadsPath + "/{id}": plain(tus(a.endUpload)),
		"POST " + uploadsPath + "/{id}":   long{plain(tus(a.overrideUpload))},
	}
}

// tellUploads says what the node speaks.
func (a *API) tellUploads(w http.ResponseWriter, r *http.Request) error {
	speakTus(w)
	h := w.Header()
	h.Set("Tus-Version", tusVersion)
	h.Set("Tus-Extension", tusExtensions)
	h.Set("Tus-Max-Size", strconv.FormatInt(max(a.cfg.Params.MaxFile, a.cfg.Params.MaxIPFSFile, a.cfg.Params.MaxCAR), 10))
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func speakTus(w http.ResponseWriter) {
	w.Header().Set("Tus-Resumable", tusVersion)
	w.Header().Set("Access-Control-Expose-Headers", tusExposed)
}

// tus refuses requests of another version.
func tus(do plain) plain {
	return func(w http.ResponseWriter, r *http.Request) error {
		speakTus(w)
		if asked := r.Header.Get("Tus-Resumable"); asked != tusVersion {
			w.Header().Set("Tus-Version", tusVersion)
			return refuse(http.StatusPreconditionFailed, "412: say Tus-Resumable: %s, not %q", tusVersion, asked)
		}
		return do(w, r)
	}
}

// beginUpload checks what can be checked before the first byte: who sends, how much, and whether that is paid for.
func (a *API) beginUpload(w http.ResponseWriter, r *http.Request) error {
	length, err := strconv.ParseInt(r.Header.Get("Upload-Length"), 10, 64)
	if err != nil || length < 0 {
		return refuse(http.StatusBadRequest, "400: say the number of bytes with Upload-Length")
	}
	said, err := uploadMetadata(r.Header.Get("Upload-Metadata"))
	if err != nil {
		return err
	}
	u := partial.Upload{Length: length, Metadata: said["metadata"], Archive: string(said["format"]) == "car"}
	if u.Metadata == nil {
		return refuse(http.StatusUnprocessableEntity, "422: metadata is required for uploads that resume")
	}
	p, err := a.uploadPayment(&u)
	if err != nil {
		return err
	}
	if limit := a.uploadLimit(&u, p); length > limit {
		return tooLarge(limit)
	}
	if err := a.fresh(r.Context(), p); err != nil {
		return err
	}
	u.Sender, u.Hash = p.message.Sender, p.content.FileHash
	if err := a.foreseen(r.Context(), p, &u); err != nil {
		return err
	}
	if u.Hash.Kind() == message.ItemStorage {
		known, err := a.cfg.Files.Keep(r.Context(), u.Hash)
		u.Known = err == nil && known.Size == length
	}
	id, err := a.cfg.Uploads.Begin(u)
	switch {
	case errors.Is(err, partial.ErrNoRoom):
		return refuse(http.StatusServiceUnavailable, "503: %v: upload it in one piece, or later", err)
	case err != nil:
		return uploadFault(files.Full(err), length)
	}
	w.Header().Set("Location", uploadsPath+"/"+id)
	a.expires(w)
	w.WriteHeader(http.StatusCreated)
	return nil
}

// fresh refuses to begin an upload with a message that anybody may have by now: whoever begins an upload finds what its sender
// has begun, and may have it given up.
func (a *API) fresh(ctx context.Context, p *payment) error {
	signed := time.UnixMicro(int64(p.content.Time * 1e6))
	if off := a.cfg.Now().Sub(signed); off.Abs() > partial.Age {
		return refuse(http.StatusUnprocessableEntity, "422: the STORE message is of %s, more than a day off: sign a new one", signed.UTC().Format(time.RFC3339))
	}
	h := p.message.ItemHash
	var status message.Status
	err := a.cfg.Store.Read(ctx, func(r *store.Reader) (err error) {
		status, _, err = r.Status(h)
		return err
	})
	if err == nil && status != "" && status != message.StatusPending {
		err = refuse(http.StatusConflict, "409: STORE message %s is %s already: sign a new one", h, status)
	}
	return err
}

// uploadMetadata reads pairs of a name and a value in base64.
func uploadMetadata(text string) (map[string][]byte, error) {
	said := map[string][]byte{}
	for pair := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(pair), " ")
		raw, err := base64.StdEncoding.DecodeString(value)
		if err != nil {
			return nil, refuse(http.StatusBadRequest, "400: Upload-Metadata: %q is not base64", name)
		}
		said[name] = raw
	}
	return said, nil
}

// uploadPayment checks what pays for an upload, as far as it can be without the file.
func (a *API) uploadPayment(u *partial.Upload) (*payment, error) {
	p, err := readPayment(u.Metadata)
	if err != nil {
		return nil, err
	}
	switch {
	case u.Archive && p.content.FileType != message.ItemIPFS:
		return nil, refuse(http.StatusUnprocessableEntity, "422: Expected item_type=ipfs in STORE message, got ItemType.%s", p.content.FileType)
	case p.content.FileType == message.ItemIPFS && a.cfg.IPFS == nil:
		return nil, refuse(http.StatusForbidden, "403: IPFS is disabled on this node")
	}
	return p, nil
}

func (a *API) uploadLimit(u *partial.Upload, p *payment) int64 {
	switch {
	case u.Archive:
		return a.cfg.Params.MaxCAR
	case p.content.FileType == message.ItemIPFS:
		return a.cfg.Params.MaxIPFSFile
	}
	return a.cfg.Params.MaxFile
}

// foreseen tells whether funds would cover an upload, as far as it is known before: what an archive adds up to only when the node
// has it already.
func (a *API) foreseen(ctx context.Context, p *payment, u *partial.Upload) error {
	if u.Archive {
		var row *store.FileRow
		err := a.cfg.Store.Read(ctx, func(r *store.Reader) (err error) {
			row, err = r.File(u.Hash)
			return err
		})
		if err != nil || row == nil {
			return err
		}
	}
	return a.covered(ctx, p, &upload{hash: u.Hash, size: u.Length}) // what is known of the file counts
}

// covered tells whether funds would cover a file, and leaves nothing behind.
func (a *API) covered(ctx context.Context, p *payment, u *upload) error {
	judged := errors.New("judged")
	err := a.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		if err := a.judge(tx, p, u); err != nil {
			return err
		}
		return judged // so that nothing is written
	})
	if errors.Is(err, judged) {
		return nil
	}
	return err
}

func (a *API) expires(w http.ResponseWriter) {
	w.Header().Set("Upload-Expires", a.cfg.Now().Add(partial.Age).UTC().Format(http.TimeFormat))
}

// take takes an upload for one request. A later request for it ends the reading of this one.
func (a *API) take(r *http.Request) (context.Context, *partial.Taken, error) {
	ctx, cancel := context.WithCancel(r.Context())
	taken, err := a.cfg.Uploads.Take(ctx, r.PathValue("id"), func() {
		cancel()
		if b, ok := r.Body.(*listen.Body); ok {
			b.Interrupt()
		}
	})
	switch {
	case errors.Is(err, partial.ErrNotFound):
		err = refuse(http.StatusNotFound, "404: there is no such upload: it is finished, or too old")
	case errors.Is(err, partial.ErrBusy):
		err = refuse(http.StatusLocked, "423: the upload is in use, try again later")
	}
	if err != nil {
		cancel()
	}
	return ctx, taken, err
}

// uploadOffset says how much of an upload is there.
func (a *API) uploadOffset(w http.ResponseWriter, r *http.Request) error {
	_, taken, err := a.take(r)
	if err != nil {
		return err
	}
	offset, length := taken.Offset, taken.Length
	if err := taken.Close(); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Upload-Offset", strconv.FormatInt(offset, 10))
	h.Set("Upload-Length", strconv.FormatInt(length, 10))
	a.expires(w)
	text(w, http.StatusOK, fmt.Sprintf("%d of %d bytes", offset, length))
	return nil
}

// overrideUpload is for clients that can only GET and POST.
func (a *API) overrideUpload(w http.ResponseWriter, r *http.Request) error {
	switch r.Header.Get("X-HTTP-Method-Override") {
	case http.MethodPatch:
		return a.appendUpload(w, r)
	case http.MethodDelete:
		return a.endUpload(w, r)
	}
	return refuse(http.StatusMethodNotAllowed, "405: send bytes with PATCH")
}

func (a *API) endUpload(w http.ResponseWriter, r *http.Request) error {
	_, taken, err := a.take(r)
	if err != nil {
		return err
	}
	if err := errors.Join(taken.Drop(), taken.Close()); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// appendUpload adds bytes to an upload. Once it is whole its file is stored and its message taken in; when that fails for a
// reason that may pass, a PATCH without bytes tries again.
func (a *API) appendUpload(w http.ResponseWriter, r *http.Request) (err error) {
	if err := plainBody(r); err != nil {
		return err
	}
	if kind := r.Header.Get("Content-Type"); kind != "application/offset+octet-stream" {
		return refuse(http.StatusUnsupportedMediaType, "415: send bytes as application/offset+octet-stream, not %q", kind)
	}
	ctx, taken, err := a.take(r)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, taken.Close()) }()
	if offset := r.Header.Get("Upload-Offset"); offset != strconv.FormatInt(taken.Offset, 10) {
		return refuse(http.StatusConflict, "409: the upload has %d bytes, Upload-Offset is %q", taken.Offset, offset)
	}
	if taken.Offset < taken.Length {
		read := &watched{from: r.Body}
		err := taken.Append(ctx, read)
		if ctx.Err() != nil {
			w.Header().Set("Connection", "close") // it was interrupted: the next request on it would be too
		}
		switch {
		case err != nil && ctx.Err() != nil && r.Context().Err() == nil:
			return refuse(http.StatusConflict, "409: another request goes on with the upload")
		case errors.Is(read.err, os.ErrDeadlineExceeded):
			return read.err
		case read.err != nil:
			return refuse(http.StatusBadRequest, "400: the bytes end early: %v", read.err)
		case err != nil:
			return uploadFault(err, taken.Length)
		}
	}
	status := http.StatusAccepted
	if taken.Offset == taken.Length {
		if status, err = a.finish(r.Context(), taken); err != nil {
			return err
		}
	}
	if status == http.StatusUnprocessableEntity { // the file was taken, its message refused
		return reply(w, status, accepted{"success", taken.Hash})
	}
	w.Header().Set("Upload-Offset", strconv.FormatInt(taken.Offset, 10))
	if taken.Offset < taken.Length {
		a.expires(w)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// finish stores a whole upload and takes in the message that pays for it. It returns the status that a plain upload would have.
// A client that leaves does not end it: it would begin all of it again.
func (a *API) finish(ctx context.Context, t *partial.Taken) (int, error) {
	ctx, cancel := a.outlasting(ctx)
	defer cancel()
	status, err := a.storeUpload(ctx, t)
	var refusal *fault
	refused := errors.As(err, &refusal)
	switch {
	case err == nil, refused && final(refusal.status):
		return status, errors.Join(err, t.Drop())
	case !refused && ctx.Err() != nil:
		return 0, refuse(http.StatusServiceUnavailable, "503: the upload is there, and was not stored in time: try again later")
	}
	return 0, err // it stays, whole
}

// outlasting returns a context that goes on when that of a request ends. It ends after a while, and with the node: as late as
// requests are cut off then.
func (a *API) outlasting(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishing)
	go func() { // ends with ctx
		select {
		case <-a.cfg.Stopping: // nil never is closed
		case <-ctx.Done():
			return
		}
		grace := time.NewTimer(a.limits.Grace)
		defer grace.Stop()
		select {
		case <-grace.C:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// final tells whether an upload that is refused with a status could never be stored.
func final(status int) bool {
	return status == http.StatusUnprocessableEntity || status == http.StatusForbidden || status == http.StatusRequestEntityTooLarge
}

func (a *API) storeUpload(ctx context.Context, t *partial.Taken) (int, error) {
	p, err := a.uploadPayment(&t.Upload)
	if err != nil {
		return 0, err
	}
	u := upload{hash: t.Hash, size: t.Length}
	switch {
	case t.Archive:
		u.hash = ""
		accept := func(root message.Hash) error { u.hash = root; return nil }
		var imported error
		if _, u.size, imported = a.cfg.IPFS.ImportCAR(ctx, t.Bytes(), a.cfg.Params.MaxCAR, accept); imported != nil {
			return a.payCAR(ctx, t.Metadata, &u, imported)
		}
		status, err := a.payCAR(ctx, t.Metadata, &u, nil)
		if err != nil {
			err = a.drop(ctx, &u, err)
		}
		return status, err
	case p.content.FileType == message.ItemIPFS:
		if u.hash, u.size, err = a.cfg.IPFS.Put(ctx, t.Bytes(), a.cfg.Params.MaxIPFSFile); err != nil {
			return 0, uploadFault(err, a.cfg.Params.MaxIPFSFile)
		}
		return a.payIPFS(ctx, t.Metadata, &u)
	}
	if err := a.covered(ctx, p, &u); err != nil {
		return 0, err // as long as the file is not moved it can be tried again
	}
	switch err := t.MoveTo(ctx, a.cfg.Files); {
	case errors.Is(err, files.ErrWrongHash):
		return 0, refuse(http.StatusUnprocessableEntity, "422: File hash does not match (%s): %v", t.Hash, err)
	case errors.Is(err, files.ErrNotFound):
		return 0, refuse(http.StatusUnprocessableEntity, "422: the node no longer has file %s: upload it again", t.Hash)
	case err != nil:
		return 0, uploadFault(err, t.Length)
	}
	return a.pay(ctx, p, &u)
}

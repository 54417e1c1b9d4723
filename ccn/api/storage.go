package api

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

func (a *API) storageRoutes() routes {
	return routes{
		"POST /api/v0/storage/add_file":              long{plain(a.addFile)},
		"POST /api/v0/storage/add_json":              long{plain(a.addJSON)},
		"GET /api/v0/storage/raw/{hash}":             long{plain(a.rawFile)},
		"GET /api/v0/storage/{hash}":                 long{plain(a.encodedFile)},
		"GET /api/v0/storage/limits.json":            plain(a.getLimits),
		"GET /api/v0/storage/by-message-hash/{hash}": plain(a.fileOfMessage),
		"GET /api/v0/storage/by-ref/{ref}":           plain(a.fileOfRef),
		"GET /api/v0/storage/by-ref/{address}/{ref}": plain(a.fileOfRef),
		"GET /api/v0/storage/metadata/{hash}":        plain(a.fileMetadata),
		"GET /api/v0/storage/count/{hash}":           plain(a.countPins),
	}
}

// accepted is the answer to an upload.
type accepted struct {
	Status string       `json:"status"`
	Hash   message.Hash `json:"hash"`
}

// addFile stores a file, streamed to disk while it is hashed (ccn-api §8.1).
func (a *API) addFile(w http.ResponseWriter, r *http.Request) error {
	if err := plainBody(r); err != nil {
		return err
	}
	boundary, isForm := multipartFields(r)
	free := a.cfg.Params.MaxUnauthenticated
	if !isForm {
		hash, size, err := a.cfg.Files.Put(r.Context(), http.MaxBytesReader(w, r.Body, free), free)
		if err != nil {
			return uploadFault(err, free)
		}
		return a.replyUnpaid(w, r, &upload{hash: hash, size: size})
	}
	var u upload
	f, err := a.readForm(w, r, boundary, a.cfg.Params.MaxFile, func(part io.Reader) (err error) {
		u.hash, u.size, err = a.cfg.Files.Put(r.Context(), part, a.cfg.Params.MaxFile)
		return err
	})
	defer f.release()
	switch {
	case err != nil:
		return err
	case !f.found:
		return refuse(http.StatusBadRequest, "400: File should be sent as FormData or Raw Upload")
	case f.metadata == nil && u.size > free:
		return tooLarge(free)
	case f.metadata == nil:
		return a.replyUnpaid(w, r, &u)
	}
	p, err := readPayment(f.metadata)
	if err != nil {
		return err
	}
	if p.content.FileHash != u.hash {
		return refuse(http.StatusUnprocessableEntity, "422: File hash does not match (%s != %s)", u.hash, p.content.FileHash)
	}
	status, err := a.pay(r.Context(), p, &u)
	if err != nil {
		return err
	}
	return reply(w, status, accepted{"success", u.hash})
}

func (a *API) replyUnpaid(w http.ResponseWriter, r *http.Request, u *upload) error {
	if err := a.keep(r.Context(), u); err != nil {
		return err
	}
	return reply(w, http.StatusOK, accepted{"success", u.hash})
}

// addJSON stores a JSON value in canonical form (ccn-api §8.3).
func (a *API) addJSON(w http.ResponseWriter, r *http.Request) error {
	return a.putJSON(w, r, a.cfg.Files)
}

func (a *API) putJSON(w http.ResponseWriter, r *http.Request, to files.Store) error {
	if err := plainBody(r); err != nil {
		return err
	}
	limit := a.cfg.Params.MaxUnauthenticated
	body, err := a.readBody(w, r, limit)
	if err != nil {
		return uploadFault(err, limit)
	}
	defer body.release()
	// A value takes many times its text in memory.
	select {
	case a.parsing <- struct{}{}:
		defer func() { <-a.parsing }()
	case <-r.Context().Done():
		return r.Context().Err()
	}
	canonical, err := canonicalJSON(body.bytes)
	if err != nil {
		return refuse(http.StatusUnprocessableEntity, "422: the body is not JSON: %v", err)
	}
	hash, size, err := to.Put(r.Context(), bytes.NewReader(canonical), 0)
	if err != nil {
		return uploadFault(err, limit)
	}
	return a.replyUnpaid(w, r, &upload{hash: hash, size: size})
}

// hashForm reports whether text has the length and the beginning of a hash. Its other characters do not matter here: what
// is no hash names no known file.
func hashForm(text string) bool {
	switch n := utf8.RuneCountInString(text); {
	case n == 64:
		return true
	case n >= 44 && n <= 46:
		return strings.HasPrefix(text, "Qm")
	case n == 59:
		return strings.HasPrefix(text, "bafy")
	}
	return false
}

// file finds a known file by the hash in the path.
func (a *API) file(r *http.Request, refusal string) (*store.FileRow, error) {
	hash := r.PathValue("hash")
	if !hashForm(hash) {
		return nil, refuse(http.StatusBadRequest, "%s", refusal)
	}
	var row *store.FileRow
	if message.Hash(hash).Kind() != "" {
		err := a.cfg.Store.Read(r.Context(), func(rd *store.Reader) (err error) {
			row, err = rd.File(message.Hash(hash))
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if row == nil {
		return nil, refuse(http.StatusNotFound, "Not found")
	}
	return row, nil
}

// storeOf returns the store that holds files with such a name; nil when the node has none.
func (a *API) storeOf(h message.Hash) files.Store {
	if h.Kind() != message.ItemIPFS {
		return a.cfg.Files
	}
	if a.cfg.IPFS == nil {
		return nil
	}
	return a.cfg.IPFS
}

// rawFile serves the bytes of a file, or a folder as an archive (ccn-api §8.4). Of files it also serves ranges.
func (a *API) rawFile(w http.ResponseWriter, r *http.Request) error {
	row, err := a.file(r, "Invalid hash")
	if err != nil {
		return err
	}
	if row.Type == store.FileTypeDir {
		return a.rawFolder(w, r, row.Hash)
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Accept-Ranges", "bytes")
	if r.Method == http.MethodHead {
		h.Set("Content-Length", strconv.FormatInt(row.Size, 10))
		return nil
	}
	f, err := a.open(r, row.Hash, "Not found")
	if err != nil {
		h.Del("Accept-Ranges")
		return err
	}
	defer f.Close()
	serveContent(w, r, "", f)
	return nil
}

// open opens a known file. That its bytes are missing is a 404 with the text.
func (a *API) open(r *http.Request, hash message.Hash, missing string) (io.ReadSeekCloser, error) {
	from := a.storeOf(hash)
	if from == nil {
		return nil, refuse(http.StatusNotFound, "%s", missing)
	}
	f, _, err := from.Open(r.Context(), hash)
	if errors.Is(err, files.ErrNotFound) {
		return nil, refuse(http.StatusNotFound, "%s", missing)
	}
	if err != nil {
		return nil, fmt.Errorf("open file %s: %w", hash, err)
	}
	return f, nil
}

// rawFolder serves a folder as a tar archive.
func (a *API) rawFolder(w http.ResponseWriter, r *http.Request, hash message.Hash) error {
	if a.cfg.IPFS == nil {
		return refuse(http.StatusNotFound, "Not found")
	}
	if _, err := a.stat(r.Context(), hash); errors.Is(err, files.ErrNotFound) {
		return refuse(http.StatusNotFound, "Not found")
	} else if err != nil {
		return fmt.Errorf("look for folder %s: %w", hash, err)
	}
	w.Header().Set("Content-Type", "application/x-tar")
	if r.Method == http.MethodHead {
		return nil
	}
	if err := a.cfg.IPFS.WriteTar(r.Context(), hash, w); err != nil {
		// The client must not take half an archive for a whole one.
		a.cfg.Logger.Warn("folder not served to its end", "file", hash, "error", err)
		panic(http.ErrAbortHandler)
	}
	return nil
}

// encodedFile serves a file as base64 in JSON, which reference nodes ask each other for (ccn-api §8.5).
func (a *API) encodedFile(w http.ResponseWriter, r *http.Request) error {
	row, err := a.file(r, "Invalid hash provided")
	if err != nil {
		return err
	}
	if row.Size > a.cfg.Params.MaxFile {
		return tooLarge(a.cfg.Params.MaxFile)
	}
	missing := "No file found for hash " + string(row.Hash)
	if row.Type == store.FileTypeDir {
		return refuse(http.StatusNotFound, "%s", missing)
	}
	f, err := a.open(r, row.Hash, missing)
	if err != nil {
		return err
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	if r.Method == http.MethodHead {
		return nil
	}
	if err := writeEncoded(w, row.Hash, f); err != nil {
		a.cfg.Logger.Warn("file not served to its end", "file", row.Hash, "error", err)
		panic(http.ErrAbortHandler)
	}
	return nil
}

// writeEncoded writes the answer with lines of 76 characters, as the reference's base64 has them.
func writeEncoded(w io.Writer, hash message.Hash, f io.Reader) error {
	if _, err := fmt.Fprintf(w, `{"status": "success", "hash": "%s", "engine": "%s", "content": "`, hash, hash.Kind()); err != nil {
		return err
	}
	var raw [57 * 512]byte
	out := make([]byte, 0, 78*512)
	for {
		n, err := io.ReadFull(f, raw[:])
		out = out[:0]
		for rest := raw[:n]; len(rest) > 0; {
			line := rest[:min(57, len(rest))]
			rest = rest[len(line):]
			out = append(base64.StdEncoding.AppendEncode(out, line), `\n`...)
		}
		if _, err := w.Write(out); err != nil {
			return err
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			_, err := io.WriteString(w, `"}`)
			return err
		case err != nil:
			return err
		}
	}
}

// getLimits tells how large uploads may be (ccn-api §8.7).
func (a *API) getLimits(w http.ResponseWriter, _ *http.Request) error {
	p := a.cfg.Params
	return reply(w, http.StatusOK, map[string]any{
		"storage": map[string]int64{"max_file_size": p.MaxFile, "max_unauthenticated_upload_file_size": p.MaxUnauthenticated},
		"ipfs": map[string]int64{
			"max_upload_file_size": p.MaxIPFSFile, "max_upload_car_size": p.MaxCAR, "max_unauthenticated_upload_file_size": p.MaxUnauthenticated,
		},
	})
}

// version is a file as a STORE message or a ref names it (ccn-api §8.6).
type version struct {
	Ref         string       `json:"ref"`
	Owner       string       `json:"owner"`
	FileHash    message.Hash `json:"file_hash"`
	DownloadURL string       `json:"download_url"`
	Size        int64        `json:"size"`
}

func downloadURL(h message.Hash) string { return "/api/v0/storage/raw/" + string(h) }

// fileOfMessage finds the file that a STORE message keeps.
func (a *API) fileOfMessage(w http.ResponseWriter, r *http.Request) error {
	hash, err := message.ParseHash(r.PathValue("hash"))
	if err != nil {
		return refuse(http.StatusBadRequest, "Invalid hash provided")
	}
	var v *version
	err = a.cfg.Store.Read(r.Context(), func(rd *store.Reader) error {
		pin, err := rd.Pin(hash, store.PinMessage)
		if err != nil || pin == nil {
			return err
		}
		v = &version{Ref: string(hash), Owner: pin.Owner, FileHash: pin.File, DownloadURL: downloadURL(pin.File)}
		if pin.Ref != nil {
			v.Ref = *pin.Ref
		}
		v.Size, _, err = rd.FileSize(pin.File)
		return err
	})
	if err != nil {
		return err
	}
	if v == nil {
		return refuse(http.StatusNotFound, "No file found for message %s", hash)
	}
	return reply(w, http.StatusOK, v)
}

// fileOfRef finds the newest version of a file. What its owner named himself is found by both.
func (a *API) fileOfRef(w http.ResponseWriter, r *http.Request) error {
	ref, address := r.PathValue("ref"), r.PathValue("address")
	tag := ref
	if message.Hash(ref).Kind() == "" {
		if address == "" {
			return refuse(http.StatusBadRequest, "address is required for user-defined ref")
		}
		tag = address + "/" + ref
	}
	var v *version
	err := a.cfg.Store.Read(r.Context(), func(rd *store.Reader) error {
		row, err := rd.Tag(tag)
		if err != nil || row == nil {
			return err
		}
		v = &version{Ref: ref, Owner: row.Owner, FileHash: row.File, DownloadURL: downloadURL(row.File)}
		v.Size, _, err = rd.FileSize(row.File)
		return err
	})
	if err != nil {
		return err
	}
	if v == nil {
		return refuse(http.StatusNotFound, "No file found for tag %s", tag)
	}
	return reply(w, http.StatusOK, v)
}

// fileMetadata describes a known file.
func (a *API) fileMetadata(w http.ResponseWriter, r *http.Request) error {
	hash := message.Hash(r.PathValue("hash"))
	var row *store.FileRow
	err := a.cfg.Store.Read(r.Context(), func(rd *store.Reader) (err error) {
		row, err = rd.File(hash)
		return err
	})
	if err != nil {
		return err
	}
	if row == nil {
		return refuse(http.StatusNotFound, "No file found for hash %s", hash)
	}
	return reply(w, http.StatusOK, map[string]any{"file_hash": row.Hash, "type": row.Type, "size": row.Size, "download_url": downloadURL(row.Hash)})
}

// countPins tells how many reasons there are to keep a file.
func (a *API) countPins(w http.ResponseWriter, r *http.Request) error {
	var n int64
	err := a.cfg.Store.Read(r.Context(), func(rd *store.Reader) (err error) {
		n, err = rd.CountPins(r.PathValue("hash"))
		return err
	})
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, n)
}

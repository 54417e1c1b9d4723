package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"time"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/state"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature"
)

const (
	maxMetadata   = 1 << 20  // bytes of the part "metadata"
	maxParts      = 64       // parts of a form
	maxPartHeader = 32 << 10 // bytes before the content of a part, and of what is read ahead of it
)

// form is a multipart upload. Its parts may come in any order, and only when all were read it is known who pays.
type form struct {
	found    bool   // there is a part "file"
	name     string // its filename
	metadata []byte // nil when there is none
	held     *held  // metadata is in it
}

func (f *form) release() {
	if f != nil && f.held != nil {
		f.held.release()
	}
}

// errPartHeader tells of a form whose parts begin with too much.
var errPartHeader = errors.New("the header of a part is too long")

// headed bounds what is read before the content of a part.
type headed struct {
	from io.Reader
	left int64 // bytes that may still be read
}

func (h *headed) Read(p []byte) (int, error) {
	if h.left <= 0 {
		return 0, errPartHeader
	}
	n, err := h.from.Read(p[:min(int64(len(p)), h.left)])
	h.left -= int64(n)
	return n, err
}

// multipartFields returns the boundary when the request is a multipart form.
func multipartFields(r *http.Request) (boundary string, ok bool) {
	kind, fields, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return fields["boundary"], err == nil && kind == "multipart/form-data"
}

// plainBody refuses bodies that would have to be unpacked: what they become has no bound.
func plainBody(r *http.Request) error {
	if coding := r.Header.Get("Content-Encoding"); coding != "" && coding != "identity" {
		return refuse(http.StatusBadRequest, "400: a body with Content-Encoding %q is not accepted: send it as it is", coding)
	}
	return nil
}

// readForm reads the parts of a form whose file has at most limit bytes. take gets each part "file" to stream it where it
// belongs; the last one counts.
func (a *API) readForm(w http.ResponseWriter, r *http.Request, boundary string, limit int64, take func(io.Reader) error) (*form, error) {
	source := &headed{from: http.MaxBytesReader(w, r.Body, limit+maxMetadata+maxParts<<10)}
	parts := multipart.NewReader(source, boundary)
	f := &form{}
	for range maxParts {
		source.left = maxPartHeader
		part, err := parts.NextRawPart()
		source.left = math.MaxInt64
		if errors.Is(err, io.EOF) {
			return f, nil
		}
		if err != nil {
			return f, formFault(err, limit)
		}
		switch part.FormName() {
		case "file":
			read := &watched{from: part}
			err := take(read)
			if read.err != nil {
				return f, formFault(read.err, limit)
			}
			if err != nil {
				return f, uploadFault(err, limit)
			}
			f.found, f.name = true, part.FileName()
		case "metadata":
			f.release()
			if f.held, err = a.memory.take(part, maxMetadata); err != nil {
				return f, formFault(err, limit)
			}
			if f.metadata = f.held.bytes; len(f.metadata) > maxMetadata {
				return f, tooLarge(maxMetadata)
			}
		}
		if _, err := io.Copy(io.Discard, part); err != nil {
			return f, formFault(err, limit)
		}
	}
	return f, refuse(http.StatusBadRequest, "400: the form has more than %d parts", maxParts)
}

func tooLarge(limit int64) error {
	return refuse(http.StatusRequestEntityTooLarge, "Maximum request body size %d exceeded.", limit)
}

// formFault turns what stopped the reading of a form into an answer.
func formFault(err error, limit int64) error {
	var tooMuch *http.MaxBytesError
	var refusal *fault
	switch {
	case errors.As(err, &tooMuch):
		return tooLarge(limit)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &refusal):
		return err
	}
	return refuse(http.StatusBadRequest, "400: the form is malformed or ends early: %v", err)
}

// uploadFault turns the failure to store an upload into an answer.
func uploadFault(err error, limit int64) error {
	var tooMuch *http.MaxBytesError
	switch {
	case errors.Is(err, files.ErrTooLarge), errors.As(err, &tooMuch):
		return tooLarge(limit)
	case errors.Is(err, files.ErrFull):
		return refuse(http.StatusInsufficientStorage, "507: the node's disk is full, the file was not stored")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return refuse(http.StatusBadRequest, "400: the upload ends early")
	}
	return err
}

// watched remembers why the reading of a part failed.
type watched struct {
	from io.Reader
	err  error // other than the end
}

func (c *watched) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}

// payment is the signed STORE message that pays for an upload, checked as far as it can be without the file.
type payment struct {
	envelope json.RawMessage
	sync     bool
	message  *message.Message
	content  *message.Store
}

// readPayment checks the part "metadata" of a form (ccn-api §8.1, rows 4 to 6).
func readPayment(raw []byte) (*payment, error) {
	var fields struct {
		Message json.RawMessage `json:"message"`
		Sync    *bool           `json:"sync"`
	}
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, undecodable("json_invalid", "", "Invalid JSON: "+err.Error())
	}
	switch {
	case len(fields.Message) == 0 || fields.Message[0] != '{':
		return nil, undecodable("missing", "message", "Field required")
	case fields.Sync == nil:
		return nil, undecodable("missing", "sync", "Field required")
	}
	m, content, err := message.Parse(fields.Message)
	if err != nil {
		return nil, refuse(http.StatusUnprocessableEntity, "422: Invalid store message content: %v", err)
	}
	if err := signature.Default().Verify(m); err != nil {
		return nil, &fault{status: http.StatusForbidden}
	}
	file, ok := content.(*message.Store)
	if !ok {
		return nil, refuse(http.StatusUnprocessableEntity, "422: Invalid store message content: want an inline STORE message, got %s", m.Type)
	}
	return &payment{fields.Message, *fields.Sync, m, file}, nil
}

func undecodable(kind, where, problem string) error {
	loc := []string{}
	if where != "" {
		loc = append(loc, where)
	}
	text, err := json.Marshal([]map[string]any{{"type": kind, "loc": loc, "msg": problem, "input": nil}})
	if err != nil {
		return err
	}
	return refuse(http.StatusUnprocessableEntity, "422: Could not decode metadata: %s", text)
}

// upload is a file that is in a store and not yet in the database.
type upload struct {
	hash message.Hash
	size int64
	dir  bool
}

func (u *upload) row() *store.FileRow {
	row := &store.FileRow{Hash: u.hash, Size: u.size, Type: store.FileTypeFile}
	if u.dir {
		row.Type = store.FileTypeDir
	}
	return row
}

// keep pins an upload that nobody pays for, until the grace period is over.
func (a *API) keep(ctx context.Context, u *upload) error {
	err := a.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		if _, err := tx.PutFile(u.row()); err != nil {
			return err
		}
		return tx.KeepUntil(u.hash, message.TimeFrom(a.cfg.Now()), a.grace())
	})
	if err != nil {
		return err
	}
	return a.cfg.Intake.FileArrived(ctx, u.hash)
}

// grace is until when a file is kept that nobody pays for.
func (a *API) grace() message.Time {
	return message.TimeFrom(a.cfg.Now().Add(time.Duration(a.cfg.Params.FileGracePeriod) * time.Second))
}

// errUnpaid refuses an upload that the owner's funds do not cover (ccn-api §8.1, row 8).
var errUnpaid = &fault{status: http.StatusPaymentRequired}

// pay records an upload that a signed message pays for and takes the message in. Whether the funds of its owner cover it is
// judged as for any STORE message. It returns the status of the answer (ccn-api §8.1, rows 8 to 10).
func (a *API) pay(ctx context.Context, p *payment, u *upload) (int, error) {
	err := a.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		return a.judge(tx, p, u)
	})
	if err != nil {
		return 0, err
	}
	if err := a.cfg.Intake.FileArrived(ctx, u.hash); err != nil {
		return 0, err
	}
	_, status, err := a.submit(ctx, p.envelope, p.sync)
	return status, err
}

// judge records an upload, unless the owner's funds do not cover it.
func (a *API) judge(tx *store.Tx, p *payment, u *upload) error {
	if _, err := tx.PutFile(u.row()); err != nil {
		return err
	}
	// Should its message be refused in the end, or never come, it goes after a while.
	pinned, err := tx.Pinned(u.hash)
	if err == nil && !pinned {
		err = tx.KeepUntil(u.hash, message.TimeFrom(a.cfg.Now()), a.grace())
	}
	if err != nil {
		return err
	}
	it := &state.Item{Message: p.message, Content: p.content, ReceptionTime: message.TimeFrom(a.cfg.Now())}
	covered, err := a.cfg.Covers(tx.Reader, it)
	if err == nil && !covered {
		err = errUnpaid // so that nothing is written
	}
	return err
}

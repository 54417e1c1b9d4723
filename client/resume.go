package client

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

const (
	uploadsPath = "/api/v0/uploads"
	tusVersion  = "1.0.0" // https://tus.io/protocols/resumable-upload
)

// errWhole says that a node takes an upload only in one piece.
var errWhole = errors.New("the node takes it only in one piece")

// resuming is an upload by the protocol of uploads that resume.
type resuming struct {
	c        *Client
	upload   upload
	store    message.Hash // the message that pays
	metadata []byte
	options  *UploadOptions
	at       int64     // bytes that a node is known to have; -1 before the upload began
	moved    time.Time // when at last grew
}

// resume uploads in pieces. A node that is away for less than a minute is waited for, and the upload goes on where it was. The
// answer is that of an upload in one piece. Nodes that do not offer this are errWhole.
func (c *Client) resume(ctx context.Context, store message.Hash, metadata []byte, u upload, o *UploadOptions) (answer, error) {
	c.compare(ctx)
	r := &resuming{c, u, store, metadata, o, -1, time.Now()}
	for {
		a, err := c.repeat(ctx, func() (answer, error) {
			base := c.pool.first()
			began := time.Now()
			a, err := r.attempt(ctx, base)
			if errors.Is(err, errWhole) {
				return answer{status: http.StatusNotImplemented}, nil
			}
			if err == nil && !tryLater(a.status) {
				began = time.Now() // how long a file takes says nothing of the node
			}
			c.note(ctx, base, began, a, err, true)
			return a, err
		}, len(c.pool.nodes))
		switch {
		case err == nil && a.status == http.StatusNotImplemented:
			return answer{}, errWhole
		case err == nil && !tryLater(a.status):
			return a, nil
		case ctx.Err() != nil, r.at < 0, time.Since(r.moved) > stall:
			if err != nil && r.at > 0 {
				err = fmt.Errorf("%w; the same upload goes on where it was, within a day", err)
			}
			return a, err
		}
	}
}

// attempt begins the upload at a node, or finds it there, and sends what is missing.
func (r *resuming) attempt(ctx context.Context, base string) (answer, error) {
	if r.at == r.upload.size { // the answer to its end may be what was lost
		if a, done := r.finished(ctx, base); done {
			return a, nil
		}
	}
	said := "metadata " + base64.StdEncoding.EncodeToString(r.metadata)
	if r.upload.archive {
		said += ",format " + base64.StdEncoding.EncodeToString([]byte("car"))
	}
	a, header, err := r.exchange(ctx, http.MethodPost, base+uploadsPath, nil, 0, "Upload-Length", strconv.FormatInt(r.upload.size, 10), "Upload-Metadata", said)
	if err != nil {
		return a, err
	}
	switch a.status {
	case http.StatusCreated:
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return a, errWhole
	case http.StatusServiceUnavailable:
		if r.at < 0 { // the node has no room for it; once it began, the node is only away
			return a, errWhole
		}
		return a, nil
	case http.StatusConflict: // the node has the message already
		if known, done := r.finished(ctx, base); done {
			a = known
		}
		return a, nil
	default:
		return a, nil
	}
	place := header.Get("Location")
	if strings.HasPrefix(place, "/") {
		place = base + place
	}
	a, header, err = r.exchange(ctx, http.MethodHead, place, nil, 0)
	if err != nil || a.status != http.StatusOK {
		return r.stopped(ctx, base, a, err)
	}
	offset, err := strconv.ParseInt(header.Get("Upload-Offset"), 10, 64)
	if err != nil || offset < 0 || offset > r.upload.size {
		return a, fmt.Errorf("HEAD %s: the node has %q of %d bytes, which makes no sense", place, header.Get("Upload-Offset"), r.upload.size)
	}
	if offset > 0 && r.options.Resumed != nil {
		r.options.Resumed(offset)
	}
	return r.send(ctx, base, place, offset)
}

// send sends everything from offset on.
func (r *resuming) send(ctx context.Context, base, place string, offset int64) (answer, error) {
	file, err := r.upload.open(offset)
	if err != nil {
		return answer{}, err
	}
	r.reached(offset)
	body := &meter{r: io.LimitReader(file, r.upload.size-offset), moved: func(n int64) { r.reached(offset + n) }}
	a, _, err := r.exchange(ctx, http.MethodPatch, place, body, r.upload.size-offset,
		"Upload-Offset", strconv.FormatInt(offset, 10), "Content-Type", "application/offset+octet-stream")
	if err := errors.Join(err, file.Close()); err != nil || a.status != http.StatusNoContent {
		return r.stopped(ctx, base, a, err)
	}
	if r.options.Sync {
		if a, done := r.finished(ctx, base); done {
			return a, nil
		}
	}
	return answer{status: http.StatusAccepted, url: place}, nil
}

func (r *resuming) reached(at int64) {
	if at > r.at {
		r.at, r.moved = at, time.Now()
	}
	if r.options.Progress != nil {
		r.options.Progress(at, r.upload.size)
	}
}

// stopped makes an error of an answer after which the upload should be looked for anew: it is elsewhere than was thought.
func (r *resuming) stopped(ctx context.Context, base string, a answer, err error) (answer, error) {
	switch {
	case err != nil:
		return a, err
	case a.status == http.StatusNotFound, a.status == http.StatusGone:
		if a, done := r.finished(ctx, base); done {
			return a, nil
		}
		return a, httpError(http.MethodPatch, a.url, a)
	case a.status == http.StatusConflict, a.status == http.StatusLocked, a.status == http.StatusBadRequest, a.status == http.StatusRequestTimeout:
		return a, httpError(http.MethodPatch, a.url, a)
	}
	return a, nil
}

// finished asks whether the node has the message that pays for the upload, and answers as an upload in one piece does.
func (r *resuming) finished(ctx context.Context, base string) (answer, bool) {
	a := answer{url: base + uploadsPath}
	var known struct{ Status message.Status }
	if err := r.c.getFrom(ctx, base, "/api/v0/messages/"+string(r.store)+"/status", nil, &known); err != nil {
		return a, false
	}
	switch known.Status {
	case message.StatusProcessed:
		a.status = http.StatusOK
	case message.StatusPending:
		a.status = http.StatusAccepted
	case message.StatusRejected:
		a.status, a.body = http.StatusUnprocessableEntity, fmt.Appendf(nil, `{"hash":%q}`, r.upload.hash)
	default:
		return a, false
	}
	return a, true
}

// exchange sends one request of the protocol. A body that moves no byte for a minute ends it. Its end, and who asks for it
// meanwhile, waits until the node has stored the file.
func (r *resuming) exchange(ctx context.Context, method, url string, body io.Reader, length int64, header ...string) (answer, http.Header, error) {
	ctx, alive, cancel := untilStall(ctx)
	defer cancel()
	if body != nil {
		body = &meter{r: body, moved: func(n int64) {
			if n < length {
				alive(stall)
			} else {
				alive(settling)
			}
		}}
	}
	if length == 0 && method != http.MethodPost {
		alive(settling)
	}
	req, err := r.c.request(ctx, method, url, body)
	if err != nil {
		return answer{}, nil, err
	}
	req.ContentLength = length
	if length == 0 {
		req.Body = http.NoBody
	}
	req.Header.Set("Tus-Resumable", tusVersion)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := r.c.http.Do(req)
	if err != nil {
		return answer{}, nil, because(ctx, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxError))
	return answer{resp.StatusCode, raw, url, retryAfter(resp.Header, time.Now())}, resp.Header, because(ctx, err)
}

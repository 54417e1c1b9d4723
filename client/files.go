package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// HashFile returns the storage hash of a file and leaves it where it was.
func HashFile(file io.ReadSeeker) (message.Hash, error) {
	hash, _, err := measure(file)
	return hash, err
}

// measure reads file from where it stands, goes back, and returns the hash and the number of bytes.
func measure(file io.ReadSeeker) (message.Hash, int64, error) {
	start, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return "", 0, fmt.Errorf("hash file: %w", err)
	}
	sum := sha256.New()
	size, err := io.Copy(sum, file)
	if err != nil {
		return "", 0, fmt.Errorf("hash file: %w", err)
	}
	if _, err := file.Seek(start, io.SeekStart); err != nil {
		return "", 0, fmt.Errorf("hash file: %w", err)
	}
	return message.Hash(hex.EncodeToString(sum.Sum(nil))), size, nil
}

// UploadOptions says how a file is stored.
type UploadOptions struct {
	Channel  string                     // "" for none
	Ref      string                     // an earlier STORE message that this one replaces, or a name; "" for none
	Payment  *message.Payment           // nil pays by holding tokens
	Sync     bool                       // wait until the node has processed the STORE message, at most 30 s
	Progress func(sent, fileSize int64) // bytes; called often, from the goroutine that sends; may be nil
}

// Uploaded is a file that a node took.
type Uploaded struct {
	MessageHash message.Hash // of the STORE message that keeps it
	FileHash    message.Hash // sha256 of its bytes
	Size        int64        // bytes
	Status      message.Status
}

// UploadFile sends a file together with the signed STORE message that pays for it. The file is read twice, to hash it and
// to send it, and never held in memory. What the account cannot pay is an [*InsufficientFundsError].
func (c *Client) UploadFile(ctx context.Context, by Account, file io.ReadSeeker, o UploadOptions) (*Uploaded, error) {
	hash, size, err := measure(file)
	if err != nil {
		return nil, err
	}
	store := &message.Store{FileType: message.ItemStorage, FileHash: hash, Ref: o.Ref, Payment: o.Payment}
	m, upload, err := Sign(ctx, by, message.TypeStore, store, o.Channel)
	if err != nil {
		return nil, err
	}
	if upload != nil {
		return nil, errors.New("upload file: its ref is too long for a message")
	}
	metadata, err := json.Marshal(submission{m.AppendJSON(nil), o.Sync})
	if err != nil {
		return nil, fmt.Errorf("upload file: %w", err)
	}
	up := &Uploaded{MessageHash: m.ItemHash, FileHash: hash, Size: size, Status: message.StatusPending}
	a, err := c.sendFile(ctx, metadata, file, size, o.Progress)
	if err != nil {
		return nil, fmt.Errorf("upload file %s: %w", hash, err)
	}
	switch a.status {
	case http.StatusOK:
		up.Status = message.StatusProcessed
		return up, nil
	case http.StatusAccepted:
		return up, nil
	case http.StatusPaymentRequired:
		return nil, c.cannotPay(ctx, by.Address(), m, size)
	case http.StatusUnprocessableEntity:
		// Also the status of a message that was refused after the file was taken.
		var reply struct{ Hash message.Hash }
		if json.Unmarshal(a.body, &reply) == nil && reply.Hash != "" {
			return nil, c.rejection(ctx, m.AppendJSON(nil))
		}
	}
	return nil, fmt.Errorf("upload file %s: %w", hash, httpError(http.MethodPost, c.base+"/api/v0/storage/add_file", a))
}

// cannotPay finds the amounts that the node's bare "Payment Required" leaves out.
func (c *Client) cannotPay(ctx context.Context, address string, store *message.Message, size int64) error {
	short := &InsufficientFundsError{Address: address, Required: "more", Available: "not enough", Unit: "ALEPH"}
	err := c.CheckFunds(ctx, address, store, size)
	if errors.As(err, &short) {
		return short
	}
	return errors.Join(fmt.Errorf("the node refused file %s: %s cannot pay for it", store.ItemHash, address), err)
}

// storeContent puts the content of a message on the node, where it stays for a day without a message that needs it.
func (c *Client) storeContent(ctx context.Context, hash message.Hash, content []byte) error {
	a, err := c.sendFile(ctx, nil, bytes.NewReader(content), int64(len(content)), nil)
	if err != nil {
		return fmt.Errorf("store content %s: %w", hash, err)
	}
	var reply struct{ Hash message.Hash }
	if err := decode(http.MethodPost, c.base+"/api/v0/storage/add_file", a, &reply); err != nil {
		return fmt.Errorf("store content %s: %w", hash, err)
	}
	if reply.Hash != hash {
		return fmt.Errorf("store content %s: the node kept it as %s", hash, reply.Hash)
	}
	return nil
}

// sendFile posts a multipart form whose length is known beforehand, so that the node can refuse it before it is sent.
func (c *Client) sendFile(ctx context.Context, metadata []byte, file io.Reader, size int64, progress func(int64, int64)) (answer, error) {
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	if metadata != nil {
		if err := w.WriteField("metadata", string(metadata)); err != nil {
			return answer{}, err
		}
	}
	if _, err := w.CreateFormFile("file", "file"); err != nil {
		return answer{}, err
	}
	head := form.Len()
	if err := w.Close(); err != nil {
		return answer{}, err
	}
	ctx, alive, cancel := untilStall(ctx)
	defer cancel()
	moved := func(sent int64) {
		alive()
		if progress != nil {
			progress(sent, size)
		}
	}
	body := io.MultiReader(
		bytes.NewReader(form.Bytes()[:head]),
		&meter{r: io.LimitReader(file, size), moved: moved},
		bytes.NewReader(form.Bytes()[head:]),
	)
	req, err := c.request(ctx, http.MethodPost, c.base+"/api/v0/storage/add_file", body)
	if err != nil {
		return answer{}, err
	}
	req.ContentLength = int64(form.Len()) + size
	req.Header.Set("Content-Type", w.FormDataContentType())
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, because(ctx, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxError))
	return answer{resp.StatusCode, raw}, because(ctx, err)
}

// meter tells how many bytes have passed.
type meter struct {
	r     io.Reader
	n     int64
	moved func(total int64)
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.n += int64(n)
	m.moved(m.n)
	return n, err
}

var errStalled = errors.New("no byte has moved for a minute")

// untilStall returns a context that ends when alive was not called for the time of a stall.
func untilStall(parent context.Context) (ctx context.Context, alive func(), cancel func()) {
	ctx, end := context.WithCancelCause(parent)
	timer := time.AfterFunc(stall, func() { end(errStalled) })
	return ctx, func() { timer.Reset(stall) }, func() { timer.Stop(); end(nil) }
}

// because names a stall instead of the cancellation that it caused.
func because(ctx context.Context, err error) error {
	if err != nil && context.Cause(ctx) == errStalled {
		return errStalled
	}
	return err
}

// DownloadFile writes the file with the given storage hash to w and returns its size in bytes. The bytes are hashed while
// they pass: an error after the last one means that w holds what must not be used. Files of IPFS are not verified.
func (c *Client) DownloadFile(ctx context.Context, hash message.Hash, w io.Writer) (int64, error) {
	target := c.base + "/api/v0/storage/raw/" + url.PathEscape(string(hash))
	ctx, alive, cancel := untilStall(ctx)
	defer cancel()
	req, err := c.request(ctx, http.MethodGet, target, nil)
	if err != nil {
		return 0, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, fmt.Errorf("download file %s: %w", hash, because(ctx, err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		raw, err := io.ReadAll(io.LimitReader(resp.Body, maxError))
		return 0, errors.Join(httpError(http.MethodGet, target, answer{resp.StatusCode, raw}), err)
	}
	sum := sha256.New()
	size, err := io.Copy(io.MultiWriter(w, sum), &meter{r: resp.Body, moved: func(int64) { alive() }})
	if err != nil {
		return size, fmt.Errorf("download file %s: %w", hash, because(ctx, err))
	}
	if got := hex.EncodeToString(sum.Sum(nil)); hash.Kind() == message.ItemStorage && got != string(hash) {
		return size, fmt.Errorf("download file %s: the node sent other bytes (their hash is %s); ask another node", hash, got)
	}
	return size, nil
}

// FileOf returns the file that a STORE message keeps.
func (c *Client) FileOf(ctx context.Context, store message.Hash) (message.Hash, error) {
	var reply struct {
		FileHash message.Hash `json:"file_hash"`
	}
	err := c.get(ctx, "/api/v0/storage/by-message-hash/"+url.PathEscape(string(store)), nil, &reply)
	return reply.FileHash, err
}

// AddJSON stores a JSON value and returns the hash of the form in which the node keeps it (ccn-api §8.3). Without a
// message that names it, it stays for a day.
func (c *Client) AddJSON(ctx context.Context, value any) (message.Hash, error) {
	var reply struct{ Hash message.Hash }
	err := c.post(ctx, "/api/v0/storage/add_json", value, &reply)
	return reply.Hash, err
}

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
	"time"

	"github.com/aleph-im/aleph-go/internal/unixfs"
	"github.com/aleph-im/aleph-go/message"
)

// HashFile returns the storage hash of a file and leaves it where it was.
func HashFile(file io.ReadSeeker) (message.Hash, error) {
	hash, _, err := measure(file, message.ItemStorage)
	return hash, err
}

// HashIPFSFile returns the CID that a node's IPFS gives a file, and leaves the file where it was.
func HashIPFSFile(file io.ReadSeeker) (message.Hash, error) {
	hash, _, err := measure(file, message.ItemIPFS)
	return hash, err
}

// measure reads file from where it stands, goes back, and returns its name on an engine and the number of bytes.
func measure(file io.ReadSeeker, engine message.ItemType) (hash message.Hash, size int64, err error) {
	start, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return "", 0, fmt.Errorf("hash file: %w", err)
	}
	if engine == message.ItemIPFS {
		counted := &meter{r: file, moved: func(n int64) { size = n }}
		root, err := unixfs.CID(counted, unixfs.V0)
		if err != nil {
			return "", 0, fmt.Errorf("hash file: %w", err)
		}
		hash = message.Hash(root)
	} else {
		sum := sha256.New()
		if size, err = io.Copy(sum, file); err != nil {
			return "", 0, fmt.Errorf("hash file: %w", err)
		}
		hash = message.Hash(hex.EncodeToString(sum.Sum(nil)))
	}
	if _, err := file.Seek(start, io.SeekStart); err != nil {
		return "", 0, fmt.Errorf("hash file: %w", err)
	}
	return hash, size, nil
}

// UploadOptions says how a file is stored.
type UploadOptions struct {
	Channel  string                     // "" for none
	Engine   message.ItemType           // ItemIPFS names the file by its CID; "" and ItemStorage by its sha256
	Address  string                     // on whose behalf, and who pays; "" for the account itself
	Ref      string                     // an earlier STORE message that this one replaces, or a name; "" for none
	Payment  *message.Payment           // nil pays by holding tokens
	Sync     bool                       // wait until the node has processed the STORE message, at most 30 s
	Progress func(sent, fileSize int64) // bytes; called often, from the goroutine that sends; may be nil

	// Resumed is told at which byte an upload goes on that broke off before, by this call or an earlier one; may be nil.
	Resumed func(at int64)
	// Whole is told that a large file is sent in one piece, as the node offers nothing else; may be nil.
	Whole func()
}

// Uploaded is a file that a node took.
type Uploaded struct {
	MessageHash message.Hash // of the STORE message that keeps it
	FileHash    message.Hash // of its bytes
	Size        int64        // bytes
	Status      message.Status
}

const (
	storagePath = "/api/v0/storage/add_file"
	ipfsPath    = "/api/v0/ipfs/add_file"
	carPath     = "/api/v0/ipfs/add_car"
)

// UploadFile sends a file together with the signed STORE message that pays for it. The file is read twice, to hash it and
// to send it, and never held in memory. What the account cannot pay is an [*InsufficientFundsError].
//
// An upload of 8 MiB or more that breaks off goes on where it was: within the call, when the node is back within a minute, and
// by another call of the same account for the same file within a day. Nodes that do not offer this, and small files, get all of
// it again, or another node does if there is one.
func (c *Client) UploadFile(ctx context.Context, by Account, file io.ReadSeeker, o UploadOptions) (*Uploaded, error) {
	if o.Engine == "" {
		o.Engine = message.ItemStorage
	}
	path := storagePath
	if o.Engine == message.ItemIPFS {
		path = ipfsPath
	}
	start, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, fmt.Errorf("upload file: %w", err)
	}
	hash, size, err := measure(file, o.Engine)
	if err != nil {
		return nil, err
	}
	return c.upload(ctx, by, path, upload{hash: hash, size: size, open: func(from int64) (io.ReadCloser, error) {
		if _, err := file.Seek(start+from, io.SeekStart); err != nil {
			return nil, err
		}
		return io.NopCloser(file), nil
	}}, o)
}

// upload is something that can be sent more than once.
type upload struct {
	hash    message.Hash
	size    int64
	archive bool                                    // a CAR
	open    func(from int64) (io.ReadCloser, error) // from is less than size, or 0
}

// resumeFrom is from how many bytes on an upload is one that resumes: smaller ones are quicker sent again than asked about.
const resumeFrom = 8 << 20

// upload signs the STORE message of a file and sends both.
func (c *Client) upload(ctx context.Context, by Account, path string, u upload, o UploadOptions) (*Uploaded, error) {
	store := &message.Store{FileType: o.Engine, FileHash: u.hash, Ref: o.Ref, Payment: o.Payment}
	store.Address = o.Address
	m, outside, err := Sign(ctx, by, message.TypeStore, store, o.Channel)
	if err != nil {
		return nil, err
	}
	if outside != nil {
		return nil, errors.New("upload file: its ref is too long for a message")
	}
	metadata, err := json.Marshal(submission{m.AppendJSON(nil), o.Sync})
	if err != nil {
		return nil, fmt.Errorf("upload file: %w", err)
	}
	up := &Uploaded{MessageHash: m.ItemHash, FileHash: u.hash, Size: u.size, Status: message.StatusPending}
	a, err := answer{}, errWhole
	if u.size >= resumeFrom {
		if a, err = c.resume(ctx, m.ItemHash, metadata, u, &o); errors.Is(err, errWhole) && o.Whole != nil {
			o.Whole()
		}
	}
	if errors.Is(err, errWhole) {
		a, err = c.send(ctx, path, metadata, u, o.Progress)
	}
	if err != nil {
		return nil, fmt.Errorf("upload file %s: %w", u.hash, err)
	}
	switch a.status {
	case http.StatusOK:
		up.Status = message.StatusProcessed
		return up, nil
	case http.StatusAccepted:
		return up, nil
	case http.StatusPaymentRequired:
		return nil, c.cannotPay(ctx, store.Address, m, u.size)
	case http.StatusUnprocessableEntity:
		// Also the status of a message that was refused after the file was taken.
		var reply struct{ Hash message.Hash }
		if json.Unmarshal(a.body, &reply) == nil && reply.Hash != "" {
			return nil, c.rejection(ctx, m.AppendJSON(nil))
		}
	}
	return nil, fmt.Errorf("upload file %s: %w", u.hash, httpError(http.MethodPost, a.url, a))
}

// cannotPay finds the amounts that the node's bare "Payment Required" leaves out.
func (c *Client) cannotPay(ctx context.Context, address string, store *message.Message, size int64) error {
	short := &InsufficientFundsError{Address: address, Required: "more", Available: "not enough", Unit: UnitALEPH}
	err := c.CheckFunds(ctx, address, store, size)
	if errors.As(err, &short) {
		return short
	}
	return errors.Join(fmt.Errorf("the node refused file %s: %s cannot pay for it", store.ItemHash, address), err)
}

// storeContent puts the content of a message on the node, where it stays for a day without a message that needs it.
func (c *Client) storeContent(ctx context.Context, hash message.Hash, content []byte) error {
	a, err := c.send(ctx, storagePath, nil, upload{hash: hash, size: int64(len(content)), open: func(int64) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	}}, nil)
	if err != nil {
		return fmt.Errorf("store content %s: %w", hash, err)
	}
	var reply struct{ Hash message.Hash }
	if err := decode(http.MethodPost, a, &reply); err != nil {
		return fmt.Errorf("store content %s: %w", hash, err)
	}
	if reply.Hash != hash {
		return fmt.Errorf("store content %s: the node kept it as %s", hash, reply.Hash)
	}
	return nil
}

// send posts a file to the core nodes until one answers with something other than "try later".
func (c *Client) send(ctx context.Context, path string, metadata []byte, u upload, progress func(int64, int64)) (answer, error) {
	c.compare(ctx)
	return c.repeat(ctx, func() (answer, error) {
		file, err := u.open(0)
		if err != nil {
			return answer{}, err
		}
		base := c.pool.first()
		began := time.Now()
		a, err := c.sendOnce(ctx, base+path, metadata, file, u.size, progress)
		if err == nil && !tryLater(a.status) {
			began = time.Now() // how long a file takes says nothing of the node
		}
		c.note(ctx, base, began, a, err, true)
		return a, errors.Join(err, file.Close())
	}, len(c.pool.nodes))
}

// storing is how long a node may take to answer once it has all of a file, which it then hashes, keeps and pins: two minutes and a second
// for each MiB, and never more than settling.
func storing(size int64) time.Duration {
	return min(2*time.Minute+time.Duration(size>>20)*time.Second, settling)
}

// sendOnce posts a multipart form whose length is known beforehand, so that the node can refuse it before it is sent. A minute in which no
// byte of the file moves ends it.
func (c *Client) sendOnce(ctx context.Context, url string, metadata []byte, file io.Reader, size int64, progress func(int64, int64)) (answer, error) {
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
		if sent < size {
			alive(stall)
		} else {
			alive(storing(size))
		}
		if progress != nil {
			progress(sent, size)
		}
	}
	body := io.MultiReader(
		bytes.NewReader(form.Bytes()[:head]),
		&meter{r: io.LimitReader(file, size), moved: moved},
		bytes.NewReader(form.Bytes()[head:]),
	)
	req, err := c.request(ctx, http.MethodPost, url, body)
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
	return answer{resp.StatusCode, raw, url, retryAfter(resp.Header, time.Now())}, because(ctx, err)
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

var errStalled = errors.New("no byte has moved for too long")

// untilStall returns a context that ends when alive was not called for the time of a stall, or for what the last call allowed.
func untilStall(parent context.Context) (ctx context.Context, alive func(next time.Duration), cancel func()) {
	ctx, end := context.WithCancelCause(parent)
	timer := time.AfterFunc(stall, func() { end(errStalled) })
	return ctx, func(next time.Duration) { timer.Reset(next) }, func() { timer.Stop(); end(nil) }
}

// because names a stall instead of the cancellation that it caused.
func because(ctx context.Context, err error) error {
	if err != nil && context.Cause(ctx) == errStalled {
		return errStalled
	}
	return err
}

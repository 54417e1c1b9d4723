package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// Backup is a copy of the disks of an instance, on its compute node (crn §2.8).
type Backup struct {
	ID       string   `json:"backup_id"`
	Size     int64    `json:"size"`     // bytes of the archive
	Checksum string   `json:"checksum"` // sha256: and hex
	Volumes  []string `json:"volumes"`
	Expires  string   `json:"expires_at"`
	URL      string   `json:"download_url"` // works for a day, for everybody who has it
}

// ErrInProgress is what a backup that is still being made is.
var ErrInProgress = errors.New("the backup is being made")

// BackupOptions say what a backup is to hold.
type BackupOptions struct {
	Volumes    bool // persistent volumes beside the root disk
	SkipFreeze bool // do not ask the guest to make its filesystems whole for the copy
}

// StartBackup has a compute node copy the disks of an instance. It is [ErrInProgress] until the copy is there: ask again with
// GetBackup. Where there is a backup already it is returned as it is.
func (c *Client) StartBackup(ctx context.Context, by Account, crnURL string, hash message.Hash, o BackupOptions) (*Backup, error) {
	query := url.Values{}
	if o.Volumes {
		query.Set("include_volumes", "true")
	}
	if o.SkipFreeze {
		query.Set("skip_fsfreeze", "true")
	}
	return c.backup(ctx, by, http.MethodPost, crnURL, hash, query.Encode())
}

// GetBackup returns the backup of an instance: [ErrInProgress] while it is being made, [ErrNotFound] when there is none.
func (c *Client) GetBackup(ctx context.Context, by Account, crnURL string, hash message.Hash) (*Backup, error) {
	return c.backup(ctx, by, http.MethodGet, crnURL, hash, "")
}

func (c *Client) backup(ctx context.Context, by Account, method, crnURL string, hash message.Hash, query string) (*Backup, error) {
	a, err := c.signedCall(ctx, by, method, crnURL, machinePath(hash, "backup"), query, nil, "")
	b := &Backup{}
	switch {
	case err != nil:
	case a.status == http.StatusAccepted:
		err = ErrInProgress
	default:
		err = decode(method, a, b)
	}
	if err != nil {
		return nil, fmt.Errorf("backup of %s: %w", hash, err)
	}
	return b, nil
}

var backupID = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// DeleteBackup removes a backup from its compute node.
func (c *Client) DeleteBackup(ctx context.Context, by Account, crnURL string, hash message.Hash, id string) error {
	if !backupID.MatchString(id) {
		return fmt.Errorf("%q is no name of a backup", id)
	}
	a, err := c.signedCall(ctx, by, http.MethodDelete, crnURL, machinePath(hash, "backup/"+id), "", nil, "")
	if err == nil && a.status != http.StatusOK {
		err = httpError(http.MethodDelete, a.url, a)
	}
	if err != nil {
		return fmt.Errorf("delete backup %s: %w", id, err)
	}
	return nil
}

// DownloadBackup writes the archive of a backup to w and checks it. A transfer that breaks off goes on where it was. An error after
// the last byte means that w holds what must not be used. Of the link the path and query alone are taken: the node is asked at crnURL.
func (c *Client) DownloadBackup(ctx context.Context, crnURL string, b *Backup, w io.Writer) error {
	link, err := url.Parse(b.URL)
	if err != nil {
		return fmt.Errorf("download backup %s: %w", b.ID, err)
	}
	d := &backupDownload{c: c, target: strings.TrimRight(crnURL, "/") + link.RequestURI(), to: w, sum: sha256.New()}
	_, err = c.repeat(ctx, func() (answer, error) {
		a, err := d.fetch(ctx)
		if d.failed != nil {
			return a, nil // no further attempt helps
		}
		return a, err
	}, 1)
	if err = errors.Join(d.failed, err); err != nil {
		return fmt.Errorf("download backup %s: %w", b.ID, err)
	}
	if got := "sha256:" + hex.EncodeToString(d.sum.Sum(nil)); got != b.Checksum {
		return &UntrustedError{Node: crnURL, What: "backup " + b.ID, Err: fmt.Errorf("its checksum is %s", got)}
	}
	return nil
}

// backupDownload is an archive that comes in one or more pieces.
type backupDownload struct {
	c      *Client
	target string
	to     io.Writer
	sum    hash.Hash // of what was written
	size   int64
	failed error // ends it for good
}

// fetch asks for what is missing. The answer has no body.
func (d *backupDownload) fetch(ctx context.Context) (answer, error) {
	ctx, alive, cancel := untilStall(ctx)
	defer cancel()
	req, err := d.c.request(ctx, http.MethodGet, d.target, nil)
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
	a := answer{status: resp.StatusCode, url: d.target, wait: retryAfter(resp.Header, time.Now())}
	body := &meter{r: resp.Body, moved: func(int64) { alive(stall) }}
	switch {
	case resp.StatusCode == http.StatusOK:
		if _, err := io.CopyN(io.Discard, body, d.size); err != nil { // a node that knows no ranges begins anew
			return a, because(ctx, err)
		}
	case resp.StatusCode == http.StatusPartialContent && strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", d.size)):
	default:
		if a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxError)); err != nil {
			return a, because(ctx, err)
		}
		if err = httpError(http.MethodGet, d.target, a); !tryLater(a.status) {
			d.failed = err
		}
		return a, err
	}
	_, err = io.Copy(d, body)
	return a, because(ctx, err)
}

// Write hands bytes on, and counts and sums those that were taken. Errors of who takes them no further attempt mends.
func (d *backupDownload) Write(b []byte) (int, error) {
	n, err := d.to.Write(b)
	d.sum.Write(b[:n])
	d.size += int64(n)
	d.failed = errors.Join(d.failed, err)
	return n, err
}

// RestoreFile replaces the root disk of an instance by the file, or volume, that the STORE message ref keeps.
func (c *Client) RestoreFile(ctx context.Context, by Account, crnURL string, hash, ref message.Hash) error {
	body, err := json.Marshal(map[string]message.Hash{"volume_ref": ref})
	if err != nil {
		return err
	}
	a, err := c.signedCall(ctx, by, http.MethodPost, crnURL, machinePath(hash, "restore"), "", strings.NewReader(string(body)), "application/json")
	return restored(hash, a, err)
}

// RestoreImage replaces the root disk of an instance by an image of size bytes that is read: qcow2, and based on no other, such as
// rootfs.qcow2 of a backup. ctx bounds it.
func (c *Client) RestoreImage(ctx context.Context, by Account, crnURL string, hash message.Hash, image io.Reader, size int64) error {
	var form bytes.Buffer
	parts := multipart.NewWriter(&form)
	if _, err := parts.CreateFormFile("rootfs", "rootfs.qcow2"); err != nil {
		return err
	}
	head := form.Len()
	if err := parts.Close(); err != nil {
		return err
	}
	body := sized{io.MultiReader(bytes.NewReader(form.Bytes()[:head]), &exactly{image, size}, bytes.NewReader(form.Bytes()[head:])), int64(form.Len()) + size}
	a, err := c.signedCall(ctx, by, http.MethodPost, crnURL, machinePath(hash, "restore"), "", body, parts.FormDataContentType())
	return restored(hash, a, err)
}

// exactly reads so many bytes, and fails when there are fewer: what follows them would pass for their end.
type exactly struct {
	r    io.Reader
	left int64
}

func (e *exactly) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.left)])
	if e.left -= int64(n); err == io.EOF && e.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func restored(hash message.Hash, a answer, err error) error {
	if err == nil && a.status != http.StatusOK {
		err = httpError(http.MethodPost, a.url, a)
	}
	if err != nil {
		return fmt.Errorf("restore %s: %w", hash, err)
	}
	return nil
}

// AwaitBackup asks for a backup until it is there. ctx bounds the wait.
func (c *Client) AwaitBackup(ctx context.Context, by Account, crnURL string, hash message.Hash) (*Backup, error) {
	pause := 500 * time.Millisecond
	for {
		b, err := c.GetBackup(ctx, by, crnURL, hash)
		if !errors.Is(err, ErrInProgress) {
			return b, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", err, ctx.Err())
		case <-time.After(pause):
		}
		pause = min(2*pause, 5*time.Second)
	}
}

package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
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

// StartBackup has a compute node copy the disks of an instance, with volumes those beside the root disk too. It is
// [ErrInProgress] until the copy is there: ask again with GetBackup.
func (c *Client) StartBackup(ctx context.Context, by Account, crnURL string, hash message.Hash, volumes bool) (*Backup, error) {
	query := ""
	if volumes {
		query = "include_volumes=" + strconv.FormatBool(volumes)
	}
	return c.backup(ctx, by, http.MethodPost, crnURL, hash, query)
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

// DownloadBackup writes the archive of a backup to w and checks it. An error after the last byte means that w holds what must not
// be used. Of the link the path and query alone are taken: the node is asked at crnURL.
func (c *Client) DownloadBackup(ctx context.Context, crnURL string, b *Backup, w io.Writer) error {
	link, err := url.Parse(b.URL)
	if err != nil {
		return fmt.Errorf("download backup %s: %w", b.ID, err)
	}
	target := strings.TrimRight(crnURL, "/") + link.RequestURI()
	ctx, alive, cancel := untilStall(ctx)
	defer cancel()
	req, err := c.request(ctx, http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("download backup %s: %w", b.ID, because(ctx, err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		raw, err := io.ReadAll(io.LimitReader(resp.Body, maxError))
		return errors.Join(httpError(http.MethodGet, target, answer{status: resp.StatusCode, body: raw}), err)
	}
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(w, sum), &meter{r: resp.Body, moved: func(int64) { alive() }}); err != nil {
		return fmt.Errorf("download backup %s: %w", b.ID, because(ctx, err))
	}
	if got := "sha256:" + hex.EncodeToString(sum.Sum(nil)); got != b.Checksum {
		return &UntrustedError{Node: crnURL, What: "backup " + b.ID, Err: fmt.Errorf("its checksum is %s", got)}
	}
	return nil
}

// RestoreFile replaces the root disk of an instance by the file, or volume, that the STORE message ref keeps.
func (c *Client) RestoreFile(ctx context.Context, by Account, crnURL string, hash, ref message.Hash) error {
	body, err := json.Marshal(map[string]message.Hash{"volume_ref": ref})
	if err != nil {
		return err
	}
	a, err := c.signedCall(ctx, by, http.MethodPost, crnURL, machinePath(hash, "restore"), "", strings.NewReader(string(body)), "application/json")
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

package client

import (
	"context"
	"fmt"
	"net/url"

	"github.com/aleph-im/aleph-go/message"
)

// FileOf returns the file that a STORE message keeps.
func (c *Client) FileOf(ctx context.Context, store message.Hash) (message.Hash, error) {
	f, err := c.StoredFile(ctx, store)
	if err != nil {
		return "", err
	}
	return f.FileHash, nil
}

// StoredFile is a file as a STORE message names it.
type StoredFile struct {
	Ref      string       `json:"ref"`   // its name, or the message
	Owner    string       `json:"owner"` // content.address of the message
	FileHash message.Hash `json:"file_hash"`
	Size     int64        `json:"size"` // bytes
}

// StoredFile returns the file that a STORE message keeps.
func (c *Client) StoredFile(ctx context.Context, store message.Hash) (*StoredFile, error) {
	f := &StoredFile{}
	err := c.get(ctx, "/api/v0/storage/by-message-hash/"+url.PathEscape(string(store)), nil, f)
	return f, err
}

// FileByRef returns the newest version of a file: of owner, under the name ref; or, when ref is the hash of a STORE message, of
// that message's file, whoever the owner is.
func (c *Client) FileByRef(ctx context.Context, owner, ref string) (*StoredFile, error) {
	path := "/api/v0/storage/by-ref/" + url.PathEscape(ref)
	if message.Hash(ref).Kind() == "" {
		path = "/api/v0/storage/by-ref/" + url.PathEscape(owner) + "/" + url.PathEscape(ref)
	}
	f := &StoredFile{}
	if err := c.get(ctx, path, nil, f); err != nil {
		return nil, fmt.Errorf("file %s: %w", ref, err)
	}
	return f, nil
}

// FileMetadata is what a node knows of a file.
type FileMetadata struct {
	FileHash message.Hash `json:"file_hash"`
	Type     string       `json:"type"` // file or dir
	Size     int64        `json:"size"` // bytes
}

// FileMetadata returns what the node knows of a file; one that it does not have is [ErrNotFound].
func (c *Client) FileMetadata(ctx context.Context, hash message.Hash) (*FileMetadata, error) {
	m := &FileMetadata{}
	err := c.get(ctx, "/api/v0/storage/metadata/"+url.PathEscape(string(hash)), nil, m)
	return m, err
}

// FilePins returns how many reasons the node has to keep a file.
func (c *Client) FilePins(ctx context.Context, hash message.Hash) (int64, error) {
	var n int64
	err := c.get(ctx, "/api/v0/storage/count/"+url.PathEscape(string(hash)), nil, &n)
	return n, err
}

// Limits are the largest uploads that a node takes, in bytes.
type Limits struct {
	Storage struct {
		File            int64 `json:"max_file_size"`
		Unauthenticated int64 `json:"max_unauthenticated_upload_file_size"`
	} `json:"storage"`
	IPFS struct {
		File            int64 `json:"max_upload_file_size"`
		CAR             int64 `json:"max_upload_car_size"`
		Unauthenticated int64 `json:"max_unauthenticated_upload_file_size"`
	} `json:"ipfs"`
}

// Limits returns what the node takes.
func (c *Client) Limits(ctx context.Context) (*Limits, error) {
	l := &Limits{}
	err := c.get(ctx, "/api/v0/storage/limits.json", nil, l)
	return l, err
}

// AddJSON stores a JSON value and returns the hash of the form in which the node keeps it (ccn-api §8.3). Without a
// message that names it, it stays for a day.
func (c *Client) AddJSON(ctx context.Context, value any) (message.Hash, error) {
	var reply struct{ Hash message.Hash }
	err := c.post(ctx, "/api/v0/storage/add_json", value, &reply)
	return reply.Hash, err
}

// Pin has the network keep a file that IPFS has already, or that this node was given before. It answers once the node has taken
// the message; with o.Sync, once it has the file, if that takes less than 30 s.
func (c *Client) Pin(ctx context.Context, by Account, hash message.Hash, payment *message.Payment, o SendOptions) (*Sent, error) {
	store := &message.Store{FileType: hash.Kind(), FileHash: hash, Payment: payment}
	if store.FileType == "" {
		return nil, fmt.Errorf("pin %q: it is not the hash of a file", hash)
	}
	return c.sent(ctx, by, message.TypeStore, store, o)
}

// MessageContent reads the content of a processed message into dst: of a post what was posted, of others all of it. Unlike
// [Client.GetMessage] it takes the node's word for it.
func (c *Client) MessageContent(ctx context.Context, hash message.Hash, dst any) error {
	return c.get(ctx, "/api/v0/messages/"+url.PathEscape(string(hash))+"/content", nil, dst)
}

// MessageStatus returns what became of a message, and no more.
func (c *Client) MessageStatus(ctx context.Context, hash message.Hash) (message.Status, error) {
	var reply struct{ Status message.Status }
	err := c.get(ctx, "/api/v0/messages/"+url.PathEscape(string(hash))+"/status", nil, &reply)
	return reply.Status, err
}

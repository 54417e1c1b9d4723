// Package replica keeps the disks of an instance a second time, on another compute node (decision 0029). The node that runs the
// instance cuts them into chunks, seals each with the instance's key and sends those that the other one, the holder, does not have;
// a generation, written at the end, names all that make up the disks at one moment. Package instance reads the disks and, on the
// holder, writes them again when the first node died; package api carries what is sent.
package replica

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// ChunkSize is how long chunks of disks are, in bytes; the last of a disk may be shorter.
const ChunkSize = 256 << 10

// maxSealed bounds a sealed chunk, in bytes.
const maxSealed = ChunkSize + nonceSize + tagSize

const (
	nonceSize = 12
	tagSize   = 16
)

// ID names a sealed chunk: the SHA-256 of its bytes, which its holder can check without the key. The zero ID stands for zeros.
type ID [sha256.Size]byte

// MarshalText writes hex.
func (id ID) MarshalText() ([]byte, error) {
	if id == (ID{}) {
		return nil, nil
	}
	return hex.AppendEncode(nil, id[:]), nil
}

// UnmarshalText reads what MarshalText writes.
func (id *ID) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*id = ID{}
		return nil
	}
	raw, err := hex.AppendDecode(nil, text)
	if err != nil || len(raw) != len(id) {
		return fmt.Errorf("%q is no name of a chunk", text)
	}
	*id = ID(raw)
	return nil
}

// String returns the name in hex.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Generation is the disks at one moment, as the holder knows it.
type Generation struct {
	Number int64 `json:"number"` // each newer one has a greater number
	// Line names the disks that it was made of: one who begins anew with empty disks has another.
	Line     string `json:"line"`
	Chunks   []ID   `json:"chunks"`   // all that it needs, once each
	Manifest []byte `json:"manifest"` // sealed
}

// Manifest says how chunks make up disks.
type Manifest struct {
	Instance message.Hash `json:"instance"`
	Number   int64        `json:"number"`
	Taken    time.Time    `json:"taken"`
	Stopped  bool         `json:"stopped"` // the instance was not running, and is not to
	Disks    []Disk       `json:"disks"`
}

// Disk is one disk of a manifest.
type Disk struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`   // bytes
	Chunks []ID   `json:"chunks"` // in order
}

// Chunks is how many chunks a disk of size bytes has.
func Chunks(size int64) int64 { return (size + ChunkSize - 1) / ChunkSize }

// Sealed is how many bytes the sealed chunks of a disk of size bytes take at most.
func Sealed(size int64) int64 { return size + Chunks(size)*(nonceSize+tagSize) }

// Key seals the chunks of one instance and opens them. The same chunk is sealed to the same bytes, so that it is stored once.
type Key struct {
	aead cipher.AEAD
	mac  []byte
}

// NewKey makes a key of a secret of at least 32 bytes.
func NewKey(secret []byte) (*Key, error) {
	if len(secret) < 32 {
		return nil, errors.New("the secret of a replica has less than 32 bytes")
	}
	part := func(name string) []byte {
		key, err := hkdf.Key(sha256.New, secret, nil, "aleph replica "+name, 32)
		if err != nil {
			panic(err) // only for keys of a length that there is not
		}
		return key
	}
	block, err := aes.NewCipher(part("chunks"))
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return &Key{aead: aead, mac: part("nonces")}, nil
}

// Seal encrypts a chunk. The nonce follows from the chunk: two that differ have the same with a chance of one in 2^96.
func (k *Key) Seal(chunk []byte) (ID, []byte) {
	mac := hmac.New(sha256.New, k.mac)
	mac.Write(chunk)
	nonce := mac.Sum(nil)[:nonceSize:nonceSize]
	sealed := k.aead.Seal(nonce, nonce, chunk, nil)
	return sha256.Sum256(sealed), sealed
}

// Open decrypts what Seal made, and fails if it is anything else.
func (k *Key) Open(id ID, sealed []byte) ([]byte, error) {
	if sha256.Sum256(sealed) != id || len(sealed) < nonceSize {
		return nil, fmt.Errorf("chunk %s does not hash to its name", id)
	}
	chunk, err := k.aead.Open(nil, sealed[:nonceSize], sealed[nonceSize:], nil)
	if err != nil {
		return nil, fmt.Errorf("chunk %s was sealed with another key", id)
	}
	return chunk, nil
}

// manifestMark keeps manifests and chunks apart, which are sealed with the same key.
var manifestMark = []byte("manifest")

// Generation seals a manifest.
func (k *Key) Generation(m Manifest, line string) (g Generation, err error) {
	raw, err := json.Marshal(m)
	if err != nil {
		return g, fmt.Errorf("encode a manifest: %w", err)
	}
	nonce := make([]byte, nonceSize, nonceSize+len(raw)+tagSize)
	_, _ = rand.Read(nonce) // never fails
	g = Generation{Number: m.Number, Line: line, Manifest: k.aead.Seal(nonce, nonce, raw, manifestMark)}
	listed := map[ID]bool{{}: true}
	for _, d := range m.Disks {
		for _, id := range d.Chunks {
			if !listed[id] {
				listed[id] = true
				g.Chunks = append(g.Chunks, id)
			}
		}
	}
	return g, nil
}

// Manifest opens that of an instance's generation.
func (k *Key) Manifest(instance message.Hash, g Generation) (m Manifest, err error) {
	if len(g.Manifest) < nonceSize {
		return m, errors.New("a generation has no manifest")
	}
	raw, err := k.aead.Open(nil, g.Manifest[:nonceSize], g.Manifest[nonceSize:], manifestMark)
	if err != nil {
		return m, errors.New("the manifest was sealed with another key")
	}
	if err := json.NewDecoder(bytes.NewReader(raw)).Decode(&m); err != nil {
		return m, fmt.Errorf("read a manifest: %w", err)
	}
	if m.Instance != instance || m.Number != g.Number {
		return m, errors.New("the manifest is another one's")
	}
	for _, d := range m.Disks {
		if d.Size < 0 || int64(len(d.Chunks)) != Chunks(d.Size) {
			return m, fmt.Errorf("disk %s of a manifest has %d chunks in %d bytes", d.Name, len(d.Chunks), d.Size)
		}
	}
	return m, nil
}

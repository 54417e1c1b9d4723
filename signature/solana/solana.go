// Package solana verifies and makes the signatures of Solana and Eclipse accounts: Ed25519 over the payload itself.
// Package signature registers it.
package solana

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aleph-im/aleph-go/message"
	strict "github.com/aleph-im/aleph-go/signature/internal/ed25519"
	"github.com/aleph-im/aleph-go/signature/internal/identity"
	"github.com/aleph-im/aleph-go/signature/internal/object"
	"github.com/mr-tron/base58"
)

// Verifier verifies messages of the chains SOL and ES (spec/messages.md §4.2).
type Verifier struct{}

// Verify checks a signature of the form {"signature": base58, "publicKey": base58, "version": 1}; version may be absent.
func (Verifier) Verify(m *message.Message) error {
	envelope, err := object.Parse(m.Signature)
	if err != nil {
		return err
	}
	if version, ok := envelope["version"]; ok {
		var v float64
		if json.Unmarshal(version, &v) != nil || v != 1 {
			return fmt.Errorf("version %.20s is not supported, only 1 is", version)
		}
	}
	keyText, err := envelope.Text("publicKey")
	if err != nil {
		return err
	}
	sigText, err := envelope.Text("signature")
	if err != nil {
		return err
	}
	if keyText != m.Sender { // the text is not repeated: it may be a secret key
		return fmt.Errorf("the public key is not the sender %.80q", m.Sender)
	}
	key, err := base58.Decode(keyText)
	if err != nil || len(key) != ed25519.PublicKeySize {
		return errors.New("the public key is not 32 bytes in base58")
	}
	sig, err := base58.Decode(sigText)
	if err != nil || len(sig) != ed25519.SignatureSize {
		return errors.New("the signature is not 64 bytes in base58")
	}
	if !strict.Verify(key, m.SigningPayload(), sig) {
		return errors.New("it does not match the sender and the content")
	}
	return nil
}

// Account is a Solana key pair. However it is printed or logged, only the address, its public key in base58, shows.
type Account struct {
	identity.Identity
	key ed25519.PrivateKey
}

// NewAccount returns the account of a 32-byte seed, or of a 64-byte secret key: the seed and its public key.
func NewAccount(secret []byte) (*Account, error) {
	var key ed25519.PrivateKey
	switch len(secret) {
	case ed25519.SeedSize:
		key = ed25519.NewKeyFromSeed(secret)
	case ed25519.PrivateKeySize:
		key = ed25519.NewKeyFromSeed(secret[:ed25519.SeedSize])
		if !slices.Equal(key, ed25519.PrivateKey(secret)) {
			return nil, errors.New("open a Solana account: the public key in the secret key is not that of its seed")
		}
	default:
		return nil, fmt.Errorf("open a Solana account: want a seed of 32 bytes or a secret key of 64, got %d bytes", len(secret))
	}
	return &Account{identity.New(message.ChainSOL, base58.Encode(key[ed25519.SeedSize:])), key}, nil
}

// Generate returns a new random account.
func Generate() (*Account, error) {
	var seed [ed25519.SeedSize]byte
	rand.Read(seed[:]) // never fails
	return NewAccount(seed[:])
}

// FromText returns the account of a seed or secret key in base58, or as the JSON array of bytes of Solana's key files.
func FromText(text string) (*Account, error) {
	text = strings.TrimSpace(text)
	if !strings.HasPrefix(text, "[") {
		secret, err := base58.Decode(text)
		if err != nil { // the text of the error would hold a piece of the key
			return nil, errors.New("open a Solana account: the key is neither base58 nor a JSON array of bytes")
		}
		return NewAccount(secret)
	}
	var numbers []uint8
	var wide []uint16 // encoding/json reads []uint8 as base64
	if err := json.Unmarshal([]byte(text), &wide); err != nil {
		return nil, errors.New("open a Solana account: the key is neither base58 nor a JSON array of bytes")
	}
	for _, n := range wide {
		if n > 255 {
			return nil, errors.New("open a Solana account: the key is a JSON array with numbers above 255")
		}
		numbers = append(numbers, uint8(n))
	}
	return NewAccount(numbers)
}

// Eclipse returns the account of the same key on Eclipse, whose chain code ES is part of what is signed.
func (a *Account) Eclipse() *Account {
	return &Account{identity.New(message.ChainES, a.Address()), a.key}
}

// Sign returns the JSON text that carries the signature of payload.
func (a *Account) Sign(_ context.Context, payload []byte) (string, error) {
	sig := base58.Encode(ed25519.Sign(a.key, payload))
	return `{"signature":"` + sig + `","publicKey":"` + a.Address() + `"}`, nil
}

// Secret returns a copy of the 64-byte secret key, for key files. Do not print it.
func (a *Account) Secret() []byte { return slices.Clone(a.key) }

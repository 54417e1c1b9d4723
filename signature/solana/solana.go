// Package solana verifies and makes the signatures of Solana and Eclipse accounts: Ed25519 over the payload itself.
// Package signature registers it.
package solana

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/aleph-im/aleph-go/message"
	"github.com/mr-tron/base58"
)

// Verifier verifies messages of the chains SOL and ES (spec/messages.md §4.2).
type Verifier struct{}

// Verify checks a signature of the form {"signature": base58, "publicKey": base58, "version": 1}; version may be absent.
func (Verifier) Verify(m *message.Message) error {
	// A map, because a struct would match member names in any case.
	var envelope map[string]json.RawMessage
	if err := json.Unmarshal([]byte(m.Signature), &envelope); err != nil {
		return errors.New("want a JSON object with signature and publicKey")
	}
	if version, ok := envelope["version"]; ok {
		var v float64
		if json.Unmarshal(version, &v) != nil || v != 1 {
			return fmt.Errorf("version %.20s is not supported, only 1 is", version)
		}
	}
	var keyText, sigText string
	if json.Unmarshal(envelope["publicKey"], &keyText) != nil || json.Unmarshal(envelope["signature"], &sigText) != nil {
		return errors.New("want a JSON object with signature and publicKey")
	}
	if keyText != m.Sender {
		return fmt.Errorf("public key %.80q is not the sender %.80q", keyText, m.Sender)
	}
	key, err := base58.Decode(keyText)
	if err != nil || len(key) != ed25519.PublicKeySize {
		return errors.New("the public key is not 32 bytes in base58")
	}
	sig, err := base58.Decode(sigText)
	if err != nil || len(sig) != ed25519.SignatureSize {
		return errors.New("the signature is not 64 bytes in base58")
	}
	if !verify(key, m.SigningPayload(), sig) {
		return errors.New("it does not match the sender and the content")
	}
	return nil
}

// verify is Ed25519 as strict as libsodium, which the network's nodes use: besides what Go checks, neither the key nor the
// point of the signature may be of small order, and the key must be encoded in its one canonical way.
func verify(key, payload, sig []byte) bool {
	return isCanonical(key) && !isSmallOrder(key) && !isSmallOrder(sig[:32]) && ed25519.Verify(key, payload, sig)
}

// isCanonical reports whether the y coordinate of an encoded point is below the field's prime, 2^255 − 19.
func isCanonical(point []byte) bool {
	if point[31]&0x7f != 0x7f || point[0] < 0xed {
		return true
	}
	return slices.ContainsFunc(point[1:31], func(b byte) bool { return b != 0xff })
}

// smallOrder are the y coordinates of the points whose order divides 8, including two non-canonical encodings.
var smallOrder = []string{
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
}

// isSmallOrder reports whether the encoded point generates no more than 8 points.
func isSmallOrder(point []byte) bool {
	y := [32]byte(point)
	y[31] &= 0x7f // the sign of x
	return slices.Contains(smallOrder, hex.EncodeToString(y[:]))
}

// Account is a Solana key pair. However it is printed or logged, only the address shows.
type Account struct {
	key     ed25519.PrivateKey
	address string
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
	return &Account{key: key, address: base58.Encode(key[ed25519.SeedSize:])}, nil
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

// Chain is SOL.
func (a *Account) Chain() message.Chain { return message.ChainSOL }

// Address returns the public key in base58.
func (a *Account) Address() string { return a.address }

// Sign returns the JSON text that carries the signature of payload.
func (a *Account) Sign(_ context.Context, payload []byte) (string, error) {
	sig := base58.Encode(ed25519.Sign(a.key, payload))
	return `{"signature":"` + sig + `","publicKey":"` + a.address + `"}`, nil
}

// Secret returns a copy of the 64-byte secret key, for key files. Do not print it.
func (a *Account) Secret() []byte { return slices.Clone(a.key) }

// Format prints the address, whatever the verb: no verb reaches the key.
func (a *Account) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, a.address) }

// LogValue logs the address.
func (a *Account) LogValue() slog.Value { return slog.StringValue(a.address) }

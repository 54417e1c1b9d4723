// Package substrate verifies and makes the signatures of Polkadot and other chains built on Substrate: sr25519 over the
// payload. Package signature registers it.
package substrate

import (
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/internal/identity"
	"github.com/aleph-im/aleph-go/signature/internal/mnemonic"
	"github.com/aleph-im/aleph-go/signature/internal/object"
	"github.com/oasisprotocol/curve25519-voi/primitives/sr25519"
)

// curve is the only one whose signatures the network accepts.
const curve = "sr25519"

// Verifier verifies messages of the chain DOT (spec/messages.md §4.4).
type Verifier struct{}

// Verify checks a signature of the form {"curve": "sr25519", "data": "0x…"}; curve may be absent. Browser extensions wrap what
// they sign; either form passes.
func (Verifier) Verify(m *message.Message) error {
	envelope, err := object.Parse(m.Signature)
	if err != nil {
		return err
	}
	name, err := envelope.TextOr("curve", curve)
	if err != nil {
		return err
	}
	if name != curve {
		return fmt.Errorf("curve %.20q is not supported, only %s is", name, curve)
	}
	data, err := envelope.Text("data")
	if err != nil {
		return err
	}
	digits, found := strings.CutPrefix(data, "0x")
	raw, err := hex.DecodeString(digits)
	if !found || err != nil {
		return errors.New("data is not 0x and hex")
	}
	sig, err := sr25519.NewSignatureFromBytes(raw)
	if err != nil {
		return errors.New("data is not an sr25519 signature")
	}
	raw, err = decodeAddress(m.Sender)
	if err != nil {
		return err
	}
	key, err := sr25519.NewPublicKeyFromBytes(raw)
	if err != nil {
		return fmt.Errorf("sender %s is not an sr25519 key", m.Sender)
	}
	payload := m.SigningPayload()
	if !key.Verify(transcript(payload), sig) && !key.Verify(transcript(wrap(payload)), sig) {
		return errors.New("it does not match the sender and the content")
	}
	return nil
}

// transcript is what an sr25519 signature of payload commits to.
func transcript(payload []byte) *sr25519.SigningTranscript {
	return sr25519.NewSigningContext([]byte("substrate")).NewTranscriptBytes(payload)
}

// wrap marks payload as text, so that nobody can be led to sign a transaction.
func wrap(payload []byte) []byte {
	return append(append([]byte("<Bytes>"), payload...), "</Bytes>"...)
}

// Account is an sr25519 key and its address. However it is printed or logged, only the address shows.
type Account struct {
	identity.Identity
	secret [32]byte
	pair   *sr25519.KeyPair
}

// NewAccount returns the account of a 32-byte mini secret, expanded as Substrate does by default. network is the SS58 prefix of
// the address, from 0 to 16383, such as [Generic].
func NewAccount(secret []byte, network uint16) (*Account, error) {
	mini, err := sr25519.NewMiniSecretKeyFromBytes(secret)
	if err != nil { // its text holds nothing that helps
		return nil, fmt.Errorf("open a Substrate account: want a mini secret of 32 bytes, got %d bytes", len(secret))
	}
	if network > maxNetwork {
		return nil, fmt.Errorf("open a Substrate account: network %d is above %d", network, maxNetwork)
	}
	pair := mini.ExpandEd25519().KeyPair()
	public, err := pair.PublicKey().MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("open a Substrate account: %w", err)
	}
	return &Account{identity.New(message.ChainDOT, encodeAddress(public, network)), [32]byte(secret), pair}, nil
}

// Generate returns a new random account on a network.
func Generate(network uint16) (*Account, error) {
	var secret [32]byte
	rand.Read(secret[:]) // never fails
	return NewAccount(secret[:], network)
}

// FromMnemonic returns the account of an English BIP-39 phrase without a derivation path. Unlike other wallets, Substrate's
// stretch the entropy that the words stand for, not the words.
func FromMnemonic(phrase, passphrase string, network uint16) (*Account, error) {
	entropy, err := mnemonic.Entropy(phrase)
	if err != nil {
		return nil, fmt.Errorf("open a Substrate account: %w", err)
	}
	secret, err := pbkdf2.Key(sha512.New, string(entropy), []byte("mnemonic"+passphrase), 2048, 32)
	if err != nil {
		return nil, fmt.Errorf("open a Substrate account: %w", err)
	}
	return NewAccount(secret, network)
}

// Sign returns the JSON text that carries the signature of payload. It is different each time.
func (a *Account) Sign(_ context.Context, payload []byte) (string, error) {
	sig, err := a.pair.Sign(rand.Reader, transcript(payload))
	if err != nil {
		return "", fmt.Errorf("sign with a Substrate key: %w", err)
	}
	raw, err := sig.MarshalBinary()
	if err != nil {
		return "", fmt.Errorf("sign with a Substrate key: %w", err)
	}
	return `{"curve":"` + curve + `","data":"0x` + hex.EncodeToString(raw) + `"}`, nil
}

// Secret returns a copy of the 32-byte mini secret, for key files. Do not print it.
func (a *Account) Secret() []byte { return append([]byte(nil), a.secret[:]...) }

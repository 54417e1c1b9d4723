package tezos

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/internal/identity"
	"github.com/aleph-im/aleph-go/signature/internal/secp256k1"
	"golang.org/x/crypto/blake2b"
)

// Account is a private key on one of the curves and its address. However it is printed or logged, only the address shows.
type Account struct {
	identity.Identity
	curve  Curve
	secret [32]byte
	public string // edpk, sppk or p2pk
	sign   func(digest *[32]byte) ([64]byte, error)
}

// NewAccount returns the account of a 32-byte private key: a seed of Ed25519, or a number.
func NewAccount(curve Curve, secret []byte) (*Account, error) {
	if len(secret) != 32 {
		return nil, fmt.Errorf("open a Tezos account: want a private key of 32 bytes, got %d", len(secret))
	}
	a := &Account{curve: curve, secret: [32]byte(secret)}
	var public []byte
	switch curve {
	case Ed25519:
		key := ed25519.NewKeyFromSeed(secret)
		public = key.Public().(ed25519.PublicKey)
		a.sign = func(digest *[32]byte) ([64]byte, error) { return [64]byte(ed25519.Sign(key, digest[:])), nil }
	case Secp256k1:
		key, err := secp256k1.NewKey(secret)
		if err != nil {
			return nil, fmt.Errorf("open a Tezos account: %w", err)
		}
		compressed := key.Public()
		public = compressed[:]
		a.sign = func(digest *[32]byte) (sig [64]byte, err error) {
			made, err := key.Sign(digest)
			return [64]byte(made[:64]), err
		}
	case P256:
		key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), secret)
		if err != nil { // its text is left out, lest it hold a piece of the key
			return nil, errors.New("open a Tezos account: a private key is a number from 1 to the order of P-256 in 32 bytes")
		}
		point, err := key.PublicKey.Bytes()
		if err != nil {
			return nil, fmt.Errorf("open a Tezos account: %w", err)
		}
		compressed := secp256k1.Compress((*[64]byte)(point[1:])) // both curves compress alike
		public = compressed[:]
		a.sign = func(digest *[32]byte) (sig [64]byte, err error) {
			r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
			if err != nil {
				return sig, err
			}
			r.FillBytes(sig[:32])
			s.FillBytes(sig[32:])
			return sig, nil
		}
	default:
		return nil, fmt.Errorf("open a Tezos account: there is no curve %d", curve)
	}
	a.public = encode(curve.encoding().public, public)
	a.Identity = identity.New(message.ChainTEZOS, address(curve, public))
	return a, nil
}

// Generate returns a new random account.
func Generate(curve Curve) (*Account, error) {
	if curve == Secp256k1 {
		key := secp256k1.Generate()
		return NewAccount(curve, key.Secret())
	}
	for {
		var secret [32]byte
		rand.Read(secret[:]) // never fails
		a, err := NewAccount(curve, secret[:])
		if err == nil || curve != P256 { // of P-256, one number in 2^32 is too large
			return a, err
		}
	}
}

// FromText returns the account of a private key as wallets show it: edsk with a seed, spsk or p2sk.
func FromText(text string) (*Account, error) {
	raw, err := decode(strings.TrimSpace(text))
	if err == nil {
		for _, e := range encodings() {
			if secret, found := bytes.CutPrefix(raw, e.secret); found && len(secret) == 32 {
				return NewAccount(e.curve, secret)
			}
		}
	}
	// The text is not repeated: it may be most of a key.
	return nil, errors.New("open a Tezos account: the private key is none of edsk with a seed, spsk and p2sk")
}

// Sign returns the JSON text that carries the raw signature of payload.
func (a *Account) Sign(_ context.Context, payload []byte) (string, error) {
	sig, err := a.signature(payload)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf(`{"publicKey":%q,"signature":%q}`, a.public, sig), nil
}

// SignMicheline returns the JSON text that carries the signature that wallets make of payload for the application at dApp, an
// address such as https://aleph.im. at must be the time of the envelope; only whole milliseconds of it are signed.
func (a *Account) SignMicheline(payload []byte, at message.Time, dApp string) (string, error) {
	sig, err := a.signature(micheline(dApp, at, payload))
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(map[string]string{
		"publicKey": a.public, "signature": sig, "signingType": signMicheline, "dAppUrl": dApp,
	})
	if err != nil {
		return "", fmt.Errorf("sign with a Tezos key: %w", err)
	}
	return string(text), nil
}

func (a *Account) signature(b []byte) (string, error) {
	digest := blake2b.Sum256(b)
	sig, err := a.sign(&digest)
	if err != nil {
		return "", fmt.Errorf("sign with a Tezos key: %w", err)
	}
	return encode(a.curve.encoding().sig, sig[:]), nil
}

// Secret returns a copy of the 32-byte private key, for key files. Do not print it.
func (a *Account) Secret() []byte { return append([]byte(nil), a.secret[:]...) }

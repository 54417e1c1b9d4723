// Package avalanche verifies and makes the signatures of accounts on the X, P and C chains of Avalanche with bech32
// addresses. Package signature registers it.
//
// Accounts with Ethereum's addresses, on the C chain, sign as Ethereum accounts do, with the chain code ETH.
package avalanche

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/internal/bech32"
	"github.com/aleph-im/aleph-go/signature/internal/identity"
	"github.com/aleph-im/aleph-go/signature/internal/secp256k1"
	"github.com/mr-tron/base58"
)

// Verifier verifies messages of the chain AVAX (spec/messages.md §4.6).
type Verifier struct{}

// Verify recovers the signer of r, s and recovery id in CB58 and compares its address with the sender.
func (Verifier) Verify(m *message.Message) error {
	chain, rest, found := strings.Cut(m.Sender, "-")
	if !found || !strings.HasPrefix(rest, hrp+"1") {
		return fmt.Errorf("sender %.80q is not an address: want a chain, a dash and bech32 that begins with %s", m.Sender, hrp)
	}
	if len(m.Signature) > maxSignature { // decoding takes the square of the length
		return errSignature
	}
	raw, err := decodeCB58(m.Signature)
	if err != nil || len(raw) != 65 || raw[64] > 3 {
		return errSignature
	}
	digest := hash(m.SigningPayload())
	point, err := secp256k1.Recover(&digest, (*[65]byte)(raw))
	if err != nil {
		return fmt.Errorf("recover the signer: %w", err)
	}
	key := secp256k1.Compress(&point)
	if got := address(chain, &key); got != m.Sender {
		return fmt.Errorf("it is from %.80q, the sender is %.80q", got, m.Sender)
	}
	return nil
}

// maxSignature is the length of the longest base58 text of 69 bytes.
const maxSignature = 95

var errSignature = errors.New("want r, s and a recovery id from 0 to 3, 65 bytes, in CB58")

// hrp begins the addresses of the main network. The network accepts no others.
const hrp = "avax"

func address(chain string, key *[33]byte) string {
	hash := secp256k1.Hash160(key)
	return chain + "-" + bech32.Encode(hrp, hash[:])
}

// hash is the digest that wallets sign for a text.
func hash(payload []byte) [32]byte {
	b := []byte("\x1aAvalanche Signed Message:\n")
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload)))
	return sha256.Sum256(append(b, payload...))
}

// encodeCB58 returns data and the last 4 bytes of its hash in base58.
func encodeCB58(data []byte) string {
	sum := sha256.Sum256(data)
	return base58.Encode(append(bytes.Clone(data), sum[28:]...))
}

func decodeCB58(text string) ([]byte, error) {
	raw, err := base58.Decode(text)
	if err != nil || len(raw) < 4 {
		return nil, errors.New("not CB58")
	}
	data := raw[:len(raw)-4]
	if sum := sha256.Sum256(data); !bytes.Equal(sum[28:], raw[len(data):]) {
		return nil, errors.New("wrong checksum")
	}
	return data, nil
}

// Account is a private key and its address on one of the chains. However it is printed or logged, only the address shows.
type Account struct {
	identity.Identity
	key secp256k1.Key
}

// NewAccount returns the account of a 32-byte private key on a chain, X, P or C.
func NewAccount(secret []byte, chain string) (*Account, error) {
	key, err := secp256k1.NewKey(secret)
	if err != nil {
		return nil, fmt.Errorf("open an Avalanche account: %w", err)
	}
	return account(key, chain)
}

// Generate returns a new random account on a chain, X, P or C.
func Generate(chain string) (*Account, error) { return account(secp256k1.Generate(), chain) }

// secretPrefix begins private keys as wallets show them, before the CB58 of the 32 bytes.
const secretPrefix = "PrivateKey-"

// FromText returns the account of a private key as wallets show it, PrivateKey- and CB58.
func FromText(text, chain string) (*Account, error) {
	encoded, found := strings.CutPrefix(strings.TrimSpace(text), secretPrefix)
	if !found || len(encoded) > 64 {
		return nil, errText
	}
	secret, err := decodeCB58(encoded)
	if err != nil {
		return nil, errText
	}
	return NewAccount(secret, chain)
}

// errText holds nothing of the key.
var errText = errors.New("open an Avalanche account: the private key is not " + secretPrefix + " and CB58")

func account(key secp256k1.Key, chain string) (*Account, error) {
	if chain != "X" && chain != "P" && chain != "C" {
		return nil, fmt.Errorf("open an Avalanche account: there is no chain %q, want X, P or C", chain)
	}
	public := key.Public()
	return &Account{identity.New(message.ChainAVAX, address(chain, &public)), key}, nil
}

// Sign returns r, s and the recovery id of the signature of payload in CB58.
func (a *Account) Sign(_ context.Context, payload []byte) (string, error) {
	digest := hash(payload)
	sig, err := a.key.Sign(&digest)
	if err != nil {
		return "", fmt.Errorf("sign with an Avalanche key: %w", err)
	}
	return encodeCB58(sig[:]), nil
}

// Secret returns a copy of the 32-byte private key, for key files. Do not print it.
func (a *Account) Secret() []byte { return a.key.Secret() }

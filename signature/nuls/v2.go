package nuls

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/internal/identity"
	"github.com/aleph-im/aleph-go/signature/internal/mnemonic"
	"github.com/aleph-im/aleph-go/signature/internal/secp256k1"
)

// The networks of the second version.
const (
	Mainnet uint16 = 1
	Testnet uint16 = 2
)

// networkPrefix begins the addresses of a network: its name, and the letter of the alphabet that counts the name's letters.
func networkPrefix(chainID uint16) (string, bool) {
	switch chainID {
	case Mainnet:
		return "NULSd", true
	case Testnet:
		return "tNULSe", true
	}
	return "", false
}

// Verifier verifies messages of the chain NULS2 (spec/messages.md §4.7).
type Verifier struct{}

// header is the first byte of a signature, to which the recovery id is added.
const header = 27

// Verify recovers the signer of header, r and s in base64 and compares its address with the sender.
func (Verifier) Verify(m *message.Message) error {
	chainID := Mainnet
	if strings.HasPrefix(m.Sender, "t") {
		chainID = Testnet
	}
	network, _ := networkPrefix(chainID)
	if !strings.HasPrefix(m.Sender, network) {
		return fmt.Errorf("sender %.80q is not an address of a known network", m.Sender)
	}
	raw, err := base64.StdEncoding.DecodeString(m.Signature)
	if err != nil || len(raw) != 65 || raw[0] < header || raw[0] > header+3 {
		return errors.New("want a header from 27 to 30, r and s, 65 bytes, in base64")
	}
	var sig [65]byte
	copy(sig[:], raw[1:])
	sig[64] = raw[0] - header
	digest := sha256.Sum256(append([]byte(prefix), withLength(m.SigningPayload())...))
	point, err := secp256k1.Recover(&digest, &sig)
	if err != nil {
		return fmt.Errorf("recover the signer: %w", err)
	}
	key := secp256k1.Compress(&point)
	if got := network + address(chainID, &key); got != m.Sender {
		return fmt.Errorf("it is from %s, the sender is %.80q", got, m.Sender)
	}
	return nil
}

// Account is a private key and its address on a network of the second version. However it is printed or logged, only the
// address shows.
type Account struct {
	identity.Identity
	key secp256k1.Key
}

// NewAccount returns the account of a 32-byte private key on [Mainnet] or [Testnet].
func NewAccount(secret []byte, chainID uint16) (*Account, error) {
	key, err := secp256k1.NewKey(secret)
	if err != nil {
		return nil, fmt.Errorf("open a NULS account: %w", err)
	}
	return account(key, chainID)
}

// Generate returns a new random account on [Mainnet] or [Testnet].
func Generate(chainID uint16) (*Account, error) { return account(secp256k1.Generate(), chainID) }

// FromMnemonic returns the account of an English BIP-39 phrase. Its key is the master key: NULS wallets that sign messages
// follow no path.
func FromMnemonic(phrase, passphrase string, chainID uint16) (*Account, error) {
	secret, err := mnemonic.Key(phrase, passphrase)
	if err != nil {
		return nil, fmt.Errorf("open a NULS account: %w", err)
	}
	return NewAccount(secret[:], chainID)
}

func account(key secp256k1.Key, chainID uint16) (*Account, error) {
	network, ok := networkPrefix(chainID)
	if !ok {
		return nil, fmt.Errorf("open a NULS account: there is no network %d, want %d or %d", chainID, Mainnet, Testnet)
	}
	public := key.Public()
	return &Account{identity.New(message.ChainNULS2, network+address(chainID, &public)), key}, nil
}

// Sign returns header, r and s of the signature of payload in base64.
func (a *Account) Sign(_ context.Context, payload []byte) (string, error) {
	digest := sha256.Sum256(append([]byte(prefix), withLength(payload)...))
	sig, err := a.key.Sign(&digest)
	if err != nil {
		return "", fmt.Errorf("sign with a NULS key: %w", err)
	}
	return base64.StdEncoding.EncodeToString(append([]byte{header + sig[64]}, sig[:64]...)), nil
}

// Secret returns a copy of the 32-byte private key, for key files. Do not print it.
func (a *Account) Secret() []byte { return a.key.Secret() }

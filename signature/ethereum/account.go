package ethereum

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/internal/identity"
	"github.com/aleph-im/aleph-go/signature/internal/mnemonic"
	"github.com/aleph-im/aleph-go/signature/internal/secp256k1"
)

// Account is a private key and its checksummed address. However it is printed or logged, only the address shows. Its chain
// is ETH, which is what wallets and SDKs sign, whatever network of the family they are on.
type Account struct {
	identity.Identity
	key secp256k1.Key
}

// NewAccount returns the account of a 32-byte private key.
func NewAccount(secret []byte) (*Account, error) {
	key, err := secp256k1.NewKey(secret)
	if err != nil {
		return nil, fmt.Errorf("open an Ethereum account: %w", err)
	}
	return account(key), nil
}

func account(key secp256k1.Key) *Account {
	point := key.Point()
	return &Account{identity.New(message.ChainETH, ChecksumAddress(addressOf(&point))), key}
}

// Generate returns a new random account.
func Generate() (*Account, error) { return account(secp256k1.Generate()), nil }

// FromHex returns the account of a private key in hex, with or without 0x.
func FromHex(text string) (*Account, error) {
	text = strings.TrimSpace(text)
	text = strings.TrimPrefix(strings.TrimPrefix(text, "0x"), "0X")
	secret, err := hex.DecodeString(text)
	if err != nil || len(secret) != 32 { // the text of the error would hold a piece of the key
		return nil, fmt.Errorf("open an Ethereum account: the private key is not 64 hex digits")
	}
	return NewAccount(secret)
}

// FromMnemonic returns the first account of an English BIP-39 phrase, at m/44'/60'/0'/0/0 as wallets do.
func FromMnemonic(phrase, passphrase string) (*Account, error) {
	const hardened = mnemonic.Hardened
	secret, err := mnemonic.Key(phrase, passphrase, hardened+44, hardened+60, hardened, 0, 0)
	if err != nil {
		return nil, fmt.Errorf("open an Ethereum account: %w", err)
	}
	return NewAccount(secret[:])
}

// Sign returns the personal_sign signature of payload.
func (a *Account) Sign(_ context.Context, payload []byte) (string, error) {
	return signPersonal(&a.key, payload)
}

// Secret returns a copy of the 32-byte private key, for key files and for signing transactions. Do not print it.
func (a *Account) Secret() []byte { return a.key.Secret() }

// SignTransaction signs what the hash of a transaction is made of: its type and its fields without a signature. It returns r, s and
// the parity of y.
func (a *Account) SignTransaction(_ context.Context, unsigned []byte) ([65]byte, error) {
	digest := keccak(unsigned)
	sig, err := a.key.Sign(&digest)
	if err != nil {
		return sig, fmt.Errorf("sign a transaction with an Ethereum key: %w", err)
	}
	return sig, nil
}

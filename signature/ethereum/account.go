package ethereum

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/aleph-im/aleph-go/message"
	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/tyler-smith/go-bip39"
)

// Account is a private key and its address. However it is printed or logged, only the address shows.
type Account struct {
	secret  [32]byte
	public  [64]byte
	address string
}

// NewAccount returns the account of a 32-byte private key.
func NewAccount(secret []byte) (*Account, error) {
	if !validSecret(secret) {
		return nil, fmt.Errorf("open an Ethereum account: %w", errSecret)
	}
	a := &Account{secret: [32]byte(secret)}
	key := secp256k1.PrivKeyFromBytes(secret)
	defer key.Zero()
	a.public = [64]byte(key.PubKey().SerializeUncompressed()[1:])
	a.address = ChecksumAddress(addressOf(&a.public))
	return a, nil
}

// validSecret reports whether b is a number from 1 to the order of the curve, exclusive.
func validSecret(b []byte) bool {
	var scalar secp256k1.ModNScalar
	return len(b) == 32 && !scalar.SetByteSlice(b) && !scalar.IsZero()
}

// Generate returns a new random account.
func Generate() (*Account, error) {
	var secret [32]byte
	for {
		rand.Read(secret[:]) // never fails
		if validSecret(secret[:]) {
			return NewAccount(secret[:])
		}
	}
}

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
	phrase = strings.Join(strings.Fields(strings.ToLower(phrase)), " ")
	seed, err := bip39.NewSeedWithErrorChecking(phrase, passphrase)
	if err != nil { // its text may name words of the phrase
		return nil, fmt.Errorf("open an Ethereum account: the phrase is not 12 to 24 English BIP-39 words with a right checksum")
	}
	const hardened = 1 << 31
	secret, err := derive(seed, hardened+44, hardened+60, hardened, 0, 0)
	if err != nil {
		return nil, fmt.Errorf("open an Ethereum account: %w", err)
	}
	return NewAccount(secret[:])
}

// derive follows a BIP-32 path from a seed to a private key.
func derive(seed []byte, path ...uint32) ([32]byte, error) {
	secret, chain := split([]byte("Bitcoin seed"), seed)
	for _, index := range path {
		var data []byte
		if index >= 1<<31 {
			data = append([]byte{0}, secret[:]...)
		} else {
			data = secp256k1.PrivKeyFromBytes(secret[:]).PubKey().SerializeCompressed()
		}
		tweak, next := split(chain[:], binary.BigEndian.AppendUint32(data, index))
		var sum, parent secp256k1.ModNScalar
		over := sum.SetBytes(&tweak)
		parent.SetBytes(&secret)
		sum.Add(&parent)
		if over != 0 || sum.IsZero() { // one in 2^127
			return secret, fmt.Errorf("the derivation path has no key at index %d", index)
		}
		secret, chain = sum.Bytes(), next
	}
	return secret, nil
}

// split returns the halves of HMAC-SHA512.
func split(key, data []byte) (left, right [32]byte) {
	mac := hmac.New(sha512.New, key)
	mac.Write(data)
	sum := mac.Sum(nil)
	return [32]byte(sum[:32]), [32]byte(sum[32:])
}

// Chain is ETH for every account of the family: that is what wallets and SDKs sign, whatever network they are on.
func (a *Account) Chain() message.Chain { return message.ChainETH }

// Address returns the checksummed address.
func (a *Account) Address() string { return a.address }

// Sign returns the personal_sign signature of payload.
func (a *Account) Sign(_ context.Context, payload []byte) (string, error) {
	return SignPersonal(a.secret[:], payload)
}

// Secret returns a copy of the 32-byte private key, for key files and for signing transactions. Do not print it.
func (a *Account) Secret() []byte { return append([]byte(nil), a.secret[:]...) }

// Format prints the address, whatever the verb: no verb reaches the key.
func (a *Account) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, a.address) }

// LogValue logs the address.
func (a *Account) LogValue() slog.Value { return slog.StringValue(a.address) }

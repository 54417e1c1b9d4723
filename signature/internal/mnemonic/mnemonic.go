// Package mnemonic turns English BIP-39 phrases into private keys, along BIP-32 paths. The families of package signature
// that have such accounts use it. No error holds a piece of a phrase.
package mnemonic

import (
	"crypto/hmac"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/tyler-smith/go-bip39"
)

// Hardened is added to the steps of a path that are written with an apostrophe.
const Hardened = 1 << 31

var errPhrase = errors.New("the phrase is not 12 to 24 English BIP-39 words with a right checksum")

// Key follows a BIP-32 path from a phrase to a secp256k1 private key. An empty path leads to the master key.
func Key(phrase, passphrase string, path ...uint32) ([32]byte, error) {
	seed, err := bip39.NewSeedWithErrorChecking(tidy(phrase), passphrase)
	if err != nil {
		return [32]byte{}, errPhrase
	}
	return derive(seed, path...)
}

// Entropy returns the 16 to 32 bytes that a phrase writes in words.
func Entropy(phrase string) ([]byte, error) {
	entropy, err := bip39.EntropyFromMnemonic(tidy(phrase))
	if err != nil {
		return nil, errPhrase
	}
	return entropy, nil
}

// tidy forgives what people do when they type a phrase.
func tidy(phrase string) string { return strings.Join(strings.Fields(strings.ToLower(phrase)), " ") }

// derive follows a BIP-32 path from a seed to a private key.
func derive(seed []byte, path ...uint32) ([32]byte, error) {
	secret, chain := split([]byte("Bitcoin seed"), seed)
	for _, index := range path {
		var data []byte
		if index >= Hardened {
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

// Package secp256k1 is the curve of Ethereum, Cosmos, NULS, Avalanche and tz2 accounts: libsecp256k1 where cgo is available
// and pure Go elsewhere, with the same results. The families of package signature use it.
package secp256k1

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	//lint:ignore SA1019 addresses are defined with it
	"golang.org/x/crypto/ripemd160"
)

// ErrSecret says what a private key must be.
var ErrSecret = errors.New("a private key is a number from 1 to the order of secp256k1 in 32 bytes")

// Key is a private key. The zero value is none; [NewKey] makes one.
type Key struct {
	secret [32]byte
}

// NewKey returns the key that is a number from 1 to the order of the curve, exclusive, in 32 bytes, big-endian. Its only
// error is [ErrSecret].
func NewKey(secret []byte) (Key, error) {
	var scalar secp256k1.ModNScalar
	if len(secret) != 32 || scalar.SetByteSlice(secret) || scalar.IsZero() {
		return Key{}, ErrSecret
	}
	return Key{secret: [32]byte(secret)}, nil
}

// Generate returns a new random key.
func Generate() Key {
	var secret [32]byte
	for {
		rand.Read(secret[:]) // never fails
		if key, err := NewKey(secret[:]); err == nil {
			return key
		}
	}
}

// Secret returns a copy of the 32 bytes.
func (k *Key) Secret() []byte { return append([]byte(nil), k.secret[:]...) }

// Public returns the public key, compressed.
func (k *Key) Public() [33]byte {
	point := k.Point()
	return Compress(&point)
}

// Point returns the public key, x and y.
func (k *Key) Point() (point [64]byte) {
	key := secp256k1.PrivKeyFromBytes(k.secret[:])
	defer key.Zero()
	copy(point[:], key.PubKey().SerializeUncompressed()[1:])
	return point
}

// Compress returns the compressed form of the public key with the coordinates x and y.
func Compress(point *[64]byte) (key [33]byte) {
	key[0] = 2 + point[63]&1
	copy(key[1:], point[:32])
	return key
}

// IsLowS reports whether s of a signature, r and s, is at most half the order of the curve. Its negative, which verifies as
// well, is not.
func IsLowS(sig *[64]byte) bool {
	var s secp256k1.ModNScalar
	return !s.SetByteSlice(sig[32:]) && !s.IsOverHalfOrder()
}

// Hash160 is ripemd160 of sha256 of a compressed public key, what addresses of Bitcoin's descendants hold.
func Hash160(key *[33]byte) (hash [20]byte) {
	inner := sha256.Sum256(key[:])
	h := ripemd160.New()
	h.Write(inner[:])
	h.Sum(hash[:0])
	return hash
}

// Package ed25519 verifies Ed25519 as strictly as libsodium, which the network's nodes use. Solana and tz1 accounts sign
// with it.
package ed25519

import (
	"crypto/ed25519"
	"encoding/hex"
	"slices"
)

// Verify reports whether sig, 64 bytes, is a signature of payload by key, 32 bytes. Besides what Go checks, neither the key
// nor the point of the signature may be of small order, and the key must be encoded in its one canonical way.
func Verify(key, payload, sig []byte) bool {
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

//go:build !cgo

package secp256k1

import (
	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
)

// headerOffset marks an uncompressed key in the first byte of decred's compact signatures.
const headerOffset = 27

// Recover returns the public key, x and y, that made sig (r, s, recovery id 0 to 3) of digest. s may be high.
func Recover(digest *[32]byte, sig *[65]byte) (point [64]byte, err error) {
	var compact [65]byte
	compact[0] = headerOffset + sig[64]
	copy(compact[1:], sig[:64])
	public, _, err := ecdsa.RecoverCompact(compact[:], digest[:])
	if err != nil {
		return point, err
	}
	copy(point[:], public.SerializeUncompressed()[1:])
	return point, nil
}

// Sign returns r, s, recovery id of the signature of digest, with low s. It is deterministic (RFC 6979).
func (k *Key) Sign(digest *[32]byte) (sig [65]byte, err error) {
	if *k == (Key{}) {
		return sig, ErrSecret
	}
	key := secp256k1.PrivKeyFromBytes(k.secret[:])
	defer key.Zero()
	compact := ecdsa.SignCompact(key, digest[:], false)
	copy(sig[:], compact[1:])
	sig[64] = compact[0] - headerOffset
	return sig, nil
}

// Verify reports whether sig (r, s) is a signature of digest by a compressed public key. s may be high.
func Verify(key *[33]byte, digest *[32]byte, sig *[64]byte) bool {
	public, err := secp256k1.ParsePubKey(key[:])
	if err != nil {
		return false
	}
	var r, s secp256k1.ModNScalar
	if r.SetByteSlice(sig[:32]) || s.SetByteSlice(sig[32:]) {
		return false
	}
	return ecdsa.NewSignature(&r, &s).Verify(digest[:], public)
}

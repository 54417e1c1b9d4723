//go:build cgo

package secp256k1

import (
	decred "github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/ethereum/go-ethereum/crypto/secp256k1"
)

// Recover returns the public key, x and y, that made sig (r, s, recovery id 0 to 3) of digest. s may be high.
func Recover(digest *[32]byte, sig *[65]byte) (point [64]byte, err error) {
	uncompressed, err := secp256k1.RecoverPubkey(digest[:], sig[:])
	if err != nil {
		return point, err
	}
	copy(point[:], uncompressed[1:])
	return point, nil
}

// Sign returns r, s, recovery id of the signature of digest, with low s. It is deterministic (RFC 6979).
func (k *Key) Sign(digest *[32]byte) (sig [65]byte, err error) {
	made, err := secp256k1.Sign(digest[:], k.secret[:])
	if err != nil {
		return sig, ErrSecret
	}
	copy(sig[:], made)
	return sig, nil
}

// Verify reports whether sig (r, s) is a signature of digest by a compressed public key. s may be high.
func Verify(key *[33]byte, digest *[32]byte, sig *[64]byte) bool {
	low := *sig // libsecp256k1 verifies low s only
	var s decred.ModNScalar
	if s.SetByteSlice(sig[32:]) {
		return false
	}
	if s.IsOverHalfOrder() {
		s.Negate().PutBytesUnchecked(low[32:])
	}
	return secp256k1.VerifySignature(key[:], digest[:], low[:])
}

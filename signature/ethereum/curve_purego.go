//go:build !cgo

package ethereum

import (
	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
)

// headerOffset marks an uncompressed key in the first byte of decred's compact signatures.
const headerOffset = 27

// recoverKey returns the public key, x and y, that made sig (r, s, parity) of digest.
func recoverKey(digest *[32]byte, sig *[65]byte) (key [64]byte, err error) {
	var compact [65]byte
	compact[0] = headerOffset + sig[64]
	copy(compact[1:], sig[:64])
	public, _, err := ecdsa.RecoverCompact(compact[:], digest[:])
	if err != nil {
		return key, err
	}
	copy(key[:], public.SerializeUncompressed()[1:])
	return key, nil
}

// sign returns r, s, parity of the signature of digest by a private key.
func sign(secret []byte, digest *[32]byte) (sig [65]byte, err error) {
	if !validSecret(secret) {
		return sig, errSecret
	}
	key := secp256k1.PrivKeyFromBytes(secret)
	defer key.Zero()
	compact := ecdsa.SignCompact(key, digest[:], false)
	copy(sig[:], compact[1:])
	sig[64] = compact[0] - headerOffset
	return sig, nil
}

//go:build cgo

package ethereum

import "github.com/ethereum/go-ethereum/crypto/secp256k1"

// recoverKey returns the public key, x and y, that made sig (r, s, parity) of digest.
func recoverKey(digest *[32]byte, sig *[65]byte) (key [64]byte, err error) {
	uncompressed, err := secp256k1.RecoverPubkey(digest[:], sig[:])
	if err != nil {
		return key, err
	}
	copy(key[:], uncompressed[1:])
	return key, nil
}

// sign returns r, s, parity of the signature of digest by a private key.
func sign(secret []byte, digest *[32]byte) (sig [65]byte, err error) {
	if len(secret) != 32 {
		return sig, errSecret
	}
	made, err := secp256k1.Sign(digest[:], secret)
	if err != nil {
		return sig, errSecret
	}
	copy(sig[:], made)
	return sig, nil
}

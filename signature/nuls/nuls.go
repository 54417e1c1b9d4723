// Package nuls verifies and makes the signatures of NULS accounts, of its second version and of the first, which is legacy.
// Package signature registers both.
package nuls

import (
	"encoding/binary"

	"github.com/aleph-im/aleph-go/signature/internal/secp256k1"
	"github.com/mr-tron/base58"
)

// prefix begins what is hashed for a signature.
const prefix = "\x18NULS Signed Message:\n"

// address returns the base58 part of an address, which both versions share.
func address(chainID uint16, key *[33]byte) string {
	hash := secp256k1.Hash160(key)
	b := binary.LittleEndian.AppendUint16(make([]byte, 0, 24), chainID)
	b = append(b, 1) // the address of a key, not of a contract
	b = append(b, hash[:]...)
	var check byte
	for _, c := range b {
		check ^= c
	}
	return base58.Encode(append(b, check))
}

// withLength puts the length of payload before it, as Bitcoin does: in 1, 3 or 5 bytes.
func withLength(payload []byte) []byte {
	b := make([]byte, 0, len(payload)+5)
	switch n := len(payload); {
	case n < 253:
		b = append(b, byte(n))
	case n <= 0xffff:
		b = binary.LittleEndian.AppendUint16(append(b, 253), uint16(n))
	default:
		b = binary.LittleEndian.AppendUint32(append(b, 254), uint32(n))
	}
	return append(b, payload...)
}

package ed25519

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/hex"
	"testing"
)

// TestSmallOrderKeysAreRefused finds, for each small-order key, a payload whose signature needs no private key: with S = 0
// and R the neutral point, one payload in at most eight verifies in Go's library. Ours must refuse them all.
func TestSmallOrderKeysAreRefused(t *testing.T) {
	neutral := make([]byte, 64)
	neutral[0] = 1
	for _, text := range smallOrder {
		key, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		forged := false
		for i := range uint32(1000) {
			payload := binary.BigEndian.AppendUint32(nil, i)
			forged = forged || ed25519.Verify(key, payload, neutral)
			if Verify(key, payload, neutral) {
				t.Errorf("key %s verifies %x", text, payload)
			}
		}
		if !forged {
			t.Errorf("key %s is not of small order", text)
		}
	}
}

func TestNonCanonicalKeysAreRefused(t *testing.T) {
	key := bytes.Repeat([]byte{0xff}, 32)
	for low, want := range map[byte]bool{0xec: true, 0xed: false, 0xff: false} {
		for _, high := range []byte{0x7f, 0xff} {
			key[0], key[31] = low, high
			if isCanonical(key) != want {
				t.Errorf("canonical(%x) = %v, want %v", key, !want, want)
			}
		}
	}
}

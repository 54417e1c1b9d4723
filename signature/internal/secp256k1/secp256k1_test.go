package secp256k1

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"pgregory.net/rapid"
)

const (
	order = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"
	prime = "fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f"
)

// negate replaces s, and the recovery id that goes with it, by its negative.
func negate(sig [65]byte) [65]byte {
	var s secp256k1.ModNScalar
	s.SetByteSlice(sig[32:64])
	s.Negate().PutBytesUnchecked(sig[32:64])
	sig[64] ^= 1
	return sig
}

func TestSignaturesVerifyAndRecover(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secret := sha256.Sum256([]byte(rapid.String().Draw(t, "secret")))
		key, err := NewKey(secret[:])
		if err != nil {
			t.Fatal(err)
		}
		digest := sha256.Sum256([]byte(rapid.String().Draw(t, "text")))
		low, err := key.Sign(&digest)
		if err != nil {
			t.Fatal(err)
		}
		public := key.Public()
		high := negate(low)
		for _, sig := range [][65]byte{low, high} {
			rs := [64]byte(sig[:64])
			if !Verify(&public, &digest, &rs) || IsLowS(&rs) != (sig == low) {
				t.Fatalf("%x does not verify, or its s is not what it should be", sig)
			}
			point, err := Recover(&digest, &sig)
			if err != nil || Compress(&point) != public {
				t.Fatalf("recovered %x, %v, want %x", point, err, public)
			}
			rs[rapid.IntRange(0, 63).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
			if Verify(&public, &digest, &rs) {
				t.Fatalf("%x verifies as well", rs)
			}
		}
		other := digest
		other[rapid.IntRange(0, 31).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if rs := [64]byte(low[:64]); Verify(&public, &other, &rs) {
			t.Fatal("verifies another digest")
		}
	})
}

// TestExtremesAreRefused guards the places where the two implementations of the curve could differ.
func TestExtremesAreRefused(t *testing.T) {
	key := Generate()
	public := key.Public()
	var digest [32]byte
	one := strings.Repeat("0", 63) + "1"
	for _, bad := range []string{strings.Repeat("0", 64), order, prime, strings.Repeat("f", 64)} {
		for _, text := range []string{bad + one, one + bad} {
			raw, err := hex.DecodeString(text)
			if err != nil {
				t.Fatal(err)
			}
			rs := [64]byte(raw)
			if Verify(&public, &digest, &rs) {
				t.Errorf("%x verifies", rs)
			}
			for id := range byte(4) {
				sig := [65]byte(append(raw, id))
				if point, err := Recover(&digest, &sig); err == nil {
					t.Errorf("%x recovers to %x", sig, point)
				}
			}
		}
	}
	sig, err := key.Sign(&digest)
	if err != nil {
		t.Fatal(err)
	}
	rs := [64]byte(sig[:64])
	for _, first := range []byte{0, 1, 4, 5, 6, 7} {
		wrong := public
		wrong[0] = first
		if Verify(&wrong, &digest, &rs) {
			t.Errorf("verifies with a key that begins with %d", first)
		}
	}
	outside := [33]byte(append([]byte{2}, bytes.Repeat([]byte{0xff}, 32)...))
	if Verify(&outside, &digest, &rs) {
		t.Error("verifies with a key outside the field")
	}
}

func TestSecretsOutOfRangeAreRefused(t *testing.T) {
	for _, text := range []string{"", "01", strings.Repeat("0", 64), order, strings.Repeat("f", 64), strings.Repeat("01", 33)} {
		raw, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := NewKey(raw); err == nil {
			t.Errorf("%q is a key", text)
		}
	}
	if _, err := (&Key{}).Sign(new([32]byte)); err == nil {
		t.Error("signed with no key")
	}
}

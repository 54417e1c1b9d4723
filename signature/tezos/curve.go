package tezos

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"

	"github.com/aleph-im/aleph-go/signature/internal/ed25519"
	"github.com/aleph-im/aleph-go/signature/internal/secp256k1"
	"github.com/mr-tron/base58"
	"golang.org/x/crypto/blake2b"
)

// Curve is what an account signs with; its address begins with tz and the number.
type Curve int

const (
	Ed25519   Curve = 1
	Secp256k1 Curve = 2
	P256      Curve = 3
)

// encoding holds the prefixes of base58 texts of one curve, which make them begin with letters that people recognise.
type encoding struct {
	curve   Curve
	address []byte // tz1, tz2, tz3
	public  []byte // edpk, sppk, p2pk
	sig     []byte // edsig, spsig1, p2sig
	secret  []byte // edsk, spsk, p2sk
	keySize int    // bytes of a public key
}

func encodings() [3]encoding {
	return [3]encoding{
		{Ed25519, []byte{0x06, 0xa1, 0x9f}, []byte{0x0d, 0x0f, 0x25, 0xd9}, []byte{0x09, 0xf5, 0xcd, 0x86, 0x12},
			[]byte{0x0d, 0x0f, 0x3a, 0x07}, 32},
		{Secp256k1, []byte{0x06, 0xa1, 0xa1}, []byte{0x03, 0xfe, 0xe2, 0x56}, []byte{0x0d, 0x73, 0x65, 0x13, 0x3f},
			[]byte{0x11, 0xa2, 0xe0, 0xc9}, 33},
		{P256, []byte{0x06, 0xa1, 0xa4}, []byte{0x03, 0xb2, 0x8b, 0x7f}, []byte{0x36, 0xf0, 0x2c, 0x34},
			[]byte{0x10, 0x51, 0xee, 0xbd}, 33},
	}
}

func (c Curve) encoding() encoding { return encodings()[c-1] }

// genericSig is the prefix sig of signatures that do not say their curve.
func genericSig() []byte { return []byte{0x04, 0x82, 0x2b} }

// maxText bounds what is decoded: the longest text here is a signature of 99 characters.
const maxText = 110

// decodeKey returns the curve and the bytes of a public key. A secret key is none, and its text is not repeated.
func decodeKey(text string) (Curve, []byte, error) {
	raw, err := decode(text)
	if err != nil {
		return 0, nil, fmt.Errorf("read publicKey: %w", err)
	}
	for _, e := range encodings() {
		if key, found := bytes.CutPrefix(raw, e.public); found && len(key) == e.keySize {
			return e.curve, key, nil
		}
	}
	return 0, nil, errors.New("publicKey is none of edpk, sppk and p2pk")
}

// decodeSignature returns the 64 bytes of a signature by a key of the given curve.
func decodeSignature(curve Curve, text string) (*[64]byte, error) {
	raw, err := decode(text)
	if err != nil {
		return nil, fmt.Errorf("read signature: %w", err)
	}
	for _, prefix := range [][]byte{curve.encoding().sig, genericSig()} {
		if sig, found := bytes.CutPrefix(raw, prefix); found && len(sig) == 64 {
			return (*[64]byte)(sig), nil
		}
	}
	return nil, errors.New("the signature is not one of the key's curve")
}

// address returns the address of a public key.
func address(curve Curve, key []byte) string {
	hash, err := blake2b.New(20, nil)
	if err != nil {
		panic(err) // 20 bytes is a legal size
	}
	hash.Write(key)
	return encode(curve.encoding().address, hash.Sum(nil))
}

// verify reports whether sig is a signature of digest. All three curves sign the digest; of secp256k1 only the form with low s
// passes.
func verify(curve Curve, key []byte, digest *[32]byte, sig *[64]byte) bool {
	switch curve {
	case Ed25519:
		return ed25519.Verify(key, digest[:], sig[:])
	case Secp256k1:
		return secp256k1.IsLowS(sig) && secp256k1.Verify((*[33]byte)(key), digest, sig)
	case P256:
		x, y := elliptic.UnmarshalCompressed(elliptic.P256(), key)
		if x == nil {
			return false
		}
		point := make([]byte, 65)
		point[0] = 4
		x.FillBytes(point[1:33])
		y.FillBytes(point[33:])
		public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
		return err == nil && ecdsa.Verify(public, digest[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
	}
	return false
}

// encode returns prefix and data with a checksum in base58.
func encode(prefix, data []byte) string {
	body := append(bytes.Clone(prefix), data...)
	sum := doubleHash(body)
	return base58.Encode(append(body, sum[:4]...))
}

// decode returns prefix and data of a base58 text.
func decode(text string) ([]byte, error) {
	if len(text) > maxText {
		return nil, fmt.Errorf("%d characters are too long", len(text))
	}
	raw, err := base58.Decode(text)
	if err != nil || len(raw) < 4 {
		return nil, errors.New("not base58 with a checksum")
	}
	body := raw[:len(raw)-4]
	if sum := doubleHash(body); !bytes.Equal(sum[:4], raw[len(body):]) {
		return nil, errors.New("the checksum is wrong")
	}
	return body, nil
}

func doubleHash(b []byte) [32]byte {
	once := sha256.Sum256(b)
	return sha256.Sum256(once[:])
}

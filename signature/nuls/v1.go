package nuls

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/internal/identity"
	"github.com/aleph-im/aleph-go/signature/internal/secp256k1"
	decred "github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
	"github.com/mr-tron/base58"
)

// The networks of the first version.
const (
	LegacyMainnet uint16 = 8964 // addresses begin with Ns
	LegacyTestnet uint16 = 261  // addresses begin with TT
)

// LegacyVerifier verifies messages of the chain NULS (spec/messages.md §4.8).
type LegacyVerifier struct {
	// Raw also accepts signatures over the payload itself, as NULS wallets made them, besides those over its textual form,
	// which alone the network accepts. It is for the import of old archives.
	Raw bool
}

// Verify checks a signature of the form: length, compressed public key, a byte that is ignored, length, DER; in hex. Of the
// two forms of a signature only the one with low s passes.
func (v LegacyVerifier) Verify(m *message.Message) error {
	key, sig, err := decodeLegacy(m.Signature)
	if err != nil {
		return err
	}
	if len(m.Sender) > maxLegacyAddress {
		return fmt.Errorf("sender %.80q is not a NULS address", m.Sender)
	}
	sender, err := base58.Decode(m.Sender)
	if err != nil || len(sender) < 2 {
		return fmt.Errorf("sender %.80q is not a NULS address", m.Sender)
	}
	if got := address(binary.LittleEndian.Uint16(sender), &key); got != m.Sender {
		return fmt.Errorf("the public key is that of %s, the sender is %s", got, m.Sender)
	}
	if !secp256k1.IsLowS(&sig) {
		return errors.New("s is not in the lower half")
	}
	payload := withLength(m.SigningPayload())
	digest := hashLegacy(payload)
	if secp256k1.Verify(&key, &digest, &sig) {
		return nil
	}
	if v.Raw {
		digest = sha256.Sum256(append([]byte(prefix), payload...))
		if secp256k1.Verify(&key, &digest, &sig) {
			return nil
		}
	}
	return errors.New("it does not match the sender and the content")
}

// maxLegacyAddress is the length of the longest base58 text of 24 bytes.
const maxLegacyAddress = 33

// decodeLegacy returns the public key and r, s of a signature text.
func decodeLegacy(text string) (key [33]byte, sig [64]byte, err error) {
	raw, err := hex.DecodeString(text)
	if err != nil {
		return key, sig, errors.New("want hex")
	}
	const head = 1 + 33 + 1 + 1 // length, key, the byte that is ignored, length
	if len(raw) < head || raw[0] != 33 || int(raw[head-1]) != len(raw)-head {
		return key, sig, errors.New("want length, compressed public key, a byte, length, DER")
	}
	copy(key[:], raw[1:])
	parsed, err := ecdsa.ParseDERSignature(raw[head:])
	if err != nil {
		return key, sig, errors.New("the signature is not DER")
	}
	r, s := parsed.R(), parsed.S()
	r.PutBytesUnchecked(sig[:32])
	s.PutBytesUnchecked(sig[32:])
	return key, sig, nil
}

// hashLegacy is the digest that the network checks: of the text that Python shows for the bytes.
func hashLegacy(payload []byte) [32]byte {
	return sha256.Sum256(appendRepr([]byte(prefix), payload))
}

// appendRepr appends b as Python shows bytes: b'…' with escapes.
func appendRepr(dst, b []byte) []byte {
	quote := byte('\'')
	if bytes.IndexByte(b, '\'') >= 0 && bytes.IndexByte(b, '"') < 0 {
		quote = '"'
	}
	dst = append(dst, 'b', quote)
	for _, c := range b {
		switch {
		case c == quote || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, `\n`...)
		case c == '\r':
			dst = append(dst, `\r`...)
		case c == '\t':
			dst = append(dst, `\t`...)
		case c < ' ' || c > '~':
			dst = fmt.Appendf(dst, `\x%02x`, c)
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, quote)
}

// LegacyAccount is a private key and its address on a network of the first version. However it is printed or logged, only the
// address shows.
type LegacyAccount struct {
	identity.Identity
	key    secp256k1.Key
	public [33]byte
}

// NewLegacyAccount returns the account of a 32-byte private key on a network, such as [LegacyMainnet].
func NewLegacyAccount(secret []byte, chainID uint16) (*LegacyAccount, error) {
	key, err := secp256k1.NewKey(secret)
	if err != nil {
		return nil, fmt.Errorf("open a NULS account: %w", err)
	}
	return legacyAccount(key, chainID), nil
}

// GenerateLegacy returns a new random account on a network.
func GenerateLegacy(chainID uint16) *LegacyAccount {
	return legacyAccount(secp256k1.Generate(), chainID)
}

func legacyAccount(key secp256k1.Key, chainID uint16) *LegacyAccount {
	public := key.Public()
	return &LegacyAccount{identity.New(message.ChainNULS, address(chainID, &public)), key, public}
}

// Sign returns the public key and the signature of payload in hex.
func (a *LegacyAccount) Sign(_ context.Context, payload []byte) (string, error) {
	digest := hashLegacy(withLength(payload))
	sig, err := a.key.Sign(&digest)
	if err != nil {
		return "", fmt.Errorf("sign with a NULS key: %w", err)
	}
	var r, s decred.ModNScalar
	r.SetByteSlice(sig[:32])
	s.SetByteSlice(sig[32:64])
	der := ecdsa.NewSignature(&r, &s).Serialize()
	b := append([]byte{33}, a.public[:]...)
	b = append(b, 0, byte(len(der)))
	return hex.EncodeToString(append(b, der...)), nil
}

// Secret returns a copy of the 32-byte private key, for key files. Do not print it.
func (a *LegacyAccount) Secret() []byte { return a.key.Secret() }

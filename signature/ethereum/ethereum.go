// Package ethereum verifies and makes the signatures of Ethereum and the chains that share its accounts: EIP-191
// personal_sign over secp256k1. Package signature registers it; nodes also use it to authenticate requests.
package ethereum

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/internal/secp256k1"
	"golang.org/x/crypto/sha3"
)

// Chains lists the chains whose messages are signed this way (spec/messages.md §3). AURORA and STT have no verifier on the
// network, and AVAX has its own.
func Chains() []message.Chain {
	return []message.Chain{
		message.ChainARB, message.ChainBASE, message.ChainBLAST, message.ChainBOB, message.ChainBSC, message.ChainCYBER,
		message.ChainETH, message.ChainETHERLINK, message.ChainFRAX, message.ChainHYPE, message.ChainINK, message.ChainLENS,
		message.ChainLINEA, message.ChainLISK, message.ChainMETIS, message.ChainMODE, message.ChainNEO, message.ChainOP,
		message.ChainPOL, message.ChainSONIC, message.ChainUNICHAIN, message.ChainWLD, message.ChainZORA,
	}
}

// Verifier verifies messages of [Chains] (spec/messages.md §4.1).
type Verifier struct{}

// Verify recovers the signer and compares it with the sender, whose case does not matter for the comparison.
func (Verifier) Verify(m *message.Message) error {
	if !isAddress(m.Sender) { // before the costly part: such a sender never matches
		return fmt.Errorf("sender %.80q is not an address: want 0x and 40 hex digits", m.Sender)
	}
	address, err := RecoverPersonal(m.SigningPayload(), m.Signature)
	if err != nil {
		return err
	}
	if !strings.EqualFold(address, m.Sender) {
		return fmt.Errorf("it is from %s, the sender is %s", address, m.Sender)
	}
	return nil
}

func isAddress(s string) bool {
	if len(s) != 42 || s[0] != '0' || s[1]|0x20 != 'x' {
		return false
	}
	for i := 2; i < len(s); i++ {
		if c := s[i] | 0x20; (s[i] < '0' || s[i] > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// RecoverPersonal returns the checksummed address that made the personal_sign signature of payload: 65 bytes r, s, v in
// hex, with or without 0x.
func RecoverPersonal(payload []byte, signature string) (address string, err error) {
	sig, err := decodeSignature(signature)
	if err != nil {
		return "", err
	}
	digest := personalHash(payload)
	key, err := secp256k1.Recover(&digest, &sig)
	if err != nil {
		return "", fmt.Errorf("recover the signer: %w", err)
	}
	return ChecksumAddress(addressOf(&key)), nil
}

// SignPersonal returns the personal_sign signature of payload by a 32-byte private key: 0x and hex of r, s, v, with low s
// and v 27 or 28. It is deterministic (RFC 6979).
func SignPersonal(secret []byte, payload []byte) (string, error) {
	key, err := secp256k1.NewKey(secret)
	if err != nil {
		return "", fmt.Errorf("sign with an Ethereum key: %w", err)
	}
	return signPersonal(&key, payload)
}

func signPersonal(key *secp256k1.Key, payload []byte) (string, error) {
	digest := personalHash(payload)
	sig, err := key.Sign(&digest)
	if err != nil {
		return "", fmt.Errorf("sign with an Ethereum key: %w", err)
	}
	sig[64] += 27
	return "0x" + hex.EncodeToString(sig[:]), nil
}

// ChecksumAddress writes an address in the mixed case of EIP-55.
func ChecksumAddress(address [20]byte) string {
	var text [42]byte
	copy(text[:], "0x")
	hex.Encode(text[2:], address[:])
	digest := keccak(text[2:])
	for i := range 40 {
		nibble := digest[i/2] >> 4
		if i%2 == 1 {
			nibble = digest[i/2] & 15
		}
		if c := &text[2+i]; *c >= 'a' && nibble >= 8 {
			*c -= 'a' - 'A'
		}
	}
	return string(text[:])
}

// decodeSignature returns r, s and the parity of a hex signature.
func decodeSignature(text string) (sig [65]byte, err error) {
	if strings.HasPrefix(text, "0x") || strings.HasPrefix(text, "0X") {
		text = text[2:]
	}
	if len(text) == 129 { // a leading zero digit was dropped, as the network allows
		text = "0" + text
	}
	if len(text) != 130 {
		return sig, fmt.Errorf("want 65 bytes in hex, got %d digits", len(text))
	}
	if _, err := hex.Decode(sig[:], []byte(text)); err != nil {
		return sig, fmt.Errorf("want 65 bytes in hex: %w", err)
	}
	switch v := sig[64]; {
	case v <= 1:
	case v == 27 || v == 28:
		sig[64] = v - 27
	case v >= 35: // EIP-155
		sig[64] = (v - 35) % 2
	default:
		return sig, fmt.Errorf("recovery byte %d is none of 0, 1, 27, 28, 35 and above", v)
	}
	return sig, nil
}

// personalHash is the digest of EIP-191 version 0x45.
func personalHash(payload []byte) [32]byte {
	b := make([]byte, 0, 32+len(payload))
	b = append(b, "\x19Ethereum Signed Message:\n"...)
	b = strconv.AppendInt(b, int64(len(payload)), 10)
	return keccak(append(b, payload...))
}

func keccak(b []byte) (digest [32]byte) {
	h := sha3.NewLegacyKeccak256()
	h.Write(b)
	h.Sum(digest[:0])
	return digest
}

// addressOf returns the address of a public key, x and y without a leading byte.
func addressOf(key *[64]byte) (address [20]byte) {
	digest := keccak(key[:])
	copy(address[:], digest[12:])
	return address
}

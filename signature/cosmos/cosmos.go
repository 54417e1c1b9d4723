// Package cosmos verifies and makes the signatures of accounts on chains of the Cosmos SDK: secp256k1 over a sign document
// that holds the payload. Package signature registers it.
package cosmos

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode/utf16"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/internal/bech32"
	"github.com/aleph-im/aleph-go/signature/internal/identity"
	"github.com/aleph-im/aleph-go/signature/internal/mnemonic"
	"github.com/aleph-im/aleph-go/signature/internal/object"
	"github.com/aleph-im/aleph-go/signature/internal/secp256k1"
)

// keyType is the only type of public key that signs messages.
const keyType = "tendermint/PubKeySecp256k1"

// Verifier verifies messages of the chain CSDK (spec/messages.md §4.5).
type Verifier struct{}

// Verify checks a signature of the form {"signature": base64, "pub_key": {"type": …, "value": base64}}. The account number and
// the sequence that clients add are not read.
func (Verifier) Verify(m *message.Message) error {
	envelope, err := object.Parse(m.Signature)
	if err != nil {
		return err
	}
	sigText, err := envelope.Text("signature")
	if err != nil {
		return err
	}
	public, err := object.Parse(string(envelope["pub_key"]))
	if err != nil {
		return fmt.Errorf("read pub_key: %w", err)
	}
	if t, err := public.Text("type"); err != nil || t != keyType {
		return fmt.Errorf("the type of the public key is not %s", keyType)
	}
	value, err := public.Text("value")
	if err != nil {
		return fmt.Errorf("read pub_key: %w", err)
	}
	key, err := base64.StdEncoding.DecodeString(value)
	if err != nil || len(key) != 33 {
		return errors.New("the public key is not 33 bytes in base64")
	}
	sig, err := base64.StdEncoding.DecodeString(sigText)
	if err != nil || len(sig) != 64 {
		return errors.New("the signature is not 64 bytes in base64")
	}
	hrp, _, found := strings.Cut(m.Sender, "1")
	if !found || !validPrefix(hrp) {
		return fmt.Errorf("sender %.80q is not a bech32 address", m.Sender)
	}
	if got := address(hrp, (*[33]byte)(key)); got != m.Sender {
		return fmt.Errorf("the public key is that of %s, the sender is %.100q", got, m.Sender)
	}
	digest := sha256.Sum256(signDoc(m.Sender, m.SigningPayload()))
	if !secp256k1.Verify((*[33]byte)(key), &digest, (*[64]byte)(sig)) {
		return errors.New("it does not match the sender and the content")
	}
	return nil
}

// validPrefix reports whether s may stand before the separator of a bech32 address (BIP-173).
func validPrefix(s string) bool {
	if s == "" || len(s) > 83 {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r < 33 || r > 126 })
}

func address(hrp string, key *[33]byte) string {
	hash := secp256k1.Hash160(key)
	return bech32.Encode(hrp, hash[:])
}

// signDoc returns the document that wallets sign for a text. Members are in alphabetical order; ADR-036 has another form,
// which the network does not accept.
func signDoc(sender string, payload []byte) []byte {
	b := []byte(`{"account_number":"0","chain_id":"signed-message-v1","fee":{"amount":[],"gas":"0"},"memo":"",` +
		`"msgs":[{"type":"signutil/MsgSignText","value":{"message":"`)
	b = appendEscaped(b, string(payload))
	b = append(b, `","signer":"`...)
	b = appendEscaped(b, sender)
	return append(b, `"}}],"sequence":"0"}`...)
}

// appendEscaped appends s as the inside of a JSON string of printable ASCII, with the short escapes that there are.
func appendEscaped(b []byte, s string) []byte {
	for _, r := range s {
		if i := strings.IndexRune("\"\\\n\r\t\f\b", r); i >= 0 {
			b = append(b, '\\', `"\nrtfb`[i])
			continue
		}
		switch {
		case r >= ' ' && r <= '~':
			b = append(b, byte(r))
		case r <= 0xffff:
			b = fmt.Appendf(b, `\u%04x`, r)
		default:
			high, low := utf16.EncodeRune(r)
			b = fmt.Appendf(b, `\u%04x\u%04x`, high, low)
		}
	}
	return b
}

// Account is a private key and its address on one chain. However it is printed or logged, only the address shows.
type Account struct {
	identity.Identity
	key    secp256k1.Key
	public [33]byte
}

// NewAccount returns the account of a 32-byte private key on the chain whose addresses begin with hrp, such as "cosmos".
func NewAccount(secret []byte, hrp string) (*Account, error) {
	key, err := secp256k1.NewKey(secret)
	if err != nil {
		return nil, fmt.Errorf("open a Cosmos account: %w", err)
	}
	return account(key, hrp)
}

// Generate returns a new random account on the chain whose addresses begin with hrp.
func Generate(hrp string) (*Account, error) { return account(secp256k1.Generate(), hrp) }

// FromMnemonic returns the first account of an English BIP-39 phrase, at m/44'/118'/0'/0/0 as wallets do.
func FromMnemonic(phrase, passphrase, hrp string) (*Account, error) {
	const hardened = mnemonic.Hardened
	secret, err := mnemonic.Key(phrase, passphrase, hardened+44, hardened+118, hardened, 0, 0)
	if err != nil {
		return nil, fmt.Errorf("open a Cosmos account: %w", err)
	}
	return NewAccount(secret[:], hrp)
}

func account(key secp256k1.Key, hrp string) (*Account, error) {
	if !validPrefix(hrp) || strings.Contains(hrp, "1") || strings.ToLower(hrp) != hrp {
		return nil, fmt.Errorf("open a Cosmos account: addresses cannot begin with %q", hrp)
	}
	public := key.Public()
	return &Account{identity.New(message.ChainCSDK, address(hrp, &public)), key, public}, nil
}

// Sign returns the JSON text that carries the signature of payload.
func (a *Account) Sign(_ context.Context, payload []byte) (string, error) {
	digest := sha256.Sum256(signDoc(a.Address(), payload))
	sig, err := a.key.Sign(&digest)
	if err != nil {
		return "", fmt.Errorf("sign with a Cosmos key: %w", err)
	}
	return `{"signature":"` + base64.StdEncoding.EncodeToString(sig[:64]) +
		`","pub_key":{"type":"` + keyType + `","value":"` + base64.StdEncoding.EncodeToString(a.public[:]) +
		`"},"account_number":"0","sequence":"0"}`, nil
}

// Secret returns a copy of the 32-byte private key, for key files. Do not print it.
func (a *Account) Secret() []byte { return a.key.Secret() }

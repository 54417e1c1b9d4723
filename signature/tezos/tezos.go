// Package tezos verifies and makes the signatures of Tezos accounts: tz1 on Ed25519, tz2 on secp256k1, tz3 on P-256.
// Package signature registers it.
package tezos

import (
	"errors"
	"fmt"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/internal/object"
	"golang.org/x/crypto/blake2b"
)

// The ways in which wallets sign a text.
const (
	signRaw       = "raw"       // the text
	signMicheline = "micheline" // a sentence that holds the text, packed as the virtual machine packs a string
)

// defaultDApp is who asks for a signature when the signature does not say it.
const defaultDApp = "aleph.im"

// Verifier verifies messages of the chain TEZOS (spec/messages.md §4.3).
type Verifier struct{}

// Verify checks a signature of the form {"publicKey": …, "signature": …, "signingType": "raw" or "micheline", "dAppUrl": …};
// the last two may be absent. A micheline signature covers the time of the envelope, in milliseconds.
func (Verifier) Verify(m *message.Message) error {
	envelope, err := object.Parse(m.Signature)
	if err != nil {
		return err
	}
	keyText, err := envelope.Text("publicKey")
	if err != nil {
		return err
	}
	sigText, err := envelope.Text("signature")
	if err != nil {
		return err
	}
	signingType, err := envelope.TextOr("signingType", signRaw)
	if err != nil {
		return err
	}
	curve, key, err := decodeKey(keyText)
	if err != nil {
		return err
	}
	if got := address(curve, key); got != m.Sender {
		return fmt.Errorf("the public key is that of %s, the sender is %.80q", got, m.Sender)
	}
	sig, err := decodeSignature(curve, sigText)
	if err != nil {
		return err
	}
	payload := m.SigningPayload()
	switch signingType {
	case signRaw:
	case signMicheline:
		dApp, err := envelope.TextOr("dAppUrl", defaultDApp)
		if err != nil {
			return err
		}
		payload = micheline(dApp, m.Time, payload)
	default:
		return fmt.Errorf("signing type %.20q is neither %s nor %s", signingType, signRaw, signMicheline)
	}
	digest := blake2b.Sum256(payload)
	if !verify(curve, key, &digest, sig) {
		return errors.New("it does not match the sender and the content")
	}
	return nil
}

// micheline returns the packed sentence for payload. Where a string's length is 4 bytes in other packed data, wallets and the
// network have here the decimal number of hex digits that the string takes. What is below a millisecond is cut off.
func micheline(dApp string, at message.Time, payload []byte) []byte {
	sentence := fmt.Appendf(nil, "Tezos Signed Message: %s %s %s", dApp, at.Std().Format("2006-01-02T15:04:05.000Z"), payload)
	return append(fmt.Appendf([]byte{0x05, 0x01, 0x00}, "%d", 2*len(sentence)), sentence...)
}

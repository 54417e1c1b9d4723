// Package signature verifies and makes the signatures of messages. Each family of chains has a sub-package; [Default] maps
// chains to families. Intake verifies what it receives with a [Registry]; the SDK and the nodes sign with an [Account].
//
// Formats: spec/messages.md §3 and §4.
package signature

import (
	"context"
	"fmt"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/avalanche"
	"github.com/aleph-im/aleph-go/signature/cosmos"
	"github.com/aleph-im/aleph-go/signature/ethereum"
	"github.com/aleph-im/aleph-go/signature/nuls"
	"github.com/aleph-im/aleph-go/signature/solana"
	"github.com/aleph-im/aleph-go/signature/substrate"
	"github.com/aleph-im/aleph-go/signature/tezos"
)

// MaxSignature is the longest signature text, in bytes, that a [Registry] reads. Real ones stay below 400.
const MaxSignature = 4 << 10

// Verifier checks the signatures of one family of chains.
type Verifier interface {
	// Verify returns nil when m.Signature is a signature of m by m.Sender, and otherwise an error that says why not.
	// It is safe for concurrent use and depends on nothing but m, so that the answer never changes.
	Verify(m *message.Message) error
}

// Registry knows the verifier of each chain. It does not change after it was built.
type Registry struct {
	verifiers map[message.Chain]Verifier
}

// Default returns the registry of all families. A family is added here, with one line.
func Default() *Registry {
	r := &Registry{verifiers: map[message.Chain]Verifier{}}
	r.add(ethereum.Verifier{}, ethereum.Chains()...)
	r.add(solana.Verifier{}, message.ChainSOL, message.ChainES)
	r.add(tezos.Verifier{}, message.ChainTEZOS)
	r.add(substrate.Verifier{}, message.ChainDOT)
	r.add(cosmos.Verifier{}, message.ChainCSDK)
	r.add(avalanche.Verifier{}, message.ChainAVAX)
	r.add(nuls.LegacyVerifier{}, message.ChainNULS)
	r.add(nuls.Verifier{}, message.ChainNULS2)
	return r
}

func (r *Registry) add(v Verifier, chains ...message.Chain) {
	for _, c := range chains {
		r.verifiers[c] = v
	}
}

// Verify checks the signature of m. The error, if any, is a [*message.Error]: [message.ErrInvalidFormat] for a chain that
// has no verifier, [message.ErrInvalidSignature] for anything else that is wrong.
//
// Messages that the node made itself from contract events carry no signature and must not come here.
func (r *Registry) Verify(m *message.Message) error {
	v, ok := r.verifiers[m.Chain]
	if !ok {
		return message.Errorf(message.ErrInvalidFormat, "Unknown chain for validation: %s", m.Chain)
	}
	if m.Signature == "" {
		return message.Errorf(message.ErrInvalidSignature, "The signature is missing")
	}
	if len(m.Signature) > MaxSignature {
		return message.Errorf(message.ErrInvalidSignature, "The signature is longer than %d bytes", MaxSignature)
	}
	if err := v.Verify(m); err != nil {
		return message.Errorf(message.ErrInvalidSignature, "The signature of the message is invalid: %v", err)
	}
	return nil
}

// Account signs with a private key that it keeps to itself.
type Account interface {
	// Chain is the chain code that messages of the account carry.
	Chain() message.Chain
	// Address is the sender of messages of the account.
	Address() string
	// Sign returns the signature text for payload, usually [message.Message.SigningPayload]. Accounts that ask a device or
	// a person honour ctx.
	Sign(ctx context.Context, payload []byte) (string, error)
}

// Sign signs m with a and sets m.Signature. The sender and the chain of m must be those of a.
func Sign(ctx context.Context, a Account, m *message.Message) error {
	if m.Sender != a.Address() || m.Chain != a.Chain() {
		return fmt.Errorf("sign message %s: it is from %s on %s, the account is %s on %s",
			m.ItemHash, m.Sender, m.Chain, a.Address(), a.Chain())
	}
	text, err := a.Sign(ctx, m.SigningPayload())
	if err != nil {
		return fmt.Errorf("sign message %s: %w", m.ItemHash, err)
	}
	m.Signature = text
	return nil
}

// Package identity is the public half of every account of package signature, which embeds it.
package identity

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/aleph-im/aleph-go/message"
)

// Identity is a chain and an address on it. An account that embeds one shows nothing but its address, however it is printed
// or logged.
type Identity struct {
	chain   message.Chain
	address string
}

// New returns the identity of an account.
func New(chain message.Chain, address string) Identity { return Identity{chain, address} }

// Chain returns the chain code that messages of the account carry.
func (i Identity) Chain() message.Chain { return i.chain }

// Address returns the sender of messages of the account.
func (i Identity) Address() string { return i.address }

// Format prints the address, whatever the verb: no verb reaches a key.
func (i Identity) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, i.address) }

// LogValue logs the address.
func (i Identity) LogValue() slog.Value { return slog.StringValue(i.address) }

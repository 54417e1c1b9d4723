package wallet

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/mr-tron/base58"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature"
	"github.com/aleph-im/aleph-go/signature/avalanche"
	"github.com/aleph-im/aleph-go/signature/cosmos"
	"github.com/aleph-im/aleph-go/signature/ethereum"
	"github.com/aleph-im/aleph-go/signature/nuls"
	"github.com/aleph-im/aleph-go/signature/solana"
	"github.com/aleph-im/aleph-go/signature/substrate"
	"github.com/aleph-im/aleph-go/signature/tezos"
)

// Key is an account whose private key is at hand. However it is printed or logged, only the address shows.
type Key struct {
	account signature.Account
	chain   message.Chain // of the family, the one that messages carry
	secret  []byte
}

// Chain implements [signature.Account].
func (k Key) Chain() message.Chain { return k.chain }

// Address implements [signature.Account].
func (k Key) Address() string { return k.account.Address() }

// Sign implements [signature.Account].
func (k Key) Sign(ctx context.Context, payload []byte) (string, error) {
	return k.account.Sign(ctx, payload)
}

// SignTransaction signs a transaction of an Ethereum-like chain, as [ethereum.Account] does.
func (k Key) SignTransaction(ctx context.Context, unsigned []byte) ([65]byte, error) {
	a, ok := k.account.(*ethereum.Account)
	if !ok {
		return [65]byte{}, fmt.Errorf("%s is no account of an Ethereum-like chain", k.Address())
	}
	return a.SignTransaction(ctx, unsigned)
}

// Format prints the address, whatever the verb.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.Address()) }

// LogValue logs the address.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.Address()) }

// Secret returns a copy of the bytes of the private key. Do not print it.
func (k Key) Secret() []byte { return slices.Clone(k.secret) }

// Text returns the private key as [ParseKey] reads it: in hex for Ethereum and its family, in base58 for Solana and its family, as
// wallets export them; for others their chain, a colon and hex.
func (k Key) Text() string {
	switch {
	case isEVM(k.chain):
		return hex.EncodeToString(k.secret)
	case isSolana(k.chain):
		return base58.Encode(k.secret)
	}
	return string(k.chain) + ":" + hex.EncodeToString(k.secret)
}

// family is what accounts of some chains have in common.
type family struct {
	name     string
	chains   []message.Chain
	open     func(secret []byte) (signature.Account, error)
	mnemonic func(phrase string) (signature.Account, error) // nil: no wallet of the family has phrases
}

// families lists all that messages can be signed with. Where a family has several networks it is the main one.
func families() []family {
	return []family{
		{"Ethereum", ethereum.Chains(), as(ethereum.NewAccount), phrase(ethereum.FromMnemonic)},
		{"Solana", []message.Chain{message.ChainSOL, message.ChainES}, as(solana.NewAccount), nil},
		{"Tezos", []message.Chain{message.ChainTEZOS}, as(func(b []byte) (*tezos.Account, error) { return tezos.NewAccount(tezos.Ed25519, b) }), nil},
		{
			"Substrate", []message.Chain{message.ChainDOT},
			as(func(b []byte) (*substrate.Account, error) { return substrate.NewAccount(b, substrate.Generic) }),
			phrase(func(p, x string) (*substrate.Account, error) { return substrate.FromMnemonic(p, x, substrate.Generic) }),
		},
		{
			"Cosmos", []message.Chain{message.ChainCSDK},
			as(func(b []byte) (*cosmos.Account, error) { return cosmos.NewAccount(b, "cosmos") }),
			phrase(func(p, x string) (*cosmos.Account, error) { return cosmos.FromMnemonic(p, x, "cosmos") }),
		},
		{
			"NULS", []message.Chain{message.ChainNULS2},
			as(func(b []byte) (*nuls.Account, error) { return nuls.NewAccount(b, nuls.Mainnet) }),
			phrase(func(p, x string) (*nuls.Account, error) { return nuls.FromMnemonic(p, x, nuls.Mainnet) }),
		},
		{"Avalanche", []message.Chain{message.ChainAVAX}, as(func(b []byte) (*avalanche.Account, error) { return avalanche.NewAccount(b, "X") }), nil},
	}
}

// as makes a constructor of an account one of any account, whose nil stays nil.
func as[A signature.Account](open func([]byte) (A, error)) func([]byte) (signature.Account, error) {
	return func(secret []byte) (signature.Account, error) {
		a, err := open(secret)
		if err != nil {
			return nil, err
		}
		return a, nil
	}
}

func phrase[A signature.Account](open func(phrase, passphrase string) (A, error)) func(string) (signature.Account, error) {
	return func(phrase string) (signature.Account, error) {
		a, err := open(phrase, "")
		if err != nil {
			return nil, err
		}
		return a, nil
	}
}

// Chains lists the chains that keys can be made for.
func Chains() []message.Chain {
	var all []message.Chain
	for _, f := range families() {
		all = append(all, f.chains...)
	}
	return all
}

func familyOf(chain message.Chain) (family, error) {
	for _, f := range families() {
		if slices.Contains(f.chains, chain) {
			return f, nil
		}
	}
	return family{}, fmt.Errorf("there are no keys of chain %q; choose one of %v", chain, Chains())
}

func isEVM(chain message.Chain) bool { return slices.Contains(ethereum.Chains(), chain) }

func isSolana(chain message.Chain) bool {
	return chain == message.ChainSOL || chain == message.ChainES
}

// NewKey returns the account of a private key on a chain.
func NewKey(chain message.Chain, secret []byte) (Key, error) {
	f, err := familyOf(chain)
	if err != nil {
		return Key{}, err
	}
	account, err := f.open(secret)
	if err != nil {
		return Key{}, err
	}
	return keyOf(chain, account)
}

// keyOf takes the private key from an account and puts it on a chain of its family.
func keyOf(chain message.Chain, account signature.Account) (Key, error) {
	holder, ok := account.(interface{ Secret() []byte })
	if !ok {
		return Key{}, fmt.Errorf("a %T does not give its key away", account)
	}
	if s, ok := account.(*solana.Account); ok && chain == message.ChainES {
		account = s.Eclipse()
	}
	return Key{account, chain, holder.Secret()}, nil
}

// Generate returns a new random key of a chain.
func Generate(chain message.Chain) (Key, error) {
	var account signature.Account
	var err error
	switch {
	case isEVM(chain):
		account, err = ethereum.Generate()
	case isSolana(chain):
		account, err = solana.Generate()
	default:
		switch chain {
		case message.ChainTEZOS:
			account, err = tezos.Generate(tezos.Ed25519)
		case message.ChainDOT:
			account, err = substrate.Generate(substrate.Generic)
		case message.ChainCSDK:
			account, err = cosmos.Generate("cosmos")
		case message.ChainNULS2:
			account, err = nuls.Generate(nuls.Mainnet)
		case message.ChainAVAX:
			account, err = avalanche.Generate("X")
		default:
			_, err = familyOf(chain)
		}
	}
	if err != nil {
		return Key{}, err
	}
	return keyOf(chain, account)
}

const maxKeyFile = 4096 // bytes

// ReadKeyFile reads a private key from a file that nobody but its owner may read; see [ParseKey].
func ReadKeyFile(path string, chain message.Chain) (Key, error) {
	raw, err := readPrivate(path, maxKeyFile)
	if err != nil {
		return Key{}, fmt.Errorf("key file: %w", err)
	}
	key, err := ParseKey(raw, chain)
	if err != nil {
		return Key{}, fmt.Errorf("key file %s: %w", path, err)
	}
	return key, nil
}

// ReadKey reads a private key from a stream, such as standard input.
func ReadKey(r io.Reader, chain message.Chain) (Key, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxKeyFile))
	if err != nil {
		return Key{}, fmt.Errorf("read the private key: %w", err)
	}
	return ParseKey(raw, chain)
}

// ParseKey reads the forms in which wallets give keys away: 64 hex digits or 32 raw bytes (of the given chain, Ethereum if it is
// ""), base58 or a list of numbers (Solana), edsk… (Tezos), PrivateKey-… (Avalanche), an English phrase of 12 to 24 words, and what
// [Key.Text] returns. The error never holds the key.
func ParseKey(raw []byte, chain message.Chain) (Key, error) {
	text := strings.TrimSpace(string(raw))
	evm := chain
	if chain == "" {
		evm = message.ChainETH
	}
	if len(raw) == 32 && slices.ContainsFunc(raw, func(b byte) bool { return b < ' ' || b > '~' }) {
		return NewKey(evm, raw)
	}
	if name, rest, ok := strings.Cut(text, ":"); ok && slices.Contains(Chains(), message.Chain(name)) {
		if chain != "" && chain != message.Chain(name) {
			return Key{}, fmt.Errorf("the key is of chain %s, and not of %s", name, chain)
		}
		chain, evm, text = message.Chain(name), message.Chain(name), rest
	}
	digits := strings.TrimPrefix(text, "0x")
	if secret, err := hex.DecodeString(digits); err == nil && (len(secret) == 32 || len(secret) == 64 && isSolana(evm)) {
		return NewKey(evm, secret)
	}
	account, found, err := parseExported(text, chain)
	if err != nil {
		return Key{}, err
	}
	if chain == "" || !isSolana(chain) && !isEVM(chain) {
		if chain != "" && chain != found {
			return Key{}, fmt.Errorf("the key is of chain %s, and not of %s", found, chain)
		}
		chain = found
	}
	f, err := familyOf(chain)
	if err != nil {
		return Key{}, err
	}
	if !slices.Contains(f.chains, found) {
		return Key{}, fmt.Errorf("the key is of chain %s, and not of %s", found, chain)
	}
	return keyOf(chain, account)
}

var errNoKey = errors.New("no private key: want 64 hex digits, base58 or a list of 64 numbers (Solana), edsk… (Tezos), PrivateKey-… (Avalanche) or a phrase")

// parseExported reads the forms that say themselves of which chain they are, and phrases.
func parseExported(text string, chain message.Chain) (signature.Account, message.Chain, error) {
	words := strings.Fields(text)
	switch {
	case strings.HasPrefix(text, "PrivateKey-"):
		a, err := avalanche.FromText(text, "X")
		return a, message.ChainAVAX, err
	case strings.HasPrefix(text, "edsk"):
		a, err := tezos.FromText(text)
		return a, message.ChainTEZOS, err
	case strings.HasPrefix(text, "spsk"), strings.HasPrefix(text, "p2sk"):
		return nil, "", errors.New("of Tezos, keys of Ed25519 are kept here, edsk…, and no others")
	case len(words) >= 12 && !strings.HasPrefix(text, "["):
		if chain == "" {
			chain = message.ChainETH
		}
		f, err := familyOf(chain)
		if err != nil {
			return nil, "", err
		}
		if f.mnemonic == nil {
			return nil, "", fmt.Errorf("phrases of %s are not read here: export the private key", f.name)
		}
		a, err := f.mnemonic(strings.Join(words, " "))
		return a, chain, err
	}
	a, err := solana.FromText(text)
	if err != nil {
		return nil, "", errNoKey
	}
	return a, message.ChainSOL, nil
}

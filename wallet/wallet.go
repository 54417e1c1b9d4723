// Package wallet is where keys come from: accounts under names, whose keys are in files, in encrypted keystores, in the keychain of
// the operating system, on a Ledger or with another program. The aleph command uses it.
//
// All of it is in one folder, readable by its owner only: wallet.toml says which accounts there are and which addresses have other
// names; keys/ holds plain key files, keystores/ encrypted ones. wallet.toml holds no secret.
package wallet

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature"
)

// Kind is where the key of an account is.
type Kind string

const (
	KindFile     Kind = "file"     // keys/NAME.key, as it is
	KindKeystore Kind = "keystore" // keystores/NAME.json, encrypted with a password
	KindKeychain Kind = "keychain" // of the operating system
	KindLedger   Kind = "ledger"   // a device; Ethereum and its family
	KindCommand  Kind = "command"  // a program that signs
)

// Entry is an account under a name.
type Entry struct {
	Name    string        `toml:"name"`
	Chain   message.Chain `toml:"chain"`
	Address string        `toml:"address"`
	Kind    Kind          `toml:"kind"`
	Path    string        `toml:"derivation_path,omitempty"` // of a key on a Ledger, such as 44'/60'/0'/0/0
	Command []string      `toml:"command,omitempty"`         // program and arguments
}

// Alias is another name of an address whose key need not be here.
type Alias struct {
	Name    string `toml:"name"`
	Address string `toml:"address"`
}

// Config of a wallet.
type Config struct {
	Dir string // created with the first account
	// Password asks for the password of a keystore; repeat is set when it is a new one. Nil: keystores cannot be used.
	Password func(ctx context.Context, account string, repeat bool) (string, error)
	Keychain Keychain                                 // nil: that of the operating system
	Ledger   func(context.Context) (Transport, error) // connects to a device; nil: one on USB
}

// Wallet is a folder of accounts. It is not safe for concurrent use.
type Wallet struct {
	cfg     Config
	book    book
	stretch int // n of scrypt in new keystores
}

// book is what wallet.toml holds.
type book struct {
	Default  string  `toml:"default,omitempty"`
	Accounts []Entry `toml:"accounts,omitempty"`
	Aliases  []Alias `toml:"aliases,omitempty"`
}

// Errors by which callers decide.
var (
	ErrNotFound = errors.New("no such account")
	ErrExists   = errors.New("exists already")
)

const maxBook = 1 << 20 // bytes of wallet.toml

// Open reads what is in the folder. One that does not exist is empty.
func Open(cfg Config) (*Wallet, error) {
	if cfg.Keychain == nil {
		cfg.Keychain = systemKeychain{}
	}
	if cfg.Ledger == nil {
		cfg.Ledger = openUSB
	}
	w := &Wallet{cfg: cfg, stretch: scryptN}
	raw, err := readOwn(w.path("wallet.toml"), maxBook)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		if _, err := toml.Decode(string(raw), &w.book); err != nil {
			return nil, fmt.Errorf("%s is not what a wallet writes: %w", w.path("wallet.toml"), err)
		}
	}
	return w, w.adopt()
}

// adopt takes up key files that were put into the folder by hand.
func (w *Wallet) adopt() error {
	files, err := os.ReadDir(w.path("keys"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("list key files: %w", err)
	}
	for _, f := range files {
		name, isKey := strings.CutSuffix(f.Name(), ".key")
		if !isKey || checkName(name) != nil || w.find(name) >= 0 {
			continue
		}
		key, err := ReadKeyFile(w.path("keys", f.Name()), "")
		if err != nil {
			return err
		}
		w.book.Accounts = append(w.book.Accounts, Entry{Name: name, Chain: key.Chain(), Address: key.Address(), Kind: KindFile})
	}
	return nil
}

func (w *Wallet) path(parts ...string) string {
	return filepath.Join(append([]string{w.cfg.Dir}, parts...)...)
}

func (w *Wallet) find(name string) int {
	return slices.IndexFunc(w.book.Accounts, func(e Entry) bool { return e.Name == name })
}

// List returns all accounts, in the order in which they were added.
func (w *Wallet) List() []Entry { return slices.Clone(w.book.Accounts) }

// Default returns the name of the account that is used when none is named: the one that was chosen, or the first; "" when there
// is none.
func (w *Wallet) Default() string {
	if w.book.Default != "" || len(w.book.Accounts) == 0 {
		return w.book.Default
	}
	if w.find("default") >= 0 {
		return "default"
	}
	return w.book.Accounts[0].Name
}

// Entry returns an account by its name; "" is the default. The error is [ErrNotFound].
func (w *Wallet) Entry(name string) (Entry, error) {
	name = cmp.Or(name, w.Default())
	i := w.find(name)
	if i < 0 {
		return Entry{}, fmt.Errorf("account %q: %w", name, ErrNotFound)
	}
	return w.book.Accounts[i], nil
}

// Use makes an account the default.
func (w *Wallet) Use(name string) error {
	if _, err := w.Entry(name); err != nil {
		return err
	}
	w.book.Default = name
	return w.save()
}

// Resolve returns the address that a text means: that of an account or an alias of that name, or else the text itself.
func (w *Wallet) Resolve(text string) string {
	if i := w.find(text); i >= 0 {
		return w.book.Accounts[i].Address
	}
	for _, a := range w.book.Aliases {
		if a.Name == text {
			return a.Address
		}
	}
	return text
}

// Aliases returns all aliases.
func (w *Wallet) Aliases() []Alias { return slices.Clone(w.book.Aliases) }

// AddAlias gives an address a name. The error is [ErrExists] when an account or alias has it.
func (w *Wallet) AddAlias(name, address string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if w.Resolve(name) != name {
		return fmt.Errorf("alias %q: %w", name, ErrExists)
	}
	w.book.Aliases = append(w.book.Aliases, Alias{name, address})
	return w.save()
}

// RemoveAlias takes a name away. The error is [ErrNotFound] when there is none.
func (w *Wallet) RemoveAlias(name string) error {
	i := slices.IndexFunc(w.book.Aliases, func(a Alias) bool { return a.Name == name })
	if i < 0 {
		return fmt.Errorf("alias %q: %w", name, ErrNotFound)
	}
	w.book.Aliases = slices.Delete(w.book.Aliases, i, i+1)
	return w.save()
}

// Add keeps a key under a new name. kind is where: KindFile, KindKeystore or KindKeychain. No key is ever replaced.
func (w *Wallet) Add(ctx context.Context, name string, key Key, kind Kind) (Entry, error) {
	if err := w.free(name); err != nil {
		return Entry{}, err
	}
	e := Entry{Name: name, Chain: key.Chain(), Address: key.Address(), Kind: kind}
	var err error
	switch kind {
	case KindFile:
		err = writeNew(w.path("keys", name+".key"), []byte(key.Text()+"\n"))
	case KindKeystore:
		err = w.encrypt(ctx, name, key)
	case KindKeychain:
		err = w.cfg.Keychain.Set(name, key.Text())
	default:
		err = fmt.Errorf("keys are not kept in a %s", kind)
	}
	if err != nil {
		return Entry{}, fmt.Errorf("keep account %q: %w", name, err)
	}
	return e, w.enter(e)
}

// AddCommand keeps an account whose key another program has; see [Signer].
func (w *Wallet) AddCommand(name string, chain message.Chain, address string, command []string) (Entry, error) {
	if err := w.free(name); err != nil {
		return Entry{}, err
	}
	if len(command) == 0 || address == "" {
		return Entry{}, errors.New("an account of another program needs its command and its address")
	}
	e := Entry{Name: name, Chain: chain, Address: address, Kind: KindCommand, Command: command}
	return e, w.enter(e)
}

// AddLedger keeps an account whose key is on a Ledger, at a path such as 44'/60'/0'/0/0. The device is asked for the address.
func (w *Wallet) AddLedger(ctx context.Context, name string, chain message.Chain, path string) (Entry, error) {
	if err := w.free(name); err != nil {
		return Entry{}, err
	}
	if !isEVM(chain) {
		return Entry{}, fmt.Errorf("a Ledger signs for Ethereum and its family here, not for %s", chain)
	}
	device, err := w.cfg.Ledger(ctx)
	if err != nil {
		return Entry{}, err
	}
	defer device.Close()
	address, err := ledgerAddress(ctx, device, path)
	if err != nil {
		return Entry{}, err
	}
	e := Entry{Name: name, Chain: chain, Address: address, Kind: KindLedger, Path: path}
	return e, w.enter(e)
}

// free reports why an account cannot get a name.
func (w *Wallet) free(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if w.Resolve(name) != name {
		return fmt.Errorf("account %q: %w", name, ErrExists)
	}
	return nil
}

func (w *Wallet) enter(e Entry) error {
	w.book.Accounts = append(w.book.Accounts, e)
	return w.save()
}

// Account returns what signs for an account; "" is the default. A keystore asks for its password here, a Ledger and a command are
// reached with each signature.
func (w *Wallet) Account(ctx context.Context, name string) (signature.Account, error) {
	e, err := w.Entry(name)
	if err != nil {
		return nil, err
	}
	switch e.Kind {
	case KindLedger:
		return &ledgerAccount{e.Chain, e.Address, e.Path, w.cfg.Ledger}, nil
	case KindCommand:
		return NewSigner(e.Chain, e.Address, e.Command), nil
	}
	return w.Key(ctx, e.Name)
}

// Key returns the private key of an account, which the wallet must have.
func (w *Wallet) Key(ctx context.Context, name string) (Key, error) {
	e, err := w.Entry(name)
	if err != nil {
		return Key{}, err
	}
	var key Key
	switch e.Kind {
	case KindFile:
		key, err = ReadKeyFile(w.path("keys", e.Name+".key"), e.Chain)
	case KindKeystore:
		key, err = w.decrypt(ctx, e.Name, e.Chain)
	case KindKeychain:
		var text string
		if text, err = w.cfg.Keychain.Get(e.Name); err == nil {
			key, err = ParseKey([]byte(text), e.Chain)
		}
	default:
		err = fmt.Errorf("its key is with a %s and cannot be taken from there", e.Kind)
	}
	if err != nil {
		return Key{}, fmt.Errorf("account %q: %w", e.Name, err)
	}
	if !strings.EqualFold(key.Address(), e.Address) {
		return Key{}, fmt.Errorf("account %q: the key is that of %s, and not of %s", e.Name, key.Address(), e.Address)
	}
	return key, nil
}

// Remove forgets an account and destroys its key, if the wallet has it.
func (w *Wallet) Remove(name string) error {
	i := w.find(name)
	if i < 0 {
		return fmt.Errorf("account %q: %w", name, ErrNotFound)
	}
	var err error
	switch w.book.Accounts[i].Kind {
	case KindFile:
		err = os.Remove(w.path("keys", name+".key"))
	case KindKeystore:
		err = os.Remove(w.path("keystores", name+".json"))
	case KindKeychain:
		err = w.cfg.Keychain.Delete(name)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove account %q: %w", name, err)
	}
	w.book.Accounts = slices.Delete(w.book.Accounts, i, i+1)
	if w.book.Default == name {
		w.book.Default = ""
	}
	return w.save()
}

// save writes wallet.toml so that it is whole at any instant.
func (w *Wallet) save() error {
	var b bytes.Buffer
	b.WriteString("# Accounts of the aleph command. Keys are elsewhere.\n")
	if err := toml.NewEncoder(&b).Encode(w.book); err != nil {
		return fmt.Errorf("write wallet: %w", err)
	}
	if err := os.MkdirAll(w.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("write wallet: %w", err)
	}
	file, err := os.CreateTemp(w.cfg.Dir, ".wallet-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write wallet: %w", err)
	}
	_, err = file.Write(b.Bytes())
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = os.Rename(file.Name(), w.path("wallet.toml"))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write wallet: %w", err), os.Remove(file.Name()))
	}
	return nil
}

// checkName refuses what is no file name.
func checkName(name string) error {
	if name == "" || len(name) > 100 || strings.ContainsAny(name, "/\\\x00\n") || strings.HasPrefix(name, ".") {
		return &NameError{name}
	}
	return nil
}

// NameError is a name that an account cannot have.
type NameError struct{ Name string }

func (e *NameError) Error() string {
	return fmt.Sprintf("%q is no name for an account: it becomes a file name", e.Name)
}

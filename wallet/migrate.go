package wallet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/aleph-im/aleph-go/message"
)

// Migrated is what became of one account of another tool.
type Migrated struct {
	Name string
	Entry
	Err error // why it was not taken; nil when it was
}

// MigratePython takes over the accounts of the older Python tool from its folder, ~/.aleph-im (sdk-cli §1.1.2): each private key and
// the choice of the one in use. Keys are copied, and kept as kind says. Those under names that are taken, or with keys that cannot be
// read, are left out and told.
func (w *Wallet) MigratePython(ctx context.Context, home string, kind Kind) ([]Migrated, error) {
	var config struct {
		Path    string        `json:"path"`
		Type    string        `json:"type"`
		Chain   message.Chain `json:"chain"`
		Address string        `json:"address"`
		Ledger  string        `json:"derivation_path"`
	}
	raw, err := os.ReadFile(filepath.Join(home, "config.json"))
	if err == nil {
		err = json.Unmarshal(raw, &config)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("accounts of %s: %w", home, err)
	}
	files, err := os.ReadDir(filepath.Join(home, "private-keys"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("accounts of %s: %w", home, err)
	}
	var list []Migrated
	active := ""
	for _, f := range files {
		name, isKey := strings.CutSuffix(f.Name(), ".key")
		path := filepath.Join(home, "private-keys", f.Name())
		if !isKey || f.Type()&fs.ModeSymlink != 0 { // default.key leads to another
			continue
		}
		chain := message.Chain("")
		if config.Path == path {
			chain = config.Chain
		}
		m := Migrated{Name: name}
		// That tool gives its files no mode of their own, so a loose one is taken here; the copy is not loose.
		if raw, err := os.ReadFile(path); err != nil {
			m.Err = err
		} else if key, err := ParseKey(raw, chain); err != nil {
			m.Err = err
		} else if m.Entry, m.Err = w.Add(ctx, name, key, kind); m.Err == nil && config.Path == path {
			active = name
		}
		list = append(list, m)
	}
	if config.Type == "hardware" || config.Type == "external" {
		m := Migrated{Name: "ledger"}
		path := config.Ledger
		if path == "" {
			path = LedgerPath
		}
		chain := config.Chain
		if chain == "" {
			chain = message.ChainETH
		}
		m.Entry = Entry{Name: m.Name, Chain: chain, Address: config.Address, Kind: KindLedger, Path: path}
		if m.Err = w.free(m.Name); m.Err == nil && config.Address == "" {
			m.Err = errors.New("its address is not noted: add it with account import --ledger")
		}
		if m.Err == nil {
			m.Err, active = w.enter(m.Entry), m.Name
		}
		list = append(list, m)
	}
	return list, w.chooseMigrated(active)
}

// chooseMigrated makes the account that was in use the default, unless one was chosen here.
func (w *Wallet) chooseMigrated(name string) error {
	if name == "" || w.book.Default != "" {
		return nil
	}
	return w.Use(name)
}

// MigrateRust takes over accounts.toml of the older Rust tool, and its keystores, from its folder, ~/.config/aleph (sdk-cli §1.2.2).
// Keystores are copied as they are, with their passwords; keys in the keychain stay there.
func (w *Wallet) MigrateRust(home string) ([]Migrated, error) {
	var old struct {
		Default  string  `toml:"default"`
		Accounts []Entry `toml:"accounts"`
		Aliases  []Alias `toml:"aliases"`
	}
	raw, err := readPrivate(filepath.Join(home, "accounts.toml"), maxBook)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		_, err = toml.Decode(string(raw), &old)
	}
	if err != nil {
		return nil, fmt.Errorf("accounts of %s: %w", home, err)
	}
	var list []Migrated
	for _, e := range old.Accounts {
		e.Chain = message.Chain(strings.ToUpper(string(e.Chain)))
		m := Migrated{Name: e.Name, Entry: e}
		if m.Err = w.free(e.Name); m.Err == nil {
			m.Err = w.migrateRust(home, &m.Entry)
		}
		list = append(list, m)
	}
	for _, a := range old.Aliases {
		if err := w.AddAlias(a.Name, a.Address); err != nil && !errors.Is(err, ErrExists) {
			return list, err
		}
	}
	if w.find(old.Default) < 0 {
		return list, nil
	}
	return list, w.chooseMigrated(old.Default)
}

func (w *Wallet) migrateRust(home string, e *Entry) error {
	switch e.Kind {
	case "local":
		e.Kind = KindKeychain
	case KindLedger:
		if e.Path == "" {
			e.Path = LedgerPath
		}
	case KindKeystore:
		from, to := filepath.Join(home, "keystores", e.Name+".json"), w.path("keystores", e.Name+".json")
		raw, err := readPrivate(from, maxKeystore)
		if err != nil {
			return err
		}
		// The two tools have the same folder where the user has not named another: then it is there.
		if there, err := readPrivate(to, maxKeystore); err != nil || string(there) != string(raw) {
			if err := writeNew(to, raw); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("accounts of kind %q are not known here", e.Kind)
	}
	return w.enter(*e)
}

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/wallet"
)

func (a *app) accountImport() *cobra.Command {
	var chain, path, command, address string
	var ledger bool
	var keep keeping
	c := &cobra.Command{
		Use: "import [NAME]", Short: "Keep a key that exists", Args: cobra.MaximumNArgs(1),
		Long: `Keep the key of --key-file, of ALEPH_PRIVATE_KEY or ALEPH_PRIVATE_KEY_FILE, or else of standard input: hex, base58, a phrase, or what the wallets of a
chain export. With --ledger or --command the key stays where it is.

A signer command is started for each signature. It is given {"chain", "address", "payload", "payload_hex"} as JSON on its standard
input and must write {"signature": "…"} to its standard output.`,
		Example: "  aleph account import --key-file wallet.key\n  aleph account import work --encrypted < phrase.txt\n" +
			"  aleph account import nano --ledger\n  aleph account import vault --command 'vault-sign --key 3' --address 0xa0Ee7A142d267C1f36714E4a8F75612F20a79720",
		RunE: a.onWallet(func(ctx context.Context, w *wallet.Wallet, args []string) error {
			var on message.Chain
			if chain != "" {
				var err error
				if on, err = parseChain(chain); err != nil {
					return err
				}
			}
			kind, err := keep.kind()
			if err != nil {
				return err
			}
			if elsewhere := ledger || command != ""; elsewhere && kind != wallet.KindFile || ledger && command != "" || (command == "") != (address == "") {
				return usageError{errors.New("want one of --ledger, --command with --address, --encrypted, --keychain, or none of them")}
			}
			var e wallet.Entry
			switch {
			case ledger:
				a.say("Look at the Ledger: it may ask for its PIN, and its Ethereum application must be open.")
				e, err = w.AddLedger(ctx, a.name(args), cmp.Or(on, message.ChainETH), path)
			case command != "":
				e, err = w.AddCommand(a.name(args), cmp.Or(on, message.ChainETH), address, strings.Fields(command))
			default:
				var key wallet.Key
				if key, err = a.keyToImport(on); err == nil {
					e, err = w.Add(ctx, a.name(args), key, kind)
				}
			}
			if err != nil {
				return err
			}
			return a.showAccount(viewOf(w, e))
		}),
	}
	f := c.Flags()
	f.StringVar(&chain, "chain", "", "`chain` whose messages the key signs; default what the key says, or ETH")
	f.BoolVar(&ledger, "ledger", false, "the key is on a Ledger")
	f.StringVar(&path, "derivation-path", wallet.LedgerPath, "`path` of the key on the Ledger")
	f.StringVar(&command, "command", "", "`program` with its arguments that signs")
	f.StringVar(&address, "address", "", "`address` that the program signs for")
	keep.add(c)
	return c
}

// keyToImport reads the key that is given, or else standard input.
func (a *app) keyToImport(chain message.Chain) (wallet.Key, error) {
	switch {
	case a.keyFile != "" && a.keyFile != "-":
		return a.readKeyFile(a.keyFile, chain)
	case a.keyFile == "" && a.getenv("ALEPH_PRIVATE_KEY") != "":
		return wallet.ParseKey([]byte(a.getenv("ALEPH_PRIVATE_KEY")), chain)
	case a.keyFile == "" && a.getenv("ALEPH_PRIVATE_KEY_FILE") != "":
		return a.readKeyFile(a.getenv("ALEPH_PRIVATE_KEY_FILE"), chain)
	}
	key, err := a.readKey(chain)
	if errors.Is(err, errNoTerminal) {
		err = errors.New("say where the key is: --key-file FILE, ALEPH_PRIVATE_KEY, or standard input")
	}
	return key, err
}

func (a *app) accountExport() *cobra.Command {
	return &cobra.Command{
		Use: "export [NAME]", Short: "Print the private key of an account", Args: cobra.MaximumNArgs(1),
		Long:    "Print the private key of an account. Whoever has it owns what the account has.",
		Example: "  aleph account export work --yes > work.key",
		RunE: a.onWallet(func(ctx context.Context, w *wallet.Wallet, args []string) error {
			e, err := w.Entry(a.nameOf(args))
			if err != nil {
				return err
			}
			if err := a.ask(fmt.Sprintf("Print the private key of account %q?", e.Name)); err != nil {
				return err
			}
			key, err := w.Key(ctx, e.Name)
			if err != nil {
				return err
			}
			type view struct {
				accountView
				PrivateKey string `json:"private_key"`
			}
			return print(a, view{viewOf(w, e), key.Text()}, func(w io.Writer, v view) { fmt.Fprintln(w, v.PrivateKey) })
		}),
	}
}

func (a *app) accountMigrate() *cobra.Command {
	var python, rust string
	var keep keeping
	c := &cobra.Command{
		Use: "migrate", Short: "Take over the accounts of older tools", Args: cobra.NoArgs,
		Long:    "Take over the accounts, aliases and Ledgers of the older Python and Rust tools. Nothing of theirs is changed.",
		Example: "  aleph account migrate\n  aleph account migrate --python ~/.aleph-im --encrypted",
		RunE: a.onWallet(func(ctx context.Context, w *wallet.Wallet, _ []string) error {
			kind, err := keep.kind()
			if err != nil {
				return err
			}
			if err := a.olderTools(&python, &rust); err != nil {
				return err
			}
			list, err := w.MigratePython(ctx, python, kind)
			if err != nil {
				return err
			}
			more, err := w.MigrateRust(rust)
			if err != nil {
				return err
			}
			type view struct {
				accountView
				Error string `json:"error,omitempty"`
			}
			views := []view{}
			for _, m := range append(list, more...) {
				v := view{accountView: viewOf(w, m.Entry)}
				if v.Name = m.Name; m.Err != nil {
					v.Error = m.Err.Error()
				}
				views = append(views, v)
			}
			return print(a, views, func(w io.Writer, views []view) {
				for _, v := range views {
					fmt.Fprintf(w, "%s\t%s\t%s\n", v.Name, v.Address, cmp.Or(v.Error, "taken over"))
				}
			})
		}),
	}
	c.Flags().StringVar(&python, "python", "", "`folder` of the Python tool; default ~/.aleph-im")
	c.Flags().StringVar(&rust, "rust", "", "`folder` of the Rust tool; default ~/.config/aleph")
	keep.add(c)
	return c
}

// olderTools finds the folders of the older tools that the user has not named.
func (a *app) olderTools(python, rust *string) error {
	if *python == "" {
		switch home, err := os.UserHomeDir(); {
		case a.getenv("XDG_DATA_HOME") != "":
			*python = filepath.Join(a.getenv("XDG_DATA_HOME"), ".aleph-im")
		case err != nil:
			return fmt.Errorf("find the older tools, or name them with --python and --rust: %w", err)
		default:
			*python = filepath.Join(home, ".aleph-im")
		}
	}
	if *rust == "" {
		home, err := os.UserConfigDir()
		if err != nil {
			return fmt.Errorf("find the older tools, or name them with --python and --rust: %w", err)
		}
		*rust = filepath.Join(home, "aleph")
	}
	return nil
}

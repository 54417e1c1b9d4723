package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/wallet"
)

func (a *app) accountCommand() *cobra.Command {
	return group("account", "Keys and what they hold", "  aleph account create",
		a.accountCreate(), a.accountImport(), a.accountExport(), a.accountRemove(), a.accountList(), a.accountShow(), a.accountUse(),
		a.accountBalance(), a.accountSign(), a.accountMigrate(), a.accountAlias())
}

type accountView struct {
	Name    string        `json:"name,omitempty"`
	Address string        `json:"address"`
	Chain   message.Chain `json:"chain"`
	Kind    wallet.Kind   `json:"kind,omitempty"`
	Default bool          `json:"default,omitempty"`
	Path    string        `json:"derivation_path,omitempty"`
	Command []string      `json:"command,omitempty"`
}

func viewOf(w *wallet.Wallet, e wallet.Entry) accountView {
	return accountView{e.Name, e.Address, e.Chain, e.Kind, e.Name == w.Default(), e.Path, e.Command}
}

func (a *app) showAccount(v accountView) error {
	return print(a, v, func(w io.Writer, v accountView) {
		if v.Name != "" {
			fmt.Fprintf(w, "name\t%s\n", v.Name)
		}
		fmt.Fprintf(w, "address\t%s\nchain\t%s\n", v.Address, v.Chain)
		if v.Kind != "" {
			fmt.Fprintf(w, "key\t%s\n", v.Kind)
		}
	})
}

// name is what an account is to be called: the argument, or --account.
func (a *app) name(args []string) string {
	if len(args) > 0 {
		return args[0]
	}
	return a.nameOr(defaultAccount)
}

// onWallet is a command on the accounts of the user; what goes wrong is about a key.
func (a *app) onWallet(do func(ctx context.Context, w *wallet.Wallet, args []string) error) func(*cobra.Command, []string) error {
	return a.within(func(ctx context.Context, args []string) error {
		w, err := a.wallet()
		if err != nil {
			return err
		}
		err = do(ctx, w, args)
		var bad *wallet.NameError
		var no declined
		switch {
		case err == nil:
			return nil
		case errors.As(err, &no):
			return no.error
		case errors.As(err, &bad):
			return usageError{err}
		case errors.Is(err, wallet.ErrExists):
			return keyError{fmt.Errorf("%w; choose another name, such as: aleph account create work", err)}
		case errors.Is(err, wallet.ErrNotFound) && len(w.List()) == 0:
			return keyError{errors.New("there is no account yet: make one with: aleph account create, or bring one with: aleph account import")}
		case errors.Is(err, wallet.ErrNotFound):
			return keyError{fmt.Errorf("%w; see aleph account list, or make one with: aleph account create", err)}
		}
		if code, _ := exitCode(err); code != exitFailed {
			return err
		}
		return keyError{err}
	})
}

// declined is the answer no, which is no failure of a key.
type declined struct{ error }

func (a *app) ask(question string) error {
	if err := a.confirm(question); err != nil {
		return declined{err}
	}
	return nil
}

// keeping are the flags that say where a key is kept.
type keeping struct{ encrypted, keychain bool }

func (k *keeping) add(c *cobra.Command) {
	c.Flags().BoolVar(&k.encrypted, "encrypted", false, "keep the key in a file that a password protects (env ALEPH_PASSWORD)")
	c.Flags().BoolVar(&k.keychain, "keychain", false, "keep the key in the keychain of the operating system")
}

func (k *keeping) kind() (wallet.Kind, error) {
	switch {
	case k.encrypted && k.keychain:
		return "", usageError{errors.New("a key is kept in one place: --encrypted or --keychain")}
	case k.encrypted:
		return wallet.KindKeystore, nil
	case k.keychain:
		return wallet.KindKeychain, nil
	}
	return wallet.KindFile, nil
}

// parseChain reads a chain that keys can be made for.
func parseChain(text string) (message.Chain, error) {
	chain := message.Chain(strings.ToUpper(text))
	for _, known := range wallet.Chains() {
		if chain == known {
			return chain, nil
		}
	}
	return "", usageError{fmt.Errorf("--chain %s: want one of %v", text, wallet.Chains())}
}

func (a *app) accountCreate() *cobra.Command {
	var chain string
	var keep keeping
	c := &cobra.Command{
		Use: "create [NAME]", Short: "Make a key and keep it", Args: cobra.MaximumNArgs(1),
		Long:    "Make a key and keep it, in a file that only you can read unless a flag says where. Without a name it is the default account.",
		Example: "  aleph account create\n  aleph account create work --chain SOL --encrypted",
		RunE: a.onWallet(func(ctx context.Context, w *wallet.Wallet, args []string) error {
			chain, err := parseChain(chain)
			if err != nil {
				return err
			}
			kind, err := keep.kind()
			if err != nil {
				return err
			}
			key, err := wallet.Generate(chain)
			if err != nil {
				return err
			}
			e, err := w.Add(ctx, a.name(args), key, kind)
			if err != nil {
				return err
			}
			return a.showAccount(viewOf(w, e))
		}),
	}
	c.Flags().StringVar(&chain, "chain", "ETH", "`chain` whose messages the key signs")
	keep.add(c)
	return c
}

// nameOf is which account is meant: the argument, --account, or "" for the default.
func (a *app) nameOf(args []string) string {
	if len(args) > 0 {
		return args[0]
	}
	return a.account
}

func (a *app) accountRemove() *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME", Aliases: []string{"delete"}, Short: "Forget an account and destroy its key", Args: cobra.ExactArgs(1),
		Long:    "Forget an account and destroy its key, unless a Ledger or a program has it. A key that is nowhere else is lost.",
		Example: "  aleph account remove work --yes",
		RunE: a.onWallet(func(_ context.Context, w *wallet.Wallet, args []string) error {
			e, err := w.Entry(args[0])
			if err != nil {
				return err
			}
			if err := a.ask(fmt.Sprintf("Remove account %q, %s, and its key?", e.Name, e.Address)); err != nil {
				return err
			}
			if err := w.Remove(e.Name); err != nil {
				return err
			}
			return a.showAccount(viewOf(w, e))
		}),
	}
}

func (a *app) accountShow() *cobra.Command {
	return &cobra.Command{
		Use: "show [NAME]", Aliases: []string{"get"}, Short: "Show the address of an account, or of the one in use", Args: cobra.MaximumNArgs(1),
		Example: "  aleph account show -o json",
		RunE: a.onWallet(func(_ context.Context, w *wallet.Wallet, args []string) error {
			if len(args) == 0 {
				key, given, err := a.givenKey()
				if err != nil {
					return err
				}
				if given {
					return a.showAccount(accountView{Address: key.Address(), Chain: key.Chain()})
				}
			}
			e, err := w.Entry(a.nameOf(args))
			if err != nil {
				return err
			}
			return a.showAccount(viewOf(w, e))
		}),
	}
}

func (a *app) accountUse() *cobra.Command {
	return &cobra.Command{
		Use: "use NAME", Short: "Make an account the default", Args: cobra.ExactArgs(1),
		Example: "  aleph account use work",
		RunE: a.onWallet(func(_ context.Context, w *wallet.Wallet, args []string) error {
			if err := w.Use(args[0]); err != nil {
				return err
			}
			e, err := w.Entry(args[0])
			if err != nil {
				return err
			}
			return a.showAccount(viewOf(w, e))
		}),
	}
}

func (a *app) accountList() *cobra.Command {
	var ledger int
	c := &cobra.Command{
		Use: "list", Short: "List the accounts", Args: cobra.NoArgs,
		Long:    "List the accounts; * marks the default. With --ledger, list the first accounts that are on the Ledger instead.",
		Example: "  aleph account list\n  aleph account list --ledger 5",
		RunE: a.onWallet(func(ctx context.Context, w *wallet.Wallet, _ []string) error {
			accounts := []accountView{}
			if ledger > 0 {
				paths, addresses, err := w.LedgerAddresses(ctx, ledger)
				if err != nil {
					return err
				}
				for i, path := range paths {
					accounts = append(accounts, accountView{Address: addresses[i], Chain: message.ChainETH, Kind: wallet.KindLedger, Path: path})
				}
			} else {
				for _, e := range w.List() {
					accounts = append(accounts, viewOf(w, e))
				}
			}
			if len(accounts) == 0 {
				a.say("None. Make one with: aleph account create")
			}
			return print(a, accounts, func(w io.Writer, accounts []accountView) {
				for _, v := range accounts {
					mark := " "
					if v.Default {
						mark = "*"
					}
					fmt.Fprintf(w, "%s %s\t%s\t%s\t%s\n", mark, cmp.Or(v.Name, v.Path), v.Chain, v.Kind, v.Address)
				}
			})
		}),
	}
	whole(c.Flags(), &ledger, "ledger", 0, 0, "how `many` accounts of the Ledger to list")
	return c
}

func (a *app) accountBalance() *cobra.Command {
	return ofOwner(&cobra.Command{
		Use: "balance [ADDRESS]", Short: "Show what an address holds", Args: cobra.MaximumNArgs(1),
		Long:    "Show what an address holds, or an account or alias of that name, or the account in use.",
		Example: "  aleph account balance\n  aleph account balance 0xa0Ee7A142d267C1f36714E4a8F75612F20a79720",
		RunE: a.onWallet(func(ctx context.Context, w *wallet.Wallet, args []string) error {
			var address string
			if len(args) == 1 {
				var err error
				if address, err = a.resolve(args[0]); err != nil {
					return err
				}
			} else {
				key, given, err := a.givenKey()
				if err != nil {
					return err
				}
				if address = ""; given {
					address = key.Address()
				} else {
					e, err := w.Entry(a.account)
					if err != nil {
						return err
					}
					address = e.Address
				}
			}
			balance, err := a.client().Balance(ctx, address)
			if err != nil {
				return err
			}
			type view struct {
				Address string             `json:"address"`
				Balance any                `json:"balance"`
				Locked  any                `json:"locked"`
				Credits int64              `json:"credits"`
				Details map[string]float64 `json:"details"`
			}
			v := view{address, balance.Exact.Balance, balance.Exact.Locked, balance.Credits, balance.Details}
			return print(a, v, func(w io.Writer, v view) {
				fmt.Fprintf(w, "address\t%s\nbalance\t%v ALEPH\nlocked\t%v ALEPH\ncredits\t%d\n", v.Address, v.Balance, v.Locked, v.Credits)
			})
		}),
	})
}

func (a *app) accountSign() *cobra.Command {
	return &cobra.Command{
		Use: "sign TEXT", Short: "Sign a text", Args: cobra.ExactArgs(1),
		Long:    "Sign a text as the wallets of the account's chain sign messages. - is standard input, byte by byte.",
		Example: "  aleph account sign 'it is me'",
		RunE: a.within(func(ctx context.Context, args []string) error {
			text := []byte(args[0])
			if args[0] == "-" {
				if a.keyFile == "-" {
					return usageError{errors.New("standard input cannot be both the key and the text")}
				}
				var err error
				if text, err = io.ReadAll(io.LimitReader(a.stdin(), 1<<20)); err != nil {
					return fmt.Errorf("read the text: %w", err)
				}
			}
			account, err := a.signer()
			if err != nil {
				return err
			}
			signature, err := account.Sign(ctx, text)
			if err != nil {
				return keyError{err}
			}
			type view struct {
				Address   string        `json:"address"`
				Chain     message.Chain `json:"chain"`
				Signature string        `json:"signature"`
			}
			return print(a, view{account.Address(), account.Chain(), signature}, func(w io.Writer, v view) { fmt.Fprintln(w, v.Signature) })
		}),
	}
}

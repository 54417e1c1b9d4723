package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/mr-tron/base58"
	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/ethereum"
	"github.com/aleph-im/aleph-go/signature/solana"
)

func (a *app) accountCommand() *cobra.Command {
	return group("account", "Keys and what they hold", "  aleph account create",
		a.accountCreate(), a.accountImport(), a.accountShow(), a.accountBalance(), a.accountList())
}

type accountView struct {
	Name    string        `json:"name,omitempty"`
	Address string        `json:"address"`
	Chain   message.Chain `json:"chain"`
	KeyFile string        `json:"key_file,omitempty"`
}

func (a *app) showAccount(v accountView) error {
	return print(a, v, func(w io.Writer, v accountView) {
		fmt.Fprintf(w, "address\t%s\nchain\t%s\n", v.Address, v.Chain)
		if v.KeyFile != "" {
			fmt.Fprintf(w, "key file\t%s\n", v.KeyFile)
		}
	})
}

func (a *app) nameOr(other string) string {
	if a.account != "" {
		return a.account
	}
	return other
}

func (a *app) accountCreate() *cobra.Command {
	var chain string
	c := &cobra.Command{
		Use: "create", Short: "Make a key and store it", Args: cobra.NoArgs,
		Example: "  aleph account create\n  aleph account create --account work --chain SOL",
		RunE: a.within(func(context.Context, []string) error {
			account, secret, err := generate(message.Chain(strings.ToUpper(chain)))
			if err != nil {
				return err
			}
			return a.keep(account, secret)
		}),
	}
	c.Flags().StringVar(&chain, "chain", "ETH", "ETH or SOL")
	return c
}

func generate(chain message.Chain) (client.Account, string, error) {
	switch chain {
	case message.ChainETH:
		account, err := ethereum.Generate()
		if err != nil {
			return nil, "", keyError{err}
		}
		return account, secretText(account), nil
	case message.ChainSOL:
		account, err := solana.Generate()
		if err != nil {
			return nil, "", keyError{err}
		}
		return account, secretText(account), nil
	}
	return nil, "", usageError{fmt.Errorf("--chain %s: want ETH or SOL", chain)}
}

// secretText is how a key is stored: as the wallets of its chain export it.
func secretText(account client.Account) string {
	switch account := account.(type) {
	case *ethereum.Account:
		return hex.EncodeToString(account.Secret())
	case *solana.Account:
		return base58.Encode(account.Secret())
	}
	panic(fmt.Sprintf("no stored form for keys of %T", account))
}

func (a *app) keep(account client.Account, secret string) error {
	name := a.nameOr(defaultAccount)
	path, err := a.store(name, secret)
	if err != nil {
		return err
	}
	return a.showAccount(accountView{name, account.Address(), account.Chain(), path})
}

func (a *app) accountImport() *cobra.Command {
	return &cobra.Command{
		Use: "import", Short: "Store a key that exists", Args: cobra.NoArgs,
		Long:    "Store the key of --key-file, of ALEPH_PRIVATE_KEY, or else of standard input.",
		Example: "  aleph account import --key-file wallet.key\n  aleph account import --account work < wallet.key",
		RunE: a.within(func(context.Context, []string) error {
			from := *a
			from.account = ""
			if from.keyFile == "" && a.getenv("ALEPH_PRIVATE_KEY") == "" {
				from.keyFile = "-"
			}
			account, err := from.signer()
			if err != nil {
				return err
			}
			return a.keep(account, secretText(account))
		}),
	}
}

func (a *app) accountShow() *cobra.Command {
	return &cobra.Command{
		Use: "show", Short: "Show the address of the account in use", Args: cobra.NoArgs,
		Example: "  aleph account show -o json",
		RunE: a.within(func(context.Context, []string) error {
			account, err := a.signer()
			if err != nil {
				return err
			}
			return a.showAccount(accountView{Address: account.Address(), Chain: account.Chain()})
		}),
	}
}

func (a *app) accountBalance() *cobra.Command {
	return &cobra.Command{
		Use: "balance [ADDRESS]", Short: "Show what an address holds", Args: cobra.MaximumNArgs(1),
		Example: "  aleph account balance\n  aleph account balance 0xa0Ee7A142d267C1f36714E4a8F75612F20a79720",
		RunE: a.within(func(ctx context.Context, args []string) error {
			var address string
			if len(args) == 1 {
				address = args[0]
			} else {
				account, err := a.signer()
				if err != nil {
					return err
				}
				address = account.Address()
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
	}
}

func (a *app) accountList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the stored accounts", Args: cobra.NoArgs,
		Example: "  aleph account list",
		RunE: a.within(func(context.Context, []string) error {
			folder, err := a.keyFolder()
			if err != nil {
				return err
			}
			entries, err := os.ReadDir(folder)
			if err != nil && !os.IsNotExist(err) {
				return keyError{fmt.Errorf("list accounts: %w", err)}
			}
			accounts := []accountView{}
			for _, e := range entries {
				name, isKey := strings.CutSuffix(e.Name(), ".key")
				if !isKey {
					continue
				}
				path := filepath.Join(folder, e.Name())
				account, err := readKey(path)
				if err != nil {
					return err
				}
				accounts = append(accounts, accountView{name, account.Address(), account.Chain(), path})
			}
			return print(a, accounts, func(w io.Writer, accounts []accountView) {
				for _, v := range accounts {
					fmt.Fprintf(w, "%s\t%s\t%s\n", v.Name, v.Chain, v.Address)
				}
			})
		}),
	}
}

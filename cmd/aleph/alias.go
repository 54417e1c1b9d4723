package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/wallet"
)

type aliasView struct {
	Name    string `json:"name"`
	Address string `json:"address"`
}

func (a *app) accountAlias() *cobra.Command {
	return group("alias", "Names for the addresses of others", "  aleph account alias add bob 0xa0Ee7A142d267C1f36714E4a8F75612F20a79720",
		a.aliasAdd(), a.aliasList(), a.aliasRemove())
}

func (a *app) showAliases(views []aliasView) error {
	return print(a, views, func(w io.Writer, views []aliasView) {
		for _, v := range views {
			fmt.Fprintf(w, "%s\t%s\n", v.Name, v.Address)
		}
	})
}

func (a *app) aliasAdd() *cobra.Command {
	return &cobra.Command{
		Use: "add NAME ADDRESS", Short: "Give an address a name", Args: cobra.ExactArgs(2),
		Example: "  aleph account alias add bob 0xa0Ee7A142d267C1f36714E4a8F75612F20a79720",
		RunE: a.onWallet(func(_ context.Context, w *wallet.Wallet, args []string) error {
			address, err := a.resolve(args[1])
			if err != nil {
				return err
			}
			if err := w.AddAlias(args[0], address); err != nil {
				return err
			}
			return a.showAliases([]aliasView{{args[0], address}})
		}),
	}
}

func (a *app) aliasList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the names", Args: cobra.NoArgs,
		Example: "  aleph account alias list",
		RunE: a.onWallet(func(_ context.Context, w *wallet.Wallet, _ []string) error {
			views := []aliasView{}
			for _, alias := range w.Aliases() {
				views = append(views, aliasView(alias))
			}
			return a.showAliases(views)
		}),
	}
}

func (a *app) aliasRemove() *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME", Short: "Take a name away", Args: cobra.ExactArgs(1),
		Example: "  aleph account alias remove bob",
		RunE: a.onWallet(func(_ context.Context, w *wallet.Wallet, args []string) error {
			address := w.Resolve(args[0])
			if err := w.RemoveAlias(args[0]); err != nil {
				return err
			}
			return a.showAliases([]aliasView{{args[0], address}})
		}),
	}
}

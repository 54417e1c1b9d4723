package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
)

func (a *app) creditCommand() *cobra.Command {
	return group("credit", "Credits, which pay by time", "  aleph credit show",
		a.creditShow(), a.creditHistory(), a.creditSummary(), a.creditTransfer())
}

// creditsPerDollar is what credits are worth (sdk-cli §1.2.3).
const creditsPerDollar = 1_000_000

func creditText(credits float64) string {
	return fmt.Sprintf("%s credits ($%.2f)", strconv.FormatFloat(credits, 'f', -1, 64), credits/creditsPerDollar)
}

func (a *app) creditShow() *cobra.Command {
	return ofOwner(&cobra.Command{
		Use: "show [ADDRESS]", Aliases: []string{"get"}, Short: "Show how many credits an address has", Args: cobra.MaximumNArgs(1),
		Example: "  aleph credit show",
		RunE: a.within(func(ctx context.Context, args []string) error {
			address, err := a.address(addressOf(args))
			if err != nil {
				return err
			}
			balance, err := a.client().Balance(ctx, address)
			if err != nil {
				return err
			}
			type view struct {
				Address string `json:"address"`
				Credits int64  `json:"credits"`
			}
			return print(a, view{address, balance.Credits}, func(w io.Writer, v view) {
				fmt.Fprintf(w, "address\t%s\ncredits\t%s\n", v.Address, creditText(float64(v.Credits)))
			})
		}),
	})
}

// creditFlags are the flags that select entries of a history.
type creditFlags struct {
	from, to, resource string
	types              []string
	expenses, topUps   bool
}

func (f *creditFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.from, "from", "", "first `time`, such as 2026-02-03")
	c.Flags().StringVar(&f.to, "to", "", "last `time`")
	c.Flags().BoolVar(&f.expenses, "expenses", false, "only what was spent")
	c.Flags().BoolVar(&f.topUps, "top-ups", false, "only what came in")
	c.Flags().StringSliceVar(&f.types, "type", nil, "only what was spent for messages of these types")
	c.Flags().StringVar(&f.resource, "resource", "", "only what was spent for this `hash`")
}

func (f *creditFlags) filter() (client.CreditFilter, error) {
	filter := client.CreditFilter{Resource: f.resource}
	var err error
	if filter.ResourceTypes, err = parseTypes(f.types); err != nil {
		return filter, err
	}
	switch {
	case f.expenses && f.topUps:
		return filter, usageError{errors.New("say --expenses or --top-ups, not both")}
	case f.expenses:
		filter.Direction = "outgoing"
	case f.topUps:
		filter.Direction = "incoming"
	}
	if filter.Since, err = parseTime("--from", f.from); err == nil {
		filter.Until, err = parseTime("--to", f.to)
	}
	return filter, err
}

// creditQuery is whose credits a command asks for, and which of their movements.
func (a *app) creditQuery(args []string, flags creditFlags) (string, client.CreditFilter, error) {
	address, err := a.address(addressOf(args))
	if err != nil {
		return "", client.CreditFilter{}, err
	}
	filter, err := flags.filter()
	return address, filter, err
}

func (a *app) creditHistory() *cobra.Command {
	var flags creditFlags
	var limit int
	c := &cobra.Command{
		Use: "history [ADDRESS]", Short: "List what came in and what was spent, newest first", Args: cobra.MaximumNArgs(1),
		Example: "  aleph credit history --expenses --from 2026-02-01",
		RunE: a.within(func(ctx context.Context, args []string) error {
			address, filter, err := a.creditQuery(args, flags)
			if err != nil {
				return err
			}
			return printEach(a, first(a.client().FindCredits(ctx, address, filter), limit),
				column[*client.CreditEntry]{"TIME", 19, func(e *client.CreditEntry) string { return timeText(e.Time) }},
				column[*client.CreditEntry]{"CREDITS", 14, func(e *client.CreditEntry) string { return strconv.FormatInt(e.Amount, 10) }},
				column[*client.CreditEntry]{"METHOD", 16, func(e *client.CreditEntry) string { return textOr(e.PaymentMethod, "-") }},
				column[*client.CreditEntry]{"FOR", 13, func(e *client.CreditEntry) string { return textOr(e.OriginRef, textOr(e.Origin, "-")) }})
		}),
	}
	flags.add(c)
	whole(c.Flags(), &limit, "limit", 0, 100, "at most this many; 0 for all")
	return ofOwner(c)
}

func textOr(text *string, other string) string {
	if text == nil || *text == "" {
		return other
	}
	return *text
}

func (a *app) creditSummary() *cobra.Command {
	var flags creditFlags
	c := &cobra.Command{
		Use: "summary [ADDRESS]", Short: "Sum up what came in and what was spent", Args: cobra.MaximumNArgs(1),
		Example: "  aleph credit summary --from 2026-02-01 --to 2026-02-28",
		RunE: a.within(func(ctx context.Context, args []string) error {
			address, filter, err := a.creditQuery(args, flags)
			if err != nil {
				return err
			}
			sum, err := a.client().SumCredits(ctx, address, filter)
			if err != nil {
				return err
			}
			type view struct {
				Address string `json:"address"`
				client.CreditSummary
			}
			return print(a, view{address, sum}, func(w io.Writer, s view) {
				fmt.Fprintf(w, "address\t%s\nentries\t%d\nin\t%s\nout\t%s\ntogether\t%s\n", s.Address, s.Entries,
					creditText(float64(s.Incoming)), creditText(float64(s.Outgoing)), creditText(float64(s.Total)))
			})
		}),
	}
	flags.add(c)
	return ofOwner(c)
}

func (a *app) creditTransfer() *cobra.Command {
	var expires string
	c := &cobra.Command{
		Use: "transfer ADDRESS CREDITS", Short: "Give credits to another address", Args: cobra.ExactArgs(2),
		Example: "  aleph credit transfer " + exampleDelegate + " 1000 --yes",
		RunE: a.within(func(ctx context.Context, args []string) error {
			amount, err := strconv.ParseInt(args[1], 10, 64)
			if err != nil || amount < 1 {
				return usageError{fmt.Errorf("%s is no number of credits", args[1])}
			}
			until, err := parseTime("--expires", expires)
			if err != nil {
				return err
			}
			type transfer struct {
				Address    string `json:"address"`
				Amount     int64  `json:"amount"`
				Expiration int64  `json:"expiration,omitempty"`
			}
			to, err := a.resolve(args[0])
			if err != nil {
				return err
			}
			one := transfer{Address: to, Amount: amount}
			if !until.IsZero() {
				one.Expiration = until.Unix()
			}
			if err := a.transferable(ctx, amount); err != nil {
				return err
			}
			if err := a.confirm(fmt.Sprintf("Give %s to %s? This cannot be taken back.", creditText(float64(amount)), to)); err != nil {
				return err
			}
			content, err := json.Marshal(map[string]any{"transfer": map[string]any{"credits": []transfer{one}}})
			if err != nil {
				return err
			}
			if a.channel == defaultChannel && len(a.params.Credits.Channels) > 0 {
				a.channel = a.params.Credits.Channels[0] // transfers count in this one only
			}
			return a.submit(ctx, &message.Post{PostType: transferType, Content: content})
		}),
	}
	c.Flags().StringVar(&expires, "expires", "", "`time` after which they are gone, such as 2027-01-01")
	return c
}

// transferType is the type of posts that give credits away (sdk-cli §4.14).
const transferType = "aleph_credit_transfer"

// transferable checks that the account has what it gives away: nodes keep such a post but do nothing about it.
func (a *app) transferable(ctx context.Context, amount int64) error {
	address, err := a.address("")
	if err != nil {
		return err
	}
	balance, err := a.client().Balance(ctx, address)
	if err != nil {
		return err
	}
	if balance.Credits < amount {
		return &client.InsufficientFundsError{
			Address: address, Required: strconv.FormatInt(amount, 10), Available: strconv.FormatInt(balance.Credits, 10), Unit: "credits",
		}
	}
	return nil
}

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/client/code"
	"github.com/aleph-im/aleph-go/message"
)

func (a *app) priceCommand() *cobra.Command {
	return group("price", "Tell what something costs, in every way to pay", "  aleph price file 10GiB",
		a.priceFile(), a.priceProgram(), a.priceInstance(), a.priceMessage())
}

// rate is what is paid for a time of use.
type rate struct {
	Hour  string `json:"hour"`
	Day   string `json:"day"`
	Month string `json:"month"` // 30 days
}

func rateOf(perSecond *big.Rat) rate {
	over := func(seconds int64) string { return ratText(new(big.Rat).Mul(perSecond, big.NewRat(seconds, 1))) }
	return rate{over(3600), over(86400), over(30 * 86400)}
}

// ratText writes an amount with as many digits as matter to people.
func ratText(v *big.Rat) string {
	f, _ := v.Float64()
	digits := 6
	if math.Abs(f) >= 1 {
		digits = 2
	}
	return strings.TrimSuffix(strings.TrimRight(v.FloatString(digits), "0"), ".")
}

// offer is what something costs, in every way to pay.
type offer struct {
	What       string              `json:"what"`
	Hold       string              `json:"hold_aleph"` // held as long as it is used
	Stream     rate                `json:"stream_aleph"`
	Credits    rate                `json:"credits"`
	CreditsUSD rate                `json:"credits_usd"`
	Payment    message.PaymentType `json:"payment,omitempty"` // of what exists already
	Detail     []client.CostDetail `json:"detail"`
}

func offerOf(what string, cost *client.Cost) (*offer, error) {
	totals, err := cost.Totals()
	if err != nil {
		return nil, err
	}
	hold, stream, credit := new(big.Rat), new(big.Rat), new(big.Rat)
	hold.SetString(totals.Hold)
	stream.SetString(totals.Stream)
	credit.SetString(totals.Credit)
	usd := new(big.Rat).Quo(credit, big.NewRat(creditsPerDollar, 1))
	return &offer{what, ratText(hold), rateOf(stream), rateOf(credit), rateOf(usd), "", cost.Detail}, nil
}

func writeOffer(w io.Writer, o *offer) {
	fmt.Fprintf(w, "%s\n\nPAYMENT\tAN HOUR\tA DAY\t30 DAYS\n", o.What)
	fmt.Fprintf(w, "credits\t%s\t%s\t%s\n", o.Credits.Hour, o.Credits.Day, o.Credits.Month)
	fmt.Fprintf(w, "  in dollars\t$%s\t$%s\t$%s\n", o.CreditsUSD.Hour, o.CreditsUSD.Day, o.CreditsUSD.Month)
	if o.Stream.Month == "0" {
		fmt.Fprintln(w, "stream\tnot offered")
	} else {
		fmt.Fprintf(w, "stream\t%s ALEPH\t%s ALEPH\t%s ALEPH\n", o.Stream.Hour, o.Stream.Day, o.Stream.Month)
	}
	fmt.Fprintf(w, "hold\t%s ALEPH, which stay yours and are held while it is used\n", o.Hold)
}

// estimate asks the node what a content would cost. change adds what is known of files that are not stored yet.
func estimate(ctx context.Context, api *client.Client, owner string, chain message.Chain, content message.Content, change func(map[string]any)) (*client.Cost, error) {
	m, _, err := message.Build(owner, chain, content.Type(), content, nil, time.Now())
	if err != nil {
		return nil, usageError{err}
	}
	raw := json.RawMessage(m.ItemContent)
	if change != nil {
		var members map[string]any
		if err := json.Unmarshal(raw, &members); err != nil {
			return nil, fmt.Errorf("estimate the price: %w", err)
		}
		change(members)
		if raw, err = json.Marshal(members); err != nil {
			return nil, fmt.Errorf("estimate the price: %w", err)
		}
	}
	return api.EstimatePrice(ctx, owner, chain, content.Type(), raw)
}

// anybody is asked for when a price does not depend on who pays.
const anybody = "0x0000000000000000000000000000000000000001"

// priceOf prints what a content would cost whom it may.
func (a *app) priceOf(ctx context.Context, what string, content message.Content, change func(map[string]any)) error {
	cost, err := estimate(ctx, a.client(), anybody, message.ChainETH, content, change)
	if err != nil {
		return err
	}
	o, err := offerOf(what, cost)
	if err != nil {
		return err
	}
	return print(a, o, writeOffer)
}

func (a *app) priceFile() *cobra.Command {
	return &cobra.Command{
		Use: "file SIZE|FILE", Short: "Tell what it costs to keep a file", Args: cobra.ExactArgs(1),
		Example: "  aleph price file 10GiB\n  aleph price file notes.txt",
		RunE: a.within(func(ctx context.Context, args []string) error {
			size, err := parseSize(args[0])
			if err != nil {
				info, statErr := os.Stat(args[0])
				if statErr != nil || !info.Mode().IsRegular() {
					return usageError{fmt.Errorf("%s is neither a file nor a size such as 10GiB", args[0])}
				}
				size = info.Size()
			}
			store := &message.Store{FileType: message.ItemStorage, FileHash: message.HashBytes(nil)}
			return a.priceOf(ctx, "A file of "+bytesText(size), store, func(content map[string]any) {
				content["estimated_size_mib"] = float64(size) / (1 << 20)
			})
		}),
	}
}

// parseSize reads a number of bytes such as 512, 10MiB or 2GB.
func parseSize(text string) (int64, error) {
	number := strings.TrimRight(text, "BKMGTkmgti")
	unit := strings.ToUpper(strings.TrimSpace(text[len(number):]))
	v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || v < 0 {
		return 0, fmt.Errorf("%q is no size: want a number with B, KiB, MiB, GiB, KB, MB, GB", text)
	}
	factor, ok := map[string]float64{
		"": 1, "B": 1, "K": 1 << 10, "KIB": 1 << 10, "M": 1 << 20, "MIB": 1 << 20, "G": 1 << 30, "GIB": 1 << 30, "T": 1 << 40, "TIB": 1 << 40,
		"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
	}[unit]
	if !ok || v*factor > 1<<60 {
		return 0, fmt.Errorf("%q is no size: want a number with B, KiB, MiB, GiB, KB, MB, GB", text)
	}
	return int64(v * factor), nil
}

func (a *app) priceProgram() *cobra.Command {
	var f deployFlags
	var size string
	c := &cobra.Command{
		Use: "program", Short: "Tell what a program costs", Args: cobra.NoArgs,
		Example: "  aleph price program --memory 512 --persistent",
		RunE: a.within(func(ctx context.Context, _ []string) error {
			bytes, err := parseSize(size)
			if err != nil {
				return usageError{err}
			}
			f.payment, f.seconds = string(message.PaymentHold), 30
			content, err := describe("program", &code.Code{Entrypoint: "main:app", Interface: message.InterfaceASGI}, f)
			if err != nil {
				return err
			}
			content.Code.Ref, content.Runtime.Ref = message.HashBytes(nil), message.HashBytes(nil)
			what := fmt.Sprintf("A program with %d vCPU and %d MiB of memory", f.vcpus, f.memory)
			if f.persistent {
				what += " that runs all the time"
			}
			return a.priceOf(ctx, what, content, func(members map[string]any) {
				members["code"].(map[string]any)["estimated_size_mib"] = int(bytes>>20) + 1
			})
		}),
	}
	whole(c.Flags(), &f.memory, "memory", 1, 256, "memory in `MiB`")
	whole(c.Flags(), &f.vcpus, "vcpus", 1, 1, "virtual processors")
	c.Flags().BoolVar(&f.persistent, "persistent", false, "one that runs between calls")
	c.Flags().BoolVar(&f.internet, "internet", false, "one that reaches the internet")
	c.Flags().StringVar(&size, "code", "1MiB", "`size` of its code")
	return c
}

func (a *app) priceInstance() *cobra.Command {
	var f createFlags
	c := &cobra.Command{
		Use: "instance", Short: "Tell what an instance costs", Args: cobra.NoArgs,
		Example: "  aleph price instance --vcpus 2 --memory 4096 --disk 40960",
		RunE: a.within(func(ctx context.Context, _ []string) error {
			f.payment, f.name = string(message.PaymentHold), "instance"
			content, err := f.content(nil)
			if err != nil {
				return err
			}
			content.Rootfs.Parent.Ref = message.HashBytes(nil)
			return a.priceOf(ctx, f.shape(), content, nil)
		}),
	}
	f.addShape(c)
	return c
}

func (a *app) priceMessage() *cobra.Command {
	return &cobra.Command{
		Use: "message HASH", Short: "Tell what a file, program or instance that exists costs", Args: cobra.ExactArgs(1),
		Example: "  aleph price message " + exampleProgram,
		RunE: a.within(func(ctx context.Context, args []string) error {
			hash, err := a.hash(ctx, args[0])
			if err != nil {
				return err
			}
			cost, err := a.client().Price(ctx, hash)
			if err != nil {
				return err
			}
			o, err := offerOf(string(hash), cost)
			if err != nil {
				return err
			}
			o.Payment = cost.Payment
			o.What += " (paid by " + string(cost.Payment) + ")"
			return print(a, o, writeOffer)
		}),
	}
}

// canPay compares what contents cost, paid together, with what the account has. Without the node's estimate the user only learns
// it later: the node itself decides in the end.
func (a *app) canPay(ctx context.Context, api *client.Client, account client.Account, costs ...*client.Cost) error {
	balance, err := api.Balance(ctx, cmp.Or(a.owner, account.Address()))
	if err != nil {
		return err
	}
	return balance.EnoughFor(costs...)
}

// notEstimated reports whether the node refused to say a price, and tells the user.
func (a *app) notEstimated(err error) bool {
	var refused *client.HTTPError
	if !errors.As(err, &refused) {
		return false
	}
	a.say("The node does not estimate the price: %v", err)
	return true
}

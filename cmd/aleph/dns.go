package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/client"
)

// record is what the DNS of a domain must have (sdk-cli §4.8), and whether it has.
type record struct {
	Name  string `json:"name"`
	Type  string `json:"type"` // CNAME or TXT
	Value string `json:"value"`
	Found string `json:"found,omitempty"` // what is there instead, or why it is not known
	Right bool   `json:"right"`
}

// recordsOf are the records that prove who owns a domain and lead it to the network.
func recordsOf(domain string, kind client.DomainTarget, owner string) []record {
	const suffix = "public.aleph.sh"
	target := domain + "." + string(kind) + "." + suffix
	if kind == client.DomainIPFS {
		target = "ipfs." + suffix
	}
	list := []record{{Name: domain, Type: "CNAME", Value: target}}
	if kind == client.DomainIPFS {
		list = append(list, record{Name: "_dnslink." + domain, Type: "CNAME", Value: "_dnslink." + domain + ".static." + suffix})
	}
	return append(list, record{Name: "_control." + domain, Type: "TXT", Value: owner})
}

func writeRecords(w io.Writer, list []record) {
	for _, r := range list {
		fmt.Fprintf(w, "  %s\t%s\t%s\n", r.Name, r.Type, r.Value)
	}
}

func (a *app) domainCheck() *cobra.Command {
	var server string
	c := &cobra.Command{
		Use: "check DOMAIN", Short: "Tell whether the DNS of a domain has what it must", Args: cobra.ExactArgs(1),
		Long:    "Look up the records that lead a domain of the account to the network, and tell what is missing. The exit code is 8 while something is.",
		Example: "  aleph domain check www.example.org",
		RunE: a.within(func(ctx context.Context, args []string) error {
			domain, entry, err := a.domainOf(ctx, args[0], "")
			if err != nil {
				return err
			}
			owner, err := a.address("")
			if err != nil {
				return err
			}
			records := recordsOf(domain, entry.Target, owner)
			resolver := resolverAt(server)
			missing := 0
			for i := range records {
				look(ctx, resolver, &records[i])
				if !records[i].Right {
					missing++
				}
			}
			err = print(a, records, func(w io.Writer, list []record) {
				for _, r := range list {
					state := "right"
					if !r.Right {
						state = "missing"
					}
					fmt.Fprintf(w, "%s\t%s\t%s\n", state, r.Type, r.Name)
					if !r.Right {
						fmt.Fprintf(w, "\tshould be\t%s\n\tis\t%s\n", r.Value, a.clean(r.Found))
					}
				}
			})
			if err == nil && missing > 0 {
				err = pendingError{fmt.Errorf("the DNS of %s lacks %s; changes take as long as the time to live of the old records", domain, countOf(missing, "record"))}
			}
			return err
		}),
	}
	c.Flags().StringVar(&server, "resolver", "", "`host:port` of the DNS server that is asked; default that of this machine")
	return c
}

// resolverAt asks one DNS server, or those of the machine.
func resolverAt(server string) *net.Resolver {
	if server == "" {
		return net.DefaultResolver
	}
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		d := net.Dialer{Timeout: 5 * time.Second}
		return d.DialContext(ctx, network, server)
	}}
}

// look fills in what the DNS has for a record.
func look(ctx context.Context, resolver *net.Resolver, r *record) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	var found []string
	var err error
	if r.Type == "TXT" {
		found, err = resolver.LookupTXT(ctx, r.Name)
	} else {
		var name string
		if name, err = resolver.LookupCNAME(ctx, r.Name); err == nil {
			found = []string{strings.TrimSuffix(name, ".")}
		}
	}
	var failed *net.DNSError
	switch {
	case errors.As(err, &failed) && failed.IsNotFound:
		r.Found = "nothing"
	case err != nil:
		r.Found = err.Error()
	}
	for _, text := range found {
		if strings.EqualFold(text, r.Value) {
			r.Right, r.Found = true, text
			return
		}
	}
	if len(found) > 0 {
		r.Found = strings.Join(found, ", ")
	}
}

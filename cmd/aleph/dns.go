package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/net/dns/dnsmessage"

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
			missing := 0
			for i := range records {
				look(ctx, server, &records[i])
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
	c.Flags().StringVar(&server, "resolver", "9.9.9.9:53", "`host:port` of the DNS server that is asked")
	return c
}

// look fills in what the DNS has for a record.
func look(ctx context.Context, server string, r *record) {
	found, err := resolve(ctx, server, r.Name, r.Type)
	switch {
	case err != nil:
		r.Found = err.Error()
	case len(found) == 0:
		r.Found = "nothing"
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

const (
	dnsTries = 3               // datagrams may get lost
	dnsWait  = 3 * time.Second // for each
)

// resolve asks a DNS server for the records of one type that a name has itself. The resolver of the system follows names to their
// end and shows only that.
func resolve(ctx context.Context, server, name, kind string) (found []string, err error) {
	q := dnsmessage.Question{Class: dnsmessage.ClassINET, Type: dnsmessage.TypeCNAME}
	if kind == "TXT" {
		q.Type = dnsmessage.TypeTXT
	}
	if q.Name, err = dnsmessage.NewName(name + "."); err != nil {
		return nil, fmt.Errorf("name %s: %w", name, err)
	}
	id := uint16(rand.N(1 << 16))
	query := dnsmessage.Message{Header: dnsmessage.Header{ID: id, RecursionDesired: true}, Questions: []dnsmessage.Question{q}}
	raw, err := query.Pack()
	if err != nil {
		return nil, fmt.Errorf("ask for %s: %w", name, err)
	}
	for range dnsTries {
		var reply *dnsmessage.Message
		if reply, err = exchange(ctx, server, raw, id); err == nil {
			return recordsIn(reply, q.Type), nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("ask %s for %s: %w", server, name, err)
}

// exchange sends one query and waits for its answer.
func exchange(ctx context.Context, server string, query []byte, id uint16) (*dnsmessage.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, dnsWait)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "udp", server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // the read ends
	defer stop()
	if _, err := conn.Write(query); err != nil {
		return nil, err
	}
	packet := make([]byte, 4096)
	for {
		n, err := conn.Read(packet)
		if err != nil {
			return nil, err
		}
		reply := &dnsmessage.Message{}
		if reply.Unpack(packet[:n]) == nil && reply.ID == id && reply.Response {
			return reply, nil
		}
	}
}

func recordsIn(reply *dnsmessage.Message, kind dnsmessage.Type) (found []string) {
	for _, answer := range reply.Answers {
		switch body := answer.Body.(type) {
		case *dnsmessage.CNAMEResource:
			if kind == dnsmessage.TypeCNAME {
				found = append(found, strings.TrimSuffix(body.CNAME.String(), "."))
			}
		case *dnsmessage.TXTResource:
			if kind == dnsmessage.TypeTXT {
				found = append(found, strings.Join(body.TXT, ""))
			}
		}
	}
	return found
}

package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
)

func (a *app) portForward() *cobra.Command {
	return group("port-forward", "Reach ports of an instance from the internet", "  aleph instance port-forward add "+exampleInstance+" 80",
		a.portList(), a.portAdd(), a.portDelete(), a.portRefresh())
}

// portView is a port of an instance: what is wanted, and what the compute node made of it.
type portView struct {
	Number int `json:"port"`
	client.Port
	Host     string `json:"host,omitempty"`
	HostPort int    `json:"host_port,omitempty"`
}

func (a *app) portList() *cobra.Command {
	return &cobra.Command{
		Use: "list HASH", Short: "List the forwarded ports of an instance", Args: cobra.ExactArgs(1),
		Example: "  aleph instance port-forward list " + exampleInstance,
		RunE: a.within(func(ctx context.Context, args []string) error {
			hash, err := a.hash(ctx, args[0])
			if err != nil {
				return err
			}
			return a.printPorts(ctx, a.client(), hash)
		}),
	}
}

func (a *app) printPorts(ctx context.Context, api *client.Client, hash message.Hash) error {
	owner, err := a.address("")
	if err != nil {
		return err
	}
	ports, err := api.Ports(ctx, owner, hash)
	if err != nil {
		return err
	}
	var mapped client.Execution
	place, err := a.placeOf(ctx, api, hash)
	if err == nil {
		var running map[message.Hash]client.Execution
		if running, err = api.Executions(ctx, place.Node.URL); err == nil {
			mapped = running[hash]
		}
	}
	if err != nil {
		a.say("What the compute node forwards is not known: %v", err)
	}
	at := map[int]client.MappedPort{}
	for text, p := range mapped.Networking.MappedPorts {
		port, err := strconv.Atoi(text)
		if err != nil {
			continue // of no port that could be asked for
		}
		at[port] = p
		if _, ok := ports[port]; !ok {
			ports[port] = client.Port{TCP: p.TCP, UDP: p.UDP}
		}
	}
	list := []portView{}
	for _, port := range slices.Sorted(maps.Keys(ports)) {
		v := portView{Number: port, Port: ports[port]}
		if p, ok := at[port]; ok {
			v.Host, v.HostPort = mapped.Networking.HostIPv4, p.Host
		}
		list = append(list, v)
	}
	return printTable(a, list,
		column[portView]{name: "PORT", cell: func(v portView) string { return strconv.Itoa(v.Number) }},
		column[portView]{name: "TCP", cell: func(v portView) string { return yesNo(v.TCP) }},
		column[portView]{name: "UDP", cell: func(v portView) string { return yesNo(v.UDP) }},
		column[portView]{name: "REACHED AT", cell: func(v portView) string {
			if v.HostPort == 0 {
				return "not yet"
			}
			return v.Host + ":" + strconv.Itoa(v.HostPort)
		}})
}

// dropPorts ends the forwarding of all ports of an instance, if there is any.
func (a *app) dropPorts(ctx context.Context, api *client.Client, account client.Account, hash message.Hash) error {
	owner, err := a.address("")
	if err != nil {
		return err
	}
	ports, err := api.Ports(ctx, owner, hash)
	if err != nil || len(ports) == 0 {
		return err
	}
	v, err := api.ClosePorts(ctx, account, hash, a.options())
	if err != nil {
		return err
	}
	return a.settled(ctx, api, v)
}

// changePorts changes what is wanted for an instance, has its compute node read it, and prints the result.
func (a *app) changePorts(ctx context.Context, text string, change func(*client.Client, client.Account, message.Hash) (*client.Sent, error)) error {
	account, err := a.signer()
	if err != nil {
		return err
	}
	hash, err := a.hash(ctx, text)
	if err != nil {
		return err
	}
	api := a.client()
	v, err := change(api, account, hash)
	if err != nil {
		return err
	}
	if err := a.settled(ctx, api, v); err != nil {
		return err
	}
	return a.refreshPorts(ctx, api, hash)
}

func (a *app) refreshPorts(ctx context.Context, api *client.Client, hash message.Hash) error {
	place, err := a.placeOf(ctx, api, hash)
	if err != nil {
		return err
	}
	if err := api.UpdateMachine(ctx, place.Node.URL, hash); err != nil {
		return err
	}
	return a.printPorts(ctx, api, hash)
}

func (a *app) portAdd() *cobra.Command {
	var want client.Port
	c := &cobra.Command{
		Use: "add HASH PORT", Short: "Forward a port to an instance", Args: cobra.ExactArgs(2),
		Example: "  aleph instance port-forward add " + exampleInstance + " 80\n" +
			"  aleph instance port-forward add " + exampleInstance + " 53 --udp",
		RunE: a.within(func(ctx context.Context, args []string) error {
			port, err := portNumber(args[1])
			if err != nil {
				return err
			}
			return a.changePorts(ctx, args[0], func(api *client.Client, account client.Account, hash message.Hash) (*client.Sent, error) {
				return api.OpenPort(ctx, account, hash, port, want, a.options())
			})
		}),
	}
	c.Flags().BoolVar(&want.TCP, "tcp", true, "forward TCP")
	c.Flags().BoolVar(&want.UDP, "udp", false, "forward UDP")
	return c
}

func portNumber(text string) (int, error) {
	port, err := strconv.Atoi(text)
	if err != nil || port < 1 || port > 65535 {
		return 0, usageError{fmt.Errorf("%s is no port: want 1 to 65535", text)}
	}
	return port, nil
}

func (a *app) portDelete() *cobra.Command {
	return &cobra.Command{
		Use: "delete HASH [PORT]", Short: "Forward a port no more, or none of the instance", Args: cobra.RangeArgs(1, 2),
		Example: "  aleph instance port-forward delete " + exampleInstance + " 80\n  aleph instance port-forward delete " + exampleInstance,
		RunE: a.within(func(ctx context.Context, args []string) error {
			port := 0
			if len(args) == 2 {
				var err error
				if port, err = portNumber(args[1]); err != nil {
					return err
				}
			}
			return a.changePorts(ctx, args[0], func(api *client.Client, account client.Account, hash message.Hash) (*client.Sent, error) {
				if port == 0 {
					return api.ClosePorts(ctx, account, hash, a.options())
				}
				return api.ClosePort(ctx, account, hash, port, a.options())
			})
		}),
	}
}

func (a *app) portRefresh() *cobra.Command {
	return &cobra.Command{
		Use: "refresh HASH", Short: "Have the compute node read again which ports are wanted", Args: cobra.ExactArgs(1),
		Example: "  aleph instance port-forward refresh " + exampleInstance,
		RunE: a.within(func(ctx context.Context, args []string) error {
			hash, err := a.hash(ctx, args[0])
			if err != nil {
				return err
			}
			return a.refreshPorts(ctx, a.client(), hash)
		}),
	}
}

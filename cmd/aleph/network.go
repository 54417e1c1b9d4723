package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/params"
)

// profile is a network as the user knows it.
type profile struct {
	Parameters string   `json:"parameters"`          // mainnet, devnet or a parameter file
	API        string   `json:"api"`                 // base URL of the core node that is asked
	Others     []string `json:"others,omitempty"`    // further ones: the quickest that is well is asked
	Scheduler  string   `json:"scheduler,omitempty"` // base URL of who says where workloads run; empty: the core node
}

// endpoint is who is talked to.
type endpoint struct {
	api, scheduler string
	others         []string
}

func (p profile) endpoint() endpoint { return endpoint{p.API, p.Scheduler, p.Others} }

// builtIn are the networks that need no configuration.
func builtIn() map[string]profile {
	return map[string]profile{
		"mainnet": {Parameters: "mainnet", API: "https://api2.aleph.im", Others: []string{"https://api3.aleph.im"}, Scheduler: "https://scheduler.api.aleph.cloud"},
		"devnet":  {Parameters: "devnet", API: "http://127.0.0.1:4024"},
	}
}

// config is the user's configuration file.
type config struct {
	Network  string             `json:"network,omitempty"` // in use when none is said
	Networks map[string]profile `json:"networks,omitempty"`
}

// configPath is the user's configuration file, beside the keys.
func (a *app) configPath() (string, error) {
	folder, err := a.walletFolder()
	return filepath.Join(folder, "config.json"), err
}

// readConfig returns the user's configuration; none is an empty one.
func (a *app) readConfig() (config, error) {
	c := config{Networks: map[string]profile{}}
	path, err := a.configPath()
	if err != nil {
		return c, err
	}
	raw, err := readRegular(path, 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &c)
	}
	if err != nil {
		return c, usageError{fmt.Errorf("configuration %s: %w", path, err)}
	}
	if c.Networks == nil {
		c.Networks = map[string]profile{}
	}
	return c, nil
}

func (a *app) writeConfig(c config) error {
	path, err := a.configPath()
	if err != nil {
		return err
	}
	raw, err := encode(c, "", true)
	if err != nil {
		return err
	}
	if err := replaceFile(path, 0o600, raw); err != nil {
		return fmt.Errorf("write configuration %s: %w", path, err)
	}
	return nil
}

// profile finds a network by its name; a parameter file is one as well.
func (c config) profile(name string) profile {
	if p, ok := c.Networks[name]; ok {
		return p
	}
	if p, ok := builtIn()[name]; ok {
		return p
	}
	return profile{Parameters: name}
}

// chooseNetwork finds out which network is meant and who is asked.
func (a *app) chooseNetwork() error {
	c, err := a.readConfig()
	if err != nil {
		return err
	}
	a.network = cmp.Or(a.network, c.Network, "mainnet")
	p := c.profile(a.network)
	if a.params, err = params.Load(p.Parameters); err != nil {
		return fmt.Errorf("--network: %w; those that are known are in: aleph network list", err)
	}
	if p.API == "" { // a parameter file
		p.API, p.Others, p.Scheduler = builtIn()[a.params.Name].API, builtIn()[a.params.Name].Others, builtIn()[a.params.Name].Scheduler
	}
	if a.endpoint = p.endpoint(); a.api != "" {
		a.endpoint.api, a.endpoint.others = a.api, nil
	}
	if u, err := url.Parse(a.endpoint.api); err != nil || u.Host == "" || !strings.HasPrefix(u.Scheme, "http") {
		return fmt.Errorf("--api %s: want the URL of a core node, such as http://127.0.0.1:4024", a.endpoint.api)
	}
	return nil
}

// ofNetwork explains that a node has nothing of what every node of a network has: it is a node of another one.
func (a *app) ofNetwork(what string, err error) error {
	if !errors.Is(err, client.ErrNotFound) {
		return err
	}
	other := "devnet"
	if a.network == other {
		other = "mainnet"
	}
	return fmt.Errorf("%s has not heard of %s of the network %s: if it is a node of another one, say so with --network or ALEPH_NETWORK, such as --network %s: %w",
		a.endpoint.api, what, a.network, other, client.ErrNotFound)
}

func (a *app) networkCommand() *cobra.Command {
	return group("network", "Choose which network is used", "  aleph network list",
		a.networkList(), a.networkShow(), a.networkAdd(), a.networkUse(), a.networkRemove())
}

type networkView struct {
	Name string `json:"name"`
	profile
	InUse bool `json:"in_use"`
}

func (a *app) networkList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the networks that are known", Args: cobra.NoArgs,
		Example: "  aleph network list",
		RunE: a.within(func(context.Context, []string) error {
			c, err := a.readConfig()
			if err != nil {
				return err
			}
			known := builtIn()
			maps.Copy(known, c.Networks)
			list := []networkView{}
			for _, name := range slices.Sorted(maps.Keys(known)) {
				list = append(list, networkView{name, known[name], name == a.network})
			}
			return printTable(a, list,
				column[networkView]{name: "NAME", cell: func(v networkView) string { return v.Name }},
				column[networkView]{name: "IN USE", cell: func(v networkView) string { return yesNo(v.InUse) }},
				column[networkView]{name: "API", cell: func(v networkView) string { return v.API }},
				column[networkView]{name: "PARAMETERS", cell: func(v networkView) string { return v.Parameters }})
		}),
	}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func (a *app) networkShow() *cobra.Command {
	return &cobra.Command{
		Use: "show [NAME]", Aliases: []string{"get"}, Short: "Show a network, by default the one in use", Args: cobra.MaximumNArgs(1),
		Example: "  aleph network show devnet",
		RunE: a.within(func(_ context.Context, args []string) error {
			c, err := a.readConfig()
			if err != nil {
				return err
			}
			v := networkView{a.network, profile{a.params.Name, a.endpoint.api, a.endpoint.others, a.endpoint.scheduler}, true}
			if name := addressOf(args); name != "" && name != a.network {
				if _, known := c.Networks[name]; !known && builtIn()[name].API == "" {
					return usageError{fmt.Errorf("there is no network %q; those that are known are in: aleph network list", name)}
				}
				v = networkView{name, c.profile(name), false}
			}
			return print(a, v, func(w io.Writer, v networkView) {
				fmt.Fprintf(w, "name\t%s\napi\t%s\nscheduler\t%s\nparameters\t%s\n", v.Name, v.API, cmp.Or(v.Scheduler, "the core node"), v.Parameters)
			})
		}),
	}
}

func (a *app) networkAdd() *cobra.Command {
	var p profile
	c := &cobra.Command{
		Use: "add NAME URL...", Short: "Make a network known, by core nodes of it", Args: cobra.MinimumNArgs(2),
		Long: `Make a network known, by the URLs of its core nodes. With more than one, the quickest that is well is asked, and another
when it fails. A name that is known already gets the new values.`,
		Example: "  aleph network add home http://192.168.1.7:4024 --parameters devnet",
		RunE: a.within(func(_ context.Context, args []string) error {
			p.API, p.Others = args[1], args[2:]
			for _, api := range args[1:] {
				if u, err := url.Parse(api); err != nil || u.Host == "" {
					return usageError{fmt.Errorf("%s is no URL of a core node", api)}
				}
			}
			if _, err := params.Load(p.Parameters); err != nil {
				return usageError{fmt.Errorf("--parameters: %w", err)}
			}
			var err error
			if p.Parameters, err = lasting(p.Parameters); err != nil {
				return err
			}
			return a.changeConfig(args[0], func(c *config) { c.Networks[args[0]] = p })
		}),
	}
	c.Flags().StringVar(&p.Parameters, "parameters", "mainnet", "mainnet, devnet, or a `file` of network parameters")
	c.Flags().StringVar(&p.Scheduler, "scheduler", "", "`URL` of who says where workloads run; default the core node")
	return c
}

// lasting is the name of a network, or of a parameter file as it is found from every folder.
func lasting(parameters string) (string, error) {
	if _, ok := builtIn()[parameters]; ok {
		return parameters, nil
	}
	path, err := filepath.Abs(parameters)
	if err != nil {
		return "", fmt.Errorf("find parameter file %s: %w", parameters, err)
	}
	return path, nil
}

func (a *app) networkUse() *cobra.Command {
	return &cobra.Command{
		Use: "use NAME", Short: "Use a network from now on", Args: cobra.ExactArgs(1),
		Example: "  aleph network use devnet",
		RunE: a.within(func(_ context.Context, args []string) error {
			c, err := a.readConfig()
			if err != nil {
				return err
			}
			if _, err := params.Load(c.profile(args[0]).Parameters); err != nil {
				return usageError{fmt.Errorf("there is no network %q; those that are known are in: aleph network list", args[0])}
			}
			name := args[0]
			if _, ok := c.Networks[name]; !ok {
				if name, err = lasting(name); err != nil {
					return err
				}
			}
			return a.changeConfig(name, func(c *config) { c.Network = name })
		}),
	}
}

func (a *app) networkRemove() *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME", Aliases: []string{"delete"}, Short: "Forget a network that was added", Args: cobra.ExactArgs(1),
		Example: "  aleph network remove home",
		RunE: a.within(func(_ context.Context, args []string) error {
			c, err := a.readConfig()
			if err != nil {
				return err
			}
			if _, ok := c.Networks[args[0]]; !ok {
				return usageError{fmt.Errorf("no network %q was added", args[0])}
			}
			return a.changeConfig(args[0], func(c *config) {
				delete(c.Networks, args[0])
				if c.Network == args[0] {
					c.Network = ""
				}
			})
		}),
	}
}

// changeConfig changes the configuration and says what a network is then.
func (a *app) changeConfig(name string, change func(*config)) error {
	c, err := a.readConfig()
	if err != nil {
		return err
	}
	change(&c)
	if err := a.writeConfig(c); err != nil {
		return err
	}
	v := networkView{name, c.profile(name), name == cmp.Or(c.Network, "mainnet")}
	return print(a, v, func(w io.Writer, v networkView) {
		fmt.Fprintf(w, "network\t%s\napi\t%s\nin use\t%s\n", v.Name, cmp.Or(v.API, "none"), yesNo(v.InUse))
	})
}

func (a *app) configCommand() *cobra.Command {
	return group("config", "Where this tool keeps what it was told", "  aleph config path", &cobra.Command{
		Use: "path", Short: "Print the paths of the configuration and of the keys", Args: cobra.NoArgs,
		Example: "  aleph config path",
		RunE: a.within(func(context.Context, []string) error {
			folder, err := a.walletFolder()
			if err != nil {
				return err
			}
			path, err := a.configPath()
			if err != nil {
				return err
			}
			keys, err := a.keyFolder()
			if err != nil {
				return err
			}
			type view struct {
				Folder string `json:"folder"`
				Config string `json:"config"`
				Keys   string `json:"keys"`
			}
			return print(a, view{folder, path, keys}, func(w io.Writer, v view) {
				fmt.Fprintf(w, "folder\t%s\nconfig\t%s\nkeys\t%s\n", v.Folder, v.Config, v.Keys)
			})
		}),
	})
}

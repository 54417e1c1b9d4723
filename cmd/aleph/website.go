package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
)

func (a *app) websiteCommand() *cobra.Command {
	return group("website", "Put folders on the web", "  aleph website deploy site",
		a.websiteDeploy(), a.websiteList(), a.websiteShow(), a.websiteDelete())
}

// siteView is a website and where it is served.
type siteView struct {
	Name    string       `json:"name"`
	Version int          `json:"version"`
	Volume  message.Hash `json:"volume"` // STORE message of the folder
	CID     message.Hash `json:"cid,omitempty"`
	Updated string       `json:"updated"`
	URL     string       `json:"url,omitempty"`
}

func (v *siteView) write(w io.Writer) {
	fmt.Fprintf(w, "website\t%s\nversion\t%d\nvolume\t%s\ncid\t%s\nchanged\t%s\nurl\t%s\n", v.Name, v.Version, v.Volume, v.CID, v.Updated, v.URL)
}

// siteURL is where a folder is served: by the gateway of the main network, elsewhere by the core node that is talked to. On this
// machine a site has a host, and so an origin, of its own.
func (a *app) siteURL(cid message.Hash) string {
	if a.params.Name == "mainnet" {
		return "https://" + string(cid) + ".ipfs.aleph.sh/"
	}
	node, err := url.Parse(a.endpoint.api)
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(node.Hostname()); node.Hostname() == "localhost" || ip.IsLoopback() {
		node.Host = strings.TrimSuffix(string(cid)+".ipfs.localhost:"+node.Port(), ":")
		return node.JoinPath("/").String()
	}
	return node.JoinPath("ipfs", string(cid), "/").String()
}

func (a *app) websiteDeploy() *cobra.Command {
	var name, pay string
	c := &cobra.Command{
		Use: "deploy FOLDER", Short: "Put a folder on the web", Args: cobra.ExactArgs(1),
		Long:    "Store a folder with an index.html and give it a name. A name that exists gets a new version; its domains follow by hand: aleph domain attach.",
		Example: "  aleph website deploy site\n  aleph website deploy site --name blog --payment credit",
		RunE: a.within(func(ctx context.Context, args []string) error {
			if info, err := os.Stat(filepath.Join(args[0], "index.html")); err != nil || !info.Mode().IsRegular() {
				return usageError{fmt.Errorf("%s is no website: it has no index.html", args[0])}
			}
			if name == "" {
				full, err := filepath.Abs(args[0])
				if err != nil {
					return err
				}
				name = filepath.Base(full)
			}
			paid, err := payment(pay)
			if err != nil {
				return err
			}
			account, err := a.signer()
			if err != nil {
				return err
			}
			f, err := a.uploadFolder(ctx, args[0], client.UploadOptions{Payment: paid}, false)
			if err != nil {
				return err
			}
			api := a.client()
			v, err := api.PublishWebsite(ctx, account, name, f.ItemHash, paid, a.options())
			if err != nil {
				return fmt.Errorf("the folder is stored as %s, its name is not published: %w", f.ItemHash, err)
			}
			if err := a.settled(ctx, api, v); err != nil {
				return err
			}
			return a.printSite(ctx, api, name, "")
		}),
	}
	c.Flags().StringVar(&name, "name", "", "name; default that of the folder")
	c.Flags().StringVar(&pay, "payment", "hold", "hold or credit")
	return c
}

// site finds a website of an owner.
func (a *app) site(ctx context.Context, api *client.Client, name, owner string) (client.Website, error) {
	address, err := a.address(owner)
	if err != nil {
		return client.Website{}, err
	}
	sites, err := api.Websites(ctx, address)
	if err != nil {
		return client.Website{}, err
	}
	site, ok := sites[name]
	if !ok {
		return site, absentf("%s has no website %q; those are in: aleph website list %[1]s", address, name)
	}
	return site, nil
}

func (a *app) printSite(ctx context.Context, api *client.Client, name, owner string) error {
	site, err := a.site(ctx, api, name, owner)
	if err != nil {
		return err
	}
	v := &siteView{Name: name, Version: site.Version, Volume: site.Volume, Updated: timeText(site.Updated)}
	switch cid, err := api.FileOf(ctx, site.Volume); {
	case err == nil:
		v.CID, v.URL = cid, a.siteURL(cid)
	case !errors.Is(err, client.ErrNotFound):
		return err
	}
	return print(a, v, func(w io.Writer, v *siteView) { v.write(w) })
}

func (a *app) websiteShow() *cobra.Command {
	var owner string
	c := &cobra.Command{
		Use: "show NAME", Aliases: []string{"get"}, Short: "Show a website and where it is served", Args: cobra.ExactArgs(1),
		Example: "  aleph website show site",
		RunE: a.within(func(ctx context.Context, args []string) error {
			return a.printSite(ctx, a.client(), args[0], owner)
		}),
	}
	c.Flags().StringVar(&owner, "owner", "", "`address` of the owner; default the account in use")
	return c
}

func (a *app) websiteList() *cobra.Command {
	return ofOwner(&cobra.Command{
		Use: "list [ADDRESS]", Short: "List websites", Args: cobra.MaximumNArgs(1),
		Example: "  aleph website list",
		RunE: a.within(func(ctx context.Context, args []string) error {
			owner, err := a.address(addressOf(args))
			if err != nil {
				return err
			}
			sites, err := a.client().Websites(ctx, owner)
			if err != nil {
				return err
			}
			list := []siteView{}
			for _, name := range slices.Sorted(maps.Keys(sites)) {
				list = append(list, siteView{Name: name, Version: sites[name].Version, Volume: sites[name].Volume, Updated: timeText(sites[name].Updated)})
			}
			return printTable(a, list,
				column[siteView]{name: "NAME", cell: func(v siteView) string { return v.Name }},
				column[siteView]{name: "VERSION", cell: func(v siteView) string { return strconv.Itoa(v.Version) }},
				column[siteView]{name: "CHANGED", cell: func(v siteView) string { return v.Updated }},
				column[siteView]{name: "VOLUME", cell: func(v siteView) string { return string(v.Volume) }})
		}),
	})
}

func (a *app) websiteDelete() *cobra.Command {
	var keep bool
	c := &cobra.Command{
		Use: "delete NAME", Aliases: []string{"remove"}, Short: "Take a website off the web", Args: cobra.ExactArgs(1),
		Long:    "Take the name of a website away and forget the folders of all its versions.",
		Example: "  aleph website delete site --yes",
		RunE: a.within(func(ctx context.Context, args []string) error {
			account, err := a.signer()
			if err != nil {
				return err
			}
			api := a.client()
			site, err := a.site(ctx, api, args[0], "")
			if err != nil {
				return err
			}
			if err := a.confirm(fmt.Sprintf("Take website %s off the web for ever?", args[0])); err != nil {
				return err
			}
			v, err := api.UnpublishWebsite(ctx, account, args[0], a.options())
			if err != nil {
				return err
			}
			if err := a.settled(ctx, api, v); err != nil {
				return err
			}
			forgotten := []message.Hash{}
			if !keep {
				forgotten = append(slices.Collect(maps.Values(site.History)), site.Volume)
				if err := a.forget(ctx, api, account, deletedByOwner, forgotten...); err != nil {
					return fmt.Errorf("website %s is off the web, its folders are not forgotten: %w", args[0], err)
				}
			}
			type view struct {
				Name      string         `json:"name"`
				Forgotten []message.Hash `json:"forgotten"`
			}
			return print(a, view{args[0], forgotten}, func(w io.Writer, v view) {
				fmt.Fprintf(w, "website\t%s is off the web\n", v.Name)
				for _, h := range v.Forgotten {
					fmt.Fprintf(w, "forgotten\t%s\n", h)
				}
			})
		}),
	}
	c.Flags().BoolVar(&keep, "keep-files", false, "keep the stored folders")
	return c
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
)

func (a *app) completionCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "completion SHELL", Short: "Print what makes a shell complete commands, hashes and names",
		Long:      "Print a script for bash, zsh, fish or powershell. Hashes and names are those of the account in use; the network is asked at most once a minute.",
		Example:   "  aleph completion bash > aleph.bash\n  aleph completion zsh > _aleph",
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		switch args[0] {
		case "bash":
			return cmd.Root().GenBashCompletionV2(a.out, true)
		case "zsh":
			return cmd.Root().GenZshCompletion(a.out)
		case "fish":
			return cmd.Root().GenFishCompletion(a.out, true)
		}
		return cmd.Root().GenPowerShellCompletionWithDesc(a.out)
	}
	return c
}

const (
	completionAge  = time.Minute            // for which what the network said is remembered
	completionWait = 800 * time.Millisecond // for the network to say it: a person waits
	completionMax  = 200                    // messages that are completed
)

// known is what can be completed: messages of the account, nodes, accounts and networks.
type known struct {
	Messages []knownMessage `json:"messages"`
	Nodes    []knownNode    `json:"nodes"`
}

type knownMessage struct {
	Hash message.Hash `json:"hash"`
	File message.Hash `json:"file,omitempty"` // that a STORE message keeps
	Type message.Type `json:"type"`
	Name string       `json:"name,omitempty"` // of a program or an instance; key of an aggregate
}

type knownNode struct {
	Hash message.Hash `json:"hash"`
	Name string       `json:"name"`
}

// completeArguments gives each command whose arguments can be completed a function that does it. Commands are told apart by the
// word that stands for the argument in their usage.
func (a *app) completeArguments(c *cobra.Command) {
	for _, sub := range c.Commands() {
		a.completeArguments(sub)
	}
	if complete := a.completer(c.CommandPath(), strings.Fields(c.Use)); complete != nil && c.ValidArgsFunction == nil && len(c.ValidArgs) == 0 {
		c.ValidArgsFunction = func(_ *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 && !strings.HasSuffix(c.Use, "...") {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return matching(complete(), start), cobra.ShellCompDirectiveNoFileComp
		}
	}
	for flag, list := range map[string]func() []string{
		"account": a.accountNames, "network": a.networkNames, "on-behalf-of": a.addressNames, "owner": a.addressNames,
		"output": func() []string { return []string{"text", "json", "jsonl", "yaml"} },
	} {
		if c.PersistentFlags().Lookup(flag) != nil || c.Flags().Lookup(flag) != nil {
			// The error would say that it is registered already, which it is not.
			_ = c.RegisterFlagCompletionFunc(flag, func(_ *cobra.Command, _ []string, start string) ([]string, cobra.ShellCompDirective) {
				return matching(list(), start), cobra.ShellCompDirectiveNoFileComp
			})
		}
	}
}

func matching(list []string, start string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return !strings.HasPrefix(s, start) })
}

// completer returns what lists the values of a command's first argument; nil when it is a file, a text or none.
func (a *app) completer(path string, use []string) func() []string {
	if len(use) < 2 {
		return nil
	}
	types := func(types ...message.Type) func() []string { return func() []string { return a.knownHashes(types...) } }
	switch argument, command := strings.Trim(use[1], "[]."), strings.Fields(path)[1]; {
	case argument == "HASH" && command == "program":
		return types(message.TypeProgram)
	case argument == "HASH" && command == "instance":
		return types(message.TypeInstance)
	case argument == "HASH" && command == "post":
		return types(message.TypePost)
	case argument == "HASH" && command == "node":
		return a.knownNodes
	case strings.HasPrefix(argument, "HASH") && command == "file":
		return a.knownFiles
	case argument == "HASH":
		return types()
	case argument == "ADDRESS":
		return a.addressNames
	case argument == "NAME" && command == "account":
		return a.accountNames
	case argument == "KEY":
		return a.knownKeys
	case argument == "NAME" && command == "network":
		return a.networkNames
	}
	return nil
}

// knownHashes lists messages of some types, all when none is named, each with what tells it from the others.
func (a *app) knownHashes(types ...message.Type) (list []string) {
	for _, m := range a.known().Messages {
		if len(types) == 0 || slices.Contains(types, m.Type) {
			list = append(list, cobra.CompletionWithDesc(string(m.Hash), strings.TrimSpace(string(m.Type)+" "+m.Name)))
		}
	}
	return list
}

func (a *app) knownFiles() (list []string) {
	for _, m := range a.known().Messages {
		if m.File != "" {
			list = append(list, string(m.File))
		}
	}
	return list
}

func (a *app) knownKeys() (list []string) {
	for _, m := range a.known().Messages {
		if m.Type == message.TypeAggregate && !slices.Contains(list, m.Name) {
			list = append(list, m.Name)
		}
	}
	return list
}

func (a *app) knownNodes() (list []string) {
	for _, n := range a.known().Nodes {
		list = append(list, cobra.CompletionWithDesc(string(n.Hash), n.Name))
	}
	return list
}

func (a *app) networkNames() (list []string) {
	c, err := a.readConfig()
	if err != nil {
		return nil
	}
	for name := range builtIn() {
		list = append(list, name)
	}
	for name := range c.Networks {
		if !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}

// accountNames are the names of the accounts that are kept here.
func (a *app) accountNames() (list []string) {
	w, err := a.wallet()
	if err != nil {
		return nil
	}
	for _, e := range w.List() {
		list = append(list, cobra.CompletionWithDesc(e.Name, string(e.Chain)+" "+e.Address))
	}
	return list
}

// addressNames are what an address can be called: accounts and aliases.
func (a *app) addressNames() []string {
	list := a.accountNames()
	w, err := a.wallet()
	if err != nil {
		return list
	}
	for _, alias := range w.Aliases() {
		list = append(list, cobra.CompletionWithDesc(alias.Name, alias.Address))
	}
	return list
}

// known returns what was found within the last minute, or asks. Whatever fails completes nothing: a shell is no place for errors.
func (a *app) known() known {
	if a.keyFile == "-" || a.chooseNetwork() != nil { // standard input is the shell's
		return known{}
	}
	owner, err := a.address("")
	if err != nil {
		return known{}
	}
	path := a.completionPath(owner)
	if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) < completionAge {
		var k known
		if raw, err := os.ReadFile(path); err == nil && json.Unmarshal(raw, &k) == nil {
			return k
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), completionWait)
	defer cancel()
	k, err := a.find(ctx, owner)
	if raw, encodeErr := json.Marshal(k); err == nil && encodeErr == nil && path != "" {
		_ = replaceFile(path, 0o600, raw) // without it the network is asked again
	}
	return k
}

func (a *app) completionPath(owner string) string {
	folder := a.getenv("ALEPH_CACHE_HOME")
	if folder == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return ""
		}
		folder = filepath.Join(base, "aleph")
	}
	return filepath.Join(folder, "complete", string(message.HashBytes([]byte(a.endpoint.api + " " + owner)))[:16]+".json")
}

// find asks for what can be completed.
func (a *app) find(ctx context.Context, owner string) (k known, err error) {
	api := a.client()
	for m, messageErr := range first(api.Messages(ctx, client.Filter{Owners: []string{owner}}), completionMax) {
		if messageErr != nil {
			err = messageErr
			break
		}
		var content struct {
			Metadata json.RawMessage `json:"metadata"`
			Key      string          `json:"key"`
			File     message.Hash    `json:"item_hash"`
		}
		// A key may also be an object: then it has no name here.
		_ = json.Unmarshal(m.Content, &content)
		name := content.Key
		if name == "" && len(content.Metadata) > 0 {
			name = nameOf(content.Metadata)
		}
		k.Messages = append(k.Messages, knownMessage{m.ItemHash, content.File, m.Type, name})
	}
	nodes, nodesErr := a.client().Nodes(ctx, a.params.Corechannel.Addresses[0])
	if nodesErr != nil {
		return k, errors.Join(err, nodesErr)
	}
	for _, n := range nodes.Core {
		k.Nodes = append(k.Nodes, knownNode{n.Hash, n.Name})
	}
	for _, n := range nodes.Compute {
		k.Nodes = append(k.Nodes, knownNode{n.Hash, n.Name})
	}
	return k, err
}

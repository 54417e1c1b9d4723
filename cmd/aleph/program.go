package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
)

func (a *app) programCommand() *cobra.Command {
	return group("program", "Run programs on the network", "  aleph program deploy ./my-app",
		a.programDeploy(), a.programCall(), a.programList(), a.programDelete(), a.programLogs())
}

// deployFlags is what a user may say about a program.
type deployFlags struct {
	runtime, entrypoint, kind, name string
	memory, vcpus, seconds          int
	internet, persistent            bool
	variables                       []string
}

type deployed struct {
	ItemHash message.Hash   `json:"item_hash"`
	Name     string         `json:"name"`
	Code     message.Hash   `json:"code"`
	Runtime  message.Hash   `json:"runtime"`
	Status   message.Status `json:"status"`
	CCN      string         `json:"ccn"` // name of the core node that looks after it
	CRN      string         `json:"crn"` // name of the compute node that runs it
	URL      string         `json:"url"`
}

func (a *app) programDeploy() *cobra.Command {
	var f deployFlags
	c := &cobra.Command{
		Use: "deploy PATH", Short: "Put a program on the network", Args: cobra.ExactArgs(1),
		Long: `Pack a folder or a binary, store it, publish the program and say where it runs.

A folder with a main.py that has a variable app is an ASGI program, such as FastAPI. A static Linux binary that
listens on port 8080 is a program as well, whatever language it was written in. So is a folder with a package.json
or a server.js, on a runtime that has Node. A file of WebAssembly (WASI) answers each call with a new instance: see
docs/webassembly.md.`,
		Example: "  aleph program deploy examples/hello-fastapi\n  aleph program deploy ./server --memory 256 --persistent",
		RunE: a.within(func(ctx context.Context, args []string) error {
			d, err := a.deploy(ctx, args[0], f)
			if err != nil {
				return err
			}
			return print(a, d, func(w io.Writer, d *deployed) {
				fmt.Fprintf(w, "program\t%s\nccn\t%s\ncrn\t%s\nurl\t%s\n", d.ItemHash, d.CCN, d.CRN, d.URL)
			})
		}),
	}
	flags := c.Flags()
	flags.StringVar(&f.runtime, "runtime", "", "runtime, by its `name` or the hash of its STORE message; default the network's")
	flags.StringVar(&f.entrypoint, "entrypoint", "", "module:variable of an ASGI program, or the file to run")
	flags.StringVar(&f.kind, "interface", "", "asgi, binary or wasm; default by the entrypoint")
	flags.StringVar(&f.name, "name", "", "name; default that of the folder or file")
	flags.IntVar(&f.memory, "memory", 256, "memory in `MiB`")
	flags.IntVar(&f.vcpus, "vcpus", 1, "virtual processors")
	flags.IntVar(&f.seconds, "seconds", 30, "longest time for one answer")
	flags.BoolVar(&f.internet, "internet", false, "let the program reach the internet")
	flags.BoolVar(&f.persistent, "persistent", false, "keep it running between calls")
	flags.StringArrayVarP(&f.variables, "env", "e", nil, "variable of its environment, `NAME=VALUE`; may be repeated")
	return c
}

func (a *app) deploy(ctx context.Context, path string, f deployFlags) (*deployed, error) {
	c, err := readCode(path, f.entrypoint, f.kind)
	if err != nil {
		return nil, err
	}
	account, err := a.signer()
	if err != nil {
		return nil, err
	}
	program, err := a.describe(path, c, f)
	if err != nil {
		return nil, err
	}
	api := a.client()
	// A module needs no runtime: it stands in its place.
	if c.kind != message.InterfaceWasm || f.runtime != "" {
		if program.Runtime.Ref, err = a.runtime(ctx, api, cmp.Or(f.runtime, c.runtime)); err != nil {
			return nil, err
		}
	}
	archive, done, err := temporary(c.pack)
	if err != nil {
		return nil, err
	}
	d, err := a.publish(ctx, api, account, program, archive)
	return d, errors.Join(err, done())
}

// describe makes the content of the PROGRAM message, with every default said, but for what is not known yet.
func (a *app) describe(path string, c *code, f deployFlags) (*message.Program, error) {
	name := f.name
	if name == "" {
		full, err := filepath.Abs(path)
		if err != nil {
			return nil, err
		}
		name = filepath.Base(full)
	}
	metadata, err := json.Marshal(map[string]string{"name": name})
	if err != nil {
		return nil, err
	}
	variables := map[string]string{}
	for _, v := range f.variables {
		key, value, ok := strings.Cut(v, "=")
		if !ok {
			return nil, usageError{fmt.Errorf("--env %s: want NAME=VALUE", v)}
		}
		variables[key] = value
	}
	kind, persistent := c.kind, f.persistent
	return &message.Program{
		Executable: message.Executable{
			Metadata:       metadata,
			AuthorizedKeys: []string{},
			Variables:      variables,
			Environment:    message.Environment{Internet: f.internet, AlephAPI: true},
			Resources:      message.Resources{VCPUs: f.vcpus, MemoryMiB: f.memory, Seconds: f.seconds},
			Payment:        &message.Payment{Chain: new(string(message.ChainETH)), Type: message.PaymentHold},
			Volumes:        []message.Volume{},
		},
		ProgramType: "vm-function",
		Code:        message.Code{Encoding: message.EncodingZip, Entrypoint: c.entrypoint, Interface: &kind, UseLatest: true},
		Runtime:     message.Runtime{UseLatest: true},
		On:          message.ProgramHook{HTTP: true, Persistent: &persistent},
	}, nil
}

// runtimesKey is the aggregate in which a network's authority names its runtimes.
const runtimesKey = "runtimes"

func (a *app) runtime(ctx context.Context, api *client.Client, wanted string) (message.Hash, error) {
	if hash, err := message.ParseHash(wanted); err == nil {
		return hash, nil
	}
	var known struct {
		Default  message.Hash            `json:"default"`
		Runtimes map[string]message.Hash `json:"runtimes"`
	}
	owner := a.params.Pricing.Addresses[0]
	if err := api.Aggregate(ctx, owner, runtimesKey, &known); err != nil {
		return "", fmt.Errorf("look for the network's runtimes (name one by its hash with --runtime): %w", err)
	}
	hash := known.Default
	if wanted != "" {
		hash = known.Runtimes[wanted]
	}
	if _, err := message.ParseHash(string(hash)); err != nil {
		names := strings.Join(slices.Sorted(maps.Keys(known.Runtimes)), ", ")
		return "", usageError{fmt.Errorf("the network has no runtime %q; it has: %s", wanted, names)}
	}
	return hash, nil
}

// publish stores the archive, publishes the program and asks where it runs. Nothing is sent before it is known that the
// account can pay for all of it.
func (a *app) publish(ctx context.Context, api *client.Client, account client.Account, program *message.Program, archive *os.File) (*deployed, error) {
	if err := a.checkFunds(ctx, api, account, program, archive); err != nil {
		return nil, err
	}
	a.say("Storing the code")
	up, err := a.upload(ctx, api, account, archive)
	if err != nil {
		return nil, fmt.Errorf("store the code: %w", err)
	}
	program.Code.Ref = up.MessageHash
	if program.Runtime.Ref == "" {
		program.Runtime.Ref = up.MessageHash
	}
	a.say("Publishing the program")
	hash, err := a.settle(ctx, api, account, message.TypeProgram, program)
	if err != nil {
		return nil, fmt.Errorf("publish the program: %w", err)
	}
	a.say("Looking where %s runs", hash)
	place, err := whereRuns(ctx, api, hash)
	if err != nil {
		return nil, err
	}
	d := &deployed{
		ItemHash: hash, Name: nameOf(program.Metadata), Code: up.MessageHash, Runtime: program.Runtime.Ref,
		Status: message.StatusProcessed, CRN: nodeName(&place.Node), CCN: nodeName(place.Core),
		URL: client.ProgramURL(place.Node.URL, hash),
	}
	return d, nil
}

func nodeName(n *client.AllocatedNode) string {
	switch {
	case n == nil:
		return "unknown"
	case n.Name != "":
		return n.Name
	}
	return n.ID
}

func nameOf(metadata json.RawMessage) string {
	var v struct{ Name string }
	if json.Unmarshal(metadata, &v) != nil {
		return ""
	}
	return v.Name
}

// checkFunds compares the price of the code and of the program with what the account has.
func (a *app) checkFunds(ctx context.Context, api *client.Client, account client.Account, program *message.Program, archive *os.File) error {
	info, err := archive.Stat()
	if err != nil {
		return err
	}
	hash, err := client.HashFile(archive)
	if err != nil {
		return err
	}
	mib := float64(info.Size()) / (1 << 20)
	priced := *program
	priced.Code.Ref = hash // only its form counts here, its size is given
	ownRuntime := program.Runtime.Ref == ""
	if ownRuntime {
		priced.Runtime.Ref = hash
	}
	store := &message.Store{FileType: message.ItemStorage, FileHash: hash}
	var costs []*client.Cost
	for _, part := range []struct {
		kind     message.Type
		content  message.Content
		estimate func(map[string]any)
	}{
		{message.TypeStore, store, func(c map[string]any) { c["estimated_size_mib"] = mib }},
		{message.TypeProgram, &priced, func(c map[string]any) {
			c["code"].(map[string]any)["estimated_size_mib"] = int(mib) + 1
			if ownRuntime {
				c["runtime"].(map[string]any)["estimated_size_mib"] = int(mib) + 1
			}
		}},
	} {
		m, _, err := message.Build(account.Address(), account.Chain(), part.kind, part.content, nil, time.Now())
		if err != nil {
			return usageError{err}
		}
		var content map[string]any
		if err := json.Unmarshal([]byte(m.ItemContent), &content); err != nil {
			return fmt.Errorf("estimate the price: %w", err)
		}
		part.estimate(content)
		raw, err := json.Marshal(content)
		if err != nil {
			return fmt.Errorf("estimate the price: %w", err)
		}
		cost, err := api.EstimatePrice(ctx, account.Address(), account.Chain(), part.kind, raw)
		var refused *client.HTTPError
		if errors.As(err, &refused) {
			// The node itself decides in the end; without its estimate the user only learns it later.
			a.say("The node does not estimate the price: %v", err)
			return nil
		}
		if err != nil {
			return err
		}
		// A small file that is held for costs nothing, whatever its price a MiB.
		if part.kind == message.TypeStore && info.Size() <= a.params.MaxUnauthenticated {
			continue
		}
		costs = append(costs, cost)
	}
	balance, err := api.Balance(ctx, account.Address())
	if err != nil {
		return err
	}
	return balance.EnoughFor(costs...)
}

// pollPause is the time between two questions to a network that is about to have the answer.
const pollPause = 200 * time.Millisecond

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(pollPause):
		return nil
	}
}

// whereRuns asks until the workload has a place.
func whereRuns(ctx context.Context, api *client.Client, hash message.Hash) (*client.Allocation, error) {
	for {
		place, err := api.Allocation(ctx, hash)
		if !errors.Is(err, client.ErrNotFound) {
			return place, err
		}
		if ended := pause(ctx); ended != nil {
			return nil, pendingError{fmt.Errorf("%s has no place to run yet: %w", hash, ended)}
		}
	}
}

func (a *app) programCall() *cobra.Command {
	var method, data string
	var headers []string
	c := &cobra.Command{
		Use: "call HASH [PATH]", Short: "Send an HTTP request to a program", Args: cobra.RangeArgs(1, 2),
		Long:    "Ask where a program runs and send it a request; its answer is printed. While it boots or moves, the request is repeated.",
		Example: "  aleph program call 2953f0b5beb79fc0ed1bc455346fdcb530611605e16c636778a0d673d7184af1 /\n  aleph program call 2953f0b5beb79fc0ed1bc455346fdcb530611605e16c636778a0d673d7184af1 /items -X POST -d '{\"name\":\"a\"}' -H 'Content-Type: application/json'",
		RunE: a.within(func(ctx context.Context, args []string) error {
			hash, err := hashArgument(args[0])
			if err != nil {
				return err
			}
			r := client.ProgramRequest{Method: strings.ToUpper(method), Path: "/", Header: http.Header{}, Body: []byte(data)}
			if len(args) == 2 {
				r.Path = args[1]
			}
			if r.Method == "" && data != "" {
				r.Method = http.MethodPost
			}
			for _, h := range headers {
				name, value, ok := strings.Cut(h, ":")
				if !ok {
					return usageError{fmt.Errorf("--header %s: want NAME: VALUE", h)}
				}
				r.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
			}
			return a.call(ctx, hash, r)
		}),
	}
	c.Flags().StringVarP(&method, "request", "X", "", "HTTP `method`; default GET, or POST with --data")
	c.Flags().StringVarP(&data, "data", "d", "", "body of the request")
	c.Flags().StringArrayVarP(&headers, "header", "H", nil, "header, `NAME: VALUE`; may be repeated")
	return c
}

func (a *app) call(ctx context.Context, hash message.Hash, r client.ProgramRequest) error {
	resp, err := callUntilThere(ctx, a.client(), hash, r)
	if err != nil {
		return err
	}
	body, err := client.ReadAnswer(resp, maxProgramAnswer)
	if err != nil {
		return err
	}
	type view struct {
		Status int         `json:"status"`
		Header http.Header `json:"headers"`
		Body   string      `json:"body"`
	}
	err = print(a, view{resp.StatusCode, resp.Header, string(body)}, func(io.Writer, view) {})
	if a.output == "text" {
		_, err = a.out.Write(body)
		if err == nil && len(body) > 0 && body[len(body)-1] != '\n' {
			_, err = io.WriteString(a.out, "\n")
		}
	}
	if err == nil && resp.StatusCode >= 400 {
		return fmt.Errorf("the program answered with status %d", resp.StatusCode)
	}
	return err
}

// callUntilThere repeats a call while the program has no place, or its place cannot serve it yet. A program's own answer is
// never asked for twice.
func callUntilThere(ctx context.Context, api *client.Client, hash message.Hash, r client.ProgramRequest) (*http.Response, error) {
	var last error
	for {
		place, err := api.Allocation(ctx, hash)
		if err == nil {
			var resp *http.Response
			if resp, err = api.CallProgram(ctx, place.Node.URL, hash, r); err == nil {
				if !notThere(resp) {
					return resp, nil
				}
				body, readErr := client.ReadAnswer(resp, 4096)
				err = errors.Join(fmt.Errorf("%s answered %d: %s", nodeName(&place.Node), resp.StatusCode, strings.TrimSpace(string(body))), readErr)
			}
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		if pause(ctx) != nil {
			return nil, fmt.Errorf("program %s did not answer in time: %w", hash, errors.Join(context.Cause(ctx), last))
		}
	}
}

// notThere reports whether an answer is the compute node's, and says that the program cannot be reached at the moment. The
// node marks the program's own answers with its hash (crn §2.3).
func notThere(resp *http.Response) bool {
	if resp.Header.Get("Aleph-Program-ItemHash") != "" {
		return false
	}
	switch resp.StatusCode {
	case http.StatusNotFound, http.StatusBadGateway, http.StatusServiceUnavailable:
		return true
	}
	return false
}

func (a *app) programList() *cobra.Command {
	return a.listOf("program", "List programs", message.TypeProgram)
}

// listOf makes the command that lists a kind of workload.
func (a *app) listOf(group, short string, kind message.Type) *cobra.Command {
	var owner string
	c := &cobra.Command{
		Use: "list", Short: short, Args: cobra.NoArgs,
		Example: "  aleph " + group + " list",
		RunE: a.within(func(ctx context.Context, _ []string) error {
			if owner == "" {
				account, err := a.signer()
				if err != nil {
					return err
				}
				owner = account.Address()
			}
			filter := client.Filter{Types: []message.Type{kind}, Owners: []string{owner}}
			list, err := collect(a.client(), ctx, filter, 0)
			if err != nil {
				return err
			}
			type view struct {
				ItemHash message.Hash `json:"item_hash"`
				Name     string       `json:"name"`
				Owner    string       `json:"owner"`
				Time     string       `json:"time"`
			}
			views := []view{}
			for _, m := range list {
				var content struct {
					Address  string          `json:"address"`
					Metadata json.RawMessage `json:"metadata"`
				}
				if err := json.Unmarshal(m.Content, &content); err != nil {
					return fmt.Errorf("%s %s: %w", group, m.ItemHash, err)
				}
				views = append(views, view{m.ItemHash, nameOf(content.Metadata), content.Address, message.TimeFromSeconds(m.Time).RFC3339()})
			}
			return print(a, views, func(w io.Writer, views []view) {
				for _, v := range views {
					fmt.Fprintf(w, "%s\t%s\t%s\n", v.ItemHash, v.Name, v.Time)
				}
			})
		}),
	}
	c.Flags().StringVar(&owner, "owner", "", "`address` of the owner; default the account in use")
	return c
}

func (a *app) programDelete() *cobra.Command {
	var keepCode bool
	c := &cobra.Command{
		Use: "delete HASH", Short: "Stop a program and forget it", Args: cobra.ExactArgs(1),
		Long:    "Forget a program and then its code. The code stays with --keep-code, or when another program uses it.",
		Example: "  aleph program delete 2953f0b5beb79fc0ed1bc455346fdcb530611605e16c636778a0d673d7184af1 --yes",
		RunE: a.within(func(ctx context.Context, args []string) error {
			hash, err := hashArgument(args[0])
			if err != nil {
				return err
			}
			account, err := a.signer()
			if err != nil {
				return err
			}
			return a.delete(ctx, account, hash, keepCode)
		}),
	}
	c.Flags().BoolVar(&keepCode, "keep-code", false, "keep the stored code")
	return c
}

func (a *app) delete(ctx context.Context, account client.Account, hash message.Hash, keepCode bool) error {
	api := a.client()
	info, err := api.GetMessage(ctx, hash)
	if err != nil {
		return err
	}
	if info.Message == nil || info.Message.Type != message.TypeProgram {
		return fmt.Errorf("%s is not a program that runs (status %s)", hash, info.Status)
	}
	var content struct {
		Code struct{ Ref message.Hash }
	}
	if err := json.Unmarshal(info.Message.Content, &content); err != nil {
		return fmt.Errorf("program %s: %w", hash, err)
	}
	if err := a.confirm(fmt.Sprintf("Forget program %s for ever?", hash)); err != nil {
		return err
	}
	type view struct {
		ItemHash  message.Hash   `json:"item_hash"`
		Status    message.Status `json:"status"`
		Forgotten []message.Hash `json:"forgotten"`
	}
	v := view{ItemHash: hash, Status: message.StatusForgotten, Forgotten: []message.Hash{hash}}
	if err := a.forget(ctx, api, account, hash); err != nil {
		return fmt.Errorf("forget program %s: %w", hash, err)
	}
	if !keepCode && content.Code.Ref != "" {
		err := a.forget(ctx, api, account, content.Code.Ref)
		var used *client.RejectedError
		switch {
		case err == nil:
			v.Forgotten = append(v.Forgotten, content.Code.Ref)
		case errors.As(err, &used) && (used.Code == message.ErrForgetNotAllowed || used.Code == message.ErrPermissionDenied):
			a.say("The code %s stays: it is used elsewhere, or is not yours", content.Code.Ref)
		default:
			return fmt.Errorf("program %s is forgotten, its code is not: %w", hash, err)
		}
	}
	return print(a, v, func(w io.Writer, v view) {
		for _, h := range v.Forgotten {
			fmt.Fprintf(w, "forgotten\t%s\n", h)
		}
	})
}

func (a *app) forget(ctx context.Context, api *client.Client, account client.Account, hash message.Hash) error {
	content := &message.Forget{Hashes: []message.Hash{hash}, Aggregates: []message.Hash{}, Reason: new("deleted by its owner")}
	_, err := a.settle(ctx, api, account, message.TypeForget, content)
	return err
}

// settle sends a message and waits until it is processed.
func (a *app) settle(ctx context.Context, api *client.Client, account client.Account, typ message.Type, content message.Content) (message.Hash, error) {
	m, published, err := api.Send(ctx, account, typ, content, client.SendOptions{Channel: a.channel, Sync: true})
	if err != nil {
		return "", err
	}
	if published.Status != message.StatusProcessed {
		err = waitFor(ctx, api, m.ItemHash)
	}
	return m.ItemHash, err
}

func (a *app) programLogs() *cobra.Command {
	return &cobra.Command{
		Use: "logs HASH", Short: "Print what a program printed", Args: cobra.ExactArgs(1),
		Example: "  aleph program logs 2953f0b5beb79fc0ed1bc455346fdcb530611605e16c636778a0d673d7184af1",
		RunE: a.within(func(ctx context.Context, args []string) error {
			hash, err := hashArgument(args[0])
			if err != nil {
				return err
			}
			return a.printLogs(ctx, hash)
		}),
	}
}

// printLogs asks the compute node that runs a workload for what it printed.
func (a *app) printLogs(ctx context.Context, hash message.Hash) error {
	account, err := a.signer()
	if err != nil {
		return err
	}
	api := a.client()
	place, err := api.Allocation(ctx, hash)
	if err != nil {
		return err
	}
	lines, err := api.ProgramLogs(ctx, account, place.Node.URL, hash)
	if err != nil {
		return err
	}
	return print(a, lines, func(w io.Writer, lines []client.LogLine) {
		for _, l := range lines {
			fmt.Fprintf(w, "%s %s\n", l.Time, strings.TrimRight(l.Message, "\n"))
		}
	})
}

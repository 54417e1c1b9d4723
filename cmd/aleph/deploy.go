package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/client/code"
	"github.com/aleph-im/aleph-go/message"
)

// deployFlags is what a user may say about a program.
type deployFlags struct {
	runtime, entrypoint, kind, name string
	payment, envFile                string
	memory, vcpus, seconds          int
	internet, persistent, watch     bool
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

	program *message.Program // as it was published
}

func (a *app) programDeploy() *cobra.Command {
	var f deployFlags
	c := &cobra.Command{
		Use: "deploy PATH", Short: "Put a program on the network", Args: cobra.ExactArgs(1),
		Long: `Pack a folder or a binary, store it, publish the program and say where it runs.

A folder with a main.py that has a variable app is an ASGI program, such as FastAPI; one of Flask or Bottle, or with
an application in main.py or wsgi.py, is one of WSGI. A static Linux binary that listens on port 8080 is a program as
well, whatever language it was written in. So is a folder with a package.json or a server.js, on a runtime that has
Node. A file of WebAssembly (WASI) answers each call with a new instance: see docs/webassembly.md.`,
		Example: "  aleph program deploy my-app\n  aleph program deploy ./server --memory 256 --persistent -e NAME=value\n" +
			"  aleph program deploy my-app --watch",
		RunE: func(cmd *cobra.Command, args []string) error {
			var d *deployed
			err := a.within(func(ctx context.Context, args []string) (err error) {
				if d, err = a.deploy(ctx, args[0], f); err != nil {
					return err
				}
				return print(a, d, writeDeployed)
			})(cmd, args)
			if err != nil || !f.watch {
				return err
			}
			ctx, cancel := a.untilTold(cmd)
			defer cancel()
			return errors.Join(a.redeploy(ctx, args[0], f, d.program), cmd.Context().Err())
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.runtime, "runtime", "", "runtime, by its `name` or the hash of its STORE message; default the network's")
	flags.StringVar(&f.entrypoint, "entrypoint", "", "module:variable of a Python program, or the file to run")
	flags.StringVar(&f.kind, "interface", "", "asgi, wsgi, binary or wasm; default what is found, or by the entrypoint")
	flags.StringVar(&f.name, "name", "", "name; default that of the folder or file")
	whole(flags, &f.memory, "memory", 1, 256, "memory in `MiB`")
	whole(flags, &f.vcpus, "vcpus", 1, 1, "virtual processors")
	whole(flags, &f.seconds, "seconds", 1, 30, "longest time for one answer")
	flags.BoolVar(&f.internet, "internet", false, "let the program reach the internet")
	flags.BoolVar(&f.persistent, "persistent", false, "keep it running between calls")
	flags.StringArrayVarP(&f.variables, "env", "e", nil, "variable of its environment, `NAME=VALUE`; may be repeated")
	flags.StringVar(&f.envFile, "env-file", "", "`file` of such variables, one a line")
	flags.StringVar(&f.payment, "payment", "hold", "hold or credit")
	flags.BoolVar(&f.watch, "watch", false, "put each change of the files on the network, until Ctrl-C")
	return c
}

func writeDeployed(w io.Writer, d *deployed) {
	fmt.Fprintf(w, "program\t%s\nccn\t%s\ncrn\t%s\nurl\t%s\n", d.ItemHash, d.CCN, d.CRN, d.URL)
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
	program, err := describe(path, c, f)
	if err != nil {
		return nil, err
	}
	api := a.client()
	// A module needs no runtime: it stands in its place.
	if c.Interface != message.InterfaceWasm || f.runtime != "" {
		if program.Runtime.Ref, err = a.runtime(ctx, api, cmp.Or(f.runtime, c.Runtime)); err != nil {
			return nil, err
		}
	}
	archive, done, err := temporary(c.Pack)
	if err != nil {
		return nil, err
	}
	d, err := a.publish(ctx, api, account, program, archive)
	return d, errors.Join(err, done())
}

// describe makes the content of the PROGRAM message, with every default said, but for what is not known yet.
func describe(path string, c *code.Code, f deployFlags) (*message.Program, error) {
	name := f.name
	if name == "" {
		full, err := filepath.Abs(path)
		if err != nil {
			return nil, err
		}
		name = filepath.Base(full)
	}
	variables, err := f.environment()
	if err != nil {
		return nil, err
	}
	paid, err := payment(f.payment)
	if err != nil {
		return nil, err
	}
	p := client.NewProgram(name, "", c.Entrypoint, "")
	p.Variables, p.Payment, p.Environment.Internet = variables, paid, f.internet
	p.Resources = message.Resources{VCPUs: f.vcpus, MemoryMiB: f.memory, Seconds: f.seconds}
	p.Code.Interface, p.On.Persistent = new(c.Interface), new(f.persistent)
	return p, nil
}

// environment are the variables that the user gave, those of the command line before those of a file.
func (f *deployFlags) environment() (map[string]string, error) {
	variables := map[string]string{}
	var lines []string
	if f.envFile != "" {
		raw, err := readRegular(f.envFile, 1<<20)
		if err != nil {
			return nil, usageError{fmt.Errorf("--env-file: %w", err)}
		}
		for line := range strings.Lines(string(raw)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				lines = append(lines, line)
			}
		}
	}
	for _, v := range append(lines, f.variables...) {
		key, value, ok := strings.Cut(v, "=")
		if !ok || key == "" {
			return nil, usageError{fmt.Errorf("--env %s: want NAME=VALUE", v)}
		}
		variables[key] = value
	}
	return variables, nil
}

// readCode finds what to pack and how it starts.
func readCode(path, entrypoint, kind string) (*code.Code, error) {
	c, err := code.Read(path, entrypoint, message.Interface(kind))
	return c, unpacked(path, err)
}

// unpacked says what to do about what cannot be packed.
func unpacked(path string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, code.ErrWebsite):
		err = fmt.Errorf("%w: aleph website deploy %s", err, path)
	case errors.Is(err, code.ErrUnclear):
		err = fmt.Errorf("%w; say it with --entrypoint", err)
	}
	return usageError{err}
}

// runtime is the STORE message of a runtime that the user names, by its hash or by the name that the network gave it.
func (a *app) runtime(ctx context.Context, api *client.Client, wanted string) (message.Hash, error) {
	if hash, err := message.ParseHash(wanted); err == nil {
		return hash, nil
	}
	hash, err := api.Runtime(ctx, a.params.Pricing.Addresses[0], wanted)
	switch {
	case errors.Is(err, client.ErrNoRuntime):
		return "", usageError{err}
	case err != nil:
		return "", fmt.Errorf("%w; name one by its hash with --runtime", a.ofNetwork("runtimes", err))
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
	up, err := a.storeCode(ctx, api, account, archive, program.Payment, "")
	if err != nil {
		return nil, fmt.Errorf("store the code: %w", err)
	}
	program.Code.Ref = up.MessageHash
	if program.Runtime.Ref == "" {
		program.Runtime.Ref = up.MessageHash
	}
	a.say("Publishing the program")
	hash, err := a.settle(ctx, api, account, program)
	if err != nil {
		return nil, fmt.Errorf("publish the program: %w", err)
	}
	a.say("Looking where %s runs", hash)
	place, err := a.whereRuns(ctx, api, hash)
	if err != nil {
		return nil, err
	}
	d := &deployed{
		ItemHash: hash, Name: nameOf(program.Metadata), Code: up.MessageHash, Runtime: program.Runtime.Ref,
		Status: message.StatusProcessed, CRN: nodeName(&place.Node), CCN: nodeName(place.Core),
		URL: client.ProgramURL(place.Node.URL, hash), program: program,
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

// storeCode stores an archive and waits until the network has it. ref is the STORE message that it replaces, or "".
func (a *app) storeCode(ctx context.Context, api *client.Client, account client.Account, archive *os.File, paid *message.Payment, ref message.Hash) (*client.Uploaded, error) {
	up, err := a.upload(ctx, api, account, archive, "code", client.UploadOptions{Payment: paid, Ref: string(ref)})
	if err == nil && up.Status == message.StatusPending { // also with --wait=false: the program refers to it
		err = waitFor(ctx, api, up.MessageHash)
	}
	return up, err
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
	store := &message.Store{FileType: message.ItemStorage, FileHash: hash, Payment: program.Payment}
	var costs []*client.Cost
	for _, part := range []struct {
		content message.Content
		change  func(map[string]any)
	}{
		{store, func(c map[string]any) { c["estimated_size_mib"] = mib }},
		{&priced, func(c map[string]any) {
			c["code"].(map[string]any)["estimated_size_mib"] = int(mib) + 1
			if ownRuntime {
				c["runtime"].(map[string]any)["estimated_size_mib"] = int(mib) + 1
			}
		}},
	} {
		cost, err := estimate(ctx, api, account.Address(), account.Chain(), part.content, part.change)
		if a.notEstimated(err) {
			return nil
		}
		if err != nil {
			return err
		}
		// A small file that is held for costs nothing, whatever its price a MiB.
		if part.content == store && program.PaymentType() == message.PaymentHold && info.Size() <= a.params.MaxUnauthenticated {
			continue
		}
		costs = append(costs, cost)
	}
	return a.canPay(ctx, api, account, costs...)
}

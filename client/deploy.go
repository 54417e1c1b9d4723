package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aleph-im/aleph-go/client/code"
	"github.com/aleph-im/aleph-go/message"
)

// DefaultRuntime is the STORE message of the runtime of Python programs on the public network.
const DefaultRuntime message.Hash = "63f07193e6ee9d207b7d1fcf8286f9aee34e6f12f101d2ec77c1229f92964696"

// DeployOptions is what may be said of a program that is deployed. What is left out is as in [NewProgram], with 256 MiB of memory.
type DeployOptions struct {
	Entrypoint string            // module:variable, or the file to run; "" to find it
	Interface  message.Interface // asgi, wsgi, binary or wasm; "" to find it
	Runtime    message.Hash      // STORE message of it, see [Client.Runtime]; "" for DefaultRuntime
	Name       string            // "" for that of the folder or file
	Channel    string            // "" for none
	Payment    *message.Payment  // of code and program; nil pays by holding tokens

	// Change may change the content of the program before it is published; may be nil.
	Change func(*message.Program)
}

// DeployedProgram is a program that was deployed. Its URL is known when it is [Client.Placed].
type DeployedProgram struct {
	ItemHash   message.Hash
	Code       message.Hash // STORE message of its code
	Entrypoint string
	Status     message.Status // of the program's message
}

// DeployProgram packs a folder or a file (package [code] says what is taken for a program), stores it, publishes a program that
// runs it, and waits until the network has it. What the account cannot pay is an [*InsufficientFundsError]; the code may be
// stored then. ctx bounds the waits.
func (c *Client) DeployProgram(ctx context.Context, by Account, path string, o DeployOptions) (*DeployedProgram, error) {
	found, err := code.Read(path, o.Entrypoint, o.Interface)
	if err != nil {
		return nil, fmt.Errorf("deploy %s: %w", path, err)
	}
	name := o.Name
	if name == "" {
		full, err := filepath.Abs(path)
		if err != nil {
			return nil, fmt.Errorf("deploy %s: %w", path, err)
		}
		name = filepath.Base(full)
	}
	if found.Runtime != "" && o.Runtime == "" {
		return nil, fmt.Errorf("deploy %s: it needs a runtime that has %s: name one in the options", path, found.Runtime)
	}
	p := NewProgram(name, "", found.Entrypoint, o.Runtime)
	p.Code.Interface, p.Resources.MemoryMiB = &found.Interface, 256
	if o.Payment != nil {
		p.Payment = o.Payment
	}
	if o.Change != nil {
		o.Change(p)
	}
	stored, err := c.storeCode(ctx, by, found, UploadOptions{Channel: o.Channel, Payment: p.Payment, Sync: true})
	if err != nil {
		return nil, fmt.Errorf("deploy %s: store the code: %w", path, err)
	}
	p.Code.Ref = stored
	if p.Runtime.Ref == "" {
		if p.Runtime.Ref = DefaultRuntime; found.Interface == message.InterfaceWasm {
			p.Runtime.Ref = stored // a module stands in the place of its runtime
		}
	}
	sent, err := c.CreateProgram(ctx, by, p, SendOptions{Channel: o.Channel, Sync: true})
	if err == nil && sent.Status != message.StatusProcessed {
		_, err = c.WaitFor(ctx, sent.Hash)
	}
	if err != nil {
		return nil, fmt.Errorf("deploy %s: publish the program: %w", path, err)
	}
	return &DeployedProgram{sent.Hash, stored, found.Entrypoint, message.StatusProcessed}, nil
}

// storeCode packs code, stores it and waits until the network has it.
func (c *Client) storeCode(ctx context.Context, by Account, found *code.Code, o UploadOptions) (stored message.Hash, err error) {
	archive, err := os.CreateTemp("", "aleph-*")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, archive.Close(), os.Remove(archive.Name())) }()
	if err := found.Pack(archive); err != nil {
		return "", err
	}
	if _, err := archive.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	up, err := c.UploadFile(ctx, by, archive, o)
	if err != nil {
		return "", err
	}
	if up.Status != message.StatusProcessed {
		if _, err := c.WaitFor(ctx, up.MessageHash); err != nil {
			return "", err
		}
	}
	return up.MessageHash, nil
}

// runtimesKey is the aggregate in which a network's authority names its runtimes.
const runtimesKey = "runtimes"

// ErrNoRuntime says that a network has no runtime of some name.
var ErrNoRuntime = errors.New("the network has no runtime")

// Runtime returns the STORE message of a runtime that the network's authority, an address, has given a name; "" is the default.
// A name that is not there is [ErrNoRuntime], and an authority that names none [ErrNotFound].
func (c *Client) Runtime(ctx context.Context, authority, name string) (message.Hash, error) {
	var known struct {
		Default  message.Hash            `json:"default"`
		Runtimes map[string]message.Hash `json:"runtimes"`
	}
	if err := c.Aggregate(ctx, authority, runtimesKey, &known); err != nil {
		return "", fmt.Errorf("look for the network's runtimes: %w", err)
	}
	hash := known.Runtimes[name]
	if name == "" {
		hash = known.Default
	}
	if _, err := message.ParseHash(string(hash)); err != nil {
		names := strings.Join(slices.Sorted(maps.Keys(known.Runtimes)), ", ")
		return "", fmt.Errorf("%w %q; it has: %s", ErrNoRuntime, name, cmp.Or(names, "none"))
	}
	return hash, nil
}

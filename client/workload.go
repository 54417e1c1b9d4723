package client

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// NewProgram returns the content of a program with the values that most programs have, for the caller to change: it
// answers HTTP calls, starts when it is called, has 1 vCPU, 128 MiB of memory and 30 s for a call, reaches the internet,
// and follows newer versions of its code and runtime. It is paid for by the tokens that its owner holds.
//
// code is the STORE message of a zip archive, entrypoint such as "main:app" or a command in it, runtime the STORE message
// of a runtime image.
func NewProgram(name string, code message.Hash, entrypoint string, runtime message.Hash) *message.Program {
	return &message.Program{
		Executable:  executable(name, message.Resources{VCPUs: 1, MemoryMiB: 128, Seconds: 30}),
		ProgramType: "vm-function",
		Code:        message.Code{Encoding: message.EncodingZip, Entrypoint: entrypoint, Ref: code, UseLatest: true},
		Runtime:     message.Runtime{Ref: runtime, UseLatest: true},
		On:          message.ProgramHook{HTTP: true, Persistent: new(false)},
	}
}

// NewInstance returns the content of a virtual machine with the values that most have, for the caller to change: 1 vCPU,
// 2048 MiB of memory, a network card. It is paid for by the tokens that its owner holds.
//
// image is the STORE message of the disk image that the root disk of diskMiB starts from, in this version; keys are the
// public SSH keys that may log in.
func NewInstance(name string, image message.Hash, diskMiB int64, keys ...string) *message.Instance {
	i := &message.Instance{
		Executable: executable(name, message.Resources{VCPUs: 1, MemoryMiB: 2048, Seconds: 30}),
		Rootfs:     message.Rootfs{Parent: message.ParentVolume{Ref: image}, Persistence: "host", SizeMiB: diskMiB},
	}
	i.AuthorizedKeys = append(i.AuthorizedKeys, keys...)
	i.Environment.Hypervisor = new("qemu")
	return i
}

func executable(name string, r message.Resources) message.Executable {
	metadata, err := json.Marshal(map[string]string{"name": name})
	if err != nil {
		panic(err) // of two texts
	}
	return message.Executable{
		Metadata: metadata, AuthorizedKeys: []string{}, Variables: map[string]string{}, Volumes: []message.Volume{},
		Environment: message.Environment{Internet: true, AlephAPI: true}, Resources: r,
		Payment: &message.Payment{Chain: new(string(message.ChainETH)), Type: message.PaymentHold},
	}
}

// CreateProgram puts a program on the network. Its URL is known when it is [Client.Placed].
func (c *Client) CreateProgram(ctx context.Context, by Account, p *message.Program, o SendOptions) (*Sent, error) {
	return c.sent(ctx, by, message.TypeProgram, p, o)
}

// CreateInstance puts a virtual machine on the network. Where it runs is known when it is [Client.Placed].
func (c *Client) CreateInstance(ctx context.Context, by Account, i *message.Instance, o SendOptions) (*Sent, error) {
	return c.sent(ctx, by, message.TypeInstance, i, o)
}

// Placed waits until the network has a place for a workload. ctx bounds the wait.
func (c *Client) Placed(ctx context.Context, hash message.Hash) (*Allocation, error) {
	for pause := 50 * time.Millisecond; ; pause = min(pause*3/2, 2*time.Second) {
		place, err := c.Allocation(ctx, hash)
		if err == nil || !isNotFound(err) {
			return place, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("no compute node has taken %s yet: %w", hash, ctx.Err())
		case <-time.After(pause):
		}
	}
}

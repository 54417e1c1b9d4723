package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/aleph-im/aleph-go/message"
)

// Port is for which protocols a port of a machine is forwarded.
type Port struct {
	TCP bool `json:"tcp"`
	UDP bool `json:"udp"`
}

// portsKey is the aggregate in which owners say which ports of their machines are forwarded (sdk-cli §4.9).
const portsKey = "port-forwarding"

// Ports returns which ports of a machine its owner wants forwarded, by number.
func (c *Client) Ports(ctx context.Context, owner string, machine message.Hash) (map[int]Port, error) {
	var all map[message.Hash]json.RawMessage
	if err := c.Aggregate(ctx, owner, portsKey, &all); err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	var entry struct {
		Ports map[string]Port `json:"ports"`
	}
	if raw, ok := all[machine]; ok {
		if err := json.Unmarshal(raw, &entry); err != nil {
			return nil, fmt.Errorf("ports of %s: %w", machine, err)
		}
	}
	ports := map[int]Port{}
	for text, p := range entry.Ports {
		if n, err := strconv.Atoi(text); err == nil {
			ports[n] = p
		}
	}
	return ports, nil
}

// OpenPort has a port of a machine forwarded; of the same machine's ports that are open nothing changes. The compute node follows
// once it is told to by [Client.UpdateMachine].
func (c *Client) OpenPort(ctx context.Context, by Account, machine message.Hash, port int, p Port, o SendOptions) (*Sent, error) {
	if port < 1 || port > 65535 {
		return nil, fmt.Errorf("port %d: want 1 to 65535", port)
	}
	ports, err := c.Ports(ctx, ownerOf(by, o), machine)
	if err != nil {
		return nil, err
	}
	ports[port] = p
	return c.setPorts(ctx, by, machine, ports, o)
}

// ClosePort ends the forwarding of a port. One that is not open is [ErrNotFound].
func (c *Client) ClosePort(ctx context.Context, by Account, machine message.Hash, port int, o SendOptions) (*Sent, error) {
	ports, err := c.Ports(ctx, ownerOf(by, o), machine)
	if err != nil {
		return nil, err
	}
	if _, ok := ports[port]; !ok {
		return nil, fmt.Errorf("port %d of %s is not open: %w", port, machine, ErrNotFound)
	}
	delete(ports, port)
	return c.setPorts(ctx, by, machine, ports, o)
}

// ClosePorts ends the forwarding of all ports of a machine.
func (c *Client) ClosePorts(ctx context.Context, by Account, machine message.Hash, o SendOptions) (*Sent, error) {
	return c.UnsetAggregate(ctx, by, portsKey, []string{string(machine)}, o)
}

func (c *Client) setPorts(ctx context.Context, by Account, machine message.Hash, ports map[int]Port, o SendOptions) (*Sent, error) {
	if len(ports) == 0 {
		return c.ClosePorts(ctx, by, machine, o)
	}
	return c.SetAggregate(ctx, by, portsKey, map[message.Hash]any{machine: map[string]any{"ports": ports}}, o)
}

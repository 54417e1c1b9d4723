package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/aleph-im/aleph-go/message"
)

// MachineOperation is what an owner may ask of a machine (crn §2.7.4).
type MachineOperation string

const (
	MachineStop      MachineOperation = "stop"      // turned off, and kept
	MachineStart     MachineOperation = "start"     // after a stop
	MachineReboot    MachineOperation = "reboot"    // off and on again
	MachineErase     MachineOperation = "erase"     // ended, with its disks
	MachineReinstall MachineOperation = "reinstall" // new disks; erase_volumes=false in the query keeps persistent volumes
)

// OperateMachine asks the compute node at crnURL to do something to a machine, in the name of an account that owns it, and
// returns what the node says. The answer comes when it is done; only ctx bounds that. The call is not repeated.
func (c *Client) OperateMachine(ctx context.Context, by Account, crnURL string, hash message.Hash, do MachineOperation, query url.Values) (string, error) {
	a, err := c.signedCall(ctx, by, http.MethodPost, crnURL, machinePath(hash, string(do)), query.Encode(), nil, "")
	if err == nil && a.status != http.StatusOK {
		err = httpError(http.MethodPost, a.url, a)
	}
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", do, hash, err)
	}
	return string(a.body), nil
}

// UpdateMachine asks the compute node to read again which ports the owner of a machine wants forwarded (crn §2.7.3).
func (c *Client) UpdateMachine(ctx context.Context, crnURL string, hash message.Hash) error {
	target := strings.TrimRight(crnURL, "/") + "/control/machine/" + string(hash) + "/update"
	a, err := c.callAt(ctx, http.MethodPost, target, nil, nil)
	if err != nil {
		return fmt.Errorf("update %s: %w", hash, err)
	}
	var nothing json.RawMessage
	return decode(http.MethodPost, a, &nothing)
}

// Execution is a workload of a compute node (crn §2.4.2).
type Execution struct {
	Kind       string `json:"vm_type"` // instance, persistent_program or microvm
	Running    bool   `json:"running"`
	Awaiting   bool   `json:"awaiting_confidential_init"` // a confidential machine, until its owner gives it a session
	Networking struct {
		HostIPv4    string                `json:"host_ipv4"` // the node's own
		IPv4        string                `json:"ipv4_ip"`   // behind it
		IPv6        string                `json:"ipv6_ip"`
		MappedPorts map[string]MappedPort `json:"mapped_ports"` // by port of the machine
	} `json:"networking"`
	Status  map[string]*string `json:"status"`  // when it was defined_at, started_at and so on
	Replica *Replica           `json:"replica"` // nil when it has none, or the node is of the reference
	Error   string             `json:"error"`   // why it does not run although it should; nodes of the reference do not say
}

// Replica is how a compute node keeps the volumes of an instance a second time.
type Replica struct {
	Holder       string  `json:"holder"`        // base URL of the node that keeps it
	ReplicatedAt *string `json:"replicated_at"` // as of when it is; nil before the node has made the first, also after its start
}

// MappedPort is a port of the compute node that leads to one of a machine.
type MappedPort struct {
	Host int  `json:"host"`
	TCP  bool `json:"tcp"`
	UDP  bool `json:"udp"`
}

// Executions returns what a compute node runs, or keeps stopped.
func (c *Client) Executions(ctx context.Context, crnURL string) (map[message.Hash]Execution, error) {
	var list map[message.Hash]Execution
	err := c.getFrom(ctx, strings.TrimRight(crnURL, "/"), "/v2/about/executions/list", nil, &list)
	return list, err
}

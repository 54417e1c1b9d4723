package scenario

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
)

type programArguments struct {
	Files      map[string]string
	Entrypoint string
	Runtime    message.Hash
	Memory     int `json:"memory_mib"`
}

// deployProgram stores the one file of the program and publishes the program.
func deployProgram(ctx context.Context, r *runner, by client.Account, a programArguments) (any, error) {
	names := slices.Collect(maps.Keys(a.Files))
	if len(names) != 1 {
		return nil, fmt.Errorf("deploy %v: want one file", names)
	}
	code, err := r.api.UploadFile(ctx, by, strings.NewReader(a.Files[names[0]]), client.UploadOptions{Channel: r.options().Channel, Sync: true})
	if err != nil {
		return nil, err
	}
	p := client.NewProgram("scenario", code.MessageHash, a.Entrypoint, a.Runtime)
	p.Code.Encoding, p.Resources.MemoryMiB = message.EncodingPlain, a.Memory
	return published(r.api.CreateProgram(ctx, by, p, r.options()))
}

type callArguments struct {
	Hash message.Hash `json:"item_hash"`
	Path string
}

const maxAnswer = 1 << 20 // bytes

func callProgram(ctx context.Context, r *runner, _ client.Account, a callArguments) (any, error) {
	url, err := r.nodeOf(ctx, a.Hash)
	if err != nil {
		return nil, err
	}
	answer, err := r.api.CallProgram(ctx, url, a.Hash, client.ProgramRequest{Method: http.MethodGet, Path: a.Path})
	if err != nil {
		return nil, err
	}
	body, err := client.ReadAnswer(answer, maxAnswer)
	return map[string]any{"http_status": answer.StatusCode, "text": string(body)}, err
}

// nodeOf returns the address of the compute node that a workload runs on.
func (r *runner) nodeOf(ctx context.Context, hash message.Hash) (string, error) {
	place, err := r.api.Allocation(ctx, hash)
	if err != nil {
		return "", err
	}
	return place.Node.URL, nil
}

func findMachine(ctx context.Context, r *runner, _ client.Account, a hashArgument) (any, error) {
	place, err := r.api.Allocation(ctx, a.Hash)
	if err != nil {
		return nil, err
	}
	return map[string]any{"url": place.Node.URL, "node_hash": place.Node.ID}, nil
}

type instanceArguments struct {
	Image  message.Hash
	Disk   int64    `json:"disk_mib"`
	VCPUs  int      `json:"vcpus"`
	Memory int      `json:"memory_mib"`
	Keys   []string `json:"ssh_keys"`
}

func createInstance(ctx context.Context, r *runner, by client.Account, a instanceArguments) (any, error) {
	i := client.NewInstance("scenario", a.Image, a.Disk, a.Keys...)
	i.Resources.VCPUs, i.Resources.MemoryMiB = a.VCPUs, a.Memory
	return published(r.api.CreateInstance(ctx, by, i, r.options()))
}

// execution asks the compute node of a machine for it.
func (r *runner) execution(ctx context.Context, hash message.Hash) (client.Execution, error) {
	url, err := r.nodeOf(ctx, hash)
	if err != nil {
		return client.Execution{}, err
	}
	all, err := r.api.Executions(ctx, url)
	if err != nil {
		return client.Execution{}, err
	}
	x, ok := all[hash]
	if !ok {
		return x, fmt.Errorf("%s does not run on %s", hash, url)
	}
	return x, nil
}

func getExecution(ctx context.Context, r *runner, _ client.Account, a hashArgument) (any, error) {
	x, err := r.execution(ctx, a.Hash)
	return map[string]any{"running": x.Running, "host_ipv4": x.Networking.HostIPv4, "mapped_ports": x.Networking.MappedPorts}, err
}

type greetingArguments struct {
	Hash message.Hash `json:"item_hash"`
	Port int
}

// greet reads the first line that a port of a machine says by itself.
func greet(ctx context.Context, r *runner, _ client.Account, a greetingArguments) (any, error) {
	x, err := r.execution(ctx, a.Hash)
	if err != nil {
		return nil, err
	}
	port, ok := x.Networking.MappedPorts[strconv.Itoa(a.Port)]
	if !ok {
		return nil, fmt.Errorf("port %d is not forwarded", a.Port)
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(x.Networking.HostIPv4, strconv.Itoa(port.Host)))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	line, err := bufio.NewReader(conn).ReadString('\n')
	return map[string]any{"text": line}, err
}

type operateArguments struct {
	Hash      message.Hash `json:"item_hash"`
	Operation client.MachineOperation
}

func operateMachine(ctx context.Context, r *runner, by client.Account, a operateArguments) (any, error) {
	url, err := r.nodeOf(ctx, a.Hash)
	if err != nil {
		return nil, err
	}
	_, err = r.api.OperateMachine(ctx, by, url, a.Hash, a.Operation, nil)
	return nil, err
}

type portArguments struct {
	Hash  message.Hash `json:"item_hash"`
	Ports map[int]client.Port
}

func openPorts(ctx context.Context, r *runner, by client.Account, a portArguments) (any, error) {
	var last *client.Sent
	for _, number := range slices.Sorted(maps.Keys(a.Ports)) {
		var err error
		if last, err = r.api.OpenPort(ctx, by, a.Hash, number, a.Ports[number], r.options()); err != nil {
			return nil, err
		}
	}
	if last == nil {
		return nil, errors.New("there are no ports to open")
	}
	url, err := r.nodeOf(ctx, a.Hash)
	if err != nil {
		return nil, err
	}
	return published(last, r.api.UpdateMachine(ctx, url, a.Hash))
}

func listPorts(ctx context.Context, r *runner, _ client.Account, a struct {
	Address string
	Hash    message.Hash `json:"item_hash"`
}) (any, error) {
	ports, err := r.api.Ports(ctx, a.Address, a.Hash)
	return map[string]any{"ports": ports}, err
}

type domainArguments struct {
	Name   string
	Hash   message.Hash `json:"item_hash"`
	Target client.DomainTarget
}

func attachDomain(ctx context.Context, r *runner, by client.Account, a domainArguments) (any, error) {
	return published(r.api.AttachDomain(ctx, by, a.Name, client.Domain{Message: a.Hash, Target: a.Target}, r.options()))
}

func listDomains(ctx context.Context, r *runner, _ client.Account, a addressArgument) (any, error) {
	domains, err := r.api.Domains(ctx, a.Address)
	return map[string]any{"domains": domains}, err
}

func detachDomain(ctx context.Context, r *runner, by client.Account, a struct{ Name string }) (any, error) {
	return published(r.api.DetachDomain(ctx, by, a.Name, r.options()))
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
)

const exampleInstance = "c5b1a9a9d5a1a7b9f2a3b0bbd8a6ec8dc23c2c0f3a4d1fd23b86b2d8f3a1c0de"

func (a *app) instanceCommand() *cobra.Command {
	return group("instance", "Run virtual machines on the network", "  aleph instance create --image debian.qcow2",
		a.instanceCreate(), a.instanceList(), a.instanceShow(), a.instanceSSH(), a.instanceLogs(), a.instanceUpdate(),
		a.instanceOperation(client.MachineStop, "Turn an instance off; it keeps its disks and its place"),
		a.instanceOperation(client.MachineStart, "Turn an instance on that was stopped"),
		a.instanceOperation(client.MachineReboot, "Turn an instance off and on again"),
		a.instanceReinstall(), a.instanceErase())
}

// createFlags is what a user may say about an instance.
type createFlags struct {
	image, name         string
	keys, volumes       []string
	memory, vcpus, disk int
	internet            bool
}

func (a *app) instanceCreate() *cobra.Command {
	var f createFlags
	c := &cobra.Command{
		Use: "create", Short: "Put a virtual machine on the network", Args: cobra.NoArgs,
		Long: `Publish an instance and say where it runs.

The image is a disk with a boot loader and cloud-init, qcow2 or raw: a file, which is stored first, or the hash of the STORE
message of one that is stored already.`,
		Example: "  aleph instance create --image debian-12-generic-amd64.qcow2 --disk 20480 --ssh-key ~/.ssh/id_ed25519.pub\n" +
			"  aleph instance create --image " + exampleInstance + " --volume data:10240",
		RunE: a.within(func(ctx context.Context, _ []string) error {
			v, err := a.createInstance(ctx, f)
			if err != nil {
				return err
			}
			return print(a, v, writeMachine)
		}),
	}
	flags := c.Flags()
	flags.StringVar(&f.image, "image", "", "`file` of a disk image, or the hash of its STORE message")
	flags.StringVar(&f.name, "name", "", "name; default that of the image")
	flags.StringArrayVar(&f.keys, "ssh-key", nil, "`file` of a public key that may log in; may be repeated; default those in ~/.ssh")
	flags.StringArrayVar(&f.volumes, "volume", nil, "a further disk, `NAME:MIB`; may be repeated")
	flags.IntVar(&f.memory, "memory", 2048, "memory in `MiB`")
	flags.IntVar(&f.vcpus, "vcpus", 1, "virtual processors")
	flags.IntVar(&f.disk, "disk", 20480, "size of the root disk in `MiB`")
	flags.BoolVar(&f.internet, "internet", true, "give it a network card; without, nobody reaches it")
	if err := c.MarkFlagRequired("image"); err != nil {
		panic(err)
	}
	return c
}

func (a *app) createInstance(ctx context.Context, f createFlags) (*machineView, error) {
	keys, err := a.publicKeys(f.keys)
	if err != nil {
		return nil, err
	}
	volumes, err := parseVolumes(f.volumes)
	if err != nil {
		return nil, usageError{err}
	}
	name := f.name
	if name == "" {
		name = filepath.Base(f.image)
	}
	metadata, err := json.Marshal(map[string]string{"name": name})
	if err != nil {
		return nil, err
	}
	account, err := a.signer()
	if err != nil {
		return nil, err
	}
	content := &message.Instance{
		Executable: message.Executable{
			Metadata: metadata, AuthorizedKeys: keys, Variables: map[string]string{},
			Environment: message.Environment{Internet: f.internet, AlephAPI: true, Hypervisor: new("qemu")},
			Resources:   message.Resources{VCPUs: f.vcpus, MemoryMiB: f.memory, Seconds: 30},
			Payment:     &message.Payment{Chain: new(string(message.ChainETH)), Type: message.PaymentHold},
			Volumes:     volumes,
		},
		Rootfs: message.Rootfs{Persistence: "host", SizeMiB: int64(f.disk)},
	}
	api := a.client()
	if content.Rootfs.Parent.Ref, err = a.image(ctx, api, account, f.image); err != nil {
		return nil, err
	}
	if err := a.canPay(ctx, api, account, message.TypeInstance, content); err != nil {
		return nil, err
	}
	a.say("Publishing the instance")
	hash, err := a.settle(ctx, api, account, message.TypeInstance, content)
	if err != nil {
		return nil, fmt.Errorf("publish the instance: %w", err)
	}
	a.say("Waiting until %s runs", hash)
	return a.machine(ctx, api, hash, func(x client.Execution) bool { return x.Running })
}

// image returns the STORE message of an image, storing it first when it is a file.
func (a *app) image(ctx context.Context, api *client.Client, account client.Account, wanted string) (message.Hash, error) {
	if hash, err := message.ParseHash(wanted); err == nil {
		return hash, nil
	}
	file, err := os.Open(wanted)
	if err != nil {
		return "", usageError{fmt.Errorf("--image: %w", err)}
	}
	defer file.Close()
	a.say("Storing the image")
	up, err := a.upload(ctx, api, account, file)
	if err != nil {
		return "", fmt.Errorf("store the image: %w", err)
	}
	return up.MessageHash, nil
}

// publicKeys reads the keys that may log in.
func (a *app) publicKeys(files []string) (keys []string, err error) {
	if len(files) == 0 {
		if home, err := os.UserHomeDir(); err == nil {
			files, _ = filepath.Glob(filepath.Join(home, ".ssh", "id_*.pub"))
		}
	}
	for _, path := range files {
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, usageError{fmt.Errorf("--ssh-key: %w", err)}
		}
		for line := range strings.Lines(string(raw)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				keys = append(keys, line)
			}
		}
	}
	if len(keys) == 0 {
		return nil, usageError{errors.New("nobody could log in: name the file of a public key with --ssh-key")}
	}
	return keys, nil
}

func parseVolumes(list []string) ([]message.Volume, error) {
	volumes := []message.Volume{}
	for _, text := range list {
		name, size, _ := strings.Cut(text, ":")
		mib, err := strconv.ParseInt(size, 10, 64)
		if err != nil || mib < 1 || name == "" {
			return nil, fmt.Errorf("--volume %s: want NAME:MIB", text)
		}
		volumes = append(volumes, message.Volume{
			Kind: message.VolumePersistent, Persistence: new("host"), Name: &name, Mount: new("/mnt/" + name), SizeMiB: mib,
		})
	}
	return volumes, nil
}

// canPay compares what a workload costs with what the account has.
func (a *app) canPay(ctx context.Context, api *client.Client, account client.Account, kind message.Type, content message.Content) error {
	m, _, err := message.Build(account.Address(), account.Chain(), kind, content, nil, time.Now())
	if err != nil {
		return usageError{err}
	}
	cost, err := api.EstimatePrice(ctx, account.Address(), account.Chain(), kind, json.RawMessage(m.ItemContent))
	var refused *client.HTTPError
	if errors.As(err, &refused) {
		// The node itself decides in the end; without its estimate the user only learns it later.
		a.say("The node does not estimate the price: %v", err)
		return nil
	}
	if err != nil {
		return err
	}
	balance, err := api.Balance(ctx, account.Address())
	if err != nil {
		return err
	}
	return balance.EnoughFor(cost)
}

// machineView is where an instance runs and how it is reached.
type machineView struct {
	ItemHash message.Hash                 `json:"item_hash"`
	CCN      string                       `json:"ccn"`
	CRN      string                       `json:"crn"`
	CRNURL   string                       `json:"crn_url"`
	Running  bool                         `json:"running"`
	Host     string                       `json:"host"` // address of the compute node
	IPv6     string                       `json:"ipv6"`
	Ports    map[string]client.MappedPort `json:"ports"`
}

func writeMachine(w io.Writer, v *machineView) {
	fmt.Fprintf(w, "instance\t%s\nccn\t%s\ncrn\t%s\nrunning\t%v\nipv6\t%s\n", v.ItemHash, v.CCN, v.CRN, v.Running, v.IPv6)
	if p, ok := v.Ports["22"]; ok {
		fmt.Fprintf(w, "ssh\tssh -p %d root@%s\n", p.Host, v.Host)
	}
	for port, p := range v.Ports {
		if port != "22" {
			fmt.Fprintf(w, "port %s\t%s:%d\n", port, v.Host, p.Host)
		}
	}
}

// machine looks an instance up until it is as it should be.
func (a *app) machine(ctx context.Context, api *client.Client, hash message.Hash, enough func(client.Execution) bool) (*machineView, error) {
	place, err := whereRuns(ctx, api, hash)
	if err != nil {
		return nil, err
	}
	var last error
	for {
		list, err := api.Executions(ctx, place.Node.URL)
		if x, ok := list[hash]; err == nil && ok && enough(x) {
			return &machineView{
				ItemHash: hash, CCN: nodeName(place.Core), CRN: nodeName(&place.Node), CRNURL: place.Node.URL, Running: x.Running,
				Host: x.Networking.HostIPv4, IPv6: x.Networking.IPv6, Ports: x.Networking.MappedPorts,
			}, nil
		}
		if err != nil && ctx.Err() == nil {
			last = err
		}
		if ended := pause(ctx); ended != nil {
			return nil, pendingError{fmt.Errorf("instance %s is not there yet: %w", hash, errors.Join(ended, last))}
		}
	}
}

// onInstance makes a command about one instance.
func (a *app) onInstance(use, short string, args cobra.PositionalArgs, do func(ctx context.Context, api *client.Client, hash message.Hash, args []string) error) *cobra.Command {
	name, _, _ := strings.Cut(use, " ")
	return &cobra.Command{
		Use: use, Short: short, Args: args, Example: "  aleph instance " + name + " " + exampleInstance,
		RunE: a.within(func(ctx context.Context, args []string) error {
			hash, err := hashArgument(args[0])
			if err != nil {
				return err
			}
			return do(ctx, a.client(), hash, args[1:])
		}),
	}
}

func (a *app) instanceShow() *cobra.Command {
	return a.onInstance("show HASH", "Say where an instance runs and how it is reached", cobra.ExactArgs(1),
		func(ctx context.Context, api *client.Client, hash message.Hash, _ []string) error {
			v, err := a.machine(ctx, api, hash, func(client.Execution) bool { return true })
			if err != nil {
				return err
			}
			return print(a, v, writeMachine)
		})
}

func (a *app) instanceSSH() *cobra.Command {
	var user string
	c := a.onInstance("ssh HASH [COMMAND...]", "Log in to an instance", cobra.MinimumNArgs(1),
		func(ctx context.Context, api *client.Client, hash message.Hash, command []string) error {
			v, err := a.machine(ctx, api, hash, func(x client.Execution) bool { return x.Running && x.Networking.MappedPorts["22"].Host != 0 })
			if err != nil {
				return err
			}
			args := append([]string{"-p", strconv.Itoa(v.Ports["22"].Host), user + "@" + v.Host}, command...)
			ssh := exec.Command("ssh", args...) // not bounded: who is logged in stays as long as they like
			ssh.Stdin, ssh.Stdout, ssh.Stderr = a.in, a.out, a.err
			if err := ssh.Run(); err != nil {
				return fmt.Errorf("ssh to instance %s: %w", hash, err)
			}
			return nil
		})
	c.Flags().StringVar(&user, "user", "root", "`name` to log in with")
	c.Flags().SetInterspersed(false) // what follows the hash is the command's
	return c
}

func (a *app) instanceLogs() *cobra.Command {
	return a.onInstance("logs HASH", "Print the serial console of an instance", cobra.ExactArgs(1),
		func(ctx context.Context, _ *client.Client, hash message.Hash, _ []string) error {
			return a.printLogs(ctx, hash)
		})
}

func (a *app) instanceUpdate() *cobra.Command {
	return a.onInstance("update HASH", "Have the forwarded ports read again", cobra.ExactArgs(1),
		func(ctx context.Context, api *client.Client, hash message.Hash, _ []string) error {
			place, err := api.Allocation(ctx, hash)
			if err != nil {
				return err
			}
			if err := api.UpdateMachine(ctx, place.Node.URL, hash); err != nil {
				return err
			}
			v, err := a.machine(ctx, api, hash, func(client.Execution) bool { return true })
			if err != nil {
				return err
			}
			return print(a, v, writeMachine)
		})
}

func (a *app) instanceOperation(do client.MachineOperation, short string) *cobra.Command {
	return a.onInstance(string(do)+" HASH", short, cobra.ExactArgs(1),
		func(ctx context.Context, api *client.Client, hash message.Hash, _ []string) error {
			return a.operate(ctx, api, hash, do, nil)
		})
}

func (a *app) instanceReinstall() *cobra.Command {
	var keep bool
	c := a.onInstance("reinstall HASH", "Begin anew from the image", cobra.ExactArgs(1),
		func(ctx context.Context, api *client.Client, hash message.Hash, _ []string) error {
			if err := a.confirm(fmt.Sprintf("Lose what is on the disks of instance %s?", hash)); err != nil {
				return err
			}
			return a.operate(ctx, api, hash, client.MachineReinstall, url.Values{"erase_volumes": {strconv.FormatBool(!keep)}})
		})
	c.Flags().BoolVar(&keep, "keep-volumes", false, "keep the disks other than the root disk")
	return c
}

func (a *app) instanceErase() *cobra.Command {
	var forget bool
	c := a.onInstance("erase HASH", "End an instance and lose its disks", cobra.ExactArgs(1),
		func(ctx context.Context, api *client.Client, hash message.Hash, _ []string) error {
			if err := a.confirm(fmt.Sprintf("Erase instance %s with its disks for ever?", hash)); err != nil {
				return err
			}
			// Erased first: of what is forgotten nobody knows any more where it runs.
			if err := a.operate(ctx, api, hash, client.MachineErase, nil); err != nil || !forget {
				return err
			}
			account, err := a.signer()
			if err != nil {
				return err
			}
			if err := a.forget(ctx, api, account, hash); err != nil {
				return fmt.Errorf("instance %s is erased, its message is not forgotten: %w", hash, err)
			}
			return nil
		})
	c.Flags().BoolVar(&forget, "forget", true, "forget its message as well; otherwise it is made anew")
	return c
}

// operate asks the compute node that has an instance for an operation, and prints what it says.
func (a *app) operate(ctx context.Context, api *client.Client, hash message.Hash, do client.MachineOperation, query url.Values) error {
	account, err := a.signer()
	if err != nil {
		return err
	}
	place, err := api.Allocation(ctx, hash)
	if err != nil {
		return err
	}
	text, err := api.OperateMachine(ctx, account, place.Node.URL, hash, do, query)
	if err != nil {
		return err
	}
	type view struct {
		ItemHash  message.Hash            `json:"item_hash"`
		Operation client.MachineOperation `json:"operation"`
		Answer    string                  `json:"answer"`
	}
	return print(a, view{hash, do, text}, func(w io.Writer, v view) { fmt.Fprintln(w, v.Answer) })
}

func (a *app) instanceList() *cobra.Command {
	return a.listOf("instance", "List instances", message.TypeInstance)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
)

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
	fmt.Fprintf(w, "instance\t%s\n", v.ItemHash)
	if v.CRN != "" { // it was waited for
		writePlace(w, v)
	}
}

func writePlace(w io.Writer, v *machineView) {
	fmt.Fprintf(w, "ccn\t%s\ncrn\t%s\nrunning\t%s\n", v.CCN, v.CRN, yesNo(v.Running))
	if v.IPv6 != "" {
		fmt.Fprintf(w, "ipv6\t%s\n", v.IPv6)
	}
	if p, ok := v.Ports["22"]; ok {
		fmt.Fprintf(w, "ssh\tssh -p %d root@%s\n", p.Host, v.Host)
	}
	for _, port := range slices.Sorted(maps.Keys(v.Ports)) {
		if port != "22" {
			fmt.Fprintf(w, "port %s\t%s:%d\n", port, v.Host, v.Ports[port].Host)
		}
	}
}

// machine looks an instance up until it is as it should be.
func (a *app) machine(ctx context.Context, api *client.Client, hash message.Hash, enough func(client.Execution) bool) (*machineView, error) {
	place, err := a.whereRuns(ctx, api, hash)
	if err != nil {
		return nil, err
	}
	var last error
	for {
		list, err := api.Executions(ctx, place.Node.URL)
		if x, ok := list[hash]; err == nil && ok && enough(x) {
			return machineAt(hash, place, x), nil
		}
		if err != nil && ctx.Err() == nil {
			last = err
		}
		if ended := pause(ctx); ended != nil {
			return nil, pendingError{fmt.Errorf("instance %s is not there yet: %w", hash, errors.Join(ended, last))}
		}
	}
}

func machineAt(hash message.Hash, place *client.Allocation, x client.Execution) *machineView {
	return &machineView{
		ItemHash: hash, CCN: nodeName(place.Core), CRN: nodeName(&place.Node), CRNURL: place.Node.URL, Running: x.Running,
		Host: x.Networking.HostIPv4, IPv6: x.Networking.IPv6, Ports: x.Networking.MappedPorts,
	}
}

// instanceOf reads what the owner of an instance wants of it.
func instanceOf(ctx context.Context, api *client.Client, hash message.Hash) (*message.Instance, error) {
	_, instance, err := instanceMessage(ctx, api, hash)
	return instance, err
}

// instanceMessage reads the message of an instance.
func instanceMessage(ctx context.Context, api *client.Client, hash message.Hash) (*client.StoredMessage, *message.Instance, error) {
	info, err := api.GetMessage(ctx, hash)
	if err != nil {
		return nil, nil, err
	}
	if info.Message == nil || info.Message.Type != message.TypeInstance {
		return nil, nil, notOf("instance", hash, info)
	}
	content, err := message.ParseContent(message.TypeInstance, info.Message.Content)
	if err != nil {
		return nil, nil, fmt.Errorf("content of instance %s: %w", hash, err)
	}
	return info.Message, content.(*message.Instance), nil
}

// notOf is the error for a message that is not of the kind that a command is about, or not there any more.
func notOf(kind string, hash message.Hash, info *client.MessageInfo) error {
	if info.Message != nil {
		return usageError{fmt.Errorf("%s is no %s, but a message of the type %s", hash, kind, info.Message.Type)}
	}
	return absentf("%s is no %s that is there: its message is %s", hash, kind, info.Status)
}

// asOwner is for what is published about an instance: it is its owner's word that counts.
func (a *app) asOwner(account client.Account, instance *message.Instance) client.SendOptions {
	o := a.options()
	if !strings.EqualFold(instance.Address, account.Address()) {
		o.Address = instance.Address
	}
	return o
}

// onInstance makes a command about one instance.
func (a *app) onInstance(use, short string, args cobra.PositionalArgs, do func(ctx context.Context, api *client.Client, hash message.Hash, args []string) error) *cobra.Command {
	name, _, _ := strings.Cut(use, " ")
	example := "  aleph instance " + name + " " + exampleInstance
	if slices.Contains([]string{"reinstall", "erase", "delete"}, name) { // these ask
		example += " --yes"
	}
	return &cobra.Command{
		Use: use, Short: short, Args: args, Example: example,
		RunE: a.within(func(ctx context.Context, args []string) error {
			hash, err := a.hash(ctx, args[0])
			if err != nil {
				return err
			}
			return do(ctx, a.client(), hash, args[1:])
		}),
	}
}

// sshFailed is the exit code of ssh itself; any other is that of what ran on the other side.
const sshFailed = 255

func (a *app) instanceSSH() *cobra.Command {
	var user, identity string
	c := a.onInstance("ssh HASH [COMMAND...]", "Log in to an instance", cobra.MinimumNArgs(1),
		func(ctx context.Context, api *client.Client, hash message.Hash, command []string) error {
			v, err := a.machine(ctx, api, hash, func(x client.Execution) bool { return x.Running && x.Networking.MappedPorts["22"].Host != 0 })
			if err != nil {
				return err
			}
			// The key of the machine is remembered under its hash: it moves, and another may get its port.
			args := []string{"-o", "HostKeyAlias=" + string(hash), "-p", strconv.Itoa(v.Ports["22"].Host)}
			if identity != "" {
				args = append(args, "-i", identity)
			}
			args = append(args, user+"@"+v.Host)
			ssh := exec.Command("ssh", append(args, command...)...) // not bounded: who is logged in stays as long as they like
			ssh.Stdin, ssh.Stdout, ssh.Stderr = a.in, a.out, a.err
			err = ssh.Run()
			var ended *exec.ExitError
			if errors.As(err, &ended) && ended.Exited() && ended.ExitCode() != sshFailed {
				return commandStatus(ended.ExitCode())
			}
			if err != nil {
				return fmt.Errorf("ssh to instance %s: %w; what it printed at boot: aleph instance logs %[1]s", hash, err)
			}
			return nil
		})
	c.Long = "Log in to an instance, or run a command there, whose exit code is then that of this one. Flags come before the hash; what follows it is the command."
	c.Example += "\n  aleph instance ssh --user debian " + exampleInstance + " uname -a"
	c.Flags().StringVar(&user, "user", "root", "`name` to log in with")
	c.Flags().StringVarP(&identity, "identity", "i", "", "`file` of the private key to log in with; default what ssh finds")
	c.Flags().SetInterspersed(false) // what follows the hash is the command's
	return c
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
			var streamed *streaming
			var instance *message.Instance
			if forget { // that this account cannot end its streams must not be learnt when the disks are gone
				var err error
				if streamed, instance, err = a.streamedInstance(ctx, api, hash); err != nil {
					return err
				}
			}
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
			err = streamed.end(ctx, hash, instance)
			if err == nil {
				err = a.forget(ctx, api, account, deletedByOwner, hash)
			}
			if err != nil {
				return fmt.Errorf("instance %s is erased, its message is not forgotten: %w", hash, err)
			}
			return nil
		})
	c.Flags().BoolVar(&forget, "forget", true, "forget its message as well; otherwise it is made anew")
	return c
}

func (a *app) instanceDelete() *cobra.Command {
	return a.onInstance("delete HASH", "End an instance, lose its disks, stop paying for it", cobra.ExactArgs(1),
		func(ctx context.Context, api *client.Client, hash message.Hash, _ []string) error {
			account, err := a.signer()
			if err != nil {
				return err
			}
			// That this account cannot end its streams must not be learnt when the disks are gone.
			streamed, instance, err := a.streamedInstance(ctx, api, hash)
			if err != nil {
				return err
			}
			if err := a.confirm(fmt.Sprintf("Delete instance %s with its disks for ever?", hash)); err != nil {
				return err
			}
			v := deletion{ItemHash: hash}
			// Erased first: of what is forgotten nobody knows any more where it runs. A node that is away erases it later.
			place, err := a.placeOf(ctx, api, hash)
			if err == nil {
				_, err = api.OperateMachine(ctx, account, place.Node.URL, hash, client.MachineErase, nil)
			}
			if v.Erased = err == nil; !v.Erased {
				a.say("It is not erased at once: %v", err)
			}
			if err := a.dropPorts(ctx, api, account, hash); err != nil {
				a.say("Its forwarded ports stay in the list: %v", err)
			}
			// Forgotten last: what is streamed for it is known from its message.
			if err := streamed.end(ctx, hash, instance); err != nil {
				return fmt.Errorf("delete instance %s: %w", hash, err)
			}
			if err := a.forget(ctx, api, account, deletedByOwner, hash); err != nil {
				return fmt.Errorf("forget instance %s: %w", hash, err)
			}
			v.Status = message.StatusForgotten
			return print(a, v, func(w io.Writer, v deletion) {
				fmt.Fprintf(w, "instance\t%s\nerased\t%s\nstatus\t%s\n", v.ItemHash, yesNo(v.Erased), v.Status)
			})
		})
}

// deletion is what became of an instance that was deleted.
type deletion struct {
	ItemHash message.Hash   `json:"item_hash"`
	Erased   bool           `json:"erased"` // its disks are gone already
	Status   message.Status `json:"status"`
}

// operate asks the compute node that has an instance for an operation, and prints what it says.
func (a *app) operate(ctx context.Context, api *client.Client, hash message.Hash, do client.MachineOperation, query url.Values) error {
	account, err := a.signer()
	if err != nil {
		return err
	}
	place, err := a.placeOf(ctx, api, hash)
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

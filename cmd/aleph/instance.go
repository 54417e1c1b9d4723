package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/client/sev"
	"github.com/aleph-im/aleph-go/message"
)

func (a *app) instanceCommand() *cobra.Command {
	return group("instance", "Run virtual machines on the network", "  aleph instance list",
		a.instanceCreate(), a.instanceList(), a.instanceShow(), a.instanceSSH(),
		a.logsCommand("Print the serial console of an instance", "  aleph instance logs "+exampleInstance), a.portForward(), a.instanceBackup(), a.instanceConfidential(),
		a.instanceOperation(client.MachineStop, "Turn an instance off; it keeps its disks and its place"),
		a.instanceOperation(client.MachineStart, "Turn an instance on that was stopped"),
		a.instanceOperation(client.MachineReboot, "Turn an instance off and on again"),
		a.instanceMove(), a.instanceReplicate(), a.instanceReinstall(), a.instanceErase(), a.instanceDelete())
}

// createFlags is what a user may say about an instance.
type createFlags struct {
	image, name, payment string
	chain, node, resume  string
	keys, volumes        []string
	memory, vcpus, disk  int
	internet             bool
	confidential         bool
	firmware             string
	policy               uint32
}

// addShape adds the flags that a price depends on.
func (f *createFlags) addShape(c *cobra.Command) {
	flags := c.Flags()
	whole(flags, &f.memory, "memory", 1, 2048, "memory in `MiB`")
	whole(flags, &f.vcpus, "vcpus", 1, 1, "virtual processors")
	whole(flags, &f.disk, "disk", 1, 20480, "size of the root disk in `MiB`")
	flags.StringArrayVar(&f.volumes, "volume", nil, "a further disk, `NAME:MIB`; may be repeated")
}

func (f *createFlags) shape() string {
	return fmt.Sprintf("An instance with %d vCPU, %d MiB of memory and %d MiB of disk", f.vcpus, f.memory, f.disk)
}

// content makes the content of the INSTANCE message, but for the image.
func (f *createFlags) content(keys []string) (*message.Instance, error) {
	volumes, err := parseVolumes(f.volumes)
	if err != nil {
		return nil, usageError{err}
	}
	var paid *message.Payment // that of streams is known with their receiver
	if f.payment != streamPayment {
		if paid, err = payment(f.payment); err != nil {
			return nil, usageError{fmt.Errorf("--payment %s: want hold, credit or stream", f.payment)}
		}
	}
	i := client.NewInstance(f.name, "", int64(f.disk), keys...)
	i.Payment, i.Volumes, i.Environment.Internet = paid, volumes, f.internet
	i.Resources.VCPUs, i.Resources.MemoryMiB = f.vcpus, f.memory
	i.Environment.TrustedExecution, err = f.trustedExecution()
	return i, err
}

func (a *app) instanceCreate() *cobra.Command {
	var f createFlags
	c := &cobra.Command{
		Use: "create", Short: "Put a virtual machine on the network", Args: cobra.NoArgs,
		Long: `Check that the account can pay for an instance, show what it costs, ask, publish it and say where it runs.

The image is a disk with a boot loader and cloud-init, qcow2 or raw: a file, which is stored first, the hash of the STORE message
of one that is stored already, or a name that the network has for one.

With --payment stream tokens are streamed on a chain to one compute node, --node, and in part to the community, as long as the
instance exists; aleph instance delete ends that. All streams begin or none does, and what streams already and pays for nothing is
used. When the command breaks off after the message was sent, --resume with the hash of the instance goes on with it.

With --confidential the machine runs on a secure processor, on the compute node that --node names, and its image is an encrypted disk:
see aleph instance confidential.`,
		Example: "  aleph instance create --image debian-12.qcow2 --disk 20480 --ssh-key id_ed25519.pub --yes\n" +
			"  aleph instance create --image " + exampleImage + " --ssh-key id_ed25519.pub --volume data:10240 --payment credit --yes\n" +
			"  aleph instance create --image " + exampleImage + " --ssh-key id_ed25519.pub --payment stream --yes\n" +
			"  aleph instance create --resume " + exampleInstance + " --yes",
		RunE: a.within(func(ctx context.Context, _ []string) error {
			create := a.createInstance
			if f.resume != "" {
				create = a.resumeInstance
			}
			v, err := create(ctx, f)
			if err != nil {
				return err
			}
			return print(a, v, writeMachine)
		}),
	}
	f.addShape(c)
	flags := c.Flags()
	flags.StringVar(&f.image, "image", "", "`file` of a disk image, the hash of its STORE message, or a name that the network has for it")
	flags.StringVar(&f.name, "name", "", "name; default that of the image")
	flags.StringVar(&f.payment, "payment", "hold", "hold, credit or stream")
	flags.StringVar(&f.chain, "chain", "", "`chain` to stream on, such as AVAX or BASE; default the first that the network has")
	flags.StringVar(&f.node, "node", "", "hash, name or address of the compute `node` to stream to, default the best; or of that of a confidential instance")
	flags.StringVar(&f.resume, "resume", "", "go on with the instance that has this `hash`")
	flags.StringArrayVar(&f.keys, "ssh-key", nil, "`file` of a public key that may log in; may be repeated; default those in ~/.ssh")
	flags.BoolVar(&f.internet, "internet", true, "give it a network card; without, nobody reaches it")
	flags.BoolVar(&f.confidential, "confidential", false, "run it where its compute node cannot look into it")
	flags.StringVar(&f.firmware, "firmware", "", "`hash` of the STORE message of a confidential instance's firmware; default the usual one")
	flags.Uint32Var(&f.policy, "policy", uint32(sev.NoDebug), "`sum` of what the processor of a confidential instance enforces: 1 no debugging, 2 no sharing of keys, 4 SEV-ES; nodes of the reference know 1 alone")
	c.MarkFlagsOneRequired("image", "resume")
	c.MarkFlagsMutuallyExclusive("image", "resume")
	return c
}

func (a *app) createInstance(ctx context.Context, f createFlags) (*machineView, error) {
	keys, err := a.publicKeys(f.keys)
	if err != nil {
		return nil, err
	}
	api := a.client()
	f.name = cmp.Or(f.name, filepath.Base(f.image))
	if f.image, err = a.namedImage(ctx, api, f.image); err != nil {
		return nil, err
	}
	content, err := f.content(keys)
	if err != nil {
		return nil, err
	}
	account, err := a.signer()
	if err != nil {
		return nil, err
	}
	// Everything that can be refused is looked at before anything is stored or paid for.
	var streamed *streaming
	imagePayment := content.Payment
	if f.payment == streamPayment {
		if streamed, err = a.toStream(ctx, api, account, f, content); err != nil {
			return nil, err
		}
	}
	if f.confidential && streamed == nil {
		n, err := a.namedNode(ctx, f.node)
		if err != nil {
			return nil, err
		}
		terms, err := a.acceptTerms(ctx, api, n)
		if err != nil {
			return nil, err
		}
		content.Requirements = &message.Requirements{Node: &message.NodeRequirements{NodeHash: &n.Hash, TermsAndConditions: terms}}
	}
	priced := *content
	if priced.Rootfs.Parent.Ref, err = knownImage(f.image); err != nil {
		return nil, err
	}
	if err := a.agree(ctx, api, account, f.shape(), &priced, streamed); err != nil {
		return nil, err
	}
	if content.Rootfs.Parent.Ref, err = a.image(ctx, api, account, f.image, imagePayment); err != nil {
		return nil, err
	}
	a.say("Publishing the instance")
	sent, err := a.send(ctx, api, account, content, a.wait || streamed != nil)
	if err != nil {
		return nil, fmt.Errorf("publish the instance: %w", err)
	}
	if streamed != nil {
		if err := streamed.pay(ctx, sent.ItemHash, *content.Payment.Receiver, *content.Requirements.Node.NodeHash); err != nil {
			return nil, err
		}
	}
	if f.confidential {
		a.say("It starts once it has the passphrase of its disk: aleph instance confidential start %s", sent.ItemHash)
	}
	if !a.wait || f.confidential {
		return &machineView{ItemHash: sent.ItemHash}, nil
	}
	a.say("Waiting until %s runs", sent.ItemHash)
	return a.machine(ctx, api, sent.ItemHash, func(x client.Execution) bool { return x.Running })
}

// agree shows what a workload costs in the way it is paid, checks that the account can, and asks. streamed is nil but for streams.
func (a *app) agree(ctx context.Context, api *client.Client, account client.Account, what string, content *message.Instance, streamed *streaming) error {
	cost, err := estimate(ctx, api, account.Address(), account.Chain(), content, nil)
	if streamed == nil && a.notEstimated(err) {
		return a.confirm(what + ", at a price that is not known. Create it?")
	}
	if err != nil {
		return err
	}
	if err := a.canPay(ctx, api, account, cost); err != nil {
		return err
	}
	o, err := offerOf(what, cost)
	if err != nil {
		return err
	}
	price := fmt.Sprintf("holds %s ALEPH as long as it exists", o.Hold)
	switch cost.Payment {
	case message.PaymentSuperfluid:
		plan, err := streamed.plan(ctx, *content.Payment.Receiver, cost.Cost)
		if err != nil {
			return err
		}
		changes, err := streamed.changes(plan, *content.Payment.Receiver, cost.Cost)
		if err != nil {
			return err
		}
		price = streamed.costs(o) + changes
	case message.PaymentCredit:
		price = fmt.Sprintf("costs %s credits an hour, %s a day, %s in 30 days ($%s, $%s, $%s)",
			o.Credits.Hour, o.Credits.Day, o.Credits.Month, o.CreditsUSD.Hour, o.CreditsUSD.Day, o.CreditsUSD.Month)
	}
	a.say("%s %s.", what, price)
	return a.confirm("Create it?")
}

// imagesKey is the aggregate in which a network's authority names images of instances (sdk-cli §1.2.3).
const imagesKey = "vm-images"

// namedImage returns the STORE message of an image that the network names. What is a hash or a file, or looks like the path of one,
// stays as it is.
func (a *app) namedImage(ctx context.Context, api *client.Client, wanted string) (string, error) {
	if _, err := message.ParseHash(wanted); err == nil || strings.ContainsAny(wanted, `/\`) {
		return wanted, nil
	}
	if _, err := os.Stat(wanted); err == nil {
		return wanted, nil
	}
	var known struct {
		Rootfs map[string]struct {
			Hash       message.Hash `json:"hash"`
			Deprecated bool         `json:"deprecated"`
		} `json:"rootfs"`
	}
	err := api.Aggregate(ctx, a.params.Pricing.Addresses[0], imagesKey, &known)
	if err != nil && !errors.Is(err, client.ErrNotFound) {
		return "", fmt.Errorf("look for the network's images (name one by its hash, or a file, with --image): %w", err)
	}
	if image, ok := known.Rootfs[wanted]; ok {
		return string(image.Hash), nil
	}
	var names []string
	for name, image := range known.Rootfs {
		if !image.Deprecated {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "", usageError{fmt.Errorf("--image %s: there is no such file, and the network names no images", wanted)}
	}
	slices.Sort(names)
	return "", usageError{fmt.Errorf("--image %s: there is no such file, and the network has no such image; it has: %s", wanted, strings.Join(names, ", "))}
}

// knownImage is the hash by which the price of an image is asked for: that of its message, or any while it is a file.
func knownImage(wanted string) (message.Hash, error) {
	if hash, err := message.ParseHash(wanted); err == nil {
		return hash, nil
	}
	if info, err := os.Stat(wanted); err != nil {
		return "", usageError{fmt.Errorf("--image: %w", err)}
	} else if !info.Mode().IsRegular() {
		return "", usageError{fmt.Errorf("--image: %s is no file", wanted)}
	}
	return message.HashBytes(nil), nil
}

// image returns the STORE message of an image, storing it first when it is a file.
func (a *app) image(ctx context.Context, api *client.Client, account client.Account, wanted string, paid *message.Payment) (message.Hash, error) {
	if hash, err := message.ParseHash(wanted); err == nil {
		return hash, nil
	}
	file, err := openRegular(wanted)
	if err != nil {
		return "", usageError{fmt.Errorf("--image: %w", err)}
	}
	defer file.Close()
	o := client.UploadOptions{Payment: paid}
	if info, err := file.Stat(); err == nil && info.Size() > a.params.MaxFile { // nodes take more by its CID
		o.Engine = message.ItemIPFS
	}
	a.say("Storing the image")
	up, err := a.upload(ctx, api, account, file, filepath.Base(wanted), o)
	if err == nil && up.Status == message.StatusPending { // also with --wait=false: the instance refers to it
		err = waitFor(ctx, api, up.MessageHash)
	}
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
		raw, err := readRegular(path, 1<<20)
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

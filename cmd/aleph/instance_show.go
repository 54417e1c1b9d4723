package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
)

// instanceView is an instance as its owner wants it, and where it runs. A contract with scripts: members are added, never changed.
type instanceView struct {
	machineView
	Name    string              `json:"name"`
	Owner   string              `json:"owner"`
	Time    string              `json:"time"`
	Image   message.Hash        `json:"image"`
	VCPUs   int                 `json:"vcpus"`
	Memory  int                 `json:"memory_mib"`
	Disk    int64               `json:"disk_mib"`
	Payment message.PaymentType `json:"payment"`
	Error   string              `json:"error,omitempty"` // why it does not run although it should
	Replica *keptReplica        `json:"replica,omitempty"`
}

// keptReplica is what a second compute node keeps of an instance.
type keptReplica struct {
	CRN          string  `json:"crn"` // name of the node
	CRNURL       string  `json:"crn_url"`
	ReplicatedAt *string `json:"replicated_at"` // null before the first since the node of the instance started
}

func (a *app) instanceShow() *cobra.Command {
	c := a.onInstance("show HASH", "Show an instance, where it runs and how it is reached", cobra.ExactArgs(1),
		func(ctx context.Context, api *client.Client, hash message.Hash, _ []string) error {
			v, err := a.showInstance(ctx, api, hash)
			if err != nil {
				return err
			}
			return print(a, v, a.writeInstance)
		})
	c.Aliases = []string{"get"}
	return c
}

// showInstance says what is known now; that a compute node does not answer is told, and no failure.
func (a *app) showInstance(ctx context.Context, api *client.Client, hash message.Hash) (*instanceView, error) {
	m, i, err := instanceMessage(ctx, api, hash)
	if err != nil {
		return nil, err
	}
	v := &instanceView{
		machineView: machineView{ItemHash: hash}, Name: nameOf(i.Metadata), Owner: i.Address, Time: message.TimeFromSeconds(m.Time).RFC3339(),
		Image: i.Rootfs.Parent.Ref, VCPUs: i.Resources.VCPUs, Memory: i.Resources.MemoryMiB, Disk: i.Rootfs.SizeMiB, Payment: i.PaymentType(),
	}
	place, err := a.placeOf(ctx, api, hash)
	if errors.Is(err, client.ErrNotFound) {
		return v, nil
	} else if err != nil {
		return nil, err
	}
	list, err := api.Executions(ctx, place.Node.URL)
	if err != nil {
		a.say("Its compute node does not answer: %v", err)
	}
	x := list[hash]
	v.machineView, v.Error = *machineAt(hash, place, x), x.Error
	if x.Replica == nil {
		return v, nil
	}
	v.Replica = &keptReplica{CRN: x.Replica.Holder, CRNURL: x.Replica.Holder, ReplicatedAt: x.Replica.ReplicatedAt}
	nodes, err := a.nodes(ctx)
	if err != nil {
		return nil, err
	}
	if at := slices.IndexFunc(nodes.Compute, func(n client.ComputeNode) bool { return isNamed(n, x.Replica.Holder) }); at >= 0 {
		v.Replica.CRN = nodes.Compute[at].Name
	}
	return v, nil
}

func (a *app) writeInstance(w io.Writer, v *instanceView) {
	fmt.Fprintf(w, "instance\t%s\nname\t%s\nowner\t%s\ncreated\t%s\n", v.ItemHash, a.clean(v.Name), v.Owner, momentText(v.Time))
	fmt.Fprintf(w, "image\t%s\nshape\t%d vCPU, %d MiB, disk of %d MiB\npayment\t%s\n", v.Image, v.VCPUs, v.Memory, v.Disk, v.Payment)
	if v.CRN == "" {
		fmt.Fprintln(w, "runs\tnowhere yet")
		return
	}
	writePlace(w, &v.machineView)
	if v.Error != "" {
		fmt.Fprintf(w, "failure\t%s\n", a.clean(v.Error))
	}
	if v.Replica != nil {
		copied := "not since its node was started"
		if v.Replica.ReplicatedAt != nil {
			copied = momentText(*v.Replica.ReplicatedAt)
		}
		fmt.Fprintf(w, "replica on\t%s\ncopied\t%s\n", cmp.Or(v.Replica.CRN, v.Replica.CRNURL), copied)
	}
}

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
)

// replicaView is how an instance is kept a second time.
type replicaView struct {
	ItemHash message.Hash `json:"item_hash"`
	Every    string       `json:"every,omitempty"`
	CRN      string       `json:"replica_crn"` // name of the compute node that keeps it; "" for none yet
	Hash     message.Hash `json:"replica_crn_hash"`
}

func writeReplica(w io.Writer, v *replicaView) {
	fmt.Fprintf(w, "instance\t%s\nreplica on\t%s\n", v.ItemHash, cmp.Or(v.CRN, "no node"))
	if v.Every != "" {
		fmt.Fprintf(w, "every\t%s\n", v.Every)
	}
}

func (a *app) instanceReplicate() *cobra.Command {
	var every time.Duration
	var end bool
	c := a.onInstance("replicate HASH", "Keep the volumes of an instance on a second compute node as well", cobra.ExactArgs(1),
		func(ctx context.Context, api *client.Client, hash message.Hash, _ []string) error {
			if every < time.Second {
				return usageError{fmt.Errorf("--every %s: at least a second, such as 15m", every)}
			}
			if end {
				every = 0
			}
			v, err := a.replicateInstance(ctx, api, hash, every)
			if err != nil {
				return err
			}
			return print(a, v, writeReplica)
		})
	c.Long = `Have what changes on the persistent volumes of an instance copied to another compute node, sealed, again and again. Should its node
die for good, the instance comes back on that one with its volumes as of the last copy; its root disk begins anew from the image.
The command waits until a node has agreed to keep the copy. --end has the copy removed.`
	c.Example = "  aleph instance replicate " + exampleInstance + " --every 15m\n  aleph instance replicate " + exampleInstance + " --end"
	c.Flags().DurationVar(&every, "every", 15*time.Minute, "time between two copies; the network says how short it may be")
	c.Flags().BoolVar(&end, "end", false, "keep no copy any more")
	c.MarkFlagsMutuallyExclusive("every", "end")
	return c
}

// replicateInstance says how often an instance is to be copied, 0 for never, and waits until a node keeps the copy.
func (a *app) replicateInstance(ctx context.Context, api *client.Client, hash message.Hash, every time.Duration) (*replicaView, error) {
	instance, err := instanceOf(ctx, api, hash)
	if err != nil {
		return nil, err
	}
	account, err := a.signer()
	if err != nil {
		return nil, err
	}
	sent, err := api.ReplicateInstance(ctx, account, hash, every, a.asOwner(account, instance))
	if err == nil {
		err = a.settled(ctx, api, sent)
	}
	if err != nil {
		return nil, fmt.Errorf("ask for the replica: %w", err)
	}
	v := &replicaView{ItemHash: hash}
	if every == 0 {
		return v, nil
	}
	v.Every = every.String()
	var last error
	for a.wait {
		if v.CRN, v.Hash, err = a.replicaOf(ctx, api, hash); v.Hash != "" {
			return v, nil
		}
		if err != nil && ctx.Err() == nil {
			last = err
		}
		if ended := pause(ctx); ended != nil {
			return nil, pendingError{fmt.Errorf("no compute node has agreed to keep a copy of %s yet; one does as soon as it offers the room: %w", hash, errors.Join(ended, last))}
		}
	}
	return v, nil
}

// replicaOf finds the compute node that keeps an instance a second time; its hash is "" when none does.
func (a *app) replicaOf(ctx context.Context, api *client.Client, hash message.Hash) (name string, node message.Hash, err error) {
	nodes, err := a.nodes(ctx)
	if err != nil {
		return "", "", err
	}
	homes, err := api.Homes(ctx, nodes)
	if err != nil {
		return "", "", fmt.Errorf("ask where instances are: %w", err)
	}
	if node = homes[hash].Replica; node == "" {
		return "", "", nil
	}
	if i := slices.IndexFunc(nodes.Compute, func(n client.ComputeNode) bool { return n.Hash == node }); i >= 0 {
		name = nodes.Compute[i].Name
	}
	return cmp.Or(name, string(node)), node, nil
}

package main

import (
	"runtime"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// heeded waits until the network's plan heeds that the compute node takes workloads, or takes none.
func (r *streamRig) heeded(takes bool) {
	r.Helper()
	for {
		nodes, err := r.node.core.Client().SchedulerNodes(r.Context())
		if err != nil {
			r.Fatal(err)
		}
		if (len(nodes) > 0) == takes {
			return
		}
		runtime.Gosched()
	}
}

func TestNothingIsStreamedToANodeThatIsDrainedOrGone(t *testing.T) {
	r := newStreamRig(t)
	refused := func(why string, more ...string) {
		t.Helper()
		if code, _, errOut := r.create(more...); code == exitOK || !strings.Contains(errOut, why) {
			t.Errorf("exit code %d: %s", code, errOut)
		}
		if code, out, _ := r.u.run("-o", "json", "message", "list", "--type", "INSTANCE"); code != 0 || strings.Contains(out, "item_hash") {
			t.Errorf("something was published: %s", out)
		}
	}
	owner, err := ethereum.FromHex(strings.Repeat("5a", 32))
	if err != nil {
		t.Fatal(err)
	}
	r.node.core.Fund(owner.Address(), 1)
	r.registerFor(owner.Address(), "")
	if _, err := r.node.core.Client().DrainNode(t.Context(), owner, exampleCompute, true, client.SendOptions{Sync: true}); err != nil {
		t.Fatal(err)
	}
	r.heeded(false)
	refused("is being drained")
	refused("name another one with --node", "--node", "crn-1")
	if _, err := r.node.core.Client().DrainNode(t.Context(), owner, exampleCompute, false, client.SendOptions{Sync: true}); err != nil {
		t.Fatal(err)
	}
	r.heeded(true)
	r.compute.Close()
	refused("no compute node takes streams")
}

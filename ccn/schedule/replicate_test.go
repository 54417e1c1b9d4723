package schedule

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
	"github.com/aleph-im/aleph-go/registry"
)

// replicaNet is a scheduler with an instance at home on node "home" and some nodes beside it, which answer orders with a status.
type replicaNet struct {
	*Scheduler
	t         *testing.T
	status    map[string]int            // by node and end of the path; 200 when there is none
	orders    []string                  // node and end of the path
	bodies    map[string]map[string]any // of the last such order
	published []Home
}

func newReplicaNet(t *testing.T, holders ...string) *replicaNet {
	t.Helper()
	n := &replicaNet{t: t, status: map[string]int{}, bodies: map[string]map[string]any{}}
	var err error
	n.Scheduler, err = New(Config{Params: params.Devnet(), Signer: nobody{}, Publish: func(_ context.Context, key string, content any) error {
		home := content.(map[message.Hash]Home)[movingHash]
		if key != HomesKey || home.Since == 0 {
			t.Errorf("published %s: %+v", key, content)
		}
		home.Since = 0
		n.published = append(n.published, home)
		n.orders = append(n.orders, "published")
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	n.view = &view{
		down: map[string]bool{}, homes: map[message.Hash]string{movingHash: "home"}, replicas: map[message.Hash]string{}, reviving: map[message.Hash]bool{},
		asked: map[message.Hash]int64{movingHash: 60},
	}
	core := "core"
	for _, hash := range append(holders, "home") {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			name := hash + r.URL.Path[strings.LastIndex(r.URL.Path, "/"):]
			var body map[string]any
			if err := json.NewDecoder(r.Body).Decode(&body); err != nil || !strings.Contains(r.URL.Path, string(movingHash)) {
				t.Errorf("%s: %v", r.URL.Path, err)
			}
			n.orders, n.bodies[name] = append(n.orders, name), body
			if status := n.status[name]; status != 0 {
				w.WriteHeader(status)
			}
			_, _ = w.Write([]byte("{}"))
		}))
		t.Cleanup(server.Close)
		n.view.nodes.ResourceNodes = append(n.view.nodes.ResourceNodes, registry.ResourceNode{Node: registry.Node{Hash: hash, Address: server.URL}, Parent: &core})
	}
	n.view.plan = map[message.Hash]Placement{movingHash: {Compute: n.view.compute("home")}}
	return n
}

// step takes one step and returns what was done.
func (n *replicaNet) step(wantError bool) []string {
	n.t.Helper()
	n.orders = nil
	if err := n.keepReplica(n.t.Context(), n.view, movingHash, *n.view.compute("home")); (err != nil) != wantError {
		n.t.Errorf("error %v", err)
	}
	return n.orders
}

func TestAReplicaIsHeldPublishedAndSentTo(t *testing.T) {
	n := newReplicaNet(t, "other")
	if got := n.step(false); !slices.Equal(got, []string{"other/drop", "other/hold", "published", "home/replica"}) || n.published[0] != (Home{Node: "home", Replica: "other"}) {
		t.Fatalf("%v, %+v", got, n.published)
	}
	hold, home := n.bodies["other/hold"], n.bodies["home/replica"]
	if hold["token"] != home["token"] || home["token"] == "" || home["secret"] == "" || hold["secret"] != nil || home["every"] != 60.0 || home["holder"] != n.view.compute("other").Address {
		t.Errorf("orders %v and %v", hold, home)
	}
	n.view.replicas[movingHash] = "other"
	if got := n.step(false); !slices.Equal(got, []string{"home/replica", "other/hold"}) || !reflect.DeepEqual(n.bodies["home/replica"], home) {
		t.Errorf("again: %v, %v", got, n.bodies["home/replica"])
	}
}

func TestAnotherNodeHoldsTheReplicaWhenOneCannot(t *testing.T) {
	for what, spoil := range map[string]func(n *replicaNet){
		"has no room":           func(n *replicaNet) { n.status["b/hold"] = http.StatusInsufficientStorage },
		"is gone":               func(n *replicaNet) { n.view.down["b"] = true },
		"is registered no more": func(n *replicaNet) { n.view.nodes.ResourceNodes[1].Address = "" },
	} {
		n := newReplicaNet(t, "a", "b")
		n.view.replicas[movingHash] = "b"
		spoil(n)
		got := n.step(false)
		if len(n.published) != 1 || n.published[0] != (Home{Node: "home", Replica: "a"}) || got[len(got)-1] != "home/replica" {
			t.Errorf("one that %s: %v, %+v", what, got, n.published)
		}
	}
	n := newReplicaNet(t, "a", "b")
	n.view.replicas[movingHash], n.view.down["b"] = "b", true
	n.status["a/drop"] = http.StatusGone
	if got := n.step(false); slices.Contains(got, "a/hold") {
		t.Errorf("one that keeps what it held before is to hold it: %v", got)
	}
	n = newReplicaNet(t, "b")
	n.view.replicas[movingHash], n.view.down["b"] = "b", true
	if got := n.step(false); !slices.Equal(got, []string{"home/replica", "home/replica", "published"}) || n.published[0] != (Home{Node: "home"}) || len(n.bodies["home/replica"]) != 0 {
		t.Errorf("without any: %v, %+v", got, n.published)
	}
	n = newReplicaNet(t)
	if got := n.step(false); len(got) > 0 {
		t.Errorf("alone from the beginning: %v", got)
	}
}

// An outage of the holder is none of the instance.
func TestAHomeGetsItsWordWhateverTheHolderAnswers(t *testing.T) {
	for _, status := range []int{http.StatusInternalServerError, http.StatusNotFound} {
		n := newReplicaNet(t, "a", "b")
		n.view.replicas[movingHash] = "b"
		n.status["b/hold"] = status
		if got := n.step(true); !slices.Equal(got, []string{"home/replica", "b/hold"}) || len(n.published) > 0 {
			t.Errorf("a holder that answers %d: %v, %+v", status, got, n.published)
		}
	}
}

func TestAFewNodesAtATimeAreAskedToHoldAReplica(t *testing.T) {
	n := newReplicaNet(t, "a", "b", "c", "d", "e", "f")
	n.view.replicas[movingHash], n.view.down["f"] = "f", true
	asked := map[string]bool{}
	for _, hash := range []string{"a", "b", "c", "d", "e"} {
		n.status[hash+"/hold"] = http.StatusInsufficientStorage
	}
	for _, want := range []int{holdersAtOnce, 5 - holdersAtOnce} {
		got := n.step(false)
		if got[0] != "home/replica" {
			t.Errorf("the home waits for its word: %v", got)
		}
		tried := 0
		for _, order := range got {
			if node, ok := strings.CutSuffix(order, "/hold"); ok {
				tried++
				asked[node] = true
			}
		}
		if tried != want {
			t.Errorf("%d nodes were asked, not %d: %v", tried, want, got)
		}
	}
	if len(asked) != 5 || len(n.published) != 1 || n.published[0] != (Home{Node: "home"}) {
		t.Errorf("asked %v, published %+v", asked, n.published)
	}
}

// Once the holder was told to run the instance, its old home is not told to go on before it is known that it does not.
func TestAHomeGetsNoWordWhileTheHolderMayHaveTheInstance(t *testing.T) {
	for what, mark := range map[string]func(n *replicaNet){
		"published":              func(n *replicaNet) { n.view.reviving[movingHash] = true },
		"not in the plan so far": func(n *replicaNet) { n.setReviving(movingHash, "home") },
	} {
		n := newReplicaNet(t, "a", "b")
		n.view.replicas[movingHash] = "b"
		mark(n)
		n.view.down["b"] = true
		if got := n.step(false); len(got) > 0 {
			t.Errorf("%s, a holder that is gone: %v", what, got)
		}
		n.view.down["b"] = false
		for _, status := range []int{http.StatusInternalServerError, http.StatusInsufficientStorage} {
			n.status["b/hold"] = status
			if got := n.step(true); !slices.Equal(got, []string{"b/hold"}) {
				t.Errorf("%s, a holder that answers %d: %v", what, status, got)
			}
		}
		n.status["b/hold"], n.status["b/revive"] = http.StatusGone, http.StatusInternalServerError
		if got := n.step(true); !slices.Equal(got, []string{"b/hold", "b/revive"}) {
			t.Errorf("%s, a holder that took it and cannot run it: %v", what, got)
		}
		n.status["b/revive"] = 0
		if got := n.step(false); !slices.Equal(got, []string{"b/hold", "b/revive", "published"}) || n.published[0] != (Home{Node: "b"}) || n.bodies["b/revive"]["secret"] == "" {
			t.Errorf("%s, a holder that has it: %v, %+v", what, got, n.published)
		}
		n.status["b/hold"], n.published = 0, nil
		if got := n.step(false); !slices.Equal(got, []string{"b/hold", "published"}) || n.published[0] != (Home{Node: "home", Replica: "b"}) {
			t.Errorf("%s, a holder that did not take it: %v, %+v", what, got, n.published)
		}
		n.view.reviving[movingHash] = false
		if got := n.step(false); !slices.Equal(got, []string{"home/replica", "b/hold"}) {
			t.Errorf("%s, after that: %v", what, got)
		}
	}
	// A holder that has it although it is not known to have been told so.
	n := newReplicaNet(t, "b")
	n.view.replicas[movingHash], n.status["b/hold"] = "b", http.StatusGone
	if got := n.step(false); !slices.Equal(got, []string{"home/replica", "b/hold", "published", "b/revive", "published"}) || n.published[1] != (Home{Node: "b"}) {
		t.Errorf("%v, %+v", got, n.published)
	}
}

func TestAnInstanceComesBackALeaseAfterTheLastWord(t *testing.T) {
	n := newReplicaNet(t, "b")
	n.view.replicas[movingHash], n.view.down["home"] = "b", true
	lease := time.Duration(n.cfg.Params.Schedule.ReplicaLease) * time.Second
	if got := n.step(false); len(got) > 0 {
		t.Errorf("right after a start of this node: %v", got)
	}
	n.lastTold[movingHash] = time.Now().Add(-lease / 2)
	if got := n.step(false); len(got) > 0 {
		t.Errorf("within the lease: %v", got)
	}
	n.lastTold[movingHash] = time.Now().Add(-lease)
	n.status["b/revive"] = http.StatusTooEarly
	if got := n.step(false); !slices.Equal(got, []string{"published", "b/revive"}) || n.published[0] != (Home{Node: "home", Replica: "b", Reviving: true}) {
		t.Errorf("the holder told it to go on: %v", got)
	}
	n.status["b/revive"] = http.StatusNotFound
	if got := n.step(true); !slices.Equal(got, []string{"b/revive"}) {
		t.Errorf("there is no generation: %v", got)
	}
	n.status["b/revive"] = 0
	if got := n.step(false); !slices.Equal(got, []string{"b/revive", "published"}) || n.published[1] != (Home{Node: "b"}) {
		t.Errorf("%v, %+v", got, n.published)
	}
	n.view.down["b"] = true
	if got := n.step(false); len(got) > 0 {
		t.Errorf("both are gone: %v", got)
	}
}

func TestAReplicaEndsWhenItsOwnerWantsNone(t *testing.T) {
	n := newReplicaNet(t, "b")
	n.view.replicas[movingHash], n.view.asked = "b", nil
	n.status["b/drop"] = http.StatusGone
	if got := n.step(false); !slices.Equal(got, []string{"b/drop", "published", "b/revive", "published"}) || n.published[1] != (Home{Node: "b"}) {
		t.Errorf("a holder that has it: %v, %+v", got, n.published)
	}
	n.status["b/drop"], n.published = 0, nil
	n.setReviving(movingHash, "")
	n.status["home/replica"] = http.StatusInternalServerError
	if got := n.step(true); !slices.Equal(got, []string{"b/drop", "home/replica"}) {
		t.Errorf("a home that fails: %v", got)
	}
	n.status["home/replica"] = 0
	if got := n.step(false); !slices.Equal(got, []string{"b/drop", "home/replica", "published"}) || n.published[0] != (Home{Node: "home"}) {
		t.Errorf("%v, %+v", got, n.published)
	}
	n.view.down["home"] = true
	n.view.replicas = nil
	if got := n.step(false); len(got) > 0 {
		t.Errorf("without a replica it waits for its node: %v", got)
	}
}

func TestAHolderThatDrainsIsLeftForAnother(t *testing.T) {
	n := newReplicaNet(t, "a", "b")
	n.view.replicas[movingHash] = "a"
	n.view.draining = map[string]bool{"a": true}
	if got := n.step(false); !slices.Equal(got, []string{"home/replica", "a/hold", "b/drop", "b/hold", "published", "home/replica"}) || n.published[0] != (Home{Node: "home", Replica: "b"}) {
		t.Errorf("%v, %+v", got, n.published)
	}
	n.published = nil
	n.status["b/hold"] = http.StatusInsufficientStorage
	if got := n.step(false); len(n.published) > 0 || !slices.Equal(got, []string{"home/replica", "a/hold", "b/drop", "b/hold"}) {
		t.Errorf("there is no other: %v, %+v", got, n.published)
	}
}

func TestAnInstanceThatIsToMoveGoesOnUntilItLeaves(t *testing.T) {
	n := newReplicaNet(t, "a")
	n.view.replicas[movingHash] = "a"
	n.view.plan[movingHash] = Placement{Compute: n.view.compute("a")}
	if got := n.step(false); !slices.Equal(got, []string{"home/replica"}) {
		t.Errorf("%v", got)
	}
	n.status["home/replica"] = http.StatusNotFound
	if got := n.step(false); !slices.Equal(got, []string{"home/replica"}) {
		t.Errorf("when it has left: %v", got)
	}
}

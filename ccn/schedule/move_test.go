package schedule

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
	"github.com/aleph-im/aleph-go/registry"
)

// movingNodes are two compute nodes that move one instance as the real ones do, but for its bytes.
type movingNodes struct {
	mu       sync.Mutex
	exported string // state of the one; empty before it is asked to
	gone     bool   // it has no such instance
	imported string // of the other
	room     int    // its answer when it is asked for room; 200 when 0
	offers   bool   // the disks can be fetched while it runs
	ahead    string // state of that
	after    string // by the next look but one
	orders   []string
	fail     int // number of the request that is answered with 500, from 1 on
	requests int
}

func (m *movingNodes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests++
	if m.requests == m.fail {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	body, _ := io.ReadAll(r.Body)
	reply := func(status int, body string) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
	_, path, _ := strings.Cut(r.URL.Path, string(movingHash))
	switch {
	case m.gone && !strings.HasPrefix(r.URL.Path, "/control/migrate"):
		reply(404, `{}`)
	case r.Method == "GET" && path == "/migration/export/status":
		if m.exported == "" {
			reply(404, `{}`)
			return
		}
		reply(200, fmt.Sprintf(`{"state":%q,"export_token":"secret","disk_files":[{"name":"x","extents":[[0,1]]}],"parent":"p","stopped":true}`, m.exported))
		m.exported = "exported" // by the next look
	case path == "/migration/export":
		m.exported = "exporting"
		m.orders = append(m.orders, "export")
		reply(202, `{}`)
	case path == "/migration/cleanup":
		m.orders = append(m.orders, "cleanup")
		reply(200, `{}`)
	case path == "/migration/ahead" && m.offers:
		m.orders = append(m.orders, "offer")
		reply(200, `{"export_token":"early","disk_files":[{"name":"x","extents":[[0,1]]}],"parent":"p"}`)
	case path == "/ahead" && r.Method == "POST":
		var order map[string]any
		if json.Unmarshal(body, &order) != nil || order["export_token"] != "early" || order["vm_hash"] != string(movingHash) {
			reply(400, string(body))
			return
		}
		m.ahead = "fetching"
		m.orders = append(m.orders, "ahead")
		reply(202, `{}`)
	case path == "/ahead" && m.ahead != "":
		if m.ahead == "fetching" && m.exported != "" {
			m.orders = append(m.orders, "stopped too early")
		}
		reply(200, fmt.Sprintf(`{"state":%q}`, m.ahead))
		m.ahead = m.after
	case path == "/room":
		m.orders = append(m.orders, "room")
		reply(cmp.Or(m.room, 200), `{}`)
	case r.URL.Path == "/control/migrate":
		var order map[string]any
		if json.Unmarshal(body, &order) != nil || m.exported != "exported" || order["export_token"] != "secret" || order["parent"] != "p" || order["stopped"] != true || fmt.Sprint(order["disk_files"]) != "[map[extents:[[0 1]] name:x]]" {
			reply(400, string(body))
			return
		}
		m.imported = "importing"
		m.orders = append(m.orders, "import")
		reply(202, `{}`)
	case m.imported == "":
		reply(404, `{}`)
	default:
		reply(200, fmt.Sprintf(`{"state":%q}`, m.imported))
		m.imported = "imported"
	}
}

var movingHash = message.HashBytes([]byte("instance"))

// newMover makes a scheduler whose plan has the instance on another node than its home.
func newMover(t *testing.T, nodes http.Handler) (*Scheduler, journey, *[]any) {
	t.Helper()
	server := httptest.NewServer(nodes)
	t.Cleanup(server.Close)
	published := &[]any{}
	p := params.Devnet()
	p.Schedule.ProbeInterval = 1
	s, err := New(Config{Params: p, Signer: nobody{}, Publish: func(_ context.Context, key string, content any) error {
		*published = append(*published, key, content)
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	at := func(hash string) registry.ResourceNode {
		return registry.ResourceNode{Node: registry.Node{Hash: hash, Address: server.URL}}
	}
	j := journey{hash: movingHash, from: at("from"), to: at("to")}
	s.view = &view{
		homes: map[message.Hash]string{movingHash: "from"},
		plan:  map[message.Hash]Placement{movingHash: {Workload: Workload{Hash: movingHash, Type: message.TypeInstance}, Compute: &j.to}},
	}
	return s, j, published
}

func TestAnInstanceIsCarriedFromNodeToNode(t *testing.T) {
	nodes := &movingNodes{}
	s, j, published := newMover(t, nodes)
	for n := 0; ; n++ {
		if n > 10 {
			t.Fatalf("after ten steps: %v", nodes.orders)
		}
		arrived, err := s.step(t.Context(), j)
		if err != nil {
			t.Fatal(err)
		}
		if arrived {
			break
		}
	}
	if want := []string{"room", "export", "import", "cleanup"}; !slices.Equal(nodes.orders, want) {
		t.Errorf("orders %v", nodes.orders)
	}
	// Another core node, or this one after a restart, finds it done.
	if err := s.carry(t.Context(), j); err != nil || len(*published) != 2 || (*published)[0] != HomesKey {
		t.Fatalf("%v, %v", err, *published)
	}
	if home := (*published)[1].(map[message.Hash]Home)[movingHash]; home.Node != "to" || home.Since == 0 {
		t.Errorf("home %+v", home)
	}
}

// Whichever request fails, the next try goes on from there, and nothing is removed before the other node has it all.
func TestAJourneyThatWasCutShortIsGoneOnWith(t *testing.T) {
	for fail := 1; fail <= 15; fail++ {
		nodes := &movingNodes{fail: fail}
		s, j, _ := newMover(t, nodes)
		arrived := false
		for n := 0; n < 20 && !arrived; n++ {
			arrived, _ = s.step(t.Context(), j)
		}
		if !arrived {
			t.Errorf("with request %d failed it does not arrive: %v", fail, nodes.orders)
		}
		if i := slices.Index(nodes.orders, "cleanup"); i >= 0 && (i != len(nodes.orders)-1 || nodes.imported != "imported") {
			t.Errorf("with request %d failed: %v", fail, nodes.orders)
		}
	}
}

func TestAnInstanceIsStoppedOnlyForANodeThatHasRoom(t *testing.T) {
	for status, begins := range map[int]bool{http.StatusServiceUnavailable: false, http.StatusBadRequest: false, http.StatusNotFound: true} {
		nodes := &movingNodes{room: status}
		s, j, _ := newMover(t, nodes)
		_, err := s.step(t.Context(), j)
		if begun := slices.Contains(nodes.orders, "export"); begun != begins || (err == nil) != begins {
			t.Errorf("answer %d: %v, %v", status, nodes.orders, err)
		}
	}
}

func TestDisksAreFetchedBeforeTheInstanceIsStopped(t *testing.T) {
	for _, after := range []string{"fetched", "failed"} {
		for fail := range 16 {
			nodes := &movingNodes{offers: true, after: after, fail: fail}
			s, j, _ := newMover(t, nodes)
			arrived := false
			for n := 0; n < 20 && !arrived; n++ {
				var err error
				if arrived, err = s.step(t.Context(), j); fail == 0 && err != nil {
					t.Fatal(err)
				}
			}
			orders := slices.Compact(slices.DeleteFunc(nodes.orders, func(o string) bool { return o == "room" }))
			want := []string{"offer", "ahead", "export", "import", "cleanup"}
			if fail > 0 { // an order that was not heard leaves out what is not needed
				want = slices.DeleteFunc(want, func(o string) bool { return !slices.Contains(orders, o) && o != "export" && o != "import" })
			}
			if !arrived || !slices.Equal(orders, want) {
				t.Errorf("%s, with request %d failed: %v", after, fail, nodes.orders)
			}
		}
	}
}

func TestWhatIsToLeaveGoesOnAtHome(t *testing.T) {
	var bodies []allocation
	home := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var a allocation
		if err := json.NewDecoder(r.Body).Decode(&a); err != nil {
			t.Error(err)
		}
		bodies = append(bodies, a)
		_, _ = io.WriteString(w, `{}`)
	}))
	defer home.Close()
	s, j, _ := newMover(t, &movingNodes{})
	core := "core"
	s.view.nodes = registry.Aggregate{
		Nodes:         []registry.CoreNode{{Node: registry.Node{Hash: core, Owner: nobody{}.Address()}}},
		ResourceNodes: []registry.ResourceNode{{Node: registry.Node{Hash: j.from.Hash, Address: home.URL}, Parent: &core}},
	}
	deliver := func() allocation {
		t.Helper()
		var wg sync.WaitGroup
		done := make(chan deliveryResult)
		s.deliver(t.Context(), &wg, done)
		if r := <-done; r.err != nil {
			t.Fatal(r.err)
		}
		wg.Wait()
		s.sent = map[string]*delivery{}
		return bodies[len(bodies)-1]
	}
	if a := deliver(); !slices.Equal(a.Leaving, []message.Hash{movingHash}) || len(a.Instances) > 0 {
		t.Errorf("before it moves: %+v", a)
	}
	s.view.homes[movingHash] = j.to.Hash
	if a := deliver(); len(a.Leaving) > 0 {
		t.Errorf("when it has moved: %+v", a)
	}
	s.view.homes[movingHash], s.view.plan = j.from.Hash, nil
	if a := deliver(); len(a.Leaving) > 0 {
		t.Errorf("when its owner forgot it: %+v", a)
	}
}

func TestAnInstanceWhoseDisksAreGoneBeginsAnew(t *testing.T) {
	s, j, published := newMover(t, &movingNodes{gone: true})
	if err := s.carry(t.Context(), j); err != nil || len(*published) != 2 {
		t.Errorf("%v, %v", err, *published)
	}
}

func TestANodeThatNeverGetsReadyKeepsWhatLeavesItAlone(t *testing.T) {
	s, j, _ := newMover(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/control/migrate/") {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(w, `{"state":"exporting"}`)
	}))
	core := "core"
	j.to.Parent = &core
	s.view.nodes = registry.Aggregate{
		Nodes:         []registry.CoreNode{{Node: registry.Node{Hash: core, Owner: nobody{}.Address()}}},
		ResourceNodes: []registry.ResourceNode{j.to, j.from},
	}
	leave := func(from string, n int) {
		for i := range n {
			hash := message.HashBytes([]byte(fmt.Sprint(from, i)))
			s.view.homes[hash], s.view.plan[hash] = from, Placement{Workload: Workload{Hash: hash, Type: message.TypeInstance}, Compute: &j.to}
		}
	}
	delete(s.view.plan, movingHash)
	leave("from", 3)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	ended := make(chan journeyResult)
	s.move(ctx, &wg, ended)
	if len(s.journeys) != 1 {
		t.Errorf("%d leave one node at once", len(s.journeys))
	}
	for i := range 10 {
		leave(fmt.Sprint("another ", i), 1)
	}
	s.view.parts, s.view.splitting = nil, sync.Once{}
	s.move(ctx, &wg, ended)
	left := slices.Sorted(maps.Values(s.journeys))
	if n := len(slices.Compact(left)); n != journeysAtOnce || n < 2 || len(s.journeys) != n || !slices.Contains(left, "from") {
		t.Errorf("under way from %q", left)
	}
}

func TestAJourneyEndsWhenThePlanChanges(t *testing.T) {
	s, j, published := newMover(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, `{"state":"importing"}`) }))
	s.view = &view{homes: s.view.homes}
	if err := s.carry(t.Context(), j); err == nil || len(*published) != 0 {
		t.Errorf("%v, %v", err, *published)
	}
}

func TestANodeIsToldOnlyOfInstancesWhoseDisksItHas(t *testing.T) {
	v := &view{homes: map[message.Hash]string{"a": "here", "b": "there"}}
	here := &registry.ResourceNode{Node: registry.Node{Hash: "here"}}
	for hash, want := range map[message.Hash]bool{"a": false, "b": true, "c": false} {
		if got := v.elsewhere(Placement{Workload: Workload{Hash: hash, Type: message.TypeInstance}, Compute: here}); got != want {
			t.Errorf("%s: %v", hash, got)
		}
	}
}

func TestHomesArePublishedOnce(t *testing.T) {
	s, j, published := newMover(t, &movingNodes{})
	r := deliveryResult{node: j.to, outcome: outcome{Successful: []message.Hash{movingHash, "other"}}}
	if err := s.settled(t.Context(), r); err != nil || len(*published) != 0 {
		t.Errorf("one whose home is another node: %v, %v", err, *published)
	}
	s.view.homes = nil
	if err := s.settled(t.Context(), r); err != nil || len(*published) != 2 {
		t.Errorf("one without a home: %v, %v", err, *published)
	}
	s.cfg.Publish = func(context.Context, string, any) error { return errors.New("no disk") }
	s.sent["to"] = &delivery{key: "k", pending: true, sent: time.Now()}
	r.key = "k"
	if s.delivered(t.Context(), r); s.sent["to"].ok {
		t.Error("a home that was not published is not tried again")
	}
}

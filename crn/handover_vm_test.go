package crn_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/crn/corenode/corenodetest"
	"github.com/aleph-im/aleph-go/crn/image/imagetest"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
)

// moment is a point of a move, as it shows between the two nodes.
type moment string

const (
	disksTravel   moment = "disks travel ahead"
	memoryAsked   moment = "memory is asked for"
	memoryTravels moment = "memory travels"
	guestStands   moment = "the guest stands still"
	handoverAsked moment = "the instance is asked for"
	handoverGiven moment = "it was given away and nobody knows"
	notCleanedUp  moment = "it is there, and the node that it left has not cleared up"
	anyTime       moment = "any time"
)

const (
	memoryBytes     = 4 << 20          // that have travelled when memory travels
	usualMove       = 10 * time.Second // what one takes
	patienceOfMoves = 3 * time.Minute
)

var moments = []moment{disksTravel, memoryAsked, memoryTravels, guestStands, handoverAsked, handoverGiven, notCleanedUp, anyTime}

// victim is who is killed.
type victim string

const (
	sourceNode victim = "the node that it leaves"
	targetNode victim = "the node that it goes to"
	sourceQEMU victim = "the machine that it leaves"
	targetQEMU victim = "the machine that it goes to"
)

var victims = []victim{sourceNode, targetNode, sourceQEMU, targetQEMU}

// An instance moves back and forth between two nodes, and each time somebody is killed at another point of it. In the end one machine
// runs, at no time did two, and what the guest had synced is there. A move with all its waits for a guest that boots takes long, so that
// by default the points are those where most is at stake; ALEPH_KILLS names a number of others, drawn from all.
func TestAnInstanceSurvivesKillsOnItsWay(t *testing.T) {
	if !imagetest.InOwnNetwork(t, "small") {
		return
	}
	type kill struct {
		who  victim
		when moment
	}
	kills := []kill{
		{targetNode, handoverGiven}, {sourceNode, handoverGiven}, {targetQEMU, handoverGiven}, {sourceQEMU, guestStands}, {sourceNode, guestStands},
	}
	if text := os.Getenv("ALEPH_KILLS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		kills = nil
		for len(kills) < n {
			for _, i := range rand.Perm(len(moments) * len(victims)) {
				kills = append(kills, kill{victims[i%len(victims)], moments[i/len(victims)]})
			}
		}
		kills = kills[:n]
	}
	m := newMoving(t)
	for i, k := range kills {
		t.Run(fmt.Sprintf("%d %s when %s", i, k.who, k.when), func(t *testing.T) { m.round(t, k.who, k.when) })
		if t.Failed() {
			return // what follows begins from a mess
		}
	}
}

// moving is an instance between two nodes.
type moving struct {
	t     *testing.T
	hash  message.Hash
	hosts [2]*host
	roads [2]*road // to each of them
	home  int
	ticks *ticks
}

func newMoving(t *testing.T) *moving {
	return newMovingOf(t, "instance-small.img", 512, nil)
}

// newMovingOf has an image of that name run on the first of two nodes, with a root disk of sizeMiB.
func newMovingOf(t *testing.T, file string, sizeMiB int, change func(content map[string]any)) *moving {
	first := newHost(t)
	m := &moving{t: t, hosts: [2]*host{first, hostOf(t, first.core, first.owner, first.key)}, ticks: watchTicks(t)}
	registered := []any{}
	for i, h := range m.hosts {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		h.listen = l.Addr().String() // also of the node after a kill
		l.Close()
		m.roads[i] = newRoad(t, h.listen)
		registered = append(registered, map[string]any{"hash": fmt.Sprint(i), "owner": "nobody", "address": m.roads[i].url})
	}
	first.core.Aggregate(params.Mainnet().Corechannel.Addresses[0], map[string]any{"corechannel": map[string]any{"resource_nodes": registered}})
	content := corenodetest.Instance(first.storeImage(file), sizeMiB, first.publicKey())
	content["volumes"] = []any{map[string]any{"persistence": "host", "name": "kept", "mount": "/kept", "size_mib": 16}}
	if change != nil {
		change(content)
	}
	m.hash = first.core.Publish(message.TypeInstance, content)
	for _, h := range m.hosts {
		h.start()
	}
	if status, answer := first.allocate(m.hash); status != 200 {
		t.Fatalf("got %d %v", status, answer)
	}
	return m
}

// A guest stands still while its disks are compared, here for some seconds, and its clock with it.
func TestAGuestsClockIsRightAfterAMove(t *testing.T) {
	if !imagetest.InOwnNetwork(t, "small") {
		return
	}
	const still = 5 * time.Second
	m := newMoving(t)
	from, to := m.hosts[0], m.hosts[1]
	right := func(h *host) (ok bool, off string) {
		before := time.Now()
		second, err := strconv.ParseInt(h.ssh(m.hash, "date +%s"), 10, 64)
		after := time.Now()
		if err != nil {
			t.Fatal(err)
		}
		begin, end := time.Unix(second, 0), time.Unix(second+1, 0)
		return end.After(before.Add(-time.Second)) && begin.Before(after.Add(time.Second)), fmt.Sprintf("%s in the guest between %s and %s", begin, before, after)
	}
	if ok, off := right(from); !ok {
		t.Error(off)
	}
	boot := from.ssh(m.hash, counting)
	var once sync.Once
	m.roads[0].at(func(now moment) {
		if now == guestStands {
			once.Do(func() { time.Sleep(still) }) // what is measured
		}
	})
	m.carry(t, from, to, m.roads[0])
	eventually(t, "its clock is right", func() bool { ok, _ := right(to); return ok })
	if to.ssh(m.hash, counting) != boot {
		t.Error("it moved without its memory")
	}
	eventually(t, "its owner is told", func() bool { return strings.Contains(to.console(m.hash), "its clock had stood still") })
	// One that was turned off and on asks the hardware.
	to.order("POST", "/control/machine/"+string(m.hash)+"/migration/export", nil)
	m.carry(t, to, from, m.roads[1])
	if ok, off := right(from); !ok {
		t.Error(off)
	}
	if from.ssh(m.hash, counting) == boot {
		t.Error("it moved with its memory")
	}
}

// counting has the guest count on its volume for as long as it lives. What was synced shows as an address that is sent to.
const counting = `[ -e /run/counting ] || (touch /run/counting; n=$(cat /vol/vdc/count 2>/dev/null || echo 0)
while :; do n=$((n+1)); echo $n > /vol/vdc/new; mv /vol/vdc/new /vol/vdc/count; sync
ping -c1 -W1 45.$((n/65536)).$((n/256%256)).$((n%256)) & usleep 100000; done) >/dev/null 2>&1 &
cat /proc/sys/kernel/random/boot_id`

// round moves the instance to the other node. who is killed when it comes to it.
func (m *moving) round(t *testing.T, who victim, when moment) {
	from, to, way := m.hosts[m.home], m.hosts[1-m.home], m.roads[m.home]
	from.t, to.t = t, t
	boot := from.ssh(m.hash, counting)
	m.ticks.forget()
	eventually(t, "its guest counts", func() bool { return m.ticks.last() > 0 })

	fell := make(chan *host, 1) // a node that was killed
	var once sync.Once
	kill := func() {
		once.Do(func() {
			switch who {
			case sourceNode:
				from.kill()
				fell <- from
			case targetNode:
				to.kill()
				fell <- to
			case sourceQEMU:
				send(from.pids(), syscall.SIGKILL)
				close(fell)
			case targetQEMU:
				send(to.pids(), syscall.SIGKILL)
				close(fell)
			}
		})
	}
	way.at(func(now moment) {
		if now == when {
			kill()
		}
	})
	defer way.at(nil)
	if when == anyTime {
		late := time.AfterFunc(time.Duration(rand.Int64N(int64(usualMove))), kill)
		defer late.Stop()
	}
	begin := time.Now()
	for arrived := false; !arrived; {
		if time.Since(begin) > patienceOfMoves {
			t.Fatalf("it is not there after %v; at the node that it leaves: %s; at the other: %s", time.Since(begin).Round(time.Second), m.state(from), m.state(to))
		}
		select {
		case h := <-fell:
			if fell = nil; h != nil {
				h.start()
			}
		case <-time.After(100 * time.Millisecond):
			arrived = m.step(from, to, way, func() {
				if when == notCleanedUp {
					kill()
				}
			})
		}
	}
	if when == anyTime {
		kill()
	}
	select {
	case h := <-fell:
		if h != nil {
			h.start()
		}
	default:
	}
	m.home = 1 - m.home
	synced := m.ticks.last()
	after := to.ssh(m.hash, counting)
	count, err := strconv.Atoi(to.ssh(m.hash, "cat /vol/vdc/count"))
	if err != nil || count < synced {
		t.Errorf("it had counted to %d and has %d, %v", synced, count, err)
	}
	if twice := m.ticks.returned(); twice != "" {
		t.Errorf("two machines ran at once: %s", twice)
	}
	eventually(t, "its first node has cleared up", func() bool {
		left, _ := os.ReadDir(from.dir + "/instances/disks")
		return len(from.pids()) == 0 && len(left) == 0
	})
	if pids := to.pids(); len(pids) != 1 {
		t.Errorf("machines %v", pids)
	}
	log := to.console(m.hash)
	how := log[max(0, strings.LastIndex(log, "moved here")):]
	how, _, _ = strings.Cut(how, "\n")
	switch with := strings.HasPrefix(how, "moved here with its memory"); {
	case !with && !strings.HasPrefix(how, "moved here without its memory: ") && (who != targetNode || when != anyTime && when != notCleanedUp): // it may be killed before it says so
		t.Errorf("its owner is not told how it moved: %q", how)
	case with && after != boot && who != sourceQEMU && (who != targetQEMU || when != notCleanedUp && when != anyTime):
		t.Errorf("its owner reads %q, and it began anew", how)
	case strings.Contains(log, "token="):
		t.Errorf("its log has a token: %s", log)
	}
	t.Logf("%v, %s", time.Since(begin).Round(100*time.Millisecond), how)
}

// step does what a core node does about a move each time that it looks (ccn/schedule), and reports whether it is at its end.
func (m *moving) step(from, to *host, way *road, arrived func()) bool {
	machine, there := "/control/machine/"+string(m.hash)+"/migration/", "/control/migrate/"+string(m.hash)
	status, answer := to.order("GET", there+"/status", nil)
	switch {
	case status == 200 && answer["state"] == "imported":
		arrived()
		status, _ = from.order("POST", machine+"cleanup", nil)
		return status == 200 || status == 409
	case status != 404:
		return false
	}
	if status, answer = from.order("GET", machine+"export/status", nil); status == 200 {
		if answer["state"] == "exported" {
			to.order("POST", "/control/migrate", way.order(m.hash, answer))
		}
		return false
	} else if status != 404 {
		return false
	}
	switch status, answer = to.order("GET", there+"/ahead", nil); {
	case status == 404:
		if status, answer = from.order("POST", machine+"ahead", nil); status == 200 {
			to.order("POST", there+"/ahead", way.order(m.hash, answer))
		}
	case status == 200 && answer["state"] != "fetching":
		from.order("POST", machine+"export", nil)
	}
	return false
}

// carry has the instance moved, and waits until it is there.
func (m *moving) carry(t *testing.T, from, to *host, way *road) {
	t.Helper()
	for begin := time.Now(); !m.step(from, to, way, func() {}); time.Sleep(100 * time.Millisecond) {
		if time.Since(begin) > patienceOfMoves {
			t.Fatalf("it is not there; at the node that it leaves: %s; at the other: %s", m.state(from), m.state(to))
		}
	}
}

// order gives an order of the scheduler. The status is 0 when the node does not answer.
func (h *host) order(method, path string, body any) (status int, answer map[string]any) {
	raw, err := json.Marshal(body)
	if err != nil {
		h.t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(h.t.Context(), method, "http://"+h.listen+path, bytes.NewReader(raw))
	if err != nil {
		h.t.Fatal(err)
	}
	request.Header.Set("X-Auth-Signature", "test")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, nil
	}
	defer response.Body.Close()
	_ = json.NewDecoder(response.Body).Decode(&answer)
	return response.StatusCode, answer
}

func (m *moving) state(h *host) string {
	var text strings.Builder
	for _, path := range []string{"/control/migrate/" + string(m.hash) + "/status", "/control/migrate/" + string(m.hash) + "/ahead", "/control/machine/" + string(m.hash) + "/migration/export/status"} {
		status, answer := h.order("GET", path, nil)
		delete(answer, "disk_files")
		fmt.Fprintf(&text, "%s: %d %v; ", path, status, answer)
	}
	return text.String()
}

// road is the way to a node, on which it shows how far a move is.
type road struct {
	url string

	mu   sync.Mutex
	hook func(moment)
}

func newRoad(t *testing.T, listen string) *road {
	r := &road{}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: listen})
	proxy.FlushInterval = -1
	proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) } // as if nobody were there
	proxy.ErrorLog = quiet
	proxy.ModifyResponse = func(response *http.Response) error {
		switch {
		case strings.HasSuffix(response.Request.URL.Path, "/memory"):
			response.Body = &passing{response.Body, memoryBytes, func() { r.pass(memoryTravels) }}
		case strings.HasSuffix(response.Request.URL.Path, "/handover") && response.StatusCode == http.StatusOK:
			r.pass(handoverGiven)
		}
		return nil
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		switch path := request.URL.Path; {
		case strings.Contains(path, "/migration/disk/"):
			r.pass(disksTravel)
		case strings.HasSuffix(path, "/migration/memory"):
			r.pass(memoryAsked)
		case strings.Contains(path, "/migration/pieces/"):
			r.pass(guestStands)
		case strings.HasSuffix(path, "/migration/handover"):
			r.pass(handoverAsked)
		}
		proxy.ServeHTTP(w, request)
	}))
	server.Config.ErrorLog = quiet
	server.Start()
	t.Cleanup(server.Close)
	r.url = server.URL
	return r
}

func (r *road) at(hook func(moment)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hook = hook
}

func (r *road) pass(now moment) {
	r.mu.Lock()
	hook := r.hook
	r.mu.Unlock()
	if hook != nil {
		hook(now)
	}
}

// order is what the node at the end of the road's other side is told.
func (r *road) order(hash message.Hash, said map[string]any) map[string]any {
	u, _ := url.Parse(r.url)
	port, _ := strconv.Atoi(u.Port())
	order := map[string]any{"vm_hash": hash, "source_host": u.Hostname(), "source_port": port}
	for _, member := range []string{"export_token", "disk_files", "parent", "stopped", "live"} {
		if said[member] != nil {
			order[member] = said[member]
		}
	}
	return order
}

// passing is a body that says when so many bytes have been read.
type passing struct {
	io.ReadCloser
	left int
	then func()
}

func (p *passing) Read(b []byte) (int, error) {
	n, err := p.ReadCloser.Read(b)
	if p.left > 0 {
		if p.left -= n; p.left <= 0 {
			p.then()
		}
	}
	return n, err
}

package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/crn/corenode"
	"github.com/aleph-im/aleph-go/crn/corenode/corenodetest"
	"github.com/aleph-im/aleph-go/crn/execution"
	"github.com/aleph-im/aleph-go/crn/gpu"
	"github.com/aleph-im/aleph-go/crn/meter"
	"github.com/aleph-im/aleph-go/internal/listen"
	"github.com/aleph-im/aleph-go/message"
)

// serverOn makes a server without machines; change adapts it.
func serverOn(t testing.TB, core *corenodetest.Node, change func(*Config)) *Server {
	t.Helper()
	pool, err := execution.New(execution.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Pool: pool, DomainName: "crn.test", IPv6Pool: netip.MustParsePrefix("fc00::/64"), VolumeDir: t.TempDir(), Settings: "0xSettings",
	}
	if core != nil {
		if cfg.Network, err = corenode.New(corenode.Config{API: core.URL, Dir: t.TempDir(), AnswerAge: time.Nanosecond}); err != nil {
			t.Fatal(err)
		}
		if cfg.Identity, err = corenode.NewIdentity(cfg.Network, corenode.IdentityConfig{File: filepath.Join(t.TempDir(), "node-hash")}); err != nil {
			t.Fatal(err)
		}
		cfg.Meter = meter.New(meter.Config{Accounts: cfg.Network, Settings: cfg.Settings})
	}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func (s *Server) do(method, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Host = "crn.test"
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// fakeInstances is a fake: it runs nothing, and says what the test wants.
type fakeInstances struct {
	Instances
	known   map[message.Hash]bool
	room    error
	failure error
	started []message.Hash
}

func (f *fakeInstances) Has(hash message.Hash) bool   { return f.known[hash] }
func (f *fakeInstances) Room(*message.Instance) error { return f.room }
func (f *fakeInstances) Start(_ context.Context, hash message.Hash) error {
	f.started = append(f.started, hash)
	return f.failure
}
func (f *fakeInstances) Cards() (all, free []gpu.Card)              { return nil, nil }
func (f *fakeInstances) Update(context.Context, message.Hash) error { return f.failure }

func TestANoticeStartsAnInstanceThatFitsAndIsPaidFor(t *testing.T) {
	core := corenodetest.New(t)
	hash := core.Publish(message.TypeInstance, map[string]any{
		"allow_amend": false, "environment": map[string]any{}, "resources": map[string]any{"vcpus": 1, "memory": 128, "seconds": 30}, "volumes": []any{},
		"payment": map[string]any{"chain": "ETH", "type": "credit"},
		"rootfs":  map[string]any{"parent": map[string]any{"ref": message.HashBytes([]byte("rootfs"))}, "persistence": "host", "size_mib": 1000},
	})
	price := func(cost string) {
		core.Answer("/api/v0/price/"+string(hash), 200, map[string]any{"cost": cost, "payment_type": "credit"})
	}
	body := `{"instance":"` + string(hash) + `"}`
	core.Answer("/api/v0/addresses/"+corenodetest.Owner+"/balance", 200, map[string]any{"balance": 0, "credit_balance": 3600})
	for name, test := range map[string]struct {
		instances fakeInstances
		cost      string
		status    int
		body      string
	}{
		"paid for":           {cost: "1", status: 200, body: `{"errors":{},"failing":[],"success":true,"successful":true}`},
		"not paid for":       {cost: "2", status: 402, body: `{"error":"Insufficient credits for this instance\n\nRequired: 7200 credits \nCurrent user credits: 3600"}`},
		"no room":            {instances: fakeInstances{room: execution.ErrNoRoom}, cost: "1", status: 503, body: `{"error":"This CRN cannot host the requested instance at this time."}`},
		"no room but there":  {instances: fakeInstances{room: execution.ErrNoRoom, known: map[message.Hash]bool{hash: true}}, cost: "1", status: 200},
		"asks for too much":  {instances: fakeInstances{room: errors.New("a GPU is not offered")}, cost: "1", status: 400, body: `{"error":"a GPU is not offered"}`},
		"it does not start":  {instances: fakeInstances{failure: errors.New("no disk")}, cost: "1", status: 503, body: `{"errors":{"` + string(hash) + `":"no disk"},"failing":["` + string(hash) + `"],"success":false,"successful":false}`},
		"its price is wrong": {cost: "", status: 503},
	} {
		price(test.cost)
		s := serverOn(t, core, func(c *Config) { c.Instances = &test.instances })
		if w := s.do("POST", "/control/allocation/notify", body); w.Code != test.status || test.body != "" && w.Body.String() != test.body {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
		if started := len(test.instances.started) > 0; started != (test.status == 200 || test.instances.failure != nil) {
			t.Errorf("%s: started %v", name, test.instances.started)
		}
	}
}

func TestANoticeMayComeBeforeTheMessage(t *testing.T) {
	publish := func(core *corenodetest.Node) message.Hash {
		return core.Publish(message.TypeStore, map[string]any{"item_type": "storage", "item_hash": message.HashBytes(nil)})
	}
	hash := publish(corenodetest.New(t)) // and of the same message elsewhere
	core := corenodetest.New(t)
	s := serverOn(t, core, func(c *Config) { c.Instances = &fakeInstances{} })
	answered := make(chan *httptest.ResponseRecorder, 1)
	go func() { answered <- s.do("POST", "/control/allocation/notify", `{"instance":"`+string(hash)+`"}`) }()
	for core.Requests("/api/v0/messages.json") == 0 {
		runtime.Gosched()
	}
	publish(core)
	if w := <-answered; w.Code != 400 || !strings.Contains(w.Body.String(), "Message is not an instance") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestANoticeForAnInstanceThatWasMovedIsRefused(t *testing.T) {
	core := corenodetest.New(t)
	own, other := message.HashBytes([]byte("own")), message.HashBytes([]byte("other"))
	core.Answer("/api/v0/addresses/"+corenodetest.Owner+"/balance", 200, map[string]any{"balance": 1000, "credit_balance": 3600})
	for name, test := range map[string]struct {
		payment      message.PaymentType
		asked        message.Hash
		words        any // of its owner, on this instance
		nobodysWords bool
		here         bool
	}{
		"asked for here":                 {payment: message.PaymentCredit, asked: own, nobodysWords: true, here: true},
		"moved away":                     {payment: message.PaymentCredit, asked: own, words: other},
		"moved here":                     {payment: message.PaymentCredit, asked: other, words: own, here: true},
		"asked for elsewhere":            {payment: message.PaymentCredit, asked: other, words: nil},
		"wanted anywhere":                {payment: message.PaymentCredit, asked: other, words: "", here: true},
		"words that make no sense":       {payment: message.PaymentCredit, asked: own, words: 3, here: true},
		"a stream goes where it goes":    {payment: message.PaymentSuperfluid, asked: own, words: other, here: true},
		"a stream does not go elsewhere": {payment: message.PaymentSuperfluid, asked: other, words: own},
	} {
		s := serverOn(t, core, func(c *Config) {
			c.Instances = &fakeInstances{}
			var err error
			if c.Identity, err = corenode.NewIdentity(c.Network, corenode.IdentityConfig{Explicit: own}); err != nil {
				t.Fatal(err)
			}
		})
		m := &message.Instance{}
		m.Address, m.Payment = "0x"+string(message.HashBytes([]byte(name))[:40]), &message.Payment{Type: test.payment}
		m.Requirements = &message.Requirements{Node: &message.NodeRequirements{NodeHash: &test.asked}}
		hash := message.HashBytes([]byte("instance"))
		if !test.nobodysWords {
			core.Aggregate(m.Address, map[string]any{wishesKey: map[string]any{string(hash): test.words}})
		}
		_, text := s.admit(t.Context(), &corenode.Workload{Hash: hash, Content: m})
		if here := text != "400: Instance is allocated to a different node"; here != test.here {
			t.Errorf("%s: %s", name, text)
		}
	}
}

func TestTheHostIsDescribedAsTheKernelTells(t *testing.T) {
	root := t.TempDir()
	for path, content := range map[string]string{
		"proc/cpuinfo": "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD Ryzen 9\ncpu MHz\t\t: 3000.5\n\nprocessor\t: 1\nvendor_id\t: Other\n",
		"proc/meminfo": "MemTotal:       16777216 kB\nMemFree: 1 kB\nMemAvailable:    8388608 kB\n",
		"proc/loadavg": "0.10 0.20 0.30 1/100 5\n", "dev/sev": "",
		"sys/module/kvm_amd/parameters/sev": "Y\n", "sys/module/kvm_amd/parameters/sev_es": "Y\n", "sys/module/kvm_amd/parameters/sev_snp": "N\n",
		"sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "4280000\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, path)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, path), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := serverOn(t, nil, func(c *Config) { c.HostRoot = root })
	var v struct {
		CPU struct {
			Architecture, Vendor, Model string
			Features                    []string
			Frequency                   int64
		}
		Memory struct {
			Size        int64
			Units, Type string
		}
	}
	if err := json.Unmarshal(s.do("GET", "/about/capability", "").Body.Bytes(), &v); err != nil {
		t.Fatal(err)
	}
	if v.CPU.Vendor != "AuthenticAMD" || v.CPU.Model != "AMD Ryzen 9" || strings.Join(v.CPU.Features, " ") != "sev sev_es" || v.CPU.Frequency != 4280000000 || v.Memory.Size != 17179869184 || v.Memory.Units != "bytes" {
		t.Errorf("capability %+v", v)
	}
	if got := s.do("GET", "/about/usage/system", "").Body.String(); !strings.Contains(got, `"load_average":{"load1":0.1,"load15":0.3,"load5":0.2}`) ||
		!strings.Contains(got, `"core_frequencies":{"max":4280,"min":3000.5}`) || !strings.Contains(got, `"total_kB":17179870`) {
		t.Errorf("usage %s", got)
	}
	// A machine of which nothing is known is no error.
	if w := serverOn(t, nil, func(c *Config) { c.HostRoot = t.TempDir() }).do("GET", "/about/usage/system", ""); w.Code != 200 {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

// fakeDNS is a fake: it knows the names that it has.
type fakeDNS struct {
	addresses map[string]string
	texts     map[string]string
	asked     int
	failure   error
}

func (d *fakeDNS) LookupTXT(_ context.Context, name string) ([]string, error) {
	d.asked++
	if d.failure != nil {
		return nil, d.failure
	}
	if text, ok := d.texts[name]; ok {
		return []string{text}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func (d *fakeDNS) LookupNetIP(_ context.Context, family, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(d.addresses[family+" "+host]); err == nil {
		return []netip.Addr{a}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

func TestTheHostIsCheckedInBothFamilies(t *testing.T) {
	reached := httptest.NewServer(http.NotFoundHandler()) // any answer will do
	defer reached.Close()
	connectivity := Connectivity{IPv4URL: reached.URL, HostName: "example.test", HTTPURLs: []string{"http://127.0.0.1:1/", reached.URL}}
	dns := &fakeDNS{addresses: map[string]string{"ip4 example.test": "192.0.2.1", "ip6 example.test": "2001:db8::1", "ip4 crn.test": "192.0.2.2"}}
	s := serverOn(t, nil, func(c *Config) { c.Connectivity, c.Resolver = connectivity, dns })
	const want = `{"ipv4":{"egress":true,"dns":true,"domain":true,"http":true},"ipv6":{"egress":false,"dns":true,"domain":false,"http":false}}`
	if w := s.do("GET", "/status/check/host", ""); w.Code != 503 || w.Body.String() != want {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	listener, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skip("this host has no IPv6")
	}
	six := &httptest.Server{Listener: listener, Config: &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Second}}
	six.Start()
	defer six.Close()
	dns.addresses["ip6 crn.test"] = "2001:db8::2"
	connectivity.IPv6URL = six.URL
	s = serverOn(t, nil, func(c *Config) { c.Connectivity, c.Resolver = connectivity, dns })
	if w := s.do("GET", "/status/check/host", ""); w.Code != 200 {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func TestTheDNSIsAskedOnceForANameThatIsNobodys(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	dns := &fakeDNS{}
	s := serverOn(t, nil, func(c *Config) { c.Resolver, c.Now = dns, func() time.Time { return now } })
	ask := func(path, host string, want, asked int) {
		t.Helper()
		r := httptest.NewRequest("GET", path, nil)
		r.Host = host
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != want || dns.asked != asked {
			t.Errorf("%s%s: %d, asked %d times, want %d and %d", host, path, w.Code, dns.asked, want, asked)
		}
	}
	ask("/", "nobody.test", 404, 2) // for a program, and for an owner
	ask("/x", "NOBODY.test:80", 404, 2)
	ask("/about/usage/system", "nobody.test", 200, 2)
	ask("/status/config/x", "other.test", 404, 2)
	ask("/", "crn.test", 200, 2)
	ask("/", "localhost", 200, 2)
	ask("/", "127.0.0.1:4020", 200, 2)
	ask("/", "[::1]:4020", 200, 2)
	now = now.Add(namedAge)
	ask("/", "nobody.test", 404, 4)
	dns.failure = errors.New("the DNS does not answer")
	ask("/", "unknown.test", 404, 5)
	ask("/", "unknown.test", 404, 6) // that was no answer to keep
}

func TestAHandlerThatPanicsIsAnsweredFor(t *testing.T) {
	s := serverOn(t, nil, nil) // no core node: who names signers cannot be asked
	w := s.do("POST", "/control/allocation/notify", `{"instance":"`+strings.Repeat("ab", 32)+`"}`, "Origin", "https://console.example")
	if w.Code != 500 || !strings.Contains(w.Body.String(), `"error_type":`) || w.Header().Get("Access-Control-Allow-Origin") == "" {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func FuzzFirstMessage(f *testing.F) {
	f.Add([]byte(`{"auth":{"X-SignedPubKey":` + header(delegationETH, signatureETH) + `,"X-SignedOperation":` + header(operationJSON, signatureOp) + `}}`))
	f.Add([]byte(`{"auth":{"X-SignedPubKey":null,"X-SignedOperation":[]}}`))
	f.Add([]byte(`{"auth":"x"}`))
	f.Add([]byte(`[]`))
	s := &Server{cfg: Config{DomainName: "other.org", Now: time.Now}}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if sender, reason := s.firstMessage(raw); reason == "" {
			t.Errorf("accepted as %s", sender)
		}
	})
}

func FuzzPlan(f *testing.F) {
	f.Add([]byte(`{"persistent_vms":["` + strings.Repeat("ab", 32) + `"],"instances":null,"on_demand_vms":[1],"jobs":{}}`))
	f.Add([]byte(`{"persistent_vms":[null,"x",[]]}`))
	f.Add([]byte("\xff"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		plan, problems, err := parsePlan(raw)
		if err != nil {
			return
		}
		for _, hash := range append(append(plan.Persistent, plan.Instances...), plan.OnDemand...) {
			if _, err := message.ParseHash(string(hash)); err != nil {
				t.Errorf("%q is in the plan", hash)
			}
		}
		if _, err := json.Marshal(problems); err != nil {
			t.Errorf("problems cannot be told: %v", err)
		}
	})
}

// deadlines is an answer on a connection that knows until when it waits for bytes.
type deadlines struct {
	*httptest.ResponseRecorder
	set []time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.set = append(d.set, t)
	return nil
}

func TestBodiesForTheNodeMustCome(t *testing.T) {
	s := serverOn(t, nil, nil)
	for _, path := range []string{"/control/allocations", "/control/allocation/notify", "/control/machine/x/stop", "/vm/x/", "/nowhere"} {
		d := &deadlines{ResponseRecorder: httptest.NewRecorder()}
		s.ServeHTTP(d, httptest.NewRequest(http.MethodPost, path, io.MultiReader(strings.NewReader("{"))))
		if len(d.set) == 0 || d.set[0].IsZero() || time.Until(d.set[0]) > stall {
			t.Errorf("%s: %v", path, d.set)
		}
	}
	// What a program or an instance is sent may take as long as it likes.
	d := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	r := httptest.NewRequest(http.MethodPost, "/vm/x/", io.MultiReader(strings.NewReader("{}")))
	listen.Pace{Silence: stall, Rate: bodyRate}.Keep(d, r)
	end := unhurried(r)
	if _, err := r.Body.Read(make([]byte, 1)); err != nil || !d.set[len(d.set)-1].IsZero() {
		t.Errorf("a call is waited for until %v, %v", d.set, err)
	}
	if end(); d.set[len(d.set)-1].IsZero() {
		t.Error("what is left of a call is waited for without end")
	}
}

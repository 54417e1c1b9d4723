package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/crn/execution"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// The key is the number one, as in spec/crn.md appendix D.
const signerAddress = "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"

var signerKey = append(make([]byte, 31), 1)

func at(unix int64) func() time.Time { return func() time.Time { return time.Unix(unix, 0) } }

// only are signers that do not change.
func only(signers ...string) func(context.Context) []string {
	return func(context.Context) []string { return signers }
}

func authFor(t testing.TB, now func() time.Time) *allocationAuth {
	t.Helper()
	token := sha256.Sum256([]byte("test"))
	a, err := newAllocationAuth(only(signerAddress), hex.EncodeToString(token[:]), now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAllocationVector(t *testing.T) {
	const body = `{"persistent_vms":[],"instances":[]}`
	const payload = `{"body_sha256":"bacd7df6b15d098133e2be8734567cbc6afa46d721c3147cac915c63664cc5e8","iat":1700000000,"method":"POST","path":"/control/allocations"}`
	const sig = "17ddb38d071d330949ee1b0dd418f5a9e539f7d08f63cd19c7ee41ec05d71ae83a54ec6f30abd2d79dd5b76e5dd112646c1458115e718d6dcbe432a4ef3901181c"
	for name, test := range map[string]struct {
		now    int64
		header string
		want   bool
	}{
		"as it is":                 {1700000000, "Aleph-EIP191-V1 sig=" + sig + ",payload=" + hex.EncodeToString([]byte(payload)), true},
		"other spelling":           {1700000000, "aleph-eip191-v1 payload=0x" + hex.EncodeToString([]byte(payload)) + " ,  sig=0x" + sig, true},
		"the last second":          {1700000300, "Aleph-EIP191-V1 sig=" + sig + ",payload=" + hex.EncodeToString([]byte(payload)), true},
		"a second too late":        {1700000301, "Aleph-EIP191-V1 sig=" + sig + ",payload=" + hex.EncodeToString([]byte(payload)), false},
		"the first second":         {1699999700, "Aleph-EIP191-V1 sig=" + sig + ",payload=" + hex.EncodeToString([]byte(payload)), true},
		"a second too early":       {1699999699, "Aleph-EIP191-V1 sig=" + sig + ",payload=" + hex.EncodeToString([]byte(payload)), false},
		"another scheme":           {1700000000, "Bearer sig=" + sig + ",payload=" + hex.EncodeToString([]byte(payload)), false},
		"a parameter too many":     {1700000000, "Aleph-EIP191-V1 sig=" + sig + ",payload=" + hex.EncodeToString([]byte(payload)) + ",x=1", false},
		"a parameter twice":        {1700000000, "Aleph-EIP191-V1 sig=" + sig + ",sig=" + sig + ",payload=" + hex.EncodeToString([]byte(payload)), false},
		"without payload":          {1700000000, "Aleph-EIP191-V1 sig=" + sig, false},
		"a payload that was bent":  {1700000000, "Aleph-EIP191-V1 sig=" + sig + ",payload=" + hex.EncodeToString([]byte(payload+" ")), false},
		"a signature that is none": {1700000000, "Aleph-EIP191-V1 sig=00,payload=" + hex.EncodeToString([]byte(payload)), false},
	} {
		r := httptest.NewRequest("POST", "/control/allocations", strings.NewReader(body))
		r.Header.Set("Authorization", test.header)
		a := authFor(t, at(test.now))
		if got := a.allows(r, []byte(body)); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
		if got := a.issued(r); test.want && got.Unix() != 1700000000 {
			t.Errorf("%s: given at %s", name, got)
		}
	}
	if got := authFor(t, at(1700000300)).issued(httptest.NewRequest("POST", "/control/allocations", nil)); got.Unix() != 1700000300 {
		t.Errorf("an order that is not signed was given at %s", got)
	}
}

// order makes a signed request; change may bend the payload before it is signed.
func order(t testing.TB, target, body string, change func(map[string]any)) *http.Request {
	t.Helper()
	sum := sha256.Sum256([]byte(body))
	payload := map[string]any{"method": "POST", "path": "/control/allocations", "body_sha256": hex.EncodeToString(sum[:]), "iat": 1700000000}
	if change != nil {
		change(payload)
	}
	raw, err := json.Marshal(payload)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := ethereum.SignPersonal(signerKey, raw)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("POST", target, strings.NewReader(body))
	r.Header.Set("Authorization", "Aleph-EIP191-V1 sig="+sig+",payload="+hex.EncodeToString(raw))
	return r
}

func TestSignedAllocationsAreBoundToTheirRequest(t *testing.T) {
	const path, body = "/control/allocations", `{"persistent_vms":[]}`
	for name, test := range map[string]struct {
		request *http.Request
		body    string
		want    bool
	}{
		"as it is":           {order(t, path, body, nil), body, true},
		"other member":       {order(t, path, body, func(p map[string]any) { p["extra"] = "x" }), body, true},
		"other body":         {order(t, path, body, nil), body + " ", false},
		"other path":         {order(t, path+"/", body, nil), body, false},
		"query":              {order(t, path+"?x=1", body, nil), body, false},
		"empty query":        {order(t, path+"?", body, nil), body, false},
		"other method":       {order(t, path, body, func(p map[string]any) { p["method"] = "GET" }), body, false},
		"time is a float":    {order(t, path, body, func(p map[string]any) { p["iat"] = 1700000000.5 }), body, false},
		"time is a boolean":  {order(t, path, body, func(p map[string]any) { p["iat"] = true }), body, false},
		"time is text":       {order(t, path, body, func(p map[string]any) { p["iat"] = "1700000000" }), body, false},
		"upper-case hash":    {order(t, path, body, func(p map[string]any) { p["body_sha256"] = strings.ToUpper(p["body_sha256"].(string)) }), body, false},
		"body beyond bounds": {order(t, path, strings.Repeat(" ", maxAllocation+1), nil), strings.Repeat(" ", maxAllocation+1), false},
	} {
		if got := authFor(t, at(1700000000)).allows(test.request, []byte(test.body)); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	unsized := order(t, path, body, nil)
	unsized.ContentLength = -1
	if authFor(t, at(1700000000)).allows(unsized, []byte(body)) {
		t.Error("without Content-Length: accepted")
	}
}

func TestASignedAllocationCountsOnce(t *testing.T) {
	now := atomic.Int64{}
	now.Store(1700000000)
	a := authFor(t, func() time.Time { return time.Unix(now.Load(), 0) })
	const path = "/control/allocations"
	first := order(t, path, `{"a":1}`, nil)
	var accepted atomic.Int32
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if a.allows(first.Clone(t.Context()), []byte(`{"a":1}`)) {
				accepted.Add(1)
			}
		})
	}
	group.Wait()
	if accepted.Load() != 1 {
		t.Errorf("accepted %d times", accepted.Load())
	}
	if !a.allows(order(t, path, `{"a":2}`, nil), []byte(`{"a":2}`)) {
		t.Error("another body at the same time was refused")
	}
	// The other valid form of a signature does not make the order new.
	now.Add(250)
	if a.allows(first, []byte(`{"a":1}`)) {
		t.Error("accepted again later")
	}
	now.Add(1000)
	if !a.allows(order(t, path, "{}", func(p map[string]any) { p["iat"] = now.Load() }), []byte("{}")) {
		t.Error("a later order was refused")
	}
	if len(a.seen) != 1 {
		t.Errorf("%d payloads are remembered after their time", len(a.seen))
	}
}

func TestTheTokenIsAnOldWayThatASignatureOverrules(t *testing.T) {
	a := authFor(t, at(1700000000))
	request := func(token, authorization string) *http.Request {
		r := httptest.NewRequest("POST", "/control/allocations", strings.NewReader("{}"))
		if token != "" {
			r.Header.Set("X-Auth-Signature", token)
		}
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		return r
	}
	for _, test := range []struct {
		token, authorization string
		want                 bool
	}{{"test", "", true}, {"tset", "", false}, {"", "", false}, {"test", "Bearer x", false}, {"test", "Aleph-EIP191-V1 sig=00,payload=00", false}} {
		if got := a.allows(request(test.token, test.authorization), []byte("{}")); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
	without, err := newAllocationAuth(only(), "", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if without.allows(request("test", ""), []byte("{}")) {
		t.Error("accepted with nothing configured")
	}
}

func TestSignersMustBeChecksummed(t *testing.T) {
	for _, signer := range []string{strings.ToLower(signerAddress), signerAddress[:41], "", "0x" + strings.Repeat("z", 40), strings.TrimPrefix(signerAddress, "0x")} {
		if _, err := New(Config{AllocationSigners: []string{signer}}); err == nil {
			t.Errorf("%q was accepted", signer)
		}
	}
}

func FuzzAuthorization(f *testing.F) {
	f.Add("Aleph-EIP191-V1 sig=00,payload=7b7d")
	f.Add("Aleph-EIP191-V1 ,,=,")
	a, err := newAllocationAuth(only(signerAddress), "", time.Now)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, header string) {
		r := httptest.NewRequest("POST", "/control/allocations", nil)
		r.Header["Authorization"] = []string{header}
		if a.allows(r, nil) {
			t.Errorf("accepted %q", header)
		}
	})
}

func TestPlans(t *testing.T) {
	a, b := message.HashBytes([]byte("a")), message.HashBytes([]byte("b"))
	plan, problems, err := parsePlan(fmt.Appendf(nil, `{"persistent_vms":[%q],"on_demand_vms":[%q],"leaving":[%[2]q],"instances":null,"jobs":[1],"other":{}}`, a, b))
	if err != nil || len(problems) != 0 || len(plan.Persistent) != 1 || plan.Persistent[0] != a || len(plan.OnDemand) != 1 || plan.OnDemand[0] != b {
		t.Errorf("got %+v %v %v", plan, problems, err)
	}
	_, problems, err = parsePlan([]byte(`{"persistent_vms":["not-an-ItemHash"]}`))
	raw, _ := json.Marshal(problems)
	want := `[{"loc":["persistent_vms",0],"msg":"Value error, Could not determine hash type: 'not-an-ItemHash'","type":"value_error","ctx":{"error":"Could not determine hash type: 'not-an-ItemHash'"},"input":"not-an-ItemHash"}]`
	if err != nil || string(raw) != want {
		t.Errorf("got %s, %v", raw, err)
	}
	for _, body := range []string{"", "null", "[]", `{"persistent_vms":`, "\xff"} {
		if _, _, err := parsePlan([]byte(body)); err == nil {
			t.Errorf("%q was accepted", body)
		}
	}
	for _, body := range []string{`{"persistent_vms":"a"}`, `{"instances":[1]}`, `{"on_demand_vms":{}}`} {
		if _, problems, _ := parsePlan([]byte(body)); len(problems) != 1 {
			t.Errorf("%q: %v", body, problems)
		}
	}
}

// Vectors of spec/crn.md §D.2 and §D.3.
const (
	ephemeral     = `{"kty":"EC","crv":"P-256","x":"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY","y":"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"}`
	delegationETH = `{"pubkey":` + ephemeral + `,"alg":"ECDSA","domain":"crn.example.org","address":"0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf","expires":"2099-01-01T00:00:00Z","chain":"ETH"}`
	delegationSOL = `{"pubkey":` + ephemeral + `,"alg":"ECDSA","domain":"crn.example.org","address":"4zvwRjXUKGfvwnParsHAS3HuSVzV5cA4McphgmoCtajS","expires":"2099-01-01T00:00:00Z","chain":"SOL"}`
	signatureETH  = "0xe4b4d5e1fb443bcd069836957e4bab4ebd5d1311784cd1cf1548a8e6b31ce8917e95e6028d4825375c27c301b9c646d1c9e95f81030893f75f66ef71796234901b"
	signatureSOL  = "b663b6495c8ff5af02137baad2b5007a08e3a1edf9ed2ece073d4d4fd718bf6c211068a51a3903b0eb5299061e565590dcb585e0dc86f0e81340a6c50f01740c"
	stopPath      = "/control/machine/decadecadecadecadecadecadecadecadecadecadecadecadecadecadecadeca/stop"
	operationJSON = `{"time":"2025-01-01T00:00:00Z","method":"POST","path":"` + stopPath + `","domain":"crn.example.org"}`
	signatureOp   = "398bcd0361e1c7dc5ccf253f75d76613eb7abe0fac34f66e05f7029ee2417f18cfc86ccd35cbe776408cb1467413f6888363fd61b7509055fd2cf6eda64e98f3"
)

func header(payload, signature string) string {
	raw, _ := json.Marshal(map[string]string{"payload": hex.EncodeToString([]byte(payload)), "signature": signature, "sender": "ignored"})
	return string(raw)
}

func TestOwnersAuthenticate(t *testing.T) {
	clock := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	eth, sol, op := header(delegationETH, signatureETH), header(delegationSOL, signatureSOL), header(operationJSON, signatureOp)
	for name, test := range map[string]struct {
		key, operation string
		method, path   string
		domain         string
		shift          time.Duration
		status         int
		reason         string
		sender         string
	}{
		"Ethereum":            {key: eth, operation: op, sender: signerAddress},
		"Solana":              {key: sol, operation: op, sender: "4zvwRjXUKGfvwnParsHAS3HuSVzV5cA4McphgmoCtajS"},
		"at the limit":        {key: eth, operation: op, shift: 2 * time.Minute, sender: signerAddress},
		"no key":              {operation: op, status: 400, reason: "Missing X-SignedPubKey header"},
		"key is no JSON":      {key: "{", operation: op, status: 400, reason: "Invalid X-SignedPubKey format"},
		"key is another JSON": {key: `{"payload":1}`, operation: op, status: 400, reason: "Invalid X-SignedPubKey data"},
		"expired":             {key: eth, operation: op, shift: 100 * 365 * 24 * time.Hour, status: 401, reason: "Token expired"},
		"wallet's signature":  {key: header(delegationETH, signatureETH[:130]+"1c"), operation: op, status: 401, reason: "Invalid signature"},
		"another chain":       {key: header(strings.Replace(delegationETH, `"ETH"`, `"TEZOS"`, 1), signatureETH), operation: op, status: 400, reason: "Invalid X-SignedPubKey data"},
		"no operation":        {key: eth, status: 400, reason: "Missing X-SignedOperation header"},
		"operation is none":   {key: eth, operation: "{", status: 400, reason: "Invalid X-SignedOperation fields"},
		"operation is old":    {key: eth, operation: op, shift: 2*time.Minute + time.Second, status: 400, reason: "Invalid X-SignedOperation fields"},
		"for another node":    {key: eth, operation: op, domain: "other.org", status: 401, reason: "Invalid domain: Signed: 'crn.example.org' != Request: 'other.org'"},
		"for another path":    {key: eth, operation: op, path: "/control/other", status: 401, reason: "Invalid path. Signed: '" + stopPath + "' !=  requested path: '/control/other'"},
		"for another method":  {key: eth, operation: op, method: "GET", status: 401, reason: "Invalid method. Signed: 'POST' !=  request:'GET"},
		"key's signature":     {key: eth, operation: header(operationJSON, strings.Repeat("0", 128)), status: 401, reason: "Signature could not verified"},
	} {
		t.Run(name, func(t *testing.T) {
			method, path, domain := "POST", stopPath, "crn.example.org"
			if test.method != "" {
				method = test.method
			}
			if test.path != "" {
				path = test.path
			}
			if test.domain != "" {
				domain = test.domain
			}
			s := &Server{cfg: Config{DomainName: domain, Now: func() time.Time { return clock.Add(test.shift) }}}
			r := httptest.NewRequest(method, path+"?query=ignored", nil)
			r.Header.Set("X-SignedPubKey", test.key)
			r.Header.Set("X-SignedOperation", test.operation)
			got, err := s.sender(r)
			if test.sender != "" {
				if err != nil || got != test.sender {
					t.Errorf("got %q, %v", got, err)
				}
				return
			}
			no, ok := err.(*refused)
			if !ok || no.status != test.status || no.reason != test.reason {
				t.Errorf("got %+v", err)
			}
		})
	}
}

func FuzzOwnerHeaders(f *testing.F) {
	f.Add(header(delegationETH, signatureETH), header(operationJSON, signatureOp))
	f.Add("{}", "{}")
	f.Add("null", "[]")
	s := &Server{cfg: Config{DomainName: "other.org", Now: time.Now}}
	f.Fuzz(func(t *testing.T, key, operation string) {
		r := &http.Request{Method: "GET", URL: httptest.NewRequest("GET", "/x", nil).URL, Header: http.Header{"X-Signedpubkey": {key}, "X-Signedoperation": {operation}}}
		if _, err := s.sender(r); err == nil {
			t.Error("accepted")
		}
	})
}

func TestStampsAreWrittenAsPythonDoes(t *testing.T) {
	micro := time.Date(2025, 3, 28, 11, 21, 21, 744592123, time.UTC)
	if got := *stamp(micro); got != "2025-03-28 11:21:21.744592+00:00" {
		t.Error(got)
	}
	if got := *stamp(micro.Truncate(time.Second)); got != "2025-03-28 11:21:21+00:00" {
		t.Error(got)
	}
	if stamp(time.Time{}) != nil {
		t.Error("a time that has not come")
	}
}

func TestRequestsOutsideProgramsAreAnsweredWithOriginsAllowed(t *testing.T) {
	pool, err := execution.New(execution.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Pool: pool, DomainName: "crn.test", IPv6Pool: netip.MustParsePrefix("fc00::/64"), VolumeDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"OPTIONS", "/about/usage/system", 200, ""},
		{"GET", "/about/executions/list", 200, "{}"},
		{"GET", "/v2/about/executions/list", 200, "{}"},
		{"GET", "/about/x", 404, `{"error":"404: Not Found"}`},
		{"POST", "/control/allocations", 401, `{"error":"Authentication token received is invalid"}`},
		{"GET", "/control/machine/nonsense/logs", 400, `{"error":"Missing X-SignedPubKey header"}`},
	} {
		r := httptest.NewRequest(test.method, test.path, bytes.NewReader(nil))
		r.Host = "crn.test:4020"
		r.Header.Set("Origin", "https://console.example")
		if test.method == "OPTIONS" {
			r.Header.Set("Access-Control-Request-Method", "GET")
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != test.status || w.Body.String() != test.body || w.Header().Get("Server") != "aleph-vm/"+Version || w.Header().Get("Access-Control-Allow-Origin") != "https://console.example" {
			t.Errorf("%s %s: %d %s %v", test.method, test.path, w.Code, w.Body, w.Header())
		}
	}
}

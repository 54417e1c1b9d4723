package schedule

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

type nobody struct{}

func (nobody) Address() string                              { return "0x0" }
func (nobody) Sign(context.Context, []byte) (string, error) { return "0x00", nil }

func TestAnAllocationIsSentAgainUnlessAllThatFailsIsRefused(t *testing.T) {
	for _, test := range []struct {
		name, answer string
		status       int
		again        bool
	}{
		{"all run", `{"success":true,"failing":[]}`, 200, false},
		{"one failed", `{"failing":["a"],"errors":{"a":"the image is not there yet"}}`, 207, true},
		{"one is refused", `{"failing":["a"],"refused":["a"],"errors":{"a":"it is no disk"}}`, 503, false},
		{"one is refused, another failed", `{"failing":["a","b"],"refused":["a"]}`, 207, true},
		{"the order is not taken", `{"error":"who are you"}`, 401, true},
		{"nonsense", `refused`, 503, true},
	} {
		node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(test.status)
			_, _ = w.Write([]byte(test.answer))
		}))
		_, err := allocation{}.post(t.Context(), node.Client(), nobody{}, node.URL)
		node.Close()
		if (err != nil) != test.again {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestAComputeNodeSendsTheCoreNodeNowhereElse(t *testing.T) {
	inner := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("%s %s reached whom it was not for", r.Method, r.URL)
	}))
	defer inner.Close()
	for _, status := range []int{http.StatusMovedPermanently, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
		node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, inner.URL+r.URL.Path, status)
		}))
		defer node.Close()
		s, err := New(Config{Signer: nobody{}, Publish: func(context.Context, string, any) error { return nil }})
		if err != nil {
			t.Fatal(err)
		}
		if err := probe(t.Context(), s.http, node.URL); err == nil {
			t.Errorf("%d: a node that only redirects counts as alive", status)
		}
		if _, err := (allocation{}).post(t.Context(), s.http, nobody{}, node.URL); err == nil {
			t.Errorf("%d: an allocation counts as taken", status)
		}
		if _, err := s.order(t.Context(), http.MethodGet, node.URL, "/control/migrate/x/status", nil, nil); err == nil {
			t.Errorf("%d: an order counts as carried out", status)
		} else if !strings.Contains(err.Error(), "registered address") {
			t.Errorf("%d: the operator is not told what to do: %v", status, err)
		}
	}
}

func TestAComputeNodeMayAskForHTTPS(t *testing.T) {
	for _, test := range []struct {
		method, from, to, by string
		follows              bool
	}{
		{"POST", "http://crn.test/control/allocations", "https://crn.test/control/allocations", "POST", true},
		{"POST", "http://crn.test:80/control/allocations", "https://crn.test/control/allocations", "POST", true},
		{"POST", "http://crn.test/control/allocations", "https://crn.test/control/allocations", "GET", false},
		{"GET", "http://crn.test/about/usage/system", "https://crn.test/other", "GET", false},
		{"GET", "http://crn.test/about/usage/system", "https://crn.test/about/usage/system?q", "GET", false},
		{"GET", "http://crn.test/about/usage/system", "https://crn.test:9200/about/usage/system", "GET", false},
		{"GET", "http://crn.test/about/usage/system", "https://inner.test/about/usage/system", "GET", false},
		{"GET", "https://crn.test/about/usage/system", "http://crn.test/about/usage/system", "GET", false},
		{"GET", "https://crn.test/about/usage/system", "https://crn.test/about/usage/system", "GET", false},
	} {
		from, to := httptest.NewRequest(test.method, test.from, nil), httptest.NewRequest(test.by, test.to, nil)
		if err := stay(to, []*http.Request{from}); (err == nil) != test.follows {
			t.Errorf("from %s %s to %s %s: %v", test.method, test.from, test.by, test.to, err)
		}
	}
}

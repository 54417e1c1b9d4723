package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aleph-im/aleph-go/crn/corenode/corenodetest"
	"github.com/aleph-im/aleph-go/crn/instance"
	"github.com/aleph-im/aleph-go/crn/tap"
	"github.com/aleph-im/aleph-go/message"
)

var (
	namedOne = message.HashBytes([]byte("a program"))
	namedTwo = message.HashBytes([]byte("an instance"))
)

// named is a server whose DNS and network know some names.
func named(t *testing.T, change func(*Config)) (*Server, *fakeDNS, *corenodetest.Node) {
	core := corenodetest.New(t)
	core.Aggregate("0xOwner", map[string]any{"domains": map[string]any{
		"program.test": map[string]any{"message_id": namedOne, "type": "program"}, "instance.test": map[string]any{"message_id": namedTwo, "type": "instance"},
		"folder.test": map[string]any{"message_id": namedOne, "type": "ipfs"}, "gone.test": nil, "broken.test": 7, "detached.test": map[string]any{"message_id": ""},
	}})
	core.Aggregate("0xScribbler", map[string]any{"domains": "none"})
	dns := &fakeDNS{texts: map[string]string{"_aleph-id.own.test": string(namedOne), "_aleph-id.bad.test": "x", "_control.scribbled.test": "0xScribbler",
		"_control.long.test": strings.Repeat("x", 200), "_control.unknown.test": "0xUnknown", "_control.other.test": "0xOwner"}}
	for _, name := range []string{"program", "instance", "folder", "gone", "broken", "detached", "own"} {
		dns.texts["_control."+name+".test"] = "0xOwner"
	}
	return serverOn(t, core, func(c *Config) {
		c.Resolver = dns
		if change != nil {
			change(c)
		}
	}), dns, core
}

func TestANameLeadsWhereItsOwnerSays(t *testing.T) {
	s, _, _ := named(t, nil)
	for host, want := range map[string]place{
		"own.test":      {hash: namedOne},
		"program.test":  {hash: namedOne},
		"instance.test": {hash: namedTwo, instance: true, owner: "0xOwner"},
		"other.test":    {}, // of an owner who does not name it
	} {
		if got := s.named.lookup(t.Context(), host); got != want {
			t.Errorf("%s leads to %+v", host, got)
		}
	}
	for _, host := range []string{"folder.test", "gone.test", "broken.test", "detached.test", "bad.test", "scribbled.test", "long.test", "unknown.test", "absent.test"} {
		if got := s.named.lookup(t.Context(), host); got != (place{}) {
			t.Errorf("%s leads to %+v", host, got)
		}
	}
}

func TestWhatANameLeadsToIsAskedAgainWhenToldTo(t *testing.T) {
	s, dns, _ := named(t, func(c *Config) { c.AllocationTokenHash = string(message.HashBytes([]byte("secret"))) })
	s.named.lookup(t.Context(), "own.test")
	dns.texts["_aleph-id.own.test"] = string(namedTwo)
	if w := s.do("POST", "/control/proxy/regenerate", ""); w.Code != http.StatusUnauthorized {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if got := s.named.lookup(t.Context(), "own.test"); got.hash != namedOne {
		t.Errorf("leads to %+v", got)
	}
	if w := s.do("POST", "/control/proxy/regenerate", "", "X-Auth-Signature", "secret"); w.Code != http.StatusOK ||
		w.Body.String() != `{"success":true,"message":"HAProxy configuration regenerated successfully"}` {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if got := s.named.lookup(t.Context(), "own.test"); got.hash != namedTwo {
		t.Errorf("leads to %+v", got)
	}
}

func TestNamesThatLeadNowhereDisplaceNoOther(t *testing.T) {
	dns := &fakeDNS{texts: map[string]string{"_aleph-id.own.test": string(namedOne)}}
	n := newNames(dns, nil, time.Now)
	n.lookup(t.Context(), "own.test")
	for i := range 2 * maxNamed {
		n.lookup(t.Context(), fmt.Sprintf("made-up-%d.test", i))
	}
	asked := dns.asked
	if got := n.lookup(t.Context(), "own.test"); got.hash != namedOne || dns.asked != asked || len(n.known) > maxNamed {
		t.Errorf("leads to %+v, asked for again %t, %d names known", got, dns.asked != asked, len(n.known))
	}
}

func TestANameLeadsWhereItLedLastWhenThatCannotBeAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &fakeDNS{texts: map[string]string{"_aleph-id.own.test": string(namedOne)}}
		n := newNames(dns, nil, time.Now)
		leads := func(what, host string, want message.Hash, took time.Duration) {
			t.Helper()
			begin := time.Now()
			if got := n.lookup(t.Context(), host); got.hash != want || time.Since(begin) != took {
				t.Errorf("%s %s leads to %+v, after %s", what, host, got, time.Since(begin))
			}
		}
		leads("at first", "own.test", namedOne, 0)
		dns.failure = errors.New("the DNS does not answer")
		dns.texts["_aleph-id.own.test"] = string(namedTwo)
		time.Sleep(namedAge)
		asked := dns.asked
		leads("without an answer", "own.test", namedOne, 0)
		leads("without an answer", "own.test", namedOne, 0)
		if dns.asked != asked+1 {
			t.Errorf("a DNS that does not answer was asked %d times", dns.asked-asked)
		}
		dns.failure = nil
		for range maxLookups {
			n.room <- struct{}{}
		}
		time.Sleep(failedAge)
		leads("with others asking", "own.test", namedOne, 0)
		leads("with others asking", "new.test", "", lookupTime)
		<-n.room
		leads("then", "own.test", namedTwo, 0)
	})
}

// listed is a fake: it runs nothing, and has one instance.
type listed struct {
	Instances
	owner string
}

func (l *listed) List() []instance.Info {
	return []instance.Info{{Hash: namedTwo, Owner: l.owner, Addresses: tap.Addresses{IPv4: netip.MustParseAddr("172.16.9.2")}}}
}

func TestANameLeadsToAnInstanceOfItsOwnerAlone(t *testing.T) {
	guest := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", "guest")
		_, _ = io.WriteString(w, r.Host+" "+r.URL.EscapedPath()+"?"+r.URL.RawQuery+" "+r.Header.Get("X-Forwarded-Host"))
	}))
	defer guest.Close()
	instances := &listed{owner: "0xowner"}
	s, _, _ := named(t, func(c *Config) { c.Instances = instances })
	var dialed string
	s.instances.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		dialed = address
		return new(net.Dialer).DialContext(ctx, network, strings.TrimPrefix(guest.URL, "http://"))
	}
	ask := func() *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", "/a%2Fb?c=d", nil)
		r.Host = "instance.test"
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w
	}
	if w := ask(); w.Code != 200 || w.Body.String() != "instance.test /a%2Fb?c=d instance.test" || w.Header().Get("Server") != "aleph-vm/"+Version || len(w.Header()["Server"]) != 1 {
		t.Errorf("got %d %s %v", w.Code, w.Body, w.Header())
	}
	if dialed != "172.16.9.2:80" {
		t.Errorf("asked %s", dialed)
	}
	instances.owner = "0xSomebodyElse"
	if w := ask(); w.Code != http.StatusNotFound {
		t.Errorf("a stranger's instance answered %d %s", w.Code, w.Body)
	}
	instances.owner = "0xOwner"
	guest.Close()
	if w := ask(); w.Code != http.StatusBadGateway {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

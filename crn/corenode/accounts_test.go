package corenode_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/crn/corenode"
	"github.com/aleph-im/aleph-go/crn/corenode/corenodetest"
	"github.com/aleph-im/aleph-go/message"
)

func TestAmountsAreReadToTheLastDigit(t *testing.T) {
	core := corenodetest.New(t)
	c, err := corenode.New(corenode.Config{API: core.URL, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	core.Answer("/api/v0/addresses/0xA/balance", 200, map[string]any{"balance": 12.5, "credit_balance": 900000000000000001})
	core.Answer("/api/v0/price/h", 200, map[string]any{"cost": "0.000011527777777777", "payment_type": "superfluid"})
	balance, err := c.Balance(t.Context(), "0xA")
	if err != nil || balance.Tokens.String() != "12.5" || balance.Credits.String() != "900000000000000001" {
		t.Errorf("got %v, %v", balance, err)
	}
	price, err := c.Price(t.Context(), "h")
	if err != nil || price.Cost.String() != "0.000011527777777777" || price.PaymentType != message.PaymentSuperfluid {
		t.Errorf("got %v, %v", price, err)
	}
}

func TestAnswersThatSayNothingAreNoZeros(t *testing.T) {
	core := corenodetest.New(t)
	c, err := corenode.New(corenode.Config{API: core.URL, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Balance(t.Context(), "0xUnknown"); !errors.Is(err, corenode.ErrNotFound) {
		t.Errorf("unknown address: %v", err)
	}
	for _, body := range []any{map[string]any{}, map[string]any{"balance": nil}, map[string]any{"balance": -1}, map[string]any{"balance": "NaN"}, []int{}} {
		core.Answer("/api/v0/addresses/0xA/balance", 200, body)
		c, _ := corenode.New(corenode.Config{API: core.URL, Dir: t.TempDir()})
		if b, err := c.Balance(t.Context(), "0xA"); !errors.Is(err, corenode.ErrUnavailable) {
			t.Errorf("%v: got %v, %v", body, b, err)
		}
	}
	core.Answer("/api/v0/price/h", 200, map[string]any{"payment_type": "hold"})
	if p, err := c.Price(t.Context(), "h"); err == nil {
		t.Errorf("price without cost: %v", p)
	}
	core.Answer("/api/v0/messages/h", 200, map[string]any{})
	if s, err := c.Status(t.Context(), "h"); err == nil {
		t.Errorf("status without status: %v", s)
	}
}

func TestAnswersAreRememberedForAWhile(t *testing.T) {
	core := corenodetest.New(t)
	now := time.Unix(1_700_000_000, 0)
	c, err := corenode.New(corenode.Config{API: core.URL, Dir: t.TempDir(), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	status := func(want string) {
		t.Helper()
		if got, err := c.Status(t.Context(), "h"); err != nil || got != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	const path = "/api/v0/messages/h"
	core.Answer(path, 200, map[string]any{"status": "processed"})
	status("processed")
	core.Answer(path, 200, map[string]any{"status": "removed"})
	now = now.Add(29 * time.Second)
	status("processed")
	now = now.Add(time.Second)
	status("removed")
	if n := core.Requests(path); n != 2 {
		t.Errorf("asked %d times", n)
	}
}

func TestAnAnswerIsNotOlderThanTheQuestionWhenItMayNotBe(t *testing.T) {
	first, release := make(chan struct{}), make(chan struct{})
	var asked atomic.Int32
	core := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := asked.Add(1)
		if n == 1 {
			close(first)
			<-release
		}
		fmt.Fprintf(w, `{"data":{"key":%d}}`, n)
	}))
	defer core.Close()
	c, err := corenode.New(corenode.Config{API: core.URL, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	earlier := make(chan error, 1)
	go func() {
		var n int
		earlier <- c.Aggregate(t.Context(), "0xA", "key", 0, &n)
	}()
	<-first
	stuck := time.AfterFunc(10*time.Second, func() { close(release) }) // the question waits for the earlier one's answer
	var n int
	if err := c.Aggregate(t.Context(), "0xA", "key", 0, &n); err != nil || n != 2 {
		t.Errorf("got the answer to question %d, %v", n, err)
	}
	if stuck.Stop() {
		close(release)
	}
	if err := <-earlier; err != nil {
		t.Error(err)
	}
}

const (
	registry = "0xRegistry"
	operator = "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"
	address  = "https://crn.example.org"
)

var (
	mine   = message.HashBytes([]byte("mine"))
	others = message.HashBytes([]byte("others"))
)

func identity(t *testing.T, core *corenodetest.Node, file string, explicit message.Hash) *corenode.Identity {
	t.Helper()
	c, err := corenode.New(corenode.Config{API: core.URL, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	i, err := corenode.NewIdentity(c, corenode.IdentityConfig{
		Explicit: explicit, File: file, Registry: registry, Owner: operator, Address: address, Interval: 5 * time.Millisecond,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func register(core *corenodetest.Node, nodes ...any) {
	core.Aggregate(registry, map[string]any{"corechannel": map[string]any{"resource_nodes": nodes}})
}

func node(hash message.Hash, owner, address string) map[string]any {
	return map[string]any{"hash": hash, "owner": owner, "address": address, "name": "x", "score": 0.5}
}

func TestANodeFindsItselfInTheRegistry(t *testing.T) {
	core := corenodetest.New(t)
	file := filepath.Join(t.TempDir(), "node-hash")
	register(core, "nonsense", 7, nil, map[string]any{"hash": 1}, node(others, "0xother", address), node(others, operator, "https://other.example.org"),
		node("short", operator, address), node(mine, operator, address+"/"))
	i := identity(t, core, file, "")
	if i.Hash() != "" {
		t.Fatalf("known before it was found: %s", i.Hash())
	}
	if err := i.Run(t.Context()); err != nil || i.Hash() != mine {
		t.Fatalf("found %q, %v", i.Hash(), err)
	}
	// Kept: the registry is not asked again.
	register(core)
	if again := identity(t, core, file, ""); again.Hash() != mine {
		t.Errorf("after a restart: %q", again.Hash())
	}
	if told := identity(t, core, file, others); told.Hash() != others {
		t.Errorf("what the operator says does not win: %q", told.Hash())
	}
}

func TestANodeThatTheRegistryHasTwiceIsNotFound(t *testing.T) {
	core := corenodetest.New(t)
	i := identity(t, core, filepath.Join(t.TempDir(), "node-hash"), "")
	register(core, node(mine, operator, address), node(others, operator, address))
	done := make(chan error, 1)
	go func() { done <- i.Run(t.Context()) }()
	for core.Requests("/api/v0/aggregates/"+registry+".json") < 3 {
		time.Sleep(time.Millisecond)
	}
	if i.Hash() != "" {
		t.Errorf("one of two was taken: %s", i.Hash())
	}
	register(core, node(mine, operator, address))
	if err := <-done; err != nil || i.Hash() != mine {
		t.Errorf("found %q, %v", i.Hash(), err)
	}
}

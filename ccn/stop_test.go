package ccn

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"

	"github.com/aleph-im/aleph-go/params"
)

// get asks without following redirections.
func get(t *testing.T, url string) (status int, answer string) {
	t.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(raw)
}

// start runs a node on the development network. stop ends it and is called at the end of the test when it was not before.
func start(t *testing.T, change func(*Config)) (n *Node, url string, stop func() (wait func())) {
	t.Helper()
	cfg := Config{Params: params.Devnet(), DataDir: t.TempDir(), HTTPListen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)}
	change(&cfg)
	n, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	wait := sync.OnceFunc(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	stop = func() func() { cancel(); return wait }
	t.Cleanup(func() { stop()() })
	return n, "http://" + n.HTTPAddr(), stop
}

func TestNodeThatStopsSaysSoWhileItDrains(t *testing.T) {
	n, url, stop := start(t, func(c *Config) { c.Drain = 2 * time.Second })
	if status, answer := get(t, url+"/ready"); status != http.StatusOK {
		t.Errorf("before: %d %s", status, answer)
	}
	wait := stop()
	<-n.stopping
	if status, answer := get(t, url+"/ready"); status != http.StatusServiceUnavailable || !strings.Contains(answer, "stopping") {
		t.Errorf("meanwhile: %d %s", status, answer)
	}
	if status, answer := get(t, url+"/version"); status != http.StatusOK {
		t.Errorf("requests meanwhile: %d %s", status, answer)
	}
	wait()
	if conn, err := net.Dial("tcp", n.HTTPAddr()); err == nil {
		conn.Close()
		t.Error("the port is still open afterwards")
	}
}

func TestPathsAreTakenAsTheyAre(t *testing.T) {
	_, url, _ := start(t, func(*Config) {})
	for _, path := range []string{"//", "//version", "/api//v0/version", "/api/v0/../version", "/api/v0/./version", "/version/", "/api/v0/messages.json/"} {
		if status, answer := get(t, url+path); status != http.StatusNotFound || answer != "404: Not Found" {
			t.Errorf("%s: %d %s", path, status, answer)
		}
	}
}

func TestOperatorsHaveCostsComputedAgain(t *testing.T) {
	key := secp256k1.PrivKeyFromBytes([]byte{7})
	_, url, _ := start(t, func(c *Config) { c.Params.OperatorKey = hex.EncodeToString(key.PubKey().SerializeCompressed()) })
	now := fmt.Sprint(time.Now().Unix())
	digest := sha256.Sum256([]byte(now))
	token := now + ":" + base64.StdEncoding.EncodeToString(ecdsa.Sign(key, digest[:]).Serialize())
	for sent, want := range map[string]int{
		"":    http.StatusUnauthorized,
		"abc": http.StatusUnauthorized,
		base64.StdEncoding.EncodeToString([]byte(token)): http.StatusOK,
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/api/v0/price/recalculate", nil)
		if err != nil {
			t.Fatal(err)
		}
		if sent != "" {
			req.Header.Set("X-Auth-Token", sent)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != want {
			t.Errorf("%q: %d %s, %v", sent, resp.StatusCode, raw, err)
		}
		var answer struct {
			Count *int `json:"recalculated_count"`
		}
		if want == http.StatusOK && (json.Unmarshal(raw, &answer) != nil || answer.Count == nil) {
			t.Errorf("got %s", raw)
		}
	}
}

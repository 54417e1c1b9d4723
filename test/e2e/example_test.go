//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/ccn/authority"
	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/crn/image/imagetest"
	"github.com/aleph-im/aleph-go/devnet"
	"github.com/aleph-im/aleph-go/devnet/chain"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// TestProgramOfAUserRuns is the example that every release must run. Its steps build on each other.
func TestProgramOfAUserRuns(t *testing.T) {
	hash := deploy(t, filepath.Join(root, "examples", "hello-fastapi"))

	t.Run("it answers through the command line", func(t *testing.T) {
		out, code := aleph(t, "program", "call", hash, "/", "--timeout", "150s")
		if code != 0 {
			t.Fatalf("exit code %d: %s", code, out)
		}
	})
	t.Run("a second call reuses the machine", func(t *testing.T) {
		count := func() float64 {
			var answer map[string]any
			status, body, err := call(t.Context(), hash)
			if err != nil || status != http.StatusOK {
				t.Fatalf("call: %d %s %v", status, body, err)
			}
			if err := json.Unmarshal(body, &answer); err != nil {
				t.Fatalf("answer is not JSON: %s", body)
			}
			calls, ok := answer["calls"].(float64)
			if !ok || answer["python"] == nil {
				t.Fatalf("another program answered: %s", body)
			}
			return calls
		}
		if first, second := count(), count(); second != first+1 {
			t.Errorf("counter went from %v to %v: another machine answered", first, second)
		}
	})
	t.Run("every core node holds the same message and gives the same place", func(t *testing.T) {
		var first map[string]any
		var place *client.Allocation
		for _, node := range network.Core {
			eventually(t, 15*time.Second, func(ctx context.Context) error {
				var answer struct {
					Status  string         `json:"status"`
					Message map[string]any `json:"message"`
				}
				if err := get(ctx, node.URL+"/api/v0/messages/"+hash, &answer); err != nil {
					return err
				}
				if answer.Status != "processed" {
					return fmt.Errorf("%s: status %q", node.Name, answer.Status)
				}
				delete(answer.Message, "confirmations")
				delete(answer.Message, "confirmed")
				if first == nil {
					first = answer.Message
				}
				if !reflect.DeepEqual(first, answer.Message) {
					return fmt.Errorf("%s holds another message: %v, want %v", node.Name, answer.Message, first)
				}
				where, err := client.New(client.Config{BaseURL: node.URL}).Allocation(ctx, message.Hash(hash))
				if err != nil {
					return err
				}
				if place == nil {
					place = where
				}
				if !reflect.DeepEqual(place, where) {
					return fmt.Errorf("%s says it runs at %+v, want %+v", node.Name, where, place)
				}
				return nil
			})
		}
	})
}

// TestAProgramMovesWhenItsComputeNodeIsKilled moves one that boots fast.
func TestAProgramMovesWhenItsComputeNodeIsKilled(t *testing.T) {
	program := filepath.Join(t.TempDir(), "hello")
	if err := imagetest.BuildGo("./examples/hello-go", program); err != nil {
		t.Fatal(err)
	}
	hash := deploy(t, program)
	if out, code := aleph(t, "program", "call", hash, "/", "--timeout", "150s"); code != 0 {
		t.Fatalf("exit code %d: %s", code, out)
	}
	where, err := client.New(client.Config{BaseURL: network.Core[0].URL}).Allocation(t.Context(), message.Hash(hash))
	if err != nil {
		t.Fatal(err)
	}
	var victim *devnet.Process
	for _, p := range network.Compute {
		if p.URL == where.Node.URL {
			victim = p
		}
	}
	if victim == nil {
		t.Fatalf("no compute node at %s", where.Node.URL)
	}
	if err := victim.Kill(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	eventually(t, 4*time.Minute, func(ctx context.Context) error {
		status, body, err := call(ctx, hash)
		if err != nil {
			return err
		}
		if status != http.StatusOK {
			return fmt.Errorf("status %d: %s", status, body)
		}
		return nil
	})
	t.Logf("answered from the other compute node after %.1f s", time.Since(began).Seconds())
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	if err := victim.AwaitHTTP(t.Context(), "/about/usage/system"); err != nil {
		t.Fatal(err)
	}
}

func TestUserWithoutTokensIsToldWhatIsMissing(t *testing.T) {
	key := filepath.Join(t.TempDir(), "poor.key")
	if err := os.WriteFile(key, []byte(strings.Repeat("5a", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	out, code := alephAs(t, key, "program", "deploy", filepath.Join(root, "examples", "hello-fastapi"))
	if code != 5 {
		t.Errorf("exit code %d, want 5", code)
	}
	if !strings.Contains(out, "ALEPH") {
		t.Errorf("the amounts are not named: %s", out)
	}
}

// TestCoreNodeLosesNothingWhenKilled kills a core node while it takes posts, starts it again and looks for each one that
// it had acknowledged.
func TestCoreNodeLosesNothingWhenKilled(t *testing.T) {
	victim := network.Core[2]
	account, err := ethereum.NewAccount(chain.Accounts()[1].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	api := client.New(client.Config{BaseURL: victim.URL})
	var mu sync.Mutex
	var acknowledged []string
	author := &authority.Author{
		Account: account, Channel: "E2E", MaxInline: params.Devnet().MaxInlineContent,
		Submit: func(ctx context.Context, envelope []byte) error {
			var head struct {
				Hash string `json:"item_hash"`
			}
			if err := json.Unmarshal(envelope, &head); err != nil {
				return err
			}
			answer, err := api.PublishRaw(ctx, envelope, true)
			if err == nil && answer.HTTPStatus == http.StatusOK {
				mu.Lock()
				acknowledged = append(acknowledged, head.Hash)
				mu.Unlock()
			}
			return err
		},
	}
	const posts, senders, killAfter = 1000, 8, 400
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	work := make(chan int)
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			for i := range work {
				_ = author.Post(ctx, "e2e", "", map[string]int{"number": i}) // refused connections are the point
			}
		})
	}
	killed := make(chan error, 1)
	go func() {
		defer close(work)
		for i := range posts {
			if i == killAfter {
				killed <- victim.Kill()
				cancel()
			}
			select {
			case work <- i:
			case <-ctx.Done():
				return
			}
		}
	}()
	wg.Wait()
	if err := <-killed; err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	if err := victim.AwaitHTTP(t.Context(), "/api/v0/version"); err != nil {
		t.Fatal(err)
	}
	if len(acknowledged) < killAfter/2 {
		t.Fatalf("only %d posts were acknowledged before the kill", len(acknowledged))
	}
	for _, hash := range acknowledged {
		var answer struct {
			Status string `json:"status"`
		}
		if err := get(t.Context(), victim.URL+"/api/v0/messages/"+hash, &answer); err != nil || answer.Status != "processed" {
			t.Errorf("acknowledged message %s is lost: status %q, %v", hash, answer.Status, err)
		}
	}
	t.Logf("%d acknowledged posts survived the kill", len(acknowledged))
}

func get(ctx context.Context, url string, dst any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(dst)
}

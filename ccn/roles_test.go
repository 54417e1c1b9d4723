package ccn

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/aleph-im/aleph-go/internal/postgrestest"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
	"github.com/aleph-im/aleph-go/signature"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// run runs a node of its own data folder until the test ends and returns the URL of its API.
func run(t *testing.T, database, files string, role Role) string {
	t.Helper()
	n, err := New(t.Context(), Config{
		Params: params.Devnet(), DataDir: t.TempDir(), FilesDir: files, Store: database, Role: role, HTTPListen: "127.0.0.1:0",
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return "http://" + n.HTTPAddr()
}

func signed(t *testing.T, by signature.Account, n int) *message.Message {
	t.Helper()
	post := &message.Post{PostType: "note", Content: json.RawMessage(fmt.Sprintf(`{"n":%d}`, n))}
	m, _, err := message.Build(by.Address(), by.Chain(), message.TypePost, post, nil, time.Unix(1_700_000_000+int64(n), 0))
	if err == nil {
		err = signature.Sign(t.Context(), by, m)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func publish(t *testing.T, to string, m *message.Message, sync bool) (status int, answer string) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"message": m, "sync": sync})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(to+"/api/v0/messages", "application/json", bytes.NewReader(body))
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

func TestTwoAPIsAndAWorkerAnswerAsOneNode(t *testing.T) {
	database, files := postgrestest.DSN(t), t.TempDir()
	worker := run(t, database, files, RoleWorker)
	apis := []string{run(t, database, files, RoleAPI), run(t, database, files, RoleAPI)}
	account, err := ethereum.Generate()
	if err != nil {
		t.Fatal(err)
	}
	const n = 40
	var seen sync.WaitGroup
	for _, url := range apis {
		c, _, err := websocket.Dial(t.Context(), strings.Replace(url, "http", "ws", 1)+"/api/ws0/messages?history=0", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseNow()
		c.SetReadLimit(1 << 20)
		seen.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			hashes := map[message.Hash]bool{}
			for range n {
				var m struct {
					Hash message.Hash `json:"item_hash"`
				}
				_, raw, err := c.Read(ctx)
				if err == nil {
					err = json.Unmarshal(raw, &m)
				}
				if err != nil || hashes[m.Hash] {
					t.Errorf("after %d messages: %q, %v", len(hashes), m.Hash, err)
					return
				}
				hashes[m.Hash] = true
			}
		})
	}
	var sent sync.WaitGroup
	for i := range n {
		m := signed(t, account, i)
		sent.Go(func() {
			if status, answer := publish(t, apis[i%2], m, true); status != http.StatusOK || !strings.Contains(answer, `"processed"`) {
				t.Errorf("%d %s", status, answer)
			}
		})
	}
	sent.Wait()
	seen.Wait()
	for _, url := range apis {
		resp, err := http.Get(fmt.Sprintf("%s/api/v0/messages.json?addresses=%s&pagination=100", url, account.Address()))
		if err != nil {
			t.Fatal(err)
		}
		var list struct {
			Total int `json:"pagination_total"`
		}
		err = json.NewDecoder(resp.Body).Decode(&list)
		resp.Body.Close()
		if err != nil || list.Total != n {
			t.Errorf("%s lists %d messages, %v", url, list.Total, err)
		}
	}
	if status, answer := publish(t, apis[0], signed(t, account, n), false); status != http.StatusAccepted {
		t.Errorf("without sync: %d %s", status, answer)
	}
	if status, _ := publish(t, worker, signed(t, account, n+1), true); status != http.StatusNotFound && status != http.StatusMethodNotAllowed {
		t.Errorf("the worker took a message: %d", status)
	}
	if resp, err := http.Get(worker + "/metrics"); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("metrics of the worker: %+v, %v", resp, err)
	} else {
		resp.Body.Close()
	}
}

func TestSharesOfTheWorkNeedWhatIsShared(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		says string
	}{
		{Config{Role: RoleAPI}, "the role api is a share"},
		{Config{Role: RoleWorker}, "the role worker is a share"},
		{Config{Role: "boss"}, `no role "boss"`},
		{Config{FilesDir: t.TempDir()}, "leave --files-dir out"},
		{Config{Role: RoleAPI, Store: postgrestest.DSN(t)}, "--files-dir"},
	} {
		c.cfg.Params, c.cfg.DataDir, c.cfg.HTTPListen, c.cfg.Logger = params.Devnet(), t.TempDir(), "127.0.0.1:0", slog.New(slog.DiscardHandler)
		if _, err := New(t.Context(), c.cfg); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("want %q, got %v", c.says, err)
		}
	}
}

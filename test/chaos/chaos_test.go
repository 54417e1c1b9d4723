// Package chaos kills nodes under load and looks whether anything that they acknowledged is lost.
package chaos

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aleph-im/aleph-go/ccn"
	"github.com/aleph-im/aleph-go/ccn/check"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/internal/postgrestest"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
	"github.com/aleph-im/aleph-go/signature"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// The test binary runs itself again as the node that is killed.
const (
	databaseVariable = "ALEPH_CHAOS_DATABASE"
	folderVariable   = "ALEPH_CHAOS_FOLDER"
)

func TestMain(m *testing.M) {
	if database := os.Getenv(databaseVariable); database != "" {
		if err := runNode(database, os.Getenv(folderVariable)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	if program.dir != "" {
		_ = os.RemoveAll(program.dir) // what stays is in the folder for temporary files
	}
	os.Exit(code)
}

// runNode runs a node until its standard input ends and says where its API is.
func runNode(database, folder string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	n, err := ccn.New(ctx, ccn.Config{
		Params: params.Devnet(), DataDir: folder, Store: database, HTTPListen: "127.0.0.1:0",
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // whatever ends it
		cancel()
	}()
	fmt.Println("http://" + n.HTTPAddr())
	return n.Run(ctx)
}

// node is a running node.
type node struct {
	url   string
	cmd   *exec.Cmd
	stdin io.Closer
	log   *bytes.Buffer // complete once the node has ended
}

func startNode(t *testing.T, database, folder string) *node {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	n := &node{cmd: exec.Command(self), log: &bytes.Buffer{}}
	n.cmd.Env = append(os.Environ(), databaseVariable+"="+database, folderVariable+"="+folder)
	n.cmd.Stderr = n.log
	stdin, err := n.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	n.stdin = stdin
	stdout, err := n.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		_ = n.cmd.Wait() // its log says more
		t.Fatalf("the node did not start: %v\n%s", err, n.log)
	}
	n.url = strings.TrimSpace(line)
	return n
}

// kill ends the node as the power cut does.
func (n *node) kill(t *testing.T) {
	t.Helper()
	if err := n.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatalf("the node ended before it was killed: %v\n%s", err, n.log)
	}
	var ended *exec.ExitError
	if err := n.cmd.Wait(); !errors.As(err, &ended) || ended.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the node ended by itself: %v\n%s", err, n.log)
	}
}

// load sends messages that build on each other and remembers which of them were acknowledged.
type load struct {
	t       *testing.T
	account *ethereum.Account
	client  *http.Client
	random  *rand.Rand // guarded by mu

	mu       sync.Mutex
	made     int                             // guarded by mu
	again    [][]byte                        // guarded by mu; sent, with no answer
	posts    []message.Hash                  // guarded by mu; acknowledged, to be amended
	answered map[message.Hash]message.Status // guarded by mu
	hashes   map[string]message.Hash         // guarded by mu; by body
	kinds    map[message.Hash]message.Type   // guarded by mu
}

const senders = 8

func newLoad(t *testing.T) *load {
	account, err := ethereum.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return &load{
		t: t, account: account, client: &http.Client{Timeout: 40 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: senders}},
		random: rand.New(rand.NewPCG(1, 2)), answered: map[message.Hash]message.Status{},
		hashes: map[string]message.Hash{}, kinds: map[message.Hash]message.Type{},
	}
}

// next returns the body of a message that had no answer, or of a new one.
func (l *load) next() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.again); n > 0 {
		body := l.again[n-1]
		l.again = l.again[:n-1]
		return body
	}
	l.made++
	var content message.Content
	kind := message.TypePost
	post := &message.Post{PostType: "note", Content: json.RawMessage(fmt.Sprintf(`{"n":%d}`, l.made))}
	switch l.random.IntN(4) {
	case 0:
		kind = message.TypeAggregate
		content = &message.Aggregate{Key: fmt.Sprint("key", l.made%5), Content: json.RawMessage(fmt.Sprintf(`{"k%d":%d}`, l.made%7, l.made))}
	case 1:
		if len(l.posts) > 0 {
			post.PostType, post.Ref = message.PostTypeAmend, string(l.posts[l.random.IntN(len(l.posts))])
		}
		content = post
	default:
		content = post
	}
	m, _, err := message.Build(l.account.Address(), l.account.Chain(), kind, content, nil, time.Unix(1_700_000_000+int64(l.made), 0))
	if err == nil {
		err = signature.Sign(context.Background(), l.account, m)
	}
	if err != nil {
		l.t.Error(err)
		return nil
	}
	body, err := json.Marshal(map[string]any{"message": m, "sync": true})
	if err != nil {
		l.t.Error(err)
		return nil
	}
	l.hashes[string(body)] = m.ItemHash
	if post.PostType != message.PostTypeAmend {
		l.kinds[m.ItemHash] = kind
	}
	return body
}

// send sends one message and reports whether it was acknowledged.
func (l *load) send(ctx context.Context, url string) bool {
	body := l.next()
	if body == nil {
		return false
	}
	status := l.post(ctx, url, body)
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.hashes[string(body)]
	switch status {
	case http.StatusOK:
		l.answered[h] = message.StatusProcessed
		if l.kinds[h] == message.TypePost {
			l.posts = append(l.posts, h)
		}
	case http.StatusAccepted:
		l.answered[h] = message.StatusPending
	case http.StatusUnprocessableEntity:
		l.t.Errorf("message %s was refused", h)
		return false
	default:
		l.again = append(l.again, body)
		return false
	}
	delete(l.hashes, string(body))
	return true
}

func (l *load) post(ctx context.Context, url string, body []byte) int {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/api/v0/messages", bytes.NewReader(body))
	if err != nil {
		l.t.Error(err)
		return 0
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := l.client.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0 // half an answer is none
	}
	return resp.StatusCode
}

// run sends until ctx ends and calls acknowledged after each answer.
func (l *load) run(ctx context.Context, url string, acknowledged func()) {
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			for ctx.Err() == nil {
				if l.send(ctx, url) {
					acknowledged()
				}
			}
		})
	}
	wg.Wait()
	l.client.CloseIdleConnections()
}

// kills is how often the node is killed.
func kills() int {
	if testing.Short() {
		return 10
	}
	return 100
}

// torment kills a node again and again in the middle of its work. hurt is called in the middle of each round.
func torment(t *testing.T, database string, hurt func(round int)) {
	folder := t.TempDir()
	l := newLoad(t)
	for round := range kills() {
		n := startNode(t, database, folder)
		l.mu.Lock()
		hurtAt, killAt := 1+l.random.IntN(40), 41+l.random.IntN(80)
		l.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		reached := make(chan int, 2)
		var mu sync.Mutex
		acknowledged := 0
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			l.run(ctx, n.url, func() {
				mu.Lock()
				defer mu.Unlock()
				if acknowledged++; acknowledged == hurtAt || acknowledged == killAt {
					reached <- acknowledged
				}
			})
		}()
		for want := range 2 {
			select {
			case <-reached:
			case <-ctx.Done():
				t.Fatalf("round %d: no progress after %d answers", round, acknowledged)
			}
			if want == 0 {
				hurt(round)
			}
		}
		n.kill(t)
		cancel()
		<-ended
		if t.Failed() {
			t.Fatalf("round %d\n%s", round, n.log)
		}
	}
	n := startNode(t, database, folder) // that it starts and stops by itself is part of it
	if err := errors.Join(n.stdin.Close(), n.cmd.Wait()); err != nil {
		t.Fatalf("%v\n%s", err, n.log)
	}
	l.verify(database)
	report, err := check.Run(t.Context(), check.Config{Params: params.Devnet(), Database: database})
	if err != nil {
		t.Fatal(err)
	}
	if !report.Clean() {
		t.Errorf("%d problems, the first: %+v", report.Problems, report.Findings[:min(3, len(report.Findings))])
	}
	t.Logf("%d kills, %d messages made, %d acknowledged, %d in store", kills(), l.made, len(l.answered), report.Messages)
}

// verify looks for everything that was acknowledged.
func (l *load) verify(database string) {
	s, err := store.Open(l.t.Context(), database)
	if err != nil {
		l.t.Fatal(err)
	}
	defer s.Close()
	err = s.Read(l.t.Context(), func(r *store.Reader) error {
		for h, promised := range l.answered {
			got, _, err := r.Status(h)
			if err != nil {
				return err
			}
			if got != message.StatusProcessed && got != promised {
				l.t.Errorf("message %s was acknowledged as %s and is %q", h, promised, got)
			}
		}
		return nil
	})
	if err != nil {
		l.t.Fatal(err)
	}
}

func TestKilledNodeOnSQLiteLosesNothing(t *testing.T) {
	t.Parallel()
	torment(t, "sqlite:"+filepath.Join(t.TempDir(), "node.db"), func(int) {})
}

// Besides the node, each tenth round kills one of the server's processes, which makes PostgreSQL recover from its log, and
// each fifth cuts all connections.
func TestKilledNodeOnPostgreSQLLosesNothing(t *testing.T) {
	t.Parallel()
	database := postgrestest.DSN(t)
	torment(t, database, func(round int) {
		if round%5 != 0 {
			return
		}
		admin, err := pgx.Connect(t.Context(), database)
		if err != nil {
			t.Fatal(err)
		}
		defer admin.Close(context.Background())
		if round%10 != 0 {
			if _, err := admin.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'alephd'`); err != nil {
				t.Fatal(err)
			}
			return
		}
		var pid int
		if err := admin.QueryRow(t.Context(), `SELECT pid FROM pg_stat_activity WHERE application_name = 'alephd' ORDER BY random() LIMIT 1`).Scan(&pid); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	})
}

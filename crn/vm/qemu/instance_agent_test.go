package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeGuest is a fake of QEMU and of the agent in its guest: it answers each command as the test says, and notes it.
type fakeGuest struct {
	t      *testing.T
	m      *Instance
	listen bool
	answer func(command string, id json.Number) string // of the agent; nothing when empty

	mu   sync.Mutex
	said []string
}

func newFakeGuest(t *testing.T, answer func(command string, id json.Number) string) *fakeGuest {
	t.Helper()
	g := &fakeGuest{t: t, listen: true, answer: answer, m: &Instance{dir: t.TempDir(), attached: t.Context(), copying: make(chan struct{}, 1), done: make(chan struct{})}}
	l, err := net.Listen("unix", filepath.Join(g.m.dir, agentSocket))
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { g.agent(conn) })
		}
	})
	host, qemu := net.Pipe()
	serving.Go(func() { g.qemu(qemu) })
	if g.m.control, err = newMonitor(t.Context(), host, func(*monitor, string, json.RawMessage) {}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.m.control.close(); l.Close(); serving.Wait() })
	return g
}

func (g *fakeGuest) note(command string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.said = append(g.said, command)
}

func (g *fakeGuest) qemu(conn net.Conn) {
	defer conn.Close()
	for commands := json.NewDecoder(conn); ; {
		var c struct{ Execute, ID string }
		if commands.Decode(&c) != nil {
			return
		}
		value := "{}"
		switch c.Execute {
		case "query-chardev":
			value = fmt.Sprintf(`[{"label":"control","frontend-open":true},{"label":"agent","frontend-open":%v}]`, g.listen)
		case "query-jobs", "query-named-block-nodes", "query-fdsets":
			value = "[]"
		case "query-block":
			value = `[{"device":"drive0","inserted":{"image":{"filename":"/root"}}}]`
		case "transaction":
			g.note(c.Execute)
		}
		fmt.Fprintf(conn, `{"return":%s,"id":%q}`+"\n", value, c.ID)
	}
}

func (g *fakeGuest) agent(conn net.Conn) {
	defer conn.Close()
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		var c struct {
			Execute   string
			Arguments struct{ ID json.Number }
		}
		if json.Unmarshal(lines.Bytes(), &c) != nil {
			return
		}
		g.note(c.Execute)
		if _, err := io.WriteString(conn, g.answer(c.Execute, c.Arguments.ID)); err != nil {
			return
		}
	}
}

// willing is an agent that does what it is told.
func willing(command string, id json.Number) string {
	if command == "guest-sync" {
		return `{"return":17}` + "\n" + fmt.Sprintf(`{"return":%s}`, id) + "\n" // first what an earlier talk was owed
	}
	return `{"return":1}` + "\n"
}

func TestAGuestIsFrozenForTheMomentOfTheCopyAlone(t *testing.T) {
	sync, freeze, thaw := "guest-sync", "guest-fsfreeze-freeze", "guest-fsfreeze-thaw"
	for name, test := range map[string]struct {
		answer func(string, json.Number) string
		silent bool // nobody listens in the guest
		want   []string
	}{
		"with an agent": {willing, false, []string{sync, freeze, "transaction", sync, thaw}},
		"without":       {willing, true, []string{"transaction"}},
		"an agent that refuses": {func(c string, id json.Number) string {
			if c == freeze {
				return `{"error":{"class":"GenericError","desc":"no"}}` + "\n"
			}
			return willing(c, id)
		}, false, []string{sync, freeze, "transaction", sync, thaw}},
		"an agent that babbles": {func(string, json.Number) string { return strings.Repeat("x", maxAgent) + "\n" }, false, []string{sync, "transaction"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := newFakeGuest(t, test.answer)
			g.listen = !test.silent
			if err := g.m.beginCopies(t.Context(), nil, true); err != nil {
				t.Error(err)
			}
			if !slices.Equal(g.said, test.want) {
				t.Errorf("said %v, want %v", g.said, test.want)
			}
			if _, err := os.Stat(filepath.Join(g.m.dir, frozenFile)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("it still counts as frozen: %v", err)
			}
		})
	}
}

func TestWaitingForAnotherCopyIsGivenUp(t *testing.T) {
	g := newFakeGuest(t, willing)
	g.m.copying <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	told := make(chan error, 1)
	go func() { told <- g.m.Copy(ctx, nil, false) }()
	cancel()
	if err := <-told; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(g.m.done)
	if err := g.m.Copy(t.Context(), nil, false); !errors.Is(err, errEnded) {
		t.Errorf("of a machine that ended: %v", err)
	}
	<-g.m.copying
}

func TestAGuestThatAKilledNodeLeftFrozenIsThawed(t *testing.T) {
	g := newFakeGuest(t, willing)
	if err := g.m.freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.said = nil
	for range 2 { // the second time there is nothing to thaw
		if err := g.m.endLeft(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"guest-sync", "guest-fsfreeze-thaw"}; !slices.Equal(g.said, want) {
		t.Errorf("said %v, want %v", g.said, want)
	}
}

func TestAGuestIsThawedAsSoonAsItsAgentIsBack(t *testing.T) {
	sync, thaw := "guest-sync", "guest-fsfreeze-thaw"
	for name, spoil := range map[string]func(g *fakeGuest, on bool){
		"nobody listens": func(g *fakeGuest, on bool) { g.listen = !on },
		"it refuses": func(g *fakeGuest, on bool) {
			g.answer = willing
			if on {
				g.answer = func(c string, id json.Number) string {
					if c == thaw {
						return `{"error":{"class":"GenericError","desc":"no"}}` + "\n"
					}
					return willing(c, id)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newFakeGuest(t, willing)
			if err := g.m.freeze(t.Context()); err != nil {
				t.Fatal(err)
			}
			spoil(g, true)
			_ = g.m.endLeft(t.Context())
			again, ended := make(chan time.Time), make(chan struct{})
			go func() { g.m.keepThawed(again); close(ended) }()
			again <- time.Time{}
			again <- time.Time{} // taken when the first is done
			g.m.freezing.Lock()
			spoil(g, false)
			g.said = nil
			g.m.freezing.Unlock()
			for range 3 {
				again <- time.Time{}
			}
			close(g.m.done)
			<-ended
			if want := []string{sync, thaw}; !slices.Equal(g.said, want) {
				t.Errorf("said %v, want %v", g.said, want)
			}
		})
	}
}

func TestAnAgentThatDoesNotAnswerIsGivenUp(t *testing.T) {
	g := newFakeGuest(t, func(string, json.Number) string { return "" })
	ctx, cancel := context.WithCancel(t.Context())
	told := make(chan error, 1)
	go func() {
		told <- g.m.withAgent(ctx, func(*agent) error { return errors.New("it answered") })
	}()
	cancel()
	if err := <-told; err == nil || err.Error() == "it answered" {
		t.Errorf("got %v", err)
	}
}

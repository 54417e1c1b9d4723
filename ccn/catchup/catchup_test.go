package catchup

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// peer is a fake core node that lists the messages 0 to n-1, newest first; a message is as many seconds old as there are newer ones.
func peer(t *testing.T, n *int) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		size, _ := strconv.Atoi(q.Get("pagination"))
		if q.Get("contentFormat") != "none" {
			t.Error("contents are asked for, of which a page is too large")
		}
		i := *n - 1
		if after := q.Get("cursor"); after != "" {
			i, _ = strconv.Atoi(after)
		}
		list := []map[string]any{}
		for ; i >= 0 && len(list) < size; i-- {
			list = append(list, map[string]any{"item_hash": fmt.Sprint(i), "time": time.Now().Unix() - int64(*n-1-i)})
		}
		answer := map[string]any{"messages": list, "next_cursor": nil}
		if i >= 0 {
			answer["next_cursor"] = fmt.Sprint(i)
		}
		_ = json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// node is what this side knows.
type node struct {
	status map[message.Hash]message.Status
	taken  []message.Hash
}

// know has the node know the messages from first to last.
func (n *node) know(first, last int) {
	for i := first; i <= last; i++ {
		n.status[message.Hash(fmt.Sprint(i))] = message.StatusProcessed
	}
}

func (n *node) service() *Service {
	return New(Config{
		Statuses: func(_ context.Context, list []message.Hash) (statuses []message.Status, err error) {
			for _, h := range list {
				statuses = append(statuses, n.status[h])
			}
			return statuses, nil
		},
		Submit: func(_ context.Context, envelope []byte) error {
			var head struct {
				Hash message.Hash `json:"item_hash"`
			}
			if err := json.Unmarshal(envelope, &head); err != nil {
				return err
			}
			n.taken = append(n.taken, head.Hash)
			n.status[head.Hash] = message.StatusProcessed
			return nil
		},
	})
}

func TestEmptyNodeFetchesEverything(t *testing.T) {
	n := &node{status: map[message.Hash]message.Status{}}
	listed := 450
	found, err := n.service().look(t.Context(), peer(t, &listed))
	if err != nil || found != listed || len(n.status) != listed {
		t.Errorf("found %d, know %d, %v", found, len(n.status), err)
	}
}

func TestOlderMessagesOfAPageComeFirst(t *testing.T) {
	n := &node{status: map[message.Hash]message.Status{}}
	listed := 5
	if _, err := n.service().look(t.Context(), peer(t, &listed)); err != nil {
		t.Fatal(err)
	}
	if want := []message.Hash{"0", "1", "2", "3", "4"}; !slices.Equal(n.taken, want) {
		t.Errorf("taken in the order %v", n.taken)
	}
}

func TestKnownMessagesEndTheLook(t *testing.T) {
	n := &node{status: map[message.Hash]message.Status{}}
	listed := 2000
	url := peer(t, &listed)
	n.know(500, listed-2)
	if found, err := n.service().look(t.Context(), url); err != nil || found != 1 {
		t.Errorf("found %d, %v", found, err)
	}
}

// Gossip was well again before a peer could be asked, and brought more than a page.
func TestWhatIsMissingBelowKnownMessagesIsFound(t *testing.T) {
	n := &node{status: map[message.Hash]message.Status{}}
	listed := 1000
	url := peer(t, &listed)
	s := n.service()
	s.began = s.began.Add(-500 * time.Second)
	n.know(0, 399)
	n.know(600, listed-1)
	if found, err := s.look(t.Context(), url); err != nil || found != 200 {
		t.Errorf("after the start: found %d, %v", found, err)
	}
	// Once more, after a look that came to its end.
	s.looked[url] = time.Now().Add(-2000 * time.Second)
	listed = 3000
	n.know(1100, listed-1)
	if found, err := s.look(t.Context(), url); err != nil || found != 100 {
		t.Errorf("later: found %d, %v", found, err)
	}
	delete(n.status, "0") // it was known when the last look began
	if found, err := s.look(t.Context(), url); err != nil || found != 0 {
		t.Errorf("at once: found %d, %v", found, err)
	}
}

func TestRejectedMessageThatAPeerAcceptedIsTriedAgain(t *testing.T) {
	n := &node{status: map[message.Hash]message.Status{"0": message.StatusRejected}}
	listed := 1
	if _, err := n.service().look(t.Context(), peer(t, &listed)); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(n.taken, []message.Hash{"0"}) {
		t.Errorf("taken: %v", n.taken)
	}
}

func TestSilentPeerIsAnError(t *testing.T) {
	n := &node{status: map[message.Hash]message.Status{}}
	if _, err := n.service().look(t.Context(), "http://127.0.0.1:1"); err == nil {
		t.Error("no error")
	}
}

func TestAPeerLeadsNowhereElse(t *testing.T) {
	count := 3
	other := strings.Replace(peer(t, &count), "127.0.0.1", "localhost", 1)
	leading := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other+r.URL.RequestURI(), http.StatusFound)
	}))
	defer leading.Close()
	n := &node{status: map[message.Hash]message.Status{}}
	if _, err := n.service().look(t.Context(), leading.URL); err == nil || len(n.taken) > 0 {
		t.Errorf("%d messages of another host, %v", len(n.taken), err)
	}
}

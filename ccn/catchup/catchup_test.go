package catchup

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"testing"

	"github.com/aleph-im/aleph-go/message"
)

// peer is a fake core node that lists the messages 0 to n-1, newest first.
func peer(t *testing.T, n int) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		size, _ := strconv.Atoi(r.URL.Query().Get("pagination"))
		page, _ := strconv.Atoi(r.URL.Query().Get("page"))
		if r.URL.Query().Get("contentFormat") != "none" {
			t.Error("contents are asked for, of which a page is too large")
		}
		list := []map[string]string{}
		for i := n - 1 - size*(page-1); i >= 0 && len(list) < size; i-- {
			list = append(list, map[string]string{"item_hash": fmt.Sprint(i)})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"messages": list})
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// node is what this side knows.
type node struct {
	status map[message.Hash]message.Status
	taken  []message.Hash
}

func (n *node) service() *Service {
	return New(Config{
		Status: func(_ context.Context, h message.Hash) (message.Status, error) { return n.status[h], nil },
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
	found, err := n.service().look(t.Context(), peer(t, 250))
	if err != nil || found != 250 || len(n.status) != 250 {
		t.Errorf("found %d, know %d, %v", found, len(n.status), err)
	}
}

func TestOlderMessagesOfAPageComeFirst(t *testing.T) {
	n := &node{status: map[message.Hash]message.Status{}}
	if _, err := n.service().look(t.Context(), peer(t, 5)); err != nil {
		t.Fatal(err)
	}
	if want := []message.Hash{"0", "1", "2", "3", "4"}; !slices.Equal(n.taken, want) {
		t.Errorf("taken in the order %v", n.taken)
	}
}

func TestKnownMessagesEndTheLook(t *testing.T) {
	n := &node{status: map[message.Hash]message.Status{}}
	url := peer(t, 1000)
	for i := range 1000 {
		n.status[message.Hash(fmt.Sprint(i))] = message.StatusProcessed
	}
	delete(n.status, "999")
	if found, err := n.service().look(t.Context(), url); err != nil || found != 1 {
		t.Errorf("found %d, %v", found, err)
	}
}

func TestRejectedMessageThatAPeerAcceptedIsTriedAgain(t *testing.T) {
	n := &node{status: map[message.Hash]message.Status{"0": message.StatusRejected}}
	if _, err := n.service().look(t.Context(), peer(t, 1)); err != nil {
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

package corenodetest

import (
	"encoding/json"
	"net/http"

	"github.com/coder/websocket"
)

// watch sends what is published from now on, as a core node does (spec/ccn-api.md §14.1).
func (n *Node) watch(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer conn.CloseNow()
	live := make(chan json.RawMessage, 64)
	n.mu.Lock()
	n.watchers[live] = struct{}{}
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		delete(n.watchers, live)
		n.mu.Unlock()
	}()
	ctx := conn.CloseRead(r.Context())
	for {
		select {
		case m := <-live:
			if conn.Write(ctx, websocket.MessageText, m) != nil {
				return
			}
		case <-n.ended:
			return
		case <-ctx.Done():
			return
		}
	}
}

// Watchers returns how many connections follow live messages.
func (n *Node) Watchers() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.watchers)
}

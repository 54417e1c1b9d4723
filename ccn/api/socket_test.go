package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/aleph-im/aleph-go/ccn/authority"
	"github.com/aleph-im/aleph-go/ccn/intake"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// dial opens a socket that is closed when the test ends.
func (r *rig) dial(path string, mode websocket.CompressionMode) (*websocket.Conn, *http.Response) {
	r.t.Helper()
	conn, resp, err := websocket.Dial(r.t.Context(), "ws"+strings.TrimPrefix(r.url, "http")+path, &websocket.DialOptions{CompressionMode: mode})
	if err != nil {
		r.t.Fatal(err)
	}
	conn.SetReadLimit(1 << 20)
	r.t.Cleanup(func() { conn.CloseNow() })
	return conn, resp
}

// read reads a frame, or fails after some time.
func (r *rig) read(conn *websocket.Conn) ([]byte, error) {
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	_, raw, err := conn.Read(ctx)
	return raw, err
}

// next returns the object of the next frame.
func (r *rig) next(conn *websocket.Conn) map[string]any {
	r.t.Helper()
	raw, err := r.read(conn)
	if err != nil {
		r.t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(raw, &m); err != nil {
		r.t.Fatal(err)
	}
	return m
}

func (r *rig) saying(text string) []byte {
	return r.envelope(func(a *authority.Author) error {
		return a.Post(r.t.Context(), "note", "", map[string]string{"text": text})
	})
}

func TestFramesArriveWholeWhateverTheirSizeAndCompression(t *testing.T) {
	r := newRig(t)
	plain, resp := r.dial("/api/ws0/messages?history=0", websocket.CompressionDisabled)
	if got := resp.Header.Get("Sec-WebSocket-Extensions"); got != "" {
		t.Errorf("%q was negotiated and not offered", got)
	}
	packed, resp := r.dial("/api/ws0/messages?history=0", websocket.CompressionContextTakeover)
	if got := resp.Header.Get("Sec-WebSocket-Extensions"); got != "permessage-deflate; client_no_context_takeover; server_no_context_takeover" {
		t.Errorf("negotiated %q", got)
	}
	for i, size := range []int{0, 1, 400, 40_000, 1, 150_000} { // below and above 126 and 65,536, in any order
		envelope := r.saying(fmt.Sprint(i) + strings.Repeat("x", size))
		r.send(envelope, true).check(t, "message", 200, "")
		for name, conn := range map[string]*websocket.Conn{"plain": plain, "packed": packed} {
			if m := r.next(conn); m["item_hash"] != string(hashIn(t, envelope)) {
				t.Errorf("%s, %d bytes: got %v", name, size, m["item_hash"])
			}
		}
	}
}

func TestOnlyTextsThatAreWorthItAreCompressed(t *testing.T) {
	for _, c := range []struct {
		size   int
		packs  bool
		header []byte
	}{
		{125, false, []byte{0x81, 125}},
		{126, true, []byte{0x81, 126, 0, 126}},
		{packFrom - 1, true, []byte{0x81, 126, 1, 255}},
		{packFrom, false, []byte{0x81, 126, 2, 0}},
		{1 << 16, false, []byte{0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0}},
	} {
		frame := textFrame([]byte(strings.Repeat("x", c.size)), c.packs)
		if !strings.HasPrefix(string(frame), string(c.header)) || len(frame) != len(c.header)+c.size {
			t.Errorf("%d bytes: % x…, %d bytes", c.size, frame[:min(10, len(frame))], len(frame))
		}
	}
	if frame := textFrame([]byte(strings.Repeat("x", 5000)), true); frame[0] != 0xc1 || len(frame) > 100 {
		t.Errorf("packed: % x, %d bytes", frame[0], len(frame))
	}
}

func TestWhatAClientSendsIsIgnored(t *testing.T) {
	r := newRig(t)
	conn, _ := r.dial("/api/ws0/messages?history=0", websocket.CompressionNoContextTakeover)
	for _, text := range []string{"hello", strings.Repeat("compress me ", 1000)} {
		if err := conn.Write(t.Context(), websocket.MessageText, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	envelope := r.post(1)
	r.send(envelope, true)
	if m := r.next(conn); m["item_hash"] != string(hashIn(t, envelope)) {
		t.Errorf("got %v", m)
	}
	// What would unpack to more than a client may send ends the connection, not the node.
	if err := conn.Write(t.Context(), websocket.MessageText, []byte(strings.Repeat("x", 10<<20))); err == nil {
		if _, err = r.read(conn); websocket.CloseStatus(err) != websocket.StatusMessageTooBig {
			t.Errorf("after 10 MiB: %v", err)
		}
	}
}

func TestLiveMessagesAreChosenByPaymentLikeHistory(t *testing.T) {
	r := newRig(t)
	err := r.db.Write(t.Context(), func(tx *store.Tx) error {
		return tx.PutCreditLot(r.account.Address(), &store.CreditLot{Ref: "x", Remaining: 1e12, ContentTime: 1})
	})
	if err != nil {
		t.Fatal(err)
	}
	file := []byte("file")
	r.do(http.MethodPost, addFilePath, strings.NewReader(string(file)))
	live, _ := r.dial("/api/ws0/messages?history=0&paymentTypes=credit", websocket.CompressionDisabled)
	for i, payment := range []any{nil, map[string]any{"chain": "ETH", "type": "hold"}, map[string]any{"chain": "ETH", "type": "credit"}} {
		extra := map[string]any{"time": 1700000000.0 + float64(i)}
		if payment != nil {
			extra["payment"] = payment
		}
		r.send(r.storing(message.HashBytes(file), extra), true).check(t, "STORE", 200, "processed")
	}
	history, _ := r.dial("/api/ws0/messages?history=10&paymentTypes=credit", websocket.CompressionDisabled)
	for name, conn := range map[string]*websocket.Conn{"live": live, "history": history} {
		if m := r.next(conn); m["content"].(map[string]any)["payment"].(map[string]any)["type"] != "credit" {
			t.Errorf("%s: %v", name, m["content"])
		}
	}
}

func TestTagsOfALiveMessageAreReadOnceForAllSubscribers(t *testing.T) {
	m := &message.Message{Type: message.TypePost}
	raw, err := json.Marshal(map[string]any{"content": map[string]any{"tags": []string{"wanted"}, "text": strings.Repeat("x", 1000)}})
	if err != nil {
		t.Fatal(err)
	}
	shared := newFrame(intake.Event{Message: m, Content: &message.Post{}, Raw: raw})
	filter := newLiveFilter(store.MessageFilter{Tags: []string{"wanted", "other"}})
	if !filter.passes(shared) {
		t.Error("the message does not pass")
	}
	if n := testing.AllocsPerRun(10, func() { filter.passes(shared) }); n > 0 {
		t.Errorf("the next subscriber costs %v allocations", n)
	}
}

func TestMetricsAreSentAtOnceAndWhenTheyChange(t *testing.T) {
	start, hours := time.Now(), atomic.Int64{}
	r := newRig(t, func(c *Config) {
		c.Now = func() time.Time { return start.Add(time.Duration(hours.Add(1)) * time.Hour) } // counts of tables are kept for a while
	})
	r.handler.(*API).statusEvery = time.Millisecond
	conn, _ := r.dial("/api/ws0/status", websocket.CompressionDisabled)
	if m := r.next(conn); m["pyaleph_status_sync_messages_total"] != 0.0 || m["pyaleph_ws_status_connections_active"] != 0.0 || m["aleph_goroutines"] != nil {
		t.Errorf("got %v", m)
	}
	r.send(r.post(1), true)
	// The next frame is about the message, although the metrics were read many times: nothing else changed.
	for {
		m := r.next(conn)
		if m["pyaleph_status_sync_messages_total"] == 1.0 {
			break
		}
		if m["pyaleph_status_sync_pending_messages_total"] == 0.0 {
			t.Fatalf("a frame without news: %v", m)
		}
	}
	r.get("/api/ws0/status").check(t, "without upgrade", 400, "No WebSocket UPGRADE hdr")
}

func TestSubscribersAreToldThatTheNodeStops(t *testing.T) {
	r := newRig(t)
	var conns []*websocket.Conn
	for _, path := range []string{"/api/ws0/messages?history=0", "/api/ws0/status"} {
		conn, _ := r.dial(path, websocket.CompressionDisabled)
		conns = append(conns, conn)
	}
	r.next(conns[1])
	close(r.stopping)
	for _, conn := range conns {
		_, err := r.read(conn)
		if websocket.CloseStatus(err) != websocket.StatusGoingAway {
			t.Errorf("got %v", err)
		}
	}
	r.handler.(*API).Wait()
	if a := r.get("/ready"); a.status != http.StatusServiceUnavailable || !strings.Contains(string(a.body), "stopping") {
		t.Errorf("ready: %d %s", a.status, a.body)
	}
}

func TestTooManySubscribersAreTurnedAway(t *testing.T) {
	r := newRig(t)
	a := r.handler.(*API)
	a.sockets.status.Store(a.maxStatusSockets())
	conn, _ := r.dial("/api/ws0/status", websocket.CompressionDisabled)
	_, err := r.read(conn)
	if websocket.CloseStatus(err) != websocket.StatusTryAgainLater || !strings.Contains(err.Error(), "Too many connections") {
		t.Errorf("got %v", err)
	}
	if n := a.sockets.statusRejected.Load(); n != 1 || a.sockets.status.Load() != a.maxStatusSockets() {
		t.Errorf("%d turned away, %d counted", n, a.sockets.status.Load())
	}
}

func TestWaitingMessagesAreBoundedAndKeepTheirOrder(t *testing.T) {
	w := &watcher{ready: make(chan struct{}, 1)}
	for i := range watcherBuffer {
		if !w.push(&frame{event: intake.Event{Position: int64(i)}}) {
			t.Fatalf("frame %d does not fit", i)
		}
	}
	if w.push(&frame{}) {
		t.Error("there is no bound")
	}
	var list []*frame
	n := int64(0)
	for len(w.ready) > 0 { // what waits is always announced
		<-w.ready
		list = w.take(list)
		for _, f := range list {
			if f.event.Position != n {
				t.Fatalf("frame %d came as %d", f.event.Position, n)
			}
			n++
		}
	}
	if n != watcherBuffer || !w.push(&frame{}) || len(w.ready) != 1 {
		t.Errorf("%d of %d frames were taken", n, watcherBuffer)
	}
}

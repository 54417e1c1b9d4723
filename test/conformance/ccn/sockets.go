package ccn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/aleph-im/aleph-go/message"
)

// socket is a client of a WebSocket.
type socket struct {
	c      *client
	conn   *websocket.Conn
	pinged chan struct{}
}

func (c *client) dial(path string) *socket {
	c.Helper()
	s, err := c.tryDial(path)
	if err != nil {
		c.Fatal(err)
	}
	return s
}

func (c *client) tryDial(path string) (*socket, error) {
	s := &socket{c: c, pinged: make(chan struct{}, 1)}
	ctx, cancel := context.WithTimeout(c.Context(), time.Minute)
	defer cancel()
	var err error
	s.conn, _, err = websocket.Dial(ctx, "ws"+strings.TrimPrefix(c.target.URL, "http")+path, &websocket.DialOptions{
		OnPingReceived: func(context.Context, []byte) bool {
			select {
			case s.pinged <- struct{}{}:
			default:
			}
			return true
		},
	})
	if err != nil {
		return nil, err
	}
	s.conn.SetReadLimit(16 << 20)
	c.Cleanup(func() { s.conn.CloseNow() })
	c.calls.add("GET", path)
	return s, nil
}

// read returns the next frame.
func (s *socket) read() object {
	s.c.Helper()
	ctx, cancel := context.WithTimeout(s.c.Context(), time.Minute)
	defer cancel()
	kind, raw, err := s.conn.Read(ctx)
	if err != nil {
		s.c.Fatal(err)
	}
	v, err := decode(raw)
	m, ok := v.(map[string]any)
	if kind != websocket.MessageText || err != nil || !ok {
		s.c.Fatalf("frame of type %v: %s", kind, clip(raw))
	}
	return m
}

func (s *socket) hashes(n int) []string {
	s.c.Helper()
	var list []string
	for range n {
		list = append(list, s.read().text("item_hash"))
	}
	return list
}

// live fails the check unless the next frames are these messages, each once, in the order in which they were processed. The
// last one is what shows that no other came in between.
func (s *socket) live(want ...string) {
	s.c.Helper()
	if got := s.hashes(len(want)); !slices.Equal(got, want) {
		s.c.Errorf("live: %v, want %v", got, want)
	}
}

const socketPath = "/api/ws0/messages"

var socketChecks = []check{
	{"§20.19 sockets are pinged every 30 seconds", func(c *client) {
		s := c.dial(socketPath + "?history=0&addresses=" + c.address())
		ctx, cancel := context.WithTimeout(c.Context(), 40*time.Second)
		defer cancel()
		ended := make(chan error, 1)
		go func() {
			_, _, err := s.conn.Read(ctx)
			ended <- err
		}()
		began := time.Now()
		select {
		case <-s.pinged:
			if took := time.Since(began); took < 5*time.Second {
				c.Errorf("the first ping came after %v", took)
			}
		case err := <-ended:
			c.Errorf("no ping: %v", err)
			return
		}
		cancel()
		<-ended
	}},
	{"§20.19 by default ten messages of history come, the oldest first", func(c *client) {
		var want []string
		for i := range 12 {
			want = append(want, c.published(c.post("note", "", i)))
		}
		s := c.dial(socketPath + "?addresses=" + c.address())
		for i := range 10 {
			m := s.read()
			c.shape("a frame of history", m, listedShape)
			if m.text("item_hash") != want[2+i] {
				c.Errorf("frame %d is %s, want %s", i, m.text("item_hash"), want[2+i])
			}
		}
		last := c.published(c.post("note", "", "live"))
		s.live(last)
	}},
	{"§20.19 each message comes live once, and not again when it is published again", func(c *client) {
		s := c.dial(socketPath + "?history=0&addresses=" + c.address())
		first := c.post("note", "", 1)
		c.published(first)
		c.published(first)
		second := c.published(c.post("note", "", 2))
		m := s.read()
		c.shape("a live message", m, modelShape)
		c.shape("its content", m.object("content"), "address:text time:number content:any ref:null type:text")
		if m.text("item_hash") != first.hash || m["confirmed"] != false {
			c.Errorf("%v", m)
		}
		s.live(second)
	}},
	{"§20.19 messages that are published while a socket connects come once", func(c *client) {
		for round := range 3 {
			account := c.as(newAccount(c.T))
			connected := make(chan *socket, 1)
			go func() {
				defer close(connected)
				if s, err := c.tryDial(socketPath + "?history=100&addresses=" + account.address()); err == nil {
					connected <- s
				}
			}()
			var want []string
			for i := range 10 {
				want = append(want, account.published(account.post("note", "", i+round)))
			}
			s := <-connected
			if s == nil {
				c.Fatal("not connected")
			}
			got := s.hashes(len(want))
			slices.Sort(got)
			if slices.Sort(want); !slices.Equal(got, want) {
				c.Errorf("%v, want %v", got, want)
			}
		}
	}},
	{"§20.19 what was processed before a socket connects is history only", func(c *client) {
		for i := range 5 {
			c.published(c.post("note", "", i))
			s := c.dial(socketPath + "?history=0&addresses=" + c.address())
			s.live(c.published(c.post("note", "", "live")))
			s.conn.CloseNow()
		}
	}},
	{"§20.19 without content the member is absent, in history and live", func(c *client) {
		hash := c.published(c.post("note", "", 1))
		for _, query := range []string{"excludeContent=true", "contentFormat=none", "contentFormat=headers"} {
			s := c.dial(socketPath + "?history=1&" + query + "&addresses=" + c.address())
			m := s.read()
			c.shape(query+" in history", m, strings.Replace(listedShape, "content:object ", "", 1))
			if m.text("item_hash") != hash {
				c.Errorf("%s: %v", query, m)
			}
			hash = c.published(c.post("note", "", query))
			c.shape(query+" live", s.read(), strings.Replace(modelShape, "content:object ", "", 1))
		}
	}},
	{"§20.19 history is chosen by all filters and sent in reverse", func(c *client) {
		first, second, third := c.published(c.post("a", "", 1)), c.published(c.post("b", "", 1)), c.published(c.post("a", "", 2))
		for query, want := range map[string][]string{
			"history=2": {second, third}, "history=199": {first, second, third}, "history=2&sortOrder=1": {second, first},
			"history=5&contentTypes=a": {first, third},
			"history=1&contentTypes=a": {third}, fmt.Sprintf("endDate=%d", c.clock.Unix()): {first, second},
		} {
			s := c.dial(socketPath + "?" + query + "&addresses=" + c.address())
			if got := s.hashes(len(want)); !slices.Equal(got, want) {
				c.Errorf("%s: %v, want %v", query, got, want)
			}
			s.conn.CloseNow()
		}
	}},
	{"§14.1 live messages are filtered", func(c *client) {
		tag := "t" + c.address()
		other := c.as(newAccount(c.T))
		file := c.uploaded("live " + c.address())
		sockets := map[string]*socket{}
		for _, query := range []string{
			"addresses=", "owners=", "refs=a-ref&owners=", "contentTypes=kind&owners=", "msgType=STORE&owners=",
			"msgTypes=STORE,AGGREGATE&owners=", "tags=x," + tag + "&owners=",
			"contentKeys=a-key&owners=", "contentHashes=" + file + "&owners=", "chains=ETH,SOL&owners=", "msgType=FORGET&owners=",
			"channels=CONFORMANCE&owners=", "channels=OTHER&owners=", "startDate=4000000000&owners=",
		} {
			sockets[query] = c.dial(socketPath + "?history=0&" + query + c.address() + ",0xnobody")
		}
		tagged := c.published(c.post("kind", "a-ref", map[string]any{"tags": []string{tag}}))
		stored := c.published(c.storing(file, nil))
		key := c.published(c.aggregate("a-key", map[string]int{"n": 1}))
		other.published(other.post("kind", "a-ref", 1))
		// What comes at last shows that nothing else came before.
		gone := c.published(c.forget(tagged))
		elsewhere := c.published(c.buildAt(message.TypePost, map[string]any{"type": "other", "content": 1}, *c.clock, "OTHER"))
		for query, want := range map[string][]string{
			"addresses=": {tagged, stored, key, gone, elsewhere}, "owners=": {tagged, stored, key, gone, elsewhere},
			"msgType=FORGET&owners=": {gone}, "channels=OTHER&owners=": {elsewhere}, "refs=a-ref&owners=": {tagged},
			"contentTypes=kind&owners=": {tagged}, "msgType=STORE&owners=": {stored},
			"msgTypes=STORE,AGGREGATE&owners=": {stored, key}, "tags=x," + tag + "&owners=": {tagged},
			"contentKeys=a-key&owners=": {key}, "contentHashes=" + file + "&owners=": {stored},
			"chains=ETH,SOL&owners=": {tagged, stored, key, gone, elsewhere}, "channels=CONFORMANCE&owners=": {tagged, stored, key, gone},
			"startDate=4000000000&owners=": {tagged, stored, key, gone, elsewhere},
		} {
			if got := sockets[query].hashes(len(want)); !slices.Equal(got, want) {
				c.Errorf("%s: %v, want %v", query, got, want)
			}
		}
	}},
	{"§18.29 wrong queries are refused before the upgrade", func(c *client) {
		for _, query := range []string{"history=200", "history=-1", "history=x", "msgTypes=post", "hashes=x", "startDate=nan"} {
			c.do(
				"GET", socketPath+"?"+query, nil, "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13",
				"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==",
			).problems()
		}
	}},
	{"§14 a socket's address that is opened in another way is 400", func(c *client) {
		for _, path := range []string{socketPath, "/api/ws0/status"} {
			if a := c.get(path).want(400); !strings.HasPrefix(string(a.body), "No WebSocket UPGRADE hdr") {
				c.Errorf("%s: %s", path, a.body)
			}
		}
	}},
	{"§14 what clients send is ignored, their close is answered", func(c *client) {
		s := c.dial(socketPath + "?history=0&addresses=" + c.address())
		if err := s.conn.Write(c.Context(), websocket.MessageText, []byte(`{"hello":1}`)); err != nil {
			c.Fatal(err)
		}
		s.live(c.published(c.post("note", "", 1)))
		if err := s.conn.Close(websocket.StatusNormalClosure, ""); err != nil {
			c.Errorf("close: %v", err)
		}
	}},
	{"§14.2 the status socket sends the metrics", func(c *client) {
		s := c.dial("/api/ws0/status")
		c.published(c.post("note", "", 1))
		c.referenceMetrics("the status", s.read())
	}},
}

// tried bounds how many processes behind one address a check reckons with.
const tried = 4

// fill opens sockets until one is closed for want of room. Each process behind a proxy has room of its own.
func (c *client) fill(name, path string) {
	room, _ := strconv.Atoi(c.get("/metrics.json").want(200).object().number("pyaleph_ws_" + name + "_connections_max"))
	if room < 1 || room > 1000 {
		c.Skipf("the node takes %d sockets", room)
	}
	closed := make(chan websocket.CloseError, tried*(room+1))
	var readers sync.WaitGroup
	c.Cleanup(readers.Wait) // after those that close the sockets
	for range tried * (room + 1) {
		s := c.dial(path)
		readers.Go(func() {
			var end websocket.CloseError
			for {
				if _, _, err := s.conn.Read(c.Context()); err != nil {
					errors.As(err, &end)
					closed <- end
					return
				}
			}
		})
		if len(closed) > 0 {
			break
		}
	}
	select {
	case end := <-closed:
		if end.Code != websocket.StatusTryAgainLater || end.Reason != "Too many connections" {
			c.Errorf("closed with %d %q", end.Code, end.Reason)
		}
	case <-time.After(20 * time.Second):
		c.Errorf("no socket was closed, the capacity is %d", room)
	}
}

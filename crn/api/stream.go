package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"github.com/aleph-im/aleph-go/crn/instance"
	"github.com/aleph-im/aleph-go/message"
)

// Bounds of streams of logs.
const (
	maxStreams  = 64               // open at once, of clients that are known
	maxWaiting  = 64               // of those that are not yet
	authWithin  = 30 * time.Second // until a client has said who it is
	writeWithin = 30 * time.Second // for one frame
	maxAuth     = 64 << 10         // bytes of a client's first message
)

// streams are the WebSockets that are open. They outlive the server that took their connections, so they are ended and waited for
// here. Those whose client has not said who it is are bounded by themselves, so that strangers keep no owner out: the one that has
// waited for longest makes room.
type streams struct {
	life context.Context
	end  context.CancelFunc

	mu      sync.Mutex
	open    int
	waiting []*stream // until it is known whose they are, the oldest first
	running sync.WaitGroup
}

// stream is one of them.
type stream struct {
	ctx   context.Context // ends with it
	end   context.CancelFunc
	known bool // whose it is; guarded by the lock of streams
}

func newStreams() *streams {
	s := &streams{}
	s.life, s.end = context.WithCancel(context.Background())
	return s
}

// enter begins one, unless the node ends; then leave must follow.
func (s *streams) enter() (one *stream, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life.Err() != nil {
		return nil, false
	}
	if len(s.waiting) == maxWaiting {
		s.waiting[0].end()
		s.waiting = s.waiting[1:]
	}
	one = &stream{}
	one.ctx, one.end = context.WithCancel(s.life)
	s.waiting = append(s.waiting, one)
	s.running.Add(1)
	return one, true
}

// admit reports whether one more may be open whose client is known.
func (s *streams) admit(one *stream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == maxStreams {
		return false
	}
	s.open++
	one.known = true
	s.noLonger(one)
	return true
}

func (s *streams) leave(one *stream) {
	one.end()
	s.mu.Lock()
	defer s.mu.Unlock()
	if one.known {
		s.open--
	}
	s.noLonger(one)
	s.running.Done()
}

// noLonger ends the waiting of one, if it waits. s.mu is held.
func (s *streams) noLonger(one *stream) {
	s.waiting = slices.DeleteFunc(s.waiting, func(w *stream) bool { return w == one })
}

// close ends all and waits for them. None can be opened after it.
func (s *streams) close() {
	s.mu.Lock()
	s.end()
	s.mu.Unlock()
	s.running.Wait()
}

// streamLogs answers GET /control/machine/{ref}/stream_logs: the output of a workload as it comes, over a WebSocket on which its
// owner says first who it is (spec/crn.md §2.7.5).
func (s *Server) streamLogs(w http.ResponseWriter, r *http.Request) {
	hash, ok := refOf(w, r)
	if !ok {
		return
	}
	source := s.logsOf(hash)
	if s.operations(hash) == nil {
		_, past, err := source.Logs(hash)
		if err != nil {
			fail(w, http.StatusNotFound, "No virtual machine with ref "+string(hash))
			return
		}
		past.Close()
	}
	one, ok := s.streams.enter()
	if !ok {
		fail(w, http.StatusServiceUnavailable, "Server is draining, try another node")
		return
	}
	defer s.streams.leave(one)
	// Pages of any origin may connect: what counts is signed.
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return // Accept has answered
	}
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(maxAuth)
	ctx := one.ctx
	reason := s.authenticate(ctx, conn, source, hash)
	if reason == "" && !s.streams.admit(one) {
		reason = "too many log streams are open, try again later"
	}
	if reason != "" {
		_ = send(ctx, conn, map[string]string{"status": "failed", "reason": reason})
		_ = conn.Close(websocket.StatusPolicyViolation, "")
		return
	}
	// Nothing more is read but pings and the end.
	ctx = conn.CloseRead(ctx)
	if send(ctx, conn, map[string]string{"status": "connected"}) != nil {
		return
	}
	last := s.sendLogs(ctx, conn, source, hash)
	if last != "" && send(ctx, conn, map[string]string{"type": "system", "message": last}) == nil {
		_ = conn.Close(websocket.StatusNormalClosure, "")
	}
}

// authenticate reads the first message and returns why it does not do; nothing when it does.
func (s *Server) authenticate(ctx context.Context, conn *websocket.Conn, source logger, hash message.Hash) string {
	ctx, cancel := context.WithTimeout(ctx, authWithin)
	defer cancel()
	_, raw, err := conn.Read(ctx)
	if err != nil {
		return "no authentication message came"
	}
	sender, reason := s.firstMessage(raw)
	if reason != "" {
		return reason
	}
	allowed, err := s.mayOperate(ctx, source, hash, sender)
	if err != nil {
		return err.Error()
	}
	if !allowed {
		return "unauthorized sender"
	}
	return ""
}

// firstMessage returns who a client of a WebSocket is, or why that is not known: {"auth": {both headers, as objects}}.
func (s *Server) firstMessage(raw []byte) (sender, reason string) {
	var first map[string]json.RawMessage
	if json.Unmarshal(raw, &first) != nil || first["auth"] == nil {
		return "", "missing 'auth' key in message"
	}
	var auth struct {
		Key       json.RawMessage `json:"X-SignedPubKey"`
		Operation json.RawMessage `json:"X-SignedOperation"`
	}
	if json.Unmarshal(first["auth"], &auth) != nil || auth.Key == nil || auth.Operation == nil {
		return "", "Invalid format for auth packet, see /doc/operator_auth.md"
	}
	sender, err := s.socketSender(string(auth.Key), string(auth.Operation))
	if err != nil {
		return "", err.Error()
	}
	return sender, ""
}

// sendLogs sends what a workload printed and goes on to print, and returns what to say at the end; nothing when the client is gone.
func (s *Server) sendLogs(ctx context.Context, conn *websocket.Conn, source logger, hash message.Hash) (last string) {
	follower, err := source.Follow(hash)
	if err != nil {
		if s.starting(hash) {
			return "VM is starting, try again shortly"
		}
		lines, closer, err := source.Logs(hash)
		if err != nil {
			return err.Error()
		}
		defer closer.Close()
		for line := range lines {
			if send(ctx, conn, map[string]string{"type": line.Stream, "message": line.Text}) != nil {
				return ""
			}
		}
		return "VM is not running, past logs sent"
	}
	defer follower.Close()
	for line := range follower.Past {
		if send(ctx, conn, map[string]string{"type": line.Stream, "message": line.Text}) != nil {
			return ""
		}
	}
	for {
		select {
		case line, ok := <-follower.Live:
			if !ok {
				return "VM has stopped"
			}
			if send(ctx, conn, map[string]string{"type": line.Stream, "message": line.Text}) != nil {
				return ""
			}
			if lost := follower.Lost(); lost > 0 {
				if send(ctx, conn, map[string]string{"type": "system", "message": fmt.Sprintf("%d lines were passed over", lost)}) != nil {
					return ""
				}
			}
		case <-ctx.Done():
			return ""
		}
	}
}

// starting reports whether a workload is on its way to run.
func (s *Server) starting(hash message.Hash) bool {
	if x, ok := s.cfg.Pool.Find(hash); ok {
		return x.Times.Started.IsZero()
	}
	if s.cfg.Instances == nil {
		return false
	}
	return slices.ContainsFunc(s.cfg.Instances.List(), func(i instance.Info) bool {
		return i.Hash == hash && !i.Running && !i.Stopped && i.Failure == nil
	})
}

func send(ctx context.Context, conn *websocket.Conn, v any) error {
	ctx, cancel := context.WithTimeout(ctx, writeWithin)
	defer cancel()
	return wsjson.Write(ctx, conn, v)
}

package crn

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"github.com/aleph-im/aleph-go/message"
)

// stream opens a stream of logs.
func (r *rig) stream(hash message.Hash) *websocket.Conn {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
	r.Cleanup(cancel)
	conn, _, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(r.node.url, "http")+machine(hash, "stream_logs"), nil)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { _ = conn.CloseNow() })
	return conn
}

// frame reads one; nil when the node has closed.
func (r *rig) frame(conn *websocket.Conn) (v map[string]string) {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), 30*time.Second)
	defer cancel()
	if err := wsjson.Read(ctx, conn, &v); err != nil && websocket.CloseStatus(err) == -1 {
		r.Fatal(err)
	}
	return v
}

// auth is the first message of a wallet. Clients disagree on the method that they sign.
func (w wallet) auth(method, path string) any {
	e := newEphemeral()
	d := e.delegation(w.Address(), "ETH", nil)
	return map[string]any{"auth": map[string]any{
		"X-SignedPubKey": signedHex{hex.EncodeToString(d), w.sign(d)}, "X-SignedOperation": e.operation(method, path, nil),
	}}
}

func (r *rig) write(conn *websocket.Conn, v any) {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), 30*time.Second)
	defer cancel()
	if err := wsjson.Write(ctx, conn, v); err != nil {
		r.Fatal(err)
	}
}

var outputRows = []row{
	{number: 20, about: "logs as they come", checks: []check{{"to nobody who does not say who it is", func(r *rig) {
		r.running()
		for reason, first := range map[string]any{
			"missing 'auth' key in message":                             map[string]any{"x": 1},
			"Invalid format for auth packet, see /doc/operator_auth.md": map[string]any{"auth": "x"},
			"unauthorized sender":                                       stranger.auth("GET", machine(r.probe, "stream_logs")),
		} {
			conn := r.stream(r.probe)
			r.write(conn, first)
			if got := r.frame(conn); got["status"] != "failed" || got["reason"] != reason {
				r.Errorf("got %v, want %s", got, reason)
			}
			if got := r.frame(conn); got != nil {
				r.Errorf("%s: not closed: %v", reason, got)
			}
		}
		r.want("no such machine", r.get(machine(message.HashBytes([]byte("absent")), "stream_logs")), 404)
		r.want("no hash", r.get(machine("nonsense", "stream_logs")), 400)
	}}, {"what was printed, then what is", func(r *rig) {
		hash := r.diagnostic
		r.want("start", r.get("/vm/"+string(hash)+"/"), 200)
		for _, method := range []string{"GET", "POST"} {
			conn := r.stream(hash)
			r.write(conn, owner.auth(method, machine(hash, "stream_logs")))
			if got := r.frame(conn); got["status"] != "connected" {
				r.Fatalf("first frame %v", got)
			}
			seen := func(line, stream string) {
				r.Helper()
				for {
					got := r.frame(conn)
					if got == nil {
						r.Fatalf("closed before %q", line)
					}
					if got["message"] == line && got["type"] == stream {
						return
					}
				}
			}
			seen("diagnostics: started", "stdout")
			r.want("print", r.ask(r.node, "POST", "/vm/"+string(hash)+"/print?line="+method, ""), 200)
			seen(method, "stderr")
		}
	}}, {"until the machine ends", func(r *rig) {
		r.running()
		conn := r.stream(r.probe)
		r.write(conn, owner.auth("GET", machine(r.probe, "stream_logs")))
		for got := r.frame(conn); got["message"] != "probe: started"; got = r.frame(conn) {
			if got == nil {
				r.Fatal("closed before the first line")
			}
		}
		r.want("stop", r.order(owner, r.probe, "stop"), 200)
		var last map[string]string
		for got := r.frame(conn); got != nil; got = r.frame(conn) {
			last = got
		}
		if last["type"] != "system" || last["message"] != "VM has stopped" {
			r.Errorf("last frame %v", last)
		}
		// Afterwards, what it printed is still there.
		conn = r.stream(r.probe)
		r.write(conn, owner.auth("GET", machine(r.probe, "stream_logs")))
		lines := 0
		for got := r.frame(conn); got != nil; got = r.frame(conn) {
			lines, last = lines+1, got
		}
		if lines < 3 || last["message"] != "VM is not running, past logs sent" {
			r.Errorf("%d frames, last %v", lines, last)
		}
	}}}},
	{number: 21, about: "logs of what runs no more", checks: []check{{"as an array", func(r *rig) {
		path := machine(r.probe, "logs")
		if r.get(path, owner.headers("GET", path)...).status == 404 {
			r.running()
		}
		_ = r.order(owner, r.probe, "stop") // unless it does not run
		got := r.get(path, owner.headers("GET", path)...)
		var lines []map[string]string
		if err := json.Unmarshal([]byte(got.body), &lines); err != nil || got.status != 200 {
			r.Fatalf("got %d %s", got.status, got.body)
		}
		found := false
		for _, line := range lines {
			found = found || line["SYSLOG_IDENTIFIER"] == "vm-"+string(r.probe)+"-stdout" && line["MESSAGE"] == "probe: started" && line["file"] == "stdout" && line["__REALTIME_TIMESTAMP"] != ""
		}
		if !found {
			r.Errorf("got %v", lines)
		}
		r.want("to a stranger", r.get(path, stranger.headers("GET", path)...), 403, notAllowed)
		path = machine(message.HashBytes([]byte("absent")), "logs")
		r.want("of what never ran", r.get(path, owner.headers("GET", path)...), 404, `{"error":"No execution found for this VM"}`)
	}}}},
}

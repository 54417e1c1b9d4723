package api

import (
	"context"
	"encoding/json"
	"io"
	"iter"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"github.com/aleph-im/aleph-go/crn/instance"
	"github.com/aleph-im/aleph-go/crn/logfile"
	"github.com/aleph-im/aleph-go/guest/wire"
	"github.com/aleph-im/aleph-go/message"
)

// talking is a fake of an instance with a console.
type talking struct {
	Instances
	path string
	log  *logfile.Log
	info instance.Info
}

func (f *talking) Has(hash message.Hash) bool                          { return hash == f.info.Hash }
func (f *talking) List() []instance.Info                               { return []instance.Info{f.info} }
func (f *talking) Owner(context.Context, message.Hash) (string, error) { return signerAddress, nil }
func (f *talking) Follow(message.Hash) (*logfile.Follower, error)      { return f.log.Follow() }
func (f *talking) Logs(message.Hash) (iter.Seq[wire.LogLine], io.Closer, error) {
	file, err := logfile.Read(f.path)
	return logfile.Lines(file), file, err
}

func TestTheConsoleOfAnInstanceIsFollowed(t *testing.T) {
	hash := message.HashBytes([]byte("instance"))
	path := filepath.Join(t.TempDir(), "log")
	log, err := logfile.OpenLog(path, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	f := &talking{path: path, log: log, info: instance.Info{Hash: hash, Stopped: true}}
	s := serverOn(t, nil, func(c *Config) {
		c.Instances, c.DomainName = f, "crn.example.org"
		c.Now = func() time.Time { return time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC) }
	})
	server := httptest.NewServer(s)
	defer server.Close()
	open := func() *websocket.Conn {
		conn, _, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(server.URL, "http")+"/control/machine/"+string(hash)+"/stream_logs", nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.CloseNow() })
		err = wsjson.Write(t.Context(), conn, map[string]any{"auth": map[string]json.RawMessage{
			"X-SignedPubKey": json.RawMessage(header(delegationETH, signatureETH)), "X-SignedOperation": json.RawMessage(header(operationJSON, signatureOp)),
		}})
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	fits := fitting(t)
	read := func(conn *websocket.Conn) string {
		var frame map[string]string
		if err := wsjson.Read(t.Context(), conn, &frame); err != nil {
			return "closed"
		}
		if frame["status"] == "" {
			line, err := json.Marshal(frame)
			if err != nil {
				t.Fatal(err)
			}
			fits("LiveLine", line)
		}
		return frame["status"] + frame["type"] + ": " + frame["message"]
	}
	expect := func(conn *websocket.Conn, want ...string) {
		t.Helper()
		var got []string
		for range want {
			got = append(got, read(conn))
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	for range 2 * maxWaiting { // strangers, who say nothing
		conn, _, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(server.URL, "http")+"/control/machine/"+string(hash)+"/stream_logs", nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.CloseNow() })
	}
	log.Add(wire.LogLine{Stream: "stdout", Text: "before"})
	conn := open()
	expect(conn, "connected: ", "stdout: before")
	log.Add(wire.LogLine{Stream: "stdout", Text: "as it comes"})
	expect(conn, "stdout: as it comes")
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	expect(conn, "system: VM has stopped", "closed")
	expect(open(), "connected: ", "stdout: before", "stdout: as it comes", "system: VM is not running, past logs sent", "closed")
	f.info.Stopped = false
	expect(open(), "connected: ", "system: VM is starting, try again shortly", "closed")
}

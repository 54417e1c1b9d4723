package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// fake starts a server that stands in for a node and a client of it that does not wait long between attempts.
func fake(t *testing.T, routes map[string]http.HandlerFunc) *client.Client {
	t.Helper()
	mux := http.NewServeMux()
	for pattern, h := range routes {
		mux.HandleFunc(pattern, h)
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return client.New(client.Config{BaseURL: server.URL + "/", Backoff: time.Millisecond, Timeout: time.Minute})
}

func reply(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// post returns a signed message as a node shows it, and its hash; each n makes another one.
func post(t *testing.T, n, at int) (text, hash string) {
	t.Helper()
	m, _, err := client.Sign(t.Context(), account(t), message.TypePost, &message.Post{PostType: "note", Content: json.RawMessage(strconv.Itoa(n))}, "")
	if err != nil {
		t.Fatal(err)
	}
	m.Time = message.TimeFromSeconds(float64(at))
	return strings.TrimSuffix(string(m.AppendJSON(nil)), "}") + `,"content":` + m.ItemContent + `}`, string(m.ItemHash)
}

func account(t *testing.T) *ethereum.Account {
	t.Helper()
	a, err := ethereum.FromHex(strings.Repeat("5a", 32))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestCallsAreRepeatedWhileTheNodeSaysTryLater(t *testing.T) {
	var calls atomic.Int32
	c := fake(t, map[string]http.HandlerFunc{"GET /api/v0/version": func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		reply(200, `{"version":"1.2"}`)(w, r)
	}})
	if v, err := c.Version(t.Context()); v != "1.2" || err != nil || calls.Load() != 3 {
		t.Errorf("got %q, %v after %d calls", v, err, calls.Load())
	}
}

func TestErrorsSayWhatHappened(t *testing.T) {
	c := fake(t, map[string]http.HandlerFunc{
		"GET /api/v0/version":          reply(500, "broken"),
		"GET /api/v0/messages/{hash}":  reply(404, "404: Not Found"),
		"GET /api/v0/aggregates/{any}": reply(200, `{"data":{}}`),
	})
	_, err := c.Version(t.Context())
	var status *client.HTTPError
	if !errors.As(err, &status) || status.Status != 500 || status.Body != "broken" {
		t.Errorf("version: %v", err)
	}
	if _, err := c.GetMessage(t.Context(), message.HashBytes(nil)); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("unknown message: %v", err)
	}
	if err := c.Aggregate(t.Context(), "0x1", "k", &struct{}{}); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("unknown aggregate: %v", err)
	}
}

func TestRejectionForWantOfFundsNamesTheAmounts(t *testing.T) {
	tests := []struct {
		code, detail              string
		required, available, unit string
	}{
		{"5", `{"required_balance":"200.5","account_balance":"12"}`, "200.5", "12", "ALEPH"},
		{"6", `{"required_credits":"95.0","account_credits":7,"min_runtime_days":1}`, "95.0", "7", "credits"},
	}
	for _, test := range tests {
		c := fake(t, map[string]http.HandlerFunc{
			"POST /api/v0/messages": reply(422, `{"publication_status":{"status":"success","failed":[]},"message_status":"rejected"}`),
			"GET /api/v0/messages/{hash}": func(w http.ResponseWriter, r *http.Request) {
				reply(200, `{"status":"rejected","item_hash":"`+r.PathValue("hash")+`","reception_time":"2023-11-14T22:13:20.123456Z","message":{"time":1},"error_code":`+test.code+`,"details":{"errors":[`+test.detail+`]}}`)(w, r)
			},
		})
		_, _, err := c.Send(t.Context(), account(t), message.TypePost, &message.Post{PostType: "note"}, client.SendOptions{Sync: true})
		var rejected *client.RejectedError
		var funds *client.InsufficientFundsError
		if !errors.As(err, &rejected) || !errors.As(err, &funds) {
			t.Fatalf("code %s: %v", test.code, err)
		}
		if funds.Required != test.required || funds.Available != test.available || funds.Unit != test.unit {
			t.Errorf("code %s: %+v", test.code, funds)
		}
	}
}

func TestWaitForEndsWithTheDecision(t *testing.T) {
	text, hash := post(t, 1, 100)
	var calls atomic.Int32
	c := fake(t, map[string]http.HandlerFunc{"GET /api/v0/messages/{hash}": func(w http.ResponseWriter, r *http.Request) {
		switch calls.Add(1) {
		case 1:
			reply(404, "404: Not Found")(w, r)
		case 2:
			reply(200, `{"status":"pending","item_hash":"h","reception_time":"2023-11-14T22:13:20Z","messages":[]}`)(w, r)
		default:
			reply(200, `{"status":"processed","item_hash":"h","reception_time":"2023-11-14T22:13:20Z","message":`+text+`}`)(w, r)
		}
	}})
	info, err := c.WaitFor(t.Context(), message.Hash(hash))
	if err != nil || info.Status != message.StatusProcessed || info.Message.Sender != account(t).Address() || info.Message.Time != 100 {
		t.Errorf("got %+v, %v", info, err)
	}
}

func TestMessagesFollowCursors(t *testing.T) {
	a, hashA := post(t, 1, 100)
	b, hashB := post(t, 2, 100)
	last, hashC := post(t, 3, 100)
	pages := map[string]string{
		"":  `{"messages":[` + a + `,` + b + `],"next_cursor":"x"}`,
		"x": `{"messages":[` + last + `],"next_cursor":null}`,
	}
	c := fake(t, map[string]http.HandlerFunc{"GET /api/v0/messages.json": func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if !q.Has("cursor") || q.Get("msgTypes") != "POST,STORE" || q.Get("pagination") != "2" {
			t.Errorf("query %s", r.URL.RawQuery)
		}
		reply(200, pages[q.Get("cursor")])(w, r)
	}})
	var got []string
	for m, err := range c.Messages(t.Context(), client.Filter{Types: []message.Type{"POST", "STORE"}, PageSize: 2}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(m.ItemHash))
	}
	if !slices.Equal(got, []string{hashA, hashB, hashC}) {
		t.Errorf("got %v", got)
	}
}

func TestUploadSendsTheFileWithItsSignedMessage(t *testing.T) {
	data := bytes.Repeat([]byte("aleph"), 100_000)
	c := fake(t, map[string]http.HandlerFunc{"POST /api/v0/storage/add_file": func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength <= int64(len(data)) {
			t.Errorf("length %d is not said beforehand", r.ContentLength)
		}
		var metadata struct {
			Message *message.Message
			Sync    *bool
		}
		if err := json.Unmarshal([]byte(r.FormValue("metadata")), &metadata); err != nil || metadata.Sync == nil {
			t.Errorf("metadata: %v", err)
			return
		}
		if _, err := ethereum.RecoverPersonal(metadata.Message.SigningPayload(), metadata.Message.Signature); err != nil {
			t.Errorf("signature: %v", err)
		}
		file, _, err := r.FormFile("file")
		if err != nil {
			t.Errorf("file: %v", err)
			return
		}
		if got, err := io.ReadAll(file); err != nil || !bytes.Equal(got, data) {
			t.Errorf("got %d bytes, %v", len(got), err)
		}
		reply(200, `{"status":"success","hash":"`+string(message.HashBytes(data))+`"}`)(w, r)
	}})
	var last int64
	up, err := c.UploadFile(t.Context(), account(t), bytes.NewReader(data), client.UploadOptions{Sync: true, Progress: func(n, _ int64) { last = n }})
	if err != nil || up.FileHash != message.HashBytes(data) || up.Status != message.StatusProcessed || last != int64(len(data)) {
		t.Errorf("got %+v, %v; progress %d", up, err, last)
	}
}

func TestUploadThatCannotBePaidNamesTheAmounts(t *testing.T) {
	c := fake(t, map[string]http.HandlerFunc{
		"POST /api/v0/storage/add_file": reply(402, "402: Payment Required"),
		"POST /api/v0/price/estimate": func(w http.ResponseWriter, r *http.Request) {
			var body struct {
				Message struct {
					ItemContent string `json:"item_content"`
				}
			}
			if err := json.NewDecoder(r.Body).Decode(&body); err != nil || !strings.Contains(body.Message.ItemContent, "estimated_size_mib") {
				t.Errorf("estimate of %q, %v", body.Message.ItemContent, err)
			}
			reply(200, `{"required_tokens":8.33,"payment_type":"hold","cost":"8.333333325000000000"}`)(w, r)
		},
		"GET /api/v0/addresses/{a}/balance": func(w http.ResponseWriter, r *http.Request) {
			reply(200, `{"address":"`+r.PathValue("a")+`","balance":10.5,"details":{},"locked_amount":3.25,"credit_balance":0}`)(w, r)
		},
	})
	_, err := c.UploadFile(t.Context(), account(t), strings.NewReader("x"), client.UploadOptions{})
	var funds *client.InsufficientFundsError
	if !errors.As(err, &funds) || funds.Required != "8.333333325" || funds.Available != "7.25" {
		t.Errorf("got %v", err)
	}
}

func TestDownloadRefusesOtherBytes(t *testing.T) {
	c := fake(t, map[string]http.HandlerFunc{"GET /api/v0/storage/raw/{hash}": reply(200, "forged")})
	var b bytes.Buffer
	if _, err := c.DownloadFile(t.Context(), message.HashBytes([]byte("true")), &b); err == nil {
		t.Error("forged bytes are taken")
	}
	if n, err := c.DownloadFile(t.Context(), message.HashBytes([]byte("forged")), &b); n != 6 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
}

// What anybody can publish must not keep others from reading the list that it is in.
func TestPagesThatAreTooLargeBecomeSmaller(t *testing.T) {
	text, hash := post(t, 1, 100)
	var asked []string
	c := fake(t, map[string]http.HandlerFunc{"GET /api/v0/messages.json": func(w http.ResponseWriter, r *http.Request) {
		size := r.URL.Query().Get("pagination")
		switch asked = append(asked, size); size {
		case "200":
			reply(413, "413: the answer would be too large")(w, r)
		case "100": // a node that knows no bound
			for range 65 {
				_, _ = w.Write(bytes.Repeat([]byte(" "), 1<<20))
			}
		default:
			reply(200, `{"messages":[`+text+`],"next_cursor":null}`)(w, r)
		}
	}})
	var got []string
	for m, err := range c.Messages(t.Context(), client.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(m.ItemHash))
	}
	if !slices.Equal(got, []string{hash}) || !slices.Equal(asked, []string{"200", "100", "50"}) {
		t.Errorf("got %v with pages of %v", got, asked)
	}
}

func TestWatchTakesTheLargestMessage(t *testing.T) {
	text, hash := post(t, 1, 100)
	c := fake(t, map[string]http.HandlerFunc{"GET /api/ws0/messages": func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.CloseNow()
		_ = conn.Write(r.Context(), websocket.MessageText, []byte(text+strings.Repeat(" ", 17<<20))) // a client that gave up is gone
		_, _, _ = conn.Read(r.Context())
	}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for m, err := range c.Watch(ctx, client.Filter{}, 0) {
		if err != nil || string(m.ItemHash) != hash {
			t.Error(m, err)
		}
		return
	}
	t.Error("the message did not come")
}

func TestWatchConnectsAgainAndAsksForWhatItMissed(t *testing.T) {
	names := map[string]string{}
	stored := func(name string, at int) string {
		text, hash := post(t, int(name[0]), at)
		names[hash] = name
		return text
	}
	a, missed, b := stored("a", 100), stored("missed", 101), stored("b", 102)
	began := time.Now()
	var connections atomic.Int32
	c := fake(t, map[string]http.HandlerFunc{
		"GET /api/ws0/messages": func(w http.ResponseWriter, r *http.Request) {
			first := connections.Add(1) == 1
			conn, err := websocket.Accept(w, r, nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.CloseNow()
			if first {
				_ = conn.Write(r.Context(), websocket.MessageText, []byte(a))
				return
			}
			if history := r.URL.Query().Get("history"); history != "0" {
				t.Errorf("asks again for a history of %s: what is older than the watch would come as well", history)
			}
			for _, f := range []string{missed, b} {
				_ = conn.Write(r.Context(), websocket.MessageText, []byte(f))
			}
			<-conn.CloseRead(r.Context()).Done()
		},
		"GET /api/v0/messages.json": func(w http.ResponseWriter, r *http.Request) {
			if connections.Load() == 1 {
				t.Error("asks for what it missed before it was connected")
			}
			since, err := strconv.ParseFloat(r.URL.Query().Get("startDate"), 64)
			if err != nil || since < float64(began.Unix()) || r.URL.Query().Get("sortOrder") != "1" {
				t.Errorf("asks for what it missed by %s", r.URL.RawQuery)
			}
			reply(200, `{"messages":[`+a+`,`+missed+`],"next_cursor":null}`)(w, r)
		},
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var got []string
	for m, err := range c.Watch(ctx, client.Filter{}, 10) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, names[string(m.ItemHash)]); len(got) == 3 {
			break
		}
	}
	if !slices.Equal(got, []string{"a", "missed", "b"}) {
		t.Errorf("got %v", got)
	}
}

func TestFollowAsksForWhatItMissed(t *testing.T) {
	names := map[string]string{}
	stored := func(name string, at int) string {
		text, hash := post(t, int(name[0]), at)
		names[hash] = name
		return text
	}
	a, b, c3, missed, d := stored("a", 100), stored("b", 101), stored("c", 102), stored("missed", 102), stored("d", 103)
	var connections atomic.Int32
	var since []string
	c := fake(t, map[string]http.HandlerFunc{
		"GET /api/ws0/messages": func(w http.ResponseWriter, r *http.Request) {
			first := connections.Add(1) == 1 // before the client hears that it is connected, and asks for what it missed
			conn, err := websocket.Accept(w, r, nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.CloseNow()
			if first {
				for _, f := range []string{`{"item_hash":"b","confirmations":[]}`, c3} {
					_ = conn.Write(r.Context(), websocket.MessageText, []byte(f))
				}
				conn.Close(websocket.StatusGoingAway, "")
				return
			}
			_ = conn.Write(r.Context(), websocket.MessageText, []byte(d))
			<-conn.CloseRead(r.Context()).Done()
		},
		"GET /api/v0/messages.json": func(w http.ResponseWriter, r *http.Request) {
			since = append(since, r.URL.Query().Get("startDate"))
			if r.URL.Query().Get("sortOrder") != "1" {
				t.Errorf("asks for the newest first: %s", r.URL.RawQuery)
			}
			switch connections.Load() {
			case 1:
				reply(200, `{"messages":[`+a+`,`+b+`],"next_cursor":null}`)(w, r)
			default:
				reply(200, `{"messages":[`+c3+`,`+missed+`,`+d+`],"next_cursor":null}`)(w, r)
			}
		},
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var got []string
	failures := 0
	for m, err := range c.Follow(ctx, client.Filter{}, time.Unix(99, 0)) {
		if err != nil {
			failures++
			continue
		}
		if got = append(got, names[string(m.ItemHash)]); len(got) == 5 {
			break
		}
	}
	if want := []string{"a", "b", "c", "missed", "d"}; !slices.Equal(got, want) || failures != 1 {
		t.Errorf("got %v and %d failures", got, failures)
	}
	if len(since) != 2 || since[0] != "99" || since[1] == "99" {
		t.Errorf("asked from %v", since)
	}
}

func TestLogsCarryBothProofs(t *testing.T) {
	hash := message.HashBytes(nil)
	signer := account(t)
	c := fake(t, nil)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /control/machine/{hash}/logs", func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"X-SignedPubKey", "X-SignedOperation"} {
			var v struct{ Payload, Signature string }
			if err := json.Unmarshal([]byte(r.Header.Get(name)), &v); err != nil || v.Payload == "" || v.Signature == "" {
				t.Errorf("%s: %q", name, r.Header.Get(name))
			}
		}
		reply(200, `[{"MESSAGE":"hello","file":"stdout","__REALTIME_TIMESTAMP":"2020-10-12 01:02:00"}]`)(w, r)
	})
	node := httptest.NewServer(mux)
	defer node.Close()
	lines, err := c.ProgramLogs(t.Context(), signer, node.URL, hash)
	if err != nil || len(lines) != 1 || lines[0].Message != "hello" {
		t.Errorf("got %v, %v", lines, err)
	}
}

package client_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
)

func TestMessagesThatTheirSenderDidNotSignAreRefused(t *testing.T) {
	text, hash := post(t, 1, 100)
	other, _ := post(t, 2, 100)
	signature := func(of string) string {
		_, rest, _ := strings.Cut(of, `"signature":"`)
		s, _, _ := strings.Cut(rest, `"`)
		return s
	}
	tests := []struct {
		name, shown      string
		right, unchecked bool // as signed; taken without the check of signatures
	}{
		{"as signed", text, true, true},
		{"another content beside the one that was hashed", strings.Replace(text, `"content":{`, `"content":{"forged":true,`, 1), true, true},
		{"another text", strings.Replace(text, `\"content\":1`, `\"content\":9`, 1), false, false},
		{"another sender", strings.Replace(text, account(t).Address(), "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A", 1), false, true},
		{"signature of another message", strings.Replace(text, signature(text), signature(other), 1), false, true},
		{"no signature", strings.Replace(text, `"signature":"`+signature(text)+`"`, `"signature":null`, 1), false, true},
		{"no content", strings.Replace(text, `"item_content":"`, `"item_content":null,"x":"`, 1), false, false},
		{"another message", other, false, false},
	}
	for _, test := range tests {
		routes := map[string]http.HandlerFunc{"GET /api/v0/messages/{hash}": reply(200, fmt.Sprintf(`{"status":"processed","item_hash":%q,"reception_time":"2023-11-14T22:13:20Z","message":%s}`, hash, test.shown))}
		strict := fake(t, routes)
		info, err := strict.GetMessage(t.Context(), message.Hash(hash))
		var lie *client.UntrustedError
		if test.right != (err == nil) || err != nil && (!errors.As(err, &lie) || client.KindOf(err) != client.KindUntrusted) {
			t.Errorf("%s: %v", test.name, err)
		}
		if err == nil && (!info.Message.Proven || strings.Contains(string(info.Message.Content), "forged")) {
			t.Errorf("%s: content %s", test.name, info.Message.Content)
		}
		lenient := client.New(client.Config{BaseURL: strict.BaseURL(), SkipSignatures: true})
		if _, err := lenient.GetMessage(t.Context(), message.Hash(hash)); test.unchecked != (err == nil) {
			t.Errorf("%s, without signatures: %v", test.name, err)
		}
		trusting := client.New(client.Config{BaseURL: strict.BaseURL(), TrustNode: true})
		if _, err := trusting.GetMessage(t.Context(), message.Hash(hash)); err != nil {
			t.Errorf("%s, trusting the node: %v", test.name, err)
		}
	}
}

func TestContentThatIsNoObjectIsRefused(t *testing.T) {
	bare := fmt.Sprintf(`{"sender":"x","chain":"ETH","type":"POST","item_type":"inline","item_hash":%q,"item_content":"null","time":1,"content":{}}`, message.HashBytes([]byte("null")))
	node := fake(t, map[string]http.HandlerFunc{"GET /api/v0/messages.json": reply(200, `{"messages":[`+bare+`],"next_cursor":null}`)})
	c := client.New(client.Config{BaseURL: node.BaseURL(), SkipSignatures: true})
	for m, err := range c.Messages(t.Context(), client.Filter{}) {
		if client.KindOf(err) != client.KindUntrusted {
			t.Errorf("%+v, %v", m, err)
		}
	}
}

func TestContentOutsideOfTheMessageIsFetchedAndProven(t *testing.T) {
	content := `{"type":"note","address":"` + account(t).Address() + `","time":1,"content":"` + strings.Repeat("x", 60_000) + `"}`
	m, outside, err := client.Sign(t.Context(), account(t), message.TypePost, rawJSON(content), "")
	if err != nil || outside == nil {
		t.Fatalf("%v, %d bytes outside", err, len(outside))
	}
	for stored, right := range map[string]bool{content: true, strings.Replace(content, "note", "lie", 1): false} {
		c := fake(t, map[string]http.HandlerFunc{
			"GET /api/v0/messages/{hash}": reply(200, `{"status":"processed","item_hash":"x","reception_time":"2023-11-14T22:13:20Z","message":`+
				strings.TrimSuffix(string(m.AppendJSON(nil)), "}")+`,"content":{"forged":true}}}`),
			"GET /api/v0/storage/raw/{hash}": reply(200, stored),
		})
		info, err := c.GetMessage(t.Context(), m.ItemHash)
		if right && (err != nil || string(info.Message.Content) != content) || !right && client.KindOf(err) != client.KindUntrusted {
			t.Errorf("right %v: %v", right, err)
		}
	}
}

type rawJSON string

func (r rawJSON) MarshalJSON() ([]byte, error) { return []byte(r), nil }

func TestDownloadGoesOnWhereItBroke(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 100_000)
	hash := message.HashBytes(data)
	for _, ranges := range []bool{true, false} {
		var calls atomic.Int32
		c := fake(t, map[string]http.HandlerFunc{"GET /api/v0/storage/raw/{hash}": func(w http.ResponseWriter, r *http.Request) {
			from := 0
			if n, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); n == 1 && ranges {
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
				w.WriteHeader(http.StatusPartialContent)
			} else {
				from = 0
			}
			if calls.Add(1) < 3 {
				_, _ = w.Write(data[from : from+(len(data)-from)/2])
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}
			_, _ = w.Write(data[from:])
		}})
		var got bytes.Buffer
		if n, err := c.DownloadFile(t.Context(), hash, &got); err != nil || n != int64(len(data)) || !bytes.Equal(got.Bytes(), data) {
			t.Errorf("ranges %v: %d bytes, %v", ranges, n, err)
		}
		if calls.Load() != 3 {
			t.Errorf("ranges %v: %d calls", ranges, calls.Load())
		}
	}
}

func TestFullDiskEndsADownloadAtOnce(t *testing.T) {
	var calls atomic.Int32
	c := fake(t, map[string]http.HandlerFunc{"GET /api/v0/storage/raw/{hash}": func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		reply(200, "data")(w, r)
	}})
	full := errors.New("no space left on device")
	if _, err := c.DownloadFile(t.Context(), message.HashBytes([]byte("data")), failingWriter{full}); !errors.Is(err, full) || calls.Load() != 1 {
		t.Errorf("%v after %d calls", err, calls.Load())
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

func TestFilesOfIPFSAreProvenByTheirCID(t *testing.T) {
	data := bytes.Repeat([]byte("aleph"), 200_000) // several blocks
	hash, err := client.HashIPFSFile(bytes.NewReader(data))
	if err != nil || hash.Kind() != message.ItemIPFS {
		t.Fatal(hash, err)
	}
	forged := append([]byte("A"), data[1:]...)
	for served, want := range map[string]client.Kind{string(data): "", string(forged): client.KindUnproven} {
		c := fake(t, map[string]http.HandlerFunc{"GET /api/v0/storage/raw/{hash}": reply(200, served)})
		var got bytes.Buffer
		if _, err := c.DownloadFile(t.Context(), hash, &got); client.KindOf(err) != want || got.String() != served {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestUploadThatBreaksOffIsSentAgain(t *testing.T) {
	data := bytes.Repeat([]byte("x"), 1<<20)
	var calls atomic.Int32
	c := fake(t, map[string]http.HandlerFunc{"POST /api/v0/storage/add_file": func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) < 3 {
			panic(http.ErrAbortHandler)
		}
		file, _, err := r.FormFile("file")
		if err != nil {
			t.Error(err)
			return
		}
		var got bytes.Buffer
		if _, err := got.ReadFrom(file); err != nil || !bytes.Equal(got.Bytes(), data) {
			t.Errorf("%d bytes, %v", got.Len(), err)
		}
		reply(200, `{"status":"success","hash":"`+string(message.HashBytes(data))+`"}`)(w, r)
	}})
	if _, err := c.UploadFile(t.Context(), account(t), bytes.NewReader(data), client.UploadOptions{Sync: true}); err != nil || calls.Load() != 3 {
		t.Errorf("%v after %d calls", err, calls.Load())
	}
}

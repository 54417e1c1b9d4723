package p2p

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/aleph-im/aleph-go/internal/vectors"
)

// envelope is as much of a message as the vectors look at.
type envelope struct {
	ItemContent string `json:"item_content"`
	ItemHash    string `json:"item_hash"`
	Channel     string `json:"channel"`
}

func (e envelope) hashMatches() bool {
	sum := sha256.Sum256([]byte(e.ItemContent))
	return hex.EncodeToString(sum[:]) == e.ItemHash
}

func TestUnescapeIsWhatReferenceReceiversDo(t *testing.T) {
	var file struct {
		Cases []struct {
			ID      string `json:"id"`
			Payload string `json:"gossip_payload"`
			After   struct {
				JSON        bool   `json:"json"`
				ItemContent string `json:"item_content_after"`
				HashMatches bool   `json:"hash_still_matches"`
			} `json:"after_unquote"`
		} `json:"cases"`
	}
	vectors.Load(t, "gossip_unquote.json", &file)
	if len(file.Cases) == 0 {
		t.Fatal("no vectors")
	}
	for _, c := range file.Cases {
		t.Run(c.ID, func(t *testing.T) {
			seen := []byte(c.Payload)
			if decoded, _ := unescape(seen); decoded != nil {
				seen = decoded
			}
			var e envelope
			if err := json.Unmarshal(seen, &e); (err == nil) != c.After.JSON {
				t.Fatalf("parses as JSON: %v, want %v (%s)", err, c.After.JSON, seen)
			}
			if c.After.JSON && (e.ItemContent != c.After.ItemContent || e.hashMatches() != c.After.HashMatches) {
				t.Errorf("content %q, hash matches %v", e.ItemContent, e.hashMatches())
			}
			t.Run("a reference publisher's message is found", func(t *testing.T) { wantMessage(t, []byte(c.Payload), c.Payload) })
			t.Run("so is one of ours", func(t *testing.T) { wantMessage(t, EncodeMessage([]byte(c.Payload)), c.Payload) })
		})
	}
}

// wantMessage checks that the first candidate with the right item hash is the message that was posted.
func wantMessage(t *testing.T, payload []byte, posted string) {
	t.Helper()
	for _, text := range DecodeMessage(payload) {
		var e envelope
		if json.Unmarshal(text, &e) == nil && e.hashMatches() {
			if string(text) != posted {
				t.Fatalf("received %s\nposted   %s", text, posted)
			}
			return
		}
	}
	t.Fatalf("no candidate of %s has its item hash", payload)
}

func TestUnescape(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`{"a":"100%25 %7B %zz 50% off"}`, `{"a":"100% { %zz 50% off"}`}, // spec ccn-core.md §14
		{"%2541", "%41"},
		{"%%41", "%A"},
		{"%", "%"}, {"%4", "%4"}, {"", ""}, {"a+b", "a+b"},
		{"%E2%9C%93", "✓"},
		{"%E2%9C", "\uFFFD"},                // one replacement for a character cut short
		{"%E2%9Cx", "\uFFFDx"},              //
		{"%ff%fe", "\uFFFD\uFFFD"},          // one for each byte that cannot begin a character
		{"%ED%A0%80", "\uFFFD\uFFFD\uFFFD"}, // surrogates are not UTF-8
		{"é%C3é%A9", "é\uFFFDé\uFFFD"},      // halves on two sides of a character do not meet
	} {
		got, _ := unescape([]byte(c.in))
		if got == nil {
			got = []byte(c.in)
		}
		if string(got) != c.want {
			t.Errorf("%q: %q, want %q", c.in, got, c.want)
		}
	}
}

func TestEncodedTextIsRestoredByOneDecoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOf(rapid.SampledFrom([]string{"%", "2", "5", "4", "f", "F", "z", "é", "%25", "%41", "{", `"`})).Draw(t, "parts"), "")
		encoded := EncodeMessage([]byte(text))
		if decoded, _ := unescape(encoded); decoded != nil && string(decoded) != text {
			t.Fatalf("%q published as %q is read as %q", text, encoded, decoded)
		}
		if first := DecodeMessage(encoded)[0]; string(first) != text {
			t.Fatalf("%q published as %q: first candidate %q", text, encoded, first)
		}
	})
}

func TestMembersThatNoHashCoversSurviveOurEncoding(t *testing.T) {
	posted := `{"channel":"50%20","item_hash":"x"}`
	if got := DecodeMessage(EncodeMessage([]byte(posted)))[0]; string(got) != posted {
		t.Errorf("got %s", got)
	}
}

func TestPayloadThatIsNotUTF8HasNoCandidates(t *testing.T) {
	if got := DecodeMessage([]byte("{\"a\":\"\xff\"}")); got != nil {
		t.Errorf("candidates %q", got)
	}
}

func FuzzDecodeMessage(f *testing.F) {
	f.Add([]byte(`{"a":"%7B%zz%"}`))
	f.Add([]byte("%E2%9C%F0%9F%98"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, c := range DecodeMessage(data) {
			if !bytes.Equal(bytes.ToValidUTF8(c, nil), c) {
				t.Fatalf("candidate %q is not UTF-8", c)
			}
		}
	})
}

package api

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature"
)

// says signs the envelope of a post whose content is a text of any kind.
func (r *rig) says(content string) string {
	r.t.Helper()
	m := &message.Message{
		Sender: r.account.Address(), Chain: r.account.Chain(), Type: message.TypePost, ItemType: message.ItemInline,
		ItemContent: content, ItemHash: message.HashBytes([]byte(content)), Time: message.TimeFrom(time.Now()),
	}
	if err := signature.Sign(r.t.Context(), r.account, m); err != nil {
		r.t.Fatal(err)
	}
	raw, err := m.MarshalJSON()
	if err != nil {
		r.t.Fatal(err)
	}
	return string(raw)
}

// state returns all that the node has made of messages.
func (r *rig) state() (text string) {
	r.t.Helper()
	err := r.db.Read(r.t.Context(), func(rd *store.Reader) (err error) {
		text, err = rd.Dump()
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	text, _, _ = strings.Cut(text, "# rejected") // what was refused is kept as such
	return text
}

// What no parser should take is refused by both ways to publish, with words, and leaves no trace in the state.
func TestHostileMessagesChangeNothing(t *testing.T) {
	r := newRig(t)
	good := string(r.post(1))
	address := r.account.Address()
	content := func(member string) string {
		return r.says(`{"address":"` + address + `","time":1700000000,"type":"note","content":{},` + member + `}`)
	}
	with := func(name, value string) string {
		var m map[string]json.RawMessage
		if err := json.Unmarshal([]byte(good), &m); err != nil {
			t.Fatal(err)
		}
		m[name] = json.RawMessage(value)
		raw, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	raw := func(name, value string) string { // what json.Marshal would not write
		return strings.Replace(with(name, `"here"`), `"`+name+`":"here"`, `"`+name+`":`+value, 1)
	}
	const large = 10 << 20
	before := r.state()
	for name, envelope := range map[string]string{
		"deeply nested envelope":               raw("channel", strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000)),
		"deeply nested content":                content(`"ref":` + strings.Repeat(`{"a":`, 20_000) + "1" + strings.Repeat("}", 20_000)),
		"sender of 10 MB":                      with("sender", `"`+strings.Repeat("x", large)+`"`),
		"channel of 10 MB":                     with("channel", `"`+strings.Repeat("x", large)+`"`),
		"signature of 10 MB":                   with("signature", `"`+strings.Repeat("0", large)+`"`),
		"content of 10 MB":                     content(`"ref":"` + strings.Repeat("x", large) + `"`),
		"two senders, of whom another is last": good[:len(good)-1] + `,"sender":"0x0000000000000000000000000000000000000001"}`,
		"NaN":                                  raw("time", "NaN"),
		"Infinity":                             raw("time", "-Infinity"),
		"NaN in the content":                   content(`"more":NaN`),
		"time beyond all numbers":              raw("time", "1e400"),
		"time of 5,000 digits":                 raw("time", strings.Repeat("9", 5000)),
		"content time of 5,000 digits":         r.says(`{"address":"` + address + `","time":` + strings.Repeat("9", 5000) + `,"type":"note","content":{}}`),
		"content time before all time":         r.says(`{"address":"` + address + `","time":-1e300,"type":"note","content":{}}`),
		"bytes that are no UTF-8":              raw("channel", "\"\xff\xfe\""),
		"content that is no UTF-8":             strings.Replace(content(`"ref":"here"`), "here", "\xc3\x28", 1),
		"lone surrogate":                       raw("channel", `"\ud800"`),
		"lone surrogate in the content":        content(`"ref":"\udc00"`),
		"NUL":                                  raw("channel", `"\u0000"`),
		"NUL in the content":                   content(`"ref":"a\u0000b"`),
		"hash too short":                       with("item_hash", `"`+strings.Repeat("a", 63)+`"`),
		"hash too long":                        with("item_hash", `"`+strings.Repeat("a", 65)+`"`),
		"hash that is a path":                  with("item_hash", `"../../../../etc/passwd"`),
		"hash of something else":               with("item_hash", `"`+strings.Repeat("a", 64)+`"`),
		"signature too short":                  with("signature", `"0x00"`),
		"no signature":                         with("signature", `""`),
		"somebody else's signature":            with("sender", `"0x0000000000000000000000000000000000000001"`),
		"more than one envelope":               good + good,
		"a list of envelopes":                  "[" + good + "]",
		"text that is no JSON":                 "<xml/>",
		"nothing":                              "",
		"content in the name of another":       r.says(`{"address":"0x0000000000000000000000000000000000000001","time":1700000000,"type":"note","content":{}}`),
		"two owners, of whom another is last":  r.says(`{"address":"` + address + `","address":"0x0000000000000000000000000000000000000001","time":1700000000,"type":"note","content":{}}`),
	} {
		t.Run(name, func(t *testing.T) {
			a := r.do(http.MethodPost, "/api/v0/messages", strings.NewReader(`{"sync":true,"message":`+envelope+`}`))
			if a.status < 400 || a.status >= 500 || len(a.body) == 0 {
				t.Errorf("answered %d %.200s", a.status, a.body)
			}
			quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(envelope) // with every byte as it is
			a = r.do(http.MethodPost, "/api/v0/ipfs/pubsub/pub", strings.NewReader(`{"topic":"`+r.params.MessageTopic+`","data":"`+quoted+`"}`))
			if a.status >= 500 {
				t.Errorf("published as to a broker: %d %.200s", a.status, a.body)
			}
			if after := r.state(); after != before {
				t.Fatalf("the state was\n%s\nand is\n%s", before, after)
			}
		})
	}
	if a := r.send([]byte(good), true); a.status != http.StatusOK {
		t.Errorf("then a good one: %d %s", a.status, a.body)
	}
}

// A copy that is bad, or that has the hash of another message, does not shut the good one out.
func TestSquattersOfAHashShutNobodyOut(t *testing.T) {
	r := newRig(t)
	for n, spoil := range map[int]func(string) string{
		1: func(good string) string { return strings.Replace(good, `"signature":"0x`, `"signature":"0x00`, 1) },
		2: func(good string) string {
			return strings.Replace(good, r.account.Address(), "0x0000000000000000000000000000000000000001", 1)
		},
		3: func(good string) string { return strings.Replace(good, `"item_content":"`, `"item_content":" `, 1) },
		4: func(good string) string {
			return strings.Replace(good, `"item_type":"inline"`, `"item_type":"storage"`, 1)
		},
	} {
		good := string(r.post(n))
		bad := spoil(good)
		if bad == good {
			t.Fatalf("%d: the copy is as good", n)
		}
		if a := r.send([]byte(bad), false); a.status >= 500 {
			t.Errorf("%d: %d %s", n, a.status, a.body)
		}
		if a := r.send([]byte(good), true); a.status != http.StatusOK {
			t.Errorf("%d: after a bad copy the good one is answered %d %s", n, a.status, a.body)
		}
		before := r.state()
		if a := r.send([]byte(bad), false); a.status >= 500 {
			t.Errorf("%d: %d %s", n, a.status, a.body)
		}
		if r.state() != before {
			t.Errorf("%d: a bad copy changed the state", n)
		}
	}
}

// order is that of secp256k1: for each signature (r, s) there is another, (r, order - s), that anybody can make.
var order, _ = new(big.Int).SetString("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", 16)

// Other forms of a signature, which anybody can make, make no second message: the form that comes first is kept, and another
// changes nothing.
func TestOtherFormsOfASignatureMakeNoOtherMessage(t *testing.T) {
	r := newRig(t)
	forms := map[string]func(sig []byte) string{
		"the other s": func(sig []byte) string {
			s := new(big.Int).Sub(order, new(big.Int).SetBytes(sig[32:64]))
			return "0x" + hex.EncodeToString(append(append(bytes.Clone(sig[:32]), s.FillBytes(make([]byte, 32))...), sig[64]^7)) // 27 is 28, 28 is 27
		},
		"v from 0":      func(sig []byte) string { return "0x" + hex.EncodeToString(append(bytes.Clone(sig[:64]), sig[64]-27)) },
		"upper case":    func(sig []byte) string { return "0x" + strings.ToUpper(hex.EncodeToString(sig)) },
		"without 0x":    func(sig []byte) string { return hex.EncodeToString(sig) },
		"one byte more": func(sig []byte) string { return "0x" + hex.EncodeToString(sig) + "00" },
	}
	n := 0
	for name, form := range forms {
		for _, first := range []bool{true, false} {
			n++
			good := string(r.post(n))
			var m message.Message
			if err := json.Unmarshal([]byte(good), &m); err != nil {
				t.Fatal(err)
			}
			sig, err := hex.DecodeString(strings.TrimPrefix(m.Signature, "0x"))
			if err != nil {
				t.Fatal(err)
			}
			other := strings.Replace(good, m.Signature, form(sig), 1)
			if other == good {
				t.Fatalf("%s: it is the same", name)
			}
			copies := []string{good, other}
			if first {
				copies = []string{other, good}
			}
			var after []string
			for _, envelope := range copies {
				if a := r.send([]byte(envelope), true); a.status != http.StatusOK && a.status != http.StatusUnprocessableEntity {
					t.Errorf("%s, first %t: %d %s", name, first, a.status, a.body)
				}
				after = append(after, r.state())
			}
			if list := r.get("/api/v0/messages.json?hashes=" + string(m.ItemHash)).object(t); list["pagination_total"] != 1.0 {
				t.Errorf("%s, first %t: %v messages", name, first, list["pagination_total"])
			}
			if kept := strings.Contains(after[0], string(m.ItemHash)); kept && after[0] != after[1] {
				t.Errorf("%s, first %t: the second copy changed the state", name, first)
			}
		}
	}
}

// Clocks that are wrong are no reason to lose a message, and none to answer lists otherwise than as asked.
func TestClocksMayBeWrong(t *testing.T) {
	r := newRig(t)
	for _, at := range []string{"0", "1", "0.000001", "4102444800", "253402300799"} {
		envelope := r.says(fmt.Sprintf(`{"address":%q,"time":%s,"type":"note","content":{"at":%q}}`, r.account.Address(), at, at))
		if a := r.send([]byte(envelope), true); a.status != http.StatusOK && a.status != http.StatusUnprocessableEntity {
			t.Errorf("a content of %s: %d %s", at, a.status, a.body)
		}
	}
	for _, query := range []string{"", "sortOrder=1", "startDate=0", "endDate=4102444801", "sortBy=tx-time"} {
		if a := r.get("/api/v0/messages.json?" + query); a.status != http.StatusOK || !json.Valid(a.body) {
			t.Errorf("%s: %d %s", query, a.status, a.body)
		}
	}
}

// Bodies are taken as they are: one that says that it is compressed is not unpacked.
func TestCompressedBodiesAreNotUnpacked(t *testing.T) {
	r := newRig(t)
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	zeros := make([]byte, 1<<20)
	for range 256 {
		if _, err := z.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	before := r.state()
	for _, path := range []string{"/api/v0/messages", "/api/v0/ipfs/add_json", "/api/v0/storage/add_json", "/api/v0/ipfs/pubsub/pub", "/api/v0/storage/add_file"} {
		for _, encoding := range []string{"gzip", "deflate", "br", "zstd"} {
			a := r.do(http.MethodPost, path, bytes.NewReader(bomb.Bytes()), "Content-Encoding", encoding, "Content-Type", "application/json")
			if a.status < 400 || a.status >= 500 {
				t.Errorf("%s as %s: %d %.200s", path, encoding, a.status, a.body)
			}
		}
	}
	if r.state() != before {
		t.Error("the state changed")
	}
}

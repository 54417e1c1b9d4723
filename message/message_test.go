package message

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

const (
	alice   = "0x101d8D16372dBf5f1614adaE95Ee5CCE61998Fc9"
	fileRef = "7eb2eca2378ea8855336ed76c8b26219f1cb90234d04441de9cf8cb1c649d003"
)

func TestScannerAgreesWithEncodingJSON(t *testing.T) {
	piece := rapid.SampledFrom([]string{
		"{", "}", "[", "]", ",", ":", `"`, `"a"`, `"\n"`, `"\ud83d\ude00"`, `"é"`, `"\x"`, "0", "1", "-", ".5", "e1", "E+2", "1.0",
		"true", "false", "null", "nul", " ", "\t", "\n", "\x01", "\x7f", `{"a":1}`, `[1,2]`, `"\u00e9"`, `\`, `\u12`, "1e5", "-0",
	})
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(piece, 0, 12).Draw(t, "pieces"), "")
		_, err := scan(text)
		if want := json.Valid([]byte(text)); (err == nil) != want {
			t.Fatalf("scan(%q): %v, encoding/json says %v", text, err, want)
		}
	})
}

func TestScannerReadsWhatEncodingJSONReads(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "members")
		raw, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := scan(string(raw))
		if err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		got := map[string]string{}
		for name, v := range doc.members(0) {
			got[name] = doc.str(v)
			if path := doc.path(v); len(path) != 1 || path[0] != name {
				t.Fatalf("path of %q is %v", name, path)
			}
		}
		var again map[string]string
		if err := json.Unmarshal(raw, &again); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, again) {
			t.Fatalf("read %q, want %q from %s", got, again, raw)
		}
	})
}

func TestScannerIsStricterThanEncodingJSON(t *testing.T) {
	for name, text := range map[string]string{
		"invalid UTF-8":            "\"\xff\"",
		"lone high surrogate":      `"\ud800"`,
		"lone low surrogate":       `"\udc00"`,
		"reversed surrogates":      `"\udc00\ud800"`,
		"surrogate before letter":  `"\ud800\u0041"`,
		"exponent beyond a double": "1e999",
		"digits beyond a double":   strings.Repeat("9", 400),
		"1025 levels":              strings.Repeat("[", 1025) + strings.Repeat("]", 1025),
	} {
		if _, err := scan(text); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for name, text := range map[string]string{
		"1024 levels":          strings.Repeat("[", 1024) + strings.Repeat("]", 1024),
		"tiny number":          "1e-999",
		"integer of 30 digits": strings.Repeat("9", 30),
	} {
		if _, err := scan(text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLaxIntegers(t *testing.T) {
	for text, want := range map[string]any{
		`1`: int64(1), `-1`: int64(-1), `2.0`: int64(2), `1e3`: int64(1000), `true`: int64(1), `false`: int64(0), `" +7 "`: int64(7),
		`"8.00"`: int64(8), `-0`: int64(0), `9223372036854775807`: int64(math.MaxInt64), `-9223372036854775808`: int64(math.MinInt64),
		`9223372036854775808`: nil, `-9223372036854775809`: nil, `18446744073709551616`: nil, `1e300`: nil, `-1e300`: nil,
		`1.5`: nil, `"1.5"`: nil, `""`: nil, `"-"`: nil, `"0x1"`: nil, `"٣"`: nil, `null`: nil, `[]`: nil,
	} {
		doc, err := scan(text)
		if err != nil {
			t.Fatal(err)
		}
		d := &decoder{document: doc}
		got := readInt(math.MinInt64, math.MaxInt64)(d, 0)
		if want == nil {
			if len(d.errs) == 0 {
				t.Errorf("%s read as %d", text, got)
			}
		} else if len(d.errs) > 0 || got != want {
			t.Errorf("%s read as %d, %v, want %v", text, got, d.errs, want)
		}
	}
}

func TestContentIsRefusedInsideMalformedEnvelopes(t *testing.T) {
	for name, raw := range map[string]string{
		"empty":              "",
		"not JSON":           "hello",
		"a number":           "1",
		"invalid UTF-8":      "{\"type\":\"POST\xff\"}",
		"type is an object":  `{"type":{}}`,
		"hash is a number":   `{"type":"POST","item_hash":1,"item_type":"storage"}`,
		"kind is a number":   `{"type":"POST","item_hash":"x","item_type":1}`,
		"content is object":  `{"type":"POST","item_hash":"x","item_content":{}}`,
		"long sender":        `{"type":"POST","item_hash":"` + fileRef + `","time":1,"chain":"ETH","sender":"` + strings.Repeat("x", 1025) + `"}`,
		"NUL in the sender":  `{"type":"POST","item_hash":"` + fileRef + `","time":1,"chain":"ETH","sender":"a\u0000"}`,
		"time beyond 9999":   `{"type":"POST","item_hash":"` + fileRef + `","time":1e300,"chain":"ETH","sender":"x"}`,
		"time before year 1": `{"type":"POST","item_hash":"` + fileRef + `","time":-1e300,"chain":"ETH","sender":"x"}`,
	} {
		m, c, err := Parse([]byte(raw))
		var refusal *Error
		if !errors.As(err, &refusal) || refusal.Code != ErrInvalidFormat || m != nil || c != nil {
			t.Errorf("%s: %v, %v, %v", name, m, c, err)
		}
	}
}

func TestComplaintsHaveTheShapeOfTheReference(t *testing.T) {
	_, err := ParseContent(TypeForget, []byte(`{"address":"x","time":1,"hashes":["a"]}`))
	var refusal *Error
	if !errors.As(err, &refusal) {
		t.Fatal(err)
	}
	want := `{"errors":[{"type":"value_error","loc":"('hashes', 0)","msg":"Value error, \"a\" is not an item hash: want 64 lower-case hex characters, a CIDv0 (Qm…) or a CIDv1 (bafy…)","input":"a"}]}`
	if got := string(refusal.Details()); got != want {
		t.Errorf("details %s\nwant    %s", got, want)
	}
}

func TestComplaintsAreBounded(t *testing.T) {
	raw := `{"address":"x","time":1,"type":"test"` + strings.Repeat(`,"x":"`+strings.Repeat("y", 1000)+`"`, 5000) + `}`
	_, err := ParseContent(TypePost, []byte(raw))
	var refusal *Error
	if !errors.As(err, &refusal) || len(refusal.Errors) != maxFieldErrors || len(refusal.Details()) > 1<<14 {
		t.Errorf("%d complaints in %d bytes", len(refusal.Errors), len(refusal.Details()))
	}
}

func TestFetchedContentTakesAddressAndTimeFromTheEnvelope(t *testing.T) {
	m := &Message{Type: TypePost, Sender: alice, Time: TimeFromSeconds(1.5)}
	for raw, want := range map[string]string{
		`{"type":"test"}`: `{"address":"` + alice + `","time":1.5,"type":"test"}`,
		`{"type":"test","address":null,"time":null}`:            `{"type":"test","address":"` + alice + `","time":1.5}`,
		`{"type":"test","address":"b","time":"2"}`:              `{"type":"test","address":"b","time":"2"}`,
		`{"time":3,"type":"test","address":"b","address":null}`: `{"time":3,"type":"test","address":"b","address":"` + alice + `"}`,
	} {
		content, served, err := m.ParseFetched([]byte(raw))
		if err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		if string(served) != want {
			t.Errorf("serves %s, want %s", served, want)
		}
		again, err := ParseContent(TypePost, served)
		if err != nil || !reflect.DeepEqual(again, content) {
			t.Errorf("served content reads %+v, %v, want %+v", again, err, content)
		}
	}
	if _, _, err := m.ParseFetched([]byte(`{"type":"test","address":5}`)); err == nil {
		t.Error("accepted a number as address")
	}
}

func TestEstimatesMayLackWhatOnlySigningNeeds(t *testing.T) {
	instance := `{"address":"x","environment":{},"resources":{},"rootfs":{"parent":{"ref":"` + fileRef + `"},"persistence":"host","size_mib":1},
		"volumes":[{"ref":"` + fileRef + `","estimated_size_mib":7}]}`
	content, err := ParseContentRelaxed(TypeInstance, []byte(instance))
	if err != nil {
		t.Fatal(err)
	}
	if got := content.(*Instance).Volumes[0].EstimatedSizeMiB; got == nil || *got != 7 {
		t.Errorf("estimated size %v, want 7", got)
	}
	if _, err := ParseContent(TypeInstance, []byte(instance)); err == nil {
		t.Error("the strict parser accepted it too")
	}
	store := `{"address":"x","time":1,"item_type":"storage","item_hash":"` + fileRef + `","estimated_size_mib":1.5}`
	content, err = ParseContentRelaxed(TypeStore, []byte(store))
	if err != nil || content.(*Store).EstimatedSizeMiB == nil || *content.(*Store).EstimatedSizeMiB != 1.5 {
		t.Errorf("store estimate: %+v, %v", content, err)
	}
	if _, err := ParseContentRelaxed(TypePost, []byte(`{"address":"x","type":"test"}`)); err == nil {
		t.Error("a post without time passed")
	}
}

func TestFreeFormJSONSurvivesVerbatim(t *testing.T) {
	free := `{"big":123456789012345678901234567890,"f":1.0,"e":1E+2,"html":"<&>","u":"\u00e9é","dup":1,"dup":2, "n" : null}`
	content, err := ParseContent(TypePost, []byte(`{"content":`+free+`,"address":"x","time":1,"type":"test"}`))
	if err != nil {
		t.Fatal(err)
	}
	got, err := Normalise(content)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"address":"x","time":1.0,"content":` + free + `,"ref":null,"type":"test"}`; string(got) != want {
		t.Errorf("normalised %s\nwant       %s", got, want)
	}
}

func TestNormalisedShapesHaveEveryMember(t *testing.T) {
	for raw, want := range map[string]string{
		`{"address":"x","time":1,"type":"t"}`: `{"address":"x","time":1.0,"content":null,"ref":null,"type":"t"}`,
		`{"address":"x","time":1,"item_type":"storage","item_hash":"` + fileRef + `","extra":1}`: `{"address":"x","time":1.0,"item_type":"storage","item_hash":"` +
			fileRef + `","size":null,"content_type":null,"ref":null,"metadata":null,"payment":null}`,
		`{"address":"x","time":1,"hashes":[]}`:                                `{"address":"x","time":1.0,"hashes":[],"aggregates":[],"reason":null}`,
		`{"address":"x","time":1,"key":{"name":"it's"},"content":{"a":null}}`: `{"address":"x","time":1.0,"key":{"name":"it's"},"content":{"a":null}}`,
	} {
		typ := TypePost
		switch {
		case strings.Contains(raw, "item_hash"):
			typ = TypeStore
		case strings.Contains(raw, "hashes"):
			typ = TypeForget
		case strings.Contains(raw, "key"):
			typ = TypeAggregate
		}
		content, err := ParseContent(typ, []byte(raw))
		if err != nil {
			t.Fatal(err)
		}
		got, err := json.Marshal(content)
		if err != nil || string(got) != want {
			t.Errorf("normalised %s, %v\nwant       %s", got, err, want)
		}
	}
}

func TestObjectKeysNeverEqualTextKeys(t *testing.T) {
	for name, want := range map[string]string{"test": `name='test'`, "it's": `name="it's"`, "a\nb\\": `name='a\nb\\'`, "é\u200b": `name='é\u200b'`} {
		quoted, err := json.Marshal(name)
		if err != nil {
			t.Fatal(err)
		}
		content, err := ParseContent(TypeAggregate, []byte(`{"address":"x","time":1,"key":{"name":`+string(quoted)+`},"content":{}}`))
		if err != nil {
			t.Fatal(err)
		}
		if a := content.(*Aggregate); a.Key != want || !a.KeyObject {
			t.Errorf("key %q, want %q", a.Key, want)
		}
	}
}

func TestMalformedFreeFormJSONIsNotWritten(t *testing.T) {
	for _, c := range []Content{
		&Post{Content: json.RawMessage(`{`)}, &Aggregate{Content: json.RawMessage(`nope`)}, &Store{Metadata: json.RawMessage(`1 2`)},
	} {
		if raw, err := Normalise(c); err == nil {
			t.Errorf("%T written as %s", c, raw)
		}
	}
}

func TestBuild(t *testing.T) {
	now := time.Unix(1700000000, 123456789)
	channel := "TEST"
	t.Run("fills in address and time", func(t *testing.T) {
		m, upload, err := Build(alice, ChainETH, TypePost, &Post{PostType: "t", Content: json.RawMessage(`"<&>\u2028"`)}, &channel, now)
		if err != nil || upload != nil {
			t.Fatal(upload, err)
		}
		if want := `{"address":"` + alice + `","time":1700000000.123456,"content":"<&>\u2028","type":"t"}`; m.ItemContent != want {
			t.Errorf("content %s, want %s", m.ItemContent, want)
		}
		if m.Time.Seconds() != 1700000000.123456 {
			t.Errorf("time %v", m.Time)
		}
		if _, err := m.Check(); err != nil {
			t.Error(err)
		}
	})
	t.Run("takes text as it is", func(t *testing.T) {
		text := ` {"address":"x","time":1,"type":"t"} `
		m, _, err := Build(alice, ChainETH, TypePost, json.RawMessage(text), nil, now)
		if err != nil || m.ItemContent != text {
			t.Errorf("%+v, %v", m, err)
		}
	})
	t.Run("encodes other values without escaping HTML", func(t *testing.T) {
		m, _, err := Build(alice, ChainETH, TypePost, map[string]any{"address": "<x>", "time": 1, "type": "t"}, nil, now)
		if err != nil || m.ItemContent != `{"address":"<x>","time":1,"type":"t"}` {
			t.Errorf("%+v, %v", m, err)
		}
	})
	t.Run("leaves large contents to be uploaded", func(t *testing.T) {
		m, upload, err := Build(alice, ChainETH, TypePost, &Post{PostType: strings.Repeat("t", InlineLimit)}, nil, now)
		if err != nil {
			t.Fatal(err)
		}
		if m.ItemType != ItemStorage || m.ItemContent != "" || m.ItemHash != HashBytes(upload) {
			t.Errorf("item %s %s for %d bytes", m.ItemType, m.ItemHash, len(upload))
		}
		if _, err := m.Check(); err != nil {
			t.Error(err)
		}
	})
	t.Run("refuses what nodes refuse", func(t *testing.T) {
		for _, content := range []any{
			&Post{PostType: PostTypeAmend}, &Forget{Hashes: []Hash{"x"}}, json.RawMessage(`{`), map[string]any{}, func() {},
			&Post{Content: json.RawMessage("{")},
		} {
			if m, _, err := Build(alice, ChainETH, TypePost, content, nil, now); err == nil {
				t.Errorf("built %+v", m)
			}
		}
	})
}

func TestEnvelopeTimeRoundsHalfToEven(t *testing.T) {
	for seconds, want := range map[float64]Time{1700000000.1234567: 1700000000123457, -1.5: -1500000, 0: 0, 253402300799: 253402300799000000} {
		if got := TimeFromSeconds(seconds); got != want {
			t.Errorf("%v is %d µs, want %d", seconds, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, v := range loadEnvelopes(f) {
		if v.Recipe == nil {
			f.Add([]byte(v.Message))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, content, err := Parse(raw)
		if err != nil {
			var refusal *Error
			if !errors.As(err, &refusal) || !json.Valid(refusal.Details()) {
				t.Fatalf("error without proper details: %v", err)
			}
			return
		}
		again, _, err := Parse(m.AppendJSON(nil))
		if err != nil || !reflect.DeepEqual(again, m) {
			t.Fatalf("parsed again: %+v, %v, want %+v", again, err, m)
		}
		if (content != nil) != (m.ItemType == ItemInline) {
			t.Fatalf("content %v of a message of item type %s", content, m.ItemType)
		}
	})
}

func FuzzParseContent(f *testing.F) {
	for i, typ := range Types() {
		for _, v := range loadContents(f, typ) {
			f.Add(uint8(i), []byte(v.Content))
		}
	}
	f.Fuzz(func(t *testing.T, i uint8, raw []byte) {
		typ := Types()[int(i)%len(Types())]
		content, err := ParseContent(typ, raw)
		if err != nil {
			return
		}
		if !json.Valid(raw) || !utf8.Valid(raw) {
			t.Fatalf("accepted invalid JSON %q", raw)
		}
		normalised, err := Normalise(content)
		if err != nil || !json.Valid(normalised) {
			t.Fatalf("normalised %s, %v", normalised, err)
		}
		if inst, ok := content.(*Instance); ok && inst.Environment.TrustedExecution != nil {
			return // only the empty object passes without a hypervisor, see TestContentVectors
		}
		again, err := ParseContent(typ, normalised)
		if err != nil {
			t.Fatalf("the normalised form is refused: %v\n%s", err, normalised)
		}
		if twice, err := Normalise(again); err != nil || string(twice) != string(normalised) {
			t.Fatalf("normalising is not stable: %s, %v, first %s", twice, err, normalised)
		}
	})
}

// typicalPost is an envelope whose content has about 300 bytes.
func typicalPost(b *testing.B) []byte {
	post := &Post{PostType: "chat", Content: json.RawMessage(`{"body":"` + strings.Repeat("hello world ", 12) + `","tags":["a","b"],"n":42}`)}
	channel := "TEST"
	m, _, err := Build(alice, ChainETH, TypePost, post, &channel, time.Unix(1700000000, 0))
	if err != nil {
		b.Fatal(err)
	}
	m.Signature = "0x" + strings.Repeat("ab", 65)
	return m.AppendJSON(nil)
}

func BenchmarkParsePost(b *testing.B) {
	raw := typicalPost(b)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Parse(raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseProgramContent(b *testing.B) {
	raw := loadContents(b, TypeProgram)[0].Content
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseContent(TypeProgram, raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNormalisePost(b *testing.B) {
	_, content, err := Parse(typicalPost(b))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Normalise(content); err != nil {
			b.Fatal(err)
		}
	}
}

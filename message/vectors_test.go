package message

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/internal/vectors"
)

// stricter lists the submissions that the reference accepts at parse time and we refuse, with the rule that says so.
var stricter = map[string]string{
	"upper-hex-storage": "strict hash rule, spec/messages.md §12.1",
	"non-hex-64":        "strict hash rule, §12.1",
	"qm-wrong-alphabet": "strict hash rule, §12.1",
	"content-null":      "inline null is refused at parse time, §12.4",
	"content-u0000":     "the test for \\u0000 is made at parse time, §1.5",
	"content-deep-1100": "depth is capped at 1024, §12.7",
}

type envelopeVector struct {
	ID      string
	Message json.RawMessage
	Recipe  *struct {
		Prefix, Repeat, Suffix string
		Count                  int
	} `json:"item_content_recipe"`
	CCN struct {
		Result   string
		ItemType ItemType `json:"item_type"`
		TimeUTC  string   `json:"time_utc"`
		Errors   []vectorError
	}
}

type vectorError struct {
	Loc  []string
	Type string
}

func (v *envelopeVector) raw(t testing.TB) []byte {
	if v.Recipe == nil {
		return v.Message
	}
	var m map[string]any
	if err := json.Unmarshal(v.Message, &m); err != nil {
		t.Fatal(err)
	}
	m["item_content"] = v.Recipe.Prefix + strings.Repeat(v.Recipe.Repeat, v.Recipe.Count) + v.Recipe.Suffix
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func loadEnvelopes(t testing.TB) []envelopeVector {
	var file struct{ Vectors []envelopeVector }
	vectors.Load(t, "envelope.json", &file)
	return file.Vectors
}

func TestEnvelopeVectors(t *testing.T) {
	for _, v := range loadEnvelopes(t) {
		t.Run(v.ID, func(t *testing.T) {
			m, _, err := Parse(v.raw(t))
			if v.CCN.Result != "accepted" || stricter[v.ID] != "" {
				checkRefusal(t, err, v.CCN.Errors, false)
				return
			}
			if err != nil {
				t.Fatalf("refused: %v", err)
			}
			if m.ItemType != v.CCN.ItemType {
				t.Errorf("item type %q, want %q", m.ItemType, v.CCN.ItemType)
			}
			if got := m.Time.Std().Format("2006-01-02T15:04:05.000000"); got != v.CCN.TimeUTC {
				t.Errorf("time %s, want %s", got, v.CCN.TimeUTC)
			}
			again, _, err := Parse(m.AppendJSON(nil))
			if err != nil || !reflect.DeepEqual(again, m) {
				t.Errorf("encoded and parsed again: %+v, %v, want %+v", again, err, m)
			}
		})
	}
}

// unionTags are steps that the reference adds to a location to name a branch of a union; our locations have none.
var unionTags = []string{
	"str", "ChainRef", "AggregateContentKey", "ImmutableVolume", "EphemeralVolume", "PersistentVolume", "[key]",
	"FunctionEnvironment", "InstanceEnvironment",
}

// checkRefusal fails unless err is a refusal for an invalid format. With locations, it must complain where the reference does.
func checkRefusal(t *testing.T, err error, want []vectorError, locations bool) {
	t.Helper()
	var refusal *Error
	if !errors.As(err, &refusal) || refusal.Code != ErrInvalidFormat {
		t.Fatalf("error %v, want a refusal with code 0", err)
	}
	if !json.Valid(refusal.Details()) {
		t.Fatalf("details are not JSON: %s", refusal.Details())
	}
	if !locations {
		return
	}
	wanted := map[string]bool{}
	union := false
	for _, e := range want {
		loc := slices.DeleteFunc(slices.Clone(e.Loc), func(s string) bool { return slices.Contains(unionTags, s) })
		union = union || len(loc) != len(e.Loc)
		wanted[strings.Join(loc, "/")] = true
	}
	for _, item := range refusal.Errors {
		f, ok := item.(FieldError)
		if !ok {
			t.Errorf("detail %v has no location", item)
			continue
		}
		var steps []string
		for _, p := range f.path {
			steps = append(steps, fmt.Sprint(p))
		}
		loc := strings.Join(steps, "/")
		if !wanted[loc] {
			t.Errorf("complaint at %q (%s), want %v", loc, f.Msg, want)
		}
		delete(wanted, loc)
	}
	// Of a union we complain about the selected branch only, the reference about all.
	if len(wanted) > 0 && !union {
		t.Errorf("no complaint at %v: %v", wanted, err)
	}
}

type contentVector struct {
	ID          string
	Content     json.RawMessage
	Expected    string
	Normalised  any
	Errors      []vectorError
	VolumeKinds []VolumeKind `json:"volume_kinds"`
	Environment string       `json:"environment_kind"`
}

func loadContents(t testing.TB, typ Type) []contentVector {
	var file struct{ Fixtures, Own []contentVector }
	vectors.Load(t, "content_"+strings.ToLower(string(typ))+".json", &file)
	for i := range file.Fixtures {
		file.Fixtures[i].ID = fmt.Sprintf("fixture-%d", i)
	}
	return append(file.Own, file.Fixtures...)
}

func TestContentVectors(t *testing.T) {
	for _, typ := range Types() {
		list := loadContents(t, typ)
		if len(list) == 0 {
			t.Fatalf("no vectors for %s", typ)
		}
		for _, v := range list {
			t.Run(string(typ)+"/"+v.ID, func(t *testing.T) {
				content, err := ParseContent(typ, v.Content)
				if v.Expected != "valid" {
					checkRefusal(t, err, v.Errors, true)
					return
				}
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				if content.Type() != typ {
					t.Errorf("type %s, want %s", content.Type(), typ)
				}
				checkNormalised(t, content, v)
				checkKinds(t, content, v)
			})
		}
	}
}

// checkNormalised compares the normalised content with the vector's, which has no nulls. A second pass must change nothing.
func checkNormalised(t *testing.T, content Content, v contentVector) {
	t.Helper()
	want := v.Normalised
	raw, err := Normalise(content)
	if err != nil {
		t.Fatal(err)
	}
	var got any
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatalf("normalised form is not JSON: %v: %s", err, raw)
	}
	if !reflect.DeepEqual(withoutNulls(got), withoutNulls(want)) {
		t.Errorf("normalised %s\nwant %v", raw, want)
	}
	if v.ID == "tee-empty" {
		return // only the empty object passes without a hypervisor; the normalised form states the default policy
	}
	for _, nulls := range []bool{true, false} {
		raw, err := encode(content.(encodable), nulls)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseContent(content.Type(), raw)
		if err != nil || !reflect.DeepEqual(again, content) {
			t.Errorf("parsing the encoded form gave %+v, %v\nwant %+v\nfrom %s", again, err, content, raw)
		}
	}
}

func withoutNulls(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			if e != nil {
				out[k] = withoutNulls(e)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = withoutNulls(e)
		}
		return out
	}
	return v
}

func checkKinds(t *testing.T, content Content, v contentVector) {
	t.Helper()
	var volumes []Volume
	var environment Environment
	switch c := content.(type) {
	case *Program:
		volumes, environment = c.Volumes, c.Environment
	case *Instance:
		volumes, environment = c.Volumes, c.Environment
	default:
		return
	}
	var kinds []VolumeKind
	for _, volume := range volumes {
		kinds = append(kinds, volume.Kind)
	}
	if v.VolumeKinds != nil && !slices.Equal(kinds, v.VolumeKinds) {
		t.Errorf("volume kinds %v, want %v", kinds, v.VolumeKinds)
	}
	if v.Environment != "" && environment.instance != (v.Environment == "instance") {
		t.Errorf("environment read as that of an instance: %v, want %s", environment.instance, v.Environment)
	}
}

func TestVolumeVectors(t *testing.T) {
	var file struct {
		Cases []struct {
			Volume json.RawMessage
			Kind   VolumeKind
		}
	}
	vectors.Load(t, "volumes.json", &file)
	base := loadContents(t, TypeProgram)[0].Content
	for i, v := range file.Cases {
		var members map[string]json.RawMessage
		if err := json.Unmarshal(base, &members); err != nil {
			t.Fatal(err)
		}
		members["volumes"] = json.RawMessage("[" + string(v.Volume) + "]")
		raw, err := json.Marshal(members)
		if err != nil {
			t.Fatal(err)
		}
		content, err := ParseContent(TypeProgram, raw)
		got := VolumeKind("invalid")
		if err == nil {
			got = content.(*Program).Volumes[0].Kind
		}
		if got != v.Kind {
			t.Errorf("case %d %s: %s (%v), want %s", i, v.Volume, got, err, v.Kind)
		}
	}
}

func TestHashVectors(t *testing.T) {
	var file struct {
		Detection []struct{ Value, Strict string }
		Inline    []struct {
			ItemContent string `json:"item_content"`
			ItemHash    Hash   `json:"item_hash"`
		}
	}
	vectors.Load(t, "hashes.json", &file)
	for _, v := range file.Detection {
		want := ItemType(v.Strict)
		if v.Strict == "invalid" {
			want = ""
		}
		if got := Hash(v.Value).Kind(); got != want {
			t.Errorf("kind of %q is %q, want %q", v.Value, got, want)
		}
		if _, err := ParseHash(v.Value); (err == nil) != (want != "") {
			t.Errorf("ParseHash(%q): %v, want kind %q", v.Value, err, want)
		}
	}
	for _, v := range file.Inline {
		if got := HashBytes([]byte(v.ItemContent)); got != v.ItemHash {
			t.Errorf("hash of %q is %s, want %s", v.ItemContent, got, v.ItemHash)
		}
	}
}

func TestBuiltVectors(t *testing.T) {
	var file struct {
		Built []struct {
			Type        Type
			Description string
			ItemContent string `json:"item_content"`
			ItemHash    Hash   `json:"item_hash"`
			Payload     string `json:"payload_to_sign"`
		}
	}
	vectors.Load(t, "construction.json", &file)
	for _, v := range file.Built {
		t.Run(v.Description, func(t *testing.T) {
			content, err := ParseContent(v.Type, []byte(v.ItemContent))
			if err != nil {
				t.Fatal(err)
			}
			m, upload, err := Build(content.Base().Address, ChainETH, v.Type, content, nil, time.Unix(1700000000, 0))
			if err != nil || upload != nil {
				t.Fatalf("build: upload %q, %v", upload, err)
			}
			if m.ItemContent != v.ItemContent || m.ItemHash != v.ItemHash {
				t.Errorf("built %s\nwant  %s", m.ItemContent, v.ItemContent)
			}
			if got := string(m.SigningPayload()); got != v.Payload {
				t.Errorf("payload %q, want %q", got, v.Payload)
			}
		})
	}
}

// TestSignatureFixtureEnvelopes runs the parser on the envelopes of the signature vectors, real messages among them.
func TestSignatureFixtureEnvelopes(t *testing.T) {
	for _, family := range []string{"evm", "sol", "es", "tezos", "dot", "csdk", "avax", "nuls", "nuls2"} {
		var file struct {
			Fixtures, Own []struct {
				ID       string
				Message  json.RawMessage
				Envelope struct {
					Result string
					Errors []vectorError
				}
			}
		}
		vectors.Load(t, "signatures_"+family+".json", &file)
		for _, v := range append(file.Fixtures, file.Own...) {
			t.Run(v.ID, func(t *testing.T) {
				_, _, err := Parse(v.Message)
				if v.Envelope.Result == "accepted" {
					if err != nil {
						t.Fatalf("refused: %v", err)
					}
					return
				}
				checkRefusal(t, err, v.Envelope.Errors, false)
			})
		}
	}
}

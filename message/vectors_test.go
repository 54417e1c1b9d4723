package message

import (
	"encoding/hex"
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

// tally counts the vectors of one file.
// wider lists the contents that the reference refuses and we read, with the rule that says so. ccn/state refuses them on networks
// that have reference nodes.
var wider = map[string]string{
	"code-encoding": "archives of tar.gz are a form of ours (docs/decisions/0020-forms-of-programs-that-are-ours.md)",
}

type tally struct{ run, valid, invalid, stricter, failed int }

// check runs one vector as a test of its own.
func (c *tally) check(t *testing.T, id string, valid bool, f func(*testing.T)) {
	c.run++
	if valid {
		c.valid++
	} else {
		c.invalid++
	}
	if !t.Run(id, f) {
		c.failed++
	}
}

// TestVectorTable checks every vector of what this package does, and prints how many there are of each file. Signatures have a
// table in package signature; the CIDs of files and folders, gossip and add_json are checked where they are made.
func TestVectorTable(t *testing.T) {
	type row struct {
		name string
		tally
	}
	var rows []row
	section := func(name string, f func(*testing.T, *tally)) {
		r := row{name: name}
		t.Run(name, func(t *testing.T) { f(t, &r.tally) })
		if r.run == 0 {
			t.Errorf("no vectors of %s", name)
		}
		rows = append(rows, r)
	}
	section("envelope", envelopeVectors)
	for _, typ := range Types() {
		section("content_"+strings.ToLower(string(typ)), func(t *testing.T, c *tally) { contentVectors(t, c, typ) })
	}
	section("measured environments", measuredVectors)
	section("volumes", volumeVectors)
	section("hash detection", detectionVectors)
	section("inline hashes", inlineVectors)
	section("built contents", builtVectors)
	section("signed envelopes", signedVectors)

	var b strings.Builder
	fmt.Fprintf(&b, "\n%-22s %5s %6s %8s %9s %7s", "vectors", "run", "valid", "invalid", "stricter", "failed")
	sum := row{name: "all"}
	line := func(r row) {
		fmt.Fprintf(&b, "\n%-22s %5d %6d %8d %9d %7d", r.name, r.run, r.valid, r.invalid, r.stricter, r.failed)
	}
	for _, r := range rows {
		line(r)
		sum.run, sum.valid, sum.invalid = sum.run+r.run, sum.valid+r.valid, sum.invalid+r.invalid
		sum.stricter, sum.failed = sum.stricter+r.stricter, sum.failed+r.failed
	}
	line(sum)
	t.Log(b.String())
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

func envelopeVectors(t *testing.T, c *tally) {
	for _, v := range loadEnvelopes(t) {
		if stricter[v.ID] != "" {
			c.stricter++
		}
		c.check(t, v.ID, v.CCN.Result == "accepted", func(t *testing.T) {
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

func contentVectors(t *testing.T, c *tally, typ Type) {
	for _, v := range loadContents(t, typ) {
		c.check(t, v.ID, v.Expected == "valid", func(t *testing.T) {
			content, err := ParseContent(typ, v.Content)
			if wider[v.ID] != "" {
				if p, ok := content.(*Program); !ok || !p.Extended() {
					t.Errorf("read %+v, %v", content, err)
				}
				return
			}
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
	checkReadsBack(t, content)
}

// checkReadsBack fails unless content is what its encoded forms, with nulls and without, parse to.
func checkReadsBack(t *testing.T, content Content) {
	t.Helper()
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

// withMember returns a JSON object with one member replaced.
func withMember(t *testing.T, object []byte, name string, value []byte) []byte {
	t.Helper()
	var members map[string]json.RawMessage
	if err := json.Unmarshal(object, &members); err != nil {
		t.Fatal(err)
	}
	members[name] = value
	raw, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// measuredVectors are environments of instances whose memory is encrypted, and measured.
func measuredVectors(t *testing.T, c *tally) {
	var file struct {
		Measured struct {
			Cases []struct {
				ID, Expected string
				Environment  json.RawMessage
			}
		} `json:"instance_environment_measured_tee"`
	}
	vectors.Load(t, "content_v-program.json", &file)
	base := loadContents(t, TypeInstance)[0].Content
	if _, err := ParseContent(TypeInstance, base); err != nil {
		t.Fatal(err)
	}
	for _, v := range file.Measured.Cases {
		c.check(t, v.ID, v.Expected == "valid", func(t *testing.T) {
			content, err := ParseContent(TypeInstance, withMember(t, base, "environment", v.Environment))
			if v.Expected != "valid" {
				checkRefusal(t, err, nil, false)
				return
			}
			if err != nil {
				t.Fatalf("refused: %v", err)
			}
			checkReadsBack(t, content)
		})
	}
}

func volumeVectors(t *testing.T, c *tally) {
	var file struct {
		Cases []struct {
			Volume json.RawMessage
			Kind   VolumeKind
		}
	}
	vectors.Load(t, "volumes.json", &file)
	base := loadContents(t, TypeProgram)[0].Content
	for i, v := range file.Cases {
		c.check(t, fmt.Sprint(i), v.Kind != "invalid", func(t *testing.T) {
			content, err := ParseContent(TypeProgram, withMember(t, base, "volumes", []byte("["+string(v.Volume)+"]")))
			got := VolumeKind("invalid")
			if err == nil {
				got = content.(*Program).Volumes[0].Kind
			}
			if got != v.Kind {
				t.Errorf("%s: %s (%v), want %s", v.Volume, got, err, v.Kind)
			}
		})
	}
}

func detectionVectors(t *testing.T, c *tally) {
	var file struct {
		Detection []struct{ Value, Strict, Loose string }
	}
	vectors.Load(t, "hashes.json", &file)
	for _, v := range file.Detection {
		if v.Strict != v.Loose {
			c.stricter++
		}
		c.check(t, v.Value, v.Strict != "invalid", func(t *testing.T) {
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
		})
	}
}

func inlineVectors(t *testing.T, c *tally) {
	var file struct {
		Inline []struct {
			ItemContent string `json:"item_content"`
			Bytes       string `json:"utf8_hex"`
			ItemHash    Hash   `json:"item_hash"`
		}
	}
	vectors.Load(t, "hashes.json", &file)
	for i, v := range file.Inline {
		c.check(t, fmt.Sprint(i), true, func(t *testing.T) {
			if v.Bytes != "" && hex.EncodeToString([]byte(v.ItemContent)) != v.Bytes {
				t.Errorf("%q is not %s", v.ItemContent, v.Bytes)
			}
			if got := HashBytes([]byte(v.ItemContent)); got != v.ItemHash {
				t.Errorf("hash of %q is %s, want %s", v.ItemContent, got, v.ItemHash)
			}
		})
	}
}

func builtVectors(t *testing.T, c *tally) {
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
		c.check(t, v.Description, true, func(t *testing.T) {
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

// signedVectors runs the parser on the envelopes of the signature vectors, real messages among them.
func signedVectors(t *testing.T, c *tally) {
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
			c.check(t, v.ID, v.Envelope.Result == "accepted", func(t *testing.T) {
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

package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/aleph-im/aleph-go/internal/vectors"
	"github.com/aleph-im/aleph-go/message"
)

// schemas compiles definitions of the document.
type schemas struct {
	t        testing.TB
	compiler *jsonschema.Compiler
}

const documentURL = "https://node.example/schema.json"

func load(t testing.TB) schemas {
	t.Helper()
	raw, err := Document()
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertContent() // the text of a content is held to its schema
	if err := c.AddResource(documentURL, document); err != nil {
		t.Fatal(err)
	}
	return schemas{t, c}
}

// check compares a value with a definition.
func (s schemas) check(name string, value []byte) error {
	s.t.Helper()
	compiled, err := s.compiler.Compile(documentURL + "#/$defs/" + name)
	if err != nil {
		s.t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(value))
	if err != nil {
		return err
	}
	return compiled.Validate(v)
}

// contentNames are the definitions of contents, by the type of their messages.
var contentNames = map[message.Type]string{
	message.TypePost: "Post", message.TypeAggregate: "Aggregate", message.TypeStore: "Store", message.TypeForget: "Forget",
	message.TypeProgram: "Program", message.TypeInstance: "Instance", message.TypeVProgram: "VProgram",
}

func TestEveryDefinitionIsValidAndDefinedOnce(t *testing.T) {
	s := load(t)
	all, err := Definitions()
	if err != nil {
		t.Fatal(err)
	}
	for name := range all {
		if _, err := s.compiler.Compile(documentURL + "#/$defs/" + name); err != nil {
			t.Error(err)
		}
	}
	defined := 0
	for _, file := range [][]byte{messages, aggregates, answers, compute} {
		one, err := read(file)
		if err != nil {
			t.Fatal(err)
		}
		defined += len(one)
	}
	if defined != len(all) {
		t.Errorf("the files have %d definitions, of which %d have a name of their own", defined, len(all))
	}
}

func TestListsOfWordsAreThoseOfThePackageMessage(t *testing.T) {
	words := func(name string) []string {
		all, err := Definitions()
		if err != nil {
			t.Fatal(err)
		}
		var s struct{ Enum []string }
		if err := json.Unmarshal(all[name], &s); err != nil {
			t.Fatal(err)
		}
		slices.Sort(s.Enum)
		return s.Enum
	}
	same := func(name string, want ...string) {
		slices.Sort(want)
		if got := words(name); !slices.Equal(got, want) {
			t.Errorf("%s has %v, want %v", name, got, want)
		}
	}
	var chains, types []string
	for _, c := range message.Chains() {
		chains = append(chains, string(c))
	}
	for _, typ := range message.Types() {
		types = append(types, string(typ))
	}
	same("Chain", chains...)
	same("Type", types...)
}

// beyond lists what the schema accepts and the network refuses, with the rule that JSON Schema cannot say.
var beyond = map[string]string{
	"regex-invalid":                 "address_regex must compile",
	"vol-persistent-float":          "10.0 is no whole number here",
	"rootfs-size-float":             "10.0 is no whole number here",
	"tee-no-qemu":                   "trusted execution needs the hypervisor qemu",
	"tee-firecracker":               "trusted execution needs the hypervisor qemu",
	"stream-req-no-node":            "payment by stream needs node_hash",
	"stream-req-empty":              "payment by stream needs node_hash",
	"credit-req-no-node":            "payment by credit needs node_hash",
	"gpu-no-node":                   "GPUs need node_hash",
	"gpu-no-hypervisor":             "GPUs need the hypervisor qemu",
	"gpu-firecracker":               "GPUs need the hypervisor qemu",
	"tac-hold":                      "terms_and_conditions need payment by stream or credit",
	"tac-none":                      "terms_and_conditions need payment by stream or credit",
	"tac-no-node":                   "terms_and_conditions need node_hash",
	"policy-bit17":                  "bit 17 of a policy must be set",
	"inline-hash-mismatch":          "item_hash is the sha256 of item_content",
	"content-lone-surrogate-escape": "no half of a surrogate pair in contents",
	"content-1e999":                 "no number beyond a double",
	"content-u0000":                 "no NUL in contents",
	"content-deep-1100":             "contents are at most 1024 levels deep",
}

// otherwise lists what the network reads though it is not the form to write. Its normal form is.
var otherwise = []string{
	"time-string", "time-bool", "size-str", "allow-amend-str", "allow-amend-int", "vcpus-str", "tee-policy-str", "policy-str",
	"missing-item_type", "null-item_type", "missing-signature", "item-type-inferred-inline", "inferred-storage", "inferred-ipfs-v0",
	"inferred-ipfs-v1", "content-null-noninline", "content-good-noninline",
}

// compare holds the verdict of the schema on a vector to that of the network. normal is the normal form of what was accepted.
func (s schemas) compare(id, name string, raw, normal []byte, refusal error) {
	s.t.Helper()
	err := s.check(name, raw)
	switch {
	case refusal != nil && err == nil && beyond[id] == "":
		s.t.Errorf("%s: accepted by the schema; the network says %v", id, refusal)
	case refusal == nil && err != nil && !slices.Contains(otherwise, id):
		s.t.Errorf("%s: accepted by the network; the schema says %v", id, err)
	case refusal == nil:
		if err := s.check(name, normal); err != nil {
			s.t.Errorf("%s: the normal form %s does not fit: %v", id, normal, err)
		}
	}
}

type contentVector struct {
	ID      string
	Content json.RawMessage
}

func contents(t testing.TB, typ message.Type) []contentVector {
	t.Helper()
	var file struct{ Fixtures, Own []contentVector }
	vectors.Load(t, "content_"+strings.ToLower(string(typ))+".json", &file)
	for i := range file.Fixtures {
		file.Fixtures[i].ID = fmt.Sprintf("fixture-%d", i)
	}
	return append(file.Own, file.Fixtures...)
}

func TestContentsFitWhereTheNetworkAcceptsThem(t *testing.T) {
	s := load(t)
	for _, typ := range message.Types() {
		for _, v := range contents(t, typ) {
			content, refusal := message.ParseContent(typ, v.Content)
			var normal []byte
			if refusal == nil {
				var err error
				if normal, err = message.Normalise(content); err != nil {
					t.Fatal(err)
				}
			}
			s.compare(v.ID, contentNames[typ], v.Content, normal, refusal)
		}
	}
}

func TestEnvelopesFitWhereTheNetworkAcceptsThem(t *testing.T) {
	s := load(t)
	var file struct {
		Vectors []struct {
			ID      string
			Message json.RawMessage
		}
	}
	vectors.Load(t, "envelope.json", &file)
	for _, v := range file.Vectors {
		m, _, refusal := message.Parse(v.Message)
		var normal []byte
		if refusal == nil {
			normal = m.AppendJSON(nil)
		}
		s.compare(v.ID, "Envelope", v.Message, normal, refusal)
	}
}

// changes are what one member of a content is replaced by; "" takes it away.
var changes = []string{"", "null", "true", `"x"`, `""`, "-1", "0", "1.5", "100000000", "[]", `[""]`, "{}", `{"x":1}`}

// spread calls each with the value in which one member of one of its objects was changed, for every member and change.
func spread(value any, each func(what string)) {
	var walk func(v any, path string)
	walk = func(v any, path string) {
		switch v := v.(type) {
		case []any:
			for i, item := range v {
				walk(item, fmt.Sprintf("%s[%d]", path, i))
			}
		case map[string]any:
			for _, name := range slices.Sorted(maps.Keys(v)) {
				was := v[name]
				for _, change := range changes {
					if v[name] = json.RawMessage(change); change == "" {
						delete(v, name)
					}
					each(fmt.Sprintf("%s.%s := %s", path, name, change))
				}
				v[name] = was
				walk(was, path+"."+name)
			}
		}
	}
	walk(value, "")
}

// rules are what refusals say of rules that JSON Schema cannot say.
var rules = []string{"needs the hypervisor", "need the hypervisor", "node_hash is required", "terms_and_conditions are only", "bit 17"}

// TestWhatTheSchemaAcceptsTheNetworkAccepts changes the contents of the vectors, a member at a time.
func TestWhatTheSchemaAcceptsTheNetworkAccepts(t *testing.T) {
	s := load(t)
	for _, typ := range message.Types() {
		accepted, refused := 0, 0
		for _, v := range contents(t, typ) {
			content, err := message.ParseContent(typ, v.Content)
			if err != nil || len(v.Content) > 4000 || accepted > 200 { // some contents of aggregates are very large
				continue
			}
			normal, err := message.Normalise(content)
			if err != nil {
				t.Fatal(err)
			}
			var tree any
			if err := json.Unmarshal(normal, &tree); err != nil {
				t.Fatal(err)
			}
			spread(tree, func(what string) {
				raw, err := json.Marshal(tree)
				if err != nil {
					t.Fatal(err)
				}
				if s.check(contentNames[typ], raw) != nil {
					refused++
					return
				}
				accepted++
				_, err = message.ParseContent(typ, raw)
				if err != nil && !slices.ContainsFunc(rules, func(rule string) bool { return strings.Contains(err.Error(), rule) }) {
					t.Errorf("%s with %s: accepted by the schema; the network says %v", v.ID, what, err)
				}
			})
		}
		if accepted == 0 || refused == 0 {
			t.Errorf("%s: %d changed contents were accepted, %d refused", typ, accepted, refused)
		}
	}
}

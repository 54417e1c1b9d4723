package api

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/aleph-im/aleph-go/ccn/schedule"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// description holds the answers of a rig to what it says of itself.
type description struct {
	*rig
	text    string
	raw     []byte
	doc     document
	routes  router
	schemas *jsonschema.Compiler
	seen    map[string]bool // operations and statuses, such as "GET /version 200"

	operator *secp256k1.PrivateKey
}

type document struct {
	Paths map[string]map[string]struct {
		Parameters []struct{ Name, In string }
		Responses  map[string]struct {
			Content map[string]struct{ Schema json.RawMessage }
		}
		Frame *struct {
			Ref string `json:"$ref"`
		} `json:"x-frame"`
	}
	Components struct{ Schemas map[string]json.RawMessage }
}

const documentURL = "https://node.example/openapi.json"

// newDescribedRig is a rig with every route that a node can have.
func newDescribedRig(t testing.TB) *description {
	t.Helper()
	operator := secp256k1.PrivKeyFromBytes([]byte{1})
	r := newRig(t, func(c *Config) {
		c.RecalculateKey = hex.EncodeToString(operator.PubKey().SerializeCompressed())
		c.Recalculate = func(*store.Tx, message.Hash) error { return nil }
		scheduler, err := schedule.New(schedule.Config{Params: c.Params, Store: c.Store})
		if err != nil {
			t.Fatal(err)
		}
		c.Extra = scheduler.Routes()
	})
	d := &description{rig: r, operator: operator, seen: map[string]bool{}, schemas: jsonschema.NewCompiler()}
	d.raw = r.get("/api/openapi.json").body
	if err := json.Unmarshal(d.raw, &d.doc); err != nil {
		t.Fatal(err)
	}
	resource, err := jsonschema.UnmarshalJSON(bytes.NewReader(d.raw))
	if err != nil {
		t.Fatal(err)
	}
	d.schemas.DefaultDraft(jsonschema.Draft2020)
	if err := d.schemas.AddResource(documentURL, resource); err != nil {
		t.Fatal(err)
	}
	for path, methods := range d.doc.Paths {
		for method := range methods {
			pattern := strings.ToUpper(method) + " " + path
			d.routes.add(pattern, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { d.text = pattern }))
		}
	}
	return d
}

// operation returns the pattern of the operation that answers a request.
func (d *description) operation(method, target string) string {
	d.t.Helper()
	e, _ := d.routes.find(httptest.NewRequest(method, target, nil))
	if e == nil {
		d.t.Fatalf("%s %s is not described", method, target)
	}
	e.handler.ServeHTTP(nil, nil)
	return d.text
}

// fits compares a value with the schema at a place of the description.
func (d *description) fits(what, place string, value []byte) {
	d.t.Helper()
	s, err := d.schemas.Compile(documentURL + place)
	if err != nil {
		d.t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(value))
	if err != nil {
		d.t.Errorf("%s: %v in %s", what, err, value)
		return
	}
	if err := s.Validate(v); err != nil {
		d.t.Errorf("%s: %s does not fit: %v", what, value, err)
	}
}

// ask sends a request and compares its answer with the description.
func (d *description) ask(method, target string, body io.Reader, header ...string) answer {
	d.t.Helper()
	a := d.do(method, target, body, header...)
	d.answered(method, target, a)
	return a
}

func (d *description) answered(method, target string, a answer) {
	d.t.Helper()
	pattern := d.operation(method, target)
	_, path, _ := strings.Cut(pattern, " ")
	what, status := method+" "+target, strconv.Itoa(a.status)
	responses := d.doc.Paths[path][strings.ToLower(method)].Responses
	response, ok := responses[status]
	if !ok {
		d.t.Errorf("%s: status %s is not described: %s", what, status, a.body)
		return
	}
	d.seen[pattern+" "+status] = true
	if len(response.Content) == 0 && len(a.body) == 0 {
		return
	}
	kind, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	if _, ok := response.Content[kind]; err != nil || !ok {
		d.t.Errorf("%s: %s has the type %q, described are %v", what, status, kind, slices.Collect(maps.Keys(response.Content)))
		return
	}
	if kind == "application/json" {
		escape := strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace
		d.fits(what, fmt.Sprintf("#/paths/%s/%s/responses/%s/content/application~1json/schema", escape(path), strings.ToLower(method), status), a.body)
	}
}

func TestDescriptionIsWholeAndSaysNothingElse(t *testing.T) {
	d := newDescribedRig(t)
	var e explained
	if err := json.Unmarshal(openapiText, &e); err != nil {
		t.Fatal(err)
	}
	var registered []string
	explainedParameters, usedSchemas := map[string]bool{}, map[string]bool{}
	for path, methods := range d.doc.Paths {
		for method, o := range methods {
			pattern := strings.ToUpper(method) + " " + path
			registered = append(registered, pattern)
			if text := e.Operations[pattern]; text.Summary == "" || e.Tags[text.Tag] == "" || len(text.Answers) == 0 {
				t.Errorf("%s is registered and not explained", pattern)
			}
			for _, p := range o.Parameters {
				if e.Parameters[p.Name] == "" {
					t.Errorf("%s: parameter %s is not explained", pattern, p.Name)
				}
				explainedParameters[p.Name] = true
			}
		}
	}
	for pattern := range e.Operations {
		if !slices.Contains(registered, pattern) {
			t.Errorf("%s is explained and not registered", pattern)
		}
	}
	for name := range e.Parameters {
		if !explainedParameters[name] {
			t.Errorf("parameter %s is explained and nowhere read", name)
		}
	}
	for _, ref := range regexp.MustCompile(`"\$ref":\s*"#/components/schemas/(\w+)"`).FindAllStringSubmatch(string(d.raw), -1) {
		usedSchemas[ref[1]] = true
	}
	for name := range usedSchemas {
		if d.doc.Components.Schemas[name] == nil {
			t.Errorf("schema %s is missing", name)
		}
	}
	for name := range d.doc.Components.Schemas {
		if !usedSchemas[name] {
			t.Errorf("schema %s is used nowhere", name)
		}
		if _, err := d.schemas.Compile(documentURL + "#/components/schemas/" + name); err != nil {
			t.Error(err)
		}
	}
	if page := string(d.get("/api/docs/").body); !strings.Contains(page, "/api/v0/messages.json") || strings.Contains(page, "src=") {
		t.Errorf("page of the description: %.300s", page)
	}
}

// TestParametersAreThoseThatAreRead looks at a few of them in full: the others are told in the same way.
func TestParametersAreThoseThatAreRead(t *testing.T) {
	d := newDescribedRig(t)
	var doc struct {
		Paths map[string]struct {
			Get struct{ Parameters []json.RawMessage }
		}
	}
	if err := json.Unmarshal(d.raw, &doc); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string][]string{
		"/api/v0/costs": {
			`{"description":"Entries of a page, at most 200 with a cursor; 0 for all where it is allowed","in":"query","name":"pagination","schema":{"default":100,"maximum":1000,"minimum":10,"type":"integer"}}`,
			`{"description":"How resources are paid for","in":"query","name":"payment_type","schema":{"default":"credit","enum":["hold","superfluid","credit"],"type":"string"}}`,
		},
		"/api/v0/messages/page/{page}.json": {
			`{"description":"Number of the page, from 1","in":"path","name":"page","required":true,"schema":{"minimum":1,"type":"integer"}}`,
			`{"description":"Hashes of messages; of originals where posts are asked for","explode":false,"in":"query","name":"hashes","schema":{"items":{"$ref":"#/components/schemas/Hash"},"type":"array"}}`,
			`{"description":"1 ascending, -1 descending; also sort_order","in":"query","name":"sortOrder","schema":{"default":-1,"enum":[1,-1],"type":"integer"}}`,
		},
		"/api/v0/addresses/stats.json": {
			`{"description":"Address of a sender; all when there is none","explode":true,"in":"query","name":"addresses[]","schema":{"items":{"type":"string"},"type":"array"}}`,
		},
	} {
		var got []string
		for _, p := range doc.Paths[path].Get.Parameters {
			got = append(got, string(p))
		}
		for _, p := range want {
			if !slices.Contains(got, p) {
				t.Errorf("%s lacks %s, has %s", path, p, strings.Join(got, "\n"))
			}
		}
	}
}

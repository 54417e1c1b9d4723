package registry

import (
	"encoding/json"
	"os"
	"reflect"
	"testing"
)

func TestPublishedSampleIsReadAndWritten(t *testing.T) { // the sample of spec §6
	raw, err := os.ReadFile("testdata/corechannel.json")
	if err != nil {
		t.Fatal(err)
	}
	var a Aggregate
	if err := json.Unmarshal(raw, &a); err != nil {
		t.Fatal(err)
	}
	n, ok := a.Core("6c75")
	if !ok || n.Name != "example-ccn" || n.TotalStaked != 576656.9919 || n.Stakers["0x3071"] != 30898.271940365612 || !n.HasBonus ||
		n.Status != Active || n.ResourceNodes[0] != "fa5e" || n.Score != 0.9585 || n.Time != 1608307687.846 {
		t.Errorf("%+v", n)
	}
	r, ok := a.Resource("fa5e")
	if !ok || *r.Parent != "6c75" || *r.InactiveSince != 19401322 || len(r.Authorized) != 0 || bool(r.Locked) || r.Type != "compute" {
		t.Errorf("%+v", r)
	}
	if _, ok := a.Core("fa5e"); ok {
		t.Error("a compute node is found as a core node")
	}

	// What we write differs from the sample in the two unions only.
	var before, after map[string][]map[string]any
	if err := json.Unmarshal(raw, &before); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(jsonOf(t, a)), &after); err != nil {
		t.Fatal(err)
	}
	before["resource_nodes"][0]["authorized"] = []any{}
	if !reflect.DeepEqual(before, after) {
		t.Errorf("read  %v\nwrote %v", before, after)
	}
}

func TestUnionTypes(t *testing.T) {
	for text, want := range map[string]Node{
		`{"locked":"","authorized":""}`:                 {},
		`{"locked":null,"authorized":null}`:             {},
		`{"locked":true,"authorized":["a",1,null,"b"]}`: {Locked: true, Authorized: Addresses{"a", "b"}},
		`{"locked":"x","authorized":"a,b"}`:             {Locked: true, Authorized: Addresses{"a", "b"}},
		`{"locked":0,"authorized":{}}`:                  {},
		`{"locked":2,"authorized":7}`:                   {Locked: true},
		`{"locked":[],"authorized":[]}`:                 {},
		`{"locked":{"a":1}}`:                            {Locked: true},
	} {
		var n Node
		if err := json.Unmarshal([]byte(text), &n); err != nil || n.Locked != want.Locked || len(n.Authorized) != len(want.Authorized) {
			t.Errorf("%s: %v %v, %v", text, n.Locked, n.Authorized, err)
		}
	}
}

func TestEmptyRegistryHasEmptyLists(t *testing.T) {
	if got := jsonOf(t, New(mainnet()).Aggregate()); got != `{"nodes":[],"resource_nodes":[]}` {
		t.Error(got)
	}
	s := begin(t)
	s.ownsCore("A", "N")
	text := jsonOf(t, s.Aggregate().Nodes[0])
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &members); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"authorized": "[]", "locked": "false", "stakers": "{}", "resource_nodes": "[]", "inactive_since": "null"} {
		if string(members[key]) != want {
			t.Errorf("%s is %s", key, members[key])
		}
	}
}

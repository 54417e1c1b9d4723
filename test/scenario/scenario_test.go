package scenario

import (
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"testing"
)

func TestPatternsFitWhatTheySay(t *testing.T) {
	for _, test := range []struct {
		pattern, value string
		fits           bool
	}{
		{`{"a": 1}`, `{"a": 1.0, "b": 2}`, true},
		{`{"a": 1}`, `{"a": "1"}`, false},
		{`{"a": 1}`, `[]`, false},
		{`{"a": null}`, `{"b": 2}`, true},
		{`{"a": null}`, `{"a": 0}`, false},
		{`[1, {"a": "x"}]`, `[1, {"a": "x", "b": "y"}]`, true},
		{`[1]`, `[1, 2]`, false},
		{`[]`, `{}`, false},
		{`{"a": {"$above": 0}}`, `{"a": "0.000000000000000001"}`, true},
		{`{"a": {"$above": 0}}`, `{"a": 0}`, false},
		{`{"a": {"$above": 0}}`, `{"a": "x"}`, false},
		{`{"a": {"$above": 0}}`, `{}`, false},
		{`{"$contains": {"a": 1}}`, `[{"a": 2}, {"a": 1, "b": 1}]`, true},
		{`{"$contains": {"a": 1}}`, `[{"a": 2}]`, false},
		{`{"$contains": 1}`, `{"a": 1}`, false},
		{`{"$starts": "SSH"}`, `"SSH-2.0"`, true},
		{`{"$starts": "SSH"}`, `"2.0-SSH"`, false},
		{`{"$ends": "b"}`, `"ab"`, true},
		{`{"$ends": "b"}`, `"ba"`, false},
		{`{"$any": true}`, `false`, true},
		{`{"$any": true}`, `null`, false},
	} {
		var pattern, value any
		for text, v := range map[string]*any{test.pattern: &pattern, test.value: &value} {
			if err := json.Unmarshal([]byte(text), v); err != nil {
				t.Fatal(err)
			}
		}
		if err := fits(pattern, value); (err == nil) != test.fits {
			t.Errorf("%s and %s: %v", test.pattern, test.value, err)
		}
	}
}

func TestVariablesAreFilledIn(t *testing.T) {
	r := &runner{variables: map[string]any{"run": "abc", "list": []any{1.0}}}
	got, err := r.fill(map[string]any{"${run}.org": "$run", "all": "$list", "text": "of ${run}", "more": []any{"$run", 2.0}, "price": map[string]any{"$above": 1.0}})
	want := map[string]any{"abc.org": "abc", "all": []any{1.0}, "text": "of abc", "more": []any{"abc", 2.0}, "price": map[string]any{"$above": 1.0}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	for _, text := range []string{"$unknown", "of ${unknown}"} {
		if v, err := r.fill(text); err == nil {
			t.Errorf("%s became %v", text, v)
		}
	}
}

// TestOperationsAreThoseThatAreWrittenDown compares the runner, its rules and the scenario.
func TestOperationsAreThoseThatAreWrittenDown(t *testing.T) {
	rules, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var described []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z]+\\.[a-z]+)`").FindAllSubmatch(rules, -1) {
		described = append(described, string(m[1]))
	}
	var scenario struct{ Steps []step }
	if err := json.Unmarshal(text, &scenario); err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, s := range scenario.Steps {
		if s.Do != "" {
			used[s.Do] = true
		}
		if s.About == "" && s.As == "" || s.Expect != nil && s.Fails != nil {
			t.Errorf("step %+v", s)
		}
	}
	slices.Sort(described)
	for what, names := range map[string][]string{"README.md": described, "scenario.json": slices.Sorted(maps.Keys(used))} {
		if have := slices.Sorted(maps.Keys(operations)); !slices.Equal(have, names) {
			t.Errorf("%s has %v, the runner %v", what, names, have)
		}
	}
}

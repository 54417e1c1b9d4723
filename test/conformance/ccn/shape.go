package ccn

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// Kinds of values, as shapes name them.
var kinds = map[string]func(any) bool{
	"text":   func(v any) bool { _, ok := v.(string); return ok },
	"bool":   func(v any) bool { _, ok := v.(bool); return ok },
	"list":   func(v any) bool { _, ok := v.([]any); return ok },
	"object": func(v any) bool { _, ok := v.(map[string]any); return ok },
	"null":   func(v any) bool { return v == nil },
	"any":    func(any) bool { return true },
	"number": func(v any) bool { _, ok := v.(json.Number); return ok },
	"int":    matches[json.Number](`^-?\d+$`),
	"float":  matches[json.Number](`^-?\d+(\.\d+([eE][+-]?\d+)?|[eE][+-]?\d+)$`),
	"hash":   matches[string](`^([0-9a-f]{64}|Qm[1-9A-HJ-NP-Za-km-z]{42,44}|bafy[a-z2-7]{55})$`),
	"z":      matches[string](`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z$`),     // RFC 3339 of a model
	"offset": matches[string](`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00$`), // ISO 8601 of a plain answer
	"cost":   matches[string](`^-?\d+\.\d{18}$`),                                 // a decimal with all its places
	"amount": matches[string](`^-?\d+(\.\d+)?$`),                                 // a decimal text
}

func matches[T ~string](pattern string) func(any) bool {
	re := regexp.MustCompile(pattern)
	return func(v any) bool { s, ok := v.(T); return ok && re.MatchString(string(s)) }
}

// expect fails the check unless members of an object read as they should, "name=text" each.
func (c *client) expect(what string, o object, members ...string) {
	c.Helper()
	for _, member := range members {
		name, want, _ := strings.Cut(member, "=")
		if v, present := o[name]; !present || fmt.Sprint(v) != want {
			c.Errorf("%s: %s is %v, want %s", what, name, v, want)
		}
	}
}

// shape fails the check unless an object has exactly the members of a shape, "name:kind name:kind/kind …", each of one of
// its kinds.
func (c *client) shape(what string, o object, shape string) {
	c.Helper()
	left := map[string]bool{}
	for name := range o {
		left[name] = true
	}
	for _, field := range strings.Fields(shape) {
		name, allowed, _ := strings.Cut(field, ":")
		v, present := o[name]
		if !present {
			c.Errorf("%s: %s is absent", what, name)
			continue
		}
		delete(left, name)
		fits := false
		for kind := range strings.SplitSeq(allowed, "/") {
			is := kinds[kind]
			if is == nil {
				c.Fatalf("%s: there is no kind %q", what, kind)
			}
			fits = fits || is(v)
		}
		if !fits {
			c.Errorf("%s: %s is %v (%T), want %s", what, name, v, v, allowed)
		}
	}
	for name := range left {
		c.Errorf("%s: there is a member %s", what, name)
	}
}

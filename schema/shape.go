package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// shape is what a schema says of the type of a value. What it says of the values alone (bounds, patterns, conditions
// between members) is left to nodes.
type shape struct {
	Ref                  string            `json:"$ref"`
	Description          string            `json:"description"`
	Type                 words             `json:"type"`
	Format               string            `json:"format"`
	Enum                 []json.RawMessage `json:"enum"`
	Const                json.RawMessage   `json:"const"`
	Required             []string          `json:"required"`
	Properties           properties        `json:"properties"`
	AdditionalProperties *shape            `json:"additionalProperties"`
	Items                *shape            `json:"items"`
	AnyOf                []*shape          `json:"anyOf"`
	OneOf                []*shape          `json:"oneOf"`
	AllOf                []*shape          `json:"allOf"`
	If                   *shape            `json:"if"`
	Then                 *shape            `json:"then"`

	nothing bool // the schema false
}

// UnmarshalJSON takes true and false as well, which are schemas that accept everything and nothing.
func (s *shape) UnmarshalJSON(raw []byte) error {
	if text := string(raw); text == "true" || text == "false" {
		*s = shape{nothing: text == "false"}
		return nil
	}
	type members shape
	return json.Unmarshal(raw, (*members)(s))
}

// words is one text or a list of them.
type words []string

func (w *words) UnmarshalJSON(raw []byte) error {
	if raw[0] == '[' {
		return json.Unmarshal(raw, (*[]string)(w))
	}
	*w = make(words, 1)
	return json.Unmarshal(raw, &(*w)[0])
}

// properties are the members of an object, in the order of the schema.
type properties []member

// member is one member of an object.
type member struct {
	name     string
	shape    *shape
	optional bool
}

func (p *properties) UnmarshalJSON(raw []byte) error {
	in := json.NewDecoder(bytes.NewReader(raw))
	if _, err := in.Token(); err != nil { // the brace
		return err
	}
	for in.More() {
		name, err := in.Token()
		if err != nil {
			return err
		}
		m := member{name: name.(string), shape: &shape{}, optional: true}
		if err := in.Decode(m.shape); err != nil {
			return err
		}
		*p = append(*p, m)
	}
	return nil
}

// shapes are all definitions by their name.
type shapes map[string]*shape

func readShapes() (shapes, error) {
	definitions, err := Definitions()
	if err != nil {
		return nil, err
	}
	all := shapes{}
	for name, raw := range definitions {
		all[name] = &shape{}
		if err := json.Unmarshal(raw, all[name]); err != nil {
			return nil, fmt.Errorf("read the schema %s: %w", name, err)
		}
	}
	return all, nil
}

// target is the name of the definition that a shape refers to, "" for none.
func (s *shape) target() string { return strings.TrimPrefix(s.Ref, "#/$defs/") }

// untyped tells whether a shape says nothing of the type of a value: it only adds rules to what another says.
func (s *shape) untyped() bool {
	return s.Ref == "" && len(s.Type) == 0 && s.Enum == nil && s.Const == nil && s.Items == nil && s.AnyOf == nil && s.OneOf == nil &&
		!slices.ContainsFunc(s.Properties, func(m member) bool { return !m.shape.untyped() })
}

// base is the shape that s adds nothing but rules to, or nil.
func (all shapes) base(s *shape) *shape {
	bare := *s
	bare.Ref = ""
	if s.Ref != "" && bare.untyped() {
		return all[s.target()]
	}
	if s.Ref == "" && len(s.AllOf) > 0 && s.AllOf[0].Ref != "" && s.untyped() {
		return s.AllOf[0]
	}
	return nil
}

// kinds are the JSON types of a value, those that its keywords imply included.
func (s *shape) kinds() words {
	switch {
	case len(s.Type) > 0:
		return s.Type
	case s.Items != nil:
		return words{"array"}
	case s.Properties != nil || s.AllOf != nil:
		return words{"object"}
	}
	return nil
}

// members are the members of an object with those that it inherits. What it says again of an inherited one replaces what
// was said, except for null: that has to be allowed by both.
func (all shapes) members(s *shape) []member {
	var found []member
	if s.Ref != "" {
		found = all.members(all[s.target()])
	}
	for _, part := range s.AllOf {
		if part.If == nil {
			found = all.join(found, all.members(part), nil)
		}
	}
	return all.join(found, s.Properties, s.Required)
}

func (all shapes) join(into, more []member, required []string) []member {
	into = slices.Clone(into)
	for _, m := range more {
		i := slices.IndexFunc(into, func(old member) bool { return old.name == m.name })
		switch {
		case i < 0:
			into = append(into, m)
		case m.shape.untyped():
			into[i].optional = into[i].optional && m.optional
		default:
			into[i] = all.narrowed(into[i], m)
		}
	}
	for i := range into {
		into[i].optional = into[i].optional && !slices.Contains(required, into[i].name)
	}
	return into
}

func (all shapes) narrowed(old, again member) member {
	narrow := *again.shape
	if narrow.Description == "" {
		narrow.Description = old.shape.Description
	}
	if len(narrow.Type) == 0 && narrow.Ref == "" && all.nullable(old.shape) && !all.nullable(&narrow) {
		narrow.Type = append(slices.Clone(narrow.kinds()), "null") // nothing was said of null: it stays
	}
	return member{again.name, &narrow, old.optional && again.optional}
}

// nullable tells whether a shape lets null pass.
func (all shapes) nullable(s *shape) bool {
	switch {
	case s.Ref != "":
		return all.nullable(all[s.target()])
	case s.Enum != nil:
		return slices.ContainsFunc(s.Enum, func(v json.RawMessage) bool { return string(v) == "null" })
	case len(s.Type) > 0:
		return slices.Contains(s.Type, "null")
	}
	return slices.ContainsFunc(slices.Concat(s.AnyOf, s.OneOf), all.nullable)
}

// either are the members of a value that has one of several shapes. A member is there for sure when each of them has it.
func (all shapes) either(names []string) []member {
	found := all.members(all[names[0]])
	for _, name := range names[1:] {
		other := all.members(all[name])
		for i, m := range found {
			at := slices.IndexFunc(other, func(o member) bool { return o.name == m.name })
			found[i].optional = m.optional || at < 0 || other[at].optional
		}
		for _, o := range other {
			if !slices.ContainsFunc(found, func(m member) bool { return m.name == o.name }) {
				o.optional = true
				found = append(found, o)
			}
		}
	}
	return found
}

// choice is a definition of which one member tells what another is.
type choice struct {
	by, member string
	cases      []option // by the value of the member that tells it
}

type option struct {
	value string
	shape *shape
}

// choiceOf reads conditions of the form: if this member is that constant, then another member has this shape.
func (all shapes) choiceOf(s *shape) choice {
	var c choice
	for _, part := range s.AllOf {
		if part.If == nil || len(part.If.Properties) != 1 || part.Then == nil || len(part.Then.Properties) != 1 {
			continue
		}
		by, then := part.If.Properties[0], part.Then.Properties[0]
		var value string
		if !then.shape.untyped() && json.Unmarshal(by.shape.Const, &value) == nil {
			c.by, c.member = by.name, then.name
			c.cases = append(c.cases, option{value, then.shape})
		}
	}
	return c
}

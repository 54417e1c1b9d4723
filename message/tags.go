package message

import (
	"encoding/json"
	"slices"
)

// Tags returns the words by which a message with that content is found, sorted, each once; what is no text is left out. Of
// a POST and an AGGREGATE they are in content.tags, of workloads in metadata.tags, of a STORE in tags (spec/ccn-core.md §9).
// The type of a content says nothing of them, so that they are read from its text.
func Tags(t Type, content []byte) []string {
	var outer, inner struct {
		Tags     json.RawMessage `json:"tags"`
		Content  json.RawMessage `json:"content"`
		Metadata json.RawMessage `json:"metadata"`
	}
	if json.Unmarshal(content, &outer) != nil {
		return nil
	}
	raw := outer.Tags
	switch t {
	case TypePost, TypeAggregate:
		_ = json.Unmarshal(outer.Content, &inner) // what is no object has no tags
		raw = inner.Tags
	case TypeProgram, TypeInstance, TypeVProgram:
		_ = json.Unmarshal(outer.Metadata, &inner)
		raw = inner.Tags
	case TypeStore:
	default:
		return nil
	}
	var values []any
	_ = json.Unmarshal(raw, &values) // what is no list has none
	var tags []string
	for _, v := range values {
		if tag, ok := v.(string); ok {
			tags = append(tags, tag)
		}
	}
	slices.Sort(tags)
	return slices.Compact(tags)
}

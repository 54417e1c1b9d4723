// Package schema describes in JSON Schema (2020-12) what crosses the wire: messages with their contents, and the answers
// of a core node's API. ccn/api serves it inside the description of the node, cmd/aleph-schema prints it, and
// the types of the SDKs that are made from it (decision 0033).
//
// Of a content it describes the form to write: nodes read more, such as "1" for a number (spec/messages.md §5.0). Rules
// between members that JSON Schema cannot say are told by message.ParseContent alone.
package schema

import (
	_ "embed"
	"encoding/json"
	"fmt"
)

var (
	//go:embed messages.json
	messages []byte
	//go:embed answers.json
	answers []byte
)

// Definitions returns every schema by its name. They refer to each other by "#/$defs/<name>".
func Definitions() (map[string]json.RawMessage, error) {
	all := map[string]json.RawMessage{}
	for name, text := range map[string][]byte{"messages.json": messages, "answers.json": answers} {
		if err := json.Unmarshal(text, &all); err != nil { // into the same map: names are unique, as a test checks
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
	}
	return all, nil
}

// Document returns all schemas as one document, indented, with its names sorted.
func Document() ([]byte, error) {
	definitions, err := Definitions()
	if err != nil {
		return nil, err
	}
	raw, err := json.MarshalIndent(struct {
		Schema string                     `json:"$schema"`
		Title  string                     `json:"title"`
		Defs   map[string]json.RawMessage `json:"$defs"`
	}{"https://json-schema.org/draft/2020-12/schema", "Messages of Aleph.im and answers of its core nodes", definitions}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the schemas: %w", err)
	}
	return append(raw, '\n'), nil
}

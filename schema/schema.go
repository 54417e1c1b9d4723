// Package schema describes in JSON Schema (2020-12) what crosses the wire: messages with their contents, what is kept in the
// aggregates that the network reads, the answers of a core node's API, and those of a compute node that clients read. ccn/api serves
// what is of a core node inside the description of the node, cmd/aleph-schema prints all, and the types of the SDKs that are made
// from it (decision 0033).
//
// Of a content and of an aggregate it describes the form to write: readers take more, such as "1" for a number (spec/messages.md
// §5.0). Rules between members that JSON Schema cannot say are told by message.ParseContent alone.
package schema

import (
	_ "embed"
	"encoding/json"
	"fmt"
)

var (
	//go:embed messages.json
	messages []byte
	//go:embed aggregates.json
	aggregates []byte
	//go:embed answers.json
	answers []byte
	//go:embed compute.json
	compute []byte
)

// Definitions returns every schema by its name. They refer to each other by "#/$defs/<name>".
func Definitions() (map[string]json.RawMessage, error) {
	return read(messages, aggregates, answers, compute)
}

// CoreNode returns the schemas of what a core node takes and answers.
func CoreNode() (map[string]json.RawMessage, error) {
	return read(messages, answers)
}

func read(files ...[]byte) (map[string]json.RawMessage, error) {
	all := map[string]json.RawMessage{}
	for _, text := range files {
		if err := json.Unmarshal(text, &all); err != nil { // into the same map: names are unique, as a test checks
			return nil, fmt.Errorf("read the schemas: %w", err)
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
	}{"https://json-schema.org/draft/2020-12/schema", "Messages and aggregates of Aleph.im, and answers of its nodes", definitions}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the schemas: %w", err)
	}
	return append(raw, '\n'), nil
}

// Package object reads the signatures that are JSON objects in a text: those of Solana, Tezos, Substrate and Cosmos.
package object

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Object holds the members of a JSON object. It is a map, because a struct would match member names in any case.
type Object map[string]json.RawMessage

// Parse reads an object from its text.
func Parse(text string) (Object, error) {
	var o Object
	if err := json.Unmarshal([]byte(text), &o); err != nil || o == nil {
		return nil, errors.New("want a JSON object")
	}
	return o, nil
}

// Text returns the member with the given name, which must be a string.
func (o Object) Text(name string) (string, error) {
	var text *string
	if err := json.Unmarshal(o[name], &text); err != nil || text == nil {
		return "", fmt.Errorf("want a JSON object with a text %s", name)
	}
	return *text, nil
}

// TextOr is Text with a value for objects that lack the member. A member that is null is an error.
func (o Object) TextOr(name, absent string) (string, error) {
	if _, ok := o[name]; !ok {
		return absent, nil
	}
	return o.Text(name)
}

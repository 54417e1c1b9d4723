package trigger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
)

// subscription is a pattern for messages: it holds for those that have each of its members with an equal value. Objects are
// compared member by member in the same way, lists and plain values as a whole; null is as good as absent (spec/crn.md §3.8).
type subscription map[string]any

func parseSubscription(raw []byte) (subscription, error) {
	var s subscription
	if err := decodeNumbers(raw, &s); err != nil {
		return nil, fmt.Errorf("read a subscription: %w", err)
	}
	return s, nil
}

func (s subscription) holds(msg map[string]any) bool {
	for name, want := range s {
		got := msg[name]
		if pattern, ok := want.(map[string]any); ok {
			object, ok := got.(map[string]any)
			if !ok || !subscription(pattern).holds(object) {
				return false
			}
		} else if !equal(want, got) {
			return false
		}
	}
	return true
}

// equal compares JSON values. Numbers are equal when they have the same value: 1 and 1.0 are.
func equal(a, b any) bool {
	x, isNumber := a.(json.Number)
	y, both := b.(json.Number)
	if !isNumber || !both {
		return reflect.DeepEqual(a, b)
	}
	if x == y {
		return true
	}
	f, err := x.Float64()
	g, err2 := y.Float64()
	return err == nil && err2 == nil && f == g
}

// decodeNumbers decodes JSON and keeps the digits of numbers: large ones do not fit a float64.
func decodeNumbers(raw []byte, dst any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return d.Decode(dst)
}

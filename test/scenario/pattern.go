package scenario

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var inside = regexp.MustCompile(`\$\{(\w+)\}`)

// fill puts the values of variables into a value of the scenario.
func (r *runner) fill(value any) (any, error) {
	switch value := value.(type) {
	case string:
		return r.fillText(value)
	case []any:
		filled := make([]any, len(value))
		for i, item := range value {
			var err error
			if filled[i], err = r.fill(item); err != nil {
				return nil, err
			}
		}
		return filled, nil
	case map[string]any:
		filled := make(map[string]any, len(value))
		for name, item := range value {
			key := name
			if !isCondition(name) {
				text, err := r.fillText(name)
				if err != nil {
					return nil, err
				}
				key = fmt.Sprint(text)
			}
			var err error
			if filled[key], err = r.fill(item); err != nil {
				return nil, err
			}
		}
		return filled, nil
	}
	return value, nil
}

func (r *runner) fillText(text string) (any, error) {
	if name, ok := strings.CutPrefix(text, "$"); ok && !strings.HasPrefix(name, "{") {
		value, known := r.variables[name]
		if !known {
			return nil, fmt.Errorf("there is no variable %q", name)
		}
		return value, nil
	}
	var unknown error
	filled := inside.ReplaceAllStringFunc(text, func(match string) string {
		value, known := r.variables[match[2:len(match)-1]]
		if !known {
			unknown = fmt.Errorf("there is no variable %q", match)
		}
		return fmt.Sprint(value)
	})
	return filled, unknown
}

func isCondition(name string) bool {
	switch name {
	case "$above", "$contains", "$starts", "$ends", "$any":
		return true
	}
	return false
}

// holds judges a value by one of the patterns that are no values.
func holds(condition string, argument, got any) bool {
	text, _ := got.(string)
	switch condition {
	case "$above":
		number, isNumber := got.(float64)
		if !isNumber {
			var err error
			if number, err = strconv.ParseFloat(text, 64); err != nil {
				return false
			}
		}
		limit, ok := argument.(float64)
		return ok && number > limit
	case "$contains":
		list, _ := got.([]any)
		return slices.ContainsFunc(list, func(item any) bool { return fits(argument, item) == nil })
	case "$starts":
		start, ok := argument.(string)
		return ok && strings.HasPrefix(text, start)
	case "$ends":
		end, ok := argument.(string)
		return ok && strings.HasSuffix(text, end)
	}
	return got != nil // $any
}

// fits says what of a value is not as its pattern says, or nil.
func fits(pattern, got any) error {
	switch pattern := pattern.(type) {
	case map[string]any:
		for name, argument := range pattern {
			if isCondition(name) {
				if !holds(name, argument, got) {
					return fmt.Errorf("%v does not fit {%s: %v}", got, name, argument)
				}
				return nil
			}
		}
		object, ok := got.(map[string]any)
		if !ok {
			return fmt.Errorf("%v is not an object", got)
		}
		for name, p := range pattern {
			if err := fits(p, object[name]); err != nil { // an absent member is nil, as null is
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return nil
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) != len(pattern) {
			return fmt.Errorf("%v is not a list of %d", got, len(pattern))
		}
		for i, p := range pattern {
			if err := fits(p, list[i]); err != nil {
				return fmt.Errorf("[%d]: %w", i, err)
			}
		}
		return nil
	}
	if !reflect.DeepEqual(pattern, got) {
		return fmt.Errorf("%v, want %v", got, pattern)
	}
	return nil
}

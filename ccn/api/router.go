package api

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// router finds the handler of a path. Unlike a ServeMux it never redirects, splits a path before decoding it, lets a
// pattern have a suffix ("{address}.json"), and prefers the literal in the leftmost segment that differs.
type router struct {
	bySegments map[int][]*endpoint // most specific first
}

type endpoint struct {
	method   string
	segments []string
	handler  http.Handler
}

// add adds a pattern such as "GET /api/v0/price/{hash}". A GET is a HEAD too.
func (ro *router) add(pattern string, handler http.Handler) {
	method, path, _ := strings.Cut(pattern, " ")
	e := &endpoint{method, strings.Split(strings.TrimPrefix(path, "/"), "/"), handler}
	if ro.bySegments == nil {
		ro.bySegments = map[int][]*endpoint{}
	}
	n := len(e.segments)
	ro.bySegments[n] = append(ro.bySegments[n], e)
	slices.SortStableFunc(ro.bySegments[n], func(a, b *endpoint) int {
		for i := range a.segments {
			if d := breadth(a.segments[i]) - breadth(b.segments[i]); d != 0 {
				return d
			}
		}
		return 0
	})
}

// breadth tells how much a segment of a pattern matches: 0 a literal, 1 a parameter with a suffix, 2 any.
func breadth(segment string) int {
	switch {
	case !strings.HasPrefix(segment, "{"):
		return 0
	case !strings.HasSuffix(segment, "}"):
		return 1
	}
	return 2
}

// find returns the endpoint of a request and sets the parameters of its path. When only other methods are known there, it
// returns those.
func (ro *router) find(r *http.Request) (e *endpoint, allowed []string) {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	segments := strings.Split(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/")
	for _, e := range ro.bySegments[len(segments)] {
		if !e.matches(segments, func(string, string) {}) {
			continue
		}
		if e.method == method {
			e.matches(segments, r.SetPathValue)
			return e, nil
		}
		allowed = append(allowed, e.method)
	}
	return nil, allowed
}

func (e *endpoint) matches(segments []string, set func(name, value string)) bool {
	for i, want := range e.segments {
		if breadth(want) == 0 {
			if segments[i] != want {
				return false
			}
			continue
		}
		name, suffix, _ := strings.Cut(want[1:], "}")
		value, ok := strings.CutSuffix(segments[i], suffix)
		if !ok || value == "" {
			return false
		}
		text, err := url.PathUnescape(value)
		if err != nil {
			return false
		}
		set(name, text)
	}
	return true
}

// allow writes the methods of a path as its Allow header has them.
func allow(methods []string) string {
	list := []string{http.MethodOptions}
	for _, m := range methods {
		list = append(list, m)
		if m == http.MethodGet {
			list = append(list, http.MethodHead)
		}
	}
	slices.Sort(list)
	return strings.Join(slices.Compact(list), ",")
}

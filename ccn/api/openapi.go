package api

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	schemas "github.com/aleph-im/aleph-go/schema"
)

// What is written by hand of the description: what each operation is for and what it answers. How answers look says package schema.
//
//go:embed openapi.json
var openapiText []byte

// explained is openapi.json.
type explained struct {
	Info       map[string]string    `json:"info"`
	Tags       map[string]string    `json:"tags"`
	Parameters map[string]string    `json:"parameters"` // by name
	Operations map[string]operation `json:"operations"` // by pattern
}

// operation is what is said of a route. Bodies and answers are names of schemas, or of one of media.
type operation struct {
	Tag     string            `json:"tag"`
	Summary string            `json:"summary"`
	Body    map[string]string `json:"body"`    // by media type
	Answers map[string]oneOf  `json:"answers"` // by status
	Frames  string            `json:"frames"`  // of a WebSocket
}

// oneOf is one name, or a list of them.
type oneOf []string

func (o *oneOf) UnmarshalJSON(raw []byte) error {
	var one string
	if err := json.Unmarshal(raw, &one); err == nil {
		*o = oneOf{one}
		return nil
	}
	return json.Unmarshal(raw, (*[]string)(o))
}

// media are the answers that are not JSON.
var media = map[string]string{
	"text": "text/plain", "html": "text/html", "bytes": "application/octet-stream", "tar": "application/x-tar",
}

func refer(name string) schema { return schema{"$ref": "#/components/schemas/" + name} }

// content describes a body that is one of names.
func content(names []string) schema {
	types := schema{}
	for _, name := range names {
		if kind, ok := media[name]; ok {
			types[kind] = schema{"schema": schema{"type": "string"}}
		} else if name != "" {
			types["application/json"] = schema{"schema": refer(name)}
		}
	}
	return types
}

// describe makes the OpenAPI description of routes: paths and parameters from the routes themselves, the rest from what
// is written by hand.
func describe(list routes, version string) (schema, error) {
	var e explained
	if err := json.Unmarshal(openapiText, &e); err != nil {
		return nil, fmt.Errorf("openapi.json: %w", err)
	}
	paths := map[string]schema{}
	for pattern, h := range list {
		method, path, _ := strings.Cut(pattern, " ")
		if paths[path] == nil {
			paths[path] = schema{}
		}
		o, err := e.describe(pattern, h)
		if err != nil {
			return nil, fmt.Errorf("describe %s: %w", pattern, err)
		}
		paths[path][strings.ToLower(method)] = o
	}
	defined, err := components()
	if err != nil {
		return nil, err
	}
	info := maps.Clone(e.Info)
	info["version"] = version
	var tags []map[string]string
	for _, name := range slices.Sorted(maps.Keys(e.Tags)) {
		tags = append(tags, map[string]string{"name": name, "description": e.Tags[name]})
	}
	return schema{
		"openapi": "3.1.0", "info": info, "tags": tags, "paths": paths,
		"components": schema{"schemas": defined},
	}, nil
}

// components returns all schemas of a core node, which refer to each other at their place in an OpenAPI description.
func components() (map[string]json.RawMessage, error) {
	all, err := schemas.CoreNode()
	if err != nil {
		return nil, err
	}
	for name, text := range all {
		all[name] = bytes.ReplaceAll(text, []byte(`"#/$defs/`), []byte(`"#/components/schemas/`))
	}
	return all, nil
}

func (e *explained) describe(pattern string, h handler) (schema, error) {
	o := e.Operations[pattern]
	answers := schema{"default": schema{"description": "What went wrong", "content": content([]string{"text"})}}
	for status, names := range o.Answers {
		code, err := strconv.Atoi(status)
		if err != nil {
			return nil, err
		}
		answer := schema{"description": http.StatusText(code)}
		if c := content(names); len(c) > 0 {
			answer["content"] = c
		}
		answers[status] = answer
	}
	described := schema{"summary": o.Summary, "tags": []string{o.Tag}, "responses": answers}
	list, err := e.parameters(pattern, h)
	if err != nil {
		return nil, err
	}
	if len(list) > 0 {
		described["parameters"] = list
	}
	if len(o.Body) > 0 {
		body := schema{}
		for kind, name := range o.Body {
			body[kind] = schema{}
			if name != "" {
				body[kind] = schema{"schema": refer(name)}
			}
		}
		described["requestBody"] = schema{"required": true, "content": body}
	}
	if o.Frames != "" {
		described["x-frame"] = refer(o.Frames)
	}
	return described, nil
}

// parameters describes those of the path, which the pattern names, and those of the query, which the handler reads.
func (e *explained) parameters(pattern string, h handler) ([]schema, error) {
	var list []schema
	for _, segment := range strings.Split(pattern, "/") {
		name, _, isParameter := strings.Cut(strings.TrimPrefix(segment, "{"), "}")
		if !isParameter {
			continue
		}
		s := schema{"type": "string"}
		if name == "page" {
			s = schema{"type": "integer", "minimum": 1}
		}
		list = append(list, schema{"name": name, "in": "path", "required": true, "description": e.Parameters[name], "schema": s})
	}
	if l, ok := h.(long); ok {
		h = l.handler
	}
	q, ok := h.(query)
	if !ok {
		return list, nil
	}
	read, err := readBy(q)
	if err != nil {
		return nil, err
	}
	for _, p := range read {
		about := e.Parameters[p.names[0]]
		if len(p.names) > 1 {
			about += "; also " + strings.Join(p.names[1:], ", ")
		}
		described := schema{"name": p.names[0], "in": "query", "description": about, "schema": p.schema}
		if p.schema["type"] == "array" {
			described["explode"] = p.repeated
		}
		list = append(list, described)
	}
	return list, nil
}

// errAsked ends a handler that was only asked for its parameters.
var errAsked = errors.New("the parameters were read")

// readBy returns the parameters that a handler reads.
func readBy(h query) ([]parameter, error) {
	var told []parameter
	if err := h(nil, &http.Request{}, &arguments{err: errAsked, told: &told}); !errors.Is(err, errAsked) {
		return nil, fmt.Errorf("the handler goes on after reading its parameters: %w", err)
	}
	return told, nil
}

func (a *API) descriptionRoutes() routes {
	return routes{
		"GET /api/openapi.json":      plain(a.getDescription),
		"GET /api/docs/swagger.json": plain(a.getDescription),
		"GET /api/docs":              plain(toDocs),
		"GET /api/docs/":             plain(a.getDocs),
	}
}

func (a *API) getDescription(w http.ResponseWriter, r *http.Request) error {
	description, err := a.description()
	if err != nil {
		return err
	}
	raw, err := json.Marshal(description)
	if err != nil {
		return fmt.Errorf("encode the description: %w", err)
	}
	return replyCompressed(w, r, raw)
}

// toDocs sends the browser on with a slash, as the reference does (ccn-api §15).
func toDocs(w http.ResponseWriter, r *http.Request) error {
	http.Redirect(w, r, "/api/docs/", http.StatusMovedPermanently)
	return nil
}

var docsPage = template.Must(template.New("docs").Parse(strings.TrimSpace(`
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{{.info.title}}: API</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em }
code, summary b { font-family: ui-monospace, monospace } summary span { text-transform: uppercase }
dl { margin: .5em 0 1em 1.5em } dt { float: left; clear: left; margin-right: 1em } dd { margin-left: 14em }
</style>
<h1>{{.info.title}} {{.info.version}}</h1>
<p>{{.info.description}}</p>
<p><a href="/api/openapi.json">OpenAPI description</a></p>
{{range $tag := .tags}}
<h2>{{$tag.description}}</h2>
{{range $path, $methods := $.paths}}{{range $method, $o := $methods}}{{if eq (index $o.tags 0) $tag.name}}
<details><summary><b><span>{{$method}}</span> {{$path}}</b> {{$o.summary}}</summary>
<dl>{{range $o.parameters}}<dt><code>{{.name}}</code></dt><dd>{{.description}}{{with .schema.enum}}: {{.}}{{end}}</dd>
{{end}}{{range $status, $answer := $o.responses}}<dt>{{$status}}</dt><dd>{{$answer.description}}</dd>
{{end}}</dl></details>
{{end}}{{end}}{{end}}{{end}}
</html>
`)))

// getDocs shows the description to who has only a browser; the page needs nothing from elsewhere.
func (a *API) getDocs(w http.ResponseWriter, _ *http.Request) error {
	description, err := a.description()
	if err != nil {
		return err
	}
	var page bytes.Buffer
	if err := docsPage.Execute(&page, description); err != nil {
		return fmt.Errorf("write the page of the description: %w", err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(page.Bytes()) // a client that is gone needs no answer
	return nil
}

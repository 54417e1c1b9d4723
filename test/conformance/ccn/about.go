package ccn

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

var parameter = regexp.MustCompile(`\{[^}]*\}`)

var aboutChecks = []check{
	{"§12 channels, addresses, version", func(c *client) {
		c.published(c.post("note", "", 1))
		channels := c.get("/api/v0/channels/list.json").want(200).object()
		c.shape("channels", channels, "channels:list")
		list, _ := channels["channels"].([]any)
		if !slices.Contains(list, any("CONFORMANCE")) {
			c.Errorf("%v", list)
		}
		c.shape("info", c.get("/api/v0/info/public.json").want(200).object(), "node_multi_addresses:list")
		for _, path := range []string{"/version", "/api/v0/version"} {
			c.shape(path, c.get(path).want(200).object(), "version:text")
		}
	}},
	{"§12.4 programs that messages start are listed", func(c *client) {
		rich := c.rich()
		_, file := rich.stored("program "+c.address(), nil)
		on := map[string]any{"http": false, "message": []any{map[string]any{"sender": c.address()}}}
		hash := rich.published(rich.build("PROGRAM", program(file, file, on)))
		silent := rich.published(rich.build("PROGRAM", program(file, file, map[string]any{"http": true})))
		for _, query := range []string{"", "?sort_order=1"} {
			list, _ := c.get("/api/v0/programs/on/message" + query).want(200).value().([]any)
			i := slices.IndexFunc(list, func(v any) bool { return object(v.(map[string]any)).text("item_hash") == hash })
			if i < 0 {
				c.Fatalf("%q: %v", query, list)
			}
			p := object(list[i].(map[string]any))
			c.shape("the program", p, "item_hash:hash content:object")
			if p.object("content").members() != "on" || p.object("content").object("on").members() != "message" {
				c.Errorf("%v", p)
			}
			if strings.Contains(fmt.Sprint(list), silent) {
				c.Error("a program that no message starts is listed")
			}
		}
		rich.published(rich.forget(hash, silent))
	}},
	{"§18.36 unknown parameters of programs are refused with a text that holds the problems", func(c *client) {
		c.get("/api/v0/programs/on/message").want(200)
		a := c.get("/api/v0/programs/on/message?page=1").want(400)
		text, _ := a.value().(string)
		v, err := decode([]byte(text))
		if list, ok := v.([]any); err != nil || !ok || len(list) != 1 {
			c.Errorf("%s", a.body)
		}
	}},
	{"§15 the node describes its routes", func(c *client) {
		if c.get("/api/docs/swagger.json").status == 404 {
			c.Skip("the node has no description of its API")
		}
		c.get("/api/docs").want(301).headers("Location=/api/docs/")
		c.get("/api/docs/").want(200)
		paths := c.get("/api/docs/swagger.json").want(200).object().object("paths")
		described := map[string]bool{}
		for path, item := range paths {
			for method := range item.(map[string]any) {
				described[strings.ToUpper(method)+parameter.ReplaceAllString(path, "{}")] = true
			}
		}
		for _, route := range routes {
			if !strings.HasPrefix(route, "HEAD") && !described[parameter.ReplaceAllString(route, "{}")] {
				c.Errorf("%s is not described", route)
			}
		}
	}},
	{"§15 the node has a page", func(c *client) {
		if a := c.get("/").want(200); !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") || !strings.Contains(string(a.body), "<") {
			c.Errorf("%v", a.header)
		}
	}},
}

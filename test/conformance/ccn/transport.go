package ccn

var transportChecks = []check{
	{"§20.20 CORS: answers of known routes, errors among them, may be read by any origin", func(c *client) {
		for path, status := range map[string]int{
			"/api/v0/messages/nonsense": 400, "/api/v0/messages/" + unknown: 404, "/version": 200,
			"/api/v0/messages.json?pagination=-1": 422, "/api/v0/storage/raw/x": 400,
		} {
			a := c.do("GET", path, nil, "Origin", "https://x").want(status)
			a.headers("Access-Control-Allow-Origin=https://x", "Access-Control-Allow-Credentials=")
			if a.header.Get("Access-Control-Expose-Headers") == "" {
				c.Errorf("%s: no header may be read: %v", path, a.header)
			}
			c.get(path).headers("Access-Control-Allow-Origin=")
		}
		c.do("GET", "/nothing", nil, "Origin", "https://x").want(404, "404: Not Found").headers("Access-Control-Allow-Origin=")
	}},
	{"§20.20 CORS: preflights of known routes succeed for any header", func(c *client) {
		for path, method := range map[string]string{"/api/v0/messages": "POST", "/version": "HEAD", "/api/v0/storage/add_file": "GET"} {
			c.do("OPTIONS", path, nil, "Origin", "https://x", "Access-Control-Request-Method", method,
				"Access-Control-Request-Headers", "content-type,x-other").want(200, "").
				headers("Access-Control-Allow-Headers=CONTENT-TYPE,X-OTHER", "Access-Control-Allow-Methods="+method, "Access-Control-Allow-Origin=https://x")
		}
		c.do("OPTIONS", "/version", nil, "Origin", "https://x", "Access-Control-Request-Method", "PUT").
			want(403, "CORS preflight request failed: request method 'PUT' is not allowed for 'https://x' origin")
		c.do("OPTIONS", "/version", nil).want(403, "CORS preflight request failed: origin header is not specified in the request")
	}},
	{"§1.1 other methods are 405, HEAD is GET without a body, slashes count", func(c *client) {
		c.get("/api/v0/messages").want(405, "405: Method Not Allowed").headers("Allow=OPTIONS,POST")
		c.do("DELETE", "/version", nil).want(405, "405: Method Not Allowed").headers("Allow=GET,HEAD,OPTIONS")
		for _, path := range []string{"/version", "/api/v0/messages.json", "/api/v0/posts.json", "/metrics.json"} {
			c.do("HEAD", path, nil).want(200, "")
		}
		for _, path := range []string{"/api/v0/messages.json/", "//version", "/api/v0/posts", "/api/v1/messages.json"} {
			c.get(path).want(404, "404: Not Found")
		}
	}},
	{"§1.1 an escaped slash stays inside its segment", func(c *client) {
		if got := c.get("/api/v0/addresses/a%2Fb/balance").want(200).object().text("address"); got != "a/b" {
			c.Errorf("address: %q", got)
		}
	}},
	{"§1.3 lists that compress do so on request", func(c *client) {
		for _, path := range []string{"/api/v0/posts.json", "/api/v1/posts.json", "/api/v0/channels/list.json"} {
			plain := c.do("GET", path, nil, "Accept-Encoding", "identity").want(200)
			if plain.header.Get("Content-Encoding") != "" {
				c.Errorf("%s: %v", path, plain.header)
			}
			if got := c.do("GET", path, nil, "Accept-Encoding", "gzip").want(200).header.Get("Content-Encoding"); got != "gzip" {
				c.Errorf("%s: Content-Encoding %q", path, got)
			}
		}
	}},
	{"§18.24 errors are text, those of aggregates and authorizations JSON", func(c *client) {
		for path, kind := range map[string]string{
			"/api/v0/messages.json?pagination=-1":                     "text/plain; charset=utf-8",
			"/api/v0/messages/nonsense":                               "text/plain; charset=utf-8",
			"/api/v0/aggregates.json?pagination=0":                    "application/json; charset=utf-8",
			"/api/v0/authorizations/granted/0x1.json?pagination=0":    "application/json; charset=utf-8",
			"/api/v0/authorizations/received/0x1.json?pagination=501": "application/json; charset=utf-8",
		} {
			if got := c.get(path).header.Get("Content-Type"); got != kind {
				c.Errorf("%s: %q, want %q", path, got, kind)
			}
		}
	}},
}

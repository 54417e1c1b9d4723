package ccn

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

const (
	accepted  = `{"publication_status":{"status":"success","failed":[]},"message_status":"pending"}`
	processed = `{"publication_status":{"status":"success","failed":[]},"message_status":"processed"}`
	rejected  = `{"publication_status":{"status":"success","failed":[]},"message_status":"rejected"}`
)

// forged is a message whose signature is not that of its sender.
func forged(m signed) signed {
	return signed{m.hash, bytes.Replace(m.envelope, []byte(`"signature":"0x`), []byte(`"signature":"0x00`), 1)}
}

var publishChecks = []check{
	{"§20.5 a message is accepted with 202 and known at once", func(c *client) {
		m := c.post("note", "", 1)
		c.publish(m, false).wantJSON(202, accepted)
		if got := c.get("/api/v0/messages/" + m.hash + "/status").want(200).object().text("status"); got != "pending" && got != "processed" {
			c.Errorf("status %s", got)
		}
		c.within(20*time.Second, "processed", func() bool {
			return c.get("/api/v0/messages/"+m.hash+"/status").object().text("status") == "processed"
		})
	}},
	{"§20.5 with sync a right message is answered with 200 once it is processed", func(c *client) {
		m := c.post("note", "", 1)
		c.publish(m, true).wantJSON(200, processed)
		if got := c.get("/api/v0/messages.json?hashes=" + m.hash).want(200).list("messages"); len(got) != 1 {
			c.Errorf("listed: %v", got)
		}
	}},
	{"§20.5 with sync a refused message is answered with 422 JSON and shown as rejected at once", func(c *client) {
		m := forged(c.post("note", "", 1))
		got := c.publish(m, true).wantJSON(422, rejected)
		if kind := got.header.Get("Content-Type"); !strings.HasPrefix(kind, "application/json") {
			c.Errorf("Content-Type %q", kind)
		}
		if got := c.get("/api/v0/messages/" + m.hash).want(200).object(); got.text("status") != "rejected" || got.number("error_code") != "1" {
			c.Errorf("%v", got)
		}
	}},
	{"§20.5 with sync a message that waits for another is answered with 202", func(c *client) {
		c.publish(c.post("amend", strings.Repeat("0", 63)+"1", 1), true).wantJSON(202, accepted)
	}},
	{"§20.5 malformed messages are answered with 422", func(c *client) {
		publish := func(body string) answer { c.Helper(); return c.postJSON("/api/v0/messages", body) }
		m := string(c.post("note", "", 1).envelope)
		for _, wrong := range []string{
			`{"type":"NOTE"}`, `{}`, strings.Replace(m, `"chain":"ETH"`, `"chain":"BTC"`, 1), strings.Replace(m, `"type":"POST"`, `"type":"NOTE"`, 1),
			strings.Replace(m, `\"type\":\"note\"`, `\"type\":\"other\"`, 1), strings.Replace(m, `"item_type":"inline"`, `"item_type":"storage"`, 1),
			strings.Replace(m, `"signature":"`, `"signature":{},"s":"`, 1), strings.Replace(m, `"time":`, `"time":null,"t":`, 1),
			strings.Replace(m, `"item_content":"`, `"item_content":7,"i":"`, 1), strings.Replace(m, `"sender":"`, `"s":"`, 1),
		} {
			if wrong == m {
				c.Fatal("the message was not changed")
			}
			publish(`{"message":`+wrong+`,"sync":true}`).want(422, "InvalidMessageFormat")
		}
		publish("{").want(422, "422: Unprocessable Entity")
		publish("").want(422)
		publish("[]").problems()
		publish(`{"sync":true}`).problems()
		publish(`{"message":[]}`).problems()
		publish(`{"message":` + m + `,"sync":"perhaps"}`).problems()
		publish(strings.Repeat(" ", 1<<20+1)).want(413, "Maximum request body size 1048576 exceeded.")
	}},
	{"§1.4 the content type of a body does not matter", func(c *client) {
		m := c.post("note", "", 1)
		c.do("POST", "/api/v0/messages", fmt.Appendf(nil, `{"message":%s,"sync":true}`, m.envelope), "Content-Type", "text/plain").wantJSON(200, processed)
	}},
	{"§20.6 a message may be published twice, in either way", func(c *client) {
		m := c.post("note", "", "twice")
		c.publish(m, true).wantJSON(200, processed)
		c.publish(m, true).wantJSON(200, processed)
		c.publish(m, false).wantJSON(202, accepted)
		if got := c.get("/api/v0/messages.json?hashes=" + m.hash).want(200); len(got.list("messages")) != 1 {
			c.Errorf("%s", got.body)
		}
		waits := c.post("amend", strings.Repeat("0", 63)+"2", 1)
		c.publish(waits, true).wantJSON(202, accepted)
		c.publish(waits, true).wantJSON(202, accepted)
	}},
	{"§4.1 a bad copy of a message keeps the good one neither out nor away", func(c *client) {
		m := c.post("note", "", 1)
		c.publish(forged(m), true).wantJSON(422, rejected)
		c.publish(m, true).wantJSON(200, processed)
		c.publish(forged(m), true).want(422)
		if got := c.get("/api/v0/messages/" + m.hash).want(200).object().text("status"); got != "processed" {
			c.Errorf("status %s", got)
		}
	}},
	{"§4.2 messages are taken by the legacy routes", func(c *client) {
		topic := c.target.Network.MessageTopic
		send := func(route string, topic string, data any) answer {
			c.Helper()
			body, err := json.Marshal(map[string]any{"topic": topic, "data": data})
			if err != nil {
				c.Fatal(err)
			}
			return c.postJSON("/api/v0/"+route+"/pubsub/pub", string(body))
		}
		for _, route := range []string{"p2p", "ipfs"} {
			m := c.post("note", "", "legacy "+route)
			send(route, topic, string(m.envelope)).wantJSON(200, `{"status":"success","failed":[]}`)
			c.within(20*time.Second, "processed", func() bool {
				return c.get("/api/v0/messages/"+m.hash+"/status").object().text("status") == "processed"
			})
			send(route, "X", string(m.envelope)).want(403, "403: Unauthorized P2P topic: X. Use "+topic+".")
			send(route, topic, map[string]any{}).want(422, "422: 'data': expected a serialized JSON string.")
			send(route, topic, "{").want(422, "422: 'data': must be deserializable as JSON.")
			send(route, topic, "{}").want(422, "InvalidMessageFormat")
			c.postJSON("/api/v0/"+route+"/pubsub/pub", "{").want(422)
		}
	}},
}

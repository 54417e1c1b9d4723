package ccn

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/coder/websocket"
)

func members(m map[string]any) string { return strings.Join(slices.Sorted(maps.Keys(m)), " ") }

const listed = "chain channel confirmations confirmed content item_content item_hash item_type sender signature size time type"

var messageChecks = []check{
	{"§20.1 members of messages are exact", func(c *client) {
		hash := c.published(c.post("note", "", map[string]int{"n": 1}))
		list := c.get("/api/v0/messages.json?hashes=" + hash).want(200).list("messages")
		if len(list) != 1 || members(list[0]) != listed {
			c.Fatalf("in a list: %v", list)
		}
		single := c.get("/api/v0/messages/" + hash).want(200).object()["message"].(map[string]any)
		if got := members(single); got != strings.Replace(listed, "size ", "", 1) {
			c.Errorf("single: %s", got)
		}
	}},
	{"§20.2 terminal statuses stand alone", func(c *client) {
		c.get("/api/v0/messages.json?msgStatuses=forgotten,processed").want(400, "msgStatuses=forgotten/removed cannot be combined with other statuses")
		c.get("/api/v0/messages.json?msgStatuses=removed&cursor=").want(400, "Cursor pagination is not supported for removed message queries")
		c.get("/api/v0/messages.json?msgStatuses=forgotten&tags=a&refs=b").want(400, "Filters not supported for forgotten message queries: refs, tags")
		c.get("/api/v0/messages.json?msgStatuses=pending").want(200)
	}},
	{"§20.4 a cursor walk has no duplicate and no gap", func(c *client) {
		for i := range 4 {
			c.published(c.post("walk", "", map[string]int{"n": i}))
		}
		seen, cursor := map[string]bool{}, ""
		for range 10 {
			page := c.get("/api/v0/messages.json?pagination=1&addresses=" + c.account.Address() + "&cursor=" + cursor).want(200)
			for _, m := range page.list("messages") {
				seen[m["item_hash"].(string)] = true
			}
			next, present := page.object()["next_cursor"]
			if !present {
				c.Fatal("next_cursor is absent")
			}
			if next == nil {
				break
			}
			cursor = next.(string)
		}
		if len(seen) != 4 {
			c.Errorf("%d of 4 messages", len(seen))
		}
	}},
	{"§20.5 answers to publishing", func(c *client) {
		c.publish(c.post("note", "", 1), false).want(202, `{"publication_status":{"status":"success","failed":[]},"message_status":"pending"}`)
		c.publish(c.post("note", "", 2), true).want(200, `{"publication_status":{"status":"success","failed":[]},"message_status":"processed"}`)
		forged := bytes.Replace(c.post("note", "", 3), []byte(`"signature":"0x`), []byte(`"signature":"0x00`), 1)
		c.publish(forged, true).want(422)
		if got := c.get("/api/v0/messages/" + c.hash(forged)).want(200).object(); got["status"] != "rejected" || got["error_code"] != 1.0 {
			c.Errorf("the forged message: %v", got)
		}
		c.publish([]byte(`{"type":"NOTE"}`), true).want(422, "InvalidMessageFormat")
		c.do("POST", "/api/v0/messages", []byte("{")).want(422, "422: Unprocessable Entity")
		c.do("POST", "/api/v0/messages", bytes.Repeat([]byte(" "), 1<<20+1)).want(413, "Maximum request body size 1048576 exceeded.")
	}},
	{"§20.6 a message may be published twice", func(c *client) {
		envelope := c.post("note", "", "twice")
		c.published(envelope)
		c.published(envelope)
	}},
	{"§20.7 snake case names and numbers above 32 bits", func(c *client) {
		c.get("/api/v0/messages.json?sort_order=1&sort_by=tx-time&message_statuses=processed&pagination=10000000000&addresses=" + c.account.Address()).want(200)
	}},
	{"§20.18 numbers survive", func(c *client) {
		exact := `{"big":123456789012345678901234567890,"fine":0.1234567890123456789,"whole":1.0}`
		hash := c.published(c.post("numbers", "", json.RawMessage(exact)))
		for _, path := range []string{"/api/v0/messages.json?hashes=" + hash, "/api/v0/messages/" + hash, "/api/v0/posts.json?hashes=" + hash, "/api/v0/messages/" + hash + "/content"} {
			if got := c.get(path).want(200); !bytes.Contains(got.body, []byte(exact)) {
				c.Errorf("%s changed the numbers: %s", path, got.body)
			}
		}
	}},
	{"§1.6 values that make no sense are refused", func(c *client) {
		for _, query := range []string{"sortOrder=2", "startDate=nan", "startDate=1e300", "pagination=-1", "page=0", "chains=eth", "msgTypes=post", "hashes=", "excludeContent=maybe", "startDate=5&endDate=4"} {
			got := c.get("/api/v0/messages.json?" + query).want(422)
			var list []map[string]any
			if json.Unmarshal(got.body, &list) != nil || len(list) == 0 || list[0]["type"] == nil || list[0]["loc"] == nil {
				c.Errorf("%s: %s", query, got.body)
			}
		}
		c.get("/api/v0/messages.json?cursor=&pagination=0").want(422, "pagination=0 is not allowed with cursor-based pagination")
		c.get("/api/v0/messages/page/abc.json").want(400, "Invalid page value in path: abc")
		c.get("/api/v0/messages/page/0.json").want(422, "Page number must be greater than 1.")
		c.get("/api/v0/messages/page/1.json?pagination=1").want(200)
	}},
	{"§1.6 filters", func(c *client) {
		hash := c.published(c.post("filtered", "a-ref", map[string]any{"tags": []string{"t1" + c.account.Address()}}))
		for _, query := range []string{"addresses=" + c.account.Address(), "owners=" + c.account.Address(), "refs=a-ref&addresses=" + c.account.Address(), "tags=t1" + c.account.Address() + ",other", "hashes=" + hash, "contentTypes=filtered,x&addresses=" + c.account.Address()} {
			if list := c.get("/api/v0/messages.json?" + query).want(200).list("messages"); len(list) != 1 {
				c.Errorf("%s: %d messages", query, len(list))
			}
		}
		for _, query := range []string{"addresses=", "addresses=" + strings.ToLower(c.account.Address()), "owners=nobody"} {
			if list := c.get("/api/v0/messages.json?" + query).want(200).list("messages"); len(list) != 0 {
				c.Errorf("%s: %d messages", query, len(list))
			}
		}
	}},
	{"§3.3–3.6 hashes, status, content", func(c *client) {
		hash := c.published(c.post("note", "", map[string]string{"body": "x"}))
		c.get("/api/v0/messages/"+hash+"/content").want(200, `{"body":"x"}`)
		if got := c.get("/api/v0/messages/" + hash + "/status").want(200).object(); members(got) != "item_hash reception_time status" {
			c.Errorf("%v", got)
		}
		c.get("/api/v0/messages/nonsense").want(400, "Invalid message hash: nonsense")
		c.get("/api/v0/messages/"+strings.Repeat("0", 64)).want(404, "404: Not Found")
		if got := c.get("/api/v0/messages/hashes?pagination=1").want(200).object(); got["pagination_item"] != "hashes" {
			c.Errorf("%v", got)
		}
		c.get("/api/v0/messages/hashes?hash_only=false").want(200)
	}},
	{"§4.2 legacy publishing", func(c *client) {
		data, _ := json.Marshal(string(c.post("note", "", "legacy")))
		topic, _ := json.Marshal(c.target.Topic)
		c.do("POST", "/api/v0/p2p/pubsub/pub", fmt.Appendf(nil, `{"topic":%s,"data":%s}`, topic, data)).want(200, `{"status":"success","failed":[]}`)
		c.do("POST", "/api/v0/ipfs/pubsub/pub", fmt.Appendf(nil, `{"topic":"X","data":%s}`, data)).want(403, "403: Unauthorized P2P topic: X. Use "+c.target.Topic+".")
		c.do("POST", "/api/v0/p2p/pubsub/pub", fmt.Appendf(nil, `{"topic":%s,"data":{}}`, topic)).want(422, "422: 'data': expected a serialized JSON string.")
		c.do("POST", "/api/v0/p2p/pubsub/pub", fmt.Appendf(nil, `{"topic":%s,"data":"{"}`, topic)).want(422, "422: 'data': must be deserializable as JSON.")
	}},
}

var postChecks = []check{
	{"§20.8 an amended post", func(c *client) {
		original := c.published(c.post("kind", "", map[string]int{"v": 1}))
		amend := c.published(c.post("amend", original, map[string]int{"v": 2}))
		list := c.get("/api/v0/posts.json?hashes=" + original).want(200).list("posts")
		want := "address chain channel confirmations confirmed content hash item_content item_hash item_type original_item_hash original_signature original_type ref sender signature size time type"
		if len(list) != 1 || members(list[0]) != want {
			c.Fatalf("%v", list)
		}
		p := list[0]
		if p["item_hash"] != amend || p["hash"] != original || p["type"] != "amend" || p["original_type"] != "kind" || p["sender"] != c.account.Address() {
			c.Errorf("%v", p)
		}
		v1 := c.get("/api/v1/posts.json?hashes=" + original).want(200).list("posts")
		if len(v1) != 1 || members(v1[0]) != "address channel content created item_hash last_updated original_item_hash original_type ref" {
			c.Errorf("%v", v1)
		}
		if list := c.get("/api/v0/posts.json?types=amend&addresses=" + c.account.Address()).want(200).list("posts"); len(list) != 0 {
			c.Error("an amendment is listed on its own")
		}
		c.get("/api/v0/posts").want(404)
	}},
}

var aggregateChecks = []check{
	{"§20.9 aggregates", func(c *client) {
		c.get("/api/v0/aggregates/"+c.account.Address()+".json").want(404, "No aggregate found for this address")
		c.published(c.aggregate("k", map[string]int{"a": 1}))
		path := "/api/v0/aggregates/" + c.account.Address() + ".json"
		c.get(path+"?keys=missing").want(404, "No aggregate found for this address")
		c.get(path+"?keys=k").want(200, `{"address":"`+c.account.Address()+`","data":{"k":{"a":1}},"info":{}}`)
		c.get(path+"?keys=k&value_only=true").want(200, `{"a":1}`)
		c.get(path + "?limit=x").want(422)
		info := c.get(path + "?with_info=true").want(200).object()["info"].(map[string]any)["k"].(map[string]any)
		if members(info) != "created last_update_item_hash last_updated original_item_hash" {
			c.Errorf("%v", info)
		}
		list := c.get("/api/v0/aggregates?addresses=" + c.account.Address()).want(200).list("aggregates")
		if len(list) != 1 || members(list[0]) != "address content created key last_updated" {
			c.Errorf("%v", list)
		}
		c.get("/api/v0/aggregates.json?pagination=0").want(422)
	}},
	{"§7 authorizations", func(c *client) {
		c.published(c.aggregate("security", map[string]any{"authorizations": []any{map[string]any{"address": "0xG1", "types": []string{"POST"}}, map[string]any{"address": "0xG2", "chain": "ETH"}}}))
		own := c.account.Address()
		c.get("/api/v0/authorizations/granted/"+own+".json?types=AGGREGATE").want(200, `{"authorizations":{"0xG2":[{"chain":"ETH"}]},"address":"`+own+`","pagination_item":"authorizations","pagination_page":1,"pagination_per_page":20,"pagination_total":1}`)
		got := c.get("/api/v0/authorizations/received/0xG1.json?granter=" + own).want(200).object()
		if len(got["authorizations"].(map[string]any)) != 1 {
			c.Errorf("%v", got)
		}
		c.get("/api/v0/authorizations/granted/0xnobody.json").want(200)
	}},
}

var transportChecks = []check{
	{"§20.20 CORS", func(c *client) {
		for _, path := range []string{"/api/v0/messages/nonsense", "/api/v0/messages/" + strings.Repeat("0", 64), "/version"} {
			if got := c.do("GET", path, nil, "Origin", "https://x").header.Get("Access-Control-Allow-Origin"); got != "https://x" {
				c.Errorf("%s: %q", path, got)
			}
		}
		got := c.do("OPTIONS", "/api/v0/messages", nil, "Origin", "https://x", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type").want(200, "")
		if got.header.Get("Access-Control-Allow-Headers") != "CONTENT-TYPE" || got.header.Get("Access-Control-Allow-Methods") != "POST" {
			c.Errorf("%v", got.header)
		}
		c.do("OPTIONS", "/version", nil, "Origin", "https://x", "Access-Control-Request-Method", "PUT").want(403, "CORS preflight request failed: request method 'PUT' is not allowed for 'https://x' origin")
		c.do("OPTIONS", "/version", nil).want(403, "CORS preflight request failed: origin header is not specified in the request")
		if c.do("GET", "/nothing", nil, "Origin", "https://x").want(404, "404: Not Found").header.Get("Access-Control-Allow-Origin") != "" {
			c.Error("an unknown path has CORS headers")
		}
	}},
	{"§1.1 methods and paths", func(c *client) {
		if got := c.get("/api/v0/messages").want(405, "405: Method Not Allowed").header.Get("Allow"); got != "OPTIONS,POST" {
			c.Errorf("Allow: %s", got)
		}
		if got := c.do("DELETE", "/version", nil).want(405, "405: Method Not Allowed").header.Get("Allow"); got != "GET,HEAD,OPTIONS" {
			c.Errorf("Allow: %s", got)
		}
		c.do("HEAD", "/version", nil).want(200, "")
		c.get("/api/v0/messages.json/").want(404, "404: Not Found")
	}},
	{"§12 small endpoints", func(c *client) {
		c.published(c.post("note", "", "channel"))
		if got := c.get("/api/v0/channels/list.json").want(200); !bytes.Contains(got.body, []byte(`"CONFORMANCE"`)) {
			c.Errorf("%s", got.body)
		}
		c.get("/api/v0/info/public.json").want(200)
		c.get("/api/v0/version").want(200)
		c.get("/api/v0/programs/on/message?sort_order=1").want(200)
		c.get("/api/v0/programs/on/message?page=1").want(400)
		c.get("/").want(200)
	}},
}

var socketChecks = []check{
	{"§20.19 history, oldest first, then live", func(c *client) {
		first, second := c.published(c.post("ws", "", 1)), c.published(c.post("ws", "", 2))
		url := "ws" + strings.TrimPrefix(c.target.URL, "http") + "/api/ws0/messages?addresses=" + c.account.Address()
		conn, _, err := websocket.Dial(c.Context(), url, nil)
		if err != nil {
			c.Fatal(err)
		}
		defer conn.CloseNow()
		read := func() map[string]any {
			_, raw, err := conn.Read(c.Context())
			if err != nil {
				c.Fatal(err)
			}
			var m map[string]any
			if err := json.Unmarshal(raw, &m); err != nil {
				c.Fatal(err)
			}
			return m
		}
		if a, b := read(), read(); !slices.Equal(slices.Sorted(slices.Values([]string{first, second})), slices.Sorted(slices.Values([]string{a["item_hash"].(string), b["item_hash"].(string)}))) || a["time"].(float64) > b["time"].(float64) {
			c.Errorf("history: %v %v", a, b)
		}
		third := c.published(c.post("ws", "", 3))
		live := read()
		if live["item_hash"] != third || members(live) != strings.Replace(listed, "size ", "", 1) {
			c.Errorf("live: %v", live)
		}
		c.get("/api/ws0/messages").want(400)
	}},
}

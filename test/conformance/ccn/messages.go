package ccn

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// Members of messages (§3.1, §3.3).
const (
	modelShape = `chain:text channel:text/null confirmations:list confirmed:bool content:object item_content:text/null
		item_hash:hash item_type:text sender:text signature:text/null time:float type:text`
	listedShape = modelShape + " size:int"
)

var pageShape = "pagination_page:int pagination_per_page:int pagination_total:int pagination_item:text"

// mine lists the messages of the client's key under a query.
func (c *client) mine(query string) []object {
	c.Helper()
	return c.get("/api/v0/messages.json?addresses=" + c.address() + "&" + query).want(200).list("messages")
}

var messageChecks = []check{
	{"§20.1 a message in a list has its members and no others", func(c *client) {
		hash := c.published(c.post("note", "", map[string]int{"n": 1}))
		got := c.get("/api/v0/messages.json?hashes=" + hash).want(200)
		c.shape("the page", got.object(), "messages:list "+pageShape)
		m := got.only("messages")
		c.shape("the message", m, listedShape)
		if m.number("size") != fmt.Sprint(len(m.text("item_content"))) || m["confirmed"] != false || m.text("channel") != "CONFORMANCE" {
			c.Errorf("%v", m)
		}
		aggregate := c.published(c.aggregate("k", map[string]any{"status": "x", "owner": "y", "tags": []string{"z"}}))
		c.shape("an aggregate", c.get("/api/v0/messages.json?hashes="+aggregate).want(200).only("messages"), listedShape)
	}},
	{"§18.4 lists have the content as it was sent, single messages that of the model", func(c *client) {
		_, hash := c.stored("raw and normal "+c.address(), map[string]any{"unknown": map[string]int{"n": 1}})
		if raw := c.get("/api/v0/messages.json?hashes=" + hash).want(200).only("messages").object("content"); raw["unknown"] == nil || raw["size"] != nil {
			c.Errorf("in a list: %v", raw)
		}
		c.shape("single", c.get("/api/v0/messages/"+hash).want(200).object().object("message").object("content"),
			"address:text time:number item_type:text item_hash:hash size:null content_type:null ref:null metadata:null payment:null")
	}},
	{"§3.1 contentFormat and excludeContent leave content out", func(c *client) {
		hash := c.published(c.post("kind", "some-ref", map[string]int{"n": 1}))
		key := c.published(c.aggregate("k", map[string]int{"n": 1}))
		for query, want := range map[string]string{
			"contentFormat=headers": "address ref type", "content_format=headers&excludeContent=true": "address ref type",
			"contentFormat=full&excludeContent=true": "address content ref time type",
		} {
			got := c.get("/api/v0/messages.json?hashes=" + hash + "&" + query).want(200).only("messages")
			if got.object("content").members() != want || got.text("item_content") == "" {
				c.Errorf("%s: %v", query, got)
			}
		}
		got := c.get("/api/v0/messages.json?contentFormat=headers&hashes=" + key).want(200).only("messages")
		c.shape("an aggregate", got.object("content"), "address:text key:text")
		for _, query := range []string{"contentFormat=none", "excludeContent=true", "exclude_content=YES"} {
			got := c.get("/api/v0/messages.json?hashes=" + hash + "&" + query).want(200).only("messages")
			c.shape(query, got, strings.Replace(listedShape, "content:object ", "", 1))
		}
		c.get("/api/v0/messages.json?contentFormat=half").problems()
	}},
	{"§20.7 snake case names and numbers above 32 bits are taken", func(c *client) {
		first, second := c.published(c.post("a", "", 1)), c.published(c.post("b", "", 2))
		got := c.mine("sort_order=1&sort_by=tx-time&message_statuses=processed&pagination=10000000000")
		if !slices.Equal(column(got, "item_hash"), []string{first, second}) {
			c.Errorf("%v", got)
		}
		for query, want := range map[string][]string{
			"message_types=POST&sort_order=-1": {second, first}, "content_types=b": {second}, "start_date=1&end_date=2": {},
			"content_keys=x": {}, "exclude_content=true&content_types=a": {first}, "payment_types=hold": {}, "content_hashes=" + first: {},
		} {
			if got := c.mine(query); !slices.Equal(column(got, "item_hash"), want) {
				c.Errorf("%s: %v, want %v", query, column(got, "item_hash"), want)
			}
		}
		if got := c.mine("start_block=1&end_block=2"); len(got) != 0 {
			c.Errorf("below block 2: %v", got)
		}
	}},
	{"§20.18 numbers survive a round trip", func(c *client) {
		numbers := map[string]string{
			"big": "123456789012345678901234567890", "fine": "0.1234567890123456789", "negative": "-9223372036854775809",
			"whole": "1.0",
		}
		content := map[string]json.RawMessage{}
		for name, n := range numbers {
			content[name] = json.RawMessage(n)
		}
		hash := c.published(c.post("numbers", "", content))
		key := c.published(c.aggregate("numbers", content))
		inner := func(v any) object {
			o := object(v.(map[string]any))
			for o["big"] == nil && o["content"] != nil {
				o = o.object("content")
			}
			return o
		}
		for path, list := range map[string]string{
			"/api/v0/messages.json?hashes=" + hash: "messages", "/api/v0/messages.json?hashes=" + key: "messages",
			"/api/v0/posts.json?hashes=" + hash: "posts",
			"/api/v1/posts.json?hashes=" + hash: "posts", "/api/v0/aggregates.json?addresses=" + c.address(): "aggregates",
			"/api/v0/messages/" + hash: "", "/api/v0/messages/" + key: "",
			"/api/v0/messages/" + hash + "/content": "", "/api/v0/aggregates/" + c.address() + ".json?keys=numbers&value_only=true": "",
		} {
			a := c.get(path).want(200)
			v := a.value()
			if list != "" {
				v = map[string]any(a.only(list))
			} else if m := a.object().object("message"); m != nil {
				v = map[string]any(m)
			}
			for name, n := range numbers {
				if got := inner(v).number(name); got != n {
					c.Errorf("%s: %s became %s", path, n, got)
				}
			}
		}
	}},
	{"§1.7 times have microseconds, item_content is the very text", func(c *client) {
		m := c.post("note", "", "ü < & >")
		hash := c.published(m)
		got := c.get("/api/v0/messages.json?hashes=" + hash).want(200).only("messages")
		if string(message.HashBytes([]byte(got.text("item_content")))) != hash {
			c.Errorf("item_content %q does not hash to %s", got.text("item_content"), hash)
		}
		if at := float64(c.clock.UnixMilli()) / 1000; got.float("time") != at || got.object("content").float("time") != at {
			c.Errorf("times %v, want %v", got, at)
		}
	}},
	{"§1.6 values that make no sense are refused with what is wrong", func(c *client) {
		for _, query := range []string{
			"sortOrder=2", "startDate=nan", "startDate=1e300", "startDate=1700000000000000", "pagination=-1", "page=0", "chains=eth", "msgTypes=post",
			"msgType=", "msgStatuses=", "hashes=", "hashes=x", "hashes=" + strings.Repeat("0", 63), "contentHashes=x", "excludeContent=maybe",
			"startDate=5&endDate=4", "startBlock=5&endBlock=4", "paymentTypes=free", "sortBy=size", "startDate=-1", "pagination=1.5",
		} {
			c.get("/api/v0/messages.json?" + query).problems()
		}
		c.get("/api/v0/messages.json?cursor=&pagination=0").want(422, "pagination=0 is not allowed with cursor-based pagination")
		c.get("/api/v0/messages.json?cursor=x").says(422, "Invalid cursor")
	}},
	{"§18.43 pages and dates beyond all bounds are no crash", func(c *client) {
		for _, query := range []string{
			"page=99999999999999999999", "page=9223372036854775807&pagination=9223372036854775807", "pagination=99999999999999999999999",
			"startDate=1e308", "endDate=inf", "startDate=253402300800", "startBlock=99999999999999999999",
		} {
			for _, list := range []string{"messages.json", "posts.json", "messages/hashes"} {
				if a := c.get("/api/v0/" + list + "?" + query); a.status != 200 && a.status != 422 {
					c.Errorf("%s?%s: %d %s", list, query, a.status, clip(a.body))
				}
			}
		}
	}},
	{"§3.1 the page may be in the path", func(c *client) {
		c.get("/api/v0/messages/page/abc.json").want(400, "Invalid page value in path: abc")
		c.get("/api/v0/messages/page/0.json").want(422, "Page number must be greater than 1.")
		for i := range 3 {
			c.published(c.post("note", "", i))
		}
		got := c.get("/api/v0/messages/page/2.json?pagination=1&page=7&addresses=" + c.address()).want(200)
		c.expect("the page", got.object(), "pagination_page=2", "pagination_total=3", "pagination_per_page=1", "pagination_item=messages")
		c.expect("its message", got.only("messages").object("content"), "content=1")
	}},
	{"§1.8 totals count what a filter chooses, pages past the end are empty", func(c *client) {
		for i := range 3 {
			c.published(c.post("note", "", i))
		}
		for query, want := range map[string]string{
			"pagination=2": "2 3", "pagination=2&page=2": "1 3", "pagination=0&page=9": "3 3", "pagination=2&page=1000": "0 1998",
		} {
			got := c.get("/api/v0/messages.json?addresses=" + c.address() + "&" + query).want(200)
			if s := fmt.Sprint(len(got.list("messages")), " ", got.object().number("pagination_total")); s != want {
				c.Errorf("%s: %s, want %s", query, s, want)
			}
		}
	}},
	{"§3.1 filters choose what they say", func(c *client) {
		own := c.address()
		tag := "t" + own
		hash := c.published(c.post("filtered", "a-ref", map[string]any{"tags": []any{tag, 5}}))
		file, stored := c.stored("filtered "+own, map[string]any{"ref": "a-name", "tags": []string{tag}})
		key := c.published(c.aggregate("a-key", map[string]int{"n": 1}))
		at := c.clock.Unix()
		for query, want := range map[string][]string{
			"": {hash, stored, key}, "msgType=POST": {hash}, "msgTypes=POST,STORE": {hash, stored}, "msgType=POST&msgTypes=STORE": {},
			"owners=" + own: {hash, stored, key}, "refs=a-ref,a-name": {hash, stored}, "tags=" + tag + ",other": {hash, stored},
			"hashes=" + hash + "," + key: {hash, key},
			"contentTypes=filtered,x":    {hash}, "contentKeys=a-key": {key}, "contentHashes=" + file: {stored},
			"chains=ETH": {hash, stored, key}, "chains=SOL": {},
			"channels=CONFORMANCE": {hash, stored, key}, "channels=": {}, "msgStatuses=pending": {}, "msgStatuses=removing": {}, "paymentTypes=hold": {},
			fmt.Sprintf("startDate=%d", at): {key}, fmt.Sprintf("endDate=%d", at): {hash, stored},
			"startDate=0&endDate=0": {hash, stored, key}, "?find&hashes[]=x&unknown=1": {hash, stored, key},
		} {
			got := column(c.mine("sortOrder=1&"+query), "item_hash")
			if !slices.Equal(got, want) {
				c.Errorf("%s: %v, want %v", query, got, want)
			}
		}
		for _, query := range []string{"addresses=", "addresses=" + strings.ToLower(own), "owners=nobody"} {
			if list := c.get("/api/v0/messages.json?" + query).want(200).list("messages"); len(list) != 0 {
				c.Errorf("%s: %d messages", query, len(list))
			}
		}
	}},
	{"§18.13 of a repeated parameter the first counts", func(c *client) {
		c.published(c.post("note", "", 1))
		if list := c.mine("channels=CONFORMANCE&channels=OTHER"); len(list) != 1 {
			c.Errorf("%v", list)
		}
		if list := c.mine("channels=OTHER&channels=CONFORMANCE"); len(list) != 0 {
			c.Errorf("%v", list)
		}
	}},
	{"§18.14 contentKeys takes any key", func(c *client) {
		hash := c.published(c.aggregate("profile", map[string]int{"n": 1}))
		if got := column(c.mine("contentKeys=profile,corechannel"), "item_hash"); !slices.Equal(got, []string{hash}) {
			c.Errorf("%v", got)
		}
	}},
	{"§18.23 startDate is inclusive and endDate exclusive", func(c *client) {
		m := c.post("note", "", 1)
		hash := c.published(m)
		at := fmt.Sprintf("%d.%03d", c.clock.Unix(), c.clock.UnixMilli()%1000)
		if got := column(c.mine("startDate="+at), "item_hash"); !slices.Equal(got, []string{hash}) {
			c.Errorf("from %s: %v", at, got)
		}
		if got := c.mine("endDate=" + at); len(got) != 0 {
			c.Errorf("before %s: %v", at, got)
		}
	}},
	{"§3.6 hashes are listed by when they were received", func(c *client) {
		began := float64(time.Now().Add(-time.Minute).Unix())
		first := c.published(c.post("note", "", 1))
		second := c.published(c.post("note", "", 2))
		path := fmt.Sprintf("/api/v0/messages/hashes?startDate=%.0f&pagination=0&sortOrder=1", began)
		got := c.get(path).want(200).object()
		c.shape("the page", got, "hashes:list "+pageShape)
		list, _ := got["hashes"].([]any)
		if i, j := slices.Index(list, any(first)), slices.Index(list, any(second)); i < 0 || j < i {
			c.Errorf("at %d and %d of %d", i, j, len(list))
		}
		for _, item := range c.get(path + "&hash_only=false&status=processed").want(200).list("hashes") {
			c.shape("with hash_only=false", item, "status:text item_hash:hash reception_time:z")
		}
		if got := c.get(path + "&status=rejected").want(200).object(); got.number("pagination_total") != "0" {
			c.Errorf("rejected: %v", got)
		}
		c.get("/api/v0/messages/hashes?status=x").problems()
		c.get("/api/v0/messages/hashes?pagination=-1").problems()
	}},
}

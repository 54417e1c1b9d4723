package ccn

import (
	"fmt"
	"slices"

	"github.com/aleph-im/aleph-go/message"
)

var aggregateChecks = []check{
	{"§20.9 keys that are missing are 404, those that are there come with info", func(c *client) {
		path := "/api/v0/aggregates/" + c.address() + ".json"
		c.get(path).want(404, "No aggregate found for this address")
		c.published(c.aggregate("k", map[string]int{"a": 1}))
		c.get(path+"?keys=missing").want(404, "No aggregate found for this address")
		c.get(path+"?keys=k,missing").wantJSON(200, `{"address":"`+c.address()+`","data":{"k":{"a":1}},"info":{}}`)
		c.get(path+"?limit=1000").wantJSON(200, `{"address":"`+c.address()+`","data":{"k":{"a":1}},"info":{}}`)
	}},
	{"§6.1 value_only answers with the bare value of one key", func(c *client) {
		path := "/api/v0/aggregates/" + c.address() + ".json?value_only=true"
		c.published(c.aggregate("k", map[string]int{"a": 1}))
		c.published(c.aggregate("l", map[string]int{"b": 2}))
		c.get(path+"&keys=k").wantJSON(200, `{"a":1}`)
		c.get(path+"&keys=missing").want(404, "No aggregate found for this address")
		c.get(path+"&keys=missing&with_info=true").want(404, "No aggregate found for this address")
		c.shape("two keys", c.get(path+"&keys=k,l").want(200).object(), "address:text data:object info:object")
	}},
	{"§18.16 with_info describes the keys that are asked for", func(c *client) {
		c.published(c.aggregate("k", map[string]int{"a": 1}))
		last := c.published(c.aggregate("k", map[string]int{"b": 2}))
		c.published(c.aggregate("l", map[string]int{"c": 3}))
		got := c.get("/api/v0/aggregates/" + c.address() + ".json?with_info=true&keys=k").want(200).object()
		if got.object("data").members() != "k" || got.object("info").members() != "k" {
			c.Fatalf("%v", got)
		}
		info := got.object("info").object("k")
		c.shape("the info", info, "created:offset last_updated:offset original_item_hash:hash last_update_item_hash:hash")
		if info.text("last_update_item_hash") != last || info.text("original_item_hash") != last || info.text("created") >= info.text("last_updated") {
			c.Errorf("%v", info)
		}
	}},
	{"§6.1 members of newer elements replace older ones whatever arrives first", func(c *client) {
		first, second := c.aggregate("k", map[string]int{"a": 1, "b": 1}), c.aggregate("k", map[string]int{"b": 2, "c": 2})
		c.published(second)
		c.published(first)
		path := "/api/v0/aggregates/" + c.address() + ".json?value_only=1&keys=k"
		got := c.get(path).want(200).object()
		if got.members() != "a b c" || got.number("b") != "2" {
			c.Errorf("%v", got)
		}
		c.published(c.forget(second.hash))
		c.get(path).wantJSON(200, `{"a":1,"b":1}`)
	}},
	{"§6.1 parameters of aggregates that make no sense are refused", func(c *client) {
		for _, query := range []string{"limit=x", "with_info=maybe", "value_only=2"} {
			c.get("/api/v0/aggregates/0x1.json?" + query).problems()
		}
	}},
	{"§6.2 aggregates are listed, in camel case only", func(c *client) {
		first := c.aggregate("k1", map[string]int{"a": 1})
		c.published(first)
		c.published(c.aggregate("k2", map[string]int{"b": 1}))
		c.published(c.aggregate("k1", map[string]int{"c": 1}))
		for _, route := range []string{"aggregates", "aggregates.json"} {
			page := c.get("/api/v0/" + route + "?addresses=" + c.address()).want(200)
			c.shape("the page", page.object(), "aggregates:list "+pageShape)
			for _, a := range page.list("aggregates") {
				c.shape("an aggregate", a, "address:text key:text content:object created:offset last_updated:offset")
			}
			for query, want := range map[string][]string{
				"": {"k1", "k2"}, "sortOrder=1": {"k2", "k1"}, "sortBy=creation_time": {"k2", "k1"}, "sort_order=1": {"k1", "k2"},
				"keys=k2,k3": {"k2"}, "pagination=1&page=2": {"k2"},
			} {
				if got := column(c.get("/api/v0/"+route+"?addresses="+c.address()+"&"+query).want(200).list("aggregates"), "key"); !slices.Equal(got, want) {
					c.Errorf("%s: %v, want %v", query, got, want)
				}
			}
			for _, query := range []string{"pagination=0", "pagination=501", "sortBy=x", "page=0"} {
				c.get("/api/v0/" + route + "?" + query).problems()
			}
			c.get("/api/v0/"+route+"?cursor=x").says(422, "Invalid cursor")
		}
	}},
	{"§7 authorizations are listed by who gave and who got them", func(c *client) {
		one, two := newAccount(c.T).Address(), newAccount(c.T).Address()
		c.published(c.aggregate("security", map[string]any{"authorizations": []any{
			map[string]any{"address": one, "types": []string{"POST"}, "channels": []string{"a"}, "post_types": []string{"p"}},
			map[string]any{"address": one, "chain": "ETH"}, map[string]any{"address": two, "aggregate_keys": []string{"k"}},
		}}))
		own := c.address()
		c.get("/api/v0/authorizations/granted/"+own+".json?types=AGGREGATE&chains=SOL").wantJSON(200,
			`{"authorizations":{"`+two+`":[{"aggregate_keys":["k"]}]},"address":"`+own+
				`","pagination_item":"authorizations","pagination_page":1,"pagination_per_page":20,"pagination_total":1}`)
		for query, want := range map[string]string{
			"": "2 1 of 2", "types=POST": "2 1 of 2", "types=STORE": "1 1 of 2", "channels=a&postTypes=p": "2 1 of 2",
			"channels=b": "1 1 of 2", "post_types=q": "1 1 of 2",
			"aggregateKeys=z": "2 0 of 1", "chains=ETH": "2 1 of 2", "chains=SOL": "1 1 of 2", "pagination=1": "2 0 of 2",
			"pagination=1&page=2": "0 1 of 2", "grantee=" + two: "0 1 of 1",
		} {
			got := c.get("/api/v0/authorizations/granted/" + own + ".json?" + query).want(200).object()
			of := func(who string) int { list, _ := got.object("authorizations").list(who); return len(list) }
			if s := fmt.Sprintf("%d %d of %s", of(one), of(two), got.number("pagination_total")); s != want {
				c.Errorf("%s: %s, want %s", query, s, want)
			}
		}
		got := c.get("/api/v0/authorizations/received/" + one + ".json?granter=" + own).want(200).object()
		c.shape("received", got, "authorizations:object address:text "+pageShape)
		if list, _ := got.object("authorizations").list(own); len(list) != 2 {
			c.Errorf("%v", got)
		}
		for _, side := range []string{"granted", "received"} {
			nobody := c.get("/api/v0/authorizations/" + side + "/0xnobody.json").want(200).object()
			if len(nobody.object("authorizations")) != 0 || nobody.number("pagination_total") != "0" {
				c.Errorf("nobody: %v", nobody)
			}
			c.get("/api/v0/authorizations/" + side + "/0x1.json?pagination=0").problems()
		}
	}},
	{"§7 who was let in may write for another, until the grant is taken back", func(c *client) {
		other := c.as(newAccount(c.T))
		grant := func(list ...any) { c.published(c.aggregate("security", map[string]any{"authorizations": list})) }
		write := func() signed {
			return other.build(message.TypeAggregate, map[string]any{"address": c.address(), "key": "k", "content": map[string]int{"n": 1}})
		}
		c.publish(write(), true).says(422, "rejected")
		grant(map[string]any{"address": other.address(), "types": []string{"AGGREGATE"}, "aggregate_keys": []string{"k"}})
		c.published(write())
		c.publish(other.build(message.TypeAggregate, map[string]any{
			"address": c.address(), "key": "l", "content": map[string]int{"n": 1},
		}), true).says(422, "rejected")
		grant()
		c.publish(write(), true).says(422, "rejected")
		c.get("/api/v0/aggregates/"+c.address()+".json?keys=k&value_only=1").wantJSON(200, `{"n":1}`)
	}},
}

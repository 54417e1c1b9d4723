package ccn

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

const (
	priceShape = "required_tokens:number payment_type:text cost:cost charged_address:text detail:list"
	lineShape  = "type:text name:text cost_hold:cost cost_stream:cost cost_credit:cost size_mib:float/null"
)

// example is the instance whose costs §11.1 shows.
const example = `{"address":"0x1","time":1700000000,"allow_amend":false,"metadata":null,"authorized_keys":null,"variables":null,
	"environment":{"internet":true,"aleph_api":true,"hypervisor":"qemu","reproducible":false,"shared_cache":false},
	"resources":{"vcpus":2,"memory":4096,"seconds":30},"payment":{"chain":"ETH","type":"credit"},"requirements":null,
	"volumes":[{"mount":"/data","persistence":"host","size_mib":10}],
	"rootfs":{"parent":{"ref":"549ec451d9b099cad112d4aaa2c00ac40fb6729a92ff252ff22eef0b5c3cb613","use_latest":true},"persistence":"host","size_mib":40960}}`

// exampleCosts are its lines: type, name, and the costs by holding, stream and credits, and MiB.
var exampleCosts = []string{
	"EXECUTION instance 2000.000000000000000000 0.000030555555555555 7.916666666666666666 <nil>",
	"EXECUTION_INSTANCE_VOLUME_ROOTFS EXECUTION_INSTANCE_VOLUME_ROOTFS 2048.000000000000000000 0.000011116088888888 2.044300974151237176 40960.0",
	"EXECUTION_VOLUME_PERSISTENT #0:/data 0.500000000000000000 0.000000002713888888 0.000499096917517391 10.0",
	"EXECUTION_VOLUME_DISCOUNT EXECUTION_VOLUME_DISCOUNT -2048.000000000000000000 -0.000011116088888889 -2.044300974151237177 <nil>",
}

// defaultPrices skips the check where the network has prices of its own.
func (c *client) defaultPrices() {
	c.Helper()
	owner := c.target.Network.Pricing
	if c.statusOf("/api/v0/aggregates/"+owner.Addresses[0]+".json?keys="+strings.Join(owner.Keys, ",")) != 404 {
		c.Skip("the network has prices of its own")
	}
}

func (c *client) statusOf(path string) int { c.Helper(); return c.get(path).status }

// exampleEstimate holds an estimate of the example to what it must be.
func (c *client) exampleEstimate(a answer) {
	c.Helper()
	got := a.want(200).object()
	c.shape("the estimate", got, priceShape)
	c.expect("the estimate", got, "cost=7.917165763584184056", "required_tokens=7.917165763584184", "payment_type=credit", "charged_address=0x1")
	lines, _ := got.list("detail")
	for i, line := range lines {
		c.shape("a line", line, lineShape)
		text := fmt.Sprint(
			line["type"], " ", line["name"], " ", line["cost_hold"], " ", line["cost_stream"], " ", line["cost_credit"], " ",
			line["size_mib"],
		)
		if i >= len(exampleCosts) || text != exampleCosts[i] {
			c.Errorf("line %d: %s", i, text)
		}
	}
	if len(lines) != len(exampleCosts) {
		c.Errorf("%d lines, want %d", len(lines), len(exampleCosts))
	}
}

// estimating is the body of a request for an estimate.
func estimating(t message.Type, content string) string {
	text, _ := json.Marshal(content) // a string cannot fail
	return fmt.Sprintf(`{"message":{"type":"%s","item_type":"inline","item_hash":"%s","item_content":%s}}`, t, hashOf(content), text)
}

var priceChecks = []check{
	{"§20.17 an estimate is exact to the last digit", func(c *client) {
		c.defaultPrices()
		c.exampleEstimate(c.postJSON("/api/v0/price/estimate", estimating(message.TypeInstance, example)))
		c.exampleEstimate(c.postJSON("/api/v0/price/estimate/instance", example))
	}},
	{"§11.3 files are estimated by the size that they are said to have", func(c *client) {
		c.defaultPrices()
		file := `{"address":"0x1","time":1,"item_type":"storage","item_hash":"` + unknown + `",`
		for size, want := range map[string]string{
			`"estimated_size_mib":100.0`:                                         "hold 33.333333300000000000 100.0",
			`"estimated_size_mib":1.0,"payment":{"chain":"ETH","type":"credit"}`: "credit 0.001247742293793479 1.0",
		} {
			got := c.postJSON("/api/v0/price/estimate", estimating(message.TypeStore, file+size+"}")).want(200)
			line := got.only("detail")
			if s := fmt.Sprint(got.object().text("payment_type"), " ", got.object().text("cost"), " ", line["size_mib"]); s != want {
				c.Errorf("%s: %s, want %s", size, s, want)
			}
		}
	}},
	{"§18.43 requests for estimates that make no sense are refused", func(c *client) {
		for _, body := range []string{
			"{", "[]", "{}", `{"message":1}`, estimating(message.TypePost, `{"type":"x"}`),
			estimating(message.TypeInstance, "{}"),
			strings.Replace(estimating(message.TypeInstance, example), `"item_hash":"`, `"item_hash":"0`, 1),
		} {
			c.postJSON("/api/v0/price/estimate", body).want(422)
		}
		c.postJSON("/api/v0/price/estimate/instance", "{").want(400, "400: Invalid JSON body")
		c.postJSON("/api/v0/price/estimate/instance", "{}").want(422)
		c.get("/api/v0/price/estimate").want(400, "Invalid message hash: estimate")
	}},
	{"§20.16 a forgotten file has a price, other forgotten messages have none", func(c *client) {
		_, hash := c.stored("priced "+c.address(), nil)
		before := c.get("/api/v0/price/" + hash).want(200).object()
		c.shape("the price", before, priceShape)
		post := c.published(c.post("note", "", 1))
		c.get("/api/v0/price/"+post).want(400, "Message is not an executable or store message: "+post)
		c.published(c.forget(hash, post))
		after := c.get("/api/v0/price/" + hash + "?include_size=TRUE").want(200).object()
		c.shape("the price of what is forgotten", after, priceShape)
		if after.text("cost") != before.text("cost") || after.text("charged_address") != c.address() {
			c.Errorf("%v, before %v", after, before)
		}
		lines, _ := after.list("detail")
		if len(lines) != 1 || lines[0]["size_mib"] == nil {
			c.Errorf("%v", lines)
		}
		c.get("/api/v0/price/"+post).want(410, "This message has been forgotten: "+post)
	}},
	{"§20.16 the price of a message that waits is answered finally", func(c *client) {
		m := c.post("amend", strings.Repeat("0", 63)+"4", 1)
		c.publish(m, true).want(202)
		began := time.Now()
		c.get("/api/v0/price/"+m.hash).want(404, "Message still pending: "+m.hash)
		if took := time.Since(began); took > 20*time.Second {
			c.Errorf("the answer took %v", took)
		}
		refused := forged(c.post("note", "", 1))
		c.publish(refused, true).want(422)
		c.get("/api/v0/price/"+refused.hash).want(404, "This message was rejected: "+refused.hash)
		c.get("/api/v0/price/"+unknown).want(404, "Message not found with hash: "+unknown)
		c.get("/api/v0/price/x").want(400, "Invalid message hash: x")
	}},
	{"§11.2 sizes are shown on request", func(c *client) {
		_, hash := c.stored("sized "+c.address(), nil)
		for query, shown := range map[string]bool{"": false, "?include_size=true": true, "?include_size=1": false} {
			line := c.get("/api/v0/price/" + hash + query).want(200).only("detail")
			c.shape("the line", line, lineShape)
			if (line["size_mib"] != nil) != shown || line.text("type") != "STORAGE" || line.text("name") != "STORAGE" {
				c.Errorf("%q: %v", query, line)
			}
		}
	}},
	{"§11.6 recalculations need a token", func(c *client) {
		_, hash := c.stored("recalculated "+c.address(), nil)
		for _, path := range []string{"/api/v0/price/recalculate", "/api/v0/price/" + hash + "/recalculate"} {
			a := c.do("POST", path, nil).want(401, "Missing X-Auth-Token header")
			if a.header.Get("WWW-Authenticate") != "Bearer" {
				c.Errorf("%v", a.header)
			}
			for _, token := range []string{"x", "MTcwMDAwMDAwMDphYmM="} {
				c.do("POST", path, nil, "X-Auth-Token", token).want(401, "Invalid or expired authentication token")
			}
		}
	}},
	{"§19 a good token recalculates, an old one does not", func(c *client) {
		if c.target.Token == nil {
			c.Skip("needs the key of the operator who recalculates costs")
		}
		_, hash := c.stored("recalculated "+c.address(), nil)
		before := c.get("/api/v0/price/" + hash).want(200).body
		path := "/api/v0/price/" + hash + "/recalculate"
		got := c.do("POST", path, nil, "X-Auth-Token", c.target.Token(time.Now())).want(200).object()
		c.shape("the answer", got, "message:text recalculated_count:int total_messages:int pricing_changes_found:int")
		if got.number("recalculated_count") != "1" || got.number("total_messages") != "1" {
			c.Errorf("%v", got)
		}
		if after := c.get("/api/v0/price/" + hash).want(200).body; string(after) != string(before) {
			c.Errorf("%s became %s", before, after)
		}
		for _, at := range []time.Time{time.Now().Add(-301 * time.Second), time.Now().Add(time.Minute)} {
			c.do("POST", path, nil, "X-Auth-Token", c.target.Token(at)).want(401, "Invalid or expired authentication token")
		}
		c.do("POST", "/api/v0/price/"+unknown+"/recalculate", nil, "X-Auth-Token", c.target.Token(time.Now())).want(404)
	}},
}

const costsShape = `summary:object filters:object resources:list/null pagination_page:int/null pagination_total:int/null
	pagination_per_page:int/null pagination_item:text/null`

var costChecks = []check{
	{"§11.5 costs of an unknown address are zeros", func(c *client) {
		got := c.get("/api/v0/costs?address=" + c.address()).want(200).object()
		c.shape("the answer", got, costsShape)
		c.shape(
			"the summary", got.object("summary"),
			"total_consumed_credits:int total_cost_hold:cost total_cost_stream:cost total_cost_credit:cost resource_count:int",
		)
		c.shape("the filters", got.object("filters"), "address:text item_hash:null payment_type:text")
		c.expect("the summary", got.object("summary"), "total_cost_credit=0.000000000000000000", "resource_count=0", "total_consumed_credits=0")
		c.expect("the filters", got.object("filters"), "payment_type=credit", "address="+c.address())
		c.expect("the answer", got, "resources=<nil>")
		c.get("/api/v0/costs").want(200)
	}},
	{"§11.5 costs are summed and listed by resource and component", func(c *client) {
		c.defaultPrices()
		_, one := c.stored("cost one "+c.address(), nil)
		_, two := c.stored("cost two "+c.address(), nil)
		path := "/api/v0/costs?payment_type=hold&address=" + c.address()
		got := c.get(path + "&include_details=2&include_size=true").want(200).object()
		resources, _ := got.list("resources")
		if got.object("summary").number("resource_count") != "2" || len(resources) != 2 || resources[0].text("item_hash") != min(one, two) {
			c.Fatalf("%v", got)
		}
		for _, r := range resources {
			c.shape(
				"a resource", r,
				"item_hash:hash owner:text payment_type:text consumed_credits:int cost_hold:cost cost_stream:cost cost_credit:cost detail:list",
			)
			lines, _ := r.list("detail")
			if len(lines) != 1 || lines[0]["size_mib"] == nil {
				c.Fatalf("%v", r)
			}
			c.shape("a component", lines[0], lineShape)
		}
		for query, want := range map[string]string{
			"": "2 <nil>", "&include_details=1": "2 2", "&item_hash=" + one + "&include_details=1": "1 1",
			"&include_details=1&pagination=10&page=2": "2 0",
		} {
			got := c.get(path + query).want(200).object()
			count := "<nil>"
			if list, ok := got.list("resources"); ok {
				count = fmt.Sprint(len(list))
				for _, r := range list {
					if r["detail"] != nil {
						c.Errorf("%s: %v", query, r)
					}
				}
			}
			if s := got.object("summary").number("resource_count") + " " + count; s != want {
				c.Errorf("%q: %s, want %s", query, s, want)
			}
		}
		if got := c.get("/api/v0/costs?address=" + c.address()).want(200).object(); got.object("summary").number("resource_count") != "0" {
			c.Errorf("paid by credits: %v", got)
		}
	}},
	{"§11.5 parameters of costs that make no sense are refused", func(c *client) {
		c.get("/api/v0/costs?include_details=2").says(422, "include_details=2 requires")
		for _, query := range []string{"pagination=9", "pagination=1001", "include_details=3", "payment_type=free", "page=0"} {
			c.get("/api/v0/costs?" + query).problems()
		}
	}},
}

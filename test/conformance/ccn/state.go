package ccn

import (
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// Members of what is left of a message (§3.2, §3.3).
const (
	forgottenShape = `chain:text channel:text/null forgotten_at:float item_hash:hash item_type:text owner:text
		payment_type:text/null sender:text signature:text/null size:int/null time:float type:text`
	removedShape = `chain:text/null channel:text/null removed_at:float/null item_hash:hash item_type:text/null owner:text/null
		payment_type:text/null sender:text/null signature:text/null size:int/null time:float/null type:text/null`
)

var stateChecks = []check{
	{"§20.1 a single message has its members and no others", func(c *client) {
		hash := c.published(c.post("note", "", map[string]int{"n": 1}))
		got := c.get("/api/v0/messages/" + hash).want(200).object()
		c.shape("the answer", got, "status:text item_hash:hash reception_time:z message:object")
		c.shape("the message", got.object("message"), modelShape)
		c.shape("the content", got.object("message").object("content"), "address:text time:number content:object ref:null type:text")
		if got.text("status") != "processed" || got.text("item_hash") != hash {
			c.Errorf("%v", got)
		}
		status := c.get("/api/v0/messages/" + hash + "/status").want(200).object()
		c.shape("the status", status, "status:text item_hash:hash reception_time:z")
	}},
	{"§3.3 contents have every member of their model", func(c *client) {
		content := func(hash string) object {
			c.Helper()
			return c.get("/api/v0/messages/" + hash).want(200).object().object("message").object("content")
		}
		c.shape("an aggregate", content(c.published(c.aggregate("k", map[string]int{"a": 1}))), "address:text time:number key:text content:object")
		_, stored := c.stored("models "+c.address(), map[string]any{"payment": map[string]any{"chain": "ETH", "type": "hold"}})
		file := content(stored)
		c.shape("a file", file, "address:text time:number item_type:text item_hash:hash size:null content_type:null ref:null metadata:null payment:object")
		c.shape("its payment", file.object("payment"), "chain:text receiver:null type:text")
		c.shape(
			"a FORGET", content(c.published(c.forget(c.published(c.post("note", "", 1))))),
			"address:text time:number hashes:list aggregates:list reason:null",
		)
	}},
	{"§3.3 contents of workloads have every member of their model", func(c *client) {
		rich := c.rich()
		_, file := rich.stored("workload "+c.address(), nil)
		var made []string
		content := func(t message.Type, content map[string]any) object {
			c.Helper()
			hash := rich.published(rich.build(t, content))
			made = append(made, hash)
			return c.get("/api/v0/messages/" + hash).want(200).object().object("message").object("content")
		}
		shared := `address:text time:number allow_amend:bool metadata:object/null authorized_keys:list/null variables:object/null
			environment:object resources:object payment:object/null requirements:object/null volumes:list replaces:text/null `
		p := content(message.TypeProgram, program(file, file, map[string]any{"http": true}))
		c.shape("a program", p, shared+"type:text code:object runtime:object data:null export:null on:object")
		c.shape("its code", p.object("code"), "encoding:text entrypoint:text ref:hash interface:null args:null use_latest:bool")
		c.shape("its environment", p.object("environment"), "reproducible:bool internet:bool aleph_api:bool shared_cache:bool")
		c.shape("its triggers", p.object("on"), "http:bool message:null persistent:null")
		i := content(message.TypeInstance, instance(file, map[string]any{
			"payment": byCredits(), "volumes": []any{map[string]any{"mount": "/data", "persistence": "host", "size_mib": 10}},
		}))
		c.shape("an instance", i, shared+"rootfs:object")
		c.shape(
			"its environment", i.object("environment"),
			"internet:bool aleph_api:bool hypervisor:text trusted_execution:null reproducible:bool shared_cache:bool",
		)
		c.shape("its resources", i.object("resources"), "vcpus:int memory:int seconds:int published_ports:null")
		c.shape("its root", i.object("rootfs"), "parent:object persistence:text size_mib:int forgotten_by:null")
		volumes, _ := i.list("volumes")
		if len(volumes) != 1 {
			c.Fatalf("volumes: %v", volumes)
		}
		c.shape("its volume", volumes[0], "comment:null mount:text parent:null persistence:text name:null size_mib:int")
		rich.published(rich.forget(made...))
	}},
	{"§18.2 a message that waits is answered with 200, its times are texts", func(c *client) {
		m := c.post("amend", strings.Repeat("0", 63)+"3", map[string]int{"n": 1})
		c.publish(m, true).want(202)
		got := c.get("/api/v0/messages/" + m.hash).want(200).object()
		c.shape("the answer", got, "status:text item_hash:hash reception_time:z messages:list")
		list, _ := got.list("messages")
		if got.text("status") != "pending" || len(list) != 1 {
			c.Fatalf("%v", got)
		}
		c.shape(
			"the message", list[0],
			`sender:text chain:text signature:text type:text item_content:text item_type:text item_hash:hash time:z channel:text
				content:object reception_time:z`,
		)
		c.get("/api/v0/messages/"+m.hash+"/content").want(422, "Message "+m.hash+" is not processed (status: MessageStatus.PENDING)")
		c.get("/api/v0/messages/"+m.hash+"/status").says(200, `"pending"`)
	}},
	{"§18.2 a message that was refused is answered with 200, its code and its envelope", func(c *client) {
		original := c.published(c.post("kind", "", 1))
		m := c.post("amend", c.published(c.post("amend", original, 2)), 3) // of an amendment
		c.publish(m, true).wantJSON(422, rejected)
		got := c.get("/api/v0/messages/" + m.hash).want(200).object()
		c.shape("the answer", got, "status:text item_hash:hash reception_time:z message:object error_code:int details:object/null")
		c.expect("the answer", got, "status=rejected", "error_code=102")
		c.expect("the envelope", got.object("message"), "sender="+c.address(), "type=POST", "item_type=inline", "item_hash="+m.hash)
		c.get("/api/v0/messages/"+m.hash+"/content").want(422, "Message "+m.hash+" is not processed (status: MessageStatus.REJECTED)")
	}},
	{"§3.3 who cannot pay is told at once what is missing", func(c *client) {
		_, file := c.stored("unpaid "+c.address(), nil)
		m := c.build(message.TypeInstance, instance(file, map[string]any{"payment": byCredits()}))
		c.publish(m, true).wantJSON(422, rejected)
		got := c.get("/api/v0/messages/" + m.hash).want(200).object()
		c.expect("the answer", got, "status=rejected", "error_code=6")
		missing, _ := got.object("details").list("errors")
		if len(missing) != 1 {
			c.Fatalf("%v", got)
		}
		c.shape("what is missing", missing[0], "required_credits:amount account_credits:amount min_runtime_days:int")
		c.expect("what is missing", missing[0], "account_credits=0", "min_runtime_days=1")
		if time.Now().Unix() >= c.target.Network.CutOffs.HoldAndStream {
			return // nobody pays for instances by holding tokens any more
		}
		m = c.build(message.TypeInstance, instance(file, nil))
		c.publish(m, true).wantJSON(422, rejected)
		got = c.get("/api/v0/messages/" + m.hash).want(200).object()
		c.expect("the answer", got, "status=rejected", "error_code=5")
		if missing, _ = got.object("details").list("errors"); len(missing) != 1 {
			c.Fatalf("%v", got)
		}
		c.shape("what is missing", missing[0], "required_balance:amount account_balance:amount")
	}},
	{"§18.2 a forgotten message is answered with 200 and what is left of it", func(c *client) {
		hash := c.published(c.post("note", "", 1))
		by := c.published(c.forget(hash))
		got := c.get("/api/v0/messages/" + hash).want(200).object()
		c.shape("the answer", got, "status:text item_hash:hash reception_time:z message:object forgotten_by:list")
		c.shape("the message", got.object("message"), forgottenShape)
		if list, _ := got["forgotten_by"].([]any); got.text("status") != "forgotten" || len(list) != 1 || list[0] != by {
			c.Errorf("%v", got)
		}
		if got := c.mine("hashes=" + hash); len(got) != 0 {
			c.Errorf("still listed: %v", got)
		}
		c.get("/api/v0/messages/"+hash+"/content").want(422, "Message "+hash+" is not processed (status: MessageStatus.FORGOTTEN)")
	}},
	{"§3.4 content is that of a post, of other types all of it", func(c *client) {
		c.get("/api/v0/messages/"+c.published(c.post("note", "", map[string]string{"body": "x"}))+"/content").wantJSON(200, `{"body":"x"}`)
		c.get("/api/v0/messages/"+c.published(c.post("note", "", nil))+"/content").want(200, "null")
		c.shape(
			"an aggregate",
			c.get("/api/v0/messages/"+c.published(c.aggregate("k", map[string]int{"a": 1}))+"/content").want(200).object(),
			"address:text time:number key:text content:object",
		)
	}},
	{"§3.3 hashes that are none are 400, unknown ones 404", func(c *client) {
		for _, route := range []string{"", "/content", "/status"} {
			for _, bad := range []string{"nonsense", unknown[1:], strings.Repeat("Z", 64), strings.Repeat("A", 64), "Qm" + strings.Repeat("0", 44)} {
				c.get("/api/v0/messages/"+bad+route).want(400, "Invalid message hash: "+bad)
			}
			c.get("/api/v0/messages/"+unknown+route).want(404, "404: Not Found")
		}
	}},
	{"§20.2 forgotten messages are listed alone", func(c *client) {
		_, hash := c.stored("to forget "+c.address(), nil)
		post := c.published(c.post("note", "", 1))
		by := c.published(c.forget(hash, post))
		path := "/api/v0/messages.json?msgStatuses=forgotten&addresses=" + c.address()
		page := c.get(path + "&sortOrder=1").want(200)
		c.shape("the page", page.object(), "messages:list "+pageShape)
		for _, m := range page.list("messages") {
			c.shape("a forgotten message", m, forgottenShape+" forgotten_by:list status:text")
			if list, _ := m["forgotten_by"].([]any); m.text("status") != "forgotten" || len(list) != 1 || list[0] != by || m.float("forgotten_at") == 0 {
				c.Errorf("%v", m)
			}
		}
		for query, want := range map[string]int{
			"": 2, "msgTypes=STORE": 1, "hashes=" + post: 1, "owners=" + c.address(): 2, "chains=SOL": 0, "channels=CONFORMANCE": 2, "paymentTypes=hold": 2,
			"paymentTypes=credit": 0, "startDate=1": 2, "endDate=1": 0, "pagination=1": 1, "pagination=1&page=2": 1, "sortBy=tx-time": 2,
		} {
			if got := c.get(path + "&" + query).want(200).list("messages"); len(got) != want {
				c.Errorf("%s: %d messages, want %d", query, len(got), want)
			}
		}
	}},
	{"§20.2 statuses of what is no more stand alone", func(c *client) {
		list := func(query string) answer { c.Helper(); return c.get("/api/v0/messages.json?msgStatuses=" + query) }
		for _, mixed := range []string{"forgotten,processed", "removed,removing", "forgotten,removed"} {
			list(mixed).want(400, "msgStatuses=forgotten/removed cannot be combined with other statuses")
		}
		list("removed&cursor=").want(400, "Cursor pagination is not supported for removed message queries")
		list("forgotten&cursor=").want(400, "Cursor pagination is not supported for forgotten message queries")
		list("forgotten&tags=a&refs=b").want(400, "Filters not supported for forgotten message queries: refs, tags")
		list("removed&startBlock=1&contentKeys=a&contentTypes=b&contentHashes="+unknown).
			want(400, "Filters not supported for removed message queries: contentTypes, contentHashes, contentKeys, startBlock")
		for _, empty := range []string{"pending", "rejected", "pending,rejected"} {
			if got := list(empty).want(200).list("messages"); len(got) != 0 {
				c.Errorf("%s: %v", empty, got)
			}
		}
	}},
}

// settled bounds how long a node may take to look at an account again.
const settled = time.Minute

var fundChecks = []check{
	{"§20.2 what cannot be paid any more is removing, listed by default and comes back", func(c *client) {
		c.holds("ETH", "5000")
		_, file := c.stored("image "+c.address(), nil)
		hash := c.published(c.build(message.TypeInstance, instance(file, nil)))
		c.holds("ETH", "0")
		status := func(want string) {
			c.Helper()
			c.within(settled, "the message is "+want, func() bool { return c.get("/api/v0/messages/"+hash+"/status").object().text("status") == want })
		}
		status("removing")
		got := c.get("/api/v0/messages/" + hash).want(200).object()
		c.shape("single", got, "status:text item_hash:hash reception_time:z message:object reason:text")
		c.shape("the message", got.object("message"), modelShape)
		if got.text("reason") != "balance_insufficient" {
			c.Errorf("reason %s", got.text("reason"))
		}
		for query, want := range map[string]int{
			"": 1, "msgStatuses=removing": 1, "msgStatuses=processed": 0, "msgStatuses=processed,removing": 1,
			"msgStatuses=removed": 0,
		} {
			list := c.get("/api/v0/messages.json?hashes=" + hash + "&" + query).want(200).list("messages")
			if len(list) != want {
				c.Errorf("%s: %d messages, want %d", query, len(list), want)
			}
			for _, m := range list {
				c.shape("listed", m, listedShape)
			}
		}
		c.get("/api/v0/messages/"+hash+"/content").want(422, "Message "+hash+" is not processed (status: MessageStatus.REMOVING)")
		c.get("/api/v0/price/" + hash).want(200)
		c.holds("ETH", "5000")
		status("processed")
	}},
	{"§20.2 removed messages are listed alone", func(c *client) {
		// All of it happened long ago, so that the grace period is over.
		at := time.Now().Add(-30 * 24 * time.Hour).Truncate(time.Millisecond)
		c.clock = &at
		c.holds("ETH", "5000")
		_, file := c.stored("image "+c.address(), nil)
		hash := c.published(c.build(message.TypeInstance, instance(file, nil)))
		c.holds("ETH", "0")
		c.within(settled, "the message is removed", func() bool { return c.get("/api/v0/messages/"+hash+"/status").object().text("status") == "removed" })
		got := c.get("/api/v0/messages/" + hash).want(200).object()
		c.shape("single", got, "status:text item_hash:hash reception_time:z message:object reason:text removed_at:float/null size:int/null")
		c.shape("the message", got.object("message"), removedShape)
		if got.text("reason") != "balance_insufficient" {
			c.Errorf("reason %s", got.text("reason"))
		}
		for query, want := range map[string]int{"": 1, "paymentTypes=hold": 1, "paymentTypes=credit": 0, "msgTypes=INSTANCE": 1, "msgTypes=STORE": 0} {
			list := c.get("/api/v0/messages.json?msgStatuses=removed&addresses=" + c.address() + "&" + query).want(200).list("messages")
			if len(list) != want {
				c.Errorf("%s: %d messages, want %d", query, len(list), want)
			}
			for _, m := range list {
				c.shape("listed", m, removedShape+" status:text")
			}
		}
		if list := c.get("/api/v0/messages.json?hashes=" + hash).want(200).list("messages"); len(list) != 0 {
			c.Errorf("still listed: %v", list)
		}
		c.get("/api/v0/price/"+hash).want(410, "This message has been removed: "+hash)
		c.get("/api/v0/messages/"+hash+"/content").want(422, "Message "+hash+" is not processed (status: MessageStatus.REMOVED)")
	}},
}

package ccn

import (
	"fmt"
	"slices"
	"strings"
)

const (
	creditShape = `amount:int bonus_amount:int/null tx_hash:text/null token:text/null chain:text/null provider:text/null
		origin:text/null origin_ref:text/null payment_method:text/null credit_ref:hash credit_index:int expense_count:int/null `
	creditPageShape = creditShape + "price:amount/null expense_size_mib:amount/null expiration_date:z/null message_timestamp:z"
	creditWalkShape = creditShape + "price:float/null expense_size_mib:float/null expiration_date:float/null message_timestamp:float"
)

// history gives the client's account credits, takes some for a resource and passes some on. It returns the messages that
// did so and the resource.
func (c *client) history() (given, spent, passed, resource string) {
	c.Helper()
	_, resource = c.stored("resource "+c.address(), nil)
	given = c.credits(c.authority(), "distribution", map[string]any{"token": "ALEPH", "chain": "ETH", "credits": []any{map[string]any{
		"address": c.address(), "amount": 1_500_000, "price": "0.000001", "bonus_amount": 5, "tx_hash": "0xabc",
		"provider": "WALLET", "payment_method": "token_transfer",
		"expiration": int64(4_000_000_000_000),
	}}})
	spent = c.credits(c.authority(), "expense", map[string]any{"credits": []any{map[string]any{
		"address": c.address(), "amount": 2500, "ref": resource, "execution_id": "", "node_id": "node", "price": "0.5", "count": 3, "size": "1.25",
	}}})
	passed = c.credits(c, "transfer", map[string]any{"credits": []any{map[string]any{"address": newAccount(c.T).Address(), "amount": 100}}})
	return given, spent, passed, resource
}

var creditChecks = []check{
	{"§20.14 the history of credits: pages have text decimals and dates, walks floats", func(c *client) {
		given, spent, passed, _ := c.history()
		path := "/api/v0/addresses/" + c.address() + "/credit_history"
		page := c.get(path).want(200)
		c.shape("the page", page.object(), "address:text credit_history:list pagination_page:int pagination_total:int pagination_per_page:int")
		list := page.list("credit_history")
		if !slices.Equal(column(list, "credit_ref"), []string{passed, spent, given}) {
			c.Fatalf("%s", page.body)
		}
		for _, row := range list {
			c.shape("a row of the page", row, creditPageShape)
		}
		c.expect("what was given", list[2], "price=0.000001", "token=ALEPH", "chain=ETH", "provider=WALLET", "payment_method=token_transfer",
			"tx_hash=0xabc", "expiration_date=2096-10-02T07:06:40Z", "amount=1500000", "bonus_amount=5")
		c.expect("what was spent", list[1], "payment_method=credit_expense", "amount=-2500", "expense_count=3", "tx_hash=node", "provider=ALEPH")
		c.expect("what was passed on", list[0], "payment_method=credit_transfer", "amount=-100", "provider=ALEPH")
		walk := c.get(path + "?cursor=&pagination=2").want(200)
		c.shape("the walk", walk.object(), "address:text credit_history:list next_cursor:text pagination_per_page:int")
		for _, row := range walk.list("credit_history") {
			c.shape("a row of the walk", row, creditWalkShape)
		}
	}},
	{"§20.14 rows of a history have their members, whoever gave the credits", func(c *client) {
		path := "/api/v0/addresses/" + c.rich().address() + "/credit_history?pagination=20"
		for _, row := range c.get(path).want(200).list("credit_history") {
			c.shape("a row of a page", row, creditPageShape)
		}
		for _, row := range c.get(path + "&cursor=").want(200).list("credit_history") {
			c.shape("a row of a walk", row, creditWalkShape)
		}
	}},
	{"§20.14 walks of credits need a page size and end, in every order", func(c *client) {
		given, spent, passed, _ := c.history()
		path := "/api/v0/addresses/" + c.address() + "/credit_history"
		c.get(path+"?cursor=").want(422, "pagination=0 is not allowed with cursor-based pagination")
		all := []string{given, passed, spent}
		slices.Sort(all)
		for _, by := range []string{"message_timestamp", "expiration_date", "payment_method", "amount", "origin", "tx_hash", "provider"} {
			for _, order := range []string{"1", "-1"} {
				sorted := column(c.get(path+"?sort_by="+by+"&sort_order="+order).want(200).list("credit_history"), "credit_ref")
				if got := c.walk(path+"?pagination=1&sort_by="+by+"&sort_order="+order, "credit_history", "credit_ref"); !slices.Equal(got, sorted) {
					c.Errorf("by %s %s the walk is %v, the page %v", by, order, got, sorted)
				}
				if slices.Sort(sorted); !slices.Equal(sorted, all) {
					c.Errorf("by %s %s: %v", by, order, sorted)
				}
			}
		}
		next := c.get(path + "?cursor=&pagination=1&sort_by=amount").object().text("next_cursor")
		c.get(path+"?pagination=1&sort_by=origin&cursor="+next).says(422, "Cursor sort field mismatch: ")
		c.get(path+"?pagination=1&sort_by=amount&sort_order=1&cursor="+next).says(422, "Cursor sort order mismatch: ")
		c.get(path+"?pagination=1&cursor=x").says(422, "Invalid cursor")
	}},
	{"§9.5 filters choose movements of credits", func(c *client) {
		given, spent, passed, resource := c.history()
		path := "/api/v0/addresses/" + c.address() + "/credit_history?"
		at := func(hash string) string {
			return fmt.Sprintf("%.3f", c.get("/api/v0/messages/"+hash).object().object("message").object("content").float("time"))
		}
		for query, want := range map[string][]string{
			"direction=incoming": {given}, "direction=outgoing": {passed, spent}, "tx_hash=0xabc": {given},
			"provider=ALEPH": {passed, spent}, "payment_method=credit_expense": {spent},
			"exclude_payment_method=credit_expense,credit_transfer": {given}, "has_expiration=true": {given},
			"has_expiration=false": {passed, spent}, "token=ALEPH&chain=ETH": {given},
			"resource=" + resource: {spent}, "resourceTypes=STORE": {spent}, "resource_types=STORE,PROGRAM": {spent}, "origin_ref=" + resource: {spent},
			"startDate=" + at(spent) + "&endDate=" + at(spent): {spent}, "start_date=" + at(spent): {passed, spent},
			"end_date=" + at(spent): {spent, given}, "pagination=1&page=3": {given},
		} {
			if got := column(c.get(path+query).want(200).list("credit_history"), "credit_ref"); !slices.Equal(got, want) {
				c.Errorf("%s: %v, want %v", query, got, want)
			}
		}
		for _, query := range []string{
			"startDate=2&endDate=1", "startDate=-1", "startDate=x", "endDate=1e300", "direction=up", "resourceTypes=store",
			"sort_by=x", "has_expiration=perhaps",
		} {
			c.get(path + query).problems()
		}
	}},
	{"§20.14 a history without rows is 404, its summary zeros", func(c *client) {
		path := "/api/v0/addresses/" + c.address() + "/credit_history"
		c.get(path).want(404, "No credit history found for this address")
		zeros := c.get(path + "/summary").want(200).object()
		c.shape("the summary", zeros, "address:text entry_count:int total_amount:int total_incoming:int total_outgoing:int")
		if zeros.number("entry_count") != "0" || zeros.number("total_amount") != "0" || zeros.number("total_outgoing") != "0" {
			c.Errorf("%v", zeros)
		}
		c.get(path + "/summary?direction=up").problems()
	}},
	{"§9.6 a summary adds up what its filters choose", func(c *client) {
		c.history()
		path := "/api/v0/addresses/" + c.address() + "/credit_history"
		for query, want := range map[string]string{
			"": "3 1497400 1500000 -2600", "?direction=outgoing": "2 -2600 0 -2600",
			"?payment_method=credit_expense": "1 -2500 0 -2500", "?startDate=1&endDate=2": "0 0 0 0",
		} {
			got := c.get(path + "/summary" + query).want(200).object()
			if s := strings.Join([]string{
				got.number("entry_count"), got.number("total_amount"), got.number("total_incoming"), got.number("total_outgoing"),
			}, " "); s != want {
				c.Errorf("%q: %s, want %s", query, s, want)
			}
		}
		c.get(path+"?pagination=1&page=9").want(404, "No credit history found for this address")
	}},
	{"§9.7 credits that a resource consumed, of any name", func(c *client) {
		c.get("/api/v0/messages/anything/consumed_credits").wantJSON(200, `{"consumed_credits":0,"item_hash":"anything"}`)
		_, _, _, resource := c.history()
		if got := c.get("/api/v0/messages/" + resource + "/consumed_credits").want(200).object(); got.number("consumed_credits") != "2500" {
			c.Errorf("%v", got)
		}
	}},
}

package ccn

import (
	"slices"
	"strings"
	"time"
)

const balanceShape = "address:text balance:number details:object locked_amount:number credit_balance:int credit_balance_details:list/null"

var balanceChecks = []check{
	{"§20.15 an unknown address has a balance of zeros", func(c *client) {
		got := c.get("/api/v0/addresses/" + c.address() + "/balance").want(200).object()
		c.shape("the balance", got, balanceShape)
		if got.float("balance") != 0 || got.float("locked_amount") != 0 {
			c.Errorf("%v", got)
		}
		c.expect("the balance", got, "credit_balance=0", "credit_balance_details=<nil>", "details=map[]")
		detailed := c.get("/api/v0/addresses/" + c.address() + "/balance?include_credit_details=true").want(200).object()
		if list, ok := detailed.list("credit_balance_details"); !ok || len(list) != 0 {
			c.Errorf("%v", detailed)
		}
		c.get("/api/v0/addresses/" + c.address() + "/balance?chain=eth").problems()
	}},
	{"§10.1 balances add up over chains, what resources take is locked", func(c *client) {
		c.holds("ETH", "22192.123456789013")
		c.holds("AVAX", "10")
		path := "/api/v0/addresses/" + c.address() + "/balance"
		got := c.get(path).want(200).object()
		c.shape("the balance", got, balanceShape)
		c.expect("the balance", got, "balance=22202.123456789013")
		if details := got.object("details"); details.float("ETH") != 22192.123456789013 || details.float("AVAX") != 10 {
			c.Errorf("%v", got)
		}
		if got := c.get(path + "?chain=AVAX").want(200).object(); got.float("balance") != 10 || len(got.object("details")) != 0 {
			c.Errorf("on one chain: %v", got)
		}
		_, file := c.stored("image "+c.address(), nil)
		c.published(c.build("INSTANCE", instance(file, nil)))
		if got := c.get(path).want(200).object(); got.float("locked_amount") < 1000 {
			c.Errorf("with an instance: %v", got)
		}
		if other := c.get("/api/v0/addresses/" + strings.ToLower(c.address()) + "/balance").want(200).object(); other.float("balance") != 0 {
			c.Errorf("§18.46 another spelling of the address: %v", other)
		}
	}},
	{"§10.1 credits are listed by when they expire, what never does first", func(c *client) {
		later := time.Now().Add(24 * 300 * time.Hour).UnixMilli()
		grant := func(amount int, extra map[string]any) {
			entry := map[string]any{"address": c.address(), "amount": amount, "price": "0.5", "tx_hash": "0xt", "provider": "p"}
			for name, v := range extra {
				entry[name] = v
			}
			c.credits(c.authority(), "distribution", map[string]any{"token": "ALEPH", "chain": "ETH", "credits": []any{entry}})
		}
		grant(500, map[string]any{"expiration": later})
		grant(1000, nil)
		grant(70, map[string]any{"expiration": 1_700_000_000_000}) // over
		got := c.get("/api/v0/addresses/" + c.address() + "/balance?include_credit_details=1").want(200).object()
		list, _ := got.list("credit_balance_details")
		if got.number("credit_balance") != "1500" || len(list) != 2 {
			c.Fatalf("%v", got)
		}
		c.shape("the first lot", list[0], "expiration_date:null amount:int")
		c.shape("the second lot", list[1], "expiration_date:z amount:int")
		var mine object
		for _, b := range c.get("/api/v0/credit_balances?pagination=0&min_balance=1500").want(200).list("credit_balances") {
			c.shape("a credit balance", b, "address:text credits:int")
			if b.text("address") == c.address() {
				mine = b
			}
		}
		if mine.number("credits") != "1500" {
			c.Errorf("in the list: %v", mine)
		}
		walk := c.walk("/api/v0/credit_balances?pagination=200", "credit_balances", "address")
		if i := slices.Index(walk, c.address()); i < 0 || slices.Contains(walk[i+1:], c.address()) || !slices.IsSorted(walk) {
			c.Errorf("the walk: %v", walk)
		}
	}},
	{"§18.37 a walk over balances loses no chain of an address", func(c *client) {
		for _, chain := range []string{"ETH", "AVAX", "SOL"} {
			c.holds(chain, "7000000")
		}
		page := c.get("/api/v0/balances?pagination=1").want(200)
		c.shape("the page", page.object(), "balances:list "+pageShape)
		c.shape("a balance", page.only("balances"), "address:text balance:number chain:text")
		c.shape(
			"the walk", c.get("/api/v0/balances?pagination=1&cursor=").want(200).object(),
			"balances:list next_cursor:text/null pagination_per_page:int",
		)
		walk := c.walk("/api/v0/balances?pagination=1&min_balance=7000000", "balances", "address")
		own := 0
		for _, address := range walk {
			if address == c.address() {
				own++
			}
		}
		if own != 3 || !slices.IsSorted(walk) {
			c.Errorf("the walk meets the address %d times, want 3", own)
		}
		for query, want := range map[string]int{"chains=AVAX,SOL&": 2, "": 3, "minBalance=1&": 3} {
			n := 0
			for _, b := range c.get("/api/v0/balances?" + query + "pagination=0&min_balance=7000000").want(200).list("balances") {
				if b.text("address") == c.address() {
					n++
				}
			}
			if n != want {
				c.Errorf("%s: %d balances, want %d", query, n, want)
			}
		}
	}},
	{"§10.2 lists of balances have pages, past the end empty ones", func(c *client) {
		for _, list := range []string{"balances", "credit_balances"} {
			page := c.get("/api/v0/" + list + "?page=1000000").want(200).object()
			c.shape(list, page, list+":list "+pageShape)
			c.expect(list, page, "pagination_per_page=100", "pagination_page=1000000", "pagination_item="+list, list+"=[]")
			c.shape(list, c.get("/api/v0/"+list+"?cursor=").want(200).object(), list+":list next_cursor:text/null pagination_per_page:int")
			for _, query := range []string{"min_balance=0", "min_balance=x", "page=0", "pagination=-1"} {
				c.get("/api/v0/" + list + "?" + query).problems()
			}
			c.get("/api/v0/"+list+"?cursor=x").says(422, "Invalid cursor")
		}
		for _, query := range []string{"chains=eth", "chains="} {
			c.get("/api/v0/balances?" + query).problems()
		}
	}},
}

package ccn

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// walk follows the cursors of a list to its end and returns one member of each of its objects.
func (c *client) walk(path, list, member string) []string {
	c.Helper()
	var seen []string
	next := ""
	for range 1000 {
		page := c.get(path + "&cursor=" + next).want(200)
		o := page.object()
		for _, name := range []string{"pagination_page", "pagination_total", "pagination_item"} {
			if _, present := o[name]; present {
				c.Errorf("%s: a walk has %s", path, name)
			}
		}
		if items, ok := o.list(list); ok {
			seen = append(seen, column(items, member)...)
		} else if entries := o.object(list); entries != nil {
			seen = append(seen, entries.members())
		}
		cursor, present := o["next_cursor"]
		if !present {
			c.Fatalf("%s: next_cursor is absent", path)
		}
		if cursor == nil {
			return seen
		}
		next = o.text("next_cursor")
	}
	c.Fatalf("%s: the walk does not end", path)
	return nil
}

// sameTime publishes n posts of one moment and returns their hashes in the order of hashes.
func (c *client) sameTime(n int) []string {
	c.Helper()
	*c.clock = c.clock.Add(time.Second)
	var hashes []string
	for i := range n {
		m := c.buildAt(message.TypePost, map[string]any{"type": "same", "content": i}, *c.clock, "CONFORMANCE")
		hashes = append(hashes, c.published(m))
	}
	slices.Sort(hashes)
	return hashes
}

var orderChecks = []check{
	{"§20.4 a cursor walk over messages of one time has no duplicate and no gap", func(c *client) {
		hashes := c.sameTime(4)
		before := c.published(c.post("later", "", 1))
		path := "/api/v0/messages.json?pagination=1&addresses=" + c.address()
		if got, want := c.walk(path, "messages", "item_hash"), append([]string{before}, hashes...); !slices.Equal(got, want) {
			c.Errorf("descending: %v, want %v", got, want)
		}
		if got, want := c.walk(path+"&sortOrder=1", "messages", "item_hash"), append(slices.Clone(hashes), before); !slices.Equal(got, want) {
			c.Errorf("ascending: %v, want %v", got, want)
		}
		page := c.get(path + "&cursor=").want(200).object()
		c.shape("the first page", page, "messages:list next_cursor:text pagination_per_page:int")
		largest := c.get("/api/v0/messages.json?cursor=&pagination=1000&addresses=" + c.address()).want(200).object()
		c.expect("the largest page", largest, "pagination_per_page=200", "next_cursor=<nil>")
	}},
	{"§20.4 a cursor walk over posts of one time has no duplicate and no gap", func(c *client) {
		hashes := c.sameTime(4)
		for _, v := range []string{"v0", "v1"} {
			for _, order := range []string{"1", "-1"} {
				got := c.walk("/api/"+v+"/posts.json?pagination=1&addresses="+c.address()+"&sortOrder="+order, "posts", "item_hash")
				if !slices.Equal(got, hashes) {
					c.Errorf("%s %s: %v, want %v", v, order, got, hashes)
				}
			}
		}
		c.get("/api/v0/posts.json?cursor=x").says(422, "Invalid cursor")
		c.get("/api/v1/posts.json?cursor=&pagination=0").want(422)
	}},
	{"§20.4 a cursor walk over aggregates of one time has no duplicate and no gap", func(c *client) {
		*c.clock = c.clock.Add(time.Second)
		keys := []string{"a", "b", "c", "d"}
		for _, key := range keys {
			c.published(c.buildAt(message.TypeAggregate, map[string]any{"key": key, "content": map[string]int{"n": 1}}, *c.clock, "CONFORMANCE"))
		}
		for _, query := range []string{"sortOrder=1", "sortOrder=-1", "sortBy=creation_time"} {
			got := c.walk("/api/v0/aggregates.json?pagination=1&addresses="+c.address()+"&"+query, "aggregates", "key")
			slices.Sort(got)
			if !slices.Equal(got, keys) {
				c.Errorf("%s: %v", query, got)
			}
		}
	}},
	{"§20.4 a cursor walk over statistics has no duplicate and no gap", func(c *client) {
		// Addresses with the same beginning, so that few others are in the walk.
		begin := strings.ToLower(c.address()[:4])
		var own []string
		for len(own) < 3 {
			if one := c.as(newAccount(c.T)); strings.HasPrefix(strings.ToLower(one.address()), begin) {
				one.published(one.post("note", "", 1))
				own = append(own, one.address())
			}
		}
		for _, order := range []string{"1", "-1"} {
			got := c.walk("/api/v1/addresses/stats.json?pagination=2&addressContains="+begin+"&sortOrder="+order, "data", "")
			all := strings.Fields(strings.Join(got, " "))
			for _, address := range own {
				if i := slices.Index(all, address); i < 0 || slices.Contains(all[i+1:], address) {
					c.Errorf("%s is in the walk %s at %d of %d, or twice", address, order, i, len(all))
				}
			}
		}
	}},
	{"§1.8 cursors and tx-time exclude each other", func(c *client) {
		c.get("/api/v0/messages.json?cursor=&sortBy=tx-time").problems()
		c.get("/api/v0/posts.json?cursor=&sortBy=tx-time").problems()
	}},
	{"§3.1 lists are in the order of times, then of hashes", func(c *client) {
		hashes := c.sameTime(3)
		last := c.published(c.post("later", "", 1))
		if got := column(c.mine("sortOrder=1"), "item_hash"); !slices.Equal(got, append(slices.Clone(hashes), last)) {
			c.Errorf("ascending: %v", got)
		}
		if got := column(c.mine(""), "item_hash"); !slices.Equal(got, append([]string{last}, hashes...)) {
			c.Errorf("descending: %v", got)
		}
	}},
	{"§20.3 tx-time puts unconfirmed messages first when descending, last when ascending", func(c *client) {
		if c.target.Confirm == nil {
			c.Skip("needs a way to make the node believe in confirmations")
		}
		early, late := c.published(c.post("note", "", 1)), c.published(c.post("note", "", 2))
		none := []string{c.published(c.post("note", "", 3)), c.published(c.post("note", "", 4))}
		s := c.dial(socketPath + "?history=0&addresses=" + c.address())
		// Anchored in the other order than they are dated.
		for hash, height := range map[string]int64{late: 100, early: 200} {
			if err := c.target.Confirm(c.Context(), hash, height, time.Unix(1_600_000_000+height, 0)); err != nil {
				c.Fatal(err)
			}
		}
		for query, want := range map[string][]string{
			"sortBy=tx-time&sortOrder=-1": {none[1], none[0], early, late},
			"sortBy=tx-time&sortOrder=1":  {late, early, none[0], none[1]},
			"startBlock=150":              {none[1], none[0], early},
			"startBlock=200&sortOrder=1":  {early, none[0], none[1]},
			"endBlock=200":                {late},
			"endBlock=201&sortOrder=1":    {late, early},
		} {
			if got := column(c.mine(query), "item_hash"); !slices.Equal(got, want) {
				c.Errorf("%s: %v, want %v", query, got, want)
			}
		}
		m := c.get("/api/v0/messages.json?hashes=" + early).want(200).only("messages")
		list, _ := m.list("confirmations")
		if m["confirmed"] != true || len(list) != 1 {
			c.Fatalf("%v", m)
		}
		c.shape("a confirmation", list[0], "chain:text hash:text height:int")
		if got := column(
			c.get("/api/v0/posts.json?sortBy=tx-time&sortOrder=1&addresses="+c.address()).want(200).list("posts"), "hash",
		); !slices.Equal(got, []string{
			late, early, none[0], none[1],
		}) {
			c.Errorf("posts: %v", got)
		}
		if got := c.get("/api/v0/posts.json?hashes=" + late).want(200).only("posts"); got["confirmed"] != true {
			c.Errorf("the post: %v", got)
		}
		s.live(c.published(c.post("note", "", "§18.27: no confirmation came before")))
		single := c.get("/api/v0/messages/" + late).want(200).object().object("message")
		if list, _ := single.list("confirmations"); single["confirmed"] != true || len(list) != 1 || list[0].number("height") != fmt.Sprint(100) {
			c.Errorf("single: %v", single)
		}
	}},
}

package ccn

import (
	"fmt"
	"slices"

	"github.com/aleph-im/aleph-go/message"
)

// Members of posts (§5).
const (
	postShape = `chain:text item_hash:hash sender:text type:text channel:text/null confirmed:bool content:any
		item_content:text/null item_type:text signature:text/null size:int ` +
		"time:float confirmations:list original_item_hash:hash original_signature:text/null original_type:text hash:hash address:text ref:text/null"
	postShapeV1 = `item_hash:hash content:any original_item_hash:hash original_type:text address:text ref:text/null
		channel:text/null created:offset last_updated:offset`
)

// posts lists posts of the client's account.
func (c *client) posts(query string) []object {
	c.Helper()
	return c.get("/api/v0/posts.json?addresses=" + c.address() + "&" + query).want(200).list("posts")
}

var postChecks = []check{
	{"§20.8 an amended post has the 20 members of v0, its owner as sender", func(c *client) {
		other := c.as(newAccount(c.T))
		c.published(c.aggregate("security", map[string]any{"authorizations": []any{map[string]any{"address": other.address()}}}))
		original := c.published(c.post("kind", "a-ref", map[string]int{"v": 1}))
		amend := c.published(other.build(message.TypePost, map[string]any{
			"type": "amend", "ref": original, "content": map[string]int{"v": 2}, "address": c.address(),
		}))
		page := c.get("/api/v0/posts.json?hashes=" + original).want(200)
		c.shape("the page", page.object(), "posts:list "+pageShape)
		p := page.only("posts")
		c.shape("the post", p, postShape)
		for name, want := range map[string]string{
			"item_hash": amend, "hash": original, "original_item_hash": original, "type": "amend", "original_type": "kind",
			"sender": c.address(), "address": c.address(), "ref": "a-ref",
		} {
			if p.text(name) != want {
				c.Errorf("%s is %v, want %s", name, p[name], want)
			}
		}
		if p.object("content").number("v") != "2" || p.text("signature") == p.text("original_signature") {
			c.Errorf("%v", p)
		}
		v1 := c.get("/api/v1/posts.json?hashes=" + original).want(200).only("posts")
		c.shape("the post in v1", v1, postShapeV1)
		if v1.text("item_hash") != amend || v1.text("created") >= v1.text("last_updated") {
			c.Errorf("%v", v1)
		}
	}},
	{"§18.21 posts are chosen by their owner and by what the original is", func(c *client) {
		first := c.published(c.post("kind", "r1", map[string]any{"tags": []string{"old"}}))
		second := c.published(c.post("other", "r2", map[string]any{"tags": []string{"kept"}}))
		amend := c.published(c.post("amend", first, map[string]any{"tags": []string{"new"}}))
		c.published(c.post("amend", second, map[string]any{"body": "no tags"}))
		for query, want := range map[string][]string{
			"sortOrder=1": {first, second}, "sortOrder=-1": {second, first}, "types=kind": {first},
			"post_types=other,x": {second}, "types=amend": {}, "hashes=" + first: {first},
			"hashes=" + amend: {}, "refs=r1,r2&sortOrder=1": {first, second}, "refs=" + first: {}, "tags=new": {first},
			"tags=old": {}, "tags=kept": {second}, "channels=CONFORMANCE&sort_order=1": {first, second},
			"channels=X": {},
		} {
			if got := column(c.posts(query), "hash"); !slices.Equal(got, want) {
				c.Errorf("%s: %v, want %v", query, got, want)
			}
		}
		c.get("/api/v0/posts.json?hashes=x").problems()
		c.get("/api/v1/posts.json?sortBy=x").problems()
	}},
	{"§18.22 totals of posts respect dates, which are those of the last change", func(c *client) {
		original := c.published(c.post("kind", "", 1))
		between := c.clock.Unix() + 1
		c.published(c.post("note", "", 2))
		c.published(c.post("amend", original, 3))
		for query, want := range map[string]string{
			fmt.Sprintf("endDate=%d", between): "0 0", fmt.Sprintf("startDate=%d", between): "2 2",
			fmt.Sprintf("startDate=%d", c.clock.Unix()): "1 1", "startDate=5&endDate=4": "0 0", "": "2 2",
		} {
			got := c.get("/api/v0/posts.json?addresses=" + c.address() + "&" + query).want(200)
			if s := fmt.Sprint(len(got.list("posts")), " ", got.object().number("pagination_total")); s != want {
				c.Errorf("%s: %s, want %s", query, s, want)
			}
		}
	}},
	{"§5 the page of posts may be in the path", func(c *client) {
		for i := range 3 {
			c.published(c.post("note", "", i))
		}
		for _, v := range []string{"v0", "v1"} {
			got := c.get("/api/" + v + "/posts/page/3.json?pagination=1&addresses=" + c.address()).want(200)
			c.expect(v, got.object(), "pagination_page=3", "pagination_total=3", "pagination_per_page=1", "pagination_item=posts")
			c.expect(v, got.only("posts"), "content=0")
			c.get("/api/"+v+"/posts/page/abc.json").want(400, "Invalid page value in path: abc")
			c.get("/api/"+v+"/posts/page/0.json").want(422, "Page number must be greater than 1.")
		}
	}},
	{"§5 a forgotten amendment gives the post back, a forgotten post takes its amendments", func(c *client) {
		original := c.published(c.post("kind", "", 1))
		amend := c.published(c.post("amend", original, 2))
		c.published(c.forget(amend))
		if p := c.posts("hashes=" + original); len(p) != 1 || p[0].text("item_hash") != original || p[0].text("type") != "kind" {
			c.Errorf("%v", p)
		}
		c.published(c.forget(original))
		if p := c.posts(""); len(p) != 0 {
			c.Errorf("%v", p)
		}
	}},
}

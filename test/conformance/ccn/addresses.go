package ccn

import (
	"fmt"
	"slices"
	"strings"
)

const fileShape = "file_hash:hash size:int type:text item_hash:hash "

var addressChecks = []check{
	{"§20.13 files of an address: pages have ISO dates and integers, walks floats", func(c *client) {
		_, first := c.stored("one "+c.address(), nil)
		file, second := c.stored("twenty-two "+c.address(), nil)
		path := "/api/v0/addresses/" + c.address() + "/files"
		size := fmt.Sprint(len("one "+c.address()) + len("twenty-two "+c.address()))
		page := c.get(path).want(200).object()
		c.shape("the page", page, "address:text total_size:int files:list pagination_page:int pagination_total:int pagination_per_page:int")
		if page.number("total_size") != size || page.number("pagination_total") != "2" || page.number("pagination_per_page") != "100" {
			c.Errorf("%v", page)
		}
		for _, f := range c.get(path).list("files") {
			c.shape("a file", f, fileShape+"created:z")
		}
		walk := c.get(path + "?cursor=&pagination=1").want(200).object()
		c.shape("the walk", walk, "address:text total_size:float files:list next_cursor:text pagination_per_page:int")
		for _, f := range c.get(path + "?cursor=&pagination=1").list("files") {
			c.shape("a file of the walk", f, fileShape+"created:float")
		}
		for query, want := range map[string][]string{
			"": {second, first}, "?sort_order=1": {first, second}, "?sortOrder=1": {second, first},
			"?pagination=1&page=2": {first}, "?file_hash=" + file: {second},
		} {
			got := c.get(path + query).want(200)
			if !slices.Equal(column(got.list("files"), "item_hash"), want) || got.object().number("total_size") != size {
				c.Errorf("%s: %s", query, got.body)
			}
		}
		for order, want := range map[string][]string{"1": {first, second}, "-1": {second, first}} {
			if got := c.walk(path+"?pagination=1&sort_order="+order, "files", "item_hash"); !slices.Equal(got, want) {
				c.Errorf("walk %s: %v", order, got)
			}
		}
	}},
	{"§20.13 no files at all are 404", func(c *client) {
		c.get("/api/v0/addresses/"+c.address()+"/files").want(404, "404: Not Found")
		c.stored("file "+c.address(), nil)
		for _, query := range []string{"page=2", "file_hash=" + unknown, "file_hash="} {
			c.get("/api/v0/addresses/"+c.address()+"/files?"+query).want(404, "404: Not Found")
		}
		c.get("/api/v0/addresses/" + c.address() + "/files?pagination=-1").problems()
		c.get("/api/v0/addresses/"+c.address()+"/files?cursor=x").says(422, "Invalid cursor")
	}},
	{"§20.13 forgotten files are not listed, folders are", func(c *client) {
		c.ipfs()
		_, hash := c.stored("gone "+c.address(), nil)
		dir, kept := c.importFolder("listed " + c.address())
		c.published(c.forget(hash))
		f := c.get("/api/v0/addresses/" + c.address() + "/files").want(200).only("files")
		if f.text("item_hash") != kept || f.text("file_hash") != dir || f.text("type") != "dir" {
			c.Errorf("%v", f)
		}
	}},
	{"§9.1 statistics of all addresses, or of some, count by sender and type", func(c *client) {
		other := c.as(newAccount(c.T))
		c.published(c.post("a", "", 1))
		c.published(c.aggregate("k", map[string]int{"a": 1}))
		c.stored("counted "+c.address(), nil)
		other.published(other.post("a", "", 1))
		want := map[string]string{"messages": "3", "aggregate": "1", "forget": "0", "instance": "0", "post": "1", "program": "0", "store": "1"}
		for _, path := range []string{
			"/api/v0/addresses/stats.json",
			"/api/v0/addresses/stats.json?addresses[]=" + c.address() + "&addresses%5B%5D=" + other.address(),
			"/api/v1/addresses/stats.json?addressContains=" + c.address(),
		} {
			data := c.get(path).want(200).object().object("data")
			stats := data.object(c.address())
			c.shape(path, stats, "messages:int aggregate:int forget:int instance:int post:int program:int store:int")
			for name, n := range want {
				if stats.number(name) != n {
					c.Errorf("%s: %s is %s, want %s", path, name, stats.number(name), n)
				}
			}
			if strings.Contains(path, "[]") && len(data) != 2 {
				c.Errorf("%s: %d addresses", path, len(data))
			}
		}
		if got := c.get("/api/v0/addresses/stats.json?addresses[]=0xnobody").want(200).object().object("data"); len(got) != 0 {
			c.Errorf("nobody: %v", got)
		}
	}},
	{"§18.44 statistics are sorted, in the order of their members", func(c *client) {
		one, three := c.as(newAccount(c.T)), c.as(newAccount(c.T))
		one.published(one.post("a", "", 1))
		for i := range 3 {
			three.published(three.post("a", "", i))
		}
		for query, want := range map[string]bool{"sortBy=post&sortOrder=1": true, "sortBy=post": false, "": false} {
			a := c.get("/api/v1/addresses/stats.json?pagination=0&" + query).want(200)
			c.shape("the page", a.object(), "data:object "+pageShape)
			i, j := strings.Index(string(a.body), one.address()), strings.Index(string(a.body), three.address())
			if i < 0 || j < 0 || (i < j) != want {
				c.Errorf("%s: at %d and %d", query, i, j)
			}
		}
		part := strings.ToUpper(three.address()[10:30])
		if got := c.get("/api/v1/addresses/stats.json?addressContains=" + part).want(200).object().object("data"); got.members() != three.address() {
			c.Errorf("%s: %v", part, got)
		}
		for _, query := range []string{"addressContains=" + strings.Repeat("x", 67), "sortBy=x", "sortOrder=0"} {
			c.get("/api/v1/addresses/stats.json?" + query).problems()
		}
		if got := c.get("/api/v1/addresses/stats.json?addressContains=%25_").want(200).object().object("data"); len(got) != 0 {
			c.Errorf("a wildcard found %v", got)
		}
	}},
	{"§9.4 post types and channels of an address", func(c *client) {
		path := "/api/v0/addresses/" + c.address()
		c.get(path+"/post_types").wantJSON(200, `{"address":"`+c.address()+`","post_types":[]}`)
		c.get(path+"/channels").wantJSON(200, `{"address":"`+c.address()+`","channels":[]}`)
		hash := c.published(c.post("zoo", "", 1))
		c.published(c.post("amend", hash, 2))
		gone := c.published(c.post("gone", "", 1))
		c.published(c.forget(gone))
		c.get(path+"/post_types").wantJSON(200, `{"address":"`+c.address()+`","post_types":["amend","zoo"]}`)
		c.get(path+"/channels").wantJSON(200, `{"address":"`+c.address()+`","channels":["CONFORMANCE"]}`)
	}},
}

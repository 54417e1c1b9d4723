package ccn

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// pythonPost is the model of posts of the Python SDK, which takes no other members.
type pythonPost struct {
	Chain         string           `json:"chain"`
	ItemHash      string           `json:"item_hash"`
	Sender        string           `json:"sender"`
	Type          string           `json:"type"`
	Channel       *string          `json:"channel"`
	Confirmed     bool             `json:"confirmed"`
	Content       map[string]any   `json:"content"`
	ItemContent   *string          `json:"item_content"`
	ItemType      string           `json:"item_type"`
	Signature     *string          `json:"signature"`
	Size          int              `json:"size"`
	Time          float64          `json:"time"`
	Confirmations []map[string]any `json:"confirmations"`
	OriginalHash  string           `json:"original_item_hash"`
	OriginalSig   *string          `json:"original_signature"`
	OriginalType  string           `json:"original_type"`
	Hash          string           `json:"hash"`
	Address       string           `json:"address"`
	Ref           any              `json:"ref"`
}

// rustPage is what the Rust SDK reads of a page of messages; one element that it cannot read fails all.
type rustPage struct {
	Messages []rustMessage `json:"messages"`
	Page     *uint32       `json:"pagination_page"`
	PerPage  *uint32       `json:"pagination_per_page"`
	Total    *uint32       `json:"pagination_total"`
	Next     *string       `json:"next_cursor"`
}

type rustMessage struct {
	Chain         string  `json:"chain"`
	Sender        string  `json:"sender"`
	ItemType      string  `json:"item_type"`
	ItemContent   *string `json:"item_content"`
	ItemHash      string  `json:"item_hash"`
	Type          string  `json:"type"`
	Time          float64 `json:"time"`
	Channel       *string `json:"channel"`
	Confirmations []struct {
		Chain  string `json:"chain"`
		Height uint64 `json:"height"`
		Hash   string `json:"hash"`
	} `json:"confirmations"`
	Content struct {
		Address string  `json:"address"`
		Time    float64 `json:"time"`
	} `json:"content"`
}

// into reads the answer into a client's model. With strict there may be no other members.
func (a answer) into(v any, strict bool) {
	a.c.Helper()
	if kind := a.header.Get("Content-Type"); !strings.HasPrefix(kind, "application/json") {
		a.c.Errorf("%s: Content-Type %q", a.path, kind)
	}
	d := json.NewDecoder(strings.NewReader(string(a.body)))
	if strict {
		d.DisallowUnknownFields()
	}
	if err := d.Decode(v); err != nil {
		a.c.Fatalf("%s: %v: %s", a.path, err, clip(a.body))
	}
}

var flowChecks = []check{
	{"§20.22 Python get_messages, get_posts", func(c *client) {
		original := c.published(c.post("kind", "", map[string]int{"n": 1}))
		c.published(c.post("amend", original, map[string]int{"n": 2}))
		common := "page=1&pagination=200&channels=CONFORMANCE&chains=ETH&startDate=1&endDate=4000000000&sortBy=time&sortOrder=-1" +
			"&addresses=" + c.address()
		a := c.get("/api/v0/messages.json?" + common + "&msgTypes=POST&message_statuses=processed,removing")
		a.into(new(any), false)
		for _, name := range []string{"pagination_page", "pagination_total", "pagination_per_page", "pagination_item"} {
			if a.object()[name] == nil {
				c.Errorf("%s is absent", name)
			}
		}
		known := strings.Fields(`chain sender type channel confirmations confirmed signature size time item_type item_content hash_type item_hash
			content forgotten_by _id`)
		for _, m := range a.list("messages") {
			for name := range m {
				if !slices.Contains(known, name) {
					c.Errorf("the model knows no member %s", name)
				}
			}
			if hashOf(m.text("item_content")) != m.text("item_hash") {
				c.Errorf("%v", m)
			}
		}
		var page struct {
			Posts   []pythonPost `json:"posts"`
			Page    int          `json:"pagination_page"`
			Total   int          `json:"pagination_total"`
			PerPage int          `json:"pagination_per_page"`
			Item    string       `json:"pagination_item"`
		}
		c.get("/api/v0/posts.json?"+common+"&types=kind").into(&page, true)
		if len(page.Posts) != 1 || page.Posts[0].OriginalHash != original || page.Total != 1 || page.PerPage != 200 || page.Item != "posts" {
			c.Errorf("%+v", page)
		}
	}},
	{"§20.22 Python create_store uploads a file and publishes its message again", func(c *client) {
		content := "python " + c.address()
		file := hashOf(content)
		m := c.storing(file, nil)
		// The SDK sends the content beside the envelope's members.
		var envelope map[string]any
		if err := json.Unmarshal(m.envelope, &envelope); err != nil {
			c.Fatal(err)
		}
		envelope["content"] = json.RawMessage(envelope["item_content"].(string))
		metadata, err := json.Marshal(map[string]any{"message": envelope, "sync": true})
		if err != nil {
			c.Fatal(err)
		}
		c.form(addFile, part{name: "metadata", kind: "application/json", body: metadata}, filePart(content)).want(200)
		c.publish(m, true).wantJSON(200, processed)
		c.publish(m, false).wantJSON(202, accepted)
		if got := c.get("/api/v0/storage/by-message-hash/" + m.hash).want(200).object(); got.text("file_hash") != file {
			c.Errorf("%v", got)
		}
	}},
	{"§20.22 TypeScript getCursor ends only at null, store uploads in plain text", func(c *client) {
		for i := range 3 {
			c.published(c.post("note", "", i))
		}
		walked := c.walk("/api/v0/messages.json?pagination=2&sortOrder=-1&startDate=1.5&contentFormat=full&addresses="+c.address(), "messages", "item_hash")
		if len(walked) != 3 {
			c.Errorf("%v", walked)
		}
		content := "typescript " + c.address()
		m := c.storing(hashOf(content), nil)
		c.form(addFile, part{
			name: "metadata", body: fmt.Appendf(nil, `{"message":%s,"sync":true}`, m.envelope),
		}, part{"file", "blob", "application/octet-stream", []byte(content)}).want(200)
		c.do("GET", rawFile+hashOf(content)+"?find", nil, "Origin", "https://x").want(200, content)
		got := c.get("/api/v0/messages/" + m.hash + "?hashes[]=" + m.hash + "&messageType=STORE").want(200).object()
		c.expect("the message", got.object("message"), "type=STORE", "item_hash="+m.hash)
	}},
	{"§20.22 Rust get_message, iterators, uploads", func(c *client) {
		var hashes []string
		for i := range 3 {
			hashes = append(hashes, c.published(c.post("note", "", i)))
		}
		var single struct {
			Status  string      `json:"status"`
			Hash    string      `json:"item_hash"`
			Time    time.Time   `json:"reception_time"`
			Message rustMessage `json:"message"`
		}
		c.get("/api/v0/messages/"+hashes[0]).into(&single, false)
		if m := single.Message; single.Status != "processed" || m.ItemHash != hashes[0] || m.Content.Address != c.address() || m.ItemContent == nil {
			c.Errorf("%+v", single)
		}
		var page rustPage
		c.get("/api/v0/messages.json?msgStatuses=processed,removing&sortOrder=-1&addresses="+c.address()).into(&page, false)
		if page.Page == nil || page.PerPage == nil || page.Total == nil || *page.Total != 3 {
			c.Errorf("%+v", page)
		}
		next, seen := "", 0
		for range 5 {
			var page rustPage
			c.get("/api/v0/messages.json?pagination=1&addresses="+c.address()+"&cursor="+next).into(&page, false)
			if seen += len(page.Messages); page.Next == nil {
				break
			}
			next = *page.Next
		}
		if seen != 3 {
			c.Errorf("the iterator met %d messages", seen)
		}
		content := "rust " + c.address()
		m := c.storing(hashOf(content), nil)
		c.form(addFile, part{"file", "a.bin", "application/octet-stream", []byte(content)}, paying(m, false)).want(202)
		if status := c.get("/api/v0/messages/" + m.hash).want(200).object().text("status"); status != "pending" && status != "processed" {
			c.Errorf("right after the upload: %s", status)
		}
		if got := c.do("HEAD", rawFile+hashOf(content), nil).want(200).header.Get("Content-Length"); got != fmt.Sprint(len(content)) {
			c.Errorf("Content-Length %q", got)
		}
		c.publish(m, true).want(200)
		var files struct {
			Files []struct {
				Hash    string  `json:"file_hash"`
				Item    string  `json:"item_hash"`
				Size    uint64  `json:"size"`
				Created float64 `json:"created"`
			} `json:"files"`
			Total float64 `json:"total_size"`
		}
		c.get("/api/v0/addresses/"+c.address()+"/files?cursor=&pagination=200").into(&files, false)
		if len(files.Files) != 1 || files.Files[0].Item != m.hash {
			c.Errorf("%+v", files)
		}
	}},
}

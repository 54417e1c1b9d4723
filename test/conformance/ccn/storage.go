package ccn

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"mime/multipart"
	"net/textproto"
	"strconv"
	"strings"

	"github.com/aleph-im/aleph-go/message"
)

// part is one of a form.
type part struct {
	name, filename, kind string // without a filename or a content type it has none
	body                 []byte
}

func filePart(content string) part { return part{name: "file", body: []byte(content)} }

// paying is the part of a form that holds the message which pays for the file.
func paying(m signed, sync bool) part {
	return part{name: "metadata", kind: "application/json", body: fmt.Appendf(nil, `{"message":%s,"sync":%t}`, m.envelope, sync)}
}

// form sends a form.
func (c *client) form(path string, parts ...part) answer {
	c.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for _, p := range parts {
		header := textproto.MIMEHeader{"Content-Disposition": {fmt.Sprintf(`form-data; name=%q`, p.name)}}
		if p.filename != "" {
			header.Set("Content-Disposition", fmt.Sprintf(`form-data; name=%q; filename=%q`, p.name, p.filename))
		}
		if p.kind != "" {
			header.Set("Content-Type", p.kind)
		}
		w, err := form.CreatePart(header)
		if err == nil {
			_, err = w.Write(p.body)
		}
		if err != nil {
			c.Fatal(err)
		}
	}
	if err := form.Close(); err != nil {
		c.Fatal(err)
	}
	return c.do("POST", path, body.Bytes(), "Content-Type", form.FormDataContentType())
}

const (
	addFile   = "/api/v0/storage/add_file"
	rawFile   = "/api/v0/storage/raw/"
	largeBody = 64 << 20 // bytes; a node that takes more is not tried
)

func hashOf(content string) string { return string(message.HashBytes([]byte(content))) }

var storageChecks = []check{
	{"§20.10 files are taken raw and as forms, with and without a filename, for nothing", func(c *client) {
		content := "free " + c.address()
		file := hashOf(content)
		for name, send := range map[string]func() answer{
			"raw": func() answer {
				return c.do("POST", addFile, []byte(content), "Content-Type", "application/octet-stream")
			},
			"no filename": func() answer { return c.form(addFile, filePart(content)) },
			"filename":    func() answer { return c.form(addFile, part{"file", "a.txt", "text/plain", []byte(content)}) },
			"others too": func() answer {
				return c.form(addFile, part{name: "x", body: []byte("y")}, filePart("lost"), filePart(content))
			},
		} {
			got := send().want(200).object()
			c.shape(name, got, "status:text hash:hash")
			if got.text("status") != "success" || got.text("hash") != file {
				c.Errorf("%s: %v, want %s", name, got, file)
			}
		}
		c.get(rawFile+file).want(200, content)
		empty := c.do("POST", addFile, nil, "Content-Type", "application/octet-stream").want(200).object()
		if empty.text("hash") != hashOf("") {
			c.Errorf("the empty file: %v", empty)
		}
	}},
	{"§20.10 a file that a message pays for is answered with 202, with sync with 200, whatever part comes first", func(c *client) {
		for i, sync := range []bool{false, true} {
			for j := range 2 {
				content := fmt.Sprint("paid ", c.address(), i, j)
				file := hashOf(content)
				m := c.storing(file, nil)
				parts := []part{filePart(content), paying(m, sync)}
				if j == 1 {
					parts[0], parts[1] = parts[1], parts[0]
				}
				status := 202
				if sync {
					status = 200
				}
				a := c.form(addFile, parts...).want(status)
				c.shape("the answer", a.object(), "status:text hash:hash")
				c.get("/api/v0/messages/" + m.hash).want(200)
				c.get(rawFile+file).want(200, content)
				c.publish(m, true).wantJSON(200, processed)
			}
		}
	}},
	{"§20.10 a file is paid for by credits as far as they reach", func(c *client) {
		rich := c.rich()
		content := "by credits " + c.address()
		file := hashOf(content)
		m := rich.storing(file, map[string]any{"payment": byCredits()})
		rich.form(addFile, filePart(content), paying(m, true)).want(200)
		price := c.get("/api/v0/price/" + m.hash).want(200).object()
		c.expect("the price", price, "payment_type=credit", "charged_address="+rich.address())
		costs := c.get("/api/v0/costs?item_hash=" + m.hash + "&include_details=1").want(200).only("resources")
		c.expect("the costs", costs, "item_hash="+m.hash, "owner="+rich.address(), "payment_type=credit", "cost_credit="+price.text("cost"))
		if got := c.get("/api/v0/messages.json?paymentTypes=credit&hashes=" + m.hash).want(200).list("messages"); len(got) != 1 {
			c.Errorf("by how it is paid: %v", got)
		}
		rich.published(rich.forget(m.hash))
	}},
	{"§18.10 an upload whose message is rejected is answered with 422 and the hash", func(c *client) {
		_, original := c.stored("original "+c.address(), nil)
		_, update := c.stored("update "+c.address(), map[string]any{"ref": original})
		content := "update of an update " + c.address()
		m := c.storing(hashOf(content), map[string]any{"ref": update})
		c.form(addFile, filePart(content), paying(m, true)).wantJSON(422, `{"status":"success","hash":"`+hashOf(content)+`"}`)
		c.expect("the message", c.get("/api/v0/messages/"+m.hash).want(200).object(), "status=rejected", "error_code=201")
	}},
	{"§20.10 uploads are refused for the first reason that there is", func(c *client) {
		content := "refused " + c.address()
		file := hashOf(content)
		m := c.storing(file, nil)
		credit := c.storing(file, map[string]any{"payment": byCredits()})
		other := part{name: "metadata", body: []byte(`{"message":` + string(m.envelope) + `}`)}
		c.form(addFile, paying(m, true)).want(400, "400: File should be sent as FormData or Raw Upload")
		c.form(addFile, filePart(content), part{name: "metadata", body: []byte("{")}).says(422, "422: Could not decode metadata: [")
		c.form(addFile, filePart(content), other).says(422, "422: Could not decode metadata: [")
		c.form(addFile, filePart(content), paying(forged(m), true)).want(403, "403: Forbidden")
		c.form(addFile, filePart(content), paying(c.post("note", "", 1), true)).says(422, "422: Invalid store message content: ")
		c.form(addFile, filePart("others"), paying(m, true)).want(422, fmt.Sprintf("422: File hash does not match (%s != %s)", hashOf("others"), file))
		c.form(addFile, filePart(content), paying(credit, true)).want(402, "402: Payment Required")
		c.get("/api/v0/messages/" + m.hash).want(404)
	}},
	{"§20.10 uploads beyond the limits are 413", func(c *client) {
		limits := c.get("/api/v0/storage/limits.json").want(200).object()
		free, _ := strconv.Atoi(limits.object("storage").number("max_unauthenticated_upload_file_size"))
		if free > largeBody {
			c.Skipf("the node takes %d bytes for nothing", free)
		}
		large := strings.Repeat("x", free+1)
		refusal := fmt.Sprintf("Maximum request body size %d exceeded.", free)
		c.do("POST", addFile, []byte(large), "Content-Type", "application/octet-stream").want(413, refusal)
		c.form(addFile, filePart(large)).want(413, refusal)
		c.do("POST", "/api/v0/storage/add_json", []byte(large)).want(413, refusal)
		c.form(addFile, filePart(large), paying(c.storing(hashOf(large), nil), true)).want(402, "402: Payment Required")
	}},
	{"§19 limits of uploads are told", func(c *client) {
		limits := c.get("/api/v0/storage/limits.json").want(200).object()
		c.shape("limits", limits, "storage:object ipfs:object")
		c.shape("of storage", limits.object("storage"), "max_file_size:int max_unauthenticated_upload_file_size:int")
		c.shape("of ipfs", limits.object("ipfs"), "max_upload_file_size:int max_upload_car_size:int max_unauthenticated_upload_file_size:int")
	}},
	{"§20.11 HEAD of a raw file tells its size, unknown files are 404, what is no hash 400", func(c *client) {
		content := strings.Repeat("0123456789", 1000) + c.address()
		file := c.uploaded(content)
		for _, method := range []string{"HEAD", "GET"} {
			a := c.do(method, rawFile+file+"?find", nil, "Accept-Encoding", "identity").want(200)
			a.headers(fmt.Sprint("Content-Length=", len(content)), "Content-Type=application/octet-stream", "Content-Disposition=")
			if method == "GET" && string(a.body) != content {
				c.Errorf("%d other bytes", len(a.body))
			}
			for _, bad := range []string{"x", strings.Repeat("0", 63), "bafy"} {
				if a := c.do(method, rawFile+bad, nil); a.status != 400 || method == "GET" && string(a.body) != "Invalid hash" {
					c.Errorf("%s %s: %d %s", method, bad, a.status, a.body)
				}
			}
			for _, absent := range []string{unknown, strings.Repeat("%3F", 64), "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"} {
				if a := c.do(method, rawFile+absent, nil); a.status != 404 || method == "GET" && string(a.body) != "Not found" {
					c.Errorf("%s %s: %d %s", method, absent, a.status, a.body)
				}
			}
		}
	}},
	{"§20.12 nodes get files from each other in base64", func(c *client) {
		content := strings.Repeat("\x00\xff0123456789", 500) + c.address()
		file := c.uploaded(content)
		got := c.get("/api/v0/storage/" + file).want(200).object()
		c.shape("the answer", got, "status:text hash:hash engine:text content:text")
		raw, err := base64.StdEncoding.DecodeString(got.text("content")) // which passes over line feeds
		if err != nil || string(raw) != content || got.text("status") != "success" || got.text("engine") != "storage" {
			c.Errorf("%d bytes, %v: %v", len(raw), err, got.members())
		}
		c.get("/api/v0/storage/x").want(400, "Invalid hash provided")
		c.get("/api/v0/storage/"+unknown).want(404, "Not found")
		c.get("/api/v0/storage/limits.json").want(200)
	}},
	{"§8.6 files are found by message, by name, and described", func(c *client) {
		content := "named " + c.address()
		file, first := c.stored(content, map[string]any{"ref": "my-file"})
		found := func(ref string) string {
			return fmt.Sprintf(`{"ref":"%s","owner":"%s","file_hash":"%s","download_url":"%s","size":%d}`, ref, c.address(), file, rawFile+file, len(content))
		}
		c.get("/api/v0/storage/by-message-hash/"+first).wantJSON(200, found("my-file"))
		c.get("/api/v0/storage/by-ref/"+c.address()+"/my-file").wantJSON(200, found("my-file"))
		c.get("/api/v0/storage/metadata/"+file).wantJSON(200,
			fmt.Sprintf(`{"file_hash":"%s","type":"file","size":%d,"download_url":"%s"}`, file, len(content), rawFile+file))
		// A newer version under the same name, and one that names the message of a file.
		content = "newer " + c.address()
		file, _ = c.stored(content, map[string]any{"ref": "my-file"})
		c.get("/api/v0/storage/by-ref/"+c.address()+"/my-file").wantJSON(200, found("my-file"))
		_, original := c.stored("original "+c.address(), nil)
		content = "update " + c.address()
		file, _ = c.stored(content, map[string]any{"ref": original})
		c.get("/api/v0/storage/by-ref/"+original).wantJSON(200, found(original))
		c.get("/api/v0/storage/by-ref/0xother/"+original).wantJSON(200, found(original))

		c.get("/api/v0/storage/by-message-hash/x").want(400, "Invalid hash provided")
		c.get("/api/v0/storage/by-message-hash/"+unknown).want(404, "No file found for message "+unknown)
		c.get("/api/v0/storage/by-ref/my-file").want(400, "address is required for user-defined ref")
		c.get("/api/v0/storage/by-ref/"+unknown).want(404, "No file found for tag "+unknown)
		c.get("/api/v0/storage/by-ref/0xnobody/my-file").want(404, "No file found for tag 0xnobody/my-file")
		c.get("/api/v0/storage/metadata/x").want(404, "No file found for hash x")
	}},
	{"§18.45 pins are counted, also those of what nobody knows", func(c *client) {
		file, _ := c.stored("counted "+c.address(), nil)
		one := c.get("/api/v0/storage/count/" + file).want(200).value()
		c.published(c.storing(file, map[string]any{"ref": "again"}))
		two := c.get("/api/v0/storage/count/" + file).want(200).value()
		before, _ := strconv.Atoi(fmt.Sprint(one))
		if after, _ := strconv.Atoi(fmt.Sprint(two)); before < 1 || after != before+1 {
			c.Errorf("%v pins, then %v", one, two)
		}
		c.get("/api/v0/storage/count/anything").want(200, "0")
	}},
	{"§18.34 JSON is stored in one form, with numbers as they are", func(c *client) {
		for _, body := range []string{
			`{"b":[1.0,"ü"],"a":{"d":2,"c":"` + c.address() + `"}}`,
			"{ \"a\": {\"c\":\"" + c.address() + "\",\n\"d\":2}, \"b\": [1.0, \"\\u00fc\"] }",
		} {
			want := `{"a":{"c":"` + c.address() + `","d":2},"b":[1.0,"ü"]}`
			a := c.postJSON("/api/v0/storage/add_json", body).want(200)
			c.shape("the answer", a.object(), "status:text hash:hash")
			if a.object().text("hash") != hashOf(want) {
				c.Errorf("%s", a.body)
			}
			c.get(rawFile+hashOf(want)).want(200, want)
		}
		c.postJSON("/api/v0/storage/add_json", "{").want(422)
	}},
	{"§4.1 the content of a message may be a file", func(c *client) {
		content := fmt.Sprintf(`{"address":"%s","time":%d.5,"type":"long","content":{"body":"from a file"}}`, c.address(), c.clock.Unix())
		hash := c.uploaded(content)
		c.published(c.sign(&message.Message{
			Sender: c.address(), Chain: c.account.Chain(), Type: message.TypePost, ItemType: message.ItemStorage,
			ItemHash: message.Hash(hash), Time: message.TimeFrom(*c.clock),
		}))
		got := c.get("/api/v0/messages.json?hashes=" + hash).want(200).only("messages")
		c.shape("the message", got, listedShape)
		if got["item_content"] != nil || got.text("item_type") != "storage" || got.number("size") != fmt.Sprint(len(content)) {
			c.Errorf("%v", got)
		}
		c.get("/api/v0/messages/"+hash+"/content").wantJSON(200, `{"body":"from a file"}`)
	}},
}

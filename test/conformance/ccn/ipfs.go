package ccn

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	ipld "github.com/ipfs/go-ipld-format"
)

const (
	addIPFS = "/api/v0/ipfs/add_file"
	addCAR  = "/api/v0/ipfs/add_car"
)

// ipfs skips the check on a node without IPFS.
func (c *client) ipfs() {
	c.Helper()
	if a := c.form(addIPFS, filePart("ipfs?")); a.status == 403 && strings.Contains(string(a.body), "IPFS is disabled on this node") {
		c.Skip("the node has IPFS disabled")
	}
}

// archive is a CARv1 of blocks, the first of which is the root.
func archive(blocks ...ipld.Node) []byte {
	root := append([]byte{0}, blocks[0].Cid().Bytes()...)
	var header bytes.Buffer
	header.WriteString("\xa2\x65roots\x81\xd8\x2a\x58")
	header.WriteByte(byte(len(root)))
	header.Write(root)
	header.WriteString("\x67version\x01")
	car := append(binary.AppendUvarint(nil, uint64(header.Len())), header.Bytes()...)
	for _, b := range blocks {
		section := append(bytes.Clone(b.Cid().Bytes()), b.RawData()...)
		car = append(binary.AppendUvarint(car, uint64(len(section))), section...)
	}
	return car
}

// leafOf is the one block of a short file.
func leafOf(content string) ipld.Node {
	return merkledag.NodeWithData(unixfs.FilePBData([]byte(content), uint64(len(content))))
}

// folder is a folder with a file of that content, and the file.
func (c *client) folder(content string) (dir, file ipld.Node) {
	c.Helper()
	file = leafOf(content)
	root := unixfs.EmptyDirNode()
	if err := root.AddNodeLink("a.txt", file); err != nil {
		c.Fatal(err)
	}
	return root, file
}

// importFolder puts a folder on the node and returns its name and the message that keeps it.
func (c *client) importFolder(content string) (dir, hash string) {
	c.Helper()
	root, leaf := c.folder(content)
	dir = root.Cid().String()
	m := c.storing(dir, nil)
	c.form(addCAR, part{"file", "a.car", "application/vnd.ipld.car", archive(root, leaf)}, paying(m, true)).want(200)
	return dir, m.hash
}

var ipfsChecks = []check{
	{"§20.10 files are added to IPFS under the names of Kubo's defaults", func(c *client) {
		c.ipfs()
		content := "ipfs " + c.address()
		want := leafOf(content).Cid().String()
		got := c.form(addIPFS, part{"file", "a.txt", "text/plain", []byte(content)}).want(200).object()
		c.shape("the answer", got, "status:text hash:hash name:text size:int")
		if got.text("hash") != want || got.text("name") != "a.txt" {
			c.Errorf("%v, want %s", got, want)
		}
		if got := c.form(addIPFS, filePart(content)).want(200).object(); got.text("name") != "file" {
			c.Errorf("without a name: %v", got)
		}
		c.get(rawFile+want).want(200, content)
		if got := c.get("/api/v0/storage/" + want).want(200).object().text("engine"); got != "ipfs" {
			c.Errorf("engine %s", got)
		}
		known := c.form(addIPFS, filePart("hello world\n")).want(200).object().text("hash")
		if known != "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o" {
			c.Errorf("hello world is %s", known)
		}
	}},
	{"§20.10 a file of IPFS that a message pays for", func(c *client) {
		c.ipfs()
		for _, sync := range []bool{false, true} {
			content := fmt.Sprint("paid ipfs ", sync, c.address())
			file := leafOf(content).Cid().String()
			m := c.storing(file, nil)
			status := 202
			if sync {
				status = 200
			}
			c.form(addIPFS, filePart(content), paying(m, sync)).want(status)
			c.get("/api/v0/messages/" + m.hash).want(200)
			c.publish(m, true).wantJSON(200, processed)
			c.get(rawFile+file).want(200, content)
		}
		content := "refused ipfs " + c.address()
		file := leafOf(content).Cid().String()
		m := c.storing(file, nil)
		c.do("POST", addIPFS, []byte(content)).want(400, "400: Expected Content-Type: multipart/form-data")
		c.form(addIPFS, paying(m, true)).want(422, "422: Missing 'file' in multipart form.")
		c.form(addIPFS, filePart(content), paying(forged(m), true)).want(403, "403: Forbidden")
		c.form(addIPFS, filePart(content), paying(c.storing(hashOf(content), nil), true)).want(
			422, "422: Expected item_type=ipfs in STORE message, got ItemType.storage",
		)
		c.form(addIPFS, filePart(content+"!"), paying(m, true)).says(422, "422: File hash does not match (")
		c.form(addIPFS, filePart(content), paying(c.storing(file, map[string]any{"payment": byCredits()}), true)).want(402, "402: Payment Required")
	}},
	{"§20.10 archives are imported for who pays", func(c *client) {
		c.ipfs()
		root, leaf := c.folder("in a folder " + c.address())
		dir := root.Cid().String()
		car := part{"file", "a.car", "application/vnd.ipld.car", archive(root, leaf)}
		m := c.storing(dir, nil)
		c.form(addCAR, car).want(422, "422: metadata is required for CAR upload")
		c.form(addCAR, paying(m, true)).want(422, "422: Missing 'file' in multipart form.")
		c.do("POST", addCAR, car.body).want(400, "400: Expected Content-Type: multipart/form-data")
		c.form(addCAR, car, paying(forged(m), true)).want(403, "403: Forbidden")
		c.form(addCAR, part{name: "file", body: []byte("no archive")}, paying(m, true)).says(422, "422: Invalid CAR file: ")
		other := c.storing(leaf.Cid().String(), nil)
		c.form(addCAR, car, paying(other, true)).want(422, fmt.Sprintf("422: Root CID does not match (%s != %s)", dir, leaf.Cid()))
		got := c.form(addCAR, paying(m, true), car).want(200).object()
		c.shape("the answer", got, "status:text hash:hash size:int")
		if got.text("hash") != dir {
			c.Errorf("%v", got)
		}
		if got := c.get("/api/v0/storage/metadata/" + dir).want(200).object(); got.text("type") != "dir" {
			c.Errorf("%v", got)
		}
	}},
	{"§20.11 a folder is served as an archive without a length", func(c *client) {
		c.ipfs()
		dir, _ := c.importFolder("served " + c.address())
		for _, method := range []string{"HEAD", "GET"} {
			a := c.do(method, rawFile+dir, nil, "Accept-Encoding", "identity").want(200)
			if a.header.Get("Content-Length") != "" || a.header.Get("Content-Type") != "application/x-tar" {
				c.Errorf("%s: %v", method, a.header)
			}
			if method == "GET" && !bytes.Contains(a.body, []byte("served "+c.address())) {
				c.Errorf("the archive has %d bytes and not those of the file", len(a.body))
			}
		}
	}},
	{"§18.31 what is on IPFS and was never stored is not served", func(c *client) {
		c.ipfs()
		_, leaf := c.folder("inside " + c.address())
		c.importFolder("inside " + c.address())
		c.get(rawFile+leaf.Cid().String()).want(404, "Not found")
	}},
	{"§8.3 JSON is added to IPFS in one form", func(c *client) {
		c.ipfs()
		want := `{"a":"` + c.address() + `","b":1}`
		file := leafOf(want).Cid().String()
		if got := c.postJSON("/api/v0/ipfs/add_json", `{ "b": 1, "a": "`+c.address()+`" }`).want(200).object(); got.text("hash") != file {
			c.Errorf("%v, want %s", got, file)
		}
		c.get(rawFile+file).want(200, want)
		c.postJSON("/api/v0/ipfs/add_json", "{").want(422)
	}},
}

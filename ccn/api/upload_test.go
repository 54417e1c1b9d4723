package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature"
)

// part is one of a form.
type part struct {
	name, filename string // without a filename it has none
	body           []byte
}

func formOf(t testing.TB, parts ...part) (body *bytes.Buffer, contentType string) {
	t.Helper()
	body = &bytes.Buffer{}
	form := multipart.NewWriter(body)
	for _, p := range parts {
		disposition := fmt.Sprintf(`form-data; name=%q`, p.name)
		if p.filename != "" {
			disposition += fmt.Sprintf(`; filename=%q`, p.filename)
		}
		w, err := form.CreatePart(textproto.MIMEHeader{"Content-Disposition": {disposition}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(p.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	return body, form.FormDataContentType()
}

// form sends a form.
func (r *rig) form(path string, parts ...part) answer {
	r.t.Helper()
	body, contentType := formOf(r.t, parts...)
	return r.do(http.MethodPost, path, body, "Content-Type", contentType)
}

// storing signs a STORE message of a file with this name.
func (r *rig) storing(hash message.Hash, extra map[string]any) []byte {
	r.t.Helper()
	content := map[string]any{"address": r.account.Address(), "time": 1700000000.5, "item_type": hash.Kind(), "item_hash": hash}
	maps.Copy(content, extra)
	return r.signed(message.TypeStore, content)
}

// signed signs a message with a content.
func (r *rig) signed(typ message.Type, content map[string]any) []byte {
	r.t.Helper()
	m, _, err := message.Build(r.account.Address(), r.account.Chain(), typ, content, nil, time.Now())
	if err != nil {
		r.t.Fatal(err)
	}
	if err := signature.Sign(r.t.Context(), r.account, m); err != nil {
		r.t.Fatal(err)
	}
	return m.AppendJSON(nil)
}

func metadataOf(envelope []byte, sync bool) part {
	return part{name: "metadata", body: fmt.Appendf(nil, `{"message":%s,"sync":%t}`, envelope, sync)}
}

func (a answer) check(t *testing.T, name string, status int, body string) {
	t.Helper()
	if a.status != status || !strings.Contains(string(a.body), body) {
		t.Errorf("%s: %d %s, want %d %s", name, a.status, a.body, status, body)
	}
}

const addFilePath = "/api/v0/storage/add_file"

func TestPaidUploadsMayBeginWithEitherPart(t *testing.T) {
	r := newRig(t)
	for i, reversed := range []bool{false, true} {
		for _, sync := range []bool{false, true} {
			file := fmt.Appendf(nil, "content %d %t", i, sync)
			hash := message.HashBytes(file)
			parts := []part{{name: "file", body: file}, metadataOf(r.storing(hash, nil), sync)}
			if reversed {
				slices.Reverse(parts)
			}
			status := http.StatusAccepted
			if sync {
				status = http.StatusOK
			}
			r.form(addFilePath, parts...).check(t, "upload", status, `{"status":"success","hash":"`+string(hash)+`"}`)
			r.get("/api/v0/storage/raw/"+string(hash)).check(t, "raw", 200, string(file))
		}
	}
}

func TestUploadsWithoutPaymentAreKeptForAWhile(t *testing.T) {
	r := newRig(t)
	for name, send := range map[string]func() answer{
		"form": func() answer { return r.form(addFilePath, part{name: "file", body: []byte("free")}) },
		"raw":  func() answer { return r.do(http.MethodPost, addFilePath, strings.NewReader("free")) },
		"named": func() answer {
			return r.form(addFilePath, part{name: "other", body: []byte("x")}, part{"file", "../../etc/passwd", []byte("lost")}, part{"file", "a.txt", []byte("free")})
		},
	} {
		send().check(t, name, 200, `{"status":"success","hash":"`+string(message.HashBytes([]byte("free")))+`"}`)
	}
	count := "/api/v0/storage/count/" + string(message.HashBytes([]byte("free")))
	if a := r.get(count); string(a.body) != "1" {
		t.Errorf("the file is pinned %s times after three uploads, want once", a.body)
	}
	if a := r.get("/api/v0/storage/count/../../x"); a.status == 500 {
		t.Errorf("%d %s", a.status, a.body)
	}
	empty := r.do(http.MethodPost, addFilePath, http.NoBody)
	empty.check(t, "empty", 200, string(message.HashBytes(nil)))
	r.get("/api/v0/storage/raw/"+string(message.HashBytes(nil))).check(t, "empty", 200, "")
}

func TestUploadsAreRefusedInTheOrderOfTheSpecification(t *testing.T) {
	r := newRig(t)
	r.params.MaxUnauthenticated, r.params.MaxFile = 1000, 2000
	file := []byte("content")
	hash := message.HashBytes(file)
	good := metadataOf(r.storing(hash, nil), true)
	forged := part{"metadata", "", bytes.Replace(good.body, []byte(`"signature":"0x`), []byte(`"signature":"0x00`), 1)}
	large, larger := bytes.Repeat([]byte("x"), 1001), bytes.Repeat([]byte("x"), 2001)
	credit := map[string]any{"payment": map[string]any{"chain": "ETH", "type": "credit"}}
	post := part{"metadata", "", fmt.Appendf(nil, `{"message":%s,"sync":true}`, r.post(1))}
	cut, cutType := formOf(r.t, part{"file", "", file})
	cut.Truncate(cut.Len() - 10)
	for name, c := range map[string]struct {
		answer answer
		status int
		body   string
	}{
		"larger than any":       {r.form(addFilePath, part{"file", "", larger}, good), 413, "Maximum request body size 2000 exceeded."},
		"no file":               {r.form(addFilePath, good), 400, "400: File should be sent as FormData or Raw Upload"},
		"large and unpaid":      {r.form(addFilePath, part{"file", "", large}), 413, "Maximum request body size 1000 exceeded."},
		"large and raw":         {r.do(http.MethodPost, addFilePath, bytes.NewReader(large)), 413, "Maximum request body size 1000 exceeded."},
		"metadata is no JSON":   {r.form(addFilePath, part{"file", "", file}, part{"metadata", "", []byte("{")}), 422, "422: Could not decode metadata: ["},
		"metadata without sync": {r.form(addFilePath, part{"file", "", file}, part{"metadata", "", []byte(`{"message":{}}`)}), 422, `"loc":["sync"]`},
		"forged":                {r.form(addFilePath, part{"file", "", file}, forged), 403, "403: Forbidden"},
		"not a STORE":           {r.form(addFilePath, part{"file", "", file}, post), 422, "422: Invalid store message content: "},
		"other bytes":           {r.form(addFilePath, part{"file", "", []byte("others")}, good), 422, "422: File hash does not match (" + string(message.HashBytes([]byte("others"))) + " != " + string(hash) + ")"},
		"no credits":            {r.form(addFilePath, part{"file", "", file}, metadataOf(r.storing(hash, credit), true)), 402, "402: Payment Required"},
		"no tokens":             {r.form(addFilePath, part{"file", "", large}, metadataOf(r.storing(message.HashBytes(large), nil), true)), 402, "402: Payment Required"},
		"ends early":            {r.do(http.MethodPost, addFilePath, cut, "Content-Type", cutType), 400, "400: the form is malformed or ends early"},
		"no boundary":           {r.do(http.MethodPost, addFilePath, strings.NewReader("x"), "Content-Type", "multipart/form-data"), 400, "400: "},
		"packed":                {r.do(http.MethodPost, addFilePath, strings.NewReader("x"), "Content-Encoding", "gzip"), 400, `400: a body with Content-Encoding "gzip" is not accepted`},
		"too many parts":        {r.form(addFilePath, slices.Repeat([]part{{"x", "", nil}}, maxParts+1)...), 400, "400: the form has more than 64 parts"},
		"metadata is huge":      {r.form(addFilePath, part{"metadata", "", bytes.Repeat([]byte(" "), maxMetadata+1)}), 413, "Maximum request body size 1048576 exceeded."},
	} {
		c.answer.check(t, name, c.status, c.body)
	}
}

func TestRangesOfFiles(t *testing.T) {
	r := newRig(t)
	r.form(addFilePath, part{name: "file", body: []byte("0123456789")})
	hash := string(message.HashBytes([]byte("0123456789")))
	path := "/api/v0/storage/raw/" + hash + "?find"
	for _, c := range []struct {
		asked  string
		status int
		body   string
		got    string
	}{
		{"", 200, "0123456789", ""},
		{"bytes=0-0", 206, "0", "bytes 0-0/10"},
		{"bytes=8-99", 206, "89", "bytes 8-9/10"},
		{"bytes=-3", 206, "789", "bytes 7-9/10"},
		{"bytes=-99", 206, "0123456789", "bytes 0-9/10"},
		{"bytes=10-", 416, "", "bytes */10"},
		{"bytes=5-4", 416, "", ""},
		{"bytes=99999999999999999999-", 416, "", ""},
		{"bytes=0-9,0-9,0-9", 200, "0123456789", ""}, // more than the file itself
		{"lines=1-2", 416, "", ""},
	} {
		a := r.do(http.MethodGet, path, nil, "Range", c.asked)
		if a.status != c.status || c.status < 300 && string(a.body) != c.body || a.header.Get("Content-Range") != c.got {
			t.Errorf("%q: %d %q %q, want %d %q %q", c.asked, a.status, a.body, a.header.Get("Content-Range"), c.status, c.body, c.got)
		}
	}
	head := r.do(http.MethodHead, path, nil)
	if head.status != 200 || head.header.Get("Content-Length") != "10" || head.header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("HEAD: %d %v", head.status, head.header)
	}
}

func TestNamesThatAreNoHashesReachNoFile(t *testing.T) {
	r := newRig(t)
	sixtyFour := strings.Repeat("z", 64)
	for path, want := range map[string]struct {
		status int
		body   string
	}{
		"raw/xyz":                                    {400, "Invalid hash"},
		"raw/..%2f..%2fetc%2fpasswd":                 {400, "Invalid hash"},
		"raw/" + strings.Repeat("%2e%2f", 32):        {404, "Not found"},
		"raw/%00" + sixtyFour[1:]:                    {404, "Not found"},
		"raw/" + sixtyFour:                           {404, "Not found"},
		"raw/Qm" + strings.Repeat("0", 44):           {404, "Not found"},
		"raw/" + strings.Repeat("A", 64):             {404, "Not found"},
		"xyz":                                        {400, "Invalid hash provided"},
		sixtyFour:                                    {404, "Not found"},
		"by-message-hash/" + sixtyFour:               {400, "Invalid hash provided"},
		"by-message-hash/" + strings.Repeat("0", 64): {404, "No file found for message " + strings.Repeat("0", 64)},
		"by-ref/mine":                                {400, "address is required for user-defined ref"},
		"by-ref/0xA/mine":                            {404, "No file found for tag 0xA/mine"},
		"metadata/..%2f":                             {404, "No file found for hash ../"},
		"count/anything%00else":                      {200, "0"},
	} {
		r.get("/api/v0/storage/"+path).check(t, path, want.status, want.body)
	}
}

func TestFilesAreFoundByMessageAndByRef(t *testing.T) {
	r := newRig(t)
	first, second := []byte("first"), []byte("second version")
	own := r.storing(message.HashBytes(first), map[string]any{"ref": "my-file"})
	r.form(addFilePath, part{name: "file", body: first}, metadataOf(own, true)).check(t, "first", 200, "")
	newer := r.storing(message.HashBytes(second), map[string]any{"ref": "my-file", "time": 1700000001.0})
	r.form(addFilePath, part{name: "file", body: second}, metadataOf(newer, true)).check(t, "second", 200, "")
	want := func(ref string, file []byte) string {
		return fmt.Sprintf(`{"ref":"%s","owner":"%s","file_hash":"%s","download_url":"/api/v0/storage/raw/%s","size":%d}`,
			ref, r.account.Address(), message.HashBytes(file), message.HashBytes(file), len(file))
	}
	r.get("/api/v0/storage/by-message-hash/"+string(hashIn(t, own))).check(t, "by message", 200, want("my-file", first))
	r.get("/api/v0/storage/by-ref/"+r.account.Address()+"/my-file").check(t, "by ref", 200, want("my-file", second))
	plain := r.storing(message.HashBytes(first), map[string]any{"time": 1700000002.0})
	r.send(plain, true).check(t, "without ref", 200, "processed")
	hash := string(hashIn(t, plain))
	r.get("/api/v0/storage/by-message-hash/"+hash).check(t, "without ref", 200, want(hash, first))
	r.get("/api/v0/storage/by-ref/"+hash).check(t, "by hash", 200, want(hash, first))
	r.get("/api/v0/storage/by-ref/nobody/"+hash).check(t, "by hash, whoever", 200, want(hash, first))
	r.get("/api/v0/storage/metadata/"+string(message.HashBytes(first))).check(t, "metadata", 200, `"type":"file"`)
	r.get("/api/v0/storage/limits.json").check(t, "limits", 200,
		`{"ipfs":{"max_unauthenticated_upload_file_size":26214400,"max_upload_car_size":4294967296,"max_upload_file_size":1073741824},"storage":{"max_file_size":104857600,"max_unauthenticated_upload_file_size":26214400}}`)
}

func TestPeersReadFilesAsBase64(t *testing.T) {
	r := newRig(t)
	for _, size := range []int{0, 1, 56, 57, 58, 57*512 - 1, 57 * 512, 57*512 + 1, 100_000} {
		file := bytes.Repeat([]byte{0xfb}, size)
		r.do(http.MethodPost, addFilePath, bytes.NewReader(file)).check(t, "upload", 200, "")
		var got struct{ Status, Hash, Engine, Content string }
		if err := json.Unmarshal(r.get("/api/v0/storage/"+string(message.HashBytes(file))).body, &got); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(got.Content) {
			if len(line) > 77 || !strings.HasSuffix(line, "\n") {
				t.Fatalf("%d bytes: line %q", size, line)
			}
		}
		decoded, err := base64.StdEncoding.DecodeString(got.Content)
		if err != nil || !bytes.Equal(decoded, file) || got.Status != "success" || got.Engine != "storage" {
			t.Errorf("%d bytes: %v %s %s", size, err, got.Status, got.Engine)
		}
	}
}

func TestJSONIsStoredInOneForm(t *testing.T) {
	r := newRig(t)
	canonical := `{"a":[1,1.5,"é"],"b":{"x":null,"y":true}}`
	for _, text := range []string{canonical, ` {"b" : {"y":true,"x":null}, "a":[1, 1.50, "\u00e9"]} `} {
		a := r.do(http.MethodPost, "/api/v0/storage/add_json", strings.NewReader(text))
		a.check(t, text, 200, string(message.HashBytes([]byte(canonical))))
	}
	for _, text := range []string{"", "{", "NaN", "1 2", "\xff", `"\x"`, strings.Repeat("[", 20000)} {
		r.do(http.MethodPost, "/api/v0/storage/add_json", strings.NewReader(text)).check(t, text[:min(len(text), 9)], 422, "422: the body is not JSON")
	}
	r.params.MaxUnauthenticated = 10
	r.do(http.MethodPost, "/api/v0/storage/add_json", strings.NewReader(`"0123456789"`)).check(t, "large", 413, "Maximum request body size 10 exceeded.")
}

// TestPaymentCountsWhatIsHeldAndWhatItCovers uploads the same file before and after its owner gets tokens.
func TestPaymentCountsWhatIsHeld(t *testing.T) {
	r := newRig(t)
	r.params.MaxUnauthenticated = 10
	file := bytes.Repeat([]byte("x"), 1<<20)
	upload := func() answer {
		return r.form(addFilePath, part{name: "file", body: file}, metadataOf(r.storing(message.HashBytes(file), nil), true))
	}
	upload().check(t, "without tokens", 402, "402: Payment Required")
	err := r.db.Write(t.Context(), func(tx *store.Tx) error {
		return tx.PutBalance(&store.BalanceRow{Address: r.account.Address(), Chain: "ETH", Balance: "1000", Message: "x"})
	})
	if err != nil {
		t.Fatal(err)
	}
	if a := upload(); a.status == 402 {
		t.Errorf("with tokens: %d %s", a.status, a.body)
	}
}

func FuzzFormsAreTakenOrRefused(f *testing.F) {
	r := newRig(f)
	r.params.MaxUnauthenticated, r.params.MaxFile, r.params.MaxIPFSFile, r.params.MaxCAR = 1<<10, 1<<11, 1<<11, 1<<11
	for _, parts := range [][]part{
		{{"file", "a", []byte("x")}}, {{"metadata", "", []byte("{}")}, {"file", "", nil}}, {{"file", "", []byte("x")}, {"file", "", []byte("y")}},
		{{"file", "", bytes.Repeat([]byte("x"), 3000)}}, {{"", "", nil}}, {{"metadata", "", []byte(`{"message":{},"sync":true}`)}},
	} {
		body, contentType := formOf(f, parts...)
		f.Add(contentType, body.Bytes())
		f.Add(contentType, body.Bytes()[:body.Len()/2])
	}
	archive, root := car([]byte("file"))
	for _, file := range [][]byte{archive, archive[:len(archive)-1], archive[:20], append(archive[:30:30], archive...), bytes.Repeat([]byte{0xff}, 20)} {
		body, contentType := formOf(f, part{"file", "", file}, metadataOf(r.storing(root, nil), true))
		f.Add(contentType, body.Bytes())
	}
	f.Add("multipart/form-data; boundary=\"\"", []byte("----\r\n"))
	f.Add("multipart/form-data; boundary=x", []byte("--x\r\nContent-Disposition: form-data; name=file\r\nContent-Transfer-Encoding: base64\r\n\r\n!\r\n--x--"))
	f.Add("multipart/form-data; boundary=x", append([]byte("--x\r\nX: "), bytes.Repeat([]byte("y"), 1<<16)...))
	f.Add("application/octet-stream", []byte("\x00"))
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		for _, path := range []string{addFilePath, "/api/v0/ipfs/add_file", "/api/v0/ipfs/add_car", "/api/v0/storage/add_json", "/api/v0/ipfs/add_json"} {
			req := httptest.NewRequest(http.MethodPost, path, io.NopCloser(bytes.NewReader(body)))
			req.Header["Content-Type"] = []string{contentType}
			w := httptest.NewRecorder()
			r.handler.ServeHTTP(w, req)
			if w.Code >= 500 {
				t.Errorf("%s: %d %s", path, w.Code, w.Body)
			}
		}
	})
}

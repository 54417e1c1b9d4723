package crn_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/crn"
	"github.com/aleph-im/aleph-go/crn/corenode/corenodetest"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// ownerKey is the key of corenodetest.Owner: the number one.
var ownerKey = append(make([]byte, 31), 1)

// eventually polls until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("did not come true: %s", what)
		}
	}
}

// One node and one machine serve all of these: booting is what costs.
func TestBinaryProgram(t *testing.T) {
	n := start(t, nil)
	size := 16
	large := strings.Repeat("more than the parent holds. ", 3<<20/28)
	hash := n.probe(t, func(content map[string]any) {
		content["variables"] = map[string]string{"GREETING": "good day"}
		content["resources"].(map[string]any)["seconds"] = 3
		content["volumes"] = []any{
			map[string]any{"persistence": "host", "name": "kept", "mount": "/kept", "size_mib": size},
			map[string]any{"ephemeral": true, "mount": "/scratch", "size_mib": size},
			map[string]any{
				"persistence": "host", "name": "base", "mount": "/base", "size_mib": size,
				"parent": map[string]any{"ref": n.core.Store(ext4Image(t, "greeting", "from the parent")), "use_latest": false},
			},
		}
	})

	t.Run("request and answer pass unchanged", func(t *testing.T) {
		r := n.do(t, "PATCH", "/vm/"+string(hash)+"/echo/a%2Fb%20c/?x=1&x=%20", "the body")
		if r.status != http.StatusTeapot || r.body != "the body" {
			t.Fatalf("got %+v", r)
		}
		for name, want := range map[string]string{
			"X-Path": "/echo/a%2Fb%20c/", "X-Query": "x=1&x=%20", "X-Method": "PATCH", "X-Host": strings.TrimPrefix(n.url, "http://"), "X-Forwarded": "127.0.0.1",
			"Server": "aleph-vm/1.14.0",
		} {
			if got := r.header.Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		if got := r.header.Values("Set-Cookie"); len(got) != 2 {
			t.Errorf("cookies %v", got)
		}
		if got := r.header.Values("Server"); len(got) != 1 {
			t.Errorf("Server %v", got)
		}
	})

	t.Run("answers of 404 stay the program's own", func(t *testing.T) {
		if r := n.get(t, hash, "/absent"); r.status != 404 || strings.Contains(r.body, "error") {
			t.Errorf("got %+v", r)
		}
	})

	t.Run("bodies stream both ways", func(t *testing.T) {
		body, feed := io.Pipe()
		request, err := http.NewRequestWithContext(t.Context(), "POST", n.url+"/vm/"+string(hash)+"/stream", body)
		if err != nil {
			t.Fatal(err)
		}
		// The transport reads the body while the answer is read: each part needs the byte sent after the one before.
		go func() { _, _ = feed.Write([]byte("x")) }()
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		lines := bufio.NewScanner(response.Body)
		for i := range 2 {
			if !lines.Scan() || lines.Text() != fmt.Sprintf("part %d", i) {
				t.Fatalf("part %d: %q %v", i, lines.Text(), lines.Err())
			}
			if i == 0 {
				_, _ = feed.Write([]byte("x"))
			}
		}
		feed.Close()
	})

	t.Run("upgraded connections, as of WebSockets, carry bytes both ways", func(t *testing.T) {
		conn, err := net.Dial("tcp", n.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprintf(conn, "GET /vm/%s/upgrade HTTP/1.1\r\nHost: crn.test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n", hash)
		reader := bufio.NewReader(conn)
		response, err := http.ReadResponse(reader, nil)
		if err != nil || response.StatusCode != 101 {
			t.Fatalf("got %+v, %v", response, err)
		}
		for _, word := range []string{"ping\n", "pong\n"} {
			fmt.Fprint(conn, word)
			if got, err := reader.ReadString('\n'); err != nil || got != word {
				t.Fatalf("got %q, %v", got, err)
			}
		}
	})

	t.Run("large answers arrive whole", func(t *testing.T) {
		if r := n.get(t, hash, "/large?bytes=5000000"); len(r.body) != 5_000_000 {
			t.Errorf("got %d bytes", len(r.body))
		}
	})

	t.Run("a program that takes longer than its seconds is answered for", func(t *testing.T) {
		r := n.get(t, hash, "/slow")
		if r.status != 504 || !strings.Contains(r.body, "Program did not respond within `resource.seconds`") {
			t.Errorf("got %+v", r)
		}
		if r := n.get(t, hash, "/count"); r.status != 200 {
			t.Errorf("and the machine does not live on: %+v", r)
		}
	})

	t.Run("variables are its environment", func(t *testing.T) {
		if r := n.get(t, hash, "/env?name=GREETING"); r.body != "good day" {
			t.Errorf("got %+v", r)
		}
	})

	t.Run("there is no guest API without environment.aleph_api", func(t *testing.T) {
		if r := n.get(t, hash, "/env?name=ALEPH_API_UNIX_SOCKET"); r.status != 200 || r.body != "" {
			t.Errorf("got %+v", r)
		}
		if r := n.get(t, hash, "/file?path=/tmp/socat-socket"); r.status != 404 {
			t.Errorf("got %+v", r)
		}
	})

	t.Run("its host name reaches it", func(t *testing.T) {
		label := n.get(t, hash, "/env?name=ALEPH_ADDRESS_TO_USE").body
		request, err := http.NewRequestWithContext(t.Context(), "GET", n.url+"/env?name=GREETING", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = strings.ToUpper(strings.TrimSpace(label)) + ".crn.test:4020"
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if body, _ := io.ReadAll(response.Body); string(body) != "good day" {
			t.Errorf("host %s: got %s", request.Host, body)
		}
	})

	t.Run("the owner reads what it printed, nobody else", func(t *testing.T) {
		owner, err := ethereum.NewAccount(ownerKey)
		if err != nil {
			t.Fatal(err)
		}
		// The owner signs the node's name; here that name leads nowhere else than to the node.
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", n.Addr().String())
		}
		c := client.New(client.Config{BaseURL: n.core.URL, HTTPClient: &http.Client{Transport: &http.Transport{DialContext: dial}}})
		lines, err := c.ProgramLogs(t.Context(), owner, "http://crn.test", hash)
		if err != nil || !containsLine(lines, "stdout", "probe: started") || !containsLine(lines, "stderr", "probe: complaining") {
			t.Errorf("got %+v, %v", lines, err)
		}
		stranger, err := ethereum.Generate()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.ProgramLogs(t.Context(), stranger, "http://crn.test", hash); err == nil || !strings.Contains(err.Error(), "403") && !strings.Contains(err.Error(), "Unauthorized") {
			t.Errorf("a stranger got %v", err)
		}
		if r := n.do(t, "GET", "/control/machine/"+string(hash)+"/logs", ""); r.status != 400 {
			t.Errorf("without signature: %+v", r)
		}
	})

	t.Run("using up its memory ends it with a word", func(t *testing.T) {
		if r := n.do(t, "PUT", "/vm/"+string(hash)+"/file?path=/kept/note", "remember"); r.status != 200 {
			t.Fatalf("write to the volume: %+v", r)
		}
		if r := n.do(t, "PUT", "/vm/"+string(hash)+"/file?path=/scratch/note", "forget"); r.status != 200 {
			t.Fatalf("write to the scratch disk: %+v", r)
		}
		if r := n.do(t, "PUT", "/vm/"+string(hash)+"/file?path=/base/note", large); r.status != 200 {
			t.Fatalf("write to the volume with a parent: %+v", r)
		}
		before := n.get(t, hash, "/count")
		r := n.get(t, hash, "/eat")
		if r.status != 502 || !strings.Contains(r.body, "memory") || !strings.Contains(r.body, "128 MiB") {
			t.Fatalf("got %+v", r)
		}
		after := n.get(t, hash, "/count")
		if after.status != 200 || strings.Fields(after.body)[0] == strings.Fields(before.body)[0] {
			t.Errorf("the next call: %+v after %+v", after, before)
		}
	})

	t.Run("a volume with a parent begins as its copy and has its own size", func(t *testing.T) {
		if r := n.get(t, hash, "/file?path=/base/note"); r.status != 200 || r.body != large {
			t.Errorf("what was written: %d, %d bytes", r.status, len(r.body))
		}
		if r := n.get(t, hash, "/file?path=/base/greeting"); r.status != 200 || r.body != "from the parent" {
			t.Errorf("the parent's file: %+v", r)
		}
	})

	t.Run("persistent volumes outlive the machine, scratch disks do not", func(t *testing.T) {
		if r := n.get(t, hash, "/file?path=/scratch/note"); r.status != 404 {
			t.Errorf("scratch: %+v", r)
		}
		if r := n.get(t, hash, "/file?path=/kept/note"); r.status != 200 || r.body != "remember" {
			t.Errorf("kept: %+v", r)
		}
	})

	t.Run("a program that exits is answered for", func(t *testing.T) {
		if r := n.get(t, hash, "/exit"); r.status != 502 || !strings.Contains(r.body, "exited with status 4") {
			t.Errorf("got %+v", r)
		}
	})

	t.Run("the node says what it does", func(t *testing.T) {
		for path, want := range map[string]string{
			"/": "Aleph compute node", "/metrics": "aleph_crn_program_calls_total", "/status/config": `"DOMAIN_NAME":"crn.test"`,
			"/about/usage/system": `"total_kB"`, "/v2/about/executions/list": "{",
		} {
			if r := n.do(t, "GET", path, ""); r.status != 200 || !strings.Contains(r.body, want) || r.header.Get("Server") == "" {
				t.Errorf("%s: %+v", path, r)
			}
		}
		if r := n.do(t, "GET", "/about/login", ""); r.status != 401 {
			t.Errorf("login: %+v", r)
		}
		if r := n.do(t, "GET", "/about/nothing", ""); r.status != 404 || r.body != `{"error":"404: Not Found"}` {
			t.Errorf("unknown path: %+v", r)
		}
	})
}

// ext4Image returns a filesystem of 2 MiB that holds one file.
func ext4Image(t *testing.T, name, content string) []byte {
	t.Helper()
	dir, path := t.TempDir(), filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	tool, err := exec.LookPath("mke2fs")
	if err != nil {
		tool = "/sbin/mke2fs"
	}
	if out, err := exec.Command(tool, "-q", "-t", "ext4", "-O", "^has_journal", "-d", dir, path, "2M").CombinedOutput(); err != nil {
		t.Fatalf("mke2fs: %v: %s", err, out)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func containsLine(lines []client.LogLine, stream, text string) bool {
	for _, l := range lines {
		if l.Stream == stream && l.Message == text {
			return true
		}
	}
	return false
}

func TestAProgramThatNeverListensIsGivenUp(t *testing.T) {
	n := start(t, func(c *crn.Config) { c.InitTimeout = 20 * time.Second })
	silent := n.probe(t, func(content map[string]any) { content["variables"] = map[string]string{"MODE": "silent"} })
	if r := n.get(t, silent, "/"); r.status != 504 || !strings.Contains(r.body, "did not listen on port 8080 within 20s") {
		t.Errorf("got %+v", r)
	}
}

func TestProgramsThatDoNotStart(t *testing.T) {
	n := start(t, func(c *crn.Config) { c.InitTimeout = 90 * time.Second }) // beside other work a machine may take long to boot
	probeWith := func(mode string) message.Hash {
		return n.probe(t, func(content map[string]any) { content["variables"] = map[string]string{"MODE": mode} })
	}
	program := func(code []byte, encoding message.Encoding, entrypoint string) message.Hash {
		return n.core.Publish(message.TypeProgram, corenodetest.Program(n.core.Store(code), n.runtime, encoding, entrypoint))
	}
	changed := func(change func(map[string]any)) message.Hash { return n.probe(t, change) }
	absent := message.HashBytes([]byte("absent"))
	for _, test := range []struct {
		name   string
		hash   message.Hash
		status int
		says   string
	}{
		{"exits at once", probeWith("exit"), 500, "probe: giving up"},
		{"archive that is none", program([]byte("not an archive"), message.EncodingZip, "main:app"), 400, "not a zip archive"},
		{"archive cut short", program([]byte("PK\x03\x04 and then nothing"), message.EncodingZip, "main:app"), 500, "not a valid zip file"},
		{"entrypoint that is not there", program([]byte("echo"), message.EncodingPlain, "dir/absent"), 500, "no name for a file"},
		{"image that is none", program([]byte("hsqs, or so it says"), message.EncodingSquashfs, "main:app"), 500, "squashfs"},
		{"plain program for another machine", program([]byte("\x7fELF for something else"), message.EncodingPlain, "program"), 500, "not a program for this machine"},
		{"more memory than there is", changed(func(c map[string]any) { c["resources"].(map[string]any)["memory"] = 2048 }), 503, "This CRN cannot host the requested workload at this time."},
		{"runtime that is gone", changed(func(c map[string]any) { c["runtime"].(map[string]any)["ref"] = absent }), 400, "Code, runtime or data not available"},
		{"volume with persistence store", changed(func(c map[string]any) {
			c["volumes"] = []any{map[string]any{"persistence": "store", "name": "db", "size_mib": 10, "mount": "/db"}}
		}), 400, "volume 0 (db)"},
		{"volume whose parent is no filesystem", changed(func(c map[string]any) {
			c["volumes"] = []any{map[string]any{"persistence": "host", "name": "db", "size_mib": 10, "mount": "/db", "parent": map[string]any{"ref": c["code"].(map[string]any)["ref"]}}}
		}), 400, "not an ext4 filesystem"},
		{"volume whose parent does not fit", changed(func(c map[string]any) {
			c["volumes"] = []any{map[string]any{"persistence": "host", "name": "db", "size_mib": 1, "mount": "/db", "parent": map[string]any{"ref": c["code"].(map[string]any)["ref"]}}}
		}), 400, "too large"},
		{"message that does not exist", absent, 404, "Hash not found"},
		{"message that is no program", n.core.Store([]byte("file")), 400, "not a program"},
		{"no hash at all", "nonsense", 400, "Invalid message reference: nonsense"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if r := n.get(t, test.hash, "/"); r.status != test.status || !strings.Contains(r.body, test.says) {
				t.Errorf("want %d and %q, got %+v", test.status, test.says, r)
			}
		})
	}
	eventually(t, "memory of failed programs is given back", func() bool {
		return strings.Contains(n.do(t, "GET", "/metrics", "").body, "aleph_crn_memory_used_mib 0")
	})
}

func TestPythonProgramThatCrashesAtImportAnswersItsTraceback(t *testing.T) {
	n := start(t, nil)
	r := n.get(t, n.fastAPI(t, "import a_module_that_nobody_wrote\n"), "/")
	if r.status != 500 || !strings.HasPrefix(r.header.Get("Content-Type"), "text/plain") ||
		!strings.Contains(r.body, "Traceback") || !strings.Contains(r.body, "a_module_that_nobody_wrote") {
		t.Errorf("got %+v", r)
	}
}

func TestIdleMachinesEndAndMakePlace(t *testing.T) {
	// There is room for one machine only.
	n := start(t, func(c *crn.Config) { c.MemoryMiB = 400; c.ReuseTimeout = 2 * time.Second })
	first := n.probe(t, nil)
	second := n.probe(t, func(c map[string]any) { c["variables"] = map[string]string{"OTHER": "yes"} })
	if r := n.get(t, first, "/count"); r.status != 200 {
		t.Fatalf("got %+v", r)
	}
	if r := n.get(t, second, "/count"); r.status != 200 {
		t.Fatalf("an idle machine did not make place: %+v", r)
	}
	eventually(t, "the idle machine ended", func() bool { return n.do(t, "GET", "/v2/about/executions/list", "").body == "{}" })
}

// allocate sends a plan as a scheduler.
func (n *node) allocate(t *testing.T, signer *ethereum.Account, body string) (status int, answer map[string]any) {
	t.Helper()
	sum := sha256.Sum256([]byte(body))
	payload := fmt.Sprintf(`{"method":"POST","path":"/control/allocations","body_sha256":"%s","iat":%d,"nonce":%d}`, hex.EncodeToString(sum[:]), time.Now().Unix(), time.Now().UnixNano())
	proof, err := signer.Sign(context.Background(), []byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), "POST", n.url+"/control/allocations", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Aleph-EIP191-V1 sig="+proof+",payload="+hex.EncodeToString([]byte(payload)))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, answer
}

func TestAllocationsAreKeptRunning(t *testing.T) {
	signer, err := ethereum.NewAccount(ownerKey)
	if err != nil {
		t.Fatal(err)
	}
	n := start(t, func(c *crn.Config) {
		c.ReuseTimeout = -1
		c.AllocationSigners = []string{signer.Address()}
	})
	ahead := n.probe(t, nil)
	kept := n.probe(t, func(c map[string]any) { c["on"] = map[string]any{"http": true, "persistent": true} })
	absent := message.HashBytes([]byte("absent"))

	running := func() map[string]any {
		var list map[string]any
		if err := json.Unmarshal([]byte(n.do(t, "GET", "/about/executions/list", "").body), &list); err != nil {
			t.Fatal(err)
		}
		return list
	}

	if r := n.do(t, "POST", "/control/allocations", `{"persistent_vms":[]}`); r.status != 401 {
		t.Errorf("unsigned: %+v", r)
	}
	status, answer := n.allocate(t, signer, fmt.Sprintf(`{"persistent_vms":[%q,%q],"instances":[],"on_demand_vms":[%q]}`, kept, absent, ahead))
	if status != 207 || answer["success"] != false || fmt.Sprint(answer["successful"]) != "["+string(kept)+"]" || fmt.Sprint(answer["failing"]) != "["+string(absent)+"]" {
		t.Errorf("got %d %v", status, answer)
	}
	if entry, _ := running()[string(kept)].(map[string]any); entry["vm_type"] != "persistent_program" {
		t.Errorf("list %v", running())
	}
	before := n.get(t, kept, "/count").body
	if after := n.get(t, kept, "/count").body; strings.Fields(before)[0] != strings.Fields(after)[0] {
		t.Errorf("idle time ended an allocated machine: %s, %s", before, after)
	}

	// A persistent program that dies is started again, without a call.
	_ = n.get(t, kept, "/exit")
	eventually(t, "the persistent program runs again", func() bool { return running()[string(kept)] != nil })

	status, answer = n.allocate(t, signer, `{"persistent_vms":[]}`)
	if status != 200 || answer["success"] != true || fmt.Sprint(answer["stopped"]) == "[]" {
		t.Errorf("got %d %v", status, answer)
	}
	if running()[string(kept)] != nil {
		t.Error("what was not allocated any more runs on")
	}
}

func TestAFolderServesOneNode(t *testing.T) {
	n := start(t, nil)
	if _, err := crn.New(config(n.dir, n.core.URL)); err == nil || !strings.Contains(err.Error(), "in use by another compute node") {
		t.Errorf("got %v", err)
	}
	other := config(t.TempDir(), n.core.URL)
	other.Listen = n.Addr().String()
	if _, err := crn.New(other); err == nil || !strings.Contains(err.Error(), "choose another address") {
		t.Errorf("got %v", err)
	}
	if entries, err := os.ReadDir(filepath.Join(n.dir, "qemu", "run")); err != nil || len(entries) != 0 {
		t.Errorf("machines without calls: %v %v", entries, err)
	}
}

func TestMissingQEMUSaysWhatToInstall(t *testing.T) {
	c := config(t.TempDir(), "http://127.0.0.1:1")
	c.QEMU = "qemu-that-nobody-installed"
	if _, err := crn.New(c); err == nil || !strings.Contains(err.Error(), "apt-get install qemu-system-x86") || !strings.Contains(err.Error(), "make setup") {
		t.Errorf("got %v", err)
	}
}

package crn_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/crn"
	"github.com/aleph-im/aleph-go/crn/corenode/corenodetest"
	"github.com/aleph-im/aleph-go/crn/image/imagetest"
	"github.com/aleph-im/aleph-go/crn/wasm/wasmtest"
	"github.com/aleph-im/aleph-go/message"
)

// wasm publishes a WebAssembly program; change may adapt its message.
func (n *node) wasm(module []byte, change func(map[string]any)) message.Hash {
	code := n.core.Store(module)
	content := corenodetest.Program(code, code, message.EncodingPlain, "probe.wasm")
	content["code"].(map[string]any)["interface"] = message.InterfaceWasm
	content["resources"].(map[string]any)["seconds"] = 2
	if change != nil {
		change(content)
	}
	return n.core.Publish(message.TypeProgram, content)
}

// One node serves all of these. Compiling the module is what costs.
func TestWasmProgram(t *testing.T) {
	n := start(t, func(c *crn.Config) { c.WasmRunner = wasmtest.Runner(t) })
	module := wasmtest.Module(t, "./crn/wasm/testdata/probe")
	hash := n.wasm(module, func(content map[string]any) {
		content["variables"] = map[string]string{"GREETING": "good day"}
		content["code"].(map[string]any)["args"] = []string{"one", "two"}
	})
	// alone runs the same module as another program, with a process that a test may lose.
	alone := func(name string) message.Hash {
		return n.wasm(module, func(content map[string]any) { content["variables"] = map[string]string{"NAME": name} })
	}

	t.Run("request and answer are those of CGI", func(t *testing.T) {
		r := n.do(t, "PATCH", "/vm/"+string(hash)+"/echo?x=1&x=%20", "the body")
		if r.status != http.StatusTeapot || r.body != "the body" {
			t.Fatalf("got %+v", r)
		}
		for name, want := range map[string]string{"X-Query": "x=1&x=%20", "X-Method": "PATCH", "Server": "aleph-vm/1.14.0", "Connection": ""} {
			if got := r.header.Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		if got := r.header.Values("Set-Cookie"); len(got) != 2 {
			t.Errorf("cookies %v", got)
		}
		if r.header.Get("Aleph-Program-ItemHash") != string(hash) || !strings.HasPrefix(r.header.Get("Server-Timing"), "app;dur=") {
			t.Errorf("headers %v", r.header)
		}
		environment := n.get(t, hash, "/environment").body
		for _, want := range []string{
			"GREETING=good day\n", "PATH_INFO=/environment\n", "GATEWAY_INTERFACE=CGI/1.1\n", "REMOTE_ADDR=127.0.0.1\n", "[probe.wasm one two]\n",
			"HTTP_HOST=" + strings.TrimPrefix(n.url, "http://") + "\n", "REQUEST_METHOD=GET\n", "SERVER_NAME=127.0.0.1\n",
		} {
			if !strings.Contains(environment, want) {
				t.Errorf("%q is not in %s", want, environment)
			}
		}
	})

	t.Run("each call is a new instance, as long as the process lives", func(t *testing.T) {
		for range 20 {
			if r := n.get(t, hash, "/echo"); r.status != http.StatusTeapot {
				t.Fatalf("got %+v", r)
			}
		}
		pids := n.wasmProcesses(t, hash)
		if len(pids) != 1 {
			t.Errorf("processes %v", pids)
		}
	})

	t.Run("bodies stream both ways", func(t *testing.T) {
		body, feed := io.Pipe()
		request, err := http.NewRequestWithContext(t.Context(), "POST", n.url+"/vm/"+string(hash)+"/stream", body)
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = feed.Write([]byte("x")) }()
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		lines := bufio.NewScanner(response.Body)
		for i := range 3 {
			if !lines.Scan() || lines.Text() != fmt.Sprintf("part %d", i) {
				t.Fatalf("part %d: %q %v", i, lines.Text(), lines.Err())
			}
			_, _ = feed.Write([]byte("x"))
		}
		feed.Close()
	})

	t.Run("time passes as it should", func(t *testing.T) {
		var slept bool
		var seconds int64
		if _, err := fmt.Sscan(n.get(t, hash, "/time").body, &slept, &seconds); err != nil || !slept || time.Now().Unix()-seconds > 60 {
			t.Errorf("slept %v, clock at %d, %v", slept, seconds, err)
		}
	})

	t.Run("nothing of the host can be reached", func(t *testing.T) {
		for _, path := range []string{"etc/passwd", "wasm-runner", "cache", "proc/self/environ", "../../etc/passwd"} {
			if r := n.get(t, hash, "/file?"+path); strings.Contains(r.body, "root:") || !strings.Contains(r.body, "open /") {
				t.Errorf("%s: %+v", path, r)
			}
		}
		if r := n.get(t, hash, "/write"); !strings.HasPrefix(r.body, "open /written:") {
			t.Errorf("got %+v", r)
		}
	})

	t.Run("failures are answered for, and leave the program as it was", func(t *testing.T) {
		for path, want := range map[string]string{
			"/panic":             "exited with status 2",
			"/exit":              "exited with status 7",
			"/silent":            "before it had written the header",
			"/garbage":           "is no header field",
			"/nul":               "is no header field",
			"/endless-header":    "more than 65536 bytes",
			"/loop":              "Program did not respond within `resource.seconds` (2 s)",
			"/sleep":             "Program did not respond within `resource.seconds` (2 s)",
			"/half":              "",
			"/loop-after-header": "",
		} {
			t.Run(path, func(t *testing.T) {
				t.Parallel()
				response, err := http.Get(n.url + "/vm/" + string(hash) + path)
				if err != nil {
					t.Fatal(err)
				}
				defer response.Body.Close()
				body, err := io.ReadAll(response.Body)
				if want == "" {
					if err == nil {
						t.Errorf("half an answer passed for a whole one: %q", body)
					}
				} else if !strings.Contains(string(body), want) || (response.StatusCode != 502 && response.StatusCode != 504) {
					t.Errorf("got %d %s, want %q", response.StatusCode, body, want)
				}
			})
		}
	})

	t.Run("a call gets no more memory than its program pays for", func(t *testing.T) {
		hash := n.wasm(module, func(content map[string]any) {
			content["resources"].(map[string]any)["seconds"] = 20
			content["resources"].(map[string]any)["memory"] = 32
		})
		if r := n.get(t, hash, "/memory"); r.status != 502 || !strings.Contains(r.body, "used up its memory of 32 MiB") {
			t.Errorf("got %+v", r)
		}
	})

	t.Run("many callers share the memory, and none fails for it", func(t *testing.T) {
		var callers sync.WaitGroup
		for i := range 100 {
			callers.Go(func() {
				if r := n.do(t, "POST", "/vm/"+string(hash)+"/echo", fmt.Sprint(i)); r.body != fmt.Sprint(i) {
					t.Errorf("caller %d got %+v", i, r)
				}
			})
		}
		callers.Wait()
		if pids := n.wasmProcesses(t, hash); len(pids) != 1 {
			t.Errorf("processes %v", pids)
		}
	})

	t.Run("an answer without end ends with its caller", func(t *testing.T) {
		hash := alone("flood")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, "GET", n.url+"/vm/"+string(hash)+"/flood", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if read, err := io.CopyN(io.Discard, response.Body, 300<<20); err != nil {
			t.Fatalf("after %d bytes: %v", read, err)
		}
		pids := n.wasmProcesses(t, hash)
		if rss := residentMiB(t, pids[0]); rss > 128 {
			t.Errorf("the process holds %d MiB", rss)
		}
		cancel()
		eventually(t, "the instance ended", func() bool {
			before := processTime(t, pids[0])
			time.Sleep(200 * time.Millisecond)
			return processTime(t, pids[0])-before < 50*time.Millisecond
		})
	})

	t.Run("what it prints is in its logs", func(t *testing.T) {
		hash := alone("logs")
		n.get(t, hash, "/logs")
		n.get(t, hash, "/panic")
		n.get(t, hash, "/log-flood")
		eventually(t, "lines in the log", func() bool {
			raw, _ := os.ReadFile(n.dir + "/executions/logs/" + string(hash) + ".log")
			before, _ := os.ReadFile(n.dir + "/executions/logs/" + string(hash) + ".log.1")
			raw = append(before, raw...)
			return bytes.Contains(raw, []byte("xxxxxxxx")) && len(raw) < 5<<20
		})
		if r := n.get(t, hash, "/x"); r.status != 200 {
			t.Errorf("after the flood: %+v", r)
		}
	})

	t.Run("what cannot be interrupted is killed, and the next call runs", func(t *testing.T) {
		hash := n.wasm(endlessRecursion, func(content map[string]any) { content["resources"].(map[string]any)["seconds"] = 1 })
		if r := n.get(t, hash, "/"); r.status != 504 {
			t.Errorf("got %+v", r)
		}
		pid := n.wasmProcesses(t, hash)[0]
		eventually(t, "the process was ended", func() bool { return unix.Kill(pid, 0) != nil })
		if r := n.get(t, n.wasm(module, nil), "/x"); r.status != 200 {
			t.Errorf("another program: %+v", r)
		}
	})

	t.Run("the call after the process was killed gets another", func(t *testing.T) {
		hash := alone("killed")
		n.get(t, hash, "/x")
		if err := unix.Kill(n.wasmProcesses(t, hash)[0], unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the program answers again", func() bool { return n.get(t, hash, "/x").status == 200 })
	})

	t.Run("an archive holds the module, and files that it may read", func(t *testing.T) {
		archive := imagetest.Zip(t, map[string]string{"bin/probe.wasm": string(module), "note.txt": "from the archive"})
		data := n.core.Store(imagetest.Zip(t, map[string]string{"more.txt": "from the data"}))
		hash := n.wasm(archive, func(content map[string]any) {
			content["code"].(map[string]any)["encoding"] = "zip"
			content["code"].(map[string]any)["entrypoint"] = "bin/probe.wasm"
			content["data"] = map[string]any{"encoding": "zip", "mount": "/data", "ref": data, "use_latest": false}
		})
		for path, want := range map[string]string{"note.txt": "from the archive <nil>", "data/more.txt": "from the data <nil>"} {
			if r := n.get(t, hash, "/file?"+path); r.body != want {
				t.Errorf("%s: %+v", path, r)
			}
		}
		if r := n.get(t, hash, "/write"); !strings.HasPrefix(r.body, "open /written:") {
			t.Errorf("got %+v", r)
		}
	})

	t.Run("what is no program is refused", func(t *testing.T) {
		resource := func(name string, value any) func(map[string]any) {
			return func(content map[string]any) { content["resources"].(map[string]any)[name] = value }
		}
		for _, test := range []struct {
			name   string
			module []byte
			change func(map[string]any)
			status int
			says   string
		}{
			{"not a module", []byte("not a module"), nil, 500, "cannot be used"},
			{"empty", []byte{}, nil, 500, "cannot be used"},
			{"cut short", module[:len(module)/2], nil, 500, "cannot be used"},
			{"no _start", []byte("\x00asm\x01\x00\x00\x00"), nil, 500, "no function _start"},
			{"foreign import", foreignImport, nil, 500, "imports env.f"},
			{"more memory than it pays for", module, resource("memory", 1), 500, "begins with"},
			{"archive without the module", imagetest.Zip(t, map[string]string{"a": "b"}), func(content map[string]any) { content["code"].(map[string]any)["encoding"] = "zip" }, 500, "has no module"},
			{"squashfs", []byte("hsqs"), func(content map[string]any) { content["code"].(map[string]any)["encoding"] = "squashfs" }, 400, "use plain or zip"},
			{"volumes", module, func(content map[string]any) {
				content["volumes"] = []any{map[string]any{"ephemeral": true, "mount": "/v", "size_mib": 1}}
			}, 400, "volumes of a WebAssembly program"},
			{"more than the node has", module, resource("memory", 100_000), 503, "cannot host"},
		} {
			if r := n.get(t, n.wasm(test.module, test.change), "/"); r.status != test.status || !strings.Contains(r.body, test.says) {
				t.Errorf("%s: %+v", test.name, r)
			}
		}
	})
}

// wasmProcesses returns the processes that this one started for a program.
func (n *node) wasmProcesses(t *testing.T, hash message.Hash) (pids []int) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range lines {
		line, _ := os.ReadFile(file)
		if bytes.HasPrefix(line, []byte("wasm-runner\x00")) && bytes.Contains(line, []byte(hash)) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			pids = append(pids, pid)
		}
	}
	if len(pids) == 0 {
		t.Fatalf("program %s has no process", hash)
	}
	return pids
}

// stat returns fields of /proc/<pid>/stat, counted as in proc(5).
func stat(t *testing.T, pid int, fields ...int) (sum int) {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range fields {
		n, err := strconv.Atoi(strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))[field-3])
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}

func residentMiB(t *testing.T, pid int) int { return stat(t, pid, 24) * os.Getpagesize() >> 20 }

func processTime(t *testing.T, pid int) time.Duration {
	return time.Duration(stat(t, pid, 14, 15)) * 10 * time.Millisecond
}

// section is a section of a module: its number, its length, its content.
func section(id byte, content ...byte) string {
	return string(append([]byte{id, byte(len(content))}, content...))
}

const (
	moduleHead = "\x00asm\x01\x00\x00\x00"
	typeOfNone = "\x01\x04\x01\x60\x00\x00" // one type: no parameters, no results
)

// endlessRecursion has a function that calls itself twice, 60 deep: no loop in which it could be interrupted, and no end.
var endlessRecursion = []byte(moduleHead +
	section(1, 2, 0x60, 0, 0, 0x60, 1, 0x7f, 0) + // types: () and (i32)
	section(3, 2, 0, 1) + // two functions
	section(7, 1, 6, '_', 's', 't', 'a', 'r', 't', 0, 0) +
	section(10, 2,
		6, 0, 0x41, 60, 0x10, 1, 0x0b, // _start: f(60)
		23, 0, 0x20, 0, 0x45, 0x04, 0x40, 0x0f, 0x0b, // f(n): if n == 0 return
		0x20, 0, 0x41, 1, 0x6b, 0x10, 1, // f(n-1)
		0x20, 0, 0x41, 1, 0x6b, 0x10, 1, 0x0b)) // f(n-1)

// foreignImport has a _start, and wants a function that no node has.
var foreignImport = []byte(moduleHead + typeOfNone +
	section(2, 1, 3, 'e', 'n', 'v', 1, 'f', 0, 0) +
	section(7, 1, 6, '_', 's', 't', 'a', 'r', 't', 0, 0))

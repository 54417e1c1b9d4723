package crn_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/crn"
	"github.com/aleph-im/aleph-go/crn/corenode/corenodetest"
	"github.com/aleph-im/aleph-go/crn/image/imagetest"
	"github.com/aleph-im/aleph-go/message"
)

// node is a compute node with a core node, on real machines.
type node struct {
	*crn.CRN
	core    *corenodetest.Node
	runtime message.Hash
	url     string
	dir     string
}

// start runs a compute node until the test ends.
func start(t *testing.T, change func(*crn.Config)) *node {
	t.Helper()
	images := imagetest.Get(t)
	n := &node{core: corenodetest.New(t), dir: t.TempDir()}
	image, err := os.ReadFile(images.Runtime)
	if err != nil {
		t.Fatal(err)
	}
	n.runtime = n.core.Store(image)
	c := config(n.dir, n.core.URL)
	if change != nil {
		change(&c)
	}
	if n.CRN, err = crn.New(c); err != nil {
		t.Fatal(err)
	}
	n.url = "http://" + n.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("node ended with %v", err)
		}
		if left, _ := filepath.Glob(filepath.Join(n.dir, "qemu", "run", "*")); len(left) > 0 {
			t.Errorf("machines left behind after a clean end: %v", left)
		}
	})
	return n
}

func config(dir, core string) crn.Config {
	root := imagetest.Root()
	return crn.Config{
		Listen: "127.0.0.1:0", DataDir: dir, CoreNode: core, DomainName: "crn.test", Accelerator: "tcg", MemoryMiB: 1500,
		GuestDir: filepath.Join(root, "build", "guest"), GuestProgram: filepath.Join(root, "build", "guest", "guest-init"),
		DrainTimeout: 5 * time.Second, InitTimeout: 90 * time.Second, InstanceStopTimeout: 30 * time.Second,
		// Of the word "test".
		AllocationTokenHash: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
		Resolver:            ownersDNS{net.DefaultResolver},
	}
}

// ownersDNS is a fake: every name of example.test is the owner's, and there is no other.
type ownersDNS struct{ *net.Resolver }

func (ownersDNS) LookupTXT(_ context.Context, name string) ([]string, error) {
	if strings.HasPrefix(name, "_control.") && strings.HasSuffix(name, ".example.test") {
		return []string{corenodetest.Owner}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

// fastAPI publishes a Python program with the given source.
func (n *node) fastAPI(t *testing.T, source string) message.Hash {
	code := n.core.Store(imagetest.Zip(t, map[string]string{"main.py": source}))
	return n.core.Publish(message.TypeProgram, corenodetest.Program(code, n.runtime, message.EncodingZip, "main:app"))
}

// probe publishes the test program; change may adapt its message.
func (n *node) probe(t *testing.T, change func(map[string]any)) message.Hash {
	binary := filepath.Join(imagetest.Root(), "build", "guest", "probe")
	if err := imagetest.BuildGo("./crn/testdata/probe", binary); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	code := n.core.Store(imagetest.Zip(t, map[string]string{"bin/probe": string(raw)}))
	content := corenodetest.Program(code, n.runtime, message.EncodingZip, "bin/probe")
	if change != nil {
		change(content)
	}
	return n.core.Publish(message.TypeProgram, content)
}

type reply struct {
	status int
	header http.Header
	body   string
}

func (n *node) do(t *testing.T, method, path, body string) reply {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, n.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{response.StatusCode, response.Header, string(raw)}
}

func (n *node) get(t *testing.T, hash message.Hash, path string) reply {
	t.Helper()
	return n.do(t, "GET", "/vm/"+string(hash)+path, "")
}

func TestAPythonProgramAnswersAndItsMachineIsReused(t *testing.T) {
	n := start(t, nil)
	hash := n.fastAPI(t, imagetest.Counter)
	begin := time.Now()
	first := n.get(t, hash, "/")
	t.Logf("first answer after %v: %+v", time.Since(begin), first)
	if first.status != 200 || !strings.Contains(first.body, `"calls":1`) {
		t.Fatalf("got %+v", first)
	}
	if got := first.header.Get("Server"); got != "aleph-vm/1.14.0" {
		t.Errorf("Server is %q", got)
	}
	if first.header.Get("Aleph-Program-ItemHash") != string(hash) || first.header.Get("Aleph-Program-Code-Ref") == "" {
		t.Errorf("headers %v", first.header)
	}
	var overheads []time.Duration
	for i := range 30 {
		begin := time.Now()
		again := n.get(t, hash, "/")
		total := time.Since(begin)
		if want := fmt.Sprintf(`"calls":%d`, i+2); !strings.Contains(again.body, want) {
			t.Fatalf("the machine was not reused: %+v", again)
		}
		var ms float64 // 0 where the way there and back took all of it
		if _, err := fmt.Sscanf(again.header.Get("Server-Timing"), "app;dur=%f", &ms); err != nil || ms < 0 {
			t.Fatalf("Server-Timing is %q", again.header.Get("Server-Timing"))
		}
		own := time.Duration(ms * float64(time.Millisecond))
		if own > total {
			t.Errorf("the program took %v of %v", own, total)
		}
		overheads = append(overheads, total-own)
	}
	t.Logf("overheads %v", overheads)
	var list map[string]any
	if err := json.Unmarshal([]byte(n.do(t, "GET", "/about/executions/list", "").body), &list); err != nil || list[string(hash)] == nil {
		t.Errorf("list %v, %v", list, err)
	}
}

package crn_test

import (
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/crn"
	"github.com/aleph-im/aleph-go/crn/corenode/corenodetest"
	"github.com/aleph-im/aleph-go/crn/image/imagetest"
	"github.com/aleph-im/aleph-go/message"
)

// draws has used every generator of random numbers when it is ready, and answers with what they give in this copy.
const draws = `
import os, random, ssl, time, uuid
from fastapi import FastAPI

imported = time.time()
random.random(), ssl.RAND_bytes(8), uuid.uuid4()
calls = 0
app = FastAPI()

@app.get("/")
async def index():
    global calls
    calls += 1
    return {
        "imported": imported, "now": time.time(), "calls": calls, "kernel": os.urandom(8).hex(),
        "random": random.random(), "openssl": ssl.RAND_bytes(8).hex(), "uuid": str(uuid.uuid4()),
    }
`

type drawn struct {
	Imported, Now         float64 // Unix seconds
	Calls                 int
	Random                float64
	Kernel, OpenSSL, UUID string
}

// copying makes a node whose machines end with their last answer, so that each call is a cold one.
func copying(t *testing.T) *node {
	return start(t, func(c *crn.Config) {
		c.ReuseTimeout = -1
		c.InitTimeout = 5 * time.Minute // beside other work an interpreter may take minutes to boot
	})
}

// cold calls a program that does not run.
func (n *node) cold(t *testing.T, hash message.Hash, path string) reply {
	t.Helper()
	eventually(t, "nothing runs", func() bool { return n.do(t, "GET", "/v2/about/executions/list", "").body == "{}" })
	began := time.Now()
	r := n.get(t, hash, path)
	t.Logf("cold call took %v", time.Since(began))
	if r.status != 200 {
		t.Fatalf("got %+v", r)
	}
	return r
}

// snapshots returns the folders of what is kept of a program.
func (n *node) snapshots(t *testing.T, hash message.Hash) []string {
	t.Helper()
	kept, err := filepath.Glob(filepath.Join(n.dir, "executions", "snapshots", string(hash)+"-*"))
	if err != nil {
		t.Fatal(err)
	}
	return kept
}

func TestCopiesOfAPythonProgramDrawOtherRandomNumbersAndKnowTheTime(t *testing.T) {
	n := copying(t)
	hash := n.fastAPI(t, draws)
	var all []drawn
	for range 3 {
		var d drawn
		if err := json.Unmarshal([]byte(n.cold(t, hash, "/").body), &d); err != nil {
			t.Fatal(err)
		}
		if off := math.Abs(d.Now - float64(time.Now().UnixMilli())/1000); off > 10 {
			t.Errorf("the clock of a copy is off by %v s", off)
		}
		for _, other := range all {
			if d.Imported != other.Imported {
				t.Errorf("imported at %v and at %v: it was not copied", d.Imported, other.Imported)
			}
			if d.Random == other.Random || d.Kernel == other.Kernel || d.OpenSSL == other.OpenSSL || d.UUID == other.UUID {
				t.Errorf("two copies draw the same: %+v, %+v", d, other)
			}
		}
		if d.Calls != 1 {
			t.Errorf("a copy remembers calls: %+v", d)
		}
		all = append(all, d)
	}
	if kept := n.snapshots(t, hash); len(kept) != 1 {
		t.Errorf("snapshots %v", kept)
	}
}

// nodeDraws has used every generator of random numbers when it is ready, those of threads included, and answers with what they
// give in this copy.
const nodeDraws = `#!/usr/bin/env node
const crypto = require("crypto");
const { performance } = require("perf_hooks");
const { promisify } = require("util");
const random = Math.random;

async function draw() {
  const key = crypto.generateKeyPairSync("ed25519").publicKey;
  return {
    random: random(), bytes: crypto.randomBytes(8).toString("hex"), uuid: crypto.randomUUID(), integer: crypto.randomInt(2 ** 47),
    key: key.export({ type: "spki", format: "der" }).toString("hex"), thread: (await promisify(crypto.randomBytes)(8)).toString("hex"),
  };
}

let calls = 0;
const server = require("http").createServer(async (request, response) => {
  calls += 1;
  response.end(JSON.stringify({ calls, drawn: await draw(), now: Date.now(), since: performance.timeOrigin + performance.now() }));
});
draw().then(() => server.listen(process.env.PORT));
`

func TestCopiesOfANodeProgramDrawOtherRandomNumbersAndKnowTheTime(t *testing.T) {
	n := copying(t)
	if err := imagetest.NodeRuntime(); err != nil {
		t.Fatal(err)
	}
	image, err := os.ReadFile(filepath.Join(imagetest.Root(), "build", "guest", "runtime-node.squashfs"))
	if err != nil {
		t.Fatal(err)
	}
	content := corenodetest.Program(n.core.Store(imagetest.Zip(t, map[string]string{"start": nodeDraws})), n.core.Store(image), message.EncodingZip, "start")
	hash := n.core.Publish(message.TypeProgram, content)
	seen := map[any]string{}
	for range 3 {
		var answer struct {
			Calls      int
			Now, Since float64 // Unix milliseconds
			Drawn      map[string]any
		}
		if err := json.Unmarshal([]byte(n.cold(t, hash, "/").body), &answer); err != nil {
			t.Fatal(err)
		}
		if answer.Calls != 1 || len(answer.Drawn) != 6 {
			t.Errorf("got %+v", answer)
		}
		for _, moment := range []float64{answer.Now, answer.Since} {
			if off := math.Abs(moment - float64(time.Now().UnixMilli())); off > 10_000 {
				t.Errorf("a clock of a copy is off by %v ms: %+v", off, answer)
			}
		}
		for name, value := range answer.Drawn {
			if seen[value] != "" {
				t.Errorf("two copies draw the same %s: %v", name, value)
			}
			seen[value] = name
		}
	}
	if kept := n.snapshots(t, hash); len(kept) != 1 {
		t.Errorf("snapshots %v", kept)
	}
}

func TestWhatIsCopiedAndWhatBoots(t *testing.T) {
	n := copying(t)
	probe := func(content map[string]any) message.Hash {
		return n.probe(t, func(c map[string]any) {
			for name, value := range content {
				c[name] = value
			}
		})
	}
	// born tells machines that booted apart; copies have that of the one they were copied from.
	born := func(hash message.Hash) string {
		t.Helper()
		moment, calls, _ := strings.Cut(n.cold(t, hash, "/count").body, " ")
		if calls != "1" {
			t.Errorf("a machine begins with call %s", calls)
		}
		return moment
	}
	yes := map[string]string{"ALEPH_SNAPSHOT": "yes"}

	willing := probe(map[string]any{"variables": yes})
	first := born(willing)
	if again := born(willing); again != first {
		t.Error("a program that says it can be copied booted twice")
	}
	kept := n.snapshots(t, willing)
	if len(kept) != 1 {
		t.Fatalf("snapshots %v", kept)
	}
	if err := os.Truncate(filepath.Join(kept[0], "state"), 1000); err != nil {
		t.Fatal(err)
	}
	second := born(willing)
	if second == first {
		t.Error("a spoilt snapshot was used")
	}
	if again := born(willing); again != second {
		t.Error("after a spoilt snapshot the program was not kept anew")
	}

	for name, hash := range map[string]message.Hash{
		"what does not say that it can be copied": probe(nil),
		"what writes to a disk": probe(map[string]any{"variables": yes, "volumes": []any{
			map[string]any{"ephemeral": true, "mount": "/scratch", "size_mib": 8},
		}}),
	} {
		if first := born(hash); born(hash) == first {
			t.Errorf("%s was copied", name)
		}
		if kept := n.snapshots(t, hash); len(kept) != 0 {
			t.Errorf("%s was kept: %v", name, kept)
		}
	}
}

func TestANodeKilledWhileItKeepsAProgramLeavesNothing(t *testing.T) {
	n, child := startChild(t)
	hash := n.probe(t, func(c map[string]any) { c["variables"] = map[string]string{"ALEPH_SNAPSHOT": "yes"} })
	begun := watch(t, filepath.Join(n.dir, "executions", "snapshots"))
	called := make(chan struct{})
	go func() {
		defer close(called)
		if response, err := http.Get(n.url + "/vm/" + string(hash) + "/count"); err == nil {
			response.Body.Close()
		}
	}()
	if _, err := begun.Read(make([]byte, 4096)); err != nil {
		t.Fatalf("the program is not kept: %v", err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	<-called
	t.Logf("kept when the node was killed: %v", n.snapshots(t, hash))

	next, err := crn.New(config(n.dir, n.core.URL))
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	for _, pattern := range []string{"qemu/run/*", "executions/snapshots/.*"} {
		if left, _ := filepath.Glob(filepath.Join(n.dir, pattern)); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
	for _, kept := range n.snapshots(t, hash) {
		if _, err := os.Stat(filepath.Join(kept, "snapshot.json")); errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is not whole", kept)
		}
	}
}

// watch returns what can be read as soon as something is made in the folder, which may be gone a few milliseconds later.
func watch(t *testing.T, dir string) *os.File {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	t.Cleanup(func() { f.Close() })
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE); err != nil {
		t.Fatal(err)
	}
	if err := f.SetReadDeadline(time.Now().Add(90 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return f
}

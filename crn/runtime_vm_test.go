package crn_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/crn/corenode/corenodetest"
	"github.com/aleph-im/aleph-go/crn/image/imagetest"
	"github.com/aleph-im/aleph-go/message"
)

// bareRuntime makes a runtime as the reference's are: Python and no server for applications, and packages in a place of their own.
func bareRuntime(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	root, image := filepath.Join(dir, "root"), filepath.Join(dir, "image")
	run := func(name string, args ...string) {
		t.Helper()
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
	}
	run("unsquashfs", "-no-progress", "-no-xattrs", "-ignore-errors", "-dest", root, imagetest.Get(t).Runtime) // devices need root
	for _, name := range []string{"uvicorn", "h11", "click", "websockets", "fastapi"} {
		found, err := filepath.Glob(filepath.Join(root, "usr", "lib", "python3", "dist-packages", name+"*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	libs := filepath.Join(root, "opt", "aleph", "libs")
	if err := os.MkdirAll(libs, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(libs, "of_the_runtime.py"), []byte("greeting = b'from the runtime'\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	run("mksquashfs", root, image, "-comp", "lz4", "-noappend", "-quiet", "-no-progress")
	raw, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

const runtimeGreets = `
import importlib.util, random
from of_the_runtime import greeting

server = b"uvicorn" if importlib.util.find_spec("uvicorn") else b"none"

async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"%s %s %s %d" % (greeting, server, scope["client"][0].encode(), random.getrandbits(64))})
`

func TestAnApplicationNeedsNoServerInItsRuntime(t *testing.T) {
	n := copying(t)
	code := n.core.Store(imagetest.Zip(t, map[string]string{"main.py": runtimeGreets}))
	hash := n.core.Publish(message.TypeProgram, corenodetest.Program(code, n.core.Store(bareRuntime(t)), message.EncodingZip, "main:app"))
	drawn := map[string]bool{}
	for range 2 {
		r := n.cold(t, hash, "/")
		words := strings.Fields(r.body)
		if r.status != 200 || len(words) != 6 || !strings.HasPrefix(r.body, "from the runtime none 127.0.0.1 ") {
			t.Fatalf("got %+v", r)
		}
		drawn[words[5]] = true
	}
	if len(drawn) != 2 || len(n.snapshots(t, hash)) != 1 {
		t.Errorf("copies drew %v, snapshots %v", drawn, n.snapshots(t, hash))
	}
}

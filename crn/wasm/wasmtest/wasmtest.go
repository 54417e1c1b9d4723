// Package wasmtest gives tests what WebAssembly programs need: the runner and modules, built once a test run.
package wasmtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/aleph-im/aleph-go/crn/image/imagetest"
)

// Runner returns the path of the runner.
func Runner(t testing.TB) string {
	t.Helper()
	out := filepath.Join(imagetest.Root(), "build", "guest", "wasm-runner")
	if err := imagetest.BuildGo("./cmd/wasm-runner", out); err != nil {
		t.Fatal(err)
	}
	return out
}

// Module returns the WebAssembly that a package of this module becomes.
func Module(t testing.TB, pkg string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "module.wasm")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, pkg)
	cmd.Dir, cmd.Env = imagetest.Root(), append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v: %s", pkg, err, said)
	}
	code, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// Package vectors finds the shared protocol vectors: real signed messages, hashes and contents with their verdicts.
// They live beside the checkout, in ../shared/vectors; tests of every package that implements the protocol read them.
package vectors

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// Dir returns the folder that holds the vectors. ALEPH_VECTORS overrides the place beside the checkout.
// The test fails where the folder is absent: a conformance test that finds no vectors has shown nothing.
func Dir(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("ALEPH_VECTORS")
	if dir == "" {
		_, file, _, _ := runtime.Caller(0)
		dir = filepath.Join(filepath.Dir(file), "..", "..", "..", "shared", "vectors")
	}
	if _, err := os.Stat(filepath.Join(dir, "index.json")); err != nil {
		t.Fatalf("protocol vectors not found in %s (set ALEPH_VECTORS to their folder): %v", dir, err)
	}
	return dir
}

// Load decodes the vector file with the given name into dst.
func Load(t testing.TB, name string, dst any) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(Dir(t), name))
	if err != nil {
		t.Fatalf("read vectors: %v", err)
	}
	if err := json.Unmarshal(raw, dst); err != nil {
		t.Fatalf("decode vectors %s: %v", name, err)
	}
}

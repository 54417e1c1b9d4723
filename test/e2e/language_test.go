//go:build e2e

package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestProgramsInOtherLanguagesAreDeployedAndCalled deploys each example as its README says. The one in Python has a test of its own.
func TestProgramsInOtherLanguagesAreDeployedAndCalled(t *testing.T) {
	examples := filepath.Join(root, "examples")
	dir := t.TempDir()
	for _, language := range []struct {
		name  string
		build []string // in the root of the checkout; makes what is deployed
		env   []string
		path  string
		says  string // a member of the answer that only this program gives
	}{
		{name: "WSGI", path: filepath.Join(examples, "hello-wsgi"), says: "wsgi"},
		{name: "Node", path: filepath.Join(examples, "hello-node"), says: "node"},
		{"Go", []string{"go", "build", "-trimpath", "-o", dir + "/go", "./examples/hello-go"}, []string{"CGO_ENABLED=0"}, dir + "/go", "go"},
		{"C", []string{"cc", "-static", "-O2", "-o", dir + "/c", "examples/hello-c/main.c"}, nil, dir + "/c", "c"},
		{"WebAssembly", []string{"go", "build", "-trimpath", "-o", dir + "/hello.wasm", "./examples/hello-wasm"},
			[]string{"GOOS=wasip1", "GOARCH=wasm"}, dir + "/hello.wasm", "method"},
	} {
		t.Run(language.name, func(t *testing.T) {
			if len(language.build) > 0 {
				build := exec.Command(language.build[0], language.build[1:]...)
				build.Dir, build.Env = root, append(os.Environ(), language.env...)
				if out, err := build.CombinedOutput(); err != nil {
					t.Fatalf("build the example: %v\n%s", err, out)
				}
			}
			hash := deploy(t, language.path)
			began := time.Now()
			if out, code := aleph(t, "program", "call", hash, "/", "--timeout", "150s"); code != 0 {
				t.Fatalf("exit code %d: %s", code, out)
			}
			first := time.Since(began)
			began = time.Now()
			status, body, err := call(t.Context(), hash)
			if err != nil || status != http.StatusOK {
				t.Fatalf("call: %d %s %v", status, body, err)
			}
			t.Logf("first call %.1f s, second %.3f s", first.Seconds(), time.Since(began).Seconds())
			var answer map[string]any
			if err := json.Unmarshal(body, &answer); err != nil || answer[language.says] == nil {
				t.Errorf("another program answered: %s", body)
			}
		})
	}
}

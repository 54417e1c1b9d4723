package crn_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/aleph-im/aleph-go/crn/corenode/corenodetest"
	"github.com/aleph-im/aleph-go/crn/image/imagetest"
	"github.com/aleph-im/aleph-go/message"
)

func TestCodeComesInEveryForm(t *testing.T) {
	n := start(t, nil)
	t.Run("tar archives of code and data", func(t *testing.T) { testTar(t, n) })
	t.Run("a static binary of a C compiler by itself", func(t *testing.T) {
		compiler, err := exec.LookPath("cc")
		if err != nil {
			t.Skip("there is no C compiler")
		}
		path := filepath.Join(t.TempDir(), "hello")
		if out, err := exec.Command(compiler, "-static", "-o", path, "testdata/hello.c").CombinedOutput(); err != nil {
			t.Fatalf("compile: %v: %s", err, out)
		}
		binary, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		hash := n.core.Publish(message.TypeProgram, corenodetest.Program(n.core.Store(binary), n.runtime, message.EncodingPlain, "hello"))
		if r := n.get(t, hash, "/"); r.status != 200 || r.body != "hello in C" {
			t.Errorf("got %+v", r)
		}
	})
}

func testTar(t *testing.T, n *node) {
	n.probe(t, nil) // builds it
	binary, err := os.ReadFile(filepath.Join(imagetest.Root(), "build", "guest", "probe"))
	if err != nil {
		t.Fatal(err)
	}
	var archive, compressed bytes.Buffer
	w := tar.NewWriter(&archive)
	err = w.WriteHeader(&tar.Header{Name: "./bin/probe", Mode: 0o755, Size: int64(len(binary))})
	_, writeErr := w.Write(binary)
	z := gzip.NewWriter(&compressed)
	if err := errors.Join(err, writeErr, w.Close()); err != nil {
		t.Fatal(err)
	}
	_, err = z.Write(archive.Bytes())
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	code, data := n.core.Store(compressed.Bytes()), n.core.Store(archive.Bytes())
	hash := n.probe(t, func(content map[string]any) {
		c := content["code"].(map[string]any)
		c["encoding"], c["ref"] = message.EncodingTarGzip, code
		content["data"] = map[string]any{"encoding": message.EncodingTar, "mount": "/data", "ref": data, "use_latest": false}
	})
	if r := n.get(t, hash, "/file?path=/data/bin/probe"); r.status != 200 || r.body != string(binary) {
		t.Errorf("got %d, %d bytes", r.status, len(r.body))
	}
}

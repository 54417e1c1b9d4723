package qemu

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/crn/vm"
)

// copied is a machine with a root disk and a data disk that hold noise, and no guest.
type copied struct {
	*Instance
	t    *testing.T
	i    *Instances
	spec InstanceSpec
	dir  string
}

func newCopied(t *testing.T) *copied {
	t.Helper()
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	noise := make([]byte, 3<<20)
	_, _ = rand.Read(noise)
	c := &copied{t: t, dir: dir, spec: InstanceSpec{
		ID: "copied", VCPUs: 1, MemoryMiB: 64, Root: filepath.Join(dir, "root"), RootMiB: 8, Backing: file("parent", noise), Seed: file("seed", nil),
		Drives: []vm.Drive{{Path: file("data", append(make([]byte, 1<<20), noise...))}}, Console: nowhere{io.Discard},
	}}
	c.image("create", "-q", "-f", "qcow2", "-F", "raw", "-b", c.spec.Backing, c.spec.Root, "8M")
	d, err := New(Config{Dir: filepath.Join(dir, "driver"), Accelerator: "tcg"})
	if err != nil {
		t.Fatal(err)
	}
	if c.i, err = d.Instances(filepath.Join(dir, "run")); err != nil {
		t.Fatal(err)
	}
	if c.Instance, err = c.i.Start(t.Context(), c.spec); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(c.Kill(), c.Release()); err != nil {
			t.Error(err)
		}
	})
	return c
}

func (c *copied) image(args ...string) {
	c.t.Helper()
	if out, err := exec.Command("qemu-img", args...).CombinedOutput(); err != nil {
		c.t.Fatalf("qemu-img %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// to makes an empty image of so many MiB.
func (c *copied) to(name string, mib int) *os.File {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	c.image("create", "-q", "-f", "qcow2", path, fmt.Sprint(mib)+"M")
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { f.Close() })
	return f
}

// clean checks that nothing of a copy is left in QEMU.
func (c *copied) clean() {
	c.t.Helper()
	for _, command := range []string{"query-jobs", "query-named-block-nodes", "query-fdsets"} {
		raw, err := c.ask(c.t.Context(), order{command: command})
		if err != nil || bytes.Contains(raw, []byte(`"`+copyMark)) {
			c.t.Errorf("%s: %s, %v", command, raw, err)
		}
	}
}

func TestDisksAreCopiedWholeWhileTheMachineRuns(t *testing.T) {
	c := newCopied(t)
	for round := range 2 { // what the first leaves does not hinder the second
		root, data := c.to(fmt.Sprint("root-copy", round), 8), c.to(fmt.Sprint("data-copy", round), 4)
		if err := c.Copy(t.Context(), []DiskCopy{{c.spec.Root, root}, {c.spec.Drives[0].Path, data}}, true); err != nil {
			t.Fatal(err)
		}
		c.clean()
		c.image("check", "-q", root.Name())
		c.image("compare", "-q", "-U", "-f", "qcow2", "-F", "qcow2", root.Name(), c.spec.Root)
		c.image("compare", "-q", "-U", "-f", "qcow2", "-F", "raw", data.Name(), c.spec.Drives[0].Path)
		out, err := exec.Command("qemu-img", "info", "--output=json", root.Name()).Output()
		if err != nil || bytes.Contains(out, []byte("backing-filename")) {
			t.Errorf("the copy leans on another image: %s, %v", out, err)
		}
	}
}

func TestACopyThatCannotBeMadeLeavesNothing(t *testing.T) {
	c := newCopied(t)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for name, test := range map[string]struct {
		ctx   context.Context
		disks []DiskCopy
		want  string
	}{
		"of another disk":           {t.Context(), []DiskCopy{{"/etc/passwd", c.to("a", 8)}}, "has no disk"},
		"into an image of another":  {t.Context(), []DiskCopy{{c.spec.Root, c.to("b", 4)}}, "different sizes"},
		"of a pair, one is wrong":   {t.Context(), []DiskCopy{{c.spec.Root, c.to("c", 8)}, {c.spec.Drives[0].Path, c.to("d", 8)}}, "different sizes"},
		"after it was called off":   {over, []DiskCopy{{c.spec.Root, c.to("e", 8)}}, "canceled"},
		"into what is no image":     {t.Context(), []DiskCopy{{c.spec.Root, c.bad()}}, "qcow2"},
		"into what is not writable": {t.Context(), []DiskCopy{{c.spec.Root, c.readOnly()}}, "blockdev-add"},
	} {
		if err := c.Copy(test.ctx, test.disks, false); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
		c.clean()
	}
	if err := c.Copy(t.Context(), []DiskCopy{{c.spec.Root, c.to("f", 8)}}, false); err != nil {
		t.Errorf("then: %v", err)
	}
}

func (c *copied) bad() *os.File {
	f, err := os.Create(filepath.Join(c.dir, "bad"))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { f.Close() })
	return f
}

func (c *copied) readOnly() *os.File {
	f, err := os.Open(c.to("fixed-copy", 8).Name())
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { f.Close() })
	return f
}

// A job that would take for ever stands for one that a killed node had begun.
func TestTheNextNodeEndsACopyThatItsFormerBegan(t *testing.T) {
	c := newCopied(t)
	for _, o := range []order{
		{"add-fd", with{"fdset-id": 0, "opaque": copyMark}, c.to("copy", 8)},
		{command: "blockdev-add", arguments: with{"driver": "qcow2", "node-name": copyMark + "0", "file": with{"driver": "file", "filename": "/dev/fdset/0"}}},
		{command: "blockdev-backup", arguments: with{"job-id": copyMark + "0", "device": "drive0", "target": copyMark + "0", "sync": "full", "speed": 1, "auto-dismiss": false}},
	} {
		if _, err := c.ask(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	var jobs []copyJob
	if err := c.query(t.Context(), order{command: "query-jobs"}, &jobs); err != nil || len(jobs) != 1 || jobs[0].Status != "running" {
		raw, _ := json.Marshal(jobs)
		t.Fatalf("jobs %s, %v", raw, err)
	}
	if err := c.Detach(); err != nil {
		t.Fatal(err)
	}
	adopted, err := c.i.Adopt(t.Context(), func(string) (io.WriteCloser, error) { return c.spec.Console, nil })
	if err != nil || adopted[c.spec.ID] == nil {
		t.Fatalf("adopted %v, %v", adopted, err)
	}
	c.Instance = adopted[c.spec.ID]
	c.clean()
	if err := c.Copy(t.Context(), []DiskCopy{{c.spec.Root, c.to("next", 8)}}, false); err != nil {
		t.Error(err)
	}
}

func TestACopyOfAMachineThatEndsFails(t *testing.T) {
	c := newCopied(t)
	done := make(chan error, 1)
	c.copying <- struct{}{} // so that it ends first
	go func() {
		done <- c.Copy(context.Background(), []DiskCopy{{c.spec.Root, nil}}, false)
	}()
	err := c.Kill()
	if got := <-done; err != nil || !errors.Is(got, errEnded) {
		t.Errorf("got %v, %v", got, err)
	}
}

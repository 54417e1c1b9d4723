package qemu

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/crn/vm"
)

// receiver is a machine that waits for the memory of c, on disks of its own that hold the same.
func (c *copied) receiver() *Instance {
	c.t.Helper()
	spec := c.spec
	there := func(path string) string {
		raw, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path+"-there", raw, 0o600)
		}
		if err != nil {
			c.t.Fatal(err)
		}
		return path + "-there"
	}
	spec.ID, spec.Root, spec.Console = "receiver", there(c.spec.Root), nowhere{io.Discard}
	spec.Drives = []vm.Drive{{Path: there(c.spec.Drives[0].Path)}}
	m, err := c.i.Receive(c.t.Context(), spec)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		if err := errors.Join(m.Kill(), m.Release()); err != nil {
			c.t.Error(err)
		}
	})
	return m
}

func (c *copied) is(m *Instance, want string) {
	c.t.Helper()
	if state, err := m.control.status(c.t.Context()); err != nil || state != want {
		c.t.Errorf("the machine is %q, %v, want %q", state, err, want)
	}
}

func TestAMachineGoesOnElsewhereWithItsMemory(t *testing.T) {
	c := newCopied(t)
	there := c.receiver()
	if c.Form() == "" || c.Form() != there.Form() {
		t.Errorf("forms %q and %q", c.Form(), there.Form())
	}
	r, w := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		err := c.SendMemory(t.Context(), w, 1<<30)
		w.Close()
		sent <- err
	}()
	if err := there.ReceiveMemory(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	c.is(c.Instance, "postmigrate")
	c.is(there, "paused")
	// Whoever is told to, goes on: the one that had it, also for the next node, or the one that got it.
	if err := c.Detach(); err != nil {
		t.Fatal(err)
	}
	adopted, err := c.i.adopt(t.Context(), c.spec.ID, filepath.Join(c.i.dir, c.spec.ID), func() (io.WriteCloser, error) { return nowhere{io.Discard}, nil })
	if err != nil {
		t.Fatal(err)
	}
	c.Instance = adopted
	for _, m := range []*Instance{c.Instance, there} {
		for range 2 {
			if _, err := m.Continue(t.Context()); err != nil {
				t.Error(err)
			}
		}
		c.is(m, "running")
	}
}

// failing takes so many bytes and no more.
type failing struct{ left int }

func (f *failing) Write(b []byte) (int, error) {
	if f.left -= len(b); f.left < 0 {
		return 0, errors.New("the line is cut")
	}
	return len(b), nil
}

func TestAMachineWhoseMemoryDoesNotComeThroughGoesOn(t *testing.T) {
	c := newCopied(t)
	for name, send := range map[string]struct {
		to    io.Writer
		limit int64
		want  string
	}{
		"the line is cut at once": {&failing{0}, 1 << 30, "the line is cut"},
		"the line is cut later":   {&failing{100 << 10}, 1 << 30, "the line is cut"},
		"it is too much":          {io.Discard, 64 << 10, errRestless.Error()},
	} {
		if err := c.SendMemory(t.Context(), send.to, send.limit); err == nil || !strings.Contains(err.Error(), send.want) {
			t.Errorf("%s: %v", name, err)
		}
		c.is(c.Instance, "running")
		if err := c.Copy(t.Context(), []DiskCopy{{c.spec.Root, c.to("after "+name, 8)}}, false); err != nil {
			t.Errorf("%s: its disks cannot be copied any more: %v", name, err)
		}
	}
}

func TestWhatIsNoMemoryIsRefused(t *testing.T) {
	c := newCopied(t)
	if err := c.receiver().ReceiveMemory(t.Context(), strings.NewReader("nothing of the kind")); err == nil {
		t.Error("it was taken")
	}
}

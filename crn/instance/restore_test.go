package instance_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/crn/corenode"
	"github.com/aleph-im/aleph-go/crn/instance"
	"github.com/aleph-im/aleph-go/crn/vm/qemu"
	"github.com/aleph-im/aleph-go/message"
)

// qcow2Image is a whole image of a disk of so many MiB.
func qcow2Image(t *testing.T, mib string, change func(head []byte)) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.qcow2")
	if out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", path, mib+"M").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(raw)
	}
	return raw
}

// newRestore has an instance run with a mark in its root disk.
func newRestore(t *testing.T) (*rig, message.Hash) {
	t.Helper()
	r := newRig(t)
	persistence, name := "host", "kept"
	hash := r.publish("a", func(m *message.Instance) {
		m.Volumes = []message.Volume{
			{Kind: message.VolumePersistent, Persistence: &persistence, Name: &name, SizeMiB: 8}, {Kind: message.VolumeEphemeral, SizeMiB: 1},
		}
	})
	r.begin()
	if o := r.Allocate(t.Context(), []message.Hash{hash}); len(o.Errors) > 0 {
		t.Fatal(o.Errors)
	}
	r.mark(hash, "precious")
	return r, hash
}

func (r *rig) rootOf(hash message.Hash) string {
	return filepath.Join(r.dir, "disks", string(hash), "rootfs.qcow2")
}

// mark writes to the root disk as a guest may.
func (r *rig) mark(hash message.Hash, text string) {
	r.t.Helper()
	f, err := os.OpenFile(r.rootOf(hash), os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt([]byte(text), 1<<20)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) marked(hash message.Hash, text string) bool {
	r.t.Helper()
	raw, err := os.ReadFile(r.rootOf(hash))
	return err == nil && len(raw) > 1<<20 && strings.HasPrefix(string(raw[1<<20:]), text)
}

// settled checks that an instance runs on the image, and that nothing of a restoration is left.
func (r *rig) settled(hash, image message.Hash) {
	r.t.Helper()
	if !r.info(hash).Running {
		r.t.Errorf("it does not run: %+v", r.info(hash))
	}
	if got := filepath.Base(r.driver.specs[len(r.driver.specs)-1].Backing); got != string(image) {
		r.t.Errorf("it runs on image %s, not on %s", got, image)
	}
	parents, _ := filepath.Glob(filepath.Join(r.dir, "parents", "*"))
	incoming, _ := filepath.Glob(filepath.Join(r.dir, "incoming", "*"))
	disks, _ := filepath.Glob(filepath.Join(r.dir, "disks", string(hash), "rootfs*"))
	if len(parents) != 1 || len(incoming) != 0 || len(disks) != 1 {
		r.t.Errorf("left are %v, %v, %v", parents, incoming, disks)
	}
}

// parent is the image that instances of the rig begin from.
func (r *rig) parent() message.Hash {
	raw, err := os.ReadFile(r.net.image)
	if err != nil {
		r.t.Fatal(err)
	}
	return message.HashBytes(raw)
}

func TestARestoredInstanceBeginsFromTheImage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, hash := newRestore(t)
		image := qcow2Image(t, "64", nil)
		for _, restore := range []func() error{
			func() error { return r.RestoreFile(t.Context(), hash, bytes.NewReader(image), int64(len(image))) },
			func() error {
				r.mark(hash, "precious")
				r.net.image = filepath.Join(t.TempDir(), "volume")
				if err := os.WriteFile(r.net.image, image, 0o600); err != nil {
					return err
				}
				return r.RestoreVolume(t.Context(), hash, message.HashBytes([]byte("volume")))
			},
		} {
			starts := r.driver.count()
			if err := restore(); err != nil {
				t.Fatal(err)
			}
			if r.driver.count() != starts+1 || r.marked(hash, "precious") {
				t.Errorf("%d starts, the old disk is there: %v", r.driver.count()-starts, r.marked(hash, "precious"))
			}
			r.settled(hash, message.HashBytes(image))
		}
		if _, err := r.Stop(t.Context(), hash); err != nil {
			t.Fatal(err)
		}
		if err := r.RestoreFile(t.Context(), hash, bytes.NewReader(image), -1); err != nil {
			t.Errorf("while it is stopped: %v", err)
		}
		r.settled(hash, message.HashBytes(image))
		r.net.image = filepath.Join(t.TempDir(), "image")
		if err := os.WriteFile(r.net.image, qcow2Image(t, "1", nil), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := r.Reinstall(t.Context(), hash, false); err != nil {
			t.Fatal(err)
		}
		if got := filepath.Base(r.driver.specs[len(r.driver.specs)-1].Backing); got != string(r.parent()) {
			t.Errorf("reinstalled it runs on image %s", got)
		}
		r.stop()
		r.begin()
		defer func() { r.stop() }()
		synctest.Wait()
		if err := r.Erase(t.Context(), hash); err != nil {
			t.Error(err)
		}
		if left, _ := filepath.Glob(filepath.Join(r.dir, "[dp]*", "*")); len(left) > 0 {
			t.Errorf("left are %v", left)
		}
	})
}

func TestAnInstanceThatDoesNotStartWithItsImageKeepsItsDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, hash := newRestore(t)
		defer func() { r.stop() }()
		r.driver.refuse(errors.New("QEMU says no"))
		image := qcow2Image(t, "64", nil)
		err := r.RestoreFile(t.Context(), hash, bytes.NewReader(image), int64(len(image)))
		if err == nil || !strings.Contains(err.Error(), "QEMU says no") || !strings.Contains(err.Error(), "keeps its disk") {
			t.Errorf("got %v", err)
		}
		r.driver.refuse(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if !r.marked(hash, "precious") {
			t.Error("its disk is gone")
		}
		r.settled(hash, r.parent())
	})
}

func TestOnlyWholeImagesThatFitAreRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, hash := newRestore(t)
		defer func() { r.stop() }()
		word := func(at int, v uint64) func([]byte) { return func(b []byte) { binary.BigEndian.PutUint64(b[at:], v) } }
		raw := make([]byte, 4096)
		raw[510], raw[511] = 0x55, 0xaa
		for name, test := range map[string]struct {
			image []byte
			size  int64
			want  error
		}{
			"based on a file of the host": {qcow2Image(t, "64", word(8, 512)), -1, instance.ErrImage},
			"its data in a file":          {qcow2Image(t, "64", word(72, 1<<2)), -1, instance.ErrImage},
			"a table past its end":        {qcow2Image(t, "64", word(40, 1<<40)), -1, instance.ErrImage},
			"a table that is too short":   {qcow2Image(t, "64", func(b []byte) { binary.BigEndian.PutUint32(b[36:], 0) }), -1, instance.ErrImage},
			"a table that is endless":     {qcow2Image(t, "64", func(b []byte) { binary.BigEndian.PutUint32(b[36:], 1<<31) }), -1, instance.ErrImage},
			"clusters of no size":         {qcow2Image(t, "64", func(b []byte) { binary.BigEndian.PutUint32(b[20:], 1<<31) }), -1, instance.ErrImage},
			"its beginning":               {qcow2Image(t, "64", nil)[:1000], -1, instance.ErrImage},
			"a raw disk":                  {raw, -1, instance.ErrImage},
			"nothing":                     {nil, 0, instance.ErrImage},
			"a larger disk":               {qcow2Image(t, "65", nil), -1, instance.ErrTooLong},
			"a negative size":             {qcow2Image(t, "64", word(24, 1<<63)), -1, instance.ErrImage},
			"more bytes than it may have": {make([]byte, 70<<20), -1, instance.ErrTooLarge},
			"more bytes, said beforehand": {nil, 70 << 20, instance.ErrTooLarge},
		} {
			if err := r.RestoreFile(t.Context(), hash, bytes.NewReader(test.image), test.size); !errors.Is(err, test.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
		broken := io.MultiReader(bytes.NewReader(qcow2Image(t, "64", nil)), brokenReader{})
		if err := r.RestoreFile(t.Context(), hash, broken, -1); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("an upload that breaks off: %v", err)
		}
		r.net.failFiles(corenode.ErrNotFound)
		if err := r.RestoreVolume(t.Context(), hash, message.HashBytes([]byte("gone"))); !errors.Is(err, instance.ErrResource) {
			t.Errorf("a file that is gone: %v", err)
		}
		r.net.failFiles(nil)
		if err := r.RestoreFile(t.Context(), message.HashBytes([]byte("absent")), bytes.NewReader(nil), 0); err == nil {
			t.Error("an instance that is not here was restored")
		}
		if r.driver.count() != 1 || !r.marked(hash, "precious") {
			t.Errorf("%d starts", r.driver.count())
		}
		r.settled(hash, r.parent())
	})
}

// seen is an image of which somebody looks at each part that is read.
type seen struct {
	image *bytes.Reader
	look  func()
}

func (s seen) Read(b []byte) (int, error) { s.look(); return s.image.Read(b) }

func TestTheRoomForAnImageIsTakenBeforeItComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, hash := newRestore(t)
		defer func() { r.stop() }()
		image := qcow2Image(t, "64", nil)
		room := func(folder string) (bytes int64) {
			files, err := filepath.Glob(filepath.Join(r.dir, folder, "*"))
			if err != nil || len(files) != 1 {
				t.Fatalf("%v, %v", files, err)
			}
			var s unix.Stat_t
			if err := unix.Stat(files[0], &s); err != nil {
				t.Fatal(err)
			}
			return s.Blocks * 512
		}
		for _, test := range []struct{ size, want int64 }{{20 << 20, 20 << 20}, {-1, 64 << 20}} {
			look := func() {
				if got := room("incoming"); got < test.want {
					t.Errorf("an upload of %d bytes: %d are taken", test.size, got)
				}
			}
			if err := r.RestoreFile(t.Context(), hash, seen{bytes.NewReader(image), look}, test.size); err != nil {
				t.Fatal(err)
			}
			if got := room("parents"); got > 1<<20 {
				t.Errorf("an image of %d bytes takes %d", len(image), got)
			}
		}
	})
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// Each part is a moment at which the node may be killed, by what it leaves on its disk.
func TestARestoreThatWasCutShortIsFinishedByTheNextNode(t *testing.T) {
	for name, test := range map[string]struct {
		swapped bool
		leave   func(t *testing.T, root string)
		running bool // its machine
	}{
		"before its machine ended":        {false, func(*testing.T, string) {}, true},
		"before anything was moved":       {false, func(*testing.T, string) {}, false},
		"when the old disk was moved":     {false, func(t *testing.T, root string) { move(t, root, root+".before") }, false},
		"when the new disk was half made": {false, func(t *testing.T, root string) { move(t, root, root+".before"); write(t, root+".new", "half") }, false},
		"when the new disk was made":      {false, func(t *testing.T, root string) { overlay(t, root) }, false},
		"when that was written down":      {true, func(t *testing.T, root string) { overlay(t, root) }, false},
		"when it ran again":               {true, func(t *testing.T, root string) { overlay(t, root) }, true},
		"when the old disk was removed":   {true, func(t *testing.T, root string) { overlay(t, root); os.Remove(root + ".before") }, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, hash := newRestore(t)
				if !test.running {
					r.driver.machine(hash).end(false)
				}
				r.stop()
				image := qcow2Image(t, "64", nil)
				sum := message.HashBytes(image)
				write(t, filepath.Join(r.dir, "parents", string(sum)), string(image))
				write(t, filepath.Join(r.dir, "incoming", "image-1"), "half an upload")
				test.leave(t, r.rootOf(hash))
				if err := instance.LeaveRestoring(r.dir, hash, sum, test.swapped, false); err != nil {
					t.Fatal(err)
				}
				r.begin()
				defer func() { r.stop() }()
				time.Sleep(time.Minute) // a machine that was found crashed is started after a while
				synctest.Wait()
				if r.marked(hash, "precious") {
					t.Error("the old disk is there")
				}
				if test.swapped && test.running {
					r.driver.specs[len(r.driver.specs)-1].Backing = string(sum) // its machine was started by the node before
				}
				r.settled(hash, sum)
			})
		})
	}
}

func move(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// overlay has a new disk take the place of the old one.
func overlay(t *testing.T, root string) {
	t.Helper()
	move(t, root, root+".before")
	write(t, root, string(qcow2Image(t, "64", nil)))
}

// What a guest has run from stays, whatever else fails: each time with a node that was killed before or after it removed the old disk.
func TestADiskThatAGuestHasRunFromIsNotGivenUp(t *testing.T) {
	for _, removed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r, hash := newRestore(t)
			r.driver.machine(hash).end(false)
			r.stop()
			image := qcow2Image(t, "64", nil)
			sum := message.HashBytes(image)
			write(t, filepath.Join(r.dir, "parents", string(sum)), string(image))
			overlay(t, r.rootOf(hash))
			r.mark(hash, "new word")
			if removed {
				if err := os.Remove(r.rootOf(hash) + ".before"); err != nil {
					t.Fatal(err)
				}
			}
			if err := instance.LeaveRestoring(r.dir, hash, sum, true, true); err != nil {
				t.Fatal(err)
			}
			r.driver.refuse(errors.New("QEMU says no"))
			r.begin()
			defer func() { r.stop() }()
			time.Sleep(time.Minute)
			r.driver.refuse(nil)
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			if !r.marked(hash, "new word") {
				t.Error("its disk is gone")
			}
			r.settled(hash, sum)
		})
	}
}

// stopRestoring has an instance restored that is stopped in the middle, and returns the image.
func stopRestoring(t *testing.T) (*rig, message.Hash, message.Hash) {
	t.Helper()
	r, hash := newRestore(t)
	r.driver.deaf = true // so that it takes a while
	image := qcow2Image(t, "64", nil)
	done := make(chan error, 1)
	go func() { done <- r.RestoreFile(t.Context(), hash, bytes.NewReader(image), -1) }()
	time.Sleep(time.Second)
	if _, err := r.Stop(t.Context(), hash); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, instance.ErrStopped) {
		t.Errorf("restored: %v", err)
	}
	r.driver.deaf = false
	synctest.Wait()
	return r, hash, message.HashBytes(image)
}

func TestStoppedInTheMiddleAnInstanceKeepsItsDiskUntilItRanFromTheImage(t *testing.T) {
	for name, test := range map[string]struct {
		refusal error
		then    func(t *testing.T, r *rig, hash message.Hash)
		image   bool // it runs from it in the end
	}{
		"it is started":      {nil, func(*testing.T, *rig, message.Hash) {}, true},
		"its node is killed": {nil, func(_ *testing.T, r *rig, _ message.Hash) { r.stop(); r.begin() }, true},
		"it does not start":  {errors.New("QEMU says no"), func(*testing.T, *rig, message.Hash) {}, false},
		"it is sent away": {nil, func(t *testing.T, r *rig, hash message.Hash) {
			if err := r.Dismiss(t.Context(), hash); err != nil {
				t.Error(err)
			}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, hash, sum := stopRestoring(t)
				defer func() { r.stop() }()
				if x := r.info(hash); !x.Stopped || r.driver.count() != 1 {
					t.Errorf("%d starts, %+v", r.driver.count(), x)
				}
				test.then(t, r, hash)
				r.driver.refuse(test.refusal)
				if err := r.Start(t.Context(), hash); (err != nil) != (test.refusal != nil) {
					t.Error(err)
				}
				r.driver.refuse(nil)
				time.Sleep(time.Minute)
				synctest.Wait()
				if r.marked(hash, "precious") == test.image {
					t.Errorf("its old disk is there: %v", !test.image)
				}
				if !test.image {
					sum = r.parent()
				}
				r.settled(hash, sum)
			})
		})
	}
}

func TestNothingElseIsDoneWithDisksThatAreRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, hash := newRestore(t)
		defer func() { r.stop() }()
		r.driver.deaf = true // so that it takes a while
		image := qcow2Image(t, "64", nil)
		done := make(chan error, 1)
		go func() { done <- r.RestoreFile(t.Context(), hash, bytes.NewReader(image), -1) }()
		time.Sleep(time.Second)
		for what, err := range map[string]error{
			"restore":   r.RestoreFile(t.Context(), hash, bytes.NewReader(image), -1),
			"reinstall": r.Reinstall(t.Context(), hash, true),
			"leave":     func() error { _, _, err := r.Leave(hash); return err }(),
		} {
			if !errors.Is(err, instance.ErrBusy) {
				t.Errorf("%s in the middle: %v", what, err)
			}
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		r.settled(hash, message.HashBytes(image))
	})
}

func TestDisksThatRunAreCopiedByOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, hash := newRestore(t)
		defer func() { r.stop() }()
		var asked []string
		var frozen bool
		release := make(chan error)
		r.driver.copy = func(_ context.Context, disks []qemu.DiskCopy, freeze bool) error {
			asked, frozen = nil, freeze
			for _, d := range disks {
				asked = append(asked, filepath.Base(d.Disk))
			}
			return <-release
		}
		one, err := r.Disks(t.Context(), hash, false)
		if err != nil || len(one) != 1 || one[0].Bytes != 64<<20 {
			t.Errorf("got %+v, %v", one, err)
		}
		disks, err := r.Disks(t.Context(), hash, true)
		if err != nil || len(disks) != 2 || disks[1].Name != "kept.qcow2" || disks[1].Bytes != 8<<20 {
			t.Fatalf("got %+v, %v", disks, err)
		}
		dir := t.TempDir()
		done := make(chan error, 1)
		go func() { done <- r.Copy(t.Context(), hash, disks, dir, true) }()
		synctest.Wait()
		if err := r.Copy(t.Context(), hash, disks, t.TempDir(), true); !errors.Is(err, instance.ErrBusy) {
			t.Errorf("another copy: %v", err)
		}
		if err := r.RestoreFile(t.Context(), hash, bytes.NewReader(nil), -1); !errors.Is(err, instance.ErrBusy) {
			t.Errorf("a restore: %v", err)
		}
		release <- nil
		if err := <-done; err != nil || !frozen || !slices.Equal(asked, []string{"rootfs.qcow2", "kept.ext4"}) {
			t.Errorf("asked for %v, frozen %v, %v", asked, frozen, err)
		}
		for _, d := range disks {
			out, err := exec.Command("qemu-img", "check", "-q", filepath.Join(dir, d.Name)).CombinedOutput()
			if err != nil {
				t.Errorf("%s: %v: %s", d.Name, err, out)
			}
		}
		if _, err := r.Stop(t.Context(), hash); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Disks(t.Context(), hash, true); !errors.Is(err, instance.ErrNotRunning) {
			t.Errorf("of what is stopped: %v", err)
		}
		if err := r.Copy(t.Context(), hash, disks, t.TempDir(), true); !errors.Is(err, instance.ErrNotRunning) {
			t.Errorf("of what is stopped: %v", err)
		}
		if _, err := r.Disks(t.Context(), message.HashBytes(nil), true); !errors.Is(err, instance.ErrUnknown) {
			t.Errorf("of what is not here: %v", err)
		}
	})
}

package backup

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/crn/instance"
	"github.com/aleph-im/aleph-go/message"
)

var vm = message.HashBytes([]byte("instance"))

// fakeMachines is a fake: an instance whose disks are copied as the test says, so that failures are under control.
type fakeMachines struct {
	err   error // of all that is asked
	room  error
	copy  func(ctx context.Context, disks []instance.Disk, dir string, freeze bool) error
	asked atomic.Int64 // room in bytes
}

func (m *fakeMachines) Disks(_ context.Context, _ message.Hash, volumes bool) ([]instance.Disk, error) {
	disks := []instance.Disk{{Name: "rootfs.qcow2", Bytes: 1000}}
	if volumes {
		disks = append(disks, instance.Disk{Name: "data.qcow2", Bytes: 500})
	}
	return disks, m.err
}

func (m *fakeMachines) DiskRoom(bytes int64) error {
	m.asked.Store(bytes)
	return m.room
}

func (m *fakeMachines) Copy(ctx context.Context, _ message.Hash, disks []instance.Disk, dir string, freeze bool) error {
	if m.copy != nil {
		if err := m.copy(ctx, disks, dir, freeze); err != nil {
			return err
		}
	}
	for _, d := range disks {
		if err := os.WriteFile(filepath.Join(dir, d.Name), []byte("content of "+d.Name), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// rig is a store whose time is that of a bubble.
type rig struct {
	*Store
	t        *testing.T
	machines *fakeMachines
	dir      string
	stop     func()
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, machines: &fakeMachines{}, dir: t.TempDir()}
	r.begin()
	return r
}

// begin opens the store as a node does that starts.
func (r *rig) begin() {
	r.t.Helper()
	var err error
	if r.Store, err = New(Config{Machines: r.machines, Dir: r.dir, Secret: "secret"}); err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.stop = func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	}
}

// backup makes one. The clock of the filesystem is not the bubble's.
func (r *rig) backup(o Options) *Backup {
	r.t.Helper()
	if _, err := r.Make(r.t.Context(), vm, o); !errors.Is(err, ErrInProgress) {
		r.t.Fatalf("got %v", err)
	}
	synctest.Wait()
	b, err := r.Latest(vm)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := os.Chtimes(r.path(b.ID), time.Time{}, time.Now()); err != nil {
		r.t.Fatal(err)
	}
	if b, err = r.Latest(vm); err != nil {
		r.t.Fatal(err)
	}
	return b
}

func (r *rig) files() (names []string) {
	r.t.Helper()
	for _, pattern := range []string{"*", workDir + "/*"} {
		list, _ := filepath.Glob(filepath.Join(r.dir, pattern))
		for _, path := range list {
			if filepath.Base(path) != workDir {
				names = append(names, filepath.Base(path))
			}
		}
	}
	return names
}

func in(t *testing.T, test func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)))
		r := newRig(t)
		defer func() { r.stop() }()
		test(t, r)
	})
}

func TestABackupIsAnArchiveOfAllDisks(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		frozen := false
		r.machines.copy = func(_ context.Context, _ []instance.Disk, _ string, freeze bool) error { frozen = freeze; return nil }
		b := r.backup(Options{Volumes: true})
		id := string(vm) + "-20250101T000000Z"
		if b.ID != id || b.SourceBytes() != 1500 || !slices.Equal(b.Volumes, []string{"rootfs.qcow2", "data.qcow2"}) || !b.Expires.Equal(time.Now().Add(Keep)) || !frozen {
			t.Errorf("got %+v, frozen %v", b, frozen)
		}
		f, again, err := r.Open(id)
		if err != nil || again.ID != id {
			t.Fatalf("got %+v, %v", again, err)
		}
		defer f.Close()
		h := sha256.New()
		archive := tar.NewReader(io.TeeReader(f, h))
		for _, name := range b.Volumes {
			header, err := archive.Next()
			if err != nil || header.Name != name {
				t.Fatalf("got %+v, %v", header, err)
			}
			if raw, err := io.ReadAll(archive); err != nil || string(raw) != "content of "+name {
				t.Errorf("%s holds %q, %v", name, raw, err)
			}
		}
		if _, err := io.Copy(h, f); err != nil {
			t.Fatal(err)
		}
		if sum := fmt.Sprintf("%x", h.Sum(nil)); sum != b.Checksum {
			t.Errorf("the checksum is %s and not %s", b.Checksum, sum)
		}
		raw, err := os.ReadFile(r.path(id) + ".sha256")
		if err != nil || string(raw) != b.Checksum+"  "+id+".tar\n" {
			t.Errorf("%q, %v", raw, err)
		}
		raw, err = os.ReadFile(r.path(id) + ".meta.json")
		if want := `{"vm_hash":"` + string(vm) + `","created_at":"2025-01-01T00:00:00Z","source_sizes":{"data.qcow2":500,"rootfs.qcow2":1000}}`; err != nil || string(raw) != want {
			t.Errorf("%s, %v", raw, err)
		}
		if got := r.files(); len(got) != 3 {
			t.Errorf("files %v", got)
		}
	})
}

func TestABackupIsMadeOnceUntilItIsOldOrDeleted(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		time.Sleep(time.Minute) // so that nothing happens by itself when it is old
		first := r.backup(Options{SkipFreeze: true})
		time.Sleep(Keep - time.Second)
		if b, err := r.Make(t.Context(), vm, Options{}); err != nil || b.ID != first.ID {
			t.Errorf("got %+v, %v", b, err)
		}
		if _, err := r.Latest(message.HashBytes(nil)); !errors.Is(err, ErrNone) {
			t.Errorf("of another instance: %v", err)
		}
		time.Sleep(time.Second)
		if _, err := r.Latest(vm); !errors.Is(err, ErrNone) {
			t.Errorf("of one that is old: %v", err)
		}
		if got := r.files(); len(got) != 0 {
			t.Errorf("files %v", got)
		}
		second := r.backup(Options{})
		if second.ID == first.ID {
			t.Errorf("both are %s", first.ID)
		}
		if err := errors.Join(r.Delete(second.ID)); err != nil {
			t.Error(err)
		}
		if err := r.Delete(second.ID); !errors.Is(err, ErrNone) {
			t.Errorf("deleted twice: %v", err)
		}
		if _, _, err := r.Open(second.ID); !errors.Is(err, ErrNone) || len(r.files()) != 0 {
			t.Errorf("what was deleted: %v, %v", err, r.files())
		}
	})
}

func TestOldBackupsGoAlsoWhenNobodyAsks(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.backup(Options{})
		time.Sleep(Keep + purgeEvery)
		synctest.Wait()
		if got := r.files(); len(got) != 0 {
			t.Errorf("files %v", got)
		}
	})
}

func TestAFailureIsToldOnceAndDoesNotStay(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		why := errors.New("the machine ended")
		r.machines.copy = func(context.Context, []instance.Disk, string, bool) error { return why }
		fails := func() {
			t.Helper()
			if _, err := r.Make(t.Context(), vm, Options{}); !errors.Is(err, ErrInProgress) {
				t.Fatalf("got %v", err)
			}
			synctest.Wait()
		}
		told := func(err error) {
			t.Helper()
			var failed *FailedError
			if !errors.As(err, &failed) || !errors.Is(err, why) {
				t.Errorf("got %v", err)
			}
		}
		fails()
		_, err := r.Make(t.Context(), vm, Options{})
		told(err)
		fails() // it was told
		for range 2 {
			_, err = r.Latest(vm)
			told(err)
		}
		fails() // by then, too
		time.Sleep(keepFailure)
		if _, err := r.Latest(vm); !errors.Is(err, ErrNone) {
			t.Errorf("after an hour: %v", err)
		}
		r.machines.copy = nil
		r.backup(Options{})
		if got := r.files(); len(got) != 3 {
			t.Errorf("files %v", got)
		}
	})
}

func TestWhatHasNoRoomIsNotBegun(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.machines.room = instance.ErrNoRoom
		if _, err := r.Make(t.Context(), vm, Options{Volumes: true}); !errors.Is(err, instance.ErrNoRoom) || r.machines.asked.Load() != 1500 {
			t.Errorf("asked for %d bytes, %v", r.machines.asked.Load(), err)
		}
		r.machines.room, r.machines.err = nil, instance.ErrNotRunning
		if _, err := r.Make(t.Context(), vm, Options{}); !errors.Is(err, instance.ErrNotRunning) {
			t.Errorf("of what does not run: %v", err)
		}
		r.machines.err = nil
		for _, full := range []func() error{
			func() error { r.machines.room = instance.ErrNoRoom; return nil }, // for the archive beside the copies
			func() error { return fmt.Errorf("write: %w", unix.ENOSPC) },
		} {
			r.machines.room = nil
			r.machines.copy = func(context.Context, []instance.Disk, string, bool) error { return full() }
			if _, err := r.Make(t.Context(), vm, Options{}); !errors.Is(err, ErrInProgress) {
				t.Fatalf("got %v", err)
			}
			synctest.Wait()
			var failed *FailedError
			if _, err := r.Latest(vm); !errors.As(err, &failed) || len(r.files()) != 0 {
				t.Errorf("got %v, files %v", err, r.files())
			}
		}
	})
}

func TestOneInstanceIsBackedUpOnceAndFewAtATime(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		var copying atomic.Int64
		release := make(chan struct{})
		r.machines.copy = func(context.Context, []instance.Disk, string, bool) error {
			copying.Add(1)
			<-release
			return nil
		}
		for i := range 4 {
			for range 2 {
				if _, err := r.Make(t.Context(), message.HashBytes([]byte{byte(i)}), Options{}); !errors.Is(err, ErrInProgress) {
					t.Fatalf("got %v", err)
				}
			}
			synctest.Wait()
		}
		if n := copying.Load(); n != atOnce {
			t.Errorf("%d at once", n)
		}
		close(release)
		synctest.Wait()
		if n, got := copying.Load(), r.files(); n != 4 || len(got) != 12 {
			t.Errorf("%d made, files %v", n, got)
		}
	})
}

func TestWhatIsBeingMadeEndsWithItsNodeOrItsInstance(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		until := func(ctx context.Context, _ []instance.Disk, dir string, _ bool) error {
			if err := os.WriteFile(filepath.Join(dir, "rootfs.qcow2"), []byte("half"), 0o600); err != nil {
				return err
			}
			<-ctx.Done()
			return ctx.Err()
		}
		r.backup(Options{})
		other := message.HashBytes([]byte("other"))
		r.machines.copy = until
		if _, err := r.Make(t.Context(), other, Options{}); !errors.Is(err, ErrInProgress) {
			t.Fatalf("got %v", err)
		}
		synctest.Wait()
		if err := errors.Join(r.Forget(other), r.Forget(vm)); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if _, err := r.Latest(other); !errors.Is(err, ErrNone) || len(r.files()) != 0 {
			t.Errorf("of an instance that was erased: %v, files %v", err, r.files())
		}
		if _, err := r.Make(t.Context(), other, Options{}); !errors.Is(err, ErrInProgress) {
			t.Fatalf("got %v", err)
		}
		synctest.Wait()
		r.stop()
		if got := r.files(); len(got) != 0 {
			t.Errorf("files %v", got)
		}
		if _, err := r.Make(t.Context(), other, Options{}); !errors.Is(err, instance.ErrStopped) {
			t.Errorf("after the end: %v", err)
		}
		r.begin()
		if _, err := r.Latest(other); !errors.Is(err, ErrNone) {
			t.Errorf("in the next node: %v", err)
		}
	})
}

func TestHalfMadeBackupsAreRemovedAtTheStart(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		whole := r.backup(Options{})
		r.stop()
		half := string(vm) + "-20250101T000001Z.tar"
		for _, name := range []string{half + metaSuffix, half + checksumSuffix, filepath.Join(workDir, half), filepath.Join(workDir, "rootfs.qcow2")} {
			if err := os.WriteFile(filepath.Join(r.dir, name), []byte("half"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		r.begin()
		if b, err := r.Latest(vm); err != nil || b.ID != whole.ID {
			t.Errorf("got %+v, %v", b, err)
		}
		if got := r.files(); len(got) != 3 {
			t.Errorf("files %v", got)
		}
	})
}

func TestAnArchiveAloneIsABackupToo(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		b := r.backup(Options{})
		for _, suffix := range []string{checksumSuffix, metaSuffix} {
			if err := os.Remove(r.path(b.ID) + suffix); err != nil {
				t.Fatal(err)
			}
		}
		if b, err := r.Latest(vm); err != nil || b.Checksum != "" || b.SourceBytes() != 0 || len(b.Volumes) != 1 {
			t.Errorf("got %+v, %v", b, err)
		}
		if err := os.WriteFile(r.path(b.ID), []byte(strings.Repeat("no tar", 1000)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(r.path(b.ID), time.Time{}, time.Now()); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Latest(vm); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("of a damaged archive: %v", err)
		}
		if err := r.Delete(b.ID); err != nil {
			t.Error(err)
		}
	})
}

func TestLinksAreSignedAsTheSpecificationSays(t *testing.T) {
	hash := message.Hash(strings.Repeat("deca", 16))
	const want = "93205e62956a99de3b7fc310b043cb4dfb3f67c3d31e60d589b68a8afe513d2d" // spec/crn.md D.5
	if got := sign("secret", string(hash)+"-20250101T000000Z", hash, "1735776000"); got != want {
		t.Errorf("got %s", got)
	}
	in(t, func(t *testing.T, r *rig) {
		b := r.backup(Options{})
		link := r.Link(b)
		signature, expires := link.Get("signature"), link.Get("expires")
		if !r.Signed(b.ID, vm, signature, expires) || r.Expired(b.Expires.Add(-time.Second)) || !r.Expired(b.Expires.Add(-Keep)) {
			t.Error("its own link is not valid")
		}
		r.stop()
		r.begin()
		if again, err := r.Latest(vm); err != nil || r.Link(again).Encode() != link.Encode() {
			t.Errorf("after a restart the link is another: %v", err)
		}
		for name, wrong := range map[string][]string{
			"of another backup": {b.ID + "x", signature, expires}, "for longer": {b.ID, signature, expires + "0"},
			"forged": {b.ID, strings.Repeat("0", 64), expires}, "empty": {b.ID, "", expires},
		} {
			if r.Signed(wrong[0], vm, wrong[1], wrong[2]) {
				t.Errorf("a link %s is valid", name)
			}
		}
	})
}

func TestAStoreNeedsASecret(t *testing.T) {
	if _, err := New(Config{Dir: t.TempDir()}); err == nil {
		t.Error("links would be signed with nothing")
	}
}

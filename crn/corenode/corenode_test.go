package corenode_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/crn/corenode"
	"github.com/aleph-im/aleph-go/crn/corenode/corenodetest"
	"github.com/aleph-im/aleph-go/message"
)

func open(t *testing.T, api, dir string, limit int64) *corenode.Client {
	t.Helper()
	c, err := corenode.New(corenode.Config{API: api, Dir: dir, CacheLimit: limit})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestFilesAreFetchedOnceAndChecked(t *testing.T) {
	core, dir := corenodetest.New(t), t.TempDir()
	ref := core.Store([]byte("content"))
	raw := "/api/v0/storage/raw/" + string(message.HashBytes([]byte("content")))
	c := open(t, core.URL, dir, 0)
	for range 2 {
		f, err := c.File(t.Context(), ref, false, 100)
		if err != nil || f.Size != 7 || f.Ref != ref {
			t.Fatalf("got %+v, %v", f, err)
		}
	}
	if n := core.Requests(raw); n != 1 {
		t.Errorf("fetched %d times", n)
	}

	t.Run("a copy that was damaged is fetched again", func(t *testing.T) {
		f, err := c.File(t.Context(), ref, false, 100)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f.Path, []byte("c0ntent"), 0o600); err != nil {
			t.Fatal(err)
		}
		later := time.Now().Add(time.Hour)
		if err := os.Chtimes(f.Path, later, later); err != nil {
			t.Fatal(err)
		}
		for _, client := range []*corenode.Client{c, open(t, core.URL, dir, 0)} {
			f, err := client.File(t.Context(), ref, false, 100)
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := os.ReadFile(f.Path); string(got) != "content" {
				t.Errorf("got %q", got)
			}
		}
	})

	t.Run("a copy that is larger than allowed is refused", func(t *testing.T) {
		if _, err := c.File(t.Context(), ref, false, 3); !errors.Is(err, corenode.ErrTooLarge) {
			t.Errorf("got %v", err)
		}
	})
}

func TestWrongBytesAreNeverGivenOut(t *testing.T) {
	core, dir := corenodetest.New(t), t.TempDir()
	c := open(t, core.URL, dir, 0)
	ref := core.Store([]byte("content"))
	core.Corrupt(message.HashBytes([]byte("content")), []byte("c0ntent"))
	if _, err := c.File(t.Context(), ref, false, 100); !errors.Is(err, corenode.ErrCorrupt) {
		t.Errorf("got %v", err)
	}
	large := core.Store(make([]byte, 1000))
	if _, err := c.File(t.Context(), large, false, 999); !errors.Is(err, corenode.ErrTooLarge) {
		t.Errorf("got %v", err)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "files")); len(left) != 0 {
		t.Errorf("the cache holds %v", left)
	}
}

func TestOnlyTheOwnerAmendsAFile(t *testing.T) {
	core := corenodetest.New(t)
	c := open(t, core.URL, t.TempDir(), 0)
	ref := core.Store([]byte("one"))
	amend := func(address, content string) message.Hash {
		return core.Publish(message.TypeStore, map[string]any{
			"address": address, "item_type": "storage", "item_hash": core.AddFile([]byte(content)), "ref": ref,
		})
	}
	amend("0x2B5AD5c4795c026514f8317c7a215E218DcCD6cF", "theirs")
	if f, err := c.File(t.Context(), ref, true, 100); err != nil || f.Ref != ref {
		t.Errorf("a stranger's version: %+v, %v", f, err)
	}
	second := amend(corenodetest.Owner, "two")
	if f, err := c.File(t.Context(), ref, true, 100); err != nil || f.Ref != second {
		t.Errorf("the owner's version: %+v, %v", f, err)
	}
	if f, err := c.File(t.Context(), ref, false, 100); err != nil || f.Ref != ref {
		t.Errorf("the exact version: %+v, %v", f, err)
	}
}

func TestProgramsAreAskedForAnewAndKeptForBadTimes(t *testing.T) {
	core, dir := corenodetest.New(t), t.TempDir()
	code := core.Store([]byte("code"))
	hash := core.Publish(message.TypeProgram, corenodetest.Program(code, code, message.EncodingZip, "main:app"))
	c := open(t, core.URL, dir, 0)
	if p, err := c.Program(t.Context(), hash); err != nil || p.Code.Ref != code || p.Address != corenodetest.Owner {
		t.Fatalf("got %+v, %v", p, err)
	}
	if _, err := c.Program(t.Context(), code); !errors.Is(err, corenode.ErrNotProgram) {
		t.Errorf("a file: %v", err)
	}
	unreachable := open(t, "http://127.0.0.1:1", dir, 0)
	if _, err := unreachable.Program(t.Context(), hash); err != nil {
		t.Errorf("with the core node away: %v", err)
	}
	if _, err := unreachable.Program(t.Context(), message.HashBytes(nil)); !errors.Is(err, corenode.ErrUnavailable) {
		t.Errorf("with the core node away, one never seen: %v", err)
	}
	core.Forget(hash)
	if _, err := c.Program(t.Context(), hash); !errors.Is(err, corenode.ErrNotFound) {
		t.Errorf("forgotten: %v", err)
	}
	if _, err := unreachable.Program(t.Context(), hash); !errors.Is(err, corenode.ErrUnavailable) {
		t.Errorf("forgotten, with the core node away: %v", err)
	}
}

func TestAMessageThatIsNotTheOneAskedForIsRefused(t *testing.T) {
	core := corenodetest.New(t)
	code := core.Store([]byte("code"))
	program := core.Publish(message.TypeProgram, corenodetest.Program(code, code, message.EncodingZip, "main:app"))
	// A core node that lies: it answers every question with the same message.
	liar := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		q.Set("hashes", string(program))
		response, err := http.Get(core.URL + r.URL.Path + "?" + q.Encode())
		if err != nil {
			return
		}
		defer response.Body.Close()
		_, _ = io.Copy(w, response.Body)
	}))
	defer liar.Close()
	c := open(t, liar.URL, t.TempDir(), 0)
	if _, err := c.Program(t.Context(), program); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Program(t.Context(), message.HashBytes([]byte("another"))); !errors.Is(err, corenode.ErrCorrupt) {
		t.Errorf("got %v", err)
	}
}

func TestTheCacheStaysWithinItsBound(t *testing.T) {
	core, dir := corenodetest.New(t), t.TempDir()
	c := open(t, core.URL, dir, 2500)
	var refs []message.Hash
	for i := range 3 {
		refs = append(refs, core.Store(append(make([]byte, 999), byte(i))))
		f, err := c.File(t.Context(), refs[i], false, 1000)
		if err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(time.Duration(i-10) * time.Hour)
		if err := os.Chtimes(f.Path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	left, err := os.ReadDir(filepath.Join(dir, "files"))
	if err != nil || len(left) != 2 {
		t.Fatalf("cache holds %v, %v", left, err)
	}
	first := string(message.HashBytes(make([]byte, 1000)))
	for _, f := range left {
		if f.Name() == first {
			t.Error("the file used longest ago was kept")
		}
	}
}

func TestTheCacheOfMessagesIsBounded(t *testing.T) {
	core, dir := corenodetest.New(t), t.TempDir()
	messages := filepath.Join(dir, "messages")
	put := func(name string, bytes int64, age time.Duration) {
		t.Helper()
		path, at := filepath.Join(messages, name), time.Now().Add(-age)
		if err := errors.Join(os.MkdirAll(messages, 0o700), os.WriteFile(path, nil, 0o600), os.Truncate(path, bytes), os.Chtimes(path, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	there := func(name string) bool {
		_, err := os.Stat(filepath.Join(messages, name))
		return err == nil
	}
	put("large", 300<<20, time.Hour) // takes no room
	if open(t, core.URL, dir, 0); there("large") {
		t.Error("more bytes are kept than may be")
	}
	const most = 20_000
	for i := range most {
		put(fmt.Sprint(i), 1, time.Duration(most-i)*time.Minute)
	}
	c := open(t, core.URL, dir, 0)
	hash := core.Publish(message.TypeProgram, corenodetest.Program(core.Store(nil), core.Store([]byte("r")), message.EncodingPlain, "main"))
	if _, err := c.Program(t.Context(), hash); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(messages); err != nil || len(left) > most {
		t.Errorf("%d messages are kept, %v", len(left), err)
	}
	if there("0") || !there(fmt.Sprint(most-1)) {
		t.Error("it is not the oldest that leave")
	}
	if _, err := open(t, "http://127.0.0.1:1", dir, 0).Program(t.Context(), hash); err != nil {
		t.Errorf("the message that was asked for last, with the core node away: %v", err)
	}
}

func TestAFullDiskIsSaidAndLeavesNothing(t *testing.T) {
	if dir := os.Getenv("FULL_DISK_DIR"); dir != "" {
		fullDisk(t, dir)
		return
	}
	// In a mount namespace of its own, so that the small disk is seen by nobody else and goes away with the process.
	child := exec.Command(os.Args[0], "-test.run=^TestAFullDiskIsSaidAndLeavesNothing$")
	child.Env = append(os.Environ(), "FULL_DISK_DIR="+t.TempDir())
	child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		child.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		child.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		child.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	if out, err := child.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func fullDisk(t *testing.T, dir string) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatal(err)
	}
	core := corenodetest.New(t)
	c := open(t, core.URL, dir, 0)
	large, small := core.Store(make([]byte, 1<<20)), core.Store([]byte("small"))
	if _, err := c.File(t.Context(), large, false, 1<<30); err == nil || !strings.Contains(err.Error(), "disk of this node is full") {
		t.Errorf("got %v", err)
	}
	if _, err := c.File(t.Context(), small, false, 1<<30); err != nil {
		t.Errorf("and then what does fit: %v", err)
	}
}

func TestACoreNodeLeadsNowhereElse(t *testing.T) {
	inner := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("%s reached whom it was not for", r.URL)
	}))
	defer inner.Close()
	core := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, strings.Replace(inner.URL, "127.0.0.1", "localhost", 1)+r.URL.Path, http.StatusFound)
	}))
	defer core.Close()
	c := open(t, core.URL, t.TempDir(), 0)
	if _, err := c.Program(t.Context(), message.HashBytes([]byte("any"))); !errors.Is(err, corenode.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

package chaos

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/ccn/check"
	"github.com/aleph-im/aleph-go/params"
)

// disk is a small disk and the file that leaves no room on it.
type disk struct {
	t    *testing.T
	path string
}

func smallDisk(t *testing.T) *disk {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting a small disk needs root")
	}
	d := &disk{t, t.TempDir()}
	if err := unix.Mount("small", d.path, "tmpfs", 0, "size=96m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(d.path, 0); err != nil {
			t.Errorf("something still uses the disk: %v", err)
		}
	})
	return d
}

func (d *disk) filler() string { return filepath.Join(d.path, "filler") }

// fill leaves so many bytes of room.
func (d *disk) fill(room uint64) {
	d.t.Helper()
	var stat unix.Statfs_t
	if err := unix.Statfs(d.path, &stat); err != nil {
		d.t.Fatal(err)
	}
	free := stat.Bavail * uint64(stat.Bsize)
	f, err := os.Create(d.filler())
	if err == nil {
		_, err = io.CopyN(f, zeros{}, int64(free-min(free, room)))
	}
	if errors.Is(err, syscall.ENOSPC) { // others write as well
		err = nil
	}
	if err := errors.Join(err, f.Close()); err != nil {
		d.t.Fatal(err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func (d *disk) makeRoom() {
	d.t.Helper()
	if err := os.Remove(d.filler()); err != nil {
		d.t.Fatal(err)
	}
}

// rooms are what is left on a disk that is about to be full, in bytes.
var rooms = []uint64{0, 64 << 10, 512 << 10, 1 << 20, 2 << 20, 3 << 20}

// full fails unless a command says that the disk is.
func full(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Fatal("the disk was not full")
	}
	for _, text := range []string{"disk is full", "make room", "no space left"} {
		if strings.Contains(err.Error(), text) {
			return
		}
	}
	t.Fatalf("the disk is full, and what is said is: %v", err)
}

func TestImportGoesOnWhenItsDiskHasRoomAgain(t *testing.T) {
	c, d := newCommands(t), smallDisk(t)
	for _, room := range rooms {
		dir := c.folder(filepath.Join(d.path, "data"))
		d.fill(room)
		_, err := c.run(c.imports(dir))
		full(t, err)
		d.makeRoom()
		c.imported(dir)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
}

// A backup for which there is no room leaves the one before as it was.
func TestBackupWithoutRoomLeavesTheOneBefore(t *testing.T) {
	c, d := newCommands(t), smallDisk(t)
	dir, to := c.filled(), filepath.Join(d.path, "backup")
	c.timed(backsUp(dir, to))
	for _, room := range rooms[:4] {
		d.fill(room)
		_, err := c.run(backsUp(dir, to))
		full(t, err)
		again := c.fresh()
		c.timed(restores(to, again))
		c.whole(again)
		d.makeRoom()
	}
	c.timed(backsUp(dir, to))
	again := c.fresh()
	c.timed(restores(to, again))
	c.whole(again)
}

func TestRestoreWithoutRoomIsNotTakenForAWholeOne(t *testing.T) {
	c, d := newCommands(t), smallDisk(t)
	dir, to := c.filled(), filepath.Join(t.TempDir(), "backup")
	c.timed(backsUp(dir, to))
	for _, room := range rooms {
		again := filepath.Join(d.path, "data")
		d.fill(room)
		_, err := c.run(restores(to, again))
		full(t, err)
		d.makeRoom()
		for _, command := range [][]string{checks(again), runs(again)} {
			if _, err := c.run(command); err == nil || !strings.Contains(err.Error(), "restore again") {
				t.Fatalf("half a restore: %v", err)
			}
		}
		if err := os.RemoveAll(again); err != nil {
			t.Fatal(err)
		}
		c.timed(restores(to, again))
		c.whole(again)
		if err := os.RemoveAll(again); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNodeOnAFullDiskLosesNothing fills the disk under load. What is refused meanwhile is told why, and what was acknowledged, before
// and after, is there when the node was killed and has room.
func TestNodeOnAFullDiskLosesNothing(t *testing.T) {
	for _, room := range rooms[:3] {
		d := smallDisk(t)
		folder := filepath.Join(d.path, "data")
		database := "sqlite:" + filepath.Join(folder, "node.db")
		l := newLoad(t)
		n := startNode(t, database, folder)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		l.until(ctx, n.url, func(acknowledged, _ int) bool { return acknowledged >= 200 })
		d.fill(room)
		l.until(ctx, n.url, func(_, refused int) bool { return refused >= 50 })
		d.makeRoom()
		l.until(ctx, n.url, func(acknowledged, _ int) bool { return acknowledged >= 200 })
		if err := ctx.Err(); err != nil {
			t.Fatalf("with %d bytes of room: %v", room, err)
		}
		n.kill(t)
		n = startNode(t, database, folder)
		if err := errors.Join(n.stdin.Close(), n.cmd.Wait()); err != nil {
			t.Fatalf("%v\n%s", err, n.log)
		}
		l.verify(database)
		report, err := check.Run(t.Context(), check.Config{Params: params.Devnet(), Database: database})
		if err != nil {
			t.Fatal(err)
		}
		if !report.Clean() {
			t.Errorf("%d problems, the first: %+v", report.Problems, report.Findings[:min(3, len(report.Findings))])
		}
		t.Logf("%d bytes of room: %d acknowledged, %d in store", room, len(l.answered), report.Messages)
	}
}

// until sends messages until enough of them were acknowledged or refused. What is refused must be because of the disk.
func (l *load) until(ctx context.Context, url string, enough func(acknowledged, refused int) bool) {
	l.t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	acknowledged, refused := 0, 0
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			for ctx.Err() == nil {
				ok := l.send(ctx, url)
				mu.Lock()
				if ok {
					acknowledged++
				} else {
					refused++
				}
				if enough(acknowledged, refused) {
					cancel()
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// A node that cannot store a message says why.
func TestAFullDiskIsToldToWhoPublishes(t *testing.T) {
	d := smallDisk(t)
	folder := filepath.Join(d.path, "data")
	l := newLoad(t)
	n := startNode(t, "sqlite:"+filepath.Join(folder, "node.db"), folder)
	defer n.kill(t)
	d.fill(0)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.url+"/api/v0/messages", bytes.NewReader(l.next()))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := l.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		switch resp.StatusCode {
		case http.StatusOK, http.StatusAccepted: // there was room in what the files have already
		case http.StatusInsufficientStorage:
			if !strings.Contains(string(text), "disk is full") {
				t.Errorf("told %s", text)
			}
			return
		default:
			t.Fatalf("%d: %s", resp.StatusCode, text)
		}
	}
	t.Fatal("the disk was not full")
}

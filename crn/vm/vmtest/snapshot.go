package vmtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/crn/guest"
	"github.com/aleph-im/aleph-go/crn/vm"
	"github.com/aleph-im/aleph-go/guest/wire"
)

// copied is a program that answers with what a copy of it draws, the clock, and how often it was asked.
const copied = `#!/usr/bin/python3
import os, socket, threading, time
host = socket.socket(socket.AF_UNIX)
host.connect("/run/aleph/renew.sock")
listener = socket.create_server(("127.0.0.1", 8080))
asked = 0
told = threading.Event()
def renew():
    host.makefile().readline()
    told.set()
    host.sendall(b"\n")
threading.Thread(target=renew).start()
while True:
    conn, _ = listener.accept()
    asked += 1
    conn.sendall(f"{told.is_set()} {os.urandom(8).hex()} {time.time()} {asked}".encode())
    conn.close()
`

// answer is what it answers.
type answer struct {
	told   string // that it is a copy, before it was asked
	random string
	clock  float64 // Unix seconds
	asked  int
}

// snapshots is the part for drivers that are a [vm.Snapshotter].
func snapshots(t *testing.T, open func(t *testing.T, dir string) vm.Driver, spec func(id string, drives ...vm.Drive) vm.Spec) {
	dir := t.TempDir()
	d := open(t, dir)
	s, ok := d.(vm.Snapshotter)
	if !ok {
		t.Skip("the driver keeps no snapshots")
	}
	script := filepath.Join(t.TempDir(), "script.py")
	if err := os.WriteFile(script, []byte(copied), 0o600); err != nil {
		t.Fatal(err)
	}
	copyable := func(id string) vm.Spec {
		c := spec(id, vm.Drive{Path: script, ReadOnly: true})
		c.Copyable = true
		return c
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	if _, err := d.Start(ctx, func() vm.Spec { c := copyable("writes"); c.Drives[1].ReadOnly = false; return c }()); err == nil {
		t.Error("a machine that writes to a drive was prepared to be copied")
	}

	m, err := d.Start(ctx, copyable("original"))
	if err != nil {
		t.Fatal(err)
	}
	defer end(t, m)
	session := configure(t, m, script)
	await(t, session)
	if err := session.Park(ctx); err != nil {
		t.Fatal(err)
	}
	kept := filepath.Join(dir, "kept")
	began := time.Now()
	if err := s.Save(ctx, m, kept); err != nil {
		t.Fatal(err)
	}
	t.Logf("saved within %v", time.Since(began))
	wait(t, m)

	restore := func(id string) (*guest.Session, vm.Machine) {
		t.Helper()
		began := time.Now()
		m, err := s.Restore(ctx, copyable(id), kept)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { end(t, m) })
		session, err := guest.Resume(ctx, m.Channel(), func(wire.LogLine) {})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(session.Close)
		useCard(t, session, m)
		await(t, session)
		t.Logf("copy %s is ready after %v", id, time.Since(began))
		return session, m
	}
	first, firstMachine := restore("first")
	second, secondMachine := restore("second")
	seen := map[string]bool{}
	for i, session := range []*guest.Session{first, second, second} {
		a := ask(t, session)
		if off := math.Abs(a.clock - float64(time.Now().UnixMilli())/1000); a.told != "True" || off > 5 {
			t.Errorf("copy answers %+v, its clock is off by %v s", a, off)
		}
		if seen[a.random] {
			t.Errorf("two copies draw the same random number %s", a.random)
		}
		seen[a.random] = true
		if want := max(i, 1); a.asked != want {
			t.Errorf("copy was asked %d times and says %d: copies are not separate", want, a.asked)
		}
	}

	other := copyable("other")
	other.MemoryMiB++
	refused(t, s, other, kept, "a machine of another kind")
	moved := filepath.Join(dir, "moved")
	if err := os.Rename(kept, moved); err != nil {
		t.Fatal(err)
	}
	refused(t, s, copyable("absent"), kept, "what is not there")
	if a := ask(t, first); a.asked != 2 {
		t.Errorf("a copy does not outlive its snapshot: %+v", a)
	}
	end(t, firstMachine)
	end(t, secondMachine)
	spoil(t, moved)
	refused(t, s, copyable("spoilt"), moved, "what was changed")

	plain, err := d.Start(ctx, spec("plain"))
	if err != nil {
		t.Fatal(err)
	}
	defer end(t, plain)
	if err := s.Save(ctx, plain, filepath.Join(dir, "plain")); err == nil {
		t.Error("a machine was saved that was not prepared to be copied")
	}
}

func ask(t *testing.T, s *guest.Session) (a answer) {
	t.Helper()
	conn, err := s.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	raw, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(string(raw), &a.told, &a.random, &a.clock, &a.asked); err != nil {
		t.Fatalf("answer %q: %v", raw, err)
	}
	return a
}

func refused(t *testing.T, s vm.Snapshotter, spec vm.Spec, dir, what string) {
	t.Helper()
	m, err := s.Restore(t.Context(), spec, dir)
	if err == nil {
		end(t, m)
	}
	if !errors.Is(err, vm.ErrSnapshot) {
		t.Errorf("%s: got %v", what, err)
	}
}

// spoil changes the last byte of each file.
func spoil(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("files %v, %v", files, err)
	}
	for _, path := range files {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		raw[len(raw)-1] ^= 0xff
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func await(t *testing.T, s *guest.Session) {
	t.Helper()
	select {
	case <-s.Ready():
	case <-s.Done():
		t.Fatalf("the program ended: %v", s.Err())
	case <-time.After(patience):
		t.Fatal("the program does not listen")
	}
}

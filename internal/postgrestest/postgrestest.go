// Package postgrestest gives tests a real PostgreSQL. The first test of a test binary that asks starts a private server on
// a free loopback port, with its data in a temporary folder; each test gets a database of its own.
//
// The server ends with the test binary, however that ends, and takes its folder along.
package postgrestest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// DSN returns the postgres:// URL of a new database, which is dropped when the test ends. Its default order of text is a
// language's, not that of bytes, as on servers of operators. The test fails where PostgreSQL is not installed.
func DSN(t testing.TB) string {
	t.Helper()
	s, err := shared()
	if err != nil {
		t.Fatalf("start PostgreSQL for tests (scripts/setup.sh installs it): %v", err)
	}
	name := fmt.Sprintf("test%d", databases.Add(1))
	if err := s.admin("CREATE DATABASE " + name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.admin("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	return s.dsn(name)
}

var (
	databases atomic.Int64
	shared    = sync.OnceValues(start)
)

// server is a running PostgreSQL.
type server struct {
	password string
	port     int
	life     io.Closer // while it is open the server runs
}

func (s *server) dsn(database string) string {
	return fmt.Sprintf("postgres://postgres:%s@127.0.0.1:%d/%s?sslmode=disable", s.password, s.port, database)
}

// admin runs a statement that concerns whole databases.
func (s *server) admin(statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := pgx.Connect(ctx, s.dsn("postgres"))
	if err != nil {
		return fmt.Errorf("connect to the test's PostgreSQL: %w", err)
	}
	defer c.Close(ctx)
	if _, err := c.Exec(ctx, statement); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

// start takes another port when somebody else was faster on the one that was free.
func start() (s *server, err error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	for range 5 {
		if s, err = startOnce(bin); !errors.Is(err, errPortTaken) {
			return s, err
		}
	}
	return nil, err
}

var errPortTaken = errors.New("the port is taken")

// supervise runs a server while its standard input is open: the end of the process that holds the other end, whatever
// ends it, is the end of the server and of its folder.
const supervise = `"$@" </dev/null >log 2>&1 & server=$!
read -r _
kill -QUIT $server
wait $server
cd / && rm -rf "$DIR"`

func startOnce(bin string) (_ *server, err error) {
	dir, err := os.MkdirTemp("", "aleph-postgres-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	who, err := unprivileged(dir)
	if err != nil {
		return nil, err
	}
	s := &server{password: rand.Text()}
	if s.port, err = freePort(); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "password"), []byte(s.password), 0o644); err != nil { // nobody else enters dir
		return nil, err
	}
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", "data", "-U", "postgres", "--pwfile=password", "--auth=password", "-E", "UTF8",
		"--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US", "--no-sync", "--no-instructions")
	initdb.Dir, initdb.SysProcAttr = dir, who
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	cmd := exec.Command("/bin/sh", "-c", supervise, "supervise", filepath.Join(bin, "postgres"), "-D", "data",
		"-p", strconv.Itoa(s.port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "max_connections=300",
		"-c", "shared_buffers=64MB", "-c", "max_wal_size=256MB", "-c", "dynamic_shared_memory_type=mmap",
		// What a test commits need not outlive the machine.
		"-c", "fsync=off", "-c", "full_page_writes=off")
	cmd.Dir, cmd.SysProcAttr, cmd.Env = dir, who, append(os.Environ(), "DIR="+dir)
	if s.life, err = cmd.StdinPipe(); err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, err
	}
	if err := ready(filepath.Join(dir, "log")); err != nil {
		return nil, errors.Join(err, s.life.Close(), cmd.Wait())
	}
	return s, nil
}

// ready waits until the server says in its log that it takes connections.
func ready(log string) error {
	var text []byte
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(10 * time.Millisecond) {
		text, _ = os.ReadFile(log) // absent at first
		switch {
		case bytes.Contains(text, []byte("ready to accept connections")):
			return nil
		case bytes.Contains(text, []byte("could not create any TCP/IP sockets")):
			return errPortTaken
		case bytes.Contains(text, []byte("FATAL")):
			return fmt.Errorf("postgres does not start:\n%s", text)
		}
	}
	return fmt.Errorf("postgres was not ready in time:\n%s", text)
}

// unprivileged gives dir to the user that the server will run as: PostgreSQL refuses to run as root.
func unprivileged(dir string) (*syscall.SysProcAttr, error) {
	attr := &syscall.SysProcAttr{Setpgid: true} // an interrupt from the terminal is for the test alone
	if os.Getuid() != 0 {
		return attr, nil
	}
	who, err := user.Lookup("postgres")
	if err != nil {
		if who, err = user.Lookup("nobody"); err != nil {
			return nil, err
		}
	}
	uid, err := strconv.ParseUint(who.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(who.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return attr, os.Chown(dir, int(uid), int(gid))
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// binaries finds the folder of the server's programs, which Debian keeps out of PATH: the newest release there.
func binaries() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", errors.Join(errors.New("initdb is neither in PATH nor in /usr/lib/postgresql"), err)
	}
	return filepath.Dir(slices.MaxFunc(found, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
	})), nil
}

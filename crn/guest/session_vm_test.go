package guest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/crn/guest"
	"github.com/aleph-im/aleph-go/crn/image/imagetest"
	"github.com/aleph-im/aleph-go/crn/vm"
	"github.com/aleph-im/aleph-go/crn/vm/qemu"
	"github.com/aleph-im/aleph-go/guest/wire"
)

// boot starts a machine that runs args on the Python runtime with the given archive.
func boot(t *testing.T, encoding string, archive []byte, args ...string) (*guest.Session, vm.Machine, *logs) {
	t.Helper()
	images := imagetest.Get(t)
	code := filepath.Join(t.TempDir(), "code")
	if err := os.WriteFile(code, archive, 0o600); err != nil {
		t.Fatal(err)
	}
	driver, err := qemu.New(qemu.Config{Dir: t.TempDir(), Kernel: images.Kernel.Path, Initrd: images.Initramfs, BootMark: wire.BootMark, Accelerator: "tcg"})
	if err != nil {
		t.Fatal(err)
	}
	machine, err := driver.Start(t.Context(), vm.Spec{
		ID: "guest", VCPUs: 1, MemoryMiB: 128, Kernel: images.Kernel.Path, Initrd: images.Initramfs, Channel: wire.PortName, Card: true,
		Drives: []vm.Drive{{Path: images.Runtime, ReadOnly: true}, {Path: code, ReadOnly: true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = machine.Stop(ctx)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	printed := &logs{}
	session, err := guest.Open(ctx, machine.Channel(), wire.Config{
		Hostname: "guest", Root: "vda", Args: args, Dir: wire.CodeDir,
		Archives: []wire.Archive{{Device: "vdb", Encoding: encoding, Size: int64(len(archive)), Dir: wire.CodeDir, Name: "program", MaxUnpacked: 64 << 20, MaxFiles: 100}},
		Env:      []string{"PATH=/usr/bin:/bin", "PYTHONUNBUFFERED=1"},
	}, printed.add)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(session.Close)
	if err := session.UseCard(machine.Card(), nil); err != nil {
		t.Fatal(err)
	}
	return session, machine, printed
}

type logs struct {
	mu    sync.Mutex
	lines []wire.LogLine
}

func (l *logs) add(line wire.LogLine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
}

func (l *logs) contain(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.lines, func(line wire.LogLine) bool { return strings.Contains(line.Text, text) })
}

func uvicorn(app string) []string {
	return []string{"python3", "-m", "uvicorn", app, "--host", "127.0.0.1", "--port", "8080", "--no-access-log"}
}

// client speaks HTTP to the program and reports how long the program said it took.
func client(s *guest.Session) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return s.Dial(ctx) }}}
}

func get(t *testing.T, c *http.Client, path string) (status int, body string, own time.Duration) {
	t.Helper()
	var conn guest.Conn
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { conn = i.Conn.(guest.Conn) }})
	request, err := http.NewRequestWithContext(ctx, "GET", "http://program"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := c.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(raw), conn.Elapsed()
}

func TestAPythonProgramAnswersThroughTheChannel(t *testing.T) {
	start := time.Now()
	s, machine, printed := boot(t, "zip", imagetest.Zip(t, map[string]string{"main.py": imagetest.Counter}), uvicorn("main:app")...)
	t.Logf("guest configured after %v", time.Since(start))
	select {
	case <-s.Ready():
	case <-s.Done():
		t.Fatalf("not ready: %v %+v", s.Err(), s.Err())
	case <-time.After(90 * time.Second):
		t.Fatal("not ready in time")
	}
	t.Logf("ready after %v, %+v", time.Since(start), machine.Inspect())
	c := client(s)
	status, body, _ := get(t, c, "/")
	if status != 200 || !strings.Contains(body, `"calls":1`) {
		t.Fatalf("got %d %s", status, body)
	}
	var overheads []time.Duration
	for range 50 {
		start := time.Now()
		status, body, own := get(t, c, "/")
		total := time.Since(start)
		if status != 200 || own < 0 || own > total { // 0 where the way there and back took all of it
			t.Fatalf("got %d %s, own time %v of %v", status, body, own, total)
		}
		overheads = append(overheads, total-own)
	}
	slices.Sort(overheads)
	_, body, own := get(t, c, "/")
	t.Logf("overhead of a warm call: median %v, max %v; program's own time now %v; %s", overheads[25], overheads[49], own, body)
	if !printed.contain("Uvicorn running") {
		t.Errorf("logs do not hold what the program printed: %+v", printed.lines)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.Stop(ctx, 5*time.Second); err != nil {
		t.Error(err)
	}
	select {
	case <-machine.Done():
	case <-ctx.Done():
		t.Fatal("the machine did not turn itself off")
	}
	if err := machine.Err(); err != nil {
		t.Error(err)
	}
	var exit *guest.ExitError
	if !errors.As(s.Err(), &exit) {
		t.Errorf("a stopped program gives %v", s.Err())
	}
}

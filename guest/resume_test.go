package guest

import (
	"bufio"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestRenewingWaitsForEverybodyWhoWantsToKnow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "renew.sock")
	r, err := listenForRenewing(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.renew(); err != nil {
		t.Errorf("nobody waits: %v", err)
	}
	follow := func(reply string) chan string {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		heard := make(chan string, 1)
		go func() {
			defer conn.Close()
			line, _ := bufio.NewReader(conn).ReadString('\n')
			heard <- line
			_, _ = conn.Write([]byte(reply))
		}()
		return heard
	}
	gone, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	heard := follow("\n")
	accepted(r, 2)
	if err := r.renew(); err != nil {
		t.Error(err)
	}
	if line := <-heard; line != "renew\n" {
		t.Errorf("a program was told %q", line)
	}
	follow("") // hangs up instead of answering
	accepted(r, 2)
	if err := r.renew(); err == nil || !strings.Contains(err.Error(), "did not say that it is ready") {
		t.Errorf("got %v", err)
	}
}

// accepted waits until so many connections were taken.
func accepted(r *renewing, n int) {
	for {
		r.mu.Lock()
		got := len(r.waiting)
		r.mu.Unlock()
		if got >= n {
			return
		}
		runtime.Gosched()
	}
}

func TestTooLittleEntropyIsRefused(t *testing.T) {
	if err := reseed(make([]byte, minEntropy-1)); err == nil {
		t.Error("a copy would draw what the others draw")
	}
}

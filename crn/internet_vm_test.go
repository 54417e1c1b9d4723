package crn_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/crn"
	"github.com/aleph-im/aleph-go/crn/image/imagetest"
	"github.com/aleph-im/aleph-go/crn/vm/qemu"
)

// elsewhere is a machine in the network of this one: a fake internet, as nothing leaves this network.
const elsewhere = "198.51.100.9"

// serveElsewhere answers HTTP, and names: each is its own address.
func serveElsewhere(t *testing.T) {
	t.Helper()
	holder := exec.Command("sleep", "infinity") // of its network, until that has sockets
	holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = holder.Process.Kill(); _ = holder.Wait() })
	inside := fmt.Sprintf("nsenter -t %d -n ", holder.Process.Pid)
	for _, line := range []string{
		fmt.Sprintf("ip link set ext1 netns %d", holder.Process.Pid),
		inside + "ip address add " + elsewhere + "/24 dev ext1", inside + "ip link set ext1 up", inside + "ip link set lo up",
	} {
		words := strings.Fields(line)
		if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", line, err, out)
		}
	}
	type sockets struct {
		stream    net.Listener
		datagrams net.PacketConn
		err       error
	}
	opened := make(chan sockets)
	go func() {
		runtime.LockOSThread() // and never unlocked, so that the thread ends with this goroutine
		var s sockets
		network, err := unix.Open(fmt.Sprintf("/proc/%d/ns/net", holder.Process.Pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if s.err = err; err == nil {
			s.err = unix.Setns(network, unix.CLONE_NEWNET)
		}
		if s.err == nil {
			s.stream, s.err = net.Listen("tcp", elsewhere+":80")
		}
		if s.err == nil {
			s.datagrams, s.err = net.ListenPacket("udp", elsewhere+":53")
		}
		opened <- s
	}()
	s := <-opened
	if s.err != nil {
		t.Fatal(s.err)
	}
	t.Cleanup(func() { s.stream.Close(); s.datagrams.Close() })
	go func() {
		_ = http.Serve(s.stream, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(w, io.MultiReader(strings.NewReader("hello, "), r.Body))
		}))
	}()
	go func() {
		question := make([]byte, 512)
		for {
			n, from, err := s.datagrams.ReadFrom(question)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(question[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			m.Response, m.Additionals = true, nil
			if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
				m.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 60},
					Body:   &dnsmessage.AResource{A: netip.MustParseAddr(elsewhere).As4()},
				}}
			}
			if packed, err := m.Pack(); err == nil {
				_, _ = s.datagrams.WriteTo(packed, from)
			}
		}
	}()
}

func TestAProgramReachesTheInternetIfItsMessageSaysSo(t *testing.T) {
	if !imagetest.InOwnNetwork(t, "small") {
		return
	}
	serveElsewhere(t)
	n := start(t, func(c *crn.Config) {
		c.Nameservers = []netip.Addr{netip.MustParseAddr(elsewhere)}
		c.NetworkRate, c.DiskRate = 10<<20, qemu.Rate{Bytes: 100 << 20, Operations: 10_000} // and within these
	})
	online := n.probe(t, func(c map[string]any) {
		c["environment"] = map[string]any{"internet": true}
		c["variables"] = map[string]string{"ALEPH_SNAPSHOT": "yes"}
	})
	offline := n.probe(t, func(c map[string]any) { c["environment"] = map[string]any{"internet": false} })
	_, port, err := net.SplitHostPort(n.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		path, online string
	}{
		{"/resolve?name=elsewhere.example", "[" + elsewhere + "] <nil>"},
		{"/dial?address=" + elsewhere + ":80", "<nil>"},
		{"/dial?address=elsewhere.example:80", "<nil>"},
		{"/dial?address=" + elsewhere + ":81", "connection refused"},
		{"/dial?address=" + imagetest.HostAddress + ":" + port, "connection refused"},
		{"/dial?address=169.254.169.254:80", "connection refused"},
		{"/dial?address=10.1.2.3:80", "connection refused"},
	} {
		if r := n.get(t, online, test.path); r.status != 200 || !strings.HasSuffix(r.body, test.online) {
			t.Errorf("%s: %d %q, want %q", test.path, r.status, r.body, test.online)
		}
		if r := n.get(t, offline, test.path); r.status != 200 || strings.HasSuffix(r.body, "<nil>") {
			t.Errorf("%s without the internet: %d %q", test.path, r.status, r.body)
		}
	}
}

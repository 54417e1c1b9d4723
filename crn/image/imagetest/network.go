package imagetest

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// HostAddress is that of the host in the network of tests with instances, which nothing leaves.
const HostAddress = "198.51.100.1"

// ownNetwork marks the process that runs one test in namespaces of its own.
const ownNetwork = "CRN_TEST_NETWORK"

// EnterOwnNetwork sets up the namespaces of a process that InOwnNetwork started; of others it does nothing. TestMain calls it first.
func EnterOwnNetwork() error {
	if os.Getenv(ownNetwork) == "" {
		return nil
	}
	if err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("proc", "/proc", "proc", 0, "")); err != nil {
		return fmt.Errorf("set up namespaces for a test: %w", err)
	}
	for _, line := range []string{
		"link set lo up", "link add ext0 type veth peer name ext1", "address add " + HostAddress + "/24 dev ext0", "link set ext0 up", "link set ext1 up",
	} {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", line, err, out)
		}
	}
	return nil
}

// InOwnNetwork makes an image, runs the test again in namespaces of its own, with one network interface, and reports whether this
// is that run. Machines outlive their node by design, but not the process that is first in such a namespace.
func InOwnNetwork(t *testing.T, kind string) bool {
	t.Helper()
	if os.Getenv(ownNetwork) != "" {
		return true
	}
	if os.Getuid() != 0 {
		t.Skip("instances need root, here for a network namespace")
	}
	if release, err := os.ReadFile("/etc/os-release"); err == nil && !strings.Contains(string(release), "\nID=debian\n") {
		t.Skip("the disk that instances boot from is made of Debian's packages, on Debian")
	}
	script := filepath.Join(Root(), "crn", "image", "build-instance.sh")
	if out, err := exec.Command(script, kind, filepath.Join(Root(), "build", "guest")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	tests := "^" + t.Name() + "$"
	if asked := flag.Lookup("test.run").Value.String(); strings.HasPrefix(asked, t.Name()+"/") {
		tests = asked // parts of it
	}
	timeout := 15 * time.Minute
	if deadline, ok := t.Deadline(); ok {
		timeout = time.Until(deadline).Round(time.Second) - 10*time.Second // to say what it was about then
	}
	child := exec.Command(os.Args[0], "-test.run="+tests, "-test.v", "-test.timeout="+timeout.String())
	child.Env = append(os.Environ(), ownNetwork+"=1")
	child.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL,
	}
	runtime.LockOSThread() // the signal comes when the thread ends that started the child
	defer runtime.UnlockOSThread()
	out, err := child.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	return false
}

// SSH runs a command as root at an address and returns what it prints.
func SSH(address string, key ssh.Signer, command string) (string, error) {
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(15 * time.Second))
	c, channels, requests, err := ssh.NewClientConn(conn, address, &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	})
	if err != nil {
		return "", err
	}
	s, err := ssh.NewClient(c, channels, requests).NewSession()
	if err != nil {
		return "", err
	}
	out, err := s.CombinedOutput(command)
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", command, err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

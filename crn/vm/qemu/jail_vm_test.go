package qemu

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/crn/image/imagetest"
	"github.com/aleph-im/aleph-go/crn/vm"
	"github.com/aleph-im/aleph-go/guest/wire"
)

// TestMain makes this program take QEMU's place in a jail, to try from inside what a guest that took QEMU over would.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "--version":
			os.Exit(0)
		case "escape":
			escape(os.Args[2:])
			os.Exit(0)
		}
	}
	os.Exit(m.Run())
}

// escape prints what it could do; silence is good.
func escape(args []string) {
	secret, readable, writable, address, node := args[0], args[1], args[2], args[3], args[4]
	try := func(what string, err error) {
		if err == nil {
			fmt.Println("could", what)
		}
	}
	for _, path := range []string{secret, "/etc/passwd", "/proc/self/status", "/sys", "/dev/mem", "/root"} {
		f, err := os.Open(path)
		try("open "+path, err)
		f.Close()
	}
	if _, err := os.ReadFile(readable); err != nil {
		fmt.Println("could not read its own drive:", err)
	}
	try("write a read-only drive", os.WriteFile(readable, []byte("x"), 0))
	try("make a file", os.WriteFile("/new", nil, 0o600))
	try("make a file beside its drive", os.WriteFile(writable+".new", nil, 0o600))
	if f, err := os.OpenFile(writable, os.O_RDWR, 0); err != nil {
		fmt.Println("could not open its writable drive:", err)
	} else {
		if _, err := f.WriteAt([]byte("mine"), 0); err != nil {
			fmt.Println("could not write its own drive:", err)
		}
		_, err := f.WriteAt([]byte("x"), 1<<20)
		try("make a drive longer", err)
	}
	_, err := net.DialTimeout("tcp", address, time.Second)
	try("reach the host's loopback", err)
	_, err = net.DialTimeout("tcp", "169.254.169.254:80", time.Second)
	try("reach the metadata service", err)
	try("become root", unix.Setuid(0))
	try("mount", unix.Mount("none", "/", "tmpfs", 0, ""))
	try("make a namespace", unix.Unshare(unix.CLONE_NEWUSER))
	try("trace", unix.PtraceAttach(1))
	try("read the clock's adjustments", errOf(unix.Adjtimex(&unix.Timex{})))
	if pid, err := strconv.Atoi(node); err == nil {
		try("see the node's process", unix.Kill(pid, 0))
	}
	// What it may not have of memory it must not get; nothing is touched, so that the attempt costs nothing.
	_, err = unix.Mmap(-1, 0, 8<<30, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	try("take 8 GiB of memory", err)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NPROC, &limit); err != nil || limit.Max > ownThreads+1 {
		fmt.Println("could have", limit.Max, "processes", err)
	}
}

func errOf(_ int, err error) error { return err }

func TestNothingLeadsOutOfTheJail(t *testing.T) {
	host, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	_, noLandlock := landlockVersion()
	for _, kind := range []struct {
		name string
		mode jailMode
		open []string // what the lesser kinds cannot prevent
	}{
		{"whole", jailFull, nil},
		{"of a user", jailUser, []string{"processes"}},
		{"bare", jailBare, []string{"processes", "could become root"}},
	} {
		t.Run(kind.name, func(t *testing.T) {
			dir := t.TempDir()
			j := openJail(t, dir, self)
			if kind.mode < j.mode || kind.mode > jailFull && noLandlock != nil {
				t.Skipf("not on this host: %v", j.report.Missing)
			}
			j.mode, j.landlock = kind.mode, kind.mode > jailFull
			secret, readable, writable := filepath.Join(dir, "secret"), filepath.Join(dir, "readable"), filepath.Join(dir, "writable")
			for _, path := range []string{secret, readable, writable} {
				if err := os.WriteFile(path, make([]byte, 4096), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var out bytes.Buffer
			c, err := j.start(confined{
				id: "escape", binary: self, args: []string{"escape", secret, readable, writable, host.Addr().String(), strconv.Itoa(os.Getpid())},
				dir: dir, reads: []string{readable}, writes: []string{writable}, stdout: &out, stderr: &out, memoryMiB: 256, vcpus: 1, fileBytes: 4096,
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(c.Wait(), c.release()); err != nil {
				t.Error(err)
			}
			for line := range strings.Lines(out.String()) {
				if !strings.HasPrefix(line, "could") {
					t.Logf("from inside: %s", line) // the race detector complains that it cannot see itself
				} else if !slices.ContainsFunc(kind.open, func(known string) bool { return strings.Contains(line, known) }) {
					t.Errorf("from inside: %s", line)
				}
			}
			if raw, err := os.ReadFile(writable); err != nil || !bytes.HasPrefix(raw, []byte("mine")) || len(raw) != 4096 {
				t.Errorf("the writable drive has %d bytes, %.8q, %v", len(raw), raw, err)
			}
		})
	}
}

func openJail(t testing.TB, dir, binary string) *jail {
	t.Helper()
	d, err := New(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	j, err := newJail(t.Context(), d.cfg, binary, d.users, d.groups, d.noGroups)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// One machine is looked at from outside, while its guest runs.
func TestAMachineIsConfined(t *testing.T) {
	images := imagetest.Get(t)
	d, err := New(Config{Dir: t.TempDir(), Kernel: images.Kernel.Path, Initrd: images.Initramfs, BootMark: wire.BootMark, Accelerator: "tcg"})
	if err != nil {
		t.Fatal(err)
	}
	print, err := d.Fingerprint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", print.Isolation)
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	spec := func(id string) vm.Spec {
		return vm.Spec{ID: id, VCPUs: 1, MemoryMiB: 128, Kernel: images.Kernel.Path, Initrd: images.Initramfs, Channel: wire.PortName, Drives: []vm.Drive{{Path: disk}}}
	}
	m, err := d.Start(t.Context(), spec("watched"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Stop(t.Context()) }()
	pid := m.Inspect().PID
	console := filepath.Join(d.runDir("watched"), consoleFile)
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if raw, _ := os.ReadFile(console); bytes.Contains(raw, []byte(wire.BootMark)) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the guest did not boot")
		}
	}

	checkConfined(t, d, pid, []string{disk}, []string{disk})

	t.Run("another machine is another user's", func(t *testing.T) {
		if d.jail.mode != jailFull {
			t.Skip("the host allows no user of its own")
		}
		other, err := d.Start(t.Context(), vm.Spec{ID: "other", VCPUs: 1, MemoryMiB: 128, Kernel: images.Kernel.Path, Initrd: images.Initramfs, Channel: wire.PortName})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = other.Stop(t.Context()) }()
		first, second := statusOf(t, fmt.Sprintf("/proc/%d/status", pid)), statusOf(t, fmt.Sprintf("/proc/%d/status", other.Inspect().PID))
		if first["Uid"] == second["Uid"] {
			t.Errorf("both run as %s", first["Uid"])
		}
	})

	t.Run("a node that lost its folders finds it", func(t *testing.T) {
		if err := os.RemoveAll(filepath.Join(d.cfg.Dir, "run", "watched")); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Reap(t.Context()); err != nil {
			t.Error(err)
		}
		select {
		case <-m.Done():
		case <-time.After(10 * time.Second):
			t.Fatal("it runs on")
		}
		if d.groups != nil {
			if _, err := os.Stat(d.groups.dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("control groups: %v", err)
			}
		}
	})
}

// checkConfined looks at a machine's process from outside. It may hold useful files open, and change those in writable.
func checkConfined(t *testing.T, d *Driver, pid int, useful, writable []string) {
	t.Helper()
	t.Run("every thread is without privileges and behind both filters", func(t *testing.T) {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
		if len(threads) < 2 {
			t.Fatalf("threads: %v", threads)
		}
		for _, thread := range threads {
			status := statusOf(t, thread)
			for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
				if strings.Trim(status[set], "0") != "" {
					t.Errorf("%s: %s is %s", thread, set, status[set])
				}
			}
			if status["NoNewPrivs"] != "1" || status["Seccomp"] != "2" || status["Seccomp_filters"] != "2" {
				t.Errorf("%s: NoNewPrivs %s, Seccomp %s, filters %s", thread, status["NoNewPrivs"], status["Seccomp"], status["Seccomp_filters"])
			}
			if d.jail.mode == jailFull {
				uid, _ := strconv.Atoi(strings.Fields(status["Uid"])[0])
				if uid < d.users.first || strings.Fields(status["Uid"])[3] != fmt.Sprint(uid) || status["Gid"] != status["Uid"] || status["Groups"] != "" {
					t.Errorf("%s: users %q, groups %q and %q", thread, status["Uid"], status["Gid"], status["Groups"])
				}
				if strings.Trim(status["CapBnd"], "0") != "" {
					t.Errorf("%s: CapBnd is %s", thread, status["CapBnd"])
				}
			}
		}
	})

	t.Run("its namespaces are its own", func(t *testing.T) {
		for _, space := range []string{"mnt", "pid", "net", "ipc", "uts"} {
			if d.jail.mode == jailBare || d.jail.mode == jailUser && space == "mnt" {
				continue
			}
			ours, err1 := os.Readlink("/proc/self/ns/" + space)
			its, err2 := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, space))
			if err1 != nil || err2 != nil || ours == its {
				t.Errorf("%s: ours %s %v, its %s %v", space, ours, err1, its, err2)
			}
		}
	})

	t.Run("it holds no descriptor that it has no use for", func(t *testing.T) {
		fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		if err != nil || len(fds) < 5 {
			t.Fatalf("descriptors: %v %v", fds, err)
		}
		for _, fd := range fds {
			target, err := os.Readlink(fd)
			known := func(prefix string) bool { return strings.HasPrefix(target, prefix) }
			if err != nil || !slices.ContainsFunc(append(useful, "socket:", "pipe:", "anon_inode:", "/dev/null", "/run/aleph-machine-users/"), known) {
				t.Errorf("%s is %s %v", fd, target, err)
			}
		}
	})

	t.Run("what it sees is read-only but for its drives", func(t *testing.T) {
		if d.jail.mode != jailFull {
			t.Skip("the host allows no root of its own")
		}
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(raw)) {
			fields := strings.Fields(line)
			options := strings.Split(fields[5], ",")
			if slices.Contains(options, "rw") != slices.Contains(writable, fields[4]) || !slices.Contains(options, "nosuid") {
				t.Errorf("mount %s has %v", fields[4], options)
			}
		}
		for _, path := range []string{"/etc/passwd", "/proc/self", "/bin", d.cfg.Dir + "/run"} {
			if _, err := os.Stat(fmt.Sprintf("/proc/%d/root%s", pid, path)); err == nil {
				t.Errorf("it sees %s", path)
			}
		}
	})
}

func statusOf(t *testing.T, path string) map[string]string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	status := map[string]string{}
	for line := range strings.Lines(string(raw)) {
		name, value, _ := strings.Cut(line, ":")
		status[name] = strings.TrimSpace(value)
	}
	return status
}

// BenchmarkJail is how long QEMU takes to start, say its version and end in each kind of jail; bare is next to none.
func BenchmarkJail(b *testing.B) {
	binary, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		b.Fatal(err)
	}
	j := openJail(b, b.TempDir(), binary)
	for _, kind := range []struct {
		name string
		mode jailMode
	}{{"full", jailFull}, {"user", jailUser}, {"bare", jailBare}} {
		b.Run(kind.name, func(b *testing.B) {
			for b.Loop() {
				if err := j.try(b.Context(), kind.mode, binary); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

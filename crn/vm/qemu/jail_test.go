package qemu

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAUserIsNeverGivenTwice(t *testing.T) {
	// Two nodes of one host, and a process that outlives what its node knows of it.
	dir := filepath.Join(t.TempDir(), "users")
	one, other := &users{dir: dir, of: userRange{1000, 3}}, &users{dir: dir, of: userRange{1000, 3}}
	taken := map[int]*lease{}
	take := func(u *users) *lease {
		t.Helper()
		l, err := u.lease()
		if err != nil {
			t.Fatal(err)
		}
		if taken[l.id] != nil {
			t.Fatalf("%d was given twice", l.id)
		}
		taken[l.id] = l
		return l
	}
	first := take(one)
	take(other)
	take(one)
	refused := func() {
		t.Helper()
		for _, u := range []*users{one, other} {
			if l, err := u.lease(); err == nil || !strings.Contains(err.Error(), "all 3 users") {
				t.Fatalf("got %+v, %v", l, err)
			}
		}
	}
	refused()

	process := exec.Command("cat")
	process.ExtraFiles = []*os.File{first.file}
	stdin, err := process.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	first.release()
	refused()
	stdin.Close()
	if err := process.Wait(); err != nil {
		t.Fatal(err)
	}
	delete(taken, first.id)
	if again := take(other); again.id != first.id {
		t.Errorf("got %d, want %d, which is free again", again.id, first.id)
	}
	for _, l := range taken {
		l.release()
	}
}

func TestRangesOfUsers(t *testing.T) {
	if got, err := parseUsers("200000-200009"); err != nil || got != (userRange{200_000, 10}) {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, text := range []string{"", "5", "0-100", "2000-1999", "a-b", "1000-4294967294"} {
		if got, err := parseUsers(text); err == nil {
			t.Errorf("%q was read as %+v", text, got)
		}
	}
	if !mapped(userRange{0, 1}) || mapped(userRange{1 << 40, 1}) {
		t.Error("root exists everywhere, and such a great id nowhere")
	}
}

// On a plain folder in the place of the kernel's.
func TestLimitsAreWrittenToTheGroup(t *testing.T) {
	base := t.TempDir()
	g := &groups{base: base, dir: filepath.Join(base, "machines"), has: map[string]bool{"memory": true, "pids": true, "cpu": true}}
	m, err := g.make("a", 320, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer m.dir.Close()
	for name, want := range map[string]string{
		"memory.max": "335544320", "memory.swap.max": "0", "pids.max": "130", "cpu.max": "250000 100000", "cpu.weight": "200",
	} {
		if got, err := os.ReadFile(filepath.Join(m.path, name)); err != nil || string(got) != want {
			t.Errorf("%s is %q, %v, want %q", name, got, err, want)
		}
	}
	if got := limits(1, 200)["cpu.weight"]; got != "10000" {
		t.Errorf("the weight of 200 processors is %s, the kernel takes at most 10000", got)
	}
	g.has = map[string]bool{}
	bare, err := g.make("b", 320, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer bare.dir.Close()
	if left, _ := filepath.Glob(filepath.Join(bare.path, "*")); len(left) > 0 {
		t.Errorf("without controllers: %v", left)
	}
}

func TestTheFilterRefusesAndKills(t *testing.T) {
	const arch = unix.AUDIT_ARCH_X86_64
	program := filter(arch, []uint32{unix.SYS_MOUNT, unix.SYS_PTRACE})
	const refused = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	for _, test := range []struct {
		name       string
		arch, call uint32
		want       uint32
	}{
		{"a call that QEMU makes", arch, unix.SYS_READ, unix.SECCOMP_RET_ALLOW},
		{"the first of the forbidden", arch, unix.SYS_MOUNT, refused},
		{"the last of the forbidden", arch, unix.SYS_PTRACE, refused},
		{"a number of the x32 kind", arch, 0x40000000 | unix.SYS_READ, refused},
		{"another architecture", unix.AUDIT_ARCH_I386, unix.SYS_READ, unix.SECCOMP_RET_KILL_PROCESS},
	} {
		if got := run(program, test.arch, test.call, 0, 0); got != test.want {
			t.Errorf("%s: got %#x, want %#x", test.name, got, test.want)
		}
	}
	for _, test := range []struct {
		name   string
		length uint64
		advice uint32
		want   uint32
	}{
		{"huge pages for a small piece", 2 << 20, unix.MADV_HUGEPAGE, unix.SECCOMP_RET_ERRNO},
		{"something else of it", 2 << 20, unix.MADV_DONTNEED, unix.SECCOMP_RET_ALLOW},
		{"huge pages for a larger one", 2<<20 + 1, unix.MADV_HUGEPAGE, unix.SECCOMP_RET_ALLOW},
		{"huge pages for one of whole 4 GiB", 4 << 30, unix.MADV_HUGEPAGE, unix.SECCOMP_RET_ALLOW},
	} {
		if got := run(program, arch, unix.SYS_MADVISE, test.length, test.advice); got != test.want {
			t.Errorf("%s: got %#x, want %#x", test.name, got, test.want)
		}
	}
	if len(filter(arch, forbidden)) > 4096 {
		t.Error("the kernel takes at most 4096 instructions")
	}
}

// run interprets the few instructions that filters are made of.
func run(program []unix.SockFilter, arch, call uint32, length uint64, advice uint32) uint32 {
	var a uint32
	for i := 0; ; i++ {
		switch in := program[i]; in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			a = map[uint32]uint32{0: call, 4: arch, 24: uint32(length), 28: uint32(length >> 32), 32: advice}[in.K]
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			if kind := in.Code & 0xf0; a == in.K && kind != unix.BPF_JGT || a > in.K && kind != unix.BPF_JEQ {
				i += int(in.Jt)
			} else {
				i += int(in.Jf)
			}
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		}
	}
}

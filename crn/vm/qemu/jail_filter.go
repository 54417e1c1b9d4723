package qemu

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// forbidden are the system calls that QEMU has no use for and that break out of processes, or have been the way to. They are
// refused from its first instruction on. QEMU's own filter (-sandbox) comes on top of it, after it has started its threads: it
// forbids other programs and processes, other users, and calls that are obsolete.
var forbidden = []uint32{
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PIDFD_GETFD, unix.SYS_KCMP,
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_SETNS, unix.SYS_UNSHARE,
	unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT, unix.SYS_MOUNT_SETATTR,
	unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_NAME_TO_HANDLE_AT,
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_REBOOT,
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD,
	unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
	unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL,
	unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_QUOTACTL, unix.SYS_SYSLOG,
	unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_ADJTIMEX, unix.SYS_CLOCK_ADJTIME, unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME,
}

// auditArch is how the kernel names the kinds of system calls that programs for this architecture make.
var auditArch = map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}

// restrictThread forbids the thread, and what it starts, to gain privileges and to make the forbidden calls.
func restrictThread() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("forbid new privileges: %w", err)
	}
	program := filter(auditArch[runtime.GOARCH], forbidden)
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(program)
	if errno != 0 {
		return fmt.Errorf("filter system calls: %w", errno)
	}
	return nil
}

// smallPages is the size of a piece of memory, in bytes, up to which it stays in small pages. QEMU asks for huge ones for each of a
// machine's pieces, and one of two MiB, which holds the ACPI tables, would take all of them for a hundred KiB.
const smallPages = 2 << 20

// filter is a program for the kernel's filter machine (seccomp(2)). Calls in the ways of other architectures, which have other
// numbers, kill the process. Huge pages for a small piece of memory are asked for in vain.
func filter(arch uint32, calls []uint32) []unix.SockFilter {
	const (
		offsetCall   = 0 // in struct seccomp_data
		offsetArch   = 4
		offsetLength = 16 + 8 // of the memory, in two words, the low one first
		offsetAdvice = 16 + 2*8
		x32Bit       = 0x40000000
		refuse       = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
		pretend      = unix.SECCOMP_RET_ERRNO // of 0
	)
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	answer := func(action uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
	}
	p := []unix.SockFilter{
		load(offsetArch),
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: arch, Jt: 1},
		answer(unix.SECCOMP_RET_KILL_PROCESS),
		load(offsetCall),
		{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, K: x32Bit, Jf: 1},
		answer(refuse),
	}
	for _, call := range calls {
		p = append(p, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: call, Jf: 1}, answer(refuse))
	}
	const jumpEqual, jumpAbove = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K
	return append(p,
		unix.SockFilter{Code: jumpEqual, K: unix.SYS_MADVISE, Jf: 7},
		load(offsetLength+4), unix.SockFilter{Code: jumpEqual, K: 0, Jf: 5},
		load(offsetLength), unix.SockFilter{Code: jumpAbove, K: smallPages, Jt: 3},
		load(offsetAdvice), unix.SockFilter{Code: jumpEqual, K: unix.MADV_HUGEPAGE, Jf: 1},
		answer(pretend),
		answer(unix.SECCOMP_RET_ALLOW))
}

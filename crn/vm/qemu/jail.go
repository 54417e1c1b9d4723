package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/crn/vm"
)

// jail starts QEMU so that a guest which takes it over gains next to nothing: with a user of its own and no capabilities, in
// namespaces of its own, with a read-only root that holds only what it was given, below limits, behind filters of system calls.
//
// There is no helper program and no second start. A thread of this process enters the namespaces, gives its privileges away and
// forks; the child inherits all of it, and the thread ends. This costs a few milliseconds.
type jail struct {
	mode jailMode
	// landlock stands in for the root of its own.
	landlock bool
	root     string   // an empty folder, where each thread builds the root that its process gets
	system   []string // what QEMU itself needs to see: program, libraries, firmware
	users    *users
	groups   *groups // nil where there are none
	report   vm.Isolation
}

// jailMode is how much of a jail this host allows.
type jailMode int

const (
	jailFull jailMode = iota // needs root
	jailUser                 // a user namespace, where users may make one
	jailBare                 // only what needs no namespace
)

// confined is a process to run in a jail. Paths are absolute and the same inside and outside.
type confined struct {
	id      string // names its control group
	binary  string
	args    []string
	dir     string   // the machine's folder, which marks the process for Reap
	reads   []string // files and folders that it may read
	writes  []string // files that it may change
	devices []string
	files   []*os.File // its descriptors from 3 on
	stdout  io.Writer
	stderr  io.Writer

	memoryMiB int // guest and QEMU together
	vcpus     int
	fileBytes int64 // how long what it writes may become
	lockedMiB int   // memory that may be kept where it is in the host's; as much as the node may when 0
}

// cell is a process in its jail.
type cell struct {
	*exec.Cmd
	user  *lease
	group *group
}

// release gives back what the process had. To be called when it has been waited for.
func (c *cell) release() error {
	c.user.release()
	return c.group.remove()
}

// leave lets the process go on with what it has.
func (c *cell) leave() {
	c.user.release() // the process holds it too
	c.group.close()
}

// mark is the variable that names the machine's folder in the environment of its process. It finds the process again whatever
// became of the folder.
const mark = "ALEPH_MACHINE="

// newJail finds out how well this host can confine processes, by confining one: QEMU that says its version.
func newJail(ctx context.Context, cfg Config, binary string, of userRange, groups *groups, noGroups error) (*jail, error) {
	j := &jail{root: filepath.Join(cfg.Dir, "root"), groups: groups}
	if err := os.MkdirAll(j.root, 0o755); err != nil {
		return nil, fmt.Errorf("prepare the root of machines: %w", err)
	}
	var err error
	if j.system, err = systemFiles(ctx, binary); err != nil {
		return nil, err
	}
	var noFull, noUser error
	if j.users, noFull = newUsers(of); noFull == nil {
		noFull = j.try(ctx, jailFull, binary)
	}
	var noFiles error
	if noFull != nil {
		j.users = nil
		_, noFiles = landlockVersion()
		j.landlock = noFiles == nil
		noUser = j.try(ctx, jailUser, binary)
	}
	if noUser != nil {
		if err := j.try(ctx, jailBare, binary); err != nil {
			return nil, err
		}
	}
	j.report = j.describe(noFull, noFiles, noUser, noGroups)
	if cfg.RequireIsolation && len(j.report.Missing) > 0 {
		return nil, fmt.Errorf("machines are not isolated on this host as required: %s", strings.Join(j.report.Missing, "; "))
	}
	return j, nil
}

// try runs QEMU for its version in the given mode, and leaves the jail in it.
func (j *jail) try(ctx context.Context, mode jailMode, binary string) error {
	j.mode = mode
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var out bytes.Buffer
	c, err := j.start(confined{
		id: "trial", binary: binary, args: []string{"--version"}, dir: j.root, stdout: &out, stderr: &out, memoryMiB: 256, vcpus: 1,
	})
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Process.Kill() })
	defer stop()
	err = c.Wait()
	if err = errors.Join(err, c.release()); err != nil {
		return fmt.Errorf("%s --version: %w: %.300s", binary, err, out.String())
	}
	return nil
}

// describe says what is in force. Each measure that is not has its reason.
func (j *jail) describe(noFull, noFiles, noUser, noGroups error) (r vm.Isolation) {
	add := func(name string, missing error) {
		if missing == nil {
			r.InForce = append(r.InForce, name)
		} else {
			r.Missing = append(r.Missing, name+": "+missing.Error())
		}
	}
	add("own user", noFull)
	add("no files but its own", noFiles)
	add("own process, network, IPC and host name namespaces", noUser)
	add("no capabilities and no new ones", j.noCapabilities())
	add("filter of system calls", nil)
	for _, name := range controllers {
		err := noGroups
		if err == nil && !j.groups.has[name] {
			err = fmt.Errorf("the host's cgroup v2 offers no %s controller here", name)
		}
		add("limit of "+name, err)
	}
	return r
}

func (j *jail) noCapabilities() error {
	if j.mode == jailBare && os.Geteuid() == 0 {
		return errors.New("the node runs as root, and QEMU with it")
	}
	return nil
}

// start runs the process.
func (j *jail) start(c confined) (_ *cell, err error) {
	cmd := exec.Command(c.binary, c.args...)
	// A session of its own: a Ctrl-C at the node's terminal is for the node, which then stops its machines in order, or leaves them.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Env = []string{"PATH=/usr/bin:/bin", mark + c.dir}
	cmd.Dir, cmd.ExtraFiles, cmd.Stdout, cmd.Stderr = c.dir, c.files, c.stdout, c.stderr
	// Copying the console must not outlast the process.
	cmd.WaitDelay = time.Second
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	cmd.Stdin = null

	cell := &cell{Cmd: cmd}
	defer func() {
		if err != nil {
			_ = cell.release()
		}
	}()
	if j.groups != nil {
		if cell.group, err = j.groups.make(c.id, c.memoryMiB, c.vcpus); err != nil {
			return nil, err
		}
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, cell.group.fd()
	}
	const spaces = unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS
	switch j.mode {
	case jailFull:
		if cell.user, err = j.users.lease(); err != nil {
			return nil, err
		}
		// The process holds the lease too: the user stays taken until both are done with it.
		cmd.ExtraFiles = append(cmd.ExtraFiles[:len(cmd.ExtraFiles):len(cmd.ExtraFiles)], cell.user.file)
		id := uint32(cell.user.id)
		if err := grant(c); err != nil {
			return nil, err
		}
		cmd.Dir = "/"
		cmd.SysProcAttr.Cloneflags = spaces
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: id, Gid: id, Groups: []uint32{}}
	case jailUser:
		// No user is known in its user namespace, so nobody is root there, and has capabilities.
		cmd.SysProcAttr.Cloneflags = spaces | unix.CLONE_NEWUSER
	}
	err = onOwnThread(func() error {
		if j.mode == jailFull {
			if err := j.enterRoot(c, cell.user.id); err != nil {
				return err
			}
			if err := dropBoundingSet(); err != nil {
				return err
			}
		}
		if err := restrictThread(); err != nil {
			return err
		}
		if j.landlock {
			if err := j.restrictFiles(c); err != nil {
				return err
			}
		}
		if err := cmd.Start(); err != nil {
			return err
		}
		if err := j.limit(cmd.Process.Pid, c, cell.user); err != nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			return err
		}
		return nil
	})
	if errors.Is(err, unix.ENOMEM) {
		err = fmt.Errorf("the host has no memory for QEMU: %w", err)
	}
	if err != nil {
		return nil, err
	}
	return cell, nil
}

// onOwnThread runs do on a thread that ends with it: what do changes of its thread, namespaces and privileges, is seen by no
// other goroutine and inherited by the processes that it starts.
func onOwnThread(do func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good, which ends the thread with the goroutine
		if unix.Gettid() == unix.Getpid() {
			// But not the first thread, which the process is known by. It is held while another one does the work.
			result <- onOwnThread(do)
			runtime.UnlockOSThread()
			return
		}
		result <- do()
	}()
	return <-result
}

// dropBoundingSet makes sure that no program that the process might start gains a capability.
func dropBoundingSet() error {
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	return nil
}

// limit bounds what the process may take where control groups do not. The calling thread becomes the process's user for it, who
// may: root needs a capability for the limits of others that containers seldom have.
func (j *jail) limit(pid int, c confined, user *lease) error {
	limits := map[int]uint64{
		unix.RLIMIT_CORE:   0, // a core would hold the guest's memory
		unix.RLIMIT_NOFILE: 1024,
		unix.RLIMIT_FSIZE:  uint64(c.fileBytes),
		unix.RLIMIT_DATA:   uint64(c.memoryMiB+addressSlackMiB) << 20,
	}
	if c.lockedMiB > 0 {
		limits[unix.RLIMIT_MEMLOCK] = uint64(c.lockedMiB) << 20
	}
	if user != nil {
		limits[unix.RLIMIT_NPROC] = uint64(ownThreads + c.vcpus) // counted by user, and it has one of its own
		id := uintptr(user.id)
		// The functions of these names change all threads.
		for _, call := range []uintptr{unix.SYS_SETRESGID, unix.SYS_SETRESUID} {
			if _, _, errno := unix.RawSyscall(call, id, id, id); errno != 0 {
				return fmt.Errorf("limit the process: become its user: %w", errno)
			}
		}
	}
	for what, n := range limits {
		if err := unix.Prlimit(pid, what, &unix.Rlimit{Cur: n, Max: n}, nil); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("limit the process: %w", err)
		}
	}
	return nil
}

// mayLock makes sure that a process may keep so much of its memory where it is. The limit is inherited, and only the node can raise it.
func mayLock(mib int) error {
	need := uint64(mib) << 20
	var have unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &have); err != nil {
		return fmt.Errorf("look how much memory may be locked: %w", err)
	}
	if have.Cur >= need {
		return nil
	}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: need, Max: max(have.Max, need)}); err != nil {
		return fmt.Errorf("the machine locks %d MiB of memory and the node may lock %d; give its service LimitMEMLOCK=infinity", mib, have.Max>>20)
	}
	return nil
}

const (
	// ownThreads bounds the threads of one QEMU beside those of its processors. For its disks alone it may have 64.
	ownThreads = 128
	// addressSlackMiB is what QEMU may reserve beyond what it ever fills: stacks of threads, arenas of its allocator.
	addressSlackMiB = 1024
)

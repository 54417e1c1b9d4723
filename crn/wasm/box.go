package wasm

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// box is where a process lives: a folder that is all it sees, where the node may give it that.
type box struct {
	dir, program, cache string // its working folder and what is in it, as the process sees them
	attributes          *syscall.SysProcAttr
}

// nobody owns no file of the host. It is the user and the group of the processes.
const nobody = 65534

const (
	programName = "wasm-runner"
	cacheName   = "cache"
)

// prepare makes the box of a module: processes of the same module share what was compiled, others see nothing of it.
func (d *Driver) prepare(module string) (*box, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.install(); err != nil {
		return nil, err
	}
	dir := filepath.Join(d.cfg.Dir, compiledDir, module)
	if err := os.MkdirAll(filepath.Join(dir, cacheName), 0o711); err != nil {
		return nil, err
	}
	now := time.Now()
	_ = os.Chtimes(dir, now, now) // what was used last is removed last
	link := filepath.Join(dir, programName)
	if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if err := os.Link(filepath.Join(d.cfg.Dir, programName), link); err != nil {
		return nil, err
	}
	b := &box{dir: "/", program: "/" + programName, cache: "/" + cacheName, attributes: confinement(dir, d.namespaces)}
	if b.attributes.Chroot == "" {
		b.dir, b.program, b.cache = dir, link, filepath.Join(dir, cacheName)
	} else if b.attributes.Credential != nil {
		if err := os.Chown(filepath.Join(dir, cacheName), nobody, nobody); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// confinement is what the kernel keeps from a process, as far as this host allows it to be asked for: with root's rights, or in a
// namespace of users. Where there is neither, it runs as the node's user, and WebAssembly is the only wall.
func confinement(dir string, namespaces bool) *syscall.SysProcAttr {
	const own = syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS
	a := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	switch {
	case os.Getuid() == 0:
		a.Chroot, a.Cloneflags = dir, own
		a.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	case namespaces:
		a.Chroot, a.Cloneflags = dir, own|syscall.CLONE_NEWUSER
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: nobody, HostID: os.Getuid(), Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: nobody, HostID: os.Getgid(), Size: 1}}
	}
	return a
}

// haveNamespaces tries whether the node's user may make namespaces.
func haveNamespaces(dir string) bool {
	try := exec.Cmd{Path: "/" + programName, Args: []string{programName, "-h"}, SysProcAttr: confinement(dir, true)}
	var exit *exec.ExitError
	err := try.Run()
	return err == nil || errors.As(err, &exit)
}

// install puts the runner where boxes can link to it.
func (d *Driver) install() error {
	if d.installed {
		return nil
	}
	source, err := os.Open(d.cfg.Program)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w (looked for %s)", ErrMissing, d.cfg.Program)
	}
	if err != nil {
		return err
	}
	defer source.Close()
	part, err := os.CreateTemp(d.cfg.Dir, ".part-*")
	if err != nil {
		return err
	}
	defer os.Remove(part.Name())
	_, err = io.Copy(part, source)
	if err = errors.Join(err, part.Chmod(0o755), part.Close()); err == nil {
		err = os.Rename(part.Name(), filepath.Join(d.cfg.Dir, programName))
	}
	if err != nil {
		return err
	}
	d.installed, d.namespaces = true, haveNamespaces(d.cfg.Dir)
	return nil
}

// enter notes that a process of a module is there, or is being started.
func (d *Driver) enter(module string) {
	d.using.Lock()
	defer d.using.Unlock()
	d.running[module]++
}

// leave notes that it has ended.
func (d *Driver) leave(module string) {
	d.note(module)
	d.using.Lock()
	defer d.using.Unlock()
	if d.running[module]--; d.running[module] == 0 {
		delete(d.running, module)
	}
}

// note counts what a module was compiled to so far.
func (d *Driver) note(module string) {
	if _, err := d.compiled.Note(module); err != nil {
		d.cfg.Log.Error("compiled modules may grow beyond their bound", "error", err)
	}
}

// removeIdle removes what a module was compiled to, unless a process of it is there.
func (d *Driver) removeIdle(module string) (removed bool, err error) {
	d.using.Lock()
	defer d.using.Unlock()
	if d.running[module] > 0 {
		return false, nil
	}
	return true, os.RemoveAll(filepath.Join(d.cfg.Dir, compiledDir, module))
}

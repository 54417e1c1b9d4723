package qemu

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// controllers are those of cgroup v2 that machines are limited by.
var controllers = []string{"memory", "pids", "cpu"}

// groups are the control groups (cgroup v2) of the machines of one node, below the group that the node itself runs in.
type groups struct {
	base string // the node's own group
	dir  string // holds a group a machine; there while a machine is
	has  map[string]bool

	mu sync.Mutex // making and removing dir
}

// group is the control group of one machine.
type group struct {
	of   *groups
	path string
	dir  *os.File
}

// openGroups finds the node's own group and whether machines can have theirs below it. dir tells nodes on one host apart.
func openGroups(dir string) (*groups, error) {
	base, err := ownGroup()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(dir))
	g := &groups{base: base, dir: filepath.Join(base, "aleph-machines-"+hex.EncodeToString(sum[:6])), has: map[string]bool{}}
	trial, err := g.make("trial", 64, 1)
	if err != nil {
		return nil, fmt.Errorf("cgroup v2 at %s cannot be used: %w", base, err)
	}
	raw, err := os.ReadFile(filepath.Join(g.dir, "cgroup.subtree_control"))
	for _, name := range strings.Fields(string(raw)) {
		g.has[name] = true
	}
	return g, errors.Join(err, trial.remove())
}

// ownGroup returns the folder of the group that this process is in.
func ownGroup() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(mounts)) {
		before, after, _ := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if len(fields) < 5 || !strings.HasPrefix(after, "cgroup2 ") {
			continue
		}
		for entry := range strings.Lines(string(own)) {
			if path, ok := strings.CutPrefix(strings.TrimSpace(entry), "0::"); ok {
				// Where an earlier node of the same service stepped aside, this one may have been started there.
				return strings.TrimSuffix(filepath.Join(fields[4], path), "/"+nodeGroup), nil
			}
		}
	}
	return "", errors.New("the host has no cgroup v2")
}

// make makes the group of a machine, with the limits that the host can keep.
func (g *groups) make(id string, memoryMiB, vcpus int) (_ *group, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := os.Mkdir(g.dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("make a control group: %w", err)
	}
	g.enable()
	m := &group{of: g, path: filepath.Join(g.dir, id)}
	if err := os.Mkdir(m.path, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("make a control group: %w", err)
	}
	for name, value := range limits(memoryMiB, vcpus) {
		controller, _, _ := strings.Cut(name, ".")
		if !g.has[controller] {
			continue
		}
		err := os.WriteFile(filepath.Join(m.path, name), []byte(value), 0o600)
		if err != nil && !errors.Is(err, os.ErrNotExist) { // a kernel without swap has no limit of it
			return nil, fmt.Errorf("limit the machine: %w", err)
		}
	}
	m.dir, err = os.Open(m.path)
	return m, err
}

// limits are the settings of a machine's group. Of processors it gets its own and half of one for QEMU's own threads; when all
// want to work, machines share by the number of theirs.
func limits(memoryMiB, vcpus int) map[string]string {
	const period = 100_000 // µs
	return map[string]string{
		"memory.max":      strconv.Itoa(memoryMiB << 20),
		"memory.swap.max": "0",
		"pids.max":        strconv.Itoa(ownThreads + vcpus),
		"cpu.max":         fmt.Sprintf("%d %d", vcpus*period+period/2, period),
		"cpu.weight":      strconv.Itoa(min(100*vcpus, 10_000)),
	}
}

// enable asks for the controllers, in the node's group and in that of its machines. What is missing then shows in has.
func (g *groups) enable() {
	for _, dir := range []string{g.base, g.dir} {
		for _, name := range controllers {
			control := filepath.Join(dir, "cgroup.subtree_control")
			err := os.WriteFile(control, []byte("+"+name), 0o600)
			// A group with processes in it passes nothing on: the node moves into one of its own.
			if errors.Is(err, unix.EBUSY) && g.stepAside() == nil {
				_ = os.WriteFile(control, []byte("+"+name), 0o600)
			}
		}
	}
}

// nodeGroup is the node's own group below the one that it was given.
const nodeGroup = "aleph-node"

func (g *groups) stepAside() error {
	node := filepath.Join(g.base, nodeGroup)
	if err := os.Mkdir(node, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return os.WriteFile(filepath.Join(node, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0o600)
}

// clear ends what an earlier node left in its groups, but for those to keep.
func (g *groups) clear(keep func(id string) bool) error {
	entries, err := os.ReadDir(g.dir)
	if err != nil {
		return nil // none was left
	}
	var errs []error
	for _, entry := range entries {
		if entry.IsDir() && !keep(entry.Name()) {
			errs = append(errs, (&group{of: g, path: filepath.Join(g.dir, entry.Name())}).remove())
		}
	}
	return errors.Join(errs...)
}

// named is the group that a machine of an earlier node has, if it has one.
func (g *groups) named(id string) *group {
	if g == nil {
		return nil
	}
	return &group{of: g, path: filepath.Join(g.dir, id)}
}

func (m *group) fd() int { return int(m.dir.Fd()) }

func (m *group) close() {
	if m != nil && m.dir != nil {
		m.dir.Close()
	}
}

// remove ends whatever is left in the group, and the group.
func (m *group) remove() error {
	if m == nil {
		return nil
	}
	m.close()
	_ = os.WriteFile(filepath.Join(m.path, "cgroup.kill"), []byte("1"), 0o600)
	// Processes are gone a moment after they were killed.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		m.of.mu.Lock()
		err := unix.Rmdir(m.path)
		if err == nil || errors.Is(err, unix.ENOENT) {
			_ = unix.Rmdir(m.of.dir) // for as long as other machines have theirs in it, this fails
			m.of.mu.Unlock()
			return nil
		}
		m.of.mu.Unlock()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("remove control group %s: %w", m.path, err)
		}
	}
}

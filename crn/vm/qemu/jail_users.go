package qemu

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Users are the ids that machines run as, one each, in a range that nobody else on the host uses.
type Users struct{ First, Count int }

// DefaultUsers is a range that distributions leave free (systemd's UIDS-GIDS).
var DefaultUsers = Users{First: 1_900_000_000, Count: 65_536}

// ParseUsers reads "first-last".
func ParseUsers(text string) (Users, error) {
	from, to, ok := strings.Cut(text, "-")
	first, err1 := strconv.Atoi(from)
	last, err2 := strconv.Atoi(to)
	if !ok || err1 != nil || err2 != nil || first < 1000 || last < first || last > 1<<31-3 {
		return Users{}, fmt.Errorf("range of users %q: want first-last above 999, like 1900000000-1900065535", text)
	}
	return Users{first, last - first + 1}, nil
}

// users gives each machine a user of its own. A user is taken for as long as the lock on its file is held; the process of the
// machine inherits the open file, so that no other node of this host, and no later one, gives the user away while it runs.
type users struct {
	dir string
	of  Users

	mu   sync.Mutex
	next int // where to look first: ids come round late
}

// lease is a user that a machine has.
type lease struct {
	id   int
	file *os.File
}

func newUsers(of Users) (*users, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("the node does not run as root")
	}
	if !mapped(of) {
		return nil, fmt.Errorf("users %d-%d do not exist in this container; choose others with --machine-users", of.First, of.First+of.Count-1)
	}
	return &users{dir: "/run/aleph-machine-users", of: of}, nil
}

// mapped reports whether processes here may have the ids.
func mapped(of Users) bool {
	raw, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(raw)) {
		var inside, outside, count int
		if n, _ := fmt.Sscan(line, &inside, &outside, &count); n == 3 && of.First >= inside && of.First+of.Count <= inside+count {
			return true
		}
	}
	return false
}

func (u *users) lease() (*lease, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := os.MkdirAll(u.dir, 0o700); err != nil {
		return nil, fmt.Errorf("take a user for the machine: %w", err)
	}
	for range u.of.Count {
		id := u.of.First + u.next
		u.next = (u.next + 1) % u.of.Count
		f, err := os.OpenFile(filepath.Join(u.dir, strconv.Itoa(id)), os.O_CREATE|os.O_RDONLY, 0o600)
		if err != nil {
			return nil, fmt.Errorf("take a user for the machine: %w", err)
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return &lease{id, f}, nil
		}
		f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("take a user for the machine: %w", err)
		}
	}
	return nil, fmt.Errorf("all %d users for machines are taken", u.of.Count)
}

func (l *lease) release() {
	if l != nil {
		l.file.Close()
	}
}

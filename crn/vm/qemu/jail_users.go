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

// userRange is a range of user ids that nobody else on the host uses.
type userRange struct{ first, count int }

// DefaultUsers is a range that distributions leave free (systemd's UIDS-GIDS).
const DefaultUsers = "1900000000-1900004095"

func parseUsers(text string) (userRange, error) {
	from, to, ok := strings.Cut(text, "-")
	first, err1 := strconv.Atoi(from)
	last, err2 := strconv.Atoi(to)
	if !ok || err1 != nil || err2 != nil || first < 1000 || last < first || last > 1<<31-3 {
		return userRange{}, fmt.Errorf("range of users %q: want first-last above 999, like %s", text, DefaultUsers)
	}
	return userRange{first, last - first + 1}, nil
}

// users gives each machine a user of its own. A user is taken for as long as the lock on its file is held; the process of the
// machine inherits the open file, so that no other node of this host, and no later one, gives the user away while it runs.
type users struct {
	dir string
	of  userRange

	mu   sync.Mutex
	next int // where to look first: ids come round late
}

// lease is a user that a machine has.
type lease struct {
	id   int
	file *os.File
}

func newUsers(of userRange) (*users, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("the node does not run as root")
	}
	if !mapped(of) {
		return nil, fmt.Errorf("users %d-%d do not exist in this container; choose others with --machine-users", of.first, of.first+of.count-1)
	}
	return &users{dir: "/run/aleph-machine-users", of: of}, nil
}

// mapped reports whether processes here may have the ids.
func mapped(of userRange) bool {
	raw, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(raw)) {
		var inside, outside, count int
		if n, _ := fmt.Sscan(line, &inside, &outside, &count); n == 3 && of.first >= inside && of.first+of.count <= inside+count {
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
	for range u.of.count {
		id := u.of.first + u.next
		u.next = (u.next + 1) % u.of.count
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
	return nil, fmt.Errorf("all %d users for machines are taken", u.of.count)
}

func (l *lease) release() {
	if l != nil {
		l.file.Close()
	}
}

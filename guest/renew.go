package guest

import (
	"bufio"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/guest/wire"
)

// nodePreload speaks for programs in Node.
//
//go:embed node.cjs
var nodePreload []byte

// renewing is the socket at which programs wait to hear that they were copied.
type renewing struct {
	mu      sync.Mutex
	waiting []*net.UnixConn
}

// Bounds of what a program may ask for.
const (
	maxRenewing  = 64 // connections
	renewTimeout = 5 * time.Second
)

// listenForRenewing opens the socket and writes the preload of Node.
func listenForRenewing(path, preload string) (*renewing, error) {
	for _, file := range []string{path, preload} {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return nil, fmt.Errorf("listen at %s: %w", path, err)
		}
	}
	if err := os.WriteFile(preload, nodePreload, 0o644); err != nil {
		return nil, fmt.Errorf("write the preload of Node: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen at %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o666); err != nil { // the program may have given up root
		return nil, errors.Join(fmt.Errorf("listen at %s: %w", path, err), l.Close())
	}
	r := &renewing{}
	go func() {
		for {
			conn, err := l.AcceptUnix()
			if err != nil {
				return
			}
			r.mu.Lock()
			if len(r.waiting) == maxRenewing {
				conn.Close()
			} else {
				r.waiting = append(r.waiting, conn)
			}
			r.mu.Unlock()
		}
	}()
	return r, nil
}

// everybody reports whether each of the processes waits at the socket. r may be nil.
func (r *renewing) everybody(processes []int) bool {
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	waits := map[int]bool{}
	for _, conn := range r.waiting {
		if pid, err := peer(conn); err == nil {
			waits[pid] = true
		}
	}
	for _, pid := range processes {
		if !waits[pid] {
			return false
		}
	}
	return len(processes) > 0
}

// peer returns the process that connected, or an error when it has hung up.
func peer(conn *net.UnixConn) (pid int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var n int
	var peekErr, credErr error
	err = raw.Control(func(fd uintptr) {
		n, _, peekErr = unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		var cred *unix.Ucred
		if cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); credErr == nil {
			pid = int(cred.Pid)
		}
	})
	if n == 0 && peekErr == nil {
		return 0, net.ErrClosed
	}
	return pid, errors.Join(err, credErr)
}

// userProcesses returns the processes of the machine but for init and those of the kernel, from proc(5).
func userProcesses(proc string) (pids []int, err error) {
	stats, err := filepath.Glob(filepath.Join(proc, "[0-9]*", "stat"))
	if err != nil {
		return nil, err
	}
	for _, stat := range stats {
		raw, err := os.ReadFile(stat)
		if err != nil {
			continue // it has ended
		}
		var state string
		var parent int
		text := string(raw)
		if _, err := fmt.Sscan(text[strings.LastIndexByte(text, ')')+1:], &state, &parent); err != nil {
			return nil, fmt.Errorf("read %s: %w", stat, err)
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
		if err != nil {
			return nil, err
		}
		const init, kernel = 1, 2 // who starts all others
		if pid == init || pid == kernel || parent == kernel || state == "Z" {
			continue
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// renew tells everybody who waits and returns when all have answered. Who hung up before does not want to know. What is done
// with the clock in the past is given to inPast.
func (r *renewing) renew(inPast func(do func() error) error) error {
	if r == nil {
		return errors.New("this machine was not configured to be copied")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = tell(r.waiting)
	var again []*net.UnixConn
	for _, conn := range r.waiting {
		answer, err := heard(conn)
		if err != nil {
			return err
		}
		if answer == wire.RenewInPast {
			again = append(again, conn)
		}
	}
	if len(again) == 0 {
		return nil
	}
	return inPast(func() error {
		for _, conn := range tell(again) {
			if _, err := heard(conn); err != nil {
				return err
			}
		}
		return nil
	})
}

// tell sends the line and returns those that it reached.
func tell(waiting []*net.UnixConn) (told []*net.UnixConn) {
	for _, conn := range waiting {
		_ = conn.SetDeadline(time.Now().Add(renewTimeout))
		if _, err := conn.Write([]byte("renew\n")); err != nil {
			conn.Close()
			continue
		}
		told = append(told, conn)
	}
	return told
}

// heard reads an answer.
func heard(conn net.Conn) (string, error) {
	line, err := bufio.NewReaderSize(conn, 16).ReadSlice('\n')
	if err != nil {
		return "", fmt.Errorf("the program did not say that it is ready to be a copy: %w", err)
	}
	return strings.TrimSuffix(string(line), "\n"), nil
}

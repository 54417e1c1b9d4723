package guest

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/guest/wire"
)

// resume makes the machine one of its own again: it may be a copy, whose clock stood still and whose generators of random numbers
// are all in the state that those of the other copies began with. The program listened before it was parked.
func (s *session) resume(decoder *json.Decoder) (ready func() bool, err error) {
	var r wire.Resume
	if err := decoder.Decode(&r); err != nil {
		return nil, err
	}
	if err := setClock(r.Time); err != nil {
		return nil, err
	}
	if err := reseed(r.Entropy); err != nil {
		return nil, err
	}
	if err := s.renewing.renew(); err != nil {
		return nil, err
	}
	return func() bool { return true }, nil
}

// minEntropy is what a kernel's generator is keyed with, in bytes.
const minEntropy = 32

// reseed mixes the bytes into the kernel's pool and has its generator take a new key from that.
func reseed(entropy []byte) error {
	if len(entropy) < minEntropy {
		return fmt.Errorf("the host gave %d bytes of entropy, %d are needed", len(entropy), minEntropy)
	}
	f, err := os.OpenFile("/dev/random", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("add entropy: %w", err)
	}
	defer f.Close()
	// struct rand_pool_info of random(4): bits, bytes, the bytes themselves.
	info := binary.NativeEndian.AppendUint32(nil, uint32(8*len(entropy)))
	info = binary.NativeEndian.AppendUint32(info, uint32(len(entropy)))
	info = append(info, entropy...)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.RNDADDENTROPY, uintptr(unsafe.Pointer(&info[0]))); errno != 0 {
		return fmt.Errorf("add entropy: %w", errno)
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.RNDRESEEDCRNG, 0); errno != 0 {
		return fmt.Errorf("take a new key from the entropy: %w", errno)
	}
	return nil
}

// renewing is the socket at which programs wait to hear that they were copied.
type renewing struct {
	mu      sync.Mutex
	waiting []net.Conn
}

// Bounds of what a program may ask for.
const (
	maxRenewing  = 64 // connections
	renewTimeout = 5 * time.Second
)

func listenForRenewing(path string) (*renewing, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("listen at %s: %w", path, err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen at %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o666); err != nil { // the program may have given up root
		return nil, errors.Join(fmt.Errorf("listen at %s: %w", path, err), l.Close())
	}
	r := &renewing{}
	go func() {
		for {
			conn, err := l.Accept()
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

// renew tells everybody who waits and returns when all have answered. Who hung up before does not want to know.
func (r *renewing) renew() error {
	if r == nil {
		return errors.New("this machine was not configured to be copied")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var told []net.Conn
	for _, conn := range r.waiting {
		_ = conn.SetDeadline(time.Now().Add(renewTimeout))
		if _, err := conn.Write([]byte("renew\n")); err != nil {
			conn.Close()
			continue
		}
		told = append(told, conn)
	}
	r.waiting = told
	for _, conn := range told {
		if _, err := bufio.NewReader(conn).ReadSlice('\n'); err != nil {
			return fmt.Errorf("the program did not say that it is ready to be a copy: %w", err)
		}
	}
	return nil
}

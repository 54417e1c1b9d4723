package guest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/guest/wire"
)

// resume makes the machine one of its own again and tells the host: it may be a copy, whose clock stood still and whose generators of
// random numbers are all in the state that those of the other copies began with. The program listened before it was parked.
func (m *machine) resume(port io.ReadWriter) error {
	r, epoch, err := wire.ReadResume(port)
	if err != nil {
		return err
	}
	answer := wire.Resumed{Card: m.card}
	if err = m.renew(r); err != nil {
		answer.Error = err.Error()
	}
	return errors.Join(err, answer.Write(port, epoch))
}

func (m *machine) renew(r wire.Resume) error {
	received := time.Now()
	if err := setClock(r.Time); err != nil {
		return err
	}
	if err := reseed(r.Entropy[:]); err != nil {
		return err
	}
	return m.renewing.renew(func(do func() error) error {
		if err := setClock(m.booted.Add(-time.Hour)); err != nil {
			return err
		}
		err := do()
		return errors.Join(err, setClock(r.Time.Add(time.Since(received)))) // since goes by another clock
	})
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

//go:build unix

package journal

import (
	"errors"
	"os"
	"syscall"
)

// lock keeps other processes out of the journal until the file is closed or the process ends.
func lock(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errors.New("another process works on this data folder: stop it first")
	}
	return os.NewSyscallError("flock", err)
}

package journal

import (
	"os"
	"syscall"
)

// datasync syncs what a file holds and its length, and leaves out the times that nobody asks for.
func datasync(f *os.File) error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); err != syscall.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}

package files

import (
	"fmt"
	"io"
)

// SeekFrom returns where a reader of a file of size bytes that is at current gets to by [io.Seeker]: for readers of stores.
func SeekFrom(current, size, offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += current
	case io.SeekEnd:
		offset += size
	}
	if whence < io.SeekStart || whence > io.SeekEnd || offset < 0 {
		return 0, fmt.Errorf("seek to %d from %d: not possible", offset, whence)
	}
	return offset, nil
}

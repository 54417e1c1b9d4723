package image

import (
	"bytes"
	"fmt"
)

// cpio writes the "newc" archives that the Linux kernel unpacks as its first root (Documentation/driver-api/early-userspace in
// the kernel's source). Everything belongs to root and has no times, so the same content gives the same bytes.
type cpio struct {
	b     *bytes.Buffer
	inode int
}

func newCPIO(b *bytes.Buffer) *cpio { return &cpio{b: b} }

const (
	typeDir  = 0o040000
	typeChar = 0o020000
	typeFile = 0o100000
)

func (c *cpio) dir(name string) { c.entry(name, typeDir|0o755, 0, 0, nil) }

func (c *cpio) file(name string, mode int, content []byte) {
	c.entry(name, typeFile|mode, 0, 0, content)
}

func (c *cpio) device(name string, major, minor int) {
	c.entry(name, typeChar|0o600, major, minor, nil)
}

func (c *cpio) close() { c.entry("TRAILER!!!", 0, 0, 0, nil) }

func (c *cpio) entry(name string, mode, major, minor int, content []byte) {
	c.inode++
	links := 1
	if mode&typeDir == typeDir {
		links = 2
	}
	fmt.Fprintf(c.b, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		c.inode, mode, 0, 0, links, 0, len(content), 0, 0, major, minor, len(name)+1, 0, name)
	c.align()
	c.b.Write(content)
	c.align()
}

// align pads to four bytes from the archive's start.
func (c *cpio) align() {
	for c.b.Len()%4 != 0 {
		c.b.WriteByte(0)
	}
}

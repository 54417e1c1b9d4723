package execution

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/crn/image"
	"github.com/aleph-im/aleph-go/message"
)

// share is what a machine takes of the node.
type share struct {
	memoryMiB  int
	vcpus      int
	scratchMiB int64    // disks that go with the machine
	volumesMiB int64    // disks that are made for it and stay
	volumes    []string // their paths
}

// disk is what it takes of the disk, in MiB.
func (s share) disk() int64 { return s.scratchMiB + s.volumesMiB }

func (s share) plus(t share) share {
	return share{memoryMiB: s.memoryMiB + t.memoryMiB, vcpus: s.vcpus + t.vcpus, scratchMiB: s.scratchMiB + t.scratchMiB, volumesMiB: s.volumesMiB + t.volumesMiB}
}

func (s share) minus(t share) share {
	return share{memoryMiB: s.memoryMiB - t.memoryMiB, vcpus: s.vcpus - t.vcpus, scratchMiB: s.scratchMiB - t.scratchMiB, volumesMiB: s.volumesMiB - t.volumesMiB}
}

// made is the size of those volumes that have really come to be, in MiB.
func (s share) made() (n int64) {
	for _, path := range s.volumes {
		if info, err := os.Stat(path); err == nil {
			n += info.Size() >> 20
		}
	}
	return n
}

// shareOf says what the program asks for. Volumes that are there already are counted already.
func (p *Pool) shareOf(x *Execution) share {
	s := share{memoryMiB: x.program.Resources.MemoryMiB + p.overheadMiB(x), vcpus: x.program.Resources.VCPUs}
	for i, v := range x.program.Volumes {
		switch v.Kind {
		case message.VolumeEphemeral:
			s.scratchMiB += v.SizeMiB
		case message.VolumePersistent:
			path := image.DiskPath(p.volumeFolder(x.hash), image.VolumeName(v, i))
			if _, err := os.Stat(path); err != nil {
				s.volumesMiB += v.SizeMiB
				s.volumes = append(s.volumes, path)
			}
		}
	}
	return s
}

// fits returns nil when there is room, or else what is needed and free. p.mu is held.
func (p *Pool) fits(need share) error {
	memory, vcpus, disk := p.cfg.MemoryMiB-p.used.memoryMiB, p.cfg.VCPUs-p.used.vcpus, p.cfg.DiskMiB-p.volumesMiB-p.used.disk()
	switch {
	case need.memoryMiB > memory:
		return fmt.Errorf("%d MiB of memory and %d MiB are free", need.memoryMiB, memory)
	case need.vcpus > vcpus:
		return fmt.Errorf("%d processors and %d are free", need.vcpus, vcpus)
	case need.disk() > 0 && need.disk() > disk:
		return fmt.Errorf("%d MiB of disk and %d MiB are free", need.disk(), max(0, disk))
	}
	return nil
}

// neverFits reports whether there would be no room even if all machines ended. p.mu is held.
func (p *Pool) neverFits(need share) bool {
	return need.memoryMiB > p.cfg.MemoryMiB || need.vcpus > p.cfg.VCPUs || need.disk() > p.cfg.DiskMiB-p.volumesMiB
}

// diskHasRoom keeps a twentieth of the filesystem free: the node itself, its logs and its caches need some.
func (p *Pool) diskHasRoom(needMiB int64) error {
	if needMiB == 0 {
		return nil
	}
	total, free, err := filesystemMiB(p.cfg.Dir)
	if err != nil {
		return err
	}
	if free -= total / 20; needMiB > free {
		return fmt.Errorf("the disk of this node has %d MiB left for machines, %d MiB are needed: %w", max(0, free), needMiB, ErrNoRoom)
	}
	return nil
}

// filesystemMiB returns the size of the filesystem that dir is on, and what is free there.
func filesystemMiB(dir string) (total, free int64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, 0, fmt.Errorf("look at the disk of %s: %w", dir, err)
	}
	return int64(s.Blocks) * s.Bsize >> 20, int64(s.Bavail) * s.Bsize >> 20, nil
}

// sizeMiB sums the files below dir.
func sizeMiB(dir string) (n int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		n += info.Size()
		return nil
	})
	return n >> 20, err
}

package replica

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// Holder is where a replica is kept, as who sends it sees it; [Remote] in a node.
type Holder interface {
	State(ctx context.Context, line string) (State, error)
	Put(ctx context.Context, id ID, sealed []byte) error
	Commit(ctx context.Context, g Generation) error
}

// Sender sends generations of an instance's disks to their holder. One goroutine may use it.
type Sender struct {
	key      *Key
	holder   Holder
	instance message.Hash
	line     string
	number   int64
	there    map[ID]bool // chunks that the holder has
	last     []Disk      // of the last generation that this sender made; nil before
}

// NewSender asks the holder how far it is. line names the disks that are sent.
func NewSender(ctx context.Context, key *Key, holder Holder, instance message.Hash, line string) (*Sender, error) {
	state, err := holder.State(ctx, line)
	if err != nil {
		return nil, err
	}
	s := &Sender{key: key, holder: holder, instance: instance, line: line, number: state.Number}
	s.have(state.Chunks)
	return s, nil
}

func (s *Sender) have(ids []ID) {
	s.there = map[ID]bool{{}: true}
	for _, id := range ids {
		s.there[id] = true
	}
}

// Draft is a generation that is being made.
type Draft struct {
	Stopped bool // the instance was not running

	sender *Sender
	taken  time.Time
	disks  []Disk
	sent   int64 // bytes
}

// Draft begins a generation of disks, which have names and sizes. What is not set is zeros when all, and else what it was in the last
// generation.
func (s *Sender) Draft(taken time.Time, disks []Disk, all bool) *Draft {
	d := &Draft{sender: s, taken: taken, disks: slices.Clone(disks)}
	for i := range d.disks {
		if all {
			d.disks[i].Chunks = make([]ID, Chunks(d.disks[i].Size))
		} else {
			d.disks[i].Chunks = slices.Clone(s.last[i].Chunks)
		}
	}
	return d
}

// Set sets chunk n of a disk, and sends it unless the holder has it; nil stands for zeros.
func (d *Draft) Set(ctx context.Context, disk int, n int64, chunk []byte) error {
	if err := ctx.Err(); err != nil {
		return err // where nothing is sent, nothing else heeds it
	}
	s := d.sender
	if zeros(chunk) {
		d.disks[disk].Chunks[n] = ID{}
		return nil
	}
	id, sealed := s.key.Seal(chunk)
	if !s.there[id] {
		if err := s.holder.Put(ctx, id, sealed); err != nil {
			return err
		}
		s.there[id] = true
		d.sent += int64(len(sealed))
	}
	d.disks[disk].Chunks[n] = id
	return nil
}

// zeros reports whether the first byte is zero and each other one the same as that before it.
func zeros(chunk []byte) bool {
	return len(chunk) == 0 || chunk[0] == 0 && bytes.Equal(chunk[1:], chunk[:len(chunk)-1])
}

// Commit makes the generation the newest, and returns how many bytes of chunks were sent for it.
func (d *Draft) Commit(ctx context.Context) (sent int64, err error) {
	s := d.sender
	g, err := s.key.Generation(Manifest{Instance: s.instance, Number: s.number + 1, Taken: d.taken, Stopped: d.Stopped, Disks: d.disks}, s.line)
	if err != nil {
		return 0, err
	}
	if err := s.holder.Commit(ctx, g); err != nil {
		return 0, err
	}
	s.number, s.last = g.Number, d.disks
	s.have(g.Chunks)
	return d.sent, nil
}

// Restore writes a disk of a manifest to a file, in which there may be anything. read brings sealed chunks. Blocks are not reserved.
func Restore(ctx context.Context, key *Key, disk Disk, to *os.File, read func(ID) ([]byte, error)) error {
	if err := to.Truncate(0); err != nil {
		return err
	}
	if err := to.Truncate(disk.Size); err != nil {
		return err
	}
	for n, id := range disk.Chunks {
		if id == (ID{}) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		sealed, err := read(id)
		if err != nil {
			return err
		}
		chunk, err := key.Open(id, sealed)
		if err != nil {
			return err
		}
		at := int64(n) * ChunkSize
		if int64(len(chunk)) != min(ChunkSize, disk.Size-at) {
			return fmt.Errorf("chunk %s has %d bytes", id, len(chunk))
		}
		if _, err := to.WriteAt(chunk, at); err != nil {
			return err
		}
	}
	return nil
}

package runner

import (
	"context"
	"sync"

	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"
)

// memory is what all instances of the program may have together: what its message pays for. An instance is admitted with as
// much as calls have needed lately, so that callers at the same time wait for each other instead of starving each other.
type memory struct {
	limit int64 // bytes
	least int64 // what every instance has from the start

	mu       sync.Mutex
	reserved int64
	expected int64         // what an instance is thought to need
	freed    chan struct{} // closed when something was given back
	spare    []*linear     // cleared, for the next instances: touching new pages is half of what an instance costs
}

// newMemory begins with the guess that four instances fit.
func newMemory(limit, least int64) *memory {
	return &memory{limit: limit, least: least, expected: limit / 4, freed: make(chan struct{})}
}

// enter waits until an instance has room.
func (m *memory) enter(ctx context.Context) (*share, error) {
	for {
		m.mu.Lock()
		need := min(max(m.expected, m.least), m.limit)
		if m.reserved+need <= m.limit {
			m.reserved += need
			m.mu.Unlock()
			return &share{memory: m, reserved: need}, nil
		}
		freed := m.freed
		m.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// share is the part of one instance.
type share struct {
	memory   *memory
	reserved int64
	used     int64 // the most that it had
	refused  bool  // it wanted more than there was
}

// take makes the share at least size bytes.
func (s *share) take(size int64) bool {
	m := s.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	if more := size - s.reserved; more > 0 {
		if m.reserved+more > m.limit {
			s.refused = true
			return false
		}
		m.reserved += more
		s.reserved = size
	}
	s.used = max(s.used, size)
	return true
}

// leave gives the share back. The expectation follows the largest at once and comes down slowly. One that could never get enough
// says nothing about others.
func (s *share) leave() {
	m := s.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reserved -= s.reserved
	s.reserved = 0
	if !s.refused {
		m.expected = max(s.used, m.expected-(m.expected-s.used)/8)
	}
	close(m.freed)
	m.freed = make(chan struct{})
}

// Allocate implements [experimental.MemoryAllocator]: addresses for all that the module may ever want, of which pages become
// usable as it grows. Growing copies nothing, and pages that were never touched cost nothing.
func (s *share) Allocate(_, most uint64) experimental.LinearMemory {
	m := s.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := len(m.spare); n > 0 {
		l := m.spare[n-1]
		m.spare = m.spare[:n-1]
		l.share = s
		return l
	}
	l := &linear{share: s}
	if most > 0 {
		// Without the addresses the first Reallocate fails, which ends the call.
		l.all, _ = unix.Mmap(-1, 0, int(most), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	}
	return l
}

// linear implements [experimental.LinearMemory].
type linear struct {
	share  *share
	all    []byte
	usable int // bytes that may be read and written
	size   int // bytes that the instance has
}

// Reallocate implements [experimental.LinearMemory].
func (l *linear) Reallocate(size uint64) []byte {
	if size == 0 {
		return []byte{}
	}
	if size > uint64(len(l.all)) || !l.share.take(int64(size)) {
		return nil
	}
	if int(size) > l.usable {
		if err := unix.Mprotect(l.all[:size], unix.PROT_READ|unix.PROT_WRITE); err != nil {
			l.share.refused = true
			return nil
		}
		l.usable = int(size)
	}
	l.size = int(size)
	return l.all[:size:size]
}

// What is kept for the next instances.
const (
	maxSpare     = 4
	maxSpareSize = 8 << 20 // bytes
)

// Free implements [experimental.LinearMemory]. Nothing of an instance reaches the next one.
func (l *linear) Free() {
	if l.usable > 0 && l.usable <= maxSpareSize {
		clear(l.all[:l.size])
		l.size = 0
		m := l.share.memory
		m.mu.Lock()
		defer m.mu.Unlock()
		if len(m.spare) < maxSpare {
			m.spare = append(m.spare, l)
			return
		}
	}
	if l.all != nil {
		_ = unix.Munmap(l.all)
		l.all = nil
	}
}

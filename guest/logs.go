package guest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/aleph-im/aleph-go/guest/wire"
)

// logSender carries the program's output to the host. Its queue is short: a program that prints faster than the host takes
// waits, as it would on any pipe.
type logSender struct{ lines chan wire.LogLine }

func newLogSender() *logSender { return &logSender{make(chan wire.LogLine, 256)} }

// run sends until the stream breaks, or the session ends; then what the program has printed by that time is sent as well.
func (l *logSender) run(w io.Writer, end <-chan struct{}) {
	buffered := bufio.NewWriterSize(w, 16<<10)
	encoder := json.NewEncoder(buffered)
	for {
		select {
		case line := <-l.lines:
			if encoder.Encode(line) != nil {
				return
			}
			if len(l.lines) == 0 && buffered.Flush() != nil {
				return
			}
		case <-end:
			for range len(l.lines) {
				if encoder.Encode(<-l.lines) != nil {
					return
				}
			}
			_ = buffered.Flush()
			return
		}
	}
}

// pipe returns the end that the program writes to. What comes out of the other is split into lines, kept in tail and sent.
func (l *logSender) pipe(stream string, tail *tailBuffer, running *sync.WaitGroup) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe for %s: %w", stream, err)
	}
	running.Go(func() {
		defer r.Close()
		reader := bufio.NewReaderSize(r, wire.MaxLine)
		for {
			text, err := reader.ReadSlice('\n')
			if len(text) > 0 {
				tail.write(text)
				line := text
				if line[len(line)-1] == '\n' {
					line = line[:len(line)-1]
				}
				l.lines <- wire.LogLine{Time: time.Now().UTC(), Stream: stream, Text: string(line)}
			}
			if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
				return
			}
		}
	})
	return w, nil
}

// tailBuffer keeps the last bytes written to it.
type tailBuffer struct {
	limit int

	mu   sync.Mutex
	data []byte
}

func (t *tailBuffer) write(b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.data = append(t.data, b...)
	if over := len(t.data) - t.limit; over > t.limit {
		t.data = append(t.data[:0], t.data[over:]...)
	}
}

func (t *tailBuffer) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.data[max(0, len(t.data)-t.limit):])
}

package runner

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"time"

	"github.com/aleph-im/aleph-go/guest/wire"
)

// logs carries the output of instances to the host. The queue is short: a program that prints faster than the host takes waits.
type logs struct{ lines chan wire.LogLine }

func newLogs() *logs { return &logs{make(chan wire.LogLine, 256)} }

// send sends until the stream breaks.
func (l *logs) send(w io.Writer) {
	buffered := bufio.NewWriterSize(w, 16<<10)
	encoder := json.NewEncoder(buffered)
	for line := range l.lines {
		if encoder.Encode(line) != nil {
			return
		}
		if len(l.lines) == 0 && buffered.Flush() != nil {
			return
		}
	}
}

// lines splits what one instance prints on its standard error into lines for the logs. done ends the wait for a queue that is
// full; what is printed after that is lost, with the call.
type lines struct {
	logs *logs
	done <-chan struct{}
	rest []byte
}

// Write implements [io.Writer].
func (l *lines) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		end := bytes.IndexByte(b, '\n')
		part := b
		if end >= 0 {
			part = b[:end]
		}
		part = part[:min(len(part), wire.MaxLine-len(l.rest))]
		l.rest = append(l.rest, part...)
		b = b[len(part):]
		if len(b) > 0 && b[0] == '\n' {
			b = b[1:]
			l.flush()
		} else if len(l.rest) == wire.MaxLine {
			l.flush()
		}
	}
	return n, nil
}

func (l *lines) flush() {
	select {
	case l.logs.lines <- wire.LogLine{Time: time.Now().UTC(), Stream: "stderr", Text: string(l.rest)}:
	case <-l.done:
	}
	l.rest = l.rest[:0]
}

// close sends what has no end of line.
func (l *lines) close() {
	if len(l.rest) > 0 {
		l.flush()
	}
}

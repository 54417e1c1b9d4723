package logfile

import (
	"bufio"
	"encoding/json"
	"io"
	"iter"

	"github.com/aleph-im/aleph-go/guest/wire"
)

// Lines yields the lines of a log that has one in JSON a line, oldest first.
func Lines(r io.Reader) iter.Seq[wire.LogLine] {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, 8*wire.MaxLine)
	return func(yield func(wire.LogLine) bool) {
		for scanner.Scan() {
			var line wire.LogLine
			// A line that a full disk cut short is passed over.
			if json.Unmarshal(scanner.Bytes(), &line) == nil && !yield(line) {
				return
			}
		}
	}
}

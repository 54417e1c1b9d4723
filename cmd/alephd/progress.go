package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// progress tells a person how far a long command is: on a terminal in one line that is written again and again, elsewhere
// in a line from time to time. Total 0 means that the end is not known.
type progress struct {
	w        io.Writer
	terminal bool
	now      func() time.Time

	stage string
	began time.Time
	shown time.Time
}

func newProgress(w io.Writer, now func() time.Time) *progress {
	p := &progress{w: w, now: now}
	if f, ok := w.(*os.File); ok {
		info, err := f.Stat()
		p.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return p
}

const (
	terminalPause = 200 * time.Millisecond
	linePause     = 10 * time.Second
	barWidth      = 30
)

// show says that done of total things of a stage are done. What comes too soon after the last is not written.
func (p *progress) show(stage string, done, total int64) {
	now := p.now()
	if stage != p.stage {
		p.stage, p.began, p.shown = stage, now, now
		return
	}
	pause := linePause
	if p.terminal {
		pause = terminalPause
	}
	if now.Sub(p.shown) < pause {
		return
	}
	p.shown = now
	rate := float64(done) / max(now.Sub(p.began).Seconds(), 0.001)
	line := fmt.Sprintf("%s: %d done, %.0f/s", stage, done, rate)
	if total > 0 {
		left := time.Duration(float64(max(total-done, 0)) / max(rate, 0.001) * float64(time.Second)).Round(time.Second)
		line = fmt.Sprintf("%s: %d of %d, %.0f/s, %s left", stage, done, total, rate, left)
		if p.terminal {
			full := int(min(done, total) * barWidth / total)
			line = "[" + strings.Repeat("#", full) + strings.Repeat(" ", barWidth-full) + "] " + line
		}
	}
	if p.terminal {
		fmt.Fprintf(p.w, "\r\x1b[K%s", line)
		return
	}
	fmt.Fprintln(p.w, line)
}

// end leaves the line of a terminal.
func (p *progress) end() {
	if p.terminal && !p.shown.IsZero() {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

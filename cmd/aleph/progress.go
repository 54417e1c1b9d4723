package main

import (
	"fmt"
	"io"
	"time"
)

// progress shows on a terminal how many bytes of a file have passed.
type progress struct {
	a            *app
	name         string
	began, shown time.Time
	before       int64 // bytes that had passed when it began
	now          func() time.Time
}

// refresh is the time between two looks of a bar.
const refresh = 100 * time.Millisecond

// progressOf returns what shows the way of one file. It says nothing where nobody looks.
func (a *app) progressOf(name string) *progress {
	return &progress{a: a, name: name, began: time.Now(), now: time.Now}
}

// moved tells that done of total bytes have passed; total is 0 when it is not known.
func (p *progress) moved(done, total int64) {
	now := p.now()
	if !p.a.errIsTerminal || now.Sub(p.shown) < refresh {
		return
	}
	p.shown = now
	fmt.Fprintf(p.a.err, "\r\x1b[K%s", p.a.cut(p.a.clean(p.line(done, total, now.Sub(p.began))), p.a.screen()-1))
}

// resumed tells that an upload goes on which broke off when at bytes were there.
func (p *progress) resumed(at int64) {
	p.end()
	p.a.say("%s goes on at %s", p.name, bytesText(at))
	p.began, p.before = p.now(), at
}

func (p *progress) line(done, total int64, after time.Duration) string {
	speed := float64(done-p.before) / max(after.Seconds(), 0.001)
	if total <= 0 {
		return fmt.Sprintf("%s  %s  %s/s", p.name, bytesText(done), bytesText(int64(speed)))
	}
	const length = 20
	full := int(min(done, total) * length / total)
	mark, rest := "━", "╌"
	if !p.a.unicode() {
		mark, rest = "#", "."
	}
	bar := ""
	for i := range length {
		if i < full {
			bar += mark
		} else {
			bar += rest
		}
	}
	left := "?"
	if speed > 0 {
		left = time.Duration(float64(total-done) / speed * float64(time.Second)).Round(time.Second).String()
	}
	return fmt.Sprintf("%s %s of %s  %s/s  %s left  %s", bar, bytesText(done), bytesText(total), bytesText(int64(speed)), left, p.name)
}

// end takes the bar away.
func (p *progress) end() {
	if !p.shown.IsZero() {
		fmt.Fprint(p.a.err, "\r\x1b[K")
	}
}

// bytesText writes a number of bytes as people read it.
func bytesText(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	v, i := float64(n), 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}

// counted is a writer that tells how many bytes it took.
type counted struct {
	w     io.Writer
	n     int64
	moved func(n int64)
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	c.moved(c.n)
	return n, err
}

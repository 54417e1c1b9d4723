package main

import (
	"bytes"
	"fmt"
	"iter"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml"

	"github.com/aleph-im/aleph-go/message"
)

// column is one column of a table of T.
type column[T any] struct {
	name  string
	width int // in a table whose rows are printed as they come; 0 leaves the last one as it is
	cell  func(T) string
}

// screen is how many characters a table may take in a line.
func (a *app) screen() int {
	var columns int
	if _, err := fmt.Sscan(a.getenv("COLUMNS"), &columns); err != nil {
		columns = a.columns
	}
	if columns < 40 { // not known, or not said in earnest
		return 80
	}
	return columns
}

// printTable writes a list: a table for people, list itself for machines.
func printTable[T any](a *app, list []T, columns ...column[T]) error {
	if a.output != "text" {
		return print(a, list, nil)
	}
	if len(list) == 0 {
		a.say("None.")
		return nil
	}
	rows := make([][]string, 0, len(list)+1)
	header := make([]string, len(columns))
	for i, c := range columns {
		header[i] = c.name
	}
	rows = append(rows, header)
	for _, v := range list {
		row := make([]string, len(columns))
		for i, c := range columns {
			row[i] = a.shorten(a.clean(c.cell(v)))
		}
		rows = append(rows, row)
	}
	widths := make([]int, len(columns))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	if !a.wide {
		fit(widths, a.screen())
	}
	for i, row := range rows {
		if err := a.row(row, widths, i == 0); err != nil {
			return err
		}
	}
	return nil
}

const (
	gap      = 2 // spaces between columns
	minWidth = 7 // of a column that was narrowed: as much of a hash as a command takes, and its end
)

// fit narrows the widest columns until a line has no more than limit characters.
func fit(widths []int, limit int) {
	for {
		total, widest := -gap, 0
		for i, w := range widths {
			total += w + gap
			if w > widths[widest] {
				widest = i
			}
		}
		if total <= limit || widths[widest] <= minWidth {
			return
		}
		widths[widest] -= min(total-limit, max(1, widths[widest]-minWidth))
	}
}

func (a *app) row(cells []string, widths []int, header bool) error {
	var b strings.Builder
	for i, cell := range cells {
		if widths[i] > 0 && !a.wide {
			cell = a.cut(cell, widths[i])
		}
		shown := cell
		if header {
			shown = a.paint(a.outIsTerminal, bold, cell)
		}
		b.WriteString(shown)
		if i < len(cells)-1 {
			b.WriteString(strings.Repeat(" ", max(0, widths[i]-utf8.RuneCountInString(cell))+gap))
		}
	}
	_, err := fmt.Fprintln(a.out, strings.TrimRight(b.String(), " "))
	return err
}

// printEach writes a list while it comes in, and returns its first error. A list in JSON that broke off has no end, so that
// nobody takes it for whole.
func printEach[T any](a *app, list iter.Seq2[T, error], columns ...column[T]) error {
	widths := make([]int, len(columns))
	header := make([]string, len(columns))
	for i, c := range columns {
		header[i], widths[i] = c.name, c.width
	}
	if !a.wide {
		fit(widths, a.screen())
	}
	n := 0
	for v, err := range list {
		if err != nil {
			return err
		}
		if err := a.item(v, n); err != nil {
			return err
		}
		if a.output == "text" {
			if n == 0 {
				if err := a.row(header, widths, true); err != nil {
					return err
				}
			}
			cells := make([]string, len(columns))
			for i, c := range columns {
				cells[i] = a.shorten(a.clean(c.cell(v)))
			}
			if err := a.row(cells, widths, false); err != nil {
				return err
			}
		}
		n++
	}
	return a.endItems(n)
}

// item writes the nth member of a list for machines.
func (a *app) item(v any, n int) error {
	if a.output == "text" {
		return nil
	}
	raw, err := encode(v, "  ", a.output == "json")
	if err != nil {
		return err
	}
	switch a.output {
	case "json":
		before := ",\n  "
		if n == 0 {
			before = "[\n  "
		}
		raw = append([]byte(before), bytes.TrimSpace(raw)...)
	case "yaml":
		list := append(append([]byte("["), bytes.TrimSpace(raw)...), ']')
		if raw, err = yaml.JSONToYAML(list); err != nil {
			return fmt.Errorf("write the result: %w", err)
		}
	}
	_, err = a.out.Write(raw)
	return err
}

func (a *app) endItems(n int) error {
	end := ""
	switch {
	case a.output == "text" && n == 0:
		a.say("None.")
	case a.output == "json" && n == 0, a.output == "yaml" && n == 0:
		end = "[]\n"
	case a.output == "json":
		end = "\n]\n"
	}
	_, err := a.out.Write([]byte(end))
	return err
}

// shorten cuts hashes and addresses, which a command takes by their beginning.
func (a *app) shorten(s string) string {
	switch {
	case a.wide || len(s) < 32:
		return s
	case message.Hash(s).Kind() != "":
		return s[:12] + a.ellipsis()
	case len(s) == 42 && strings.HasPrefix(s, "0x"):
		return s[:6] + a.ellipsis() + s[38:]
	}
	return s
}

func (a *app) cut(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	end := a.ellipsis()
	return string([]rune(s)[:width-utf8.RuneCountInString(end)]) + end
}

func (a *app) ellipsis() string {
	if a.unicode() {
		return "…"
	}
	return ".."
}

// unicode reports whether the locale can show more than ASCII.
func (a *app) unicode() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if locale := strings.ToUpper(a.getenv(name)); locale != "" {
			return strings.Contains(locale, "UTF-8") || strings.Contains(locale, "UTF8")
		}
	}
	return false
}

// clean makes text of others safe to print: what would steer the terminal, or what it cannot show, is written as an escape.
func (a *app) clean(s string) string {
	all := a.unicode()
	shown := func(r rune) bool {
		return r == '\n' || r == '\t' || unicode.IsPrint(r) && (all || r < utf8.RuneSelf)
	}
	if strings.IndexFunc(s, func(r rune) bool { return !shown(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case shown(r):
			b.WriteRune(r)
		case r == '…':
			b.WriteString("..")
		default:
			fmt.Fprintf(&b, "\\u%04x", r)
		}
	}
	return b.String()
}

const (
	bold = "1"
	red  = "31"
)

// paint colours text where a person sees it and has not asked for none (NO_COLOR).
func (a *app) paint(toTerminal bool, style, text string) string {
	if !toTerminal || a.getenv("NO_COLOR") != "" || a.getenv("TERM") == "dumb" {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

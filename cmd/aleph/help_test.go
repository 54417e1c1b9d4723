package main

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

func TestHelpFitsTheTerminal(t *testing.T) {
	for columns, env := range map[int]string{80: "", 60: "60"} {
		var all strings.Builder
		a := &app{terminal: terminal{out: &all, getenv: func(name string) string { return map[string]string{"COLUMNS": env}[name] }}}
		_ = eachCommand(a.command(), func(c *cobra.Command) error { // visit returns none
			var b strings.Builder
			a.writeHelp(&b, c)
			text := b.String()
			for _, part := range []string{"\nUsage:\n  " + c.CommandPath(), "\nExamples:\n" + c.Example, "\nFlags"} {
				if !strings.Contains(text, part) {
					t.Errorf("%s: no %q in its help", c.CommandPath(), part)
				}
			}
			kept := c.Example + "\n" + usageLine(c) + "\n" + longOf(c) // calls and what is indented keep their lines
			for _, line := range strings.Split(text, "\n") {
				if utf8.RuneCountInString(line) > columns && !(strings.HasPrefix(line, " ") && strings.Contains(kept, strings.TrimSpace(line))) {
					t.Errorf("%s: %d of %d columns: %s", c.CommandPath(), utf8.RuneCountInString(line), columns, line)
				}
			}
			return nil
		})
	}
}

func TestParagraphsAreWrappedAndCodeIsNot(t *testing.T) {
	const text = "One two three\nfour five.\n\n  kept   as it is, however long\n\nAnd séquoia-trees."
	const want = "One two\nthree four\nfive.\n\n  kept   as it is, however long\n\nAnd\nséquoia-trees."
	if got := reflow(text, 11); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// writeHelp writes what a command is for and how it is called, no wider than the terminal; only examples and calls keep their lines.
func (a *app) writeHelp(w io.Writer, c *cobra.Command) {
	width := a.screen()
	fmt.Fprintf(w, "%s\n\nUsage:\n  %s\n", reflow(longOf(c), width), usageLine(c))
	if len(c.Aliases) > 0 {
		fmt.Fprintf(w, "\nAlso called:\n  %s\n", strings.Join(c.Aliases, ", "))
	}
	if c.Example != "" {
		fmt.Fprintf(w, "\nExamples:\n%s\n", c.Example)
	}
	if subs := c.Commands(); len(subs) > 0 {
		longest := 0
		for _, sub := range subs {
			longest = max(longest, len(sub.Name()))
		}
		fmt.Fprint(w, "\nCommands:\n")
		for _, sub := range subs {
			if sub.IsAvailableCommand() {
				short := strings.ReplaceAll(wrap(sub.Short, width-longest-4), "\n", "\n"+strings.Repeat(" ", longest+4))
				fmt.Fprintf(w, "  %-*s  %s\n", longest, sub.Name(), short)
			}
		}
	}
	flags := c.LocalFlags() // of the whole tool, at its root
	if c.HasParent() {
		flags = c.LocalNonPersistentFlags()
	}
	if flags.HasAvailableFlags() {
		fmt.Fprintf(w, "\nFlags:\n%s", flags.FlagUsagesWrapped(width))
	}
	if c.HasParent() {
		var names []string
		c.InheritedFlags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
		fmt.Fprintf(w, "\n%s\n", wrap("Flags of every command, which aleph --help explains: "+strings.Join(names, " "), width))
	}
	if c.HasAvailableSubCommands() {
		fmt.Fprintf(w, "\n%s\n", wrap("More of one of them: "+c.CommandPath()+" COMMAND --help", width))
	}
}

// reflow wraps each paragraph of a text. Lines that are indented stay as they are.
func reflow(text string, width int) string {
	paragraphs := strings.Split(text, "\n\n")
	for i, p := range paragraphs {
		if !strings.HasPrefix(p, " ") && !strings.Contains(p, "\n ") {
			paragraphs[i] = wrap(p, width)
		}
	}
	return strings.Join(paragraphs, "\n\n")
}

// wrap puts the words of a text in lines of at most width characters, or of one word.
func wrap(text string, width int) string {
	var b strings.Builder
	column := 0
	for _, word := range strings.Fields(text) {
		length := utf8.RuneCountInString(word)
		switch {
		case column == 0:
		case column+1+length > width:
			b.WriteByte('\n')
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += length
	}
	return b.String()
}

package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/aleph-im/aleph-go/internal/build"
)

func (a *app) docsCommand() *cobra.Command {
	return group("docs", "Write this help down", "  aleph docs man man", a.docsMan(), a.docsMarkdown())
}

func (a *app) docsMarkdown() *cobra.Command {
	return &cobra.Command{
		Use: "markdown", Short: "Print all commands as one page of Markdown", Args: cobra.NoArgs,
		Example: "  aleph docs markdown > cli.md",
		RunE: func(*cobra.Command, []string) error {
			writeMarkdown(a.out, commandTree())
			return nil
		},
	}
}

// commandTree is all commands as they are before one is run, with nothing set in the environment.
func commandTree() *cobra.Command {
	a := &app{terminal: terminal{getenv: func(string) string { return "" }}}
	return a.command()
}

func (a *app) docsMan() *cobra.Command {
	return &cobra.Command{
		Use: "man FOLDER", Short: "Write a manual page for each command", Args: cobra.ExactArgs(1),
		Example: "  aleph docs man man",
		RunE: func(cmd *cobra.Command, args []string) error {
			pages := 0
			err := eachCommand(cmd.Root(), func(c *cobra.Command) error {
				var page strings.Builder
				writeMan(&page, c)
				pages++
				name := strings.ReplaceAll(c.CommandPath(), " ", "-") + ".1"
				return replaceFile(filepath.Join(args[0], name), 0o644, []byte(page.String()))
			})
			if err != nil {
				return fmt.Errorf("write manual pages: %w", err)
			}
			type view struct {
				Folder string `json:"folder"`
				Pages  int    `json:"pages"`
			}
			return print(a, view{args[0], pages}, func(w io.Writer, v view) {
				fmt.Fprintf(w, "%d pages\tman -l %s\n", v.Pages, filepath.Join(v.Folder, "aleph.1"))
			})
		},
	}
}

// eachCommand visits a command and those below it, in the order in which they were added.
func eachCommand(c *cobra.Command, visit func(*cobra.Command) error) error {
	if c.Hidden {
		return nil
	}
	if err := visit(c); err != nil {
		return err
	}
	for _, sub := range c.Commands() {
		if err := eachCommand(sub, visit); err != nil {
			return err
		}
	}
	return nil
}

// usageLine is how a command is called.
func usageLine(c *cobra.Command) string {
	if c.HasSubCommands() {
		return c.CommandPath() + " COMMAND"
	}
	return c.UseLine()
}

func longOf(c *cobra.Command) string {
	if c.Long != "" {
		return c.Long
	}
	return c.Short + "."
}

// flagText is a flag as it is typed, and what it does.
func flagText(f *pflag.Flag) (typed, does string) {
	kind, does := pflag.UnquoteUsage(f)
	typed = "--" + f.Name
	if f.Shorthand != "" {
		typed = "-" + f.Shorthand + ", " + typed
	}
	if kind != "" {
		typed += " " + kind
	}
	switch f.DefValue {
	case "", "false", "0", "[]", "0s":
	default:
		does += " (default " + f.DefValue + ")"
	}
	return typed, does
}

func writeMarkdown(w io.Writer, root *cobra.Command) {
	fmt.Fprint(w, "# aleph on the command line\n\nWritten by `aleph docs markdown`; a test runs the examples. Words in capitals are yours to replace.\n\n")
	fmt.Fprintf(w, "%s\n\n## Flags of every command\n\n", longOf(root))
	writeFlags(w, root.PersistentFlags())
	for _, c := range root.Commands() {
		fmt.Fprintf(w, "## aleph %s\n\n", c.Name())
		_ = eachCommand(c, func(sub *cobra.Command) error { // visit returns none
			if sub != c {
				fmt.Fprintf(w, "### %s\n\n", sub.CommandPath())
			}
			fmt.Fprintf(w, "%s\n\n```sh\n%s\n```\n\n", longOf(sub), unindent(sub.Example))
			if !sub.HasSubCommands() {
				fmt.Fprintf(w, "    %s\n\n", usageLine(sub))
			}
			writeFlags(w, sub.LocalNonPersistentFlags())
			return nil
		})
	}
}

func unindent(example string) string {
	lines := strings.Split(example, "\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], "  ")
	}
	return strings.Join(lines, "\n")
}

func writeFlags(w io.Writer, flags *pflag.FlagSet) {
	begun := false
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		if !begun {
			fmt.Fprint(w, "| Flag | |\n|---|---|\n")
		}
		begun = true
		typed, does := flagText(f)
		fmt.Fprintf(w, "| `%s` | %s |\n", typed, strings.ReplaceAll(does, "|", "\\|"))
	})
	if begun {
		fmt.Fprintln(w)
	}
}

// writeMan writes a page in the form of man(7).
func writeMan(w io.Writer, c *cobra.Command) {
	name := strings.ReplaceAll(c.CommandPath(), " ", "-")
	fmt.Fprintf(w, ".TH %q 1 \"\" \"aleph %s\" \"Aleph\"\n", strings.ToUpper(name), build.Version())
	fmt.Fprintf(w, ".SH NAME\n%s \\- %s\n.SH SYNOPSIS\n.B %s\n.SH DESCRIPTION\n%s\n", roff(name), roff(c.Short), roff(usageLine(c)), paragraphs(longOf(c)))
	options := func(title string, flags *pflag.FlagSet) {
		var b strings.Builder
		flags.VisitAll(func(f *pflag.Flag) {
			if !f.Hidden && f.Name != "help" {
				typed, does := flagText(f)
				fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff(typed), roff(does))
			}
		})
		if b.Len() > 0 {
			fmt.Fprintf(w, ".SH %s\n%s", title, b.String())
		}
	}
	options("OPTIONS", c.LocalNonPersistentFlags())
	options("OPTIONS OF EVERY COMMAND", c.Root().PersistentFlags())
	if subs := c.Commands(); len(subs) > 0 {
		fmt.Fprint(w, ".SH COMMANDS\n")
		for _, sub := range subs {
			fmt.Fprintf(w, ".TP\n.B %s\n%s\n", roff(sub.Name()), roff(sub.Short))
		}
	}
	fmt.Fprintf(w, ".SH EXAMPLES\n.nf\n%s\n.fi\n", roff(unindent(c.Example)))
}

// roff writes text so that man(7) shows it as it is.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}

func paragraphs(text string) string { return strings.ReplaceAll(roff(text), "\n\n", "\n.PP\n") }

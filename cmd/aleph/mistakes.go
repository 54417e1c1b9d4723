package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// group is a command that only holds others.
func group(use, short, example string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Example: example, RunE: holds, SuggestionsMinimumDistance: 2}
	c.AddCommand(commands...)
	return c
}

// holds runs a command that only holds others: what is left of its arguments is none of them.
func holds(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return c.Help()
	}
	text := fmt.Sprintf("unknown command %q for %q", args[0], c.CommandPath())
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		text += "; did you mean: " + strings.Join(near, ", ") + "?"
	} else {
		var names []string
		for _, sub := range c.Commands() {
			names = append(names, sub.Name())
		}
		text += "; there are: " + strings.Join(names, ", ")
	}
	return usageError{errors.New(text)}
}

// flagMistake says what may have been meant by a flag that a command does not have.
func flagMistake(c *cobra.Command, err error) error {
	if args := c.Flags().Args(); c.HasSubCommands() && len(args) > 0 {
		return holds(c, args) // the flag is of the command that was meant
	}
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) || len(unknown.GetSpecifiedShortnames()) > 0 {
		return err
	}
	if near := flagsNear(c, unknown.GetSpecifiedName()); len(near) > 0 {
		return fmt.Errorf("%w; did you mean: %s?", err, strings.Join(near, ", "))
	}
	return err
}

// flagsNear are the flags of a command that a name is a slip for, or the beginning of.
func flagsNear(c *cobra.Command, name string) (near []string) {
	flags := &cobra.Command{SuggestionsMinimumDistance: 2} // cobra measures how near names of commands are
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			flags.AddCommand(&cobra.Command{Use: f.Name, Run: func(*cobra.Command, []string) {}})
		}
	})
	for _, flag := range flags.SuggestionsFor(name) {
		near = append(near, "--"+flag)
	}
	if name == "json" { // as older tools call it
		near = append(near, "--output json")
	}
	return near
}

package main

import (
	"errors"
	"fmt"
	"strconv"
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

// wants is what a value of a flag has to be, by the type of the flag.
var wants = map[string]string{"duration": "want a time such as 90s, 5m or 24h", "bool": "want true or false", "uint32": "want a whole number"}

// flagMistake says what may have been meant by a flag that a command does not have, and what the value of one that it has must be.
func flagMistake(c *cobra.Command, err error) error {
	if args := c.Flags().Args(); c.HasSubCommands() && len(args) > 0 {
		return holds(c, args) // the flag is of the command that was meant
	}
	var wrong *pflag.InvalidValueError
	if errors.As(err, &wrong) {
		want, ok := wants[wrong.GetFlag().Value.Type()]
		if !ok {
			want = wrong.Unwrap().Error()
		}
		return fmt.Errorf("--%s %s: %s", wrong.GetFlag().Name, wrong.GetValue(), want)
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

// number is a flag whose value is a whole number.
type number struct {
	to    *int
	least int
}

func (n number) String() string {
	if n.to == nil {
		return "0"
	}
	return strconv.Itoa(*n.to)
}

func (n number) Type() string { return "int" }

func (n number) Set(text string) error {
	v, err := strconv.Atoi(text)
	if err != nil || v < n.least {
		return fmt.Errorf("want a whole number, at least %d", n.least)
	}
	*n.to = v
	return nil
}

// whole adds a flag whose value is a whole number that is not less than least.
func whole(flags *pflag.FlagSet, to *int, name string, least, usual int, usage string) {
	*to = usual
	flags.Var(number{to, least}, name, usage)
}

// tellArguments has the commands below c say which argument lacks, or is too much.
func tellArguments(c *cobra.Command) {
	for _, sub := range c.Commands() {
		tellArguments(sub)
	}
	check := c.Args
	if check == nil || c.HasSubCommands() {
		return
	}
	c.Args = func(c *cobra.Command, args []string) error {
		err := check(c, args)
		if err == nil {
			return nil
		}
		words := strings.Fields(c.Use)[1:]
		for i, word := range words {
			if i >= len(args) && !strings.HasPrefix(word, "[") {
				return fmt.Errorf("%s is missing", strings.TrimSuffix(word, "..."))
			}
		}
		if len(args) > len(words) {
			return fmt.Errorf("%q is too much; quotes keep words together", args[len(words)])
		}
		if len(c.ValidArgs) > 0 {
			return fmt.Errorf("%s %s: want one of %s", words[0], args[0], strings.Join(c.ValidArgs, ", "))
		}
		return err
	}
}

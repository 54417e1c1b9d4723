// Package config reads the options of a daemon from flags, the environment and a YAML file. An option has one name in all
// three: the flag --http-listen is the variable ALEPHD_HTTP_LISTEN and the key http-listen. Flags win over the
// environment, the environment over the file, the file over the defaults. The commands of cmd/alephd call it.
package config

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/goccy/go-yaml"
)

// Source says where the value of an option comes from.
type Source string

const (
	FromDefault Source = "default"
	FromFile    Source = "file"
	FromEnv     Source = "env"
	FromFlag    Source = "flag"
)

// Set is the options of one command.
type Set struct {
	command string
	prefix  string // of environment variables
	options []*option

	wanted    []string // names of the arguments that are no options
	arguments []string
}

type option struct {
	name   string
	short  string // flag of one letter; usually none
	doc    string
	value  reflect.Value
	source Source
}

// New describes the options that the fields of *dst are. A field has the tags name and doc; its type is string, bool,
// int, time.Duration or []string, and what it holds is the default. A list is written with commas, in YAML also as a
// list. The tag short gives a flag of one letter as well. The fields of an embedded struct count as fields of *dst. New
// panics when dst has another shape, which is a mistake in the program.
func New(command, envPrefix string, dst any) *Set {
	s := &Set{command: command, prefix: envPrefix}
	s.add(reflect.ValueOf(dst).Elem())
	return s
}

func (s *Set) add(v reflect.Value) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Anonymous {
			s.add(v.Field(i))
			continue
		}
		name, doc := f.Tag.Get("name"), f.Tag.Get("doc")
		if name == "" || doc == "" {
			panic("config: field " + f.Name + " needs the tags name and doc")
		}
		o := &option{name: name, short: f.Tag.Get("short"), doc: doc, value: v.Field(i), source: FromDefault}
		if err := o.set(o.String()); err != nil {
			panic("config: field " + f.Name + ": " + err.Error())
		}
		s.options = append(s.options, o)
	}
}

// Takes says that the command needs arguments besides its options, such as a folder. It returns s.
func (s *Set) Takes(names ...string) *Set {
	s.wanted = names
	return s
}

// Argument returns the i-th of the arguments that [Set.Takes] named, after Load.
func (s *Set) Argument(i int) string { return s.arguments[i] }

// Load reads the options: from the file that the flag --config or the variable PREFIX_CONFIG names, from the environment,
// from args. It returns flag.ErrHelp after printing the help to out when args ask for it. getenv is os.LookupEnv outside
// of tests.
func (s *Set) Load(args []string, getenv func(string) (string, bool), out io.Writer) error {
	flags := flag.NewFlagSet(s.command, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	given := make(map[string]string)
	path := flags.String("config", "", "")
	for _, o := range s.options {
		flags.Var(&flagValue{o, given}, o.name, "")
		if o.short != "" {
			flags.Var(&flagValue{o, given}, o.short, "")
		}
	}
	if err := s.parse(flags, args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			s.help(out)
			return err
		}
		if name, ok := strings.CutPrefix(err.Error(), "flag provided but not defined: -"); ok {
			return fmt.Errorf("unknown flag --%s: did you mean --%s?", name, s.nearest(name))
		}
		return err
	}
	if len(s.arguments) > len(s.wanted) {
		return fmt.Errorf("unexpected argument %q: options start with --", s.arguments[len(s.wanted)])
	}
	if len(s.arguments) < len(s.wanted) {
		return fmt.Errorf("%s is missing: the command is %s %s", s.wanted[len(s.arguments)], s.command, strings.Join(s.wanted, " "))
	}
	if *path == "" {
		*path, _ = getenv(s.variable("config"))
	}
	if *path != "" {
		if err := s.readFile(*path); err != nil {
			return err
		}
	}
	for _, o := range s.options {
		if text, ok := getenv(s.variable(o.name)); ok {
			if err := o.assign(text, FromEnv); err != nil {
				return fmt.Errorf("environment variable %s: %w", s.variable(o.name), err)
			}
		}
		if text, ok := given[o.name]; ok {
			if err := o.assign(text, FromFlag); err != nil {
				return fmt.Errorf("flag --%s: %w", o.name, err)
			}
		}
	}
	return nil
}

// parse reads flags and arguments in any order.
func (s *Set) parse(flags *flag.FlagSet, args []string) error {
	s.arguments = nil
	for {
		if err := flags.Parse(args); err != nil {
			return err
		}
		if args = flags.Args(); len(args) == 0 {
			return nil
		}
		s.arguments = append(s.arguments, args[0])
		args = args[1:]
	}
}

// Passwords that values can hold: in a URL before its host, with whatever characters, and as a parameter.
var (
	passwordInURL       = regexp.MustCompile(`(://[^:/?@\s,]*:)[^\s,]*@`)
	passwordAsParameter = regexp.MustCompile(`(?i)((?:password|passwd|secret)=)[^&\s,]*`)
)

// redacted returns a value as it may be shown.
func redacted(value string) string {
	return passwordAsParameter.ReplaceAllString(passwordInURL.ReplaceAllString(value, "${1}***@"), "${1}***")
}

// Print writes what is in force and where each value comes from. Passwords are not shown.
func (s *Set) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "OPTION\tVALUE\tFROM")
	for _, o := range s.options {
		fmt.Fprintf(t, "%s\t%s\t%s\n", o.name, redacted(o.String()), o.source)
	}
	return t.Flush()
}

func (s *Set) help(w io.Writer) {
	fmt.Fprintf(w, "Usage: %s [options]\n\nEach option is also an environment variable (%s for --%s)\nand a key of the YAML file given with --config.\n\n",
		strings.Join(append([]string{s.command}, s.wanted...), " "), s.variable(s.options[0].name), s.options[0].name)
	for _, o := range s.options {
		short := ""
		if o.short != "" {
			short = ", -" + o.short
		}
		fmt.Fprintf(w, "  --%s%s\n        %s", o.name, short, o.doc)
		if text := o.String(); text != "" && text != "false" && text != "0" {
			fmt.Fprintf(w, " (default %s)", text)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w, "  --config\n        YAML file with options")
}

func (s *Set) variable(name string) string {
	return s.prefix + "_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

func (s *Set) readFile(path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	var members map[string]any
	if err := yaml.Unmarshal(raw, &members); err != nil {
		// Without the lines around: they may hold secrets, or what a terminal obeys.
		return fmt.Errorf("configuration %s is not valid YAML: %s", path, yaml.FormatError(err, false, false))
	}
	for name, value := range members {
		i := slices.IndexFunc(s.options, func(o *option) bool { return o.name == name })
		if i < 0 {
			return fmt.Errorf("configuration %s: unknown key %q: did you mean %q?", path, name, s.nearest(name))
		}
		text, err := yamlText(value)
		if err == nil {
			err = s.options[i].assign(text, FromFile)
		}
		if err != nil {
			return fmt.Errorf("configuration %s: key %q: %w", path, name, err)
		}
	}
	return nil
}

func yamlText(value any) (string, error) {
	switch v := value.(type) {
	case nil:
		return "", nil
	case []any:
		var items []string
		for _, item := range v {
			text, err := yamlText(item)
			if err != nil {
				return "", err
			}
			items = append(items, text)
		}
		return strings.Join(items, ","), nil
	case map[string]any:
		return "", errors.New("want a value or a list, not a mapping")
	}
	return fmt.Sprint(value), nil
}

func (o *option) assign(text string, from Source) error {
	if err := o.set(text); err != nil {
		return err
	}
	o.source = from
	return nil
}

func (o *option) set(text string) error {
	switch p := o.value.Addr().Interface().(type) {
	case *string:
		*p = text
	case *[]string:
		*p = nil
		for item := range strings.SplitSeq(text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				*p = append(*p, item)
			}
		}
	case *bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		*p = b
	case *int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%q is no whole number", text)
		}
		*p = n
	case *time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q is no duration: want something like 30s or 5m", text)
		}
		*p = d
	default:
		return fmt.Errorf("options of type %s are not supported", o.value.Type())
	}
	return nil
}

func (o *option) String() string {
	if list, ok := o.value.Interface().([]string); ok {
		return strings.Join(list, ",")
	}
	return fmt.Sprint(o.value.Interface())
}

// flagValue keeps what a flag says until the weaker sources were read.
type flagValue struct {
	o     *option
	given map[string]string
}

func (f *flagValue) Set(text string) error { f.given[f.o.name] = text; return nil }

func (f *flagValue) IsBoolFlag() bool { return f.o != nil && f.o.value.Kind() == reflect.Bool }

func (f *flagValue) String() string { return "" }

// nearest returns the option whose name takes the fewest edits to become name.
func (s *Set) nearest(name string) string {
	best, fewest := "config", edits(name, "config")
	for _, o := range s.options {
		if n := edits(name, o.name); n < fewest {
			best, fewest = o.name, n
		}
	}
	return best
}

// edits is the Levenshtein distance.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

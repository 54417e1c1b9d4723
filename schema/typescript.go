package schema

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// typescript lists the types of the TypeScript SDK, in the order in which they are read best. A definition that is not
// among them is written out where it is used.
var typescript = []declaration{
	{name: "Hash"},
	{name: "Chain", open: true},
	{name: "MessageType", of: []string{"Type"}},
	{name: "ItemType"},
	{name: "PaymentType"},
	{name: "Envelope", sent: []string{"channel"}},

	{name: "PostContent", of: []string{"Post"}},
	{name: "PostReference"},
	{name: "AggregateContent", of: []string{"Aggregate"}},
	{name: "StoreContent", of: []string{"Store"}},
	{name: "Payment"},
	{name: "ForgetContent", of: []string{"Forget"}},
	{name: "Executable"},
	{name: "Resources"},
	{name: "PublishedPort"},
	{name: "Requirements"},
	{name: "GPURequirement"},
	{name: "Volume"},
	{name: "ImmutableVolume"},
	{name: "EphemeralVolume"},
	{name: "PersistentVolume"},
	{name: "ParentVolume"},
	{name: "ProgramContent", of: []string{"Program"}},
	{name: "ArchiveEncoding"},
	{name: "ProgramEnvironment"},
	{name: "InstanceContent", of: []string{"Instance"}},
	{name: "InstanceEnvironment"},
	{name: "TrustedExecution"},
	{name: "Measurement"},
	{name: "VProgramContent", of: []string{"VProgram"}},
	{name: "VerifiedFile"},
	{name: "VerifiedVolume"},

	{name: "Confirmation"},
	{name: "Message", of: []string{"Message", "ListedMessage"}, says: "A message that is processed", sent: []string{"content"}},
	{name: "PendingMessage"},
	{name: "Remains"},
	{name: "RemovalReason"},
	{name: "MessageInfo", of: []string{"MessageWithStatus"}},
	{name: "MessageStatus", of: []string{"Status"}},
	{name: "Post", of: []string{"PostV1"}, free: []string{"content"}},
	{name: "PostV0", free: []string{"content"}},
	{name: "FileVersion"},
	{name: "OwnedFile"},
	{name: "Balance"},
	{name: "CreditLot"},
	{name: "CreditEntry"},
	{name: "CreditSummary"},
	{name: "Price"},
	{name: "CostLine"},
	{name: "Allocation", absent: []string{"ccn"}},
	{name: "PlacedNode", of: []string{"PlanNode"}},
	{name: "Period"},

	{name: "NodeDetails"},
	{name: "CoreNodeDetails"},
	{name: "ComputeNodeDetails"},
	{name: "RegisteredNode"},
	{name: "CoreNode"},
	{name: "ComputeNodeEntry", of: []string{"ComputeNode"}},
	{name: "RegisteredNodes"},
	{name: "Authorization"},
	{name: "DomainTarget"},
	{name: "PortUse"},
	{name: "ForwardedPorts"},
	{name: "Website"},

	{name: "MappedPort"},
	{name: "Networking", absent: networking},
	{name: "Execution", absent: []string{"awaiting_confidential_init"}},
	{name: "LogLine", absent: []string{"SYSLOG_IDENTIFIER"}},
	{name: "LiveLine"},
	{name: "Backup"},
}

// TypeScript returns the types of the TypeScript SDK as a module.
func TypeScript() ([]byte, error) {
	all, err := readShapes()
	if err != nil {
		return nil, err
	}
	w := typescriptWriter{all: all, declarations: typescript}
	w.line("// Made from the schemas of the network by cmd/aleph-schema. What is wrong here is mended there.")
	for _, d := range w.declarations {
		w.declare(d)
	}
	return []byte(w.text.String()), nil
}

type typescriptWriter struct {
	all          shapes
	declarations []declaration
	text         strings.Builder
}

func (w *typescriptWriter) line(format string, arguments ...any) {
	fmt.Fprintf(&w.text, format+"\n", arguments...)
}

func (w *typescriptWriter) declare(d declaration) {
	s := w.all[d.definitions()[0]]
	if choice := w.all.choiceOf(s); choice.member != "" {
		w.choice(d, s, choice)
		return
	}
	w.line("")
	w.text.WriteString(typescriptDoc(d.description(s), ""))
	switch {
	case s.Properties != nil && s.OneOf != nil:
		w.line("export type %s = %s;", d.name, w.alternatives(s))
	case s.Properties != nil || s.AllOf != nil:
		name, extends := d.name, ""
		members := w.all.either(d.definitions())
		if d.free != nil {
			name += "<T = unknown>"
			for i := range members {
				if slices.Contains(d.free, members[i].name) {
					members[i].shape = &shape{Ref: "T", Description: members[i].shape.Description}
				}
			}
		}
		if parent := w.parent(s); parent != "" {
			extends = " extends " + w.name(parent)
			members = slices.DeleteFunc(members, func(m member) bool { return !w.says(s, m) })
		}
		w.line("export interface %s%s {", name, extends)
		w.text.WriteString(w.members(d.adjust(members), "  "))
		w.line("}")
	case d.open:
		w.line("export type %s =%s\n  | (string & {});", d.name, broken(w.typeOf(s, ""), "", 0))
	default:
		w.line("export type %s = %s;", d.name, w.typeOf(s, ""))
	}
}

// parent is the definition that an object adds to, when that is a type of the SDK.
func (w *typescriptWriter) parent(s *shape) string {
	if len(s.AllOf) > 0 && s.AllOf[0].Ref != "" && w.name(s.AllOf[0].target()) != "" {
		return s.AllOf[0].target()
	}
	return ""
}

// says tells whether an object has a word of its own on the type of a member that it may have inherited.
func (w *typescriptWriter) says(s *shape, m member) bool {
	return slices.ContainsFunc(s.Properties, func(own member) bool { return own.name == m.name && !own.shape.untyped() })
}

// choice writes a type whose one member tells what another is: a map of the types of that one, an interface for each, and
// the union of them.
func (w *typescriptWriter) choice(d declaration, s *shape, c choice) {
	w.line("\n/** The %s of each %s of message. */\nexport interface AnyContent {", c.member, c.by)
	for _, o := range c.cases {
		w.line("  %s: %s;", typescriptName(o.value), w.typeOf(o.shape, ""))
	}
	w.line("}\n")
	w.text.WriteString(typescriptDoc(d.description(s)+", of one "+c.by, ""))
	w.line("export interface %sOf<T extends keyof AnyContent> {", d.name)
	members := w.all.either(d.definitions())
	for i := range members {
		switch m := &members[i]; m.name {
		case c.by:
			m.shape = &shape{Ref: "T"}
		case c.member:
			m.shape = &shape{Ref: "AnyContent[T]"}
		}
	}
	w.text.WriteString(w.members(d.adjust(members), "  "))
	w.line("}\n")
	w.text.WriteString(typescriptDoc(d.description(s)+", of any "+c.by, ""))
	w.line("export type %s = { [T in keyof AnyContent]: %sOf<T> }[keyof AnyContent];", d.name, d.name)
}

// alternatives writes an object that has further members, which depend on one that all have.
func (w *typescriptWriter) alternatives(s *shape) string {
	var text strings.Builder
	common := slices.DeleteFunc(slices.Clone(w.all.join(nil, s.Properties, s.Required)), func(m member) bool {
		return slices.ContainsFunc(s.OneOf[0].Properties, func(own member) bool { return own.name == m.name })
	})
	fmt.Fprintf(&text, "%s & (\n", w.object(common, ""))
	for _, one := range s.OneOf {
		members := w.all.join(nil, one.Properties, append(slices.Clone(one.Required), s.Required...))
		fmt.Fprintf(&text, "  | %s\n", w.object(members, "    "))
	}
	return text.String() + ")"
}

// members writes members, a line each, with what is said of them.
func (w *typescriptWriter) members(members []member, indent string) string {
	var text strings.Builder
	for _, m := range members {
		text.WriteString(typescriptDoc(w.doc(m.shape), indent))
		fmt.Fprintf(&text, "%s%s:%s;\n", indent, mark(m), broken(w.typeOf(m.shape, indent), indent, lineWidth))
	}
	return text.String()
}

func mark(m member) string {
	if m.optional {
		return typescriptName(m.name) + "?"
	}
	return typescriptName(m.name)
}

// doc is what is said of a member: its own description, or that of a definition that is written out in its place, and the
// unit of times that are numbers.
func (w *typescriptWriter) doc(s *shape) string {
	text, written := s.Description, s
	if s.Ref != "" && w.all[s.target()] != nil && w.name(s.target()) == "" {
		written = w.all[s.target()]
	}
	if text == "" {
		text = written.Description
	}
	switch {
	case written.Format != "unix-time":
		return text
	case text == "":
		return "Unix seconds"
	}
	return text + " (Unix seconds)"
}

// name is the type of the SDK that a definition became, "" for none.
func (w *typescriptWriter) name(definition string) string {
	i := slices.IndexFunc(w.declarations, func(d declaration) bool { return d.definitions()[0] == definition })
	if i < 0 {
		return ""
	}
	return w.declarations[i].name
}

// typeOf writes the type of a value. indent is that of the line in which it stands.
func (w *typescriptWriter) typeOf(s *shape, indent string) string {
	if s.Ref != "" {
		definition := w.all[s.target()]
		if definition == nil {
			return s.Ref // a type of TypeScript's own
		}
		if name := w.name(s.target()); name != "" {
			return name
		}
		return w.typeOf(definition, indent)
	}
	if base := w.all.base(s); base != nil {
		return w.typeOf(base, indent)
	}
	if s.Const != nil {
		return string(s.Const)
	}
	var options []string
	for _, value := range s.Enum {
		options = append(options, string(value))
	}
	if s.Properties == nil {
		for _, option := range slices.Concat(s.AnyOf, s.OneOf) {
			options = append(options, w.typeOf(option, indent))
		}
	}
	if s.Enum == nil {
		for _, kind := range s.kinds() {
			options = append(options, w.kind(s, kind, indent))
		}
	}
	if slices.Contains(options, "number") { // what comes as text, too, is a number where the SDK asks for it
		options = slices.DeleteFunc(options, func(o string) bool { return o == "string" })
	}
	if len(options) == 0 {
		return "unknown"
	}
	var once []string
	for _, option := range options {
		if !slices.Contains(once, option) {
			once = append(once, option)
		}
	}
	return strings.Join(once, " | ")
}

func (w *typescriptWriter) kind(s *shape, kind, indent string) string {
	switch kind {
	case "integer":
		return "number"
	case "array":
		item := "unknown"
		if s.Items != nil {
			item = w.typeOf(s.Items, indent)
		}
		if strings.ContainsAny(item, "|&") && !strings.HasPrefix(item, "{") {
			item = "(" + item + ")"
		}
		return item + "[]"
	case "object":
		if members := w.all.members(s); members != nil {
			return w.object(members, indent)
		}
		if s.AdditionalProperties != nil && !s.AdditionalProperties.nothing {
			return "Record<string, " + w.typeOf(s.AdditionalProperties, indent) + ">"
		}
		return "Record<string, unknown>"
	}
	return kind
}

// object writes an object in place: on one line when it is short and nothing is said of its members.
func (w *typescriptWriter) object(members []member, indent string) string {
	var parts []string
	silent := true
	for _, m := range members {
		silent = silent && w.doc(m.shape) == ""
		parts = append(parts, mark(m)+": "+w.typeOf(m.shape, indent+"  "))
	}
	if line := "{ " + strings.Join(parts, "; ") + " }"; silent && len(line) <= lineWidth && !strings.Contains(line, "\n") {
		return line
	}
	return "{\n" + w.members(members, indent+"  ") + indent + "}"
}

// broken writes a type after a colon or an equals sign: as it is when it is short enough, else as lines of a union.
func broken(typ, indent string, width int) string {
	if len(typ) <= width || !strings.Contains(typ, " | ") || strings.ContainsAny(typ, "{(") {
		return " " + typ
	}
	options := "|~" + strings.ReplaceAll(typ, " | ", " |~") // a bar stays with what follows
	return "\n" + indent + "  " + strings.ReplaceAll(strings.Join(wrap(options, lineWidth), "\n"+indent+"  "), "~", " ")
}

// typescriptName writes the name of a member, in quotes where it needs them.
func typescriptName(name string) string {
	if strings.Contains(name, "-") {
		quoted, _ := json.Marshal(name) // a text can be written
		return string(quoted)
	}
	return name
}

func typescriptDoc(description, indent string) string {
	if description == "" {
		return ""
	}
	lines := wrap(sentence(description), lineWidth-len(indent))
	if len(lines) == 1 {
		return fmt.Sprintf("%s/** %s */\n", indent, lines[0])
	}
	return fmt.Sprintf("%s/**\n%[1]s * %s\n%[1]s */\n", indent, strings.Join(lines, "\n"+indent+" * "))
}

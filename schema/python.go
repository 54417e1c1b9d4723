package schema

import (
	"fmt"
	"slices"
	"strings"
)

// python lists the records of the Python SDK, and the lists of words. A definition that is not among them is a mapping
// where it is used.
var python = []declaration{
	{name: "MessageType", of: []string{"Type"}},
	{name: "ItemType"},
	{name: "PaymentType"},
	{name: "Status"},
	{name: "Confirmation"},
	{
		name: "Message", of: []string{"Message", "ListedMessage"}, says: "A processed message as a node shows it", free: []string{"content"},
		absent: []string{"item_content", "channel", "confirmed", "confirmations"},
	},
	{name: "MessageStatus"},
	{name: "Post", of: []string{"PostV1"}, free: []string{"content", "ref"}},
	{name: "PostV0", free: []string{"content", "ref"}},
	{name: "Aggregate", of: []string{"ListedAggregate"}},
	{name: "OwnedFile"},
	{name: "FileVersion"},
	{name: "CreditLot"},
	{name: "Balance", absent: []string{"credit_balance_details"}},
	{name: "CreditEntry", absent: []string{"expense_count", "expense_size_mib"}},
	{name: "CreditSummary"},
	{name: "PriceLine", of: []string{"CostLine"}, absent: []string{"size_mib"}},
	{name: "Price", absent: []string{"charged_address", "detail"}},
	{name: "AllocatedNode", of: []string{"PlanNode"}, absent: []string{"name", "url", "ipv6", "supports_ipv6"}},
	{name: "Period"},
	{name: "Allocation", absent: []string{"vm_ipv6", "ccn"}},
	{name: "CoreNode", absent: saidOfNodes},
	{name: "ComputeNode", absent: append([]string{"type", "parent"}, saidOfNodes...)},
	{name: "RegisteredNodes"},
	{name: "Website", absent: []string{"metadata", "history", "ens", "created_at", "updated_at"}},
	{name: "MappedPort", absent: []string{"tcp", "udp"}},
	{name: "Networking", absent: networking},
	{name: "Execution", absent: []string{"awaiting_confidential_init"}},
	{name: "Backup", absent: []string{"volumes"}},
}

// saidOfNodes are members that not every registry has of each node.
var saidOfNodes = []string{
	"description", "picture", "banner", "manager", "stream_reward", "multiaddress", "address", "locked", "authorized", "registration_url",
	"terms_and_conditions", "score_updated", "inactive_since",
}

// Python returns the records of the Python SDK as a module.
func Python() ([]byte, error) {
	all, err := readShapes()
	if err != nil {
		return nil, err
	}
	w := pythonWriter{all: all, declarations: python}
	w.text.WriteString(`"""What nodes answer, made from the schemas of the network by cmd/aleph-schema. What is wrong here is mended there."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from .record import Record

`)
	for _, d := range w.declarations {
		w.declare(d)
	}
	return []byte(w.text.String()), nil
}

type pythonWriter struct {
	all          shapes
	declarations []declaration
	text         strings.Builder
}

func (w *pythonWriter) line(format string, arguments ...any) {
	fmt.Fprintf(&w.text, format+"\n", arguments...)
}

func (w *pythonWriter) declare(d declaration) {
	s := w.all[d.definitions()[0]]
	if s.Enum != nil {
		w.line("%s = %s", d.name, w.typeOf(s))
		w.docstring(s.Description, "")
		return
	}
	w.line("\n\n@dataclass(frozen=True, kw_only=True)\nclass %s(Record):", d.name)
	if text := d.description(s); text != "" {
		w.docstring(text, "    ")
		w.line("")
	}
	for _, m := range w.all.either(d.definitions()) {
		w.member(d, m)
	}
}

// member writes a field. One that may be left out is None then, or, when it never is by a node that keeps to the schema,
// what is empty of its type.
func (w *pythonWriter) member(d declaration, m member) {
	typ := w.typeOf(m.shape)
	if slices.Contains(d.free, m.name) {
		typ = "Any"
	}
	absent := slices.Contains(d.absent, m.name)
	switch {
	case (!m.optional || slices.Contains(d.sent, m.name)) && !absent:
		w.line("    %s: %s", m.name, typ)
	case strings.HasPrefix(typ, "list[") && !w.all.nullable(m.shape):
		w.line("    %s: %s = field(default_factory=list)", m.name, typ)
	case absent && strings.HasPrefix(typ, "dict[") && !w.all.nullable(m.shape):
		w.line("    %s: %s = field(default_factory=dict)", m.name, typ)
	case absent && typ == "str":
		w.line(`    %s: str = ""`, m.name)
	case absent && typ == "bool":
		w.line("    %s: bool = False", m.name)
	case typ == "Any" || strings.HasSuffix(typ, " | None"):
		w.line("    %s: %s = None", m.name, typ)
	default:
		w.line("    %s: %s | None = None", m.name, typ)
	}
	w.docstring(m.shape.Description, "    ")
}

func (w *pythonWriter) docstring(description, indent string) {
	if description != "" {
		w.line(`%s"""%s"""`, indent, strings.Join(wrap(sentence(description), lineWidth), "\n"+indent))
	}
}

// typeOf writes the annotation of a value, which is also what a record reads it by.
func (w *pythonWriter) typeOf(s *shape) string {
	if s.Ref != "" {
		for _, d := range w.declarations {
			if d.definitions()[0] == s.target() {
				return d.name
			}
		}
		return w.typeOf(w.all[s.target()])
	}
	var options []string
	for _, option := range slices.Concat(s.AnyOf, s.OneOf) {
		options = append(options, w.typeOf(option))
	}
	if s.Enum != nil {
		options = append(options, w.literal(s))
		if w.all.nullable(s) {
			options = append(options, "None")
		}
	} else {
		for _, kind := range s.kinds() {
			options = append(options, w.kind(s, kind))
		}
	}
	if slices.Contains(options, "datetime") { // it is read from a number as well
		options = slices.DeleteFunc(options, func(o string) bool { return o == "float" })
	}
	none := slices.Contains(options, "None")
	options = slices.DeleteFunc(options, func(o string) bool { return o == "None" })
	slices.Sort(options)
	options = slices.Compact(options)
	switch {
	case none && len(options) == 0:
		return "None"
	case len(options) != 1:
		return "Any"
	case none:
		return options[0] + " | None"
	}
	return options[0]
}

// literal writes a list of words, a line each where they are many.
func (w *pythonWriter) literal(s *shape) string {
	var values []string
	for _, value := range s.Enum {
		if string(value) != "null" {
			values = append(values, string(value))
		}
	}
	if text := strings.Join(values, ", "); len(text) <= lineWidth-20 {
		return "Literal[" + text + "]"
	}
	return "Literal[\n        " + strings.Join(values, ",\n        ") + ",\n    ]"
}

func (w *pythonWriter) kind(s *shape, kind string) string {
	switch {
	case kind == "null":
		return "None"
	case s.Format == "date-time" || s.Format == "unix-time":
		return "datetime"
	case s.Format == "decimal":
		return "Decimal"
	case kind == "array" && s.Items != nil:
		return "list[" + w.typeOf(s.Items) + "]"
	case kind == "array":
		return "list[Any]"
	case kind == "object" && s.AdditionalProperties != nil && !s.AdditionalProperties.nothing:
		return "dict[str, " + w.typeOf(s.AdditionalProperties) + "]"
	}
	return map[string]string{"string": "str", "integer": "int", "number": "float", "boolean": "bool", "object": "dict[str, Any]"}[kind]
}

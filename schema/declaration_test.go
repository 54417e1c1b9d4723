package schema

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestTypesSayWhatSchemasSay writes small definitions in both languages. The first definition is the one that is looked at;
// the others are declared under their own names, unless they begin with a small letter.
func TestTypesSayWhatSchemasSay(t *testing.T) {
	tests := []struct {
		name, schemas      string
		declared           declaration
		typescript, python string
	}{
		{
			name: "a member may be left out, null, both or neither",
			schemas: `{"A": {"type": "object", "description": "Four of them", "required": ["a", "b"], "properties": {
				"a": {"type": "integer"}, "b": {"type": ["integer", "null"]}, "c": {"type": "integer"}, "d": {"type": ["integer", "null"]}}}}`,
			typescript: "/** Four of them. */\nexport interface A {\n  a: number;\n  b: number | null;\n  c?: number;\n  d?: number | null;\n}\n",
			python:     "class A(Record):\n    \"\"\"Four of them.\"\"\"\n\n    a: int\n    b: int | None\n    c: int | None = None\n    d: int | None = None\n",
		},
		{
			name: "words are a union, null is one of its options, and a new word passes where the list may grow",
			schemas: `{"A": {"description": "How", "enum": ["x", "y-z"]},
				"B": {"properties": {"is": {"$ref": "#/$defs/A"}, "was": {"enum": ["x", null]}}, "required": ["is", "was"]}}`,
			declared:   declaration{open: true},
			typescript: "/** How. */\nexport type A =\n  | \"x\" | \"y-z\"\n  | (string & {});\n\nexport interface B {\n  is: A;\n  was: \"x\" | null;\n}\n",
			python:     "A = Literal[\"x\", \"y-z\"]\n\"\"\"How.\"\"\"\n\n\n@dataclass(frozen=True, kw_only=True)\nclass B(Record):\n    is: A\n    was: Literal[\"x\"] | None\n",
		},
		{
			name: "a definition that is no type of its own is written out, with what is said of it",
			schemas: `{"A": {"properties": {"at": {"$ref": "#/$defs/time"}, "of": {"anyOf": [{"$ref": "#/$defs/time"}, {"type": "null"}]}}, "required": ["at", "of"]},
				"time": {"description": "A moment", "type": "string", "format": "date-time"}}`,
			typescript: "export interface A {\n  /** A moment. */\n  at: string;\n  of: string | null;\n}\n",
			python:     "class A(Record):\n    at: datetime\n    of: datetime | None\n",
		},
		{
			name:       "what comes as text or as a number is one thing",
			schemas:    `{"A": {"properties": {"at": {"type": ["string", "number"], "format": "unix-time"}, "cost": {"type": ["string", "number", "null"], "format": "decimal"}}, "required": ["at", "cost"]}}`,
			typescript: "export interface A {\n  /** Unix seconds. */\n  at: number;\n  cost: number | null;\n}\n",
			python:     "class A(Record):\n    at: datetime\n    cost: Decimal | None\n",
		},
		{
			name: "an object that adds to another says only what is its own, or narrower",
			schemas: `{"A": {"allOf": [{"$ref": "#/$defs/B"}], "required": ["b", "d"], "properties": {"b": {"enum": ["x"]}, "c": {"maxLength": 3}, "d": {"type": "array", "items": {"type": "boolean"}}}},
				"B": {"properties": {"b": {"type": ["string", "null"]}, "c": {"type": "string"}}}}`,
			typescript: "export interface A extends B {\n  b: \"x\";\n  d: boolean[];\n}\n\nexport interface B {\n  b?: string | null;\n  c?: string;\n}\n",
			python: "class A(Record):\n    b: Literal[\"x\"]\n    c: str | None = None\n    d: list[bool]\n\n\n" +
				"@dataclass(frozen=True, kw_only=True)\nclass B(Record):\n    b: str | None = None\n    c: str | None = None\n",
		},
		{
			name: "a definition that only adds rules to another is that other",
			schemas: `{"A": {"properties": {"a": {"$ref": "#/$defs/strict"}}},
				"strict": {"allOf": [{"$ref": "#/$defs/B"}], "required": ["b"], "properties": {"b": {"maxLength": 3}}}, "B": {"properties": {"b": {"type": "string"}}}}`,
			typescript: "export interface A {\n  a?: B;\n}\n\nexport interface B {\n  b?: string;\n}\n",
		},
		{
			name:       "what nodes of others leave out may be left out, and what is always asked for may not",
			schemas:    `{"A": {"properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "required": ["a"]}}`,
			declared:   declaration{absent: []string{"a"}, sent: []string{"b"}},
			typescript: "export interface A {\n  a?: string;\n  b: string;\n}\n",
			python:     "class A(Record):\n    a: str = \"\"\n    b: str\n",
		},
		{
			name:       "a member of any form is the user's to tell",
			schemas:    `{"A": {"properties": {"a": {"type": "string"}}, "required": ["a"]}}`,
			declared:   declaration{free: []string{"a"}},
			typescript: "export interface A<T = unknown> {\n  a: T;\n}\n",
			python:     "class A(Record):\n    a: Any\n",
		},
		{
			name: "a member that tells what the others are makes a union of objects",
			schemas: `{"A": {"required": ["is", "at"], "properties": {"is": {"enum": ["x", "y"]}, "at": {"type": "integer"}}, "oneOf": [
				{"required": ["x"], "properties": {"is": {"const": "x"}, "x": {"type": "integer"}}}, {"properties": {"is": {"const": "y"}, "y": {"type": "integer"}}}]}}`,
			typescript: "export type A = { at: number } & (\n  | { is: \"x\"; x: number }\n  | { is: \"y\"; y?: number }\n);\n",
		},
		{
			name: "a member that tells what another is makes a union of messages",
			schemas: `{"A": {"required": ["type", "content"], "properties": {"type": {"enum": ["x", "y-z"]}, "content": {"type": "object"}}, "allOf": [
				{"if": {"properties": {"type": {"const": "x"}}}, "then": {"properties": {"content": {"$ref": "#/$defs/B"}}}},
				{"if": {"properties": {"type": {"const": "y-z"}}}, "then": {"properties": {"content": {"type": "object"}}}}]},
				"B": {"properties": {"b": {"type": "string"}}}}`,
			declared: declaration{says: "A letter"},
			typescript: "/** The content of each type of message. */\nexport interface AnyContent {\n  x: B;\n  \"y-z\": Record<string, unknown>;\n}\n\n" +
				"/** A letter, of one type. */\nexport interface AOf<T extends keyof AnyContent> {\n  type: T;\n  content: AnyContent[T];\n}\n\n" +
				"/** A letter, of any type. */\nexport type A = { [T in keyof AnyContent]: AOf<T> }[keyof AnyContent];\n\nexport interface B {\n  b?: string;\n}\n",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var order properties
			if err := json.Unmarshal([]byte(test.schemas), &order); err != nil {
				t.Fatal(err)
			}
			all := shapes{}
			var declarations []declaration
			for _, definition := range order {
				all[definition.name] = definition.shape
				if strings.ToUpper(definition.name) == definition.name {
					declarations = append(declarations, declaration{name: definition.name})
				}
			}
			test.declared.name = "A"
			declarations[0] = test.declared

			script := typescriptWriter{all: all, declarations: declarations}
			record := pythonWriter{all: all, declarations: declarations}
			for _, d := range declarations {
				script.declare(d)
				record.declare(d)
			}
			if got := script.text.String(); got != "\n"+test.typescript {
				t.Errorf("in TypeScript:\n%swant:\n%s", got, test.typescript)
			}
			got := strings.TrimPrefix(record.text.String(), "\n\n@dataclass(frozen=True, kw_only=True)\n")
			if test.python != "" && got != test.python {
				t.Errorf("in Python:\n%swant:\n%s", got, test.python)
			}
		})
	}
}

func TestTypesAreOfDefinitionsThatExist(t *testing.T) {
	all, err := readShapes()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range append(typescript, python...) {
		for _, definition := range d.definitions() {
			if all[definition] == nil {
				t.Errorf("%s is made from %s, which is no definition", d.name, definition)
				continue
			}
			for _, name := range append(append(d.free, d.sent...), d.absent...) {
				found := false
				for _, m := range all.members(all[definition]) {
					found = found || m.name == name
				}
				if !found {
					t.Errorf("%s has a word on its member %s, which %s does not have", d.name, name, definition)
				}
			}
		}
	}
}

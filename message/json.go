package message

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth is how deep arrays and objects may nest (spec/messages.md §1.5).
const maxDepth = 1024

// document is a parsed JSON text: a flat list of nodes in the order of the text. The members of an object follow it as
// key, value, key, value; the elements of an array as value, value. Nothing is copied or converted before it is asked for,
// so free-form parts cost one scan and keep their exact text.
type document struct {
	text  string
	nodes []node
}

// node is one value or one object key.
type node struct {
	kind       byte   // one of { [ " 0 t f n
	escaped    bool   // a string that holds escape sequences
	start, end uint32 // bounds in the text; of a string: without its quotes
	next       int32  // index of the first node after this value and all it holds
	count      int32  // members of an object, elements of an array
}

const (
	kindObject = '{'
	kindArray  = '['
	kindString = '"'
	kindNumber = '0'
	kindTrue   = 't'
	kindFalse  = 'f'
	kindNull   = 'n'
)

// scan parses text as the reference node's parser does: RFC 8259, strictly, with valid UTF-8, paired surrogates, numbers
// that fit a double, and at most [maxDepth] levels.
func scan(text string) (document, error) {
	if !utf8.ValidString(text) {
		return document{}, fmt.Errorf("text is not valid UTF-8")
	}
	s := scanner{document: document{text: text, nodes: make([]node, 0, 16+len(text)/64)}}
	s.space()
	if s.value(0) {
		s.space()
		if s.at < len(text) {
			s.fail("unexpected text after the value")
		}
	}
	if s.problem != "" {
		return document{}, fmt.Errorf("%s at byte %d", s.problem, s.at)
	}
	return s.document, nil
}

type scanner struct {
	document
	at      int
	problem string
}

func (s *scanner) fail(problem string) bool {
	if s.problem == "" {
		s.problem = problem
	}
	return false
}

func (s *scanner) space() {
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return
		}
	}
}

// peek returns the next byte, or 0 at the end: no JSON token starts with a NUL.
func (s *scanner) peek() byte {
	if s.at < len(s.text) {
		return s.text[s.at]
	}
	return 0
}

func (s *scanner) value(depth int) bool {
	switch c := s.peek(); {
	case c == '"':
		return s.string()
	case c == '{' || c == '[':
		if depth == maxDepth {
			return s.fail("nested too deeply")
		}
		if c == '{' {
			return s.object(depth + 1)
		}
		return s.array(depth + 1)
	case c == '-' || c >= '0' && c <= '9':
		return s.number()
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	case c == 'n':
		return s.literal("null")
	case s.at == len(s.text):
		return s.fail("unexpected end of the text")
	}
	return s.fail("unexpected character")
}

// open appends a node that starts here and returns its index.
func (s *scanner) open(kind byte) int {
	s.nodes = append(s.nodes, node{kind: kind, start: uint32(s.at)})
	return len(s.nodes) - 1
}

// close ends the node i here.
func (s *scanner) close(i int) bool {
	s.nodes[i].end = uint32(s.at)
	s.nodes[i].next = int32(len(s.nodes))
	return true
}

func (s *scanner) object(depth int) bool {
	self := s.open(kindObject)
	s.at++
	s.space()
	if s.peek() == '}' {
		s.at++
		return s.close(self)
	}
	for count := int32(1); ; count++ {
		if s.peek() != '"' {
			return s.fail("expected a member name")
		}
		if !s.string() {
			return false
		}
		s.space()
		if s.peek() != ':' {
			return s.fail("expected a colon")
		}
		s.at++
		s.space()
		if !s.value(depth) {
			return false
		}
		s.space()
		switch s.peek() {
		case ',':
			s.at++
			s.space()
		case '}':
			s.at++
			s.nodes[self].count = count
			return s.close(self)
		default:
			return s.fail("expected a comma or the end of the object")
		}
	}
}

func (s *scanner) array(depth int) bool {
	self := s.open(kindArray)
	s.at++
	s.space()
	if s.peek() == ']' {
		s.at++
		return s.close(self)
	}
	for count := int32(1); ; count++ {
		if !s.value(depth) {
			return false
		}
		s.space()
		switch s.peek() {
		case ',':
			s.at++
			s.space()
		case ']':
			s.at++
			s.nodes[self].count = count
			return s.close(self)
		default:
			return s.fail("expected a comma or the end of the array")
		}
	}
}

func (s *scanner) literal(word string) bool {
	if !strings.HasPrefix(s.text[s.at:], word) {
		return s.fail("unknown word")
	}
	self := s.open(word[0])
	s.at += len(word)
	return s.close(self)
}

func (s *scanner) string() bool {
	s.at++
	self := s.open(kindString)
	for i := s.at; i < len(s.text); i++ {
		switch c := s.text[i]; {
		case c == '"':
			s.at = i
			s.close(self)
			s.at++
			return true
		case c < 0x20:
			s.at = i
			return s.fail("raw control character in a string")
		case c == '\\':
			s.nodes[self].escaped = true
			n := escapeLength(s.text[i:])
			if n == 0 {
				s.at = i
				return s.fail("invalid escape sequence or lone surrogate")
			}
			i += n - 1
		}
	}
	s.at = len(s.text)
	return s.fail("unterminated string")
}

// escapeLength returns the length of the escape sequence that text starts with, surrogate pairs counted as one; 0 when it
// is not a valid one.
func escapeLength(text string) int {
	if len(text) < 2 {
		return 0
	}
	switch text[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		r := hex4(text[2:])
		switch {
		case r < 0:
			return 0
		case !utf16.IsSurrogate(r):
			return 6
		case len(text) >= 8 && text[6] == '\\' && text[7] == 'u' && utf16.DecodeRune(r, hex4(text[8:])) != utf8.RuneError:
			return 12
		}
	}
	return 0
}

// hex4 returns the value of the four hex digits that text starts with, or -1.
func hex4(text string) rune {
	if len(text) < 4 {
		return -1
	}
	var r rune
	for i := range 4 {
		c := text[i]
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

func (s *scanner) number() bool {
	self := s.open(kindNumber)
	start := s.at
	if s.peek() == '-' {
		s.at++
	}
	if s.peek() == '0' {
		s.at++
	} else if !s.digits() {
		return s.fail("expected a digit")
	}
	if s.peek() == '.' {
		s.at++
		if !s.digits() {
			return s.fail("expected a digit after the decimal point")
		}
	}
	exponent := s.peek() == 'e' || s.peek() == 'E'
	if exponent {
		s.at++
		if s.peek() == '+' || s.peek() == '-' {
			s.at++
		}
		if !s.digits() {
			return s.fail("expected a digit in the exponent")
		}
	}
	// Without an exponent, only a number of more than 308 digits can exceed a double.
	if exponent || s.at-start > 308 {
		if _, err := strconv.ParseFloat(s.text[start:s.at], 64); err != nil {
			return s.fail("number too large")
		}
	}
	return s.close(self)
}

func (s *scanner) digits() bool {
	start := s.at
	for c := s.peek(); c >= '0' && c <= '9'; c = s.peek() {
		s.at++
	}
	return s.at > start
}

// raw returns the exact text of node i, quotes included.
func (d *document) raw(i int32) string {
	n := &d.nodes[i]
	if n.kind == kindString {
		return d.text[n.start-1 : n.end+1]
	}
	return d.text[n.start:n.end]
}

// str returns the value of node i, which is a string.
func (d *document) str(i int32) string {
	n := &d.nodes[i]
	text := d.text[n.start:n.end]
	if !n.escaped {
		return text
	}
	return unescape(text)
}

// unescape resolves the escape sequences of a string that has been scanned.
func unescape(text string) string {
	b := make([]byte, 0, len(text))
	for len(text) > 0 {
		i := strings.IndexByte(text, '\\')
		if i < 0 {
			b = append(b, text...)
			break
		}
		b = append(b, text[:i]...)
		text = text[i:]
		switch c := text[1]; c {
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'u':
			r := hex4(text[2:])
			if utf16.IsSurrogate(r) {
				r = utf16.DecodeRune(r, hex4(text[8:]))
			}
			b = utf8.AppendRune(b, r)
		default:
			b = append(b, c)
		}
		text = text[escapeLength(text):]
	}
	return string(b)
}

// find returns the value of the member with that name of object i, or -1. The last of equal names wins.
func (d *document) find(i int32, name string) int32 {
	found := int32(-1)
	key := i + 1
	for range d.nodes[i].count {
		if d.keyIs(key, name) {
			found = key + 1
		}
		key = d.nodes[key+1].next
	}
	return found
}

func (d *document) keyIs(key int32, name string) bool {
	n := &d.nodes[key]
	if n.escaped {
		return d.str(key) == name
	}
	return d.text[n.start:n.end] == name
}

// members yields the name and the value of each member of object i, in the order of the text, duplicates included.
func (d *document) members(i int32) func(yield func(name string, value int32) bool) {
	return func(yield func(string, int32) bool) {
		key := i + 1
		for range d.nodes[i].count {
			if !yield(d.str(key), key+1) {
				return
			}
			key = d.nodes[key+1].next
		}
	}
}

// elements yields the values of array i.
func (d *document) elements(i int32) func(yield func(value int32) bool) {
	return func(yield func(int32) bool) {
		v := i + 1
		for range d.nodes[i].count {
			if !yield(v) {
				return
			}
			v = d.nodes[v].next
		}
	}
}

// path returns where node i is: member names and array indexes from the root. A key is where its value is.
func (d *document) path(i int32) []any {
	var path []any
	for at := int32(0); at != i; {
		child, step := at+1, int32(1)
		if d.nodes[at].kind == kindObject {
			child, step = at+2, 2 // the value of the first member
		}
		index := 0
		for d.nodes[child].next <= i {
			child = d.nodes[child].next + step - 1
			index++
		}
		if step == 2 {
			path = append(path, d.str(child-1))
		} else {
			path = append(path, index)
		}
		if at = child; i == child-1 && step == 2 {
			return path
		}
	}
	return path
}

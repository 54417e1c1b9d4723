package api

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// arguments reads the parameters of a query (ccn-api §1.6). Of a repeated one the first counts, unknown ones are ignored.
// The first that makes no sense is kept in err; what is read after it is of no use.
type arguments struct {
	values url.Values
	err    error
	listed int          // values that lists gave so far
	told   *[]parameter // nil, or what is told of each parameter when it is read
}

// parameter is what a handler makes of one.
type parameter struct {
	names    []string // the first is the one to use
	schema   schema
	repeated bool // several values are given by several parameters
}

// schema is a JSON Schema.
type schema map[string]any

func (a *arguments) tell(names []string, s schema) {
	if a.told != nil {
		*a.told = append(*a.told, parameter{names: names, schema: s})
	}
}

func (a *arguments) refuse(kind, name, problem, input string) {
	if a.err == nil {
		a.err = invalid(kind, name, problem, input)
	}
}

// name returns the first of the names that is present, or the first when none is.
func (a *arguments) name(names []string) (string, bool) {
	for _, name := range names {
		if a.values.Has(name) {
			return name, true
		}
	}
	return names[0], false
}

// text returns the value of a parameter and whether it is present.
func (a *arguments) text(names ...string) (string, bool) {
	a.tell(names, schema{"type": "string"})
	name, ok := a.name(names)
	return a.values.Get(name), ok
}

// list splits a parameter at its commas. An absent one is nil.
func (a *arguments) list(names ...string) []string { return a.split(schema{"type": "string"}, names) }

func (a *arguments) split(items schema, names []string) []string {
	a.tell(names, schema{"type": "array", "items": items})
	name, ok := a.name(names)
	if !ok {
		return nil
	}
	return a.distinct(name, strings.Split(a.values.Get(name), ","))
}

// maxListed bounds the different values of all lists of a query. Each is a parameter of a statement, once for each of the ways that
// rows are looked up, and of those SQLite takes 32,766.
const maxListed = 1000

func (a *arguments) distinct(name string, values []string) []string {
	seen := make(map[string]bool, len(values))
	list := slices.DeleteFunc(values, func(v string) bool {
		known := seen[v]
		seen[v] = true
		return known
	})
	if a.listed += len(list); a.listed > maxListed {
		a.refuse("too_long", name, "Lists should have at most "+strconv.Itoa(maxListed)+" items together: ask several times", "")
		return nil
	}
	return list
}

// repeated returns all values of a parameter that is given several times.
func (a *arguments) repeated(name string) []string {
	if a.told != nil {
		s := schema{"type": "array", "items": schema{"type": "string"}}
		*a.told = append(*a.told, parameter{[]string{name}, s, true})
	}
	return a.distinct(name, slices.Clone(a.values[name]))
}

// choices is a list of which every entry must be one of allowed.
func (a *arguments) choices(allowed []string, names ...string) []string {
	list := a.split(schema{"type": "string", "enum": allowed}, names)
	for _, v := range list {
		if !slices.Contains(allowed, v) {
			a.refuse("enum", names[0], "Input should be one of "+strings.Join(allowed, ", "), v)
		}
	}
	return list
}

// choice returns the value of a parameter that must be one of allowed.
func (a *arguments) choice(absent string, allowed []string, names ...string) string {
	s := schema{"type": "string", "enum": allowed}
	if absent != "" {
		s["default"] = absent
	}
	a.tell(names, s)
	name, ok := a.name(names)
	if !ok {
		return absent
	}
	v := a.values.Get(name)
	if !slices.Contains(allowed, v) {
		a.refuse("enum", name, "Input should be one of "+strings.Join(allowed, ", "), v)
	}
	return v
}

// integer returns a whole number between least and most. What is beyond 64 bits counts as the greatest of them.
func (a *arguments) integer(absent, least, most int64, names ...string) int64 {
	s := schema{"type": "integer"}
	if least > -maxInt {
		s["minimum"] = least
	}
	if most < maxInt {
		s["maximum"] = most
	}
	if absent >= least {
		s["default"] = absent
	}
	a.tell(names, s)
	name, ok := a.name(names)
	if !ok {
		return absent
	}
	text := a.values.Get(name)
	n, ok := parseInteger(text)
	switch {
	case !ok:
		a.refuse("int_parsing", name, "Input should be a valid integer", text)
	case n < least:
		a.refuse("greater_than_equal", name, "Input should be greater than or equal to "+strconv.FormatInt(least, 10), text)
	case n > most:
		a.refuse("less_than_equal", name, "Input should be less than or equal to "+strconv.FormatInt(most, 10), text)
	}
	return n
}

// parseInteger reads decimal digits with the liberties that the reference takes: spaces around, "_" between digits, ".0".
func parseInteger(text string) (int64, bool) {
	text = strings.TrimSpace(text)
	whole, fraction, point := strings.Cut(text, ".")
	if point && (fraction == "" || strings.Trim(fraction, "0") != "") {
		return 0, false
	}
	if strings.HasPrefix(whole, "_") || strings.HasSuffix(whole, "_") || strings.Contains(whole, "__") {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.ReplaceAll(whole, "_", ""), 10, 64)
	if err != nil && !strings.Contains(err.Error(), strconv.ErrRange.Error()) {
		return 0, false
	}
	return n, true
}

// ascending reads the direction of sorting; descending when absent.
func (a *arguments) ascending(names ...string) bool {
	a.tell(names, schema{"type": "integer", "enum": []int{1, -1}, "default": -1})
	name, ok := a.name(names)
	if !ok {
		return false
	}
	n, ok := parseInteger(a.values.Get(name))
	if !ok || n != 1 && n != -1 {
		a.refuse("enum", name, "Input should be -1 or 1", a.values.Get(name))
	}
	return n == 1
}

// boolean returns a truth value, nil when it is absent.
func (a *arguments) boolean(names ...string) *bool {
	a.tell(names, schema{"type": "boolean"})
	name, ok := a.name(names)
	if !ok {
		return nil
	}
	v := false
	switch strings.ToLower(a.values.Get(name)) {
	case "true", "1", "yes", "on", "t", "y":
		v = true
	case "false", "0", "no", "off", "f", "n":
	default:
		a.refuse("bool_parsing", name, "Input should be a valid boolean, unable to interpret input", a.values.Get(name))
	}
	return &v
}

func (a *arguments) isTrue(names ...string) bool {
	v := a.boolean(names...)
	return v != nil && *v
}

// seconds returns Unix seconds up to the year 9999, nil when they are absent.
func (a *arguments) seconds(names ...string) *float64 {
	a.tell(names, schema{"type": "number", "minimum": 0, "exclusiveMaximum": yearTenThousand})
	name, ok := a.name(names)
	if !ok {
		return nil
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(a.values.Get(name)), 64)
	switch {
	case err != nil || math.IsNaN(v):
		a.refuse("float_parsing", name, "Input should be a valid number, unable to parse string as a number", a.values.Get(name))
	case v < 0:
		a.refuse("greater_than_equal", name, "Input should be greater than or equal to 0", a.values.Get(name))
	case v >= yearTenThousand:
		a.refuse("less_than", name, "Input should be Unix seconds before the year 10000", a.values.Get(name))
	}
	return &v
}

const (
	maxInt          = math.MaxInt64 // the greatest number that a parameter can have
	yearTenThousand = 253402300800  // its first second
)

// paging is which part of a list is asked for: a page, or what follows a cursor (ccn-api §1.8).
type paging struct {
	cursor bool
	after  string // text of the cursor; "" begins
	size   int64  // rows of a page; 0 for all
	number int64  // of the page, from 1
}

// page reads which page is asked for of a list that has no cursors.
func (a *arguments) page(size, least, most int64) paging {
	return paging{size: a.integer(size, least, most, "pagination"), number: a.integer(1, 1, maxInt, "page")}
}

func (a *arguments) paging(size, least, most int64) paging {
	p := a.page(size, least, most)
	p.after, p.cursor = a.text("cursor")
	if p.cursor && a.err == nil {
		if p.size == 0 {
			a.err = refuse(http.StatusUnprocessableEntity, "pagination=0 is not allowed with cursor-based pagination")
		}
		p.size = min(p.size, maxCursorPage)
	}
	return p
}

// limit returns how many rows to read, one more than a page shows when that tells whether others follow; 0 for all.
func (p paging) limit() int {
	switch {
	case p.cursor:
		return int(p.size) + 1
	case p.size > math.MaxInt32:
		return math.MaxInt32
	}
	return int(p.size)
}

// offset returns how many rows come before the page. Pages beyond the greatest number are empty all the same.
func (p paging) offset() int64 {
	if p.cursor || p.size == 0 {
		return 0
	}
	if p.number-1 > math.MaxInt64/p.size {
		return math.MaxInt64
	}
	return p.size * (p.number - 1)
}

// cut returns the rows that a page shows and whether others follow. Only after a cursor there is one too many.
func cut[T any](p paging, rows []T) (shown []T, more bool) {
	if rows == nil {
		rows = []T{}
	}
	if p.cursor && int64(len(rows)) > p.size {
		return rows[:p.size], true
	}
	return rows, false
}

// addTo puts what describes the page into an answer; next is the cursor behind the last row, nil when it ends the list.
func (p paging) addTo(answer map[string]any, total int64, next any) {
	answer["pagination_per_page"] = p.size
	if p.cursor {
		answer["next_cursor"] = next
		return
	}
	answer["pagination_page"], answer["pagination_total"] = p.number, total
}

// position writes a cursor: compact JSON with sorted members in URL-safe base64 without padding (ccn-api §1.8).
func position(members map[string]any) string {
	raw, err := json.Marshal(members)
	if err != nil {
		return "" // texts and numbers cannot fail
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// readPosition reads a cursor into members.
func readPosition(text string, members any) error {
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
	if err == nil {
		err = json.Unmarshal(raw, members)
	}
	if err != nil {
		return refuse(http.StatusUnprocessableEntity, "Invalid cursor: %v", err)
	}
	return nil
}

// positionTime writes a time as cursors have it.
func positionTime(t message.Time) string {
	return t.Std().Format("2006-01-02T15:04:05.999999") + "+00:00"
}

func readPositionTime(text string) (message.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return 0, refuse(http.StatusUnprocessableEntity, "Invalid cursor: %v", err)
	}
	return message.TimeFrom(t), nil
}

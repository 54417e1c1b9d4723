package store

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/aleph-im/aleph-go/message"
)

// Object writes members in one order for all nodes: the shorter name first, as the reference node's database does.
func Object(members map[string]json.RawMessage) []byte {
	size := 2
	for name, value := range members {
		size += len(name) + len(value) + 4
	}
	b := append(make([]byte, 0, size), '{')
	for i, name := range slices.SortedFunc(maps.Keys(members), compareNames) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendMember(b, name, members[name])
	}
	return append(b, '}')
}

func compareNames(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}

func appendMember(b []byte, name string, value json.RawMessage) []byte {
	quoted, err := json.Marshal(name)
	if err != nil { // a string is always JSON
		panic(err)
	}
	return append(append(append(b, quoted...), ':'), value...)
}

// member is a member of a document and the element that it comes from.
type member struct {
	name  string
	value json.RawMessage
	time  float64
	hash  message.Hash
}

func (m *member) before(e *Element) bool {
	return m.time < e.ContentTime || m.time == e.ContentTime && m.hash < e.Hash
}

// A piece has at most so many bytes, with its sources, unless it has a member alone that is larger. What is cut has about
// half of that, so that many members come and go before it is cut again.
const maxPiece = 8 << 10

// perMember is what a member counts beside its text, so that short ones do not make a piece long to read.
const perMember = 32

// maxPlace bounds how many bytes of a name say where it belongs: the place is part of an index. Longer names that begin
// and are as long alike are in one piece.
const maxPlace = 256

// placeOf returns where a member belongs: a text that is in the order of the names.
func placeOf(name string) string {
	return fmt.Sprintf("%08x", len(name)) + hex.EncodeToString([]byte(name[:min(len(name), maxPlace)]))
}

// piece is a part of a document.
type piece struct {
	begins  string
	members []member // in the order of the document
}

// pieceAt returns the piece that a place belongs to, an empty one when there is none.
func (r *Reader) pieceAt(owner, key, place string) (*piece, error) {
	p := &piece{}
	var members, sources string
	ok, err := found(r.row(`SELECT begins, members, sources FROM aggregate_pieces WHERE owner = ? AND key = ? AND begins <= ?
		ORDER BY begins DESC LIMIT 1`, owner, key, place), &p.begins, &members, &sources)
	if err != nil || !ok {
		return p, err
	}
	p.members, err = readMembers(members, sources)
	return p, err
}

// readMembers reads what writeMembers wrote.
func readMembers(text, sources string) ([]member, error) {
	values := map[string]json.RawMessage{}
	if err := json.Unmarshal([]byte("{"+text+"}"), &values); err != nil {
		return nil, fmt.Errorf("members of a piece: %w", err)
	}
	list := make([]member, 0, len(values))
	last := member{}
	for _, name := range slices.SortedFunc(maps.Keys(values), compareNames) {
		line, rest, more := strings.Cut(sources, "\n")
		if sources = rest; !more {
			return nil, fmt.Errorf("a piece of %d members has sources of %d", len(values), len(list))
		}
		if line != "" {
			time, hash, _ := strings.Cut(line, " ")
			var err error
			if last.time, err = strconv.ParseFloat(time, 64); err != nil {
				return nil, fmt.Errorf("sources of a piece: %w", err)
			}
			last.hash = message.Hash(hash)
		}
		last.name, last.value = name, values[name]
		list = append(list, last)
	}
	return list, nil
}

func writeMembers(list []member) (text, sources string) {
	var members, lines []byte
	for i := range list {
		m := &list[i]
		if i > 0 {
			members = append(members, ',')
		}
		members = appendMember(members, m.name, m.value)
		if i == 0 || list[i-1].hash != m.hash {
			lines = append(append(strconv.AppendFloat(lines, m.time, 'g', -1, 64), ' '), m.hash...)
		}
		lines = append(lines, '\n')
	}
	return string(members), string(lines)
}

// eachPiece calls change with the pieces that names belong to, and with the names that belong there in the order of the
// document. What it changes is stored.
func (tx *Tx) eachPiece(owner, key string, members map[string]json.RawMessage, change func(p *piece, names []string) (changed bool)) error {
	names := slices.SortedFunc(maps.Keys(members), compareNames)
	for len(names) > 0 {
		place := placeOf(names[0])
		p, err := tx.pieceAt(owner, key, place)
		if err != nil {
			return err
		}
		n := 1
		if len(names) > 1 {
			var end string
			ok, err := found(tx.row(`SELECT begins FROM aggregate_pieces WHERE owner = ? AND key = ? AND begins > ? ORDER BY begins LIMIT 1`,
				owner, key, place), &end)
			if err != nil {
				return err
			}
			if n = len(names); ok {
				n = sort.Search(n, func(i int) bool { return placeOf(names[i]) >= end })
			}
		}
		if change(p, names[:n]) {
			if err := tx.putPiece(owner, key, p); err != nil {
				return err
			}
		}
		names = names[n:]
	}
	return nil
}

func (tx *Tx) mergeMembers(e *Element, members map[string]json.RawMessage) error {
	var hidden []shadow
	err := tx.eachPiece(e.Owner, e.Key, members, func(p *piece, names []string) (changed bool) {
		merged := make([]member, 0, len(p.members)+len(names))
		for _, name := range names {
			n := 0
			for n < len(p.members) && compareNames(p.members[n].name, name) < 0 {
				n++
			}
			merged = append(merged, p.members[:n]...)
			p.members = p.members[n:]
			m := member{name, members[name], e.ContentTime, e.Hash}
			if len(p.members) > 0 && p.members[0].name == name {
				older := p.members[0]
				if !older.before(e) {
					m, older = older, m
				}
				if older.hash != m.hash {
					hidden = append(hidden, shadow{name, older.time, older.hash})
				}
				p.members = p.members[1:]
			}
			changed = changed || m.hash == e.Hash
			merged = append(merged, m)
		}
		p.members = append(merged, p.members...)
		return changed
	})
	if err != nil {
		return err
	}
	return tx.insertShadows(e.Owner, e.Key, hidden)
}

func (tx *Tx) unmergeMembers(e *Element, members map[string]json.RawMessage) (lost []string, err error) {
	err = tx.eachPiece(e.Owner, e.Key, members, func(p *piece, names []string) (changed bool) {
		before := len(lost)
		p.members = slices.DeleteFunc(p.members, func(m member) bool {
			if m.hash == e.Hash {
				lost = append(lost, m.name)
			}
			return m.hash == e.Hash
		})
		return len(lost) > before
	})
	if err != nil || len(lost) == len(members) {
		return lost, err
	}
	shown := make(map[string]bool, len(lost))
	for _, name := range lost {
		shown[name] = true
	}
	for name := range members {
		if !shown[name] {
			if err := tx.deleteShadow(e, name); err != nil {
				return nil, err
			}
		}
	}
	return lost, nil
}

// putPiece stores a piece, cut when it is too long. An empty one is deleted.
func (tx *Tx) putPiece(owner, key string, p *piece) error {
	if len(p.members) == 0 {
		return tx.exec(`DELETE FROM aggregate_pieces WHERE owner = ? AND key = ? AND begins = ?`, owner, key, p.begins)
	}
	for _, p := range p.cut() {
		text, sources := writeMembers(p.members)
		err := tx.exec(`INSERT INTO aggregate_pieces (owner, key, begins, members, sources) VALUES (?,?,?,?,?)
			ON CONFLICT (owner, key, begins) DO UPDATE SET members = excluded.members, sources = excluded.sources`, owner, key, p.begins, text, sources)
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *piece) cut() []piece {
	size := func(i int) int {
		n := len(p.members[i].name) + len(p.members[i].value) + perMember
		if i == 0 || p.members[i-1].hash != p.members[i].hash {
			n += len(p.members[i].hash) + 16
		}
		return n
	}
	total := 0
	for i := range p.members {
		total += size(i)
	}
	if total <= maxPiece {
		return []piece{*p}
	}
	var pieces []piece
	begins, from, place := p.begins, 0, ""
	sum := 0
	for i := range p.members {
		last := place
		place = placeOf(p.members[i].name)
		if sum += size(i); sum > maxPiece/2 && i > from && place != last {
			pieces = append(pieces, piece{begins, p.members[from:i]})
			begins, from, sum = place, i, size(i)
		}
	}
	return append(pieces, piece{begins, p.members[from:]})
}

package p2p

import (
	"bytes"
	"encoding/hex"
	"unicode/utf8"
)

// Reference receivers percent-decode a payload before they parse it, and reference publishers do not encode it, so a
// message that contains text like "%41" is changed on its way, and refused for its hash (spec ccn-core.md §7.4). We
// publish such text so that decoding restores it, and receive both forms.

// EncodeMessage gives the payload to publish for the JSON text of a message: every % that begins a valid escape is
// itself escaped, so that one percent-decoding gives the text back. Most texts have none and are returned as they are.
func EncodeMessage(raw []byte) []byte {
	if bytes.IndexByte(raw, '%') < 0 {
		return raw
	}
	var out []byte
	from := 0
	for i := range raw {
		if _, ok := escapeAt(raw, i); ok {
			out = append(append(out, raw[from:i]...), "%25"...)
			from = i + 1
		}
	}
	if from == 0 {
		return raw
	}
	return append(out, raw[from:]...)
}

// DecodeMessage gives the one or two texts that a payload can stand for, the likelier first; none if it is not UTF-8.
// The true one is that which parses and whose item hash is right: the caller tries them in order.
//
// A payload all of whose escapes are "%25" is what EncodeMessage makes, so the decoded text comes first: members that
// no hash covers, such as the channel, then read as they were posted. Any other payload comes from a publisher that
// does not encode, or from one of old that encoded everything, so the raw text comes first.
func DecodeMessage(data []byte) [][]byte {
	if !utf8.Valid(data) {
		return nil
	}
	decoded, ours := unescape(data)
	switch {
	case decoded == nil:
		return [][]byte{data}
	case ours:
		return [][]byte{decoded, data}
	default:
		return [][]byte{data, decoded}
	}
}

// unescape percent-decodes valid UTF-8 text once: invalid escapes and plus signs stay, and bytes that do not form
// UTF-8 become U+FFFD. The result is nil if there is no valid escape. ours tells that every escape was "%25".
func unescape(text []byte) (decoded []byte, ours bool) {
	if bytes.IndexByte(text, '%') < 0 {
		return nil, false
	}
	ours = true
	from := 0
	for i := 0; i < len(text); {
		if _, ok := escapeAt(text, i); !ok {
			i++
			continue
		}
		// Escapes are decoded along with the ASCII text they stand in, never with the characters beside it.
		var run []byte
		start := i
		for i < len(text) && text[i] < utf8.RuneSelf {
			b, ok := escapeAt(text, i)
			if !ok {
				run = append(run, text[i])
				i++
				continue
			}
			ours = ours && b == '%'
			run = append(run, b)
			i += 3
		}
		decoded = appendUTF8(append(decoded, text[from:start]...), run)
		from = i
	}
	if from == 0 {
		return nil, false
	}
	return append(decoded, text[from:]...), ours
}

// escapeAt reads the escape that begins at text[i], if a valid one does.
func escapeAt(text []byte, i int) (byte, bool) {
	if text[i] != '%' || i+2 >= len(text) {
		return 0, false
	}
	var b [1]byte
	if _, err := hex.Decode(b[:], text[i+1:i+3]); err != nil {
		return 0, false
	}
	return b[0], true
}

// appendUTF8 appends b with each maximal part of an ill-formed sequence replaced by one U+FFFD, which is how Unicode
// recommends it and how the reference does it.
func appendUTF8(out, b []byte) []byte {
	if utf8.Valid(b) {
		return append(out, b...)
	}
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		if r == utf8.RuneError && size == 1 {
			for n := min(3, len(b)); n > 1; n-- {
				if !utf8.FullRune(b[:n]) { // the beginning of a character that b does not complete
					size = n
					break
				}
			}
		}
		out = utf8.AppendRune(out, r)
		b = b[size:]
	}
	return out
}

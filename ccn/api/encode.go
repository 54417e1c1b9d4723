package api

import (
	"compress/gzip"
	"compress/zlib"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// Answers that carry what users sent are put together from its bytes, so that every number and text stays as it came.

func appendText[T ~string](dst []byte, s T) []byte {
	dst, _ = jsontext.AppendQuote(dst, string(s)) // the error only reports that bytes that are no UTF-8 were replaced
	return dst
}

func appendOptional(dst []byte, s *string) []byte {
	if s == nil {
		return append(dst, "null"...)
	}
	return appendText(dst, *s)
}

func appendConfirmations(dst []byte, list []store.Confirmation) []byte {
	dst = append(dst, '[')
	for i, c := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendText(append(dst, `{"chain":`...), c.Chain)
		dst = appendText(append(dst, `,"hash":`...), c.TxHash)
		dst = strconv.AppendInt(append(dst, `,"height":`...), c.Height, 10)
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

// contentFormat is how much of a content an answer shows (ccn-api §3.1).
type contentFormat string

const (
	contentFull    contentFormat = "full"
	contentHeaders contentFormat = "headers"
	contentNone    contentFormat = "none"
)

// appendListed appends a message as lists show it: exactly these members, sorted (ccn-api §3.1).
func appendListed(dst []byte, row *store.MessageRow, format contentFormat) []byte {
	m := &row.Message
	dst = appendText(append(dst, `{"chain":`...), m.Chain)
	dst = appendOptional(append(dst, `,"channel":`...), m.Channel)
	dst = appendConfirmations(append(dst, `,"confirmations":`...), row.Confirmations)
	dst = strconv.AppendBool(append(dst, `,"confirmed":`...), len(row.Confirmations) > 0)
	switch format {
	case contentFull:
		dst = append(append(dst, `,"content":`...), row.Content...)
	case contentHeaders:
		dst = appendHeaders(append(dst, `,"content":`...), m.Type, row.Content)
	}
	dst = appendItem(append(dst, `,"item_content":`...), m)
	dst = appendText(append(dst, `,"item_hash":`...), m.ItemHash)
	dst = appendText(append(dst, `,"item_type":`...), m.ItemType)
	dst = appendText(append(dst, `,"sender":`...), m.Sender)
	dst = appendSignature(append(dst, `,"signature":`...), m)
	dst = strconv.AppendInt(append(dst, `,"size":`...), row.Size, 10)
	dst = m.Time.AppendJSON(append(dst, `,"time":`...))
	dst = appendText(append(dst, `,"type":`...), m.Type)
	return append(dst, '}')
}

func appendItem(dst []byte, m *message.Message) []byte {
	if m.ItemType != message.ItemInline {
		return append(dst, "null"...)
	}
	return appendText(dst, m.ItemContent)
}

func appendSignature(dst []byte, m *message.Message) []byte {
	if m.Signature == "" {
		return append(dst, "null"...)
	}
	return appendText(dst, m.Signature)
}

// appendHeaders appends the members of a content that say what it is about.
func appendHeaders(dst []byte, t message.Type, content []byte) []byte {
	var c struct {
		Address  json.RawMessage `json:"address"`
		Type     json.RawMessage `json:"type"`
		Ref      json.RawMessage `json:"ref"`
		Key      json.RawMessage `json:"key"`
		ItemHash json.RawMessage `json:"item_hash"`
	}
	_ = json.Unmarshal(content, &c) // it was parsed before it was stored
	if c.Address == nil {
		c.Address = json.RawMessage("null")
	}
	dst = append(append(dst, `{"address":`...), c.Address...)
	add := func(name string, value json.RawMessage) {
		if value != nil && string(value) != "null" {
			dst = append(append(append(append(dst, `,"`...), name...), `":`...), value...)
		}
	}
	switch t {
	case message.TypePost:
		add("ref", c.Ref)
		add("type", c.Type)
	case message.TypeAggregate:
		add("key", c.Key)
	case message.TypeStore:
		add("item_hash", c.ItemHash)
		add("ref", c.Ref)
	}
	return append(dst, '}')
}

// appendModel appends a message in the form of the network's models, with this text as its content; nil leaves it out.
func appendModel(dst []byte, m *message.Message, content []byte, confirmations []store.Confirmation) []byte {
	dst = m.AppendJSON(dst)
	dst = dst[:len(dst)-1]
	if content != nil {
		dst = append(append(dst, `,"content":`...), content...)
	}
	dst = strconv.AppendBool(append(dst, `,"confirmed":`...), len(confirmations) > 0)
	dst = appendConfirmations(append(dst, `,"confirmations":`...), confirmations)
	return append(dst, '}')
}

// appendPage appends what follows the list in an answer: where it stands, and the end of the object.
func (p paging) appendPage(dst []byte, item string, total int64, next string) []byte {
	if p.cursor {
		dst = append(dst, `,"next_cursor":`...)
		if next == "" {
			dst = append(dst, "null"...)
		} else {
			dst = appendText(dst, next)
		}
		return append(strconv.AppendInt(append(dst, `,"pagination_per_page":`...), p.size, 10), '}')
	}
	return fmt.Appendf(dst, `,"pagination_item":"%s","pagination_page":%d,"pagination_per_page":%d,"pagination_total":%d}`, item, p.number, p.size, total)
}

func replyRaw(w http.ResponseWriter, raw []byte) error {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(raw)))
	_, _ = w.Write(raw) // a client that is gone needs no answer
	return nil
}

// replyCompressed is replyRaw on the routes that compress for who accepts it (ccn-api §1.3).
func replyCompressed(w http.ResponseWriter, r *http.Request, raw []byte) error {
	accepted := r.Header.Get("Accept-Encoding")
	var packed io.WriteCloser
	switch {
	case strings.Contains(accepted, "gzip"):
		w.Header().Set("Content-Encoding", "gzip")
		packed, _ = gzip.NewWriterLevel(w, gzip.BestSpeed)
	case strings.Contains(accepted, "deflate"):
		w.Header().Set("Content-Encoding", "deflate")
		packed, _ = zlib.NewWriterLevel(w, zlib.BestSpeed)
	default:
		return replyRaw(w, raw)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = packed.Write(raw)
	_ = packed.Close() // a client that is gone needs no answer
	return nil
}

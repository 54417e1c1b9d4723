package api

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

const (
	defaultPage   = 20
	maxCursorPage = 200
)

func (a *API) messageRoutes() routes {
	return routes{
		"GET /api/v0/messages.json":             query(a.listMessages),
		"GET /api/v0/messages/page/{page}.json": query(a.listMessages),
		"GET /api/v0/messages/hashes":           query(a.listHashes),
		"GET /api/v0/messages/{hash}":           plain(a.getMessage),
		"GET /api/v0/messages/{hash}/content":   plain(a.getContent),
		"GET /api/v0/messages/{hash}/status":    plain(a.getStatus),
	}
}

func names[T ~string](list []T) []string {
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = string(v)
	}
	return texts
}

// hashes is a list of which every entry must be the hash of an item.
func (a *arguments) hashes(names ...string) []string {
	list := a.split(schema{"$ref": "#/components/schemas/Hash"}, names)
	for _, h := range list {
		if _, err := message.ParseHash(h); err != nil {
			a.refuse("value_error", names[0], "Value error, "+err.Error(), h)
		}
	}
	return list
}

// dates returns the bounds that dates set; 0 is none.
func (a *arguments) dates() (start, end message.Time) {
	if s := a.seconds("startDate", "start_date"); s != nil {
		start = message.TimeFromSeconds(*s)
	}
	if s := a.seconds("endDate", "end_date"); s != nil {
		end = message.TimeFromSeconds(*s)
	}
	return start, end
}

// pathPage takes the number of the page from the path, where it has one.
func (a *arguments) pathPage(r *http.Request, p *paging) {
	text := r.PathValue("page")
	if text == "" || a.err != nil {
		return
	}
	n, ok := parseInteger(text)
	switch {
	case !ok:
		a.err = refuse(http.StatusBadRequest, "Invalid page value in path: %s", text)
	case n < 1:
		a.err = refuse(http.StatusUnprocessableEntity, "Page number must be greater than 1.")
	}
	p.number = n
}

var (
	messageStatuses = []string{"pending", "processed", "rejected", "forgotten", "removing", "removed"}
	paymentTypes    = []string{"hold", "superfluid", "credit"}
	sortColumns     = []string{"time", "tx-time"}
	contentFormats  = []string{string(contentFull), string(contentHeaders), string(contentNone)}
)

// messageFilter reads the parameters that choose messages (ccn-api §3.1).
func (a *arguments) messageFilter() store.MessageFilter {
	types := names(message.Types())
	f := store.MessageFilter{
		Types:         a.choices(types, "msgTypes", "message_types"),
		Senders:       a.list("addresses"),
		Owners:        a.list("owners"),
		Refs:          a.list("refs"),
		ContentHashes: a.hashes("contentHashes", "content_hashes"),
		ContentKeys:   a.list("contentKeys", "content_keys"),
		ContentTypes:  a.list("contentTypes", "content_types"),
		Chains:        a.choices(chainNames(), "chains"),
		Channels:      a.list("channels"),
		Tags:          a.list("tags"),
		Hashes:        a.hashes("hashes"),
		PaymentTypes:  a.choices(paymentTypes, "paymentTypes", "payment_types"),
		Descending:    !a.ascending("sortOrder", "sort_order"),
		StartBlock:    a.integer(0, 0, maxInt, "startBlock", "start_block"),
		EndBlock:      a.integer(0, 0, maxInt, "endBlock", "end_block"),
	}
	if one := a.choice("", types, "msgType", "message_type"); one != "" {
		f.Types = both(f.Types, one)
	}
	f.Start, f.End = a.dates()
	if f.End != 0 && f.End < f.Start {
		a.refuse("value_error", "endDate", "Value error, end date cannot be lower than start date.", "")
	}
	if f.EndBlock != 0 && f.EndBlock < f.StartBlock {
		a.refuse("value_error", "endBlock", "Value error, end block cannot be lower than start block.", "")
	}
	f.ByConfirmation = a.choice("time", sortColumns, "sortBy", "sort_by") == "tx-time" || f.StartBlock != 0 || f.EndBlock != 0
	return f
}

// both returns the types that a list and a single type allow; none at all when they contradict.
func both(list []string, one string) []string {
	for _, t := range list {
		if t == one {
			return []string{one}
		}
	}
	if list == nil {
		return []string{one}
	}
	return []string{""}
}

func (a *arguments) contentFormat() contentFormat {
	absent := contentFull
	if a.isTrue("excludeContent", "exclude_content") {
		absent = contentNone
	}
	return contentFormat(a.choice(string(absent), contentFormats, "contentFormat", "content_format"))
}

// listMessages lists messages in pages, or from a cursor (ccn-api §3.1, §1.8).
func (a *API) listMessages(w http.ResponseWriter, r *http.Request, q *arguments) error {
	f := q.messageFilter()
	statuses := q.choices(messageStatuses, "msgStatuses", "message_statuses")
	format := q.contentFormat()
	p := q.paging(defaultPage, 0, maxInt)
	q.pathPage(r, &p)
	if q.err != nil {
		return q.err
	}
	for _, s := range statuses {
		if s == string(message.StatusForgotten) || s == string(message.StatusRemoved) {
			return a.listTerminal(w, r, message.Status(s), statuses, &f, p)
		}
	}
	f.Statuses = live(statuses)
	f.Limit, f.Offset = p.limit(), p.offset()
	f.WithoutContent = format == contentNone
	if p.cursor {
		if f.ByConfirmation {
			return invalid("value_error", "cursor", "Value error, Cursor pagination is not supported with tx-time sort order.", p.after)
		}
		if p.after != "" {
			var c struct {
				Hash message.Hash `json:"h"`
				Time string       `json:"t"`
			}
			err := readPosition(p.after, &c)
			if err == nil {
				f.AfterTime, err = readPositionTime(c.Time)
			}
			if err != nil {
				return err
			}
			f.AfterHash = c.Hash
		}
	}
	key := f
	key.Limit, key.Offset, key.WithoutContent = 0, 0, false
	rows, more, total, err := readPage(r.Context(), a, p, func(rd *store.Reader) ([]store.MessageRow, error) { return rd.ListMessages(f) }, counted{
		filter: fmt.Sprintf("messages %+v", key),
		tally:  func(rd *store.Reader) (int64, bool, error) { return rd.TallyMessages(key) },
		count:  func(rd *store.Reader, most int) (int64, error) { return rd.CountMessages(key, most) },
		short:  true,
	})
	if err != nil {
		return err
	}
	next := ""
	if more {
		last := &rows[len(rows)-1].Message
		next = position(map[string]any{"h": last.ItemHash, "t": positionTime(last.Time)})
	}
	raw := append(make([]byte, 0, 1024*(len(rows)+1)), `{"messages":[`...)
	for i := range rows {
		if i > 0 {
			raw = append(raw, ',')
		}
		raw = appendListed(raw, &rows[i], format)
	}
	return replyRaw(w, p.appendPage(append(raw, ']'), "messages", total, next))
}

// live returns the statuses to filter by. Both that live messages have need no filter.
func live(statuses []string) []string {
	seen := map[string]bool{}
	for _, s := range statuses {
		seen[s] = true
	}
	if len(statuses) == 0 || seen["processed"] && seen["removing"] {
		return nil
	}
	return statuses
}

// listTerminal lists messages that are no more (ccn-api §3.2).
func (a *API) listTerminal(w http.ResponseWriter, r *http.Request, status message.Status, statuses []string, f *store.MessageFilter, p paging) error {
	if len(statuses) > 1 {
		return refuse(http.StatusBadRequest, "msgStatuses=forgotten/removed cannot be combined with other statuses")
	}
	if p.cursor {
		return refuse(http.StatusBadRequest, "Cursor pagination is not supported for %s message queries", status)
	}
	var unsupported []string
	for _, u := range []struct {
		name string
		set  bool
	}{
		{"refs", len(f.Refs) > 0}, {"contentTypes", len(f.ContentTypes) > 0}, {"contentHashes", len(f.ContentHashes) > 0},
		{"contentKeys", len(f.ContentKeys) > 0}, {"tags", len(f.Tags) > 0}, {"startBlock", f.StartBlock != 0}, {"endBlock", f.EndBlock != 0},
	} {
		if u.set {
			unsupported = append(unsupported, u.name)
		}
	}
	if unsupported != nil {
		return refuse(http.StatusBadRequest, "Filters not supported for %s message queries: %s", status, strings.Join(unsupported, ", "))
	}
	t := store.TerminalFilter{
		Hashes: f.Hashes, Senders: f.Senders, Owners: f.Owners, Chains: f.Chains, Types: f.Types, Channels: f.Channels,
		PaymentTypes: f.PaymentTypes, Start: f.Start, End: f.End, Descending: f.Descending, Limit: p.limit(), Offset: p.offset(),
	}
	rows, _, total, err := readPage(r.Context(), a, p, func(rd *store.Reader) ([]store.TerminalRow, error) { return rd.ListTerminal(status, t) }, counted{
		count: func(rd *store.Reader, _ int) (int64, error) { return rd.CountTerminal(status, t) },
	})
	if err != nil {
		return err
	}
	raw := append(make([]byte, 0, 1024*(len(rows)+1)), `{"messages":[`...)
	for i := range rows {
		if i > 0 {
			raw = append(raw, ',')
		}
		raw = appendTerminal(raw, status, &rows[i])
	}
	return replyRaw(w, p.appendPage(append(raw, ']'), "messages", total, ""))
}

func appendTime(dst []byte, t *message.Time) []byte {
	if t == nil || *t == 0 {
		return append(dst, "null"...)
	}
	return t.AppendJSON(dst)
}

func appendTerminal(dst []byte, status message.Status, t *store.TerminalRow) []byte {
	dst = appendOptional(append(dst, `{"chain":`...), filled(t.Chain))
	dst = appendOptional(append(dst, `,"channel":`...), t.Channel)
	if status == message.StatusForgotten {
		dst = appendTime(append(dst, `,"forgotten_at":`...), t.EndedAt)
		dst = append(append(dst, `,"forgotten_by":`...), t.ForgottenBy...)
	}
	dst = appendText(append(dst, `,"item_hash":`...), t.Hash)
	dst = appendOptional(append(dst, `,"item_type":`...), filled(t.ItemType))
	dst = appendOptional(append(dst, `,"owner":`...), t.Owner)
	dst = appendOptional(append(dst, `,"payment_type":`...), filled(t.PaymentType))
	if status == message.StatusRemoved {
		dst = appendTime(append(dst, `,"removed_at":`...), t.EndedAt)
	}
	dst = appendOptional(append(dst, `,"sender":`...), filled(t.Sender))
	dst = appendOptional(append(dst, `,"signature":`...), filled(t.Signature))
	dst = append(dst, `,"size":`...)
	if t.Size == nil {
		dst = append(dst, "null"...)
	} else {
		dst = strconv.AppendInt(dst, *t.Size, 10)
	}
	dst = appendText(append(dst, `,"status":`...), status)
	dst = appendTime(append(dst, `,"time":`...), t.Time)
	dst = appendOptional(append(dst, `,"type":`...), filled(t.Type))
	return append(dst, '}')
}

// filled turns "" into nil.
func filled(s *string) *string {
	if s == nil || *s == "" {
		return nil
	}
	return s
}

// listHashes lists hashes by when this node received the messages (ccn-api §3.6).
func (a *API) listHashes(w http.ResponseWriter, r *http.Request, q *arguments) error {
	f := store.HashFilter{Status: q.choice("", messageStatuses, "status"), Descending: !q.ascending("sortOrder", "sort_order")}
	f.Start, f.End = q.dates()
	only := q.boolean("hash_only")
	p := q.page(defaultPage, 0, maxInt)
	if q.err != nil {
		return q.err
	}
	f.Limit, f.Offset = p.limit(), p.offset()
	key := f
	key.Limit, key.Offset = 0, 0
	rows, _, total, err := readPage(r.Context(), a, p, func(rd *store.Reader) ([]store.MessageHash, error) { return rd.ListHashes(f) }, counted{
		filter: fmt.Sprintf("hashes %+v", key),
		tally:  func(rd *store.Reader) (int64, bool, error) { return rd.TallyHashes(key) },
		count:  func(rd *store.Reader, most int) (int64, error) { return rd.CountHashes(key, most) },
	})
	if err != nil {
		return err
	}
	raw := []byte(`{"hashes":[`)
	for i, h := range rows {
		if i > 0 {
			raw = append(raw, ',')
		}
		if only != nil && !*only {
			raw = fmt.Appendf(raw, `{"status":"%s","item_hash":"%s","reception_time":"%s"}`, h.Status, h.Hash, h.ReceptionTime.RFC3339())
		} else {
			raw = appendText(raw, h.Hash)
		}
	}
	return replyRaw(w, p.appendPage(append(raw, ']'), "hashes", total, ""))
}

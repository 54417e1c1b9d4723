package api

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

func (a *API) postRoutes() routes {
	v0 := query(func(w http.ResponseWriter, r *http.Request, q *arguments) error {
		return a.listPosts(w, r, q, appendPostV0)
	})
	v1 := query(func(w http.ResponseWriter, r *http.Request, q *arguments) error {
		return a.listPosts(w, r, q, appendPostV1)
	})
	return routes{
		"GET /api/v0/posts.json": v0, "GET /api/v0/posts/page/{page}.json": v0,
		"GET /api/v1/posts.json": v1, "GET /api/v1/posts/page/{page}.json": v1,
	}
}

func (a *arguments) postFilter() store.PostFilter {
	f := store.PostFilter{
		Owners: a.list("addresses"), Types: a.list("types", "post_types"), Refs: a.list("refs"), Channels: a.list("channels"),
		Hashes: a.hashes("hashes"), Tags: a.list("tags"),
		Descending:     !a.ascending("sortOrder", "sort_order"),
		ByConfirmation: a.choice("time", sortColumns, "sortBy", "sort_by") == "tx-time",
	}
	if s := a.seconds("startDate", "start_date"); s != nil {
		f.Start = *s
	}
	if s := a.seconds("endDate", "end_date"); s != nil {
		f.End = *s
	}
	return f
}

// listPosts lists posts, each merged with its newest amendment, in pages or from a cursor (ccn-api §5).
func (a *API) listPosts(w http.ResponseWriter, r *http.Request, q *arguments, show func([]byte, *store.PostListRow) ([]byte, error)) error {
	f := q.postFilter()
	p := q.paging(defaultPage, 0, maxInt)
	q.pathPage(r, &p)
	if q.err != nil {
		return q.err
	}
	f.Limit, f.Offset = p.limit(), p.offset()
	if p.cursor && f.ByConfirmation {
		return invalid("value_error", "cursor", "Value error, Cursor pagination is not supported with tx-time sort order.", p.after)
	}
	if p.after != "" {
		var c struct {
			Hash message.Hash `json:"h"`
			Time string       `json:"t"`
		}
		err := readPosition(p.after, &c)
		var t message.Time
		if err == nil {
			t, err = readPositionTime(c.Time)
		}
		if err != nil {
			return err
		}
		f.AfterTime, f.AfterHash = t.Seconds(), c.Hash
	}
	key := f
	key.Limit, key.Offset = 0, 0
	rows, more, total, err := readPage(r.Context(), a, p, func(rd *store.Reader) ([]store.PostListRow, error) { return rd.ListPosts(f) }, counted{
		filter: fmt.Sprintf("posts %+v", key),
		tally:  func(rd *store.Reader) (int64, bool, error) { return rd.TallyPosts(key) },
		count:  func(rd *store.Reader, most int) (int64, error) { return rd.CountPosts(key, most) },
	})
	if err != nil {
		return err
	}
	next := ""
	if more {
		last := &rows[len(rows)-1]
		next = position(map[string]any{"h": last.Hash, "t": positionTime(message.TimeFromSeconds(last.LastUpdated))})
	}
	raw := append(make([]byte, 0, 1280*(len(rows)+1)), `{"posts":[`...)
	for i := range rows {
		if i > 0 {
			raw = append(raw, ',')
		}
		if raw, err = show(raw, &rows[i]); err != nil {
			return err
		}
	}
	return replyCompressed(w, r, p.appendPage(append(raw, ']'), "posts", total, next))
}

// said returns the content of what is shown of a post as it was sent. All else of the text was checked before it was
// stored.
func said(p *store.PostListRow) ([]byte, error) {
	d := jsontext.NewDecoder(bytes.NewBuffer(p.Shown.Content), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	content := []byte("null")
	_, err := d.ReadToken() // the brace
	for err == nil && d.PeekKind() == '"' {
		var name jsontext.Token
		if name, err = d.ReadToken(); err != nil {
			break
		}
		if name.String() != "content" {
			err = d.SkipValue()
			continue
		}
		var value jsontext.Value
		if value, err = d.ReadValue(); err == nil {
			content = value.Clone()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("content of post %s: %w", p.Shown.Message.ItemHash, err)
	}
	return content, nil
}

func appendPostV0(dst []byte, p *store.PostListRow) ([]byte, error) {
	content, err := said(p)
	if err != nil {
		return nil, err
	}
	m := &p.Shown.Message
	shownType := p.Type
	if p.Amended {
		shownType = "amend"
	}
	dst = appendText(append(dst, `{"chain":`...), p.Chain)
	dst = appendText(append(dst, `,"item_hash":`...), m.ItemHash)
	dst = appendText(append(dst, `,"sender":`...), p.Owner)
	dst = appendText(append(dst, `,"type":`...), shownType)
	dst = appendOptional(append(dst, `,"channel":`...), p.Channel)
	dst = strconv.AppendBool(append(dst, `,"confirmed":`...), len(p.Shown.Confirmations) > 0)
	dst = append(append(dst, `,"content":`...), content...)
	dst = appendItem(append(dst, `,"item_content":`...), m)
	dst = appendText(append(dst, `,"item_type":`...), m.ItemType)
	dst = appendSignature(append(dst, `,"signature":`...), m)
	dst = strconv.AppendInt(append(dst, `,"size":`...), p.Shown.Size, 10)
	dst = m.Time.AppendJSON(append(dst, `,"time":`...))
	dst = appendConfirmations(append(dst, `,"confirmations":`...), p.Shown.Confirmations)
	dst = appendText(append(dst, `,"original_item_hash":`...), p.Hash)
	dst = appendOptional(append(dst, `,"original_signature":`...), p.Signature)
	dst = appendText(append(dst, `,"original_type":`...), p.Type)
	dst = appendText(append(dst, `,"hash":`...), p.Hash)
	dst = appendText(append(dst, `,"address":`...), p.Owner)
	dst = appendOptional(append(dst, `,"ref":`...), p.Ref)
	return append(dst, '}'), nil
}

func appendPostV1(dst []byte, p *store.PostListRow) ([]byte, error) {
	content, err := said(p)
	if err != nil {
		return nil, err
	}
	dst = appendText(append(dst, `{"item_hash":`...), p.Shown.Message.ItemHash)
	dst = append(append(dst, `,"content":`...), content...)
	dst = appendText(append(dst, `,"original_item_hash":`...), p.Hash)
	dst = appendText(append(dst, `,"original_type":`...), p.Type)
	dst = appendText(append(dst, `,"address":`...), p.Owner)
	dst = appendOptional(append(dst, `,"ref":`...), p.Ref)
	dst = appendOptional(append(dst, `,"channel":`...), p.Channel)
	dst = appendText(append(dst, `,"created":`...), isoTime(p.Created))
	dst = appendText(append(dst, `,"last_updated":`...), isoTime(p.LastUpdated))
	return append(dst, '}'), nil
}

package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// post is an original post merged with its newest amendment (ccn-api §5, v0).
type post struct {
	Chain            message.Chain    `json:"chain"`
	ItemHash         message.Hash     `json:"item_hash"`
	Sender           string           `json:"sender"`
	Type             *string          `json:"type"`
	Channel          *string          `json:"channel"`
	Confirmed        bool             `json:"confirmed"`
	Content          json.RawMessage  `json:"content"`
	ItemContent      *string          `json:"item_content"`
	ItemType         message.ItemType `json:"item_type"`
	Signature        *string          `json:"signature"`
	Size             int64            `json:"size"`
	Time             float64          `json:"time"`
	Confirmations    []confirmation   `json:"confirmations"`
	OriginalItemHash message.Hash     `json:"original_item_hash"`
	OriginalSig      *string          `json:"original_signature"`
	OriginalType     string           `json:"original_type"`
	Hash             message.Hash     `json:"hash"`
	Address          string           `json:"address"`
	Ref              *string          `json:"ref"`
}

func postFilter(q url.Values) store.PostFilter {
	list := func(name string) []string {
		if !q.Has(name) {
			return nil
		}
		return strings.Split(q.Get(name), ",")
	}
	return store.PostFilter{
		Owners: list("addresses"), Types: list("types"), Refs: list("refs"), Channels: list("channels"),
		Hashes: list("hashes"), Tags: list("tags"), Descending: q.Get("sortOrder") != "1" && q.Get("sort_order") != "1",
	}
}

// listPosts lists posts in pages (ccn-api §5).
func (a *API) listPosts(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	size, number, err := page(q)
	if err != nil {
		return err
	}
	f := postFilter(q)
	f.Limit, f.Offset = size, size*(number-1)
	list := []post{}
	total := 0
	err = a.cfg.Store.Read(r.Context(), func(rd *store.Reader) error {
		rows, err := rd.ListPosts(f)
		if err != nil {
			return err
		}
		for _, row := range rows {
			p, err := merged(rd, row)
			if err != nil {
				return err
			}
			list = append(list, p)
		}
		total, err = rd.CountPosts(f)
		return err
	})
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, map[string]any{
		"posts": list, "pagination_item": "posts", "pagination_page": number, "pagination_per_page": size, "pagination_total": total,
	})
}

func merged(rd *store.Reader, row store.PostListRow) (post, error) {
	original, err := rd.Message(row.Hash)
	if err != nil || original == nil {
		return post{}, fmt.Errorf("message of post %s: %w", row.Hash, err)
	}
	shown := original
	if row.Latest != "" {
		if shown, err = rd.Message(row.Latest); err != nil || shown == nil {
			return post{}, fmt.Errorf("message of amendment %s: %w", row.Latest, err)
		}
	}
	c, err := message.ParseContent(message.TypePost, shown.Content)
	if err != nil {
		return post{}, fmt.Errorf("content of post %s: %w", shown.Message.ItemHash, err)
	}
	content := c.(*message.Post)
	l := inList(shown)
	p := post{
		Chain: l.Chain, ItemHash: l.ItemHash, Sender: row.Owner, Type: &content.PostType, Channel: original.Message.Channel,
		Confirmed: l.Confirmed, Content: content.Content, ItemContent: l.ItemContent, ItemType: l.ItemType, Signature: l.Signature,
		Size: shown.Size, Time: content.Time, Confirmations: l.Confirmations, OriginalItemHash: row.Hash,
		OriginalSig: inList(original).Signature, OriginalType: row.Type, Hash: row.Hash, Address: row.Owner,
	}
	if row.Ref != "" {
		p.Ref = &row.Ref
	}
	if p.Content == nil {
		p.Content = json.RawMessage("null")
	}
	return p, nil
}

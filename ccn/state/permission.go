package state

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// scope is what a grant may be restricted to.
type scope struct {
	typ      message.Type
	chain    message.Chain
	channel  *string
	postType string
	key      string
}

func scopeOf(m *message.Message, content message.Content) scope {
	sc := scope{typ: m.Type, chain: m.Chain, channel: m.Channel}
	switch c := content.(type) {
	case *message.Post:
		sc.postType = c.PostType
	case *message.Aggregate:
		sc.key = c.Key
	}
	return sc
}

// storedScope returns the scope of a message that was applied.
func storedScope(m *store.MessageRow) scope {
	sc := scope{typ: m.Message.Type, chain: m.Message.Chain, channel: m.Message.Channel}
	if content, err := message.ParseContent(m.Message.Type, m.Content); err == nil {
		return scopeOf(&m.Message, content)
	}
	return sc
}

// grant is an entry of the security aggregate (spec/ccn-core.md §4). An empty list restricts nothing.
type grant struct {
	Address       string   `json:"address"`
	Chain         string   `json:"chain"`
	Channels      []string `json:"channels"`
	Types         []string `json:"types"`
	PostTypes     []string `json:"post_types"`
	AggregateKeys []string `json:"aggregate_keys"`
}

func (g *grant) covers(sc scope) bool {
	within := func(list []string, s string) bool { return len(list) == 0 || slices.Contains(list, s) }
	switch {
	case g.Chain != "" && g.Chain != string(sc.chain),
		len(g.Channels) > 0 && (sc.channel == nil || !slices.Contains(g.Channels, *sc.channel)),
		!within(g.Types, string(sc.typ)),
		sc.typ == message.TypePost && !within(g.PostTypes, sc.postType),
		sc.typ == message.TypeAggregate && !within(g.AggregateKeys, sc.key):
		return false
	}
	return true
}

const securityKey = "security"

// allowed reports whether sender may act for owner. A malformed grant grants nothing.
func allowed(r *store.Reader, sender, owner string, sc scope) (bool, error) {
	if strings.EqualFold(sender, owner) {
		return true, nil
	}
	row, err := r.Aggregate(owner, securityKey)
	if err != nil || row == nil {
		return false, err
	}
	var doc struct {
		Authorizations []json.RawMessage `json:"authorizations"`
	}
	if json.Unmarshal(row.Content, &doc) != nil {
		return false, nil
	}
	for _, raw := range doc.Authorizations {
		var g grant
		if json.Unmarshal(raw, &g) == nil && strings.EqualFold(g.Address, sender) && g.covers(sc) {
			return true, nil
		}
	}
	return false, nil
}

// permit refuses a message whose sender may not act for the owner of its content.
func permit(r *store.Reader, it *Item) error {
	return permitAs(r, it, it.Content.Base().Address, scopeOf(it.Message, it.Content))
}

func permitAs(r *store.Reader, it *Item, owner string, sc scope) error {
	if it.Accepted {
		return nil
	}
	ok, err := allowed(r, it.Message.Sender, owner, sc)
	if err != nil {
		return err
	}
	if !ok {
		return message.Errorf(message.ErrPermissionDenied, "%s is not allowed to act for %s: the owner must grant it in the aggregate %q",
			it.Message.Sender, owner, securityKey)
	}
	return nil
}

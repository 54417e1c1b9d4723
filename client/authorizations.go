package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"strconv"
	"strings"

	"github.com/aleph-im/aleph-go/message"
)

// Grant lets an address act on behalf of another. Each member that is set narrows it; a grant of none lets the address do
// everything (spec/messages.md §6).
type Grant struct {
	Address       string         `json:"address,omitempty"` // who is let; empty in lists, where it is beside the grant
	Chain         message.Chain  `json:"chain,omitempty"`
	Channels      []string       `json:"channels,omitempty"`
	Types         []message.Type `json:"types,omitempty"`
	PostTypes     []string       `json:"post_types,omitempty"`     // of POST messages
	AggregateKeys []string       `json:"aggregate_keys,omitempty"` // of AGGREGATE messages
}

// securityKey is the aggregate that holds all grants of its owner.
const securityKey = "security"

// grants reads an owner's list as it is, with members that this package does not know.
func (c *Client) grants(ctx context.Context, owner string) ([]json.RawMessage, error) {
	var security struct {
		Authorizations []json.RawMessage `json:"authorizations"`
	}
	err := c.Aggregate(ctx, owner, securityKey, &security)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	return security.Authorizations, nil
}

// Grant adds a grant to those that the account gave. The whole list is read and written: two that change it at once lose one of
// the changes.
func (c *Client) Grant(ctx context.Context, by Account, g Grant, o SendOptions) (*Sent, error) {
	if g.Address == "" {
		return nil, errors.New("grant: the address that may act is missing")
	}
	list, err := c.grants(ctx, ownerOf(by, o))
	if err != nil {
		return nil, err
	}
	raw, err := encodeJSON(g)
	if err != nil {
		return nil, err
	}
	return c.SetAggregate(ctx, by, securityKey, map[string]any{"authorizations": append(list, raw)}, o)
}

// Revoke takes back all that was granted to an address. One that nothing was granted to is [ErrNotFound].
func (c *Client) Revoke(ctx context.Context, by Account, address string, o SendOptions) (*Sent, error) {
	list, err := c.grants(ctx, ownerOf(by, o))
	if err != nil {
		return nil, err
	}
	rest := []json.RawMessage{}
	for _, raw := range list {
		var g struct {
			Address string `json:"address"`
		}
		if json.Unmarshal(raw, &g) != nil || !strings.EqualFold(g.Address, address) {
			rest = append(rest, raw)
		}
	}
	if len(rest) == len(list) {
		return nil, fmt.Errorf("revoke what was granted to %s: %w", address, ErrNotFound)
	}
	return c.SetAggregate(ctx, by, securityKey, map[string]any{"authorizations": rest}, o)
}

func ownerOf(by Account, o SendOptions) string {
	if o.Address != "" {
		return o.Address
	}
	return by.Address()
}

// Granted walks through what address lets others do.
func (c *Client) Granted(ctx context.Context, address string) iter.Seq2[Grant, error] {
	return c.listGrants(ctx, "granted", address)
}

// Received walks through what others let address do; Address of each grant is who gave it.
func (c *Client) Received(ctx context.Context, address string) iter.Seq2[Grant, error] {
	return c.listGrants(ctx, "received", address)
}

// listGrants follows the pages of ccn-api §7, which have no cursors.
func (c *Client) listGrants(ctx context.Context, direction, address string) iter.Seq2[Grant, error] {
	const perPage = 200
	return func(yield func(Grant, error) bool) {
		for page := 1; ; page++ {
			var reply struct {
				Authorizations object[[]Grant] `json:"authorizations"`
			}
			q := url.Values{"page": {strconv.Itoa(page)}, "pagination": {strconv.Itoa(perPage)}}
			path := "/api/v0/authorizations/" + direction + "/" + url.PathEscape(address) + ".json"
			if err := c.get(ctx, path, q, &reply); err != nil {
				yield(Grant{}, fmt.Errorf("authorizations %s by %s: %w", direction, address, err))
				return
			}
			for _, other := range reply.Authorizations {
				for _, g := range other.value {
					g.Address = other.name
					if !yield(g, nil) {
						return
					}
				}
			}
			if len(reply.Authorizations) < perPage {
				return
			}
		}
	}
}

// object is a JSON object whose members keep their order.
type object[T any] []member[T]

type member[T any] struct {
	name  string
	value T
}

// UnmarshalJSON implements [json.Unmarshaler].
func (o *object[T]) UnmarshalJSON(raw []byte) error {
	*o = nil
	d := json.NewDecoder(strings.NewReader(string(raw)))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return errors.Join(errors.New("want an object"), err)
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		name, _ := t.(string) // names of members are texts
		var v T
		if err := d.Decode(&v); err != nil {
			return err
		}
		*o = append(*o, member[T]{name, v})
	}
	return nil
}

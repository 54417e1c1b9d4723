package state

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/cockroachdb/apd/v3"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// post decides on a POST (spec/ccn-core.md §3.1).
func (s *State) post(tx *store.Tx, it *Item, c *message.Post) (*change, error) {
	h := it.Message.ItemHash
	row := &store.PostRow{
		Hash: h, Owner: c.Address, Type: c.PostType, Channel: it.Message.Channel, ContentTime: c.Time, LastUpdated: c.Time,
	}
	if c.Ref != "" {
		row.Ref = &c.Ref
	}
	if c.PostType == message.PostTypeAmend {
		original, err := amended(tx.Reader, it, c)
		if err != nil {
			return nil, err
		}
		row.Amends = &original
	} else if err := permit(tx.Reader, it); err != nil {
		return nil, err
	}
	balances, err := s.balances(it, c)
	if err != nil {
		return nil, err
	}
	ch := &change{columns: store.ContentColumns{Type: &c.PostType, Ref: row.Ref}}
	if bytes.Contains(c.Content, []byte("tags")) {
		ch.columns.Tags = tags(c.Content)
	}
	ch.write = func(*Effect) error {
		if err := tx.InsertPost(row); err != nil {
			return err
		}
		if row.Amends != nil {
			if err := tx.RefreshPost(*row.Amends); err != nil {
				return err
			}
		}
		for i := range balances {
			if err := tx.PutBalance(&balances[i]); err != nil {
				return err
			}
		}
		return nil
	}
	return ch, nil
}

// amended returns the post that an amendment may change. The grants that count are those for the original message.
func amended(r *store.Reader, it *Item, c *message.Post) (message.Hash, error) {
	if c.Ref == "" {
		return "", &message.Error{Code: message.ErrAmendNoTarget}
	}
	h := message.Hash(c.Ref)
	original, err := r.Message(h)
	if err != nil {
		return "", err
	}
	if original == nil {
		if err := permit(r, it); err != nil {
			return "", err
		}
	} else if !strings.EqualFold(c.Address, original.Owner) {
		return "", message.Errorf(message.ErrPermissionDenied, "only %s can amend post %s", original.Owner, h)
	} else if err := permitAs(r, it, original.Owner, storedScope(original)); err != nil {
		return "", err
	}
	post, err := r.Post(h)
	switch {
	case err != nil:
		return "", err
	case post == nil:
		return "", &message.Error{Code: message.ErrAmendTargetNotFound, WaitsFor: []message.WaitKey{message.WaitMessage(h)}}
	case post.Amends != nil:
		return "", &message.Error{Code: message.ErrAmendAmend}
	case post.Owner != c.Address:
		return "", message.Errorf(message.ErrPermissionDenied, "only %s can amend post %s", post.Owner, h)
	}
	return h, nil
}

// balances reads a publication of token balances (spec/ccn-core.md §5.8); nil when the post is none.
func (s *State) balances(it *Item, c *message.Post) ([]store.BalanceRow, error) {
	p := s.params.Balances
	if !slices.Contains(p.PostTypes, c.PostType) || !p.Trusts(c.Address) || emptyJSON(c.Content) {
		return nil, nil
	}
	var update struct {
		Chain    *message.Chain         `json:"chain"`
		Height   *int64                 `json:"main_height"`
		Balances map[string]json.Number `json:"balances"`
		Dapp     *string                `json:"dapp"`
	}
	if err := json.Unmarshal(c.Content, &update); err != nil {
		return nil, message.Errorf(message.ErrInvalidFormat, "balances are not in the expected form: %v", err)
	}
	if update.Chain == nil || update.Height == nil || update.Balances == nil || !slices.Contains(message.Chains(), *update.Chain) {
		return nil, message.Errorf(message.ErrInvalidFormat, "balances need the members chain, main_height and balances")
	}
	rows := make([]store.BalanceRow, 0, len(update.Balances))
	for address, amount := range update.Balances {
		if d, _, err := apd.NewFromString(amount.String()); err != nil || d.Form != apd.Finite {
			return nil, message.Errorf(message.ErrInvalidFormat, "balance %q of %s is not a number", amount, address)
		}
		row := store.BalanceRow{
			Address: address, Chain: *update.Chain, Balance: amount.String(), Height: *update.Height,
			Message: it.Message.ItemHash, LastUpdate: message.TimeFrom(s.now()),
		}
		if update.Dapp != nil {
			row.Dapp = *update.Dapp
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func emptyJSON(raw json.RawMessage) bool {
	switch string(bytes.TrimSpace(raw)) {
	case "", "null", "{}", "[]", `""`, "0", "false":
		return true
	}
	return false
}

// forgetPost undoes a POST; amendments of an original are forgotten with it.
func (f *forgetting) forgetPost(h message.Hash) error {
	post, err := f.tx.Post(h)
	if err != nil || post == nil {
		return err
	}
	if err := f.tx.DeletePost(h); err != nil {
		return err
	}
	if post.Amends != nil {
		return f.tx.RefreshPost(*post.Amends)
	}
	amendments, err := f.tx.Amendments(h)
	if err != nil {
		return err
	}
	for _, amendment := range amendments {
		// Without its original an amendment shows nowhere, so the refresh that its end asks for finds no row.
		if err := f.forget(amendment); err != nil {
			return err
		}
	}
	return nil
}

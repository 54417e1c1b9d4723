package state

import (
	"bytes"
	"encoding/json"
	"strconv"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// post decides on a POST (spec/ccn-core.md §3.1).
func (s *State) post(r *reader, it *Item, c *message.Post) (*change, error) {
	h := it.Message.ItemHash
	row := &store.PostRow{
		Hash: h, Owner: c.Address, Type: c.PostType, Channel: it.Message.Channel, ContentTime: c.Time, LastUpdated: c.Time,
	}
	if c.Ref != "" {
		row.Ref = &c.Ref
	}
	ch := &change{columns: store.ContentColumns{Type: &c.PostType, Ref: row.Ref}}
	if c.PostType == message.PostTypeAmend {
		original, err := s.amended(r, it, c)
		if err != nil {
			return nil, err
		}
		row.Amends = &original.hash
		ch.forgottenBy = original.forgottenBy
	} else if err := s.permit(r, it); err != nil {
		return nil, err
	}
	balances, err := s.balances(it, c)
	if err != nil {
		return nil, err
	}
	credits, err := s.credits(r, it, c)
	if err != nil {
		return nil, err
	}
	measured := s.measurements(it, c)
	ch.write = func(w *work) error {
		row.ID, row.Tags = w.row, ch.columns.Tags
		if err := w.tx.InsertPost(row); err != nil {
			return err
		}
		if row.Amends != nil {
			if err := w.tx.RefreshPost(*row.Amends); err != nil {
				return err
			}
		}
		for i := range measured {
			if err := w.tx.PutNodeMetric(&measured[i]); err != nil {
				return err
			}
		}
		if err := w.publish(it, balances); err != nil || credits == nil {
			return err
		}
		return w.move(credits)
	}
	return ch, nil
}

// original is what an amendment amends.
type original struct {
	hash        message.Hash
	owner       string
	scope       scope
	amendment   bool               // it is itself one
	forgottenBy []store.Forgetting // who takes its amendments too, whenever they come
}

// amended returns the post that an amendment may change. The grants that count are those for the original message.
func (s *State) amended(r *reader, it *Item, c *message.Post) (*original, error) {
	if c.Ref == "" {
		return nil, &message.Error{Code: message.ErrAmendNoTarget}
	}
	o, err := findPost(r.Reader, message.Hash(c.Ref))
	switch {
	case err != nil:
		return nil, err
	case o == nil:
		wait := message.WaitMessage(message.Hash(c.Ref))
		if err := s.permit(r, it); err != nil {
			return nil, waitingFor(err, wait)
		}
		return nil, waitingFor(&message.Error{Code: message.ErrAmendTargetNotFound}, wait)
	case !sameAddress(c.Address, o.owner):
		return nil, onlyOwnerAmends(o)
	}
	if err := s.permitAs(r, it, o.owner, o.scope); err != nil {
		return nil, waitingFor(err, message.WaitGone(o.hash))
	}
	switch {
	case o.amendment:
		return nil, waitingFor(&message.Error{Code: message.ErrAmendAmend}, message.WaitGone(o.hash))
	case c.Address != o.owner:
		return nil, onlyOwnerAmends(o)
	}
	return o, nil
}

func onlyOwnerAmends(o *original) error {
	return waitingFor(message.Errorf(message.ErrPermissionDenied, "only %s can amend post %s", o.owner, o.hash), message.WaitGone(o.hash))
}

// findPost returns a post that is applied or was forgotten; nil when there is none.
func findPost(r *store.Reader, h message.Hash) (*original, error) {
	post, err := r.Post(h)
	if err != nil {
		return nil, err
	}
	if post != nil {
		m, err := r.Message(h)
		if err != nil || m == nil {
			return nil, err
		}
		return &original{hash: h, owner: post.Owner, scope: storedScope(m), amendment: post.Amends != nil}, nil
	}
	f, err := r.Forgotten(h)
	if err != nil || f == nil || f.Message.Type != message.TypePost {
		return nil, err
	}
	o := &original{hash: h, owner: f.Owner, scope: forgottenScope(f)}
	o.amendment = o.scope.postType == message.PostTypeAmend
	o.forgottenBy, err = r.Forgettings(h)
	return o, err
}

// emptyJSON reports whether a value is what Python takes for nothing, however it is spelled.
func emptyJSON(raw json.RawMessage) bool {
	var compact bytes.Buffer
	if json.Compact(&compact, raw) != nil {
		return len(bytes.TrimSpace(raw)) == 0
	}
	switch compact.String() {
	case "null", "{}", "[]", `""`, "false":
		return true
	}
	n, err := strconv.ParseFloat(compact.String(), 64)
	return err == nil && n == 0
}

// erasePost deletes a post; its amendments stay.
func (w *work) erasePost(h message.Hash) error {
	post, err := w.tx.Post(h)
	if err != nil || post == nil {
		return err
	}
	if err := w.tx.DeletePost(h); err != nil || post.Amends == nil {
		return err
	}
	return w.tx.RefreshPost(*post.Amends)
}

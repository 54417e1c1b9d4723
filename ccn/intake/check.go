package intake

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// check verifies the signature, once for each copy, and makes the entry ready to be applied. It reports whether the
// outcome is already known.
func (p *Pipeline) check(ctx context.Context, e *entry) (settled bool, err error) {
	defer survive(&err)
	m, copied := e.item.Message, keyOf(e.item.Message).digest()
	verdict, known := p.seen.get(copied)
	if known && verdict == nil {
		var signature string
		var status message.Status
		// What is not committed yet is found to be a duplicate when it is applied.
		err := p.cfg.Store.ReadCommitted(ctx, func(r *store.Reader) (err error) {
			signature, status, err = r.Signature(m.ItemHash)
			return err
		})
		if err != nil {
			return false, fmt.Errorf("look for message %s: %w", m.ItemHash, err)
		}
		if signature == m.Signature && (status == message.StatusProcessed || status == message.StatusRemoving) {
			p.stats.duplicates.Add(1)
			e.out = Outcome{Hash: m.ItemHash, Status: message.StatusProcessed, Duplicate: true, Message: m, Content: e.item.Content}
			return true, nil
		}
	}
	if err := p.acquire(ctx); err != nil {
		return false, err
	}
	defer p.release()
	switch {
	case known:
	case m.Signature == "":
		verdict = &message.Error{Code: message.ErrInvalidSignature, Errors: []any{"Missing signature"}}
	default:
		p.stats.verified.Add(1)
		if err := p.cfg.Verify(m); err != nil && !errors.As(err, &verdict) {
			return false, fmt.Errorf("verify message %s: %w", m.ItemHash, err)
		}
		p.seen.put(copied, verdict)
	}
	if verdict != nil {
		e.refused = verdict
		return false, nil
	}
	return false, p.load(ctx, e)
}

// parse is message.Parse of bytes that may come from anybody.
func parse(raw []byte) (m *message.Message, content message.Content, err error) {
	defer survive(&err)
	return message.Parse(raw)
}

// survive, deferred, makes a panic the error of one message: it must not end the node, nor leave copies of the message waiting.
func survive(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
	}
}

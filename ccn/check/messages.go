package check

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// ends checks that messages are found by the ends of their hashes.
func (c *checker) ends(context.Context) error {
	lost, stray, err := c.r.LostEnds()
	if err != nil {
		return err
	}
	for _, h := range lost {
		c.report.add(Finding{"message", string(h), "it is not found by its hash", rebuild})
	}
	if stray != 0 {
		c.report.add(Finding{"message", "hashes", fmt.Sprintf("%d ends of hashes lead to no message", stray), rebuild})
	}
	return nil
}

// messages checks each message by itself, on all cores.
func (c *checker) messages(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	rows := make(chan *store.MessageRow, 64)
	found := make(chan []Finding, 64)
	group.Go(func() error {
		defer close(rows)
		return c.r.EachMessage(func(m *store.MessageRow) error {
			select {
			case rows <- m:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	verifiers, inner := errgroup.WithContext(ctx)
	for range workers() {
		verifiers.Go(func() error {
			for m := range rows {
				list, err := c.message(inner, m)
				if err != nil {
					return err
				}
				select {
				case found <- list:
				case <-inner.Done():
					return inner.Err()
				}
			}
			return nil
		})
	}
	group.Go(func() error {
		defer close(found)
		return verifiers.Wait()
	})
	for list := range found {
		for _, f := range list {
			c.report.add(f)
		}
		c.report.Messages++
		if !c.cfg.SkipSignatures {
			c.report.Signatures++
		}
		if c.report.Messages%every == 0 {
			c.cfg.Progress("messages", c.report.Messages)
		}
	}
	return group.Wait()
}

// message checks what can be said of one message without looking at others.
func (c *checker) message(ctx context.Context, row *store.MessageRow) (list []Finding, err error) {
	m := &row.Message
	add := func(check, format string, args ...any) {
		list = append(list, Finding{check, string(m.ItemHash), fmt.Sprintf(format, args...), reimport})
	}
	content, err := m.Check()
	if err != nil {
		add("message", "the message does not parse or does not match its hash: %v", err)
		return list, nil
	}
	if m.Signature != "" && !c.cfg.SkipSignatures {
		if err := c.cfg.Verify(m); err != nil {
			add("signature", "%v", err)
		}
	}
	size := int64(utf8.RuneCountInString(m.ItemContent))
	if m.ItemType != message.ItemInline {
		var problem string
		if content, size, problem, err = c.content(ctx, row); err != nil {
			return nil, err
		} else if problem != "" {
			add("content", "%s", problem)
		}
	}
	if content == nil {
		return list, nil
	}
	if base := content.Base(); base.Address != row.Owner || base.Time != row.ContentTime {
		add("message", "its row says it is of %s at %v, its content says %s at %v", row.Owner, row.ContentTime, base.Address, base.Time)
	}
	if size >= 0 && size != row.Size {
		add("message", "its row says that the content has size %d, it has %d", row.Size, size)
	}
	return list, nil
}

// content checks the stored copy of a content that is a file of its own. The size is -1 when it is not known.
func (c *checker) content(ctx context.Context, row *store.MessageRow) (content message.Content, size int64, problem string, err error) {
	content, err = message.ParseContent(row.Message.Type, row.Content)
	if err != nil {
		return nil, -1, fmt.Sprintf("the stored content does not parse: %v", err), nil
	}
	if c.cfg.Files == nil {
		return content, -1, "", nil
	}
	f, size, err := c.cfg.Files.Open(ctx, row.Message.ItemHash)
	if errors.Is(err, files.ErrNotFound) {
		return content, -1, "", nil // the check of files says so
	} else if err != nil {
		return nil, -1, "", fmt.Errorf("open content of %s: %w", row.Message.ItemHash, err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, 64<<20))
	if err != nil {
		return nil, -1, "", fmt.Errorf("read content of %s: %w", row.Message.ItemHash, err)
	}
	if row.Message.ItemHash.Kind() == message.ItemStorage && message.HashBytes(raw) != row.Message.ItemHash {
		return content, size, "the file of the content does not hash to its name", nil
	}
	if _, stored, err := row.Message.ParseFetched(raw); err != nil || !bytes.Equal(stored, row.Content) {
		return content, size, "the stored content is not what the file of the content says", nil
	}
	return content, size, "", nil
}

// forgotten checks that a FORGET stands behind each forgotten message and that it is in no other place.
func (c *checker) forgotten(ctx context.Context) error {
	return c.r.EachForgotten(func(h message.Hash, by string) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		c.report.Forgotten++
		add := func(format string, args ...any) {
			c.report.add(Finding{"forgotten", string(h), fmt.Sprintf(format, args...), rebuild})
		}
		var list []message.Hash
		if err := json.Unmarshal([]byte(by), &list); err != nil || len(list) == 0 {
			add("what is left of it names no FORGET: %q", by)
		}
		for _, f := range slices.Compact(list) {
			m, err := c.look.Message(f)
			if err != nil {
				return err
			}
			if m == nil || m.Message.Type != message.TypeForget {
				add("it was forgotten by %s, which is no FORGET of this node", f)
			}
		}
		_, status, err := c.look.Signature(h)
		if err != nil {
			return err
		}
		if status != message.StatusForgotten {
			add("it is forgotten and at the same time %s", status)
		}
		return nil
	})
}

// files checks that each pinned file is there and is what the database says.
func (c *checker) files(ctx context.Context) error {
	return c.r.EachPinnedFile(func(h message.Hash, row *store.FileRow) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		c.report.Files++
		if c.report.Files%every == 0 {
			c.cfg.Progress("files", c.report.Files)
		}
		if row == nil {
			c.report.add(Finding{"pin", string(h), "the file is pinned and has no row", rebuild})
			return nil
		}
		if c.cfg.Files == nil {
			return nil
		}
		info, err := c.cfg.Files.Stat(ctx, h)
		switch {
		case errors.Is(err, files.ErrNotFound):
			c.report.add(Finding{"file", string(h), "the file is referred to and not in the store of files", refetch})
			return nil
		case err != nil:
			return fmt.Errorf("look for file %s: %w", h, err)
		case info.Size != row.Size:
			c.report.add(Finding{"file", string(h), fmt.Sprintf("the file has %d bytes, the database says %d", info.Size, row.Size), refetch})
			return nil
		case !c.cfg.HashFiles:
			return nil
		}
		err = c.cfg.Files.Verify(ctx, h)
		if errors.Is(err, files.ErrWrongHash) || errors.Is(err, files.ErrNotFound) {
			c.report.add(Finding{"file", string(h), "the bytes of the file are not those of its name", refetch})
			return nil
		}
		c.report.FileBytes += info.Size
		return err
	})
}

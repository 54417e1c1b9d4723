package replica

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

const (
	// keepUnasked is how long a replica stays that nobody asks for any more.
	keepUnasked = 7 * 24 * time.Hour
	// keepStarted is how long it stays at least after a start, so that it can be asked for.
	keepStarted = 24 * time.Hour
)

// Drop removes a replica, if there is one, unless it was taken.
func (s *Store) Drop(hash message.Hash) error { return s.remove(hash, (*held).untaken) }

func (h *held) untaken() error {
	if h.terms.Taken {
		return ErrTaken
	}
	return nil
}

// Expire removes replicas that nobody has asked for in a week. What was taken stays.
func (s *Store) Expire() error {
	s.mu.Lock()
	hashes := slices.Collect(maps.Keys(s.replicas))
	s.mu.Unlock()
	var errs []error
	for _, hash := range hashes {
		if err := s.remove(hash, (*held).unasked); !errors.Is(err, errStays) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

var errStays = errors.New("it was taken, or somebody asks for it")

// begun is nil for what was never agreed on.
func (h *held) begun() error {
	if h.terms.Token != "" {
		return errStays
	}
	return nil
}

func (h *held) unasked() error {
	if h.terms.Taken || time.Since(h.asked) <= keepUnasked {
		return errStays
	}
	return nil
}

// Finish removes a replica that was taken: the instance is here whole.
func (s *Store) Finish(hash message.Hash) error {
	return s.remove(hash, func(*held) error { return nil })
}

// remove removes a replica, if there is one, unless whyNot, called with its mu held, says so.
func (s *Store) remove(hash message.Hash, whyNot func(*held) error) error {
	h := s.find(hash)
	if h == nil {
		return nil
	}
	h.files.Lock()
	defer h.files.Unlock()
	if err := h.end(whyNot); errors.Is(err, errGone) {
		return nil
	} else if err != nil {
		return fmt.Errorf("replica of %s: %w", hash, err)
	}
	aside := h.dir + goneSuffix
	if err := errors.Join(os.RemoveAll(aside), os.Rename(h.dir, aside)); err != nil && !errors.Is(err, os.ErrNotExist) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.gone = false
		return fmt.Errorf("remove the replica of %s: %w", hash, err)
	}
	s.mu.Lock()
	if s.replicas[hash] == h {
		delete(s.replicas, hash)
	}
	s.mu.Unlock()
	// What is left goes at the next start at the latest.
	if err := os.RemoveAll(aside); err != nil {
		return fmt.Errorf("remove the replica of %s: %w", hash, err)
	}
	return nil
}

// end marks a replica as gone, unless whyNot says so.
func (h *held) end(whyNot func(*held) error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.gone {
		return errGone
	}
	if err := whyNot(h); err != nil {
		return err
	}
	h.gone = true
	return nil
}

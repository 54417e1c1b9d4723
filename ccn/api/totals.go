package api

import (
	"context"
	"sync"
	"time"

	"github.com/aleph-im/aleph-go/ccn/store"
)

const (
	exactTotal    = 2000 // totals below it are counted for each answer
	totalTTL      = time.Minute
	maxTotals     = 1024
	countsAtOnce  = 2                // of the great totals
	countPatience = time.Millisecond // an answer waits so long for one
	countBudget   = time.Minute
)

// totals remembers the great totals of filters.
type totals struct {
	mu       sync.Mutex
	kept     map[string]*keptTotal // guarded by mu
	running  int                   // guarded by mu; how many are being counted
	counters sync.WaitGroup        // for the goroutines that count
}

// keptTotal is the total of one filter, guarded by the lock of totals.
type keptTotal struct {
	n        int64
	at       time.Time     // when it was counted; zero: never yet
	counting chan struct{} // closed when the count that runs has ended; nil when none runs
}

// counted is a filter whose total is asked for.
type counted struct {
	filter string                                               // names it among the great totals; "" keeps none
	tally  func(*store.Reader) (n int64, exact bool, err error) // nil where nothing bounds the total, so that answers wait for it
	count  func(r *store.Reader, most int) (int64, error)       // of up to most rows, or all for 0
	short  bool                                                 // a page that is not full tells the total, even past the end (ccn-api §1.8)
}

// readPage returns the rows that a page shows, whether others follow, and how many there are in all, as of one moment. After a
// cursor nobody asks for the total.
func readPage[Row any](ctx context.Context, a *API, p paging, list func(*store.Reader) ([]Row, error), c counted) (rows []Row, more bool, total int64, err error) {
	var beside bool
	err = a.cfg.Store.Read(ctx, func(r *store.Reader) (err error) {
		if rows, err = list(r); err != nil || p.cursor {
			return err
		}
		if n := int64(len(rows)); c.short && (p.size == 0 || n < p.size) {
			total = p.offset() + n
			return nil
		}
		total, beside, err = a.total(r, c)
		return err
	})
	if err != nil {
		return nil, false, 0, err
	}
	if beside {
		total = a.totalBeside(ctx, c, total)
	}
	rows, more = cut(p, rows)
	return rows, more, total, nil
}

// total tells how many rows a filter has as far as that takes no time: the counters of the store know it, it was counted
// in the last minute, or it is small. Otherwise n is a bound, and the total is to be counted beside.
func (a *API) total(r *store.Reader, c counted) (n int64, beside bool, err error) {
	if c.tally == nil {
		n, err = a.countHere(r, c)
		return n, false, err
	}
	bound, exact, err := c.tally(r)
	if err != nil || exact {
		return bound, false, err
	}
	if kept, ok := a.totals.last(c.filter, a.cfg.Now().Add(-totalTTL)); ok {
		return kept, false, nil
	}
	if n, err = c.count(r, exactTotal); err != nil || n < exactTotal {
		return n, false, err
	}
	return bound, true, nil
}

// totalBeside starts to count a total, unless that happens already, and waits a moment for it. What takes longer serves
// the next answers; this one tells the last total, or else the bound: who reads page after page then misses nothing.
func (a *API) totalBeside(ctx context.Context, c counted, bound int64) int64 {
	if done := a.countBeside(c); done != nil {
		timer := time.NewTimer(countPatience)
		defer timer.Stop()
		select {
		case <-done:
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	if n, ok := a.totals.last(c.filter, time.Time{}); ok {
		return n
	}
	return bound
}

// countHere returns the total of a filter whose rows are few enough to be counted for an answer, or kept when they are many.
func (a *API) countHere(r *store.Reader, c counted) (int64, error) {
	if c.filter == "" {
		return c.count(r, 0)
	}
	t, now := &a.totals, a.cfg.Now()
	if n, ok := t.last(c.filter, now.Add(-totalTTL)); ok {
		return n, nil
	}
	n, err := c.count(r, 0)
	if err != nil || n < exactTotal {
		return n, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	kept := t.keep(c.filter)
	kept.n, kept.at = n, now
	return n, nil
}

// keep returns the place of a total. The lock is held.
func (t *totals) keep(filter string) *keptTotal {
	kept := t.kept[filter]
	if kept == nil {
		if t.kept == nil || len(t.kept) >= maxTotals {
			t.kept = map[string]*keptTotal{}
		}
		kept = &keptTotal{}
		t.kept[filter] = kept
	}
	return kept
}

// last returns the total that was counted after a time.
func (t *totals) last(filter string, after time.Time) (n int64, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	kept := t.kept[filter]
	if kept == nil || !kept.at.After(after) {
		return 0, false
	}
	return kept.n, true
}

// countBeside returns a channel that is closed when the total was counted; nil when too many are being counted.
func (a *API) countBeside(c counted) <-chan struct{} {
	t := &a.totals
	t.mu.Lock()
	defer t.mu.Unlock()
	kept := t.keep(c.filter)
	if kept.counting != nil {
		return kept.counting
	}
	if t.running >= countsAtOnce {
		return nil
	}
	done := make(chan struct{})
	kept.counting = done
	t.running++
	t.counters.Go(func() {
		n, err := a.countAll(c)
		t.mu.Lock()
		defer t.mu.Unlock()
		if err == nil {
			kept.n, kept.at = n, a.cfg.Now()
		} else {
			a.cfg.Logger.Warn("a total was not counted", "filter", c.filter, "error", err)
		}
		kept.counting = nil
		t.running--
		close(done)
	})
	return done
}

func (a *API) countAll(c counted) (n int64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), countBudget)
	defer cancel()
	stopped := make(chan struct{})
	defer close(stopped)
	go func() { // ends with the count
		select {
		case <-a.cfg.Stopping: // nil never is closed
			cancel()
		case <-stopped:
		}
	}()
	err = a.cfg.Store.ReadCommitted(ctx, func(r *store.Reader) error {
		n, err = c.count(r, 0)
		return err
	})
	return n, err
}

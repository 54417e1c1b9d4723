package replay

import (
	"context"
	"fmt"
	"time"

	"github.com/aleph-im/aleph-go/ccn/store"
)

// settlePause is how often Settle looks.
const settlePause = 200 * time.Millisecond

// Settle waits for the messages that wait for their files or for each other, while the pipeline that took them in runs.
// It returns how many still wait when their number has not changed for patience, or when none waits any more.
func Settle(ctx context.Context, s *store.Store, patience time.Duration, progress func(pending int64)) (int64, error) {
	var pending int64
	count := func() (n int64, err error) {
		err = s.Read(ctx, func(r *store.Reader) (err error) {
			n, err = r.PendingCount()
			return err
		})
		if err != nil {
			err = fmt.Errorf("look for messages that wait: %w", err)
		}
		return n, err
	}
	ticker := time.NewTicker(min(settlePause, patience))
	defer ticker.Stop()
	changed := time.Now()
	for {
		n, err := count()
		if err != nil {
			return pending, err
		}
		if n != pending {
			pending, changed = n, time.Now()
		}
		if n == 0 || time.Since(changed) >= patience {
			return n, nil
		}
		if progress != nil {
			progress(n)
		}
		select {
		case <-ctx.Done():
			return n, ctx.Err()
		case <-ticker.C:
		}
	}
}

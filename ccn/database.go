package ccn

import (
	"context"
	"errors"
	"net"
	"sync/atomic"

	"github.com/aleph-im/aleph-go/ccn/api"
	"github.com/aleph-im/aleph-go/ccn/store"
)

// openDatabase opens the database. While its schema is brought to the newest version, which takes minutes where there are
// many messages, the log and the API's port say so: whoever restarts processes that do not answer would start it over.
func (n *Node) openDatabase(ctx context.Context) error {
	serving, stop := context.WithCancel(ctx)
	defer stop()
	var served chan error // nil until there is something to migrate
	var percent atomic.Int64
	told := 0
	migrating := func(now int) {
		percent.Store(int64(now))
		if served == nil {
			n.cfg.Logger.Info("the database is migrated to a newer schema: until that is done requests are answered with 503")
			served = make(chan error, 1)
			go func() {
				served <- api.ServeMigrating(serving, n.listener.(*net.TCPListener), func() int { return int(percent.Load()) }, n.cfg.Logger.With("part", "api"))
			}()
		}
		if now >= told+10 {
			told = now
			n.cfg.Logger.Info("migrating the database", "percent", now)
		}
	}
	var err error
	n.store, err = store.OpenMigrating(ctx, n.cfg.Store, migrating)
	if stop(); served == nil {
		return err
	}
	if err = errors.Join(err, <-served); err == nil {
		n.cfg.Logger.Info("the database is migrated")
	}
	return err
}

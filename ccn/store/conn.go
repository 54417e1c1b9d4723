package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// ErrInterrupted says that the database cut a transaction off: the connection was lost, or the transaction stood in the
// way of another. It may be tried again. What it wrote is undone, except when the connection was lost during the commit:
// then nobody knows, and who tries again must expect to find it done.
var ErrInterrupted = errors.New("the database interrupted the transaction")

// maxStatements bounds the prepared statements kept by one connection. Queries beyond it are prepared each time.
const maxStatements = 256

// healBudget is how long a transaction waits for a database that went away, before it fails.
const healBudget = 10 * time.Second

// conn is one connection with the statements prepared on it. One goroutine uses it at a time.
type conn struct {
	*sql.Conn
	db         *sql.DB
	engine     engine
	use        use
	known      *known
	lost       bool // of no use any more
	brief      bool // commits are not synced to disk: see lasts
	statements map[string]*sql.Stmt
	few        int64              // see Reader.few; 0 stands for fewRows
	bulk       map[bulkKey]string // statements of many rows
	ends       newEnds
}

// connect connects, again when the connection was lost.
func (c *conn) connect(ctx context.Context) error {
	if c.Conn != nil && !c.lost {
		return nil
	}
	_ = c.close() // nothing that a lost connection says on its end is of use
	n, err := c.db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if err := c.engine.session(ctx, n, c.use); err != nil {
		return errors.Join(fmt.Errorf("set up connection: %w", err), n.Close())
	}
	c.Conn, c.lost, c.brief, c.statements = n, false, false, map[string]*sql.Stmt{}
	return nil
}

func (c *conn) close() error {
	if c.Conn == nil {
		return nil
	}
	var errs []error
	for _, statement := range c.statements {
		errs = append(errs, statement.Close())
	}
	c.lost = c.lost || !c.engine.alive(c.Conn)
	errs = append(errs, c.Conn.Close())
	c.Conn, c.statements = nil, nil
	if c.lost {
		return nil // there was nothing left to close
	}
	return errors.Join(errs...)
}

// transaction runs body between the begin and the commit of a transaction.
func (c *conn) transaction(ctx context.Context, body func(ctx context.Context) error) error {
	if err := c.begin(ctx); err != nil {
		return fmt.Errorf("begin transaction: %w", err)
	}
	if c.use == writes {
		ctx = context.WithoutCancel(ctx)
	}
	inside, cancel := c.engine.within(ctx)
	defer cancel()
	if err := c.guarded(ctx, func() error { return body(inside) }); err != nil {
		return err
	}
	return c.commit(ctx)
}

// guarded runs a part of a transaction, and undoes the transaction when the part fails or panics.
func (c *conn) guarded(ctx context.Context, part func() error) error {
	done := false
	defer func() {
		if !done { // it panicked
			_ = c.rollback(ctx, nil)
		}
	}()
	err := part()
	done = true
	if err != nil {
		return c.rollback(ctx, err)
	}
	return nil
}

// commit ends a transaction. That must be reached even when ctx is over, or the connection would stay inside it.
func (c *conn) commit(ctx context.Context) error {
	end, cancel := c.engine.within(context.WithoutCancel(ctx))
	defer cancel()
	if err := c.engine.commit(end, c.Conn); err != nil {
		return c.rollback(ctx, fmt.Errorf("commit transaction: %w", err))
	}
	return nil
}

// lasts says whether a commit of the next transactions must outlast a loss of power.
func (c *conn) lasts(ctx context.Context, yes bool) error {
	if c.Conn == nil || c.lost || c.brief != yes {
		return nil // a new connection's do
	}
	if err := c.engine.lasts(ctx, c.Conn, yes); err != nil {
		return fmt.Errorf("set how commits are synced: %w", err)
	}
	c.brief = !yes
	return nil
}

// begin starts the transaction. Nothing has happened yet, so when the connection was lost it is made again, for as long
// as healBudget.
func (c *conn) begin(ctx context.Context) error {
	ctx, cancel := c.engine.within(ctx)
	defer cancel()
	var pause time.Duration
	for began := time.Now(); ; {
		err := c.connect(ctx)
		if err == nil {
			if err = c.engine.begin(ctx, c.Conn, c.use); err == nil {
				return nil
			}
			if c.lost = !c.engine.alive(c.Conn); !c.lost {
				return err
			}
		}
		if ctx.Err() != nil || time.Since(began) > healBudget {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return errors.Join(ctx.Err(), err)
		}
		pause = min(max(2*pause, 50*time.Millisecond), time.Second)
	}
}

// rollback undoes a transaction that failed with err and returns why it failed.
func (c *conn) rollback(ctx context.Context, err error) error {
	c.ends.counted = false
	if c.lost = !c.engine.alive(c.Conn); !c.lost {
		ctx, cancel := c.engine.within(context.WithoutCancel(ctx))
		defer cancel()
		_, failed := c.ExecContext(ctx, "ROLLBACK")
		if c.lost = !c.engine.alive(c.Conn); !c.lost {
			err = errors.Join(err, failed)
		}
	}
	if err != nil && (c.lost || c.engine.interrupted(err)) {
		return fmt.Errorf("%w: %w", ErrInterrupted, err)
	}
	return full(err)
}

// prepare returns the statement of a query, nil when the connection keeps enough of them already.
func (c *conn) prepare(ctx context.Context, query string) (*sql.Stmt, error) {
	if s := c.statements[query]; s != nil {
		return s, nil
	}
	if len(c.statements) >= maxStatements {
		return nil, nil
	}
	s, err := c.PrepareContext(ctx, c.engine.bind(query))
	if err != nil {
		return nil, err
	}
	c.statements[query] = s
	return s, nil
}

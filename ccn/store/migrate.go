package store

import (
	"context"
	_ "embed"
	"fmt"
	"strings"
)

//go:embed schema.sql
var schema string

//go:embed schema_2.sql
var shortHashes string

//go:embed schema_3.sql
var shadows string

//go:embed schema_4.sql
var numberedElements string

//go:embed schema_5.sql
var versionsAndClaims string

//go:embed schema_6.sql
var twoTablesOfEnds string

// step brings a database from one version of the schema to the next.
type step struct {
	script string

	// fill writes what no script can; nil: there is nothing. It finds the tables as the script left them, not those of later steps.
	fill func(tx *Tx, done func(percent int)) error
}

// migrations are the steps from an empty database to the schema that this program knows; the version of a database is how
// many of them it has seen. A step that was released is never changed: a change of the schema is a step of its own.
var migrations = []step{{script: schema}, {script: shortHashes}, {script: shadows, fill: findShadows}, {script: numberedElements}, {script: versionsAndClaims}, {script: twoTablesOfEnds}}

// only leaves out what a script says is for another engine: after a line that begins with "-- only" and the name of one, until
// the line "-- on all".
func only(engine, script string) string {
	var b strings.Builder
	mine := true
	for line := range strings.Lines(script) {
		if name, ok := strings.CutPrefix(line, "-- only "); ok {
			mine = strings.HasPrefix(name, engine)
		} else if strings.HasPrefix(line, "-- on all") {
			mine = true
		} else if mine {
			b.WriteString(line)
		}
	}
	return b.String()
}

// statements cuts a script into its statements, without the comments. No text in one holds a semicolon or two dashes.
func statements(script string) (list []string) {
	var code strings.Builder
	for line := range strings.Lines(script) {
		line, _, _ = strings.Cut(line, "--")
		code.WriteString(line + "\n")
	}
	for statement := range strings.SplitSeq(code.String(), ";") {
		if strings.TrimSpace(statement) != "" {
			list = append(list, statement)
		}
	}
	return list
}

// migrate brings the schema to its newest version, in one transaction: who is killed halfway finds the database as it was.
// Processes that start at once on one database do it one after the other. It may take minutes where there are many messages,
// so it is under no other bound than ctx. Where there is something to migrate, migrating is told how much of it is done.
func migrate(ctx context.Context, c *conn, steps []step, migrating func(percent int)) error {
	version, err := schemaVersion(ctx, c, len(steps))
	if err != nil || version == len(steps) {
		return err
	}
	if version == 0 {
		migrating = func(int) {} // what is empty is made at once
	}
	migrating(0) // another process may be at it: that is waited for
	if err := c.engine.begin(ctx, c.Conn, c.use); err != nil {
		return fmt.Errorf("begin transaction: %w", err)
	}
	if err := c.guarded(ctx, func() error { return migrateInside(ctx, c, steps, migrating) }); err != nil {
		if stopped := ctx.Err(); stopped != nil {
			return fmt.Errorf("stopped while the schema was migrated, all is as it was: %w", stopped)
		}
		return err
	}
	return c.commit(ctx)
}

func schemaVersion(ctx context.Context, c *conn, newest int) (int, error) {
	version, err := c.engine.version(ctx, c.Conn)
	if err != nil {
		return 0, fmt.Errorf("read schema version: %w", err)
	}
	if version > newest {
		return 0, fmt.Errorf("the database has schema version %d and this program knows up to %d: run the newer release that wrote it, or start on an empty database", version, newest)
	}
	return version, nil
}

// part is a statement of a step, or its fill.
type part struct {
	version int // that the step brings
	weight  int
	do      func(ctx context.Context, done func(percent int)) error
}

// fillWeight is how many statements a fill is like: they make an index each, most of them.
const fillWeight = 10

func migrateInside(ctx context.Context, c *conn, steps []step, migrating func(percent int)) error {
	version, err := schemaVersion(ctx, c, len(steps))
	if err != nil || version == len(steps) {
		return err
	}
	var parts []part
	of := 0
	for i, step := range steps[version:] {
		for _, statement := range statements(c.engine.schema(step.script)) {
			parts = append(parts, part{version + i + 1, 1, func(ctx context.Context, _ func(int)) error {
				_, err := c.ExecContext(ctx, statement)
				return err
			}})
		}
		if step.fill != nil {
			parts = append(parts, part{version + i + 1, fillWeight, func(ctx context.Context, done func(int)) error {
				return step.fill(newTx(ctx, c), done)
			}})
		}
	}
	for _, p := range parts {
		of += p.weight
	}
	done := 0
	for _, p := range parts {
		migrating(100 * done / of)
		err := ctx.Err()
		if err == nil {
			err = p.do(ctx, func(percent int) { migrating((100*done + percent*p.weight) / of) })
		}
		if err != nil {
			return fmt.Errorf("migrate the schema to version %d: %w", p.version, err)
		}
		done += p.weight
	}
	migrating(100)
	if err := c.engine.setVersion(ctx, c.Conn, len(steps)); err != nil {
		return fmt.Errorf("write schema version: %w", err)
	}
	return nil
}

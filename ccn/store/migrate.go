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

// migrations are the steps from an empty database to the schema that this program knows; the version of a database is how
// many of them it has seen. A step that was released is never changed: a change of the schema is a step of its own.
var migrations = []string{schema, shortHashes}

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

// migrate brings the schema to its newest version, in one transaction. Processes that start at once on one database do it
// one after the other.
func migrate(ctx context.Context, c *conn, steps []string) error {
	return c.transaction(ctx, func(ctx context.Context) error {
		version, err := c.engine.version(ctx, c.Conn)
		if err != nil {
			return fmt.Errorf("read schema version: %w", err)
		}
		if version > len(steps) {
			return fmt.Errorf("the database has schema version %d and this program knows up to %d: run the newer release that wrote it, or start on an empty database", version, len(steps))
		}
		if version == len(steps) {
			return nil
		}
		for i := version; i < len(steps); i++ {
			if _, err := c.ExecContext(ctx, c.engine.schema(steps[i])); err != nil {
				return fmt.Errorf("migrate the schema to version %d: %w", i+1, err)
			}
		}
		if err := c.engine.setVersion(ctx, c.Conn, len(steps)); err != nil {
			return fmt.Errorf("write schema version: %w", err)
		}
		return nil
	})
}

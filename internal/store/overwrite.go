package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// overwritePause is what other writes get between two steps, and how long a reader that
// holds the WAL is given.
const overwritePause = 20 * time.Millisecond

// Overwrite makes sure that what was deleted or replaced before the call is in none of the
// database's files any more. With SQLite, which overwrites what it deletes
// (secure_delete), it gives free pages back, empties the WAL and scrubs what pages do not use, in steps between which others
// write; a reader of an old snapshot holds it up until it ends or ctx does. With PostgreSQL
// it vacuums the tables, so that their rows are free to be used again; what the server's own
// WAL and backups hold is up to the server.
func (db *DB) Overwrite(ctx context.Context) error {
	if o, ok := db.e.(interface{ vacuum(context.Context) error }); ok {
		return o.vacuum(ctx)
	}
	db.overwriting.Lock()
	defer db.overwriting.Unlock()
	for first := true; ; first = false {
		done := make(chan overwritten, 1)
		select {
		case db.w.overwrite <- overwriteCall{first, done}:
		case <-db.w.stopped:
			return closedError()
		case <-ctx.Done():
			return ctx.Err()
		}
		step := <-done
		if step.err != nil || step.whole {
			return step.err
		}
		select {
		case <-time.After(overwritePause):
		case <-ctx.Done():
			return fmt.Errorf("store: overwrite: %w", ctx.Err())
		}
	}
}

// overwriteCall asks for a step of a pass that begins with it, or goes on.
type overwriteCall struct {
	first bool
	done  chan<- overwritten
}

// overwritten says whether a step was the last one.
type overwritten struct {
	whole bool
	err   error
}

// overwriteStep makes one step if somebody asks for it; on the writer's goroutine.
func (w *writer) overwriteStep(c overwriteCall) bool {
	o, ok := w.e.(interface {
		overwrite(first bool) (bool, error)
	})
	if !ok {
		c.done <- overwritten{whole: true}
		return true
	}
	whole, err := o.overwrite(c.first)
	c.done <- overwritten{whole, err}
	return w.survive(err)
}

// overwrite gives back some free pages or, if there are none, empties the WAL and scrubs some pages.
func (e *sqlite) overwrite(first bool) (whole bool, err error) {
	if first {
		if e.scrub.passed && e.scrub.ended == e.commits.Load() {
			return true, nil // nothing was written since
		}
		e.scrub.next, e.scrub.begun = 0, e.commits.Load()
	}
	var free int64
	if free, err = e.freePages(); err != nil {
		return false, err
	}
	if free > 0 {
		rows, err := e.w.query(context.Background(), fmt.Sprintf("PRAGMA incremental_vacuum(%d)", vacuumStep), nil)
		if err == nil {
			_, err = drain(rows)
		}
		if err != nil {
			return false, err
		}
		after, err := e.freePages()
		if err != nil {
			return false, err
		}
		if after < free {
			return false, nil
		}
		// A file that was made without auto_vacuum keeps its free pages; they are overwritten.
	}
	if err := e.w.script("PRAGMA busy_timeout=50"); err != nil {
		return false, err
	}
	busy, frames, done, err := e.walCheckpoint("TRUNCATE")
	if restore := e.w.script("PRAGMA busy_timeout=5000"); err == nil {
		err = restore
	}
	if err != nil {
		return false, fmt.Errorf("store: checkpoint of %s: %w", e.path, err)
	}
	e.checkpoints.Add(1)
	if busy != 0 || done < frames {
		return false, nil // a reader holds it up
	}
	// What the writer has in memory of pages it would write again with their unused parts.
	if err := e.w.script("PRAGMA shrink_memory"); err != nil {
		return false, err
	}
	if whole, err = e.scrub.step(); whole {
		e.scrub.passed, e.scrub.ended = true, e.scrub.begun
	}
	return whole, err
}

func (e *sqlite) freePages() (n int64, err error) {
	err = first(e.w.query(context.Background(), "PRAGMA freelist_count", nil)).Scan(&n)
	return n, err
}

// vacuum vacuums the tables of the schema, on a connection of its own.
func (e *postgres) vacuum(ctx context.Context) error {
	config := e.config.Copy()
	c, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("store: connect: %w", err)
	}
	defer c.Close(context.WithoutCancel(ctx))
	found := c.ExecParams(ctx, "SELECT tablename FROM pg_tables WHERE schemaname = $1 ORDER BY tablename", [][]byte{[]byte(e.schema)}, nil, nil, nil).Read()
	if found.Err != nil {
		return fmt.Errorf("store: list tables: %w", found.Err)
	}
	var failed error
	for _, row := range found.Rows {
		err := c.Exec(ctx, "VACUUM "+quoteName(e.schema)+"."+quoteName(string(row[0]))).Close()
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("store: vacuum %s: %w", row[0], err))
		}
	}
	return failed
}

package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/mattn/go-sqlite3"
)

// Snapshot is one moment of a SQLite file. The process that writes to the file, if one
// runs, goes on writing and only keeps its WAL longer.
type Snapshot struct {
	// Component is the name of the database, Version that of its schema, and Position the
	// last position of its log.
	Component         string
	Version, Position int64

	c *sqliteConn
}

// copyStep is how many pages are copied between two looks at the context: 4 MiB.
const copyStep = 1024

// TakeSnapshot holds the present moment of <dir>/<component>.db until Close.
func TakeSnapshot(ctx context.Context, dir, component string) (*Snapshot, error) {
	path := filepath.Join(dir, component+".db")
	if _, err := os.Stat(path); err != nil { // SQLite would make the file
		return nil, fmt.Errorf("store: %w", err)
	}
	c, err := openSQLite(path, readerStatements, "cache_size=-512", "query_only=ON")
	if err != nil {
		return nil, err
	}
	s := &Snapshot{Component: component, c: c}
	if err := s.take(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("store: snapshot of %s: %w", path, err), c.close())
	}
	return s, nil
}

func (s *Snapshot) take(ctx context.Context) error {
	if err := s.c.script("BEGIN"); err != nil {
		return err
	}
	if err := first(s.c.query(ctx, "SELECT seq FROM writer WHERE slot = 0", nil)).Scan(&s.Position); err != nil {
		return err
	}
	return first(s.c.query(ctx, "SELECT coalesce(max(version), 0) FROM schema_version", nil)).Scan(&s.Version)
}

// Copy writes the moment to a file that must not exist, checks that file as SQLite checks
// its structure, and syncs it. What a failed Copy leaves is not usable.
func (s *Snapshot) Copy(ctx context.Context, path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	defer file.Close() // SQLite's locks are gone by then
	to, err := openSQLite(path, readerStatements, "journal_mode=OFF", "synchronous=OFF")
	if err == nil {
		err = errors.Join(s.pages(ctx, to), to.close())
	}
	if err == nil {
		err = sound(ctx, path)
	}
	if err == nil {
		err = file.Sync()
	}
	if err != nil {
		return fmt.Errorf("store: copy %s: %w", s.Component, err)
	}
	return nil
}

// pages copies. The open transaction makes all steps see the same moment.
func (s *Snapshot) pages(ctx context.Context, to *sqliteConn) error {
	b, err := to.c.Backup("main", s.c.c, "main")
	if err != nil {
		return err
	}
	for done := false; !done && err == nil; {
		if err = ctx.Err(); err == nil {
			done, err = b.Step(copyStep)
		}
	}
	return errors.Join(err, b.Finish())
}

// sound checks the structure of a database, and leaves nothing beside it.
func sound(ctx context.Context, path string) error {
	c, err := openSQLite(path, readerStatements)
	if err != nil {
		return err
	}
	var verdict string
	err = first(c.query(ctx, "PRAGMA quick_check(1)", nil)).Scan(&verdict)
	if err == nil && verdict != "ok" {
		err = fmt.Errorf("%w: %s", sqlite3.Error{Code: sqlite3.ErrCorrupt}, verdict)
	}
	return errors.Join(err, c.close())
}

// Close lets the moment go.
func (s *Snapshot) Close() error { return s.c.close() }

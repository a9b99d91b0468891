package store

import (
	"context"
	"fmt"
	"os"
	"time"
)

// sqliteSchema migrates a SQLite file.
type sqliteSchema struct {
	e   *sqlite
	now func() time.Time
}

func (s *sqliteSchema) applied() ([]migration, error) {
	var n int
	err := first(s.e.w.query(context.Background(),
		"SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'schema_version'", nil)).Scan(&n)
	if err != nil || n == 0 {
		return nil, err
	}
	return readApplied(s.e.w.query(context.Background(), selectApplied, nil))
}

const selectApplied = "SELECT version, name, checksum FROM schema_version ORDER BY version"

func readApplied(rows *Rows, err error) ([]migration, error) {
	if err != nil {
		return nil, err
	}
	var out []migration
	for rows.Next() {
		var m migration
		if err := rows.Scan(&m.version, &m.name, &m.checksum); err != nil {
			rows.Close()
			return nil, err
		}
		out = append(out, m)
	}
	return out, rows.Err()
}

func (s *sqliteSchema) claim() error {
	if err := s.e.durable(); err != nil {
		return err
	}
	return s.transaction(func() error {
		for _, sql := range metaTables {
			translated, err := translate(sql, true)
			if err != nil {
				return err
			}
			if err := s.e.w.script(translated); err != nil {
				return err
			}
		}
		return first(s.e.w.query(context.Background(),
			"UPDATE writer SET epoch = epoch + 1, holder = $1 WHERE slot = 0 RETURNING epoch, seq",
			[]any{fmt.Sprintf("pid %d", os.Getpid())})).Scan(&s.e.epoch, &s.e.head)
	})
}

func (s *sqliteSchema) apply(m migration) error {
	sql, err := translate(m.sql, true)
	if err != nil {
		return err
	}
	return s.transaction(func() error {
		if err := s.e.w.script(sql); err != nil {
			return err
		}
		if !s.e.w.inTx() {
			return errOwnTransaction
		}
		_, err := s.e.w.exec("INSERT INTO schema_version (version, name, checksum, applied_at) VALUES ($1, $2, $3, $4)",
			[]any{m.version, m.name, m.checksum, s.now().UnixMilli()})
		return err
	})
}

func (s *sqliteSchema) transaction(f func() error) error {
	if err := s.e.w.script("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	err := f()
	if err == nil {
		err = s.e.w.script("COMMIT")
	}
	if err != nil && s.e.w.inTx() {
		if undo := s.e.w.script("ROLLBACK"); undo != nil {
			return fmt.Errorf("%w (and the roll-back failed: %v)", err, undo)
		}
	}
	return err
}

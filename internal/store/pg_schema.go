package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// pgSchema migrates a PostgreSQL schema.
type pgSchema struct {
	e   *postgres
	ctx context.Context
	now func() time.Time
}

func (s *pgSchema) applied() ([]migration, error) {
	var exists bool
	err := s.e.one(s.ctx, "SELECT to_regclass($1::text) IS NOT NULL", []any{quoteName(s.e.schema) + ".schema_version"}, &exists)
	if err != nil || !exists {
		return nil, err
	}
	s.e.w.reset()
	cmd, err := s.e.w.command(s.ctx, selectApplied, nil)
	if err != nil {
		return nil, err
	}
	rows, _, _, err := s.e.w.run(s.ctx, []pgCommand{cmd})
	if err != nil {
		return nil, err
	}
	return readApplied(rows.rows(), nil)
}

func (s *pgSchema) script(sql string) error {
	return pgError(s.e.w.c.Exec(s.ctx, sql).Close())
}

func (s *pgSchema) claim() error {
	return s.transaction(func() error {
		for _, sql := range append([]string{"CREATE SCHEMA IF NOT EXISTS " + quoteName(s.e.schema)}, metaTables...) {
			translated, err := translate(sql, false)
			if err != nil {
				return err
			}
			if err := s.script(translated); err != nil {
				return err
			}
		}
		// Migrations may take long and nobody renews meanwhile. If this process dies, its
		// session ends and frees the lock, whatever the row says.
		return s.e.one(s.ctx, `UPDATE writer SET epoch = epoch + 1, holder = $1,
			until = (extract(epoch FROM clock_timestamp()) * 1000)::bigint + 3600000
			WHERE slot = 0 RETURNING epoch, seq`, []any{holderName()}, &s.e.epoch, &s.e.head)
	})
}

func (s *pgSchema) apply(m migration) error {
	sql, err := translate(m.sql, false)
	if err != nil {
		return err
	}
	return s.transaction(func() error {
		var held int64
		if err := s.e.one(s.ctx, holdLease, []any{s.e.epoch, s.e.head}, &held); err != nil {
			return fmt.Errorf("%w: %w", errLeaseLost, err)
		}
		if err := s.script(sql); err != nil {
			return err
		}
		if s.e.w.c.TxStatus() != 'T' {
			return errOwnTransaction
		}
		var version int64
		return s.e.one(s.ctx, `INSERT INTO schema_version (version, name, checksum, applied_at)
			VALUES ($1, $2, $3, $4) RETURNING version`,
			[]any{m.version, m.name, m.checksum, s.now().UnixMilli()}, &version)
	})
}

func (s *pgSchema) transaction(f func() error) error {
	if err := s.script("BEGIN"); err != nil {
		return err
	}
	err := f()
	if err == nil {
		err = s.script("COMMIT")
	}
	if err != nil && !s.e.w.c.IsClosed() && s.e.w.c.TxStatus() != 'I' {
		err = errors.Join(err, s.script("ROLLBACK"))
	}
	return err
}

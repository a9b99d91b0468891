package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// pgError gives an error of the driver its scope and its neutral name. Whatever the
// server did not say came from the connection, which then is not usable any more.
func pgError(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return &fault{scope: scopeSession, op: -1, err: err}
	}
	batch := func(err error) error { return &fault{scope: scopeBatch, op: -1, err: err} }
	switch pg.Code {
	case "23505": // unique_violation
		return fmt.Errorf("%w: %w", ErrConflict, err)
	case "53100": // disk_full
		return batch(fmt.Errorf("%w: %w", ErrDiskFull, err))
	case "57014": // query_canceled
		return err
	case "55P03", "25006": // lock_not_available, read_only_sql_transaction
		return batch(err)
	}
	switch pg.Code[:min(2, len(pg.Code))] {
	case "08", "57": // connection exception, operator intervention
		return &fault{scope: scopeSession, op: -1, err: err}
	case "40", "53", "58", "XX": // rollback by the server, resources, system, internal
		return batch(err)
	}
	return err
}

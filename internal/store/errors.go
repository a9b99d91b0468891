package store

import (
	"errors"
	"time"

	"hearth/internal/merr"
)

// The neutral errors of both engines. Test for them with errors.Is. An error that
// the store returns for ErrBusy, ErrStale or ErrClosed is a temporary *merr.Error
// (503) with the named error in its chain, so it may go to a client as it is.
var (
	// ErrNoRows says that Row found nothing.
	ErrNoRows = errors.New("store: no rows")
	// ErrConflict says that a statement broke a PRIMARY KEY or UNIQUE constraint.
	ErrConflict = errors.New("store: unique constraint violated")
	// ErrBusy says that the writer's queue is full.
	ErrBusy = errors.New("store: queue is full")
	// ErrStale says that the generation is not current: reload and stage again.
	ErrStale = errors.New("store: stale generation")
	// ErrClosed says that the database is closed or its lease was lost.
	ErrClosed = errors.New("store: closed")
	// ErrDiskFull says that the database has no space left. Writes work again by
	// themselves when there is space.
	ErrDiskFull = errors.New("store: disk full")
)

const busyRetry = time.Second

func busyError() error { return merr.Busy(busyRetry).WithCause(ErrBusy) }

func staleError() error {
	return merr.Unavailable("The server is recovering, try again").WithCause(ErrStale)
}

func closedError() error {
	return merr.Unavailable("The server is shutting down").WithCause(ErrClosed)
}

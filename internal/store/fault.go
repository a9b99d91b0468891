package store

import (
	"errors"
	"fmt"

	"hearth/internal/merr"
)

// scope says how far a fault reaches.
type scope int

const (
	// scopeOp: the statement is at fault; only its op fails.
	scopeOp scope = iota
	// scopeBatch: the database is in trouble that may pass, such as a full disk; the
	// batch fails, the session lives.
	scopeBatch
	// scopeSession: the session is gone, and if a commit was under way its outcome is
	// unknown.
	scopeSession
	// scopeLease: another holder has the database. This process may not write again.
	scopeLease
)

// fault is why a batch could not be committed.
type fault struct {
	scope scope
	// op is the index of the op in its batch whose statement failed, -1 if unknown.
	op  int
	err error
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

// client returns what the op's caller gets: its own error, or a temporary one.
func (f *fault) client() error {
	switch {
	case f.scope == scopeOp:
		return f.err
	case f.scope == scopeLease:
		return closedError()
	case errors.Is(f.err, ErrDiskFull):
		return merr.Unavailable("The server's disk is full").WithCause(f.err)
	}
	return merr.Unavailable("The server's database is not available").WithCause(f.err)
}

// asFault returns the fault in err's chain, or err as an op's fault.
func asFault(err error) *fault {
	var f *fault
	if errors.As(err, &f) {
		return f
	}
	return &fault{scope: scopeOp, op: -1, err: err}
}

// panicked turns what recover returned into an error.
func panicked(what string, v any) error {
	return merr.Internal(fmt.Errorf("store: %s panicked: %v", what, v))
}

package store

import "context"

// engine is what SQLite and PostgreSQL do differently. read may be called from any
// goroutine; all other methods belong to the writer goroutine.
//
// A batch is begin, then for each op beginOp and its statements, then commit or
// rollback. Errors of statements carry a *fault if they are not the op's own.
type engine interface {
	// read runs f on one snapshot.
	read(ctx context.Context, f func(r *Reader) error) error
	// readOne runs one statement, which is a snapshot by itself.
	readOne(ctx context.Context, sql string, args []any) *Row

	begin() error
	// beginOp says that the statements that follow belong to op i of the batch.
	beginOp(i int)
	// dropOp forgets the current op. It returns false if something of it already is
	// in the transaction, which then must be rolled back.
	dropOp() bool
	exec(sql string, args []any) error
	query(sql string, args []any) (*Rows, error)
	row(sql string, args []any) *Row
	// size returns the bytes that the batch holds so far.
	size() int
	// commit stores head as the last position and makes the batch durable. A batch
	// that wrote nothing and did not move the head ends without a commit.
	commit(head int64) error
	rollback() error

	// between does what is due after a batch; after an error it tells its fault.
	between() error
	// idle does what is due when nothing happened for idlePeriod.
	idle() error
	// revive opens a new session after a fault of scopeSession and returns the
	// position that is committed.
	revive(ctx context.Context) (head int64, err error)
	// close releases the lease and all connections.
	close() error
	counters() engineCounters
}

// engineCounters are the engine's part of Stats.
type engineCounters struct {
	Commits     uint64
	Checkpoints uint64
	Sessions    uint64
}

// session is one connection's way to run statements for a Reader.
type session interface {
	query(sql string, args []any) (*Rows, error)
	row(sql string, args []any) *Row
}

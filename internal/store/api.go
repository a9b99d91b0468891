package store

import (
	"context"
	"time"
)

// DB is one component's database.
type DB struct{}

// Open opens the database, takes the lease and migrates.
func Open(ctx context.Context, o Options) (*DB, error) { return nil, closedError() }

// Close drains the queue and releases the lease.
func (db *DB) Close() error { return nil }

// Lost is closed when the lease was lost: the process must stop.
func (db *DB) Lost() <-chan struct{} { return nil }

// Head returns the last committed position.
func (db *DB) Head() int64 { return 0 }

// Read runs f on one consistent snapshot.
func (db *DB) Read(ctx context.Context, f func(r *Reader) error) error { return closedError() }

// Op is one unit of writing.
type Op struct {
	Run  func(tx *Tx) error
	Done func(err error)
}

// Submit queues op.
func (db *DB) Submit(op Op) error { return closedError() }

// Write submits run and waits.
func (db *DB) Write(ctx context.Context, run func(tx *Tx) error) error { return closedError() }

// Generation returns the current generation.
func (db *DB) Generation() uint64 { return 0 }

// Stage reserves n positions and queues the op that prepare returns.
func (db *DB) Stage(gen uint64, n int, prepare func(first int64) Op) (first int64, err error) {
	return 0, closedError()
}

// Queryer is what Reader and Tx share.
type Queryer interface {
	Query(sql string, args ...any) (*Rows, error)
	Row(sql string, args ...any) *Row
}

// Reader reads one snapshot.
type Reader struct{}

// Query runs sql.
func (r *Reader) Query(sql string, args ...any) (*Rows, error) { return nil, closedError() }

// Row runs sql and keeps its first row.
func (r *Reader) Row(sql string, args ...any) *Row { return nil }

// Head returns the last committed position of the snapshot.
func (r *Reader) Head() (int64, error) { return 0, closedError() }

// Tx writes.
type Tx struct{}

// Query runs sql.
func (t *Tx) Query(sql string, args ...any) (*Rows, error) { return nil, closedError() }

// Row runs sql and keeps its first row.
func (t *Tx) Row(sql string, args ...any) *Row { return nil }

// Exec runs sql.
func (t *Tx) Exec(sql string, args ...any) error { return closedError() }

// Next returns the next position.
func (t *Tx) Next() int64 { return 0 }

// Now returns the time of the batch.
func (t *Tx) Now() time.Time { return time.Time{} }

// Rows is the result of a query.
type Rows struct{}

// Next steps to the next row.
func (r *Rows) Next() bool { return false }

// Scan copies the current row.
func (r *Rows) Scan(dst ...any) error { return closedError() }

// Err returns the error that ended Next.
func (r *Rows) Err() error { return nil }

// Close frees the result.
func (r *Rows) Close() error { return nil }

// Row is one row.
type Row struct{}

// Scan copies the row.
func (r *Row) Scan(dst ...any) error { return ErrNoRows }

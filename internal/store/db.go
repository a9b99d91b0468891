package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"hearth/internal/merr"
)

// DB is one component's database. All methods may be called from any goroutine.
type DB struct {
	e       engine
	w       *writer
	metrics *metrics

	mu      sync.Mutex
	reading sync.WaitGroup // Add needs mu
	closed  bool           // guarded by mu

	closing sync.Once

	overwriting sync.Mutex // held by whoever overwrites
}

// Open opens or creates the database, takes its lease and runs the migrations that
// are due. It returns one clear error if another process has the lease, if the
// database is newer than Migrations or was made by other ones, or if the engine cannot
// promise durable commits. ctx bounds the opening only.
func Open(ctx context.Context, o Options) (*DB, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	files, err := readMigrations(o.Migrations)
	if err != nil {
		return nil, err
	}
	e, head, err := openEngine(ctx, o, files)
	if err != nil {
		return nil, err
	}
	w := &writer{
		e: e, q: newQueue(o.QueueLimit, head), policy: o.Policy, now: o.Now, log: o.Log,
		lost: make(chan struct{}), stopped: make(chan struct{}), overwrite: make(chan overwriteCall),
	}
	w.head.Store(head)
	db := &DB{e: e, w: w}
	if db.metrics, err = newMetrics(o, db); err != nil {
		return nil, errors.Join(fmt.Errorf("store: metrics: %w", err), e.close())
	}
	go w.run()
	return db, nil
}

func openEngine(ctx context.Context, o Options, files []migration) (engine, int64, error) {
	if o.URL != "" {
		return openPostgresEngine(ctx, o, files)
	}
	return openSQLiteEngine(o, files)
}

// closeWait is how long Close waits for readers.
const closeWait = 10 * time.Second

// Close refuses new ops, waits until all that are queued are stored, waits for readers
// for at most 10 s, and gives the lease back. A second call waits for the first.
func (db *DB) Close() error {
	var err error
	db.closing.Do(func() {
		db.w.q.close(closedError())
		<-db.w.stopped
		db.mu.Lock()
		db.closed = true
		db.mu.Unlock()
		if !db.readersLeave() {
			err = errors.New("store: closed while a reader is at work")
		}
		err = errors.Join(err, db.e.close())
		db.metrics.close()
	})
	return err
}

func (db *DB) readersLeave() bool {
	left := make(chan struct{})
	go func() {
		db.reading.Wait()
		close(left)
	}()
	select {
	case <-left:
		return true
	case <-time.After(closeWait):
		return false
	}
}

// Lost returns a channel that is closed when another process took the lease: nothing
// can be written any more and the process must stop.
func (db *DB) Lost() <-chan struct{} { return db.w.lost }

// Head returns the last committed position. When Done runs, it covers that op.
func (db *DB) Head() int64 { return db.w.head.Load() }

// Generation counts the failures of a Chained database. A caller reads it before the
// state that it builds ops on, and gives it to Stage.
func (db *DB) Generation() uint64 { return db.w.q.current() }

// Read runs f on one snapshot, which holds everything that was answered before. f must
// not block on anything but r: it occupies one of a few connections. The end of ctx
// stops waiting for a connection and running statements.
func (db *DB) Read(ctx context.Context, f func(r *Reader) error) error {
	if !db.enter() {
		return closedError()
	}
	defer db.reading.Done()
	return clientError(db.e.read(ctx, f))
}

// Row runs one query by itself, for half of what it costs in Read, and keeps its first
// row; errors come from Row.Scan.
func (db *DB) Row(ctx context.Context, sql string, args ...any) *Row {
	if !db.enter() {
		return &Row{err: closedError()}
	}
	defer db.reading.Done()
	row := db.e.readOne(ctx, sql, args)
	row.err = clientError(row.err)
	return row
}

// enter counts a reader; false if the database is closed.
func (db *DB) enter() bool {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.closed {
		return false
	}
	db.reading.Add(1)
	return true
}

// clientError is the error for the caller of a read.
func clientError(err error) error {
	var known *merr.Error
	var trouble *fault
	if errors.As(err, &trouble) && !errors.As(err, &known) {
		return trouble.client()
	}
	return err
}

// Submit queues op. It never blocks: if the queue is full it returns ErrBusy and op is
// not run. An op of a Chained database that was submitted and not staged fails alone
// if its Run returns an error before it wrote anything.
func (db *DB) Submit(op Op) error { return db.w.q.submit(&entry{op: op}) }

// Write submits run and waits until it is durable or failed. While the op waits for
// its turn, the end of ctx cancels it; once it runs, Write waits for its fate.
func (db *DB) Write(ctx context.Context, run func(tx *Tx) error) error {
	return db.w.q.write(ctx, run)
}

// Stage is for Chained databases: it reserves n positions, calls prepare with the first
// of them and queues the op that prepare returns, all under the queue's lock, so that
// ops are queued in the order of their positions. n may be 0. If gen is not current it
// returns ErrStale: an op that the caller built on has failed. prepare must be quick
// and must not call the DB.
func (db *DB) Stage(gen uint64, n int, prepare func(first int64) Op) (first int64, err error) {
	if db.w.policy != Chained || n < 0 {
		return 0, fmt.Errorf("store: Stage of %d positions with policy %d", n, db.w.policy)
	}
	return db.w.q.stage(gen, n, prepare)
}

package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/sirupsen/logrus"
)

// sqlite is the engine for one SQLite file.
type sqlite struct {
	path    string
	log     *logrus.Entry
	lock    *os.File
	w       *sqliteConn // the only connection that writes
	readers *sqlitePool
	epoch   int64
	head    int64 // committed position

	// The state of the batch.
	op      int
	opWrote bool
	wrote   bool
	bytes   int

	wal         walState
	scrub       scrubber
	commits     atomic.Uint64
	checkpoints atomic.Uint64
}

const (
	writerStatements = 256
	readerStatements = 64
)

// openSQLiteEngine locks and opens the file, checks its schema and migrates it.
func openSQLiteEngine(o Options, files []migration) (*sqlite, int64, error) {
	if err := os.MkdirAll(o.DataDir, 0o700); err != nil {
		return nil, 0, fmt.Errorf("store: %w", err)
	}
	path := filepath.Join(o.DataDir, o.Component+".db")
	lock, err := lockFile(path+".lock", o.DataDir)
	if err != nil {
		return nil, 0, err
	}
	e := &sqlite{path: path, log: o.Log, lock: lock, readers: newSQLitePool(path, o.Readers)}
	if err := e.open(o, files); err != nil {
		e.release()
		return nil, 0, err
	}
	return e, e.head, nil
}

func (e *sqlite) open(o Options, files []migration) error {
	// SQLite gives the WAL the rights of the file, so this keeps all of it private.
	file, err := os.OpenFile(e.path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	e.scrub.file = file
	if e.w, err = openSQLite(e.path, writerStatements, "cache_size=-2000"); err != nil {
		return err
	}
	return migrate(&sqliteSchema{e: e, now: o.Now}, o.Component, files)
}

// durable makes every commit of the writer survive a power cut and refuses to go on
// if SQLite did not take the setting: the driver's own default in WAL mode may lose
// acknowledged commits.
func (e *sqlite) durable() error {
	for _, p := range []struct{ pragma, want string }{
		{"auto_vacuum=INCREMENTAL", ""}, // takes effect only on a new file
		{"journal_mode=WAL", "wal"},
		{"synchronous=" + synchronous, ""},
		{"secure_delete=ON", "1"},
		{"secure_delete", "1"},
		{"synchronous", synchronousValue},
		{"wal_autocheckpoint=0", "0"},
		{fmt.Sprintf("journal_size_limit=%d", walHardLimit*pageSize), ""},
	} {
		var got string
		err := e.w.pragma(p.pragma, &got)
		if err != nil {
			return fmt.Errorf("store: %s: PRAGMA %s: %w", e.path, p.pragma, err)
		}
		if p.want != "" && got != p.want {
			return fmt.Errorf("store: %s: PRAGMA %s is %q, need %q: commits would not be durable", e.path, p.pragma, got, p.want)
		}
	}
	return nil
}

// pragma runs a pragma and returns its first column as text, if it has one.
func (c *sqliteConn) pragma(p string, got *string) error {
	row := first(c.query(context.Background(), "PRAGMA "+p, nil))
	if errors.Is(row.err, ErrNoRows) {
		return nil
	}
	if row.err != nil {
		return row.err
	}
	*got = fmt.Sprint(row.cells[0].value())
	return nil
}

func (e *sqlite) begin() error {
	e.wrote, e.opWrote, e.bytes = false, false, 0
	_, err := e.w.exec("BEGIN IMMEDIATE", nil)
	if err != nil {
		return &fault{scope: scopeBatch, op: -1, err: err}
	}
	return nil
}

func (e *sqlite) beginOp(i int) { e.op, e.opWrote = i, false }

func (e *sqlite) dropOp() bool {
	e.w.closeRows()
	return !e.opWrote && e.w.inTx()
}

func (e *sqlite) exec(sql string, args []any) error {
	n, err := e.w.exec(sql, args)
	if err != nil {
		return err // a failed statement undoes itself
	}
	e.bytes += n
	e.wrote, e.opWrote = true, true
	return nil
}

// query reads the whole result, so that writing cannot disturb it.
func (e *sqlite) query(sql string, args []any) (*Rows, error) {
	rows, err := e.start(sql, args)
	if err != nil {
		return nil, err
	}
	return drain(rows)
}

func (e *sqlite) row(sql string, args []any) *Row { return first(e.start(sql, args)) }

func (e *sqlite) start(sql string, args []any) (*Rows, error) {
	rows, err := e.w.query(context.Background(), sql, args)
	if err == nil && !rows.src.(*sqliteRows).s.readonly {
		e.wrote, e.opWrote = true, true
	}
	return rows, err
}

func (e *sqlite) size() int { return e.bytes }

func (e *sqlite) commit(head int64) error {
	if !e.wrote && head == e.head {
		return e.rollback()
	}
	row := first(e.w.query(context.Background(),
		"UPDATE writer SET seq = $1 WHERE slot = 0 AND epoch = $2 RETURNING seq", []any{head, e.epoch}))
	if errors.Is(row.err, ErrNoRows) {
		return &fault{scope: scopeLease, op: -1, err: errors.New("store: the lease has another epoch")}
	}
	if row.err != nil {
		return &fault{scope: scopeBatch, op: -1, err: row.err}
	}
	if _, err := e.w.exec("COMMIT", nil); err != nil {
		var f *fault
		if errors.As(err, &f) {
			return f
		}
		return &fault{scope: scopeBatch, op: -1, err: err}
	}
	e.head = head
	e.commits.Add(1)
	return nil
}

func (e *sqlite) rollback() error {
	e.w.closeRows()
	if !e.w.inTx() {
		return nil
	}
	if _, err := e.w.exec("ROLLBACK", nil); err != nil {
		return &fault{scope: scopeSession, op: -1, err: err}
	}
	return nil
}

// revive replaces the writer's connection.
func (e *sqlite) revive(context.Context) (int64, error) {
	e.w.close()
	w, err := openSQLite(e.path, writerStatements, "cache_size=-2000")
	if err != nil {
		return 0, err
	}
	e.w = w
	if err := e.durable(); err != nil {
		return 0, err
	}
	var epoch int64
	err = first(w.query(context.Background(), "SELECT epoch, seq FROM writer WHERE slot = 0", nil)).Scan(&epoch, &e.head)
	if err == nil && epoch != e.epoch {
		err = &fault{scope: scopeLease, op: -1, err: errors.New("store: the lease has another epoch")}
	}
	return e.head, err
}

func (e *sqlite) read(ctx context.Context, f func(r *Reader) error) error {
	return e.readers.read(ctx, f)
}

func (e *sqlite) readOne(ctx context.Context, sql string, args []any) *Row {
	return e.readers.readOne(ctx, sql, args)
}

func (e *sqlite) close() error {
	e.readers.close()
	err := e.checkpoint("TRUNCATE")
	e.release()
	return err
}

func (e *sqlite) release() {
	if e.w != nil {
		e.w.close()
	}
	if e.scrub.file != nil {
		e.scrub.file.Close() // after all connections
	}
	e.lock.Close() // and with it the flock
}

func (e *sqlite) counters() engineCounters {
	return engineCounters{Commits: e.commits.Load(), Checkpoints: e.checkpoints.Load(), Sessions: 1}
}

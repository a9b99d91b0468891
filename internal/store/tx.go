package store

import (
	"errors"
	"time"
)

// Queryer is what Reader and Tx share.
type Queryer interface {
	// Query runs sql. The rows must be read to the end or closed.
	Query(sql string, args ...any) (*Rows, error)
	// Row runs sql and keeps its first row; errors come from Row.Scan.
	Row(sql string, args ...any) *Row
}

// Reader reads one snapshot: it sees all of every committed batch or nothing of it,
// and does not see batches that are committed while it lives. It belongs to one
// goroutine and ends with the function that got it.
type Reader struct{ s session }

// Query runs sql on the snapshot.
func (r *Reader) Query(sql string, args ...any) (*Rows, error) { return r.s.query(sql, args) }

// Row runs sql on the snapshot and keeps its first row.
func (r *Reader) Row(sql string, args ...any) *Row { return r.s.row(sql, args) }

// ended is the session of a Reader whose function has returned.
type ended struct{}

var errEnded = errors.New("store: the reader or transaction has ended")

func (ended) query(string, []any) (*Rows, error) { return nil, errEnded }
func (ended) row(string, []any) *Row             { return &Row{err: errEnded} }

// Head returns the last position that the snapshot holds.
func (r *Reader) Head() (head int64, err error) {
	err = r.Row("SELECT seq FROM writer WHERE slot = 0").Scan(&head)
	return head, err
}

// Tx is the writer's transaction as one op sees it: all ops of the batch before it are
// visible. It belongs to the writer goroutine and ends with Run.
//
// A statement that fails, fails the op, even if Run returns nil: on PostgreSQL there is
// no going on after an error. Write INSERT … ON CONFLICT where a conflict is expected.
type Tx struct {
	e       engine
	now     time.Time
	chained bool
	seq     int64  // last position given out
	failed  *fault // of a statement
}

// Query runs sql and reads the whole result into memory, so bound it with LIMIT.
func (t *Tx) Query(sql string, args ...any) (*Rows, error) {
	if t.failed != nil {
		return nil, t.failed
	}
	rows, err := t.e.query(sql, args)
	return rows, t.check(err)
}

// Row runs sql and keeps its first row.
func (t *Tx) Row(sql string, args ...any) *Row {
	if t.failed != nil {
		return &Row{err: t.failed}
	}
	row := t.e.row(sql, args)
	if row.err != nil && !errors.Is(row.err, ErrNoRows) {
		row.err = t.check(row.err)
	}
	return row
}

// Exec runs sql. On PostgreSQL it is only queued: its error may come from a later
// statement or from the commit, and then fails this op, not the one that met it.
func (t *Tx) Exec(sql string, args ...any) error {
	if t.failed != nil {
		return t.failed
	}
	return t.check(t.e.exec(sql, args))
}

// end makes a Tx that somebody kept useless.
func (t *Tx) end() { t.failed = &fault{scope: scopeOp, op: -1, err: errEnded} }

func (t *Tx) check(err error) error {
	if err == nil {
		return nil
	}
	t.failed = asFault(err)
	return err
}

// Next returns the next position. Positions are gap-free: one that an op took and
// that is not committed is given out again. Only for the policy Independent; with
// Chained, Stage gives the positions and Next fails the op.
func (t *Tx) Next() int64 {
	if t.chained {
		t.failed = &fault{scope: scopeOp, op: -1, err: errors.New("store: Tx.Next with the policy Chained")}
		return 0
	}
	t.seq++
	return t.seq
}

// Now returns the time at which the batch began.
func (t *Tx) Now() time.Time { return t.now }

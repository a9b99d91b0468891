package store

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/sirupsen/logrus"
)

// postgres is the engine for one schema of a PostgreSQL database. The writer's
// statements are queued here and sent with the next query or at the commit, so that a
// batch without queries is one round trip.
type postgres struct {
	schema  string
	config  *pgconn.Config
	log     *logrus.Entry
	w       *pgSession
	readers *pgPool
	epoch   int64
	head    int64 // committed position

	// The state of the batch.
	cmds    []pgCommand
	sent    bool // the transaction is open on the server
	aborted bool // the server refuses everything but a roll-back
	wrote   bool
	bytes   int
	// The state of the current op.
	op      int
	start   int  // the first of its commands in cmds
	opSent  bool // the server has something that it wrote
	before  bool // wrote, before the op
	renewed time.Time

	commits  atomic.Uint64
	sessions atomic.Uint64
}

// flushTimeout bounds one round trip of the writer, with all its statements.
const flushTimeout = 30 * time.Second

const (
	// holdLease is the first statement of every batch. It locks the lease's row, so
	// that two holders cannot overlap, and fails with a division by zero if the epoch
	// is not ours any more: that aborts the statements that follow it in the pipeline.
	holdLease = `WITH held AS (
	UPDATE writer SET seq = $2, until = (extract(epoch FROM clock_timestamp()) * 1000)::bigint + 10000
	WHERE slot = 0 AND epoch = $1 RETURNING 1)
SELECT 1 / count(*) FROM held`
	storeHead = "UPDATE writer SET seq = $1 WHERE slot = 0"
)

var errLeaseLost = errors.New("store: the lease has another epoch")

func (e *postgres) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), flushTimeout)
}

func (e *postgres) begin() error {
	e.w.reset()
	clear(e.cmds)
	e.cmds = e.cmds[:0]
	e.sent, e.aborted, e.wrote, e.bytes = false, false, false, 0
	ctx, cancel := e.context()
	defer cancel()
	return e.w.trim(ctx)
}

func (e *postgres) beginOp(i int) {
	e.op, e.start, e.opSent, e.before = i, len(e.cmds), false, e.wrote
}

func (e *postgres) dropOp() bool {
	if e.aborted || e.opSent {
		return false
	}
	clear(e.cmds[e.start:])
	e.cmds, e.wrote = e.cmds[:e.start], e.before
	return true
}

// queue adds a statement of the current op.
func (e *postgres) queue(ctx context.Context, sql string, args []any) error {
	at := len(e.w.arena)
	cmd, err := e.w.command(ctx, sql, args)
	if err != nil {
		var refused *pgconn.PgError
		e.aborted = e.aborted || e.sent && errors.As(err, &refused)
		return err
	}
	cmd.op = e.op
	e.cmds = append(e.cmds, cmd)
	e.bytes += len(e.w.arena) - at
	e.wrote = e.wrote || !cmd.stmt.readonly
	return nil
}

func (e *postgres) exec(sql string, args []any) error {
	ctx, cancel := e.context()
	defer cancel()
	return e.queue(ctx, sql, args)
}

func (e *postgres) query(sql string, args []any) (*Rows, error) {
	ctx, cancel := e.context()
	defer cancel()
	if err := e.queue(ctx, sql, args); err != nil {
		return nil, err
	}
	rows, _, err := e.flush(ctx, e.head, nil)
	if err != nil {
		return nil, err
	}
	return rows.rows(), nil
}

func (e *postgres) row(sql string, args []any) *Row { return first(e.query(sql, args)) }

func (e *postgres) size() int { return e.bytes }

// flush sends what is queued, after BEGIN and the lease if the transaction is new, and
// before last.
func (e *postgres) flush(ctx context.Context, head int64, last []pgCommand) (*pgRows, string, error) {
	var all []pgCommand
	if !e.sent {
		begin, err := e.w.command(ctx, "BEGIN", nil)
		if err != nil {
			return nil, "", err
		}
		hold, err := e.w.command(ctx, holdLease, []any{e.epoch, head})
		if err != nil {
			return nil, "", err
		}
		all = append(all, begin, hold)
	}
	lead := len(all)
	all = append(append(all, e.cmds...), last...)
	for _, c := range e.cmds[e.start:] {
		e.opSent = e.opSent || !c.stmt.readonly
	}
	e.sent = true
	clear(e.cmds)
	e.cmds, e.start = e.cmds[:0], 0
	rows, tag, failed, err := e.w.run(ctx, all)
	if err == nil {
		e.renewed = time.Now()
		return rows, tag, nil
	}
	e.aborted = true
	f := *asFault(err)
	f.op = all[failed].op
	var refused *pgconn.PgError
	if lead > 0 && failed == 1 && errors.As(err, &refused) && refused.Code == "22012" { // division_by_zero
		f = fault{scope: scopeLease, op: -1, err: fmt.Errorf("%w: %w", errLeaseLost, f.err)}
	}
	return nil, "", &f
}

func (e *postgres) commit(head int64) error {
	if !e.wrote && head == e.head {
		return e.rollback()
	}
	ctx, cancel := e.context()
	defer cancel()
	var last []pgCommand
	if e.sent { // else the lease, which is the first statement, stores the head
		cmd, err := e.w.command(ctx, storeHead, []any{head})
		if err != nil {
			return err
		}
		last = append(last, cmd)
	}
	end, err := e.w.command(ctx, "COMMIT", nil)
	if err != nil {
		return err
	}
	_, tag, err := e.flush(ctx, head, append(last, end))
	if err != nil {
		return err
	}
	if tag != "COMMIT" {
		return &fault{scope: scopeBatch, op: -1, err: fmt.Errorf("store: commit answered %q", tag)}
	}
	e.head = head
	e.commits.Add(1)
	return nil
}

func (e *postgres) rollback() error {
	if !e.sent {
		return nil
	}
	ctx, cancel := e.context()
	defer cancel()
	if err := e.w.c.Exec(ctx, "ROLLBACK").Close(); err != nil {
		return &fault{scope: scopeSession, op: -1, err: err}
	}
	e.sent = false
	return nil
}

func (e *postgres) read(ctx context.Context, f func(r *Reader) error) error {
	return e.readers.read(ctx, f)
}

func (e *postgres) readOne(ctx context.Context, sql string, args []any) *Row {
	return e.readers.readOne(ctx, sql, args)
}

func (e *postgres) counters() engineCounters {
	return engineCounters{Commits: e.commits.Load(), Sessions: e.sessions.Load()}
}

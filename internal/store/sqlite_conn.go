package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math"
	"net/url"
	"syscall"

	"github.com/mattn/go-sqlite3"
)

// sqliteConn is one raw driver connection with its prepared statements. It belongs to
// one goroutine at a time.
type sqliteConn struct {
	c     *sqlite3.SQLiteConn
	stmts map[string]*sqliteStmt
	limit int    // most statements that are kept prepared
	clock uint64 // counts uses, for the age of statements
	open  []*sqliteRows
}

type sqliteStmt struct {
	s        *sqlite3.SQLiteStmt
	params   int
	readonly bool
	cached   bool
	busy     bool // rows of it are open
	used     uint64
	args     []driver.NamedValue
	row      []driver.Value
}

// openSQLite opens path with the pragmas that every connection has.
func openSQLite(path string, statements int, pragmas ...string) (*sqliteConn, error) {
	dsn := (&url.URL{Scheme: "file", Path: path, RawQuery: "_mutex=no&_busy_timeout=5000"}).String()
	c, err := (&sqlite3.SQLiteDriver{}).Open(dsn)
	if err != nil {
		return nil, fmt.Errorf("store: open %s: %w", path, err)
	}
	conn := &sqliteConn{c: c.(*sqlite3.SQLiteConn), stmts: map[string]*sqliteStmt{}, limit: statements}
	for _, p := range append([]string{"temp_store=MEMORY", "mmap_size=0", "foreign_keys=OFF"}, pragmas...) {
		if err := conn.script("PRAGMA " + p); err != nil {
			conn.close()
			return nil, fmt.Errorf("store: open %s: %s: %w", path, p, err)
		}
	}
	return conn, nil
}

func (c *sqliteConn) close() error {
	c.closeRows()
	for sql, s := range c.stmts {
		s.s.Close()
		delete(c.stmts, sql)
	}
	return c.c.Close()
}

// script runs statements without parameters.
func (c *sqliteConn) script(sql string) error {
	_, err := c.c.Exec(sql, nil)
	return sqliteError(err)
}

// inTx reports whether a transaction is open; SQLite ends one by itself on some errors.
func (c *sqliteConn) inTx() bool { return !c.c.AutoCommit() }

// prepare returns sql's statement, ready for use by one result.
func (c *sqliteConn) prepare(sql string) (*sqliteStmt, error) {
	c.clock++
	s := c.stmts[sql]
	if s != nil && !s.busy {
		s.used = c.clock
		return s, nil
	}
	rewritten, params, err := numbered(sql)
	if err != nil {
		return nil, err
	}
	raw, err := c.c.Prepare(rewritten)
	if err != nil {
		return nil, sqliteError(err)
	}
	fresh := &sqliteStmt{s: raw.(*sqlite3.SQLiteStmt), params: params, used: c.clock}
	fresh.args = make([]driver.NamedValue, params)
	fresh.readonly = fresh.s.Readonly()
	if s == nil { // else the same text is in use further out and stays cached
		c.evict()
		fresh.cached = true
		c.stmts[sql] = fresh
	}
	return fresh, nil
}

// evict makes room for one more statement.
func (c *sqliteConn) evict() {
	for len(c.stmts) >= c.limit {
		oldest, age := "", uint64(math.MaxUint64)
		for sql, s := range c.stmts {
			if !s.busy && s.used < age {
				oldest, age = sql, s.used
			}
		}
		if age == math.MaxUint64 {
			return
		}
		c.stmts[oldest].s.Close()
		delete(c.stmts, oldest)
	}
}

func (c *sqliteConn) release(s *sqliteStmt) {
	s.busy = false
	clear(s.args)
	if !s.cached {
		s.s.Close()
	}
}

// bind fills s.args and returns the bytes of text and blobs among them.
func (s *sqliteStmt) bind(args []any) (int, error) {
	if len(args) != s.params {
		return 0, fmt.Errorf("store: %d arguments for %d parameters", len(args), s.params)
	}
	size := 0
	for i, a := range args {
		v, err := bound(a)
		if err != nil {
			return 0, fmt.Errorf("$%d: %w", i+1, err)
		}
		switch b := v.(type) {
		case string:
			size += len(b)
		case []byte:
			size += len(b)
		}
		s.args[i] = driver.NamedValue{Ordinal: i + 1, Value: v}
	}
	return size, nil
}

// exec runs a statement to its end and returns the bytes of its arguments. The driver's
// query path binds and steps in one call into C where its exec path needs one a value.
func (c *sqliteConn) exec(sql string, args []any) (int, error) {
	s, err := c.prepare(sql)
	if err != nil {
		return 0, err
	}
	defer c.release(s)
	size, err := s.bind(args)
	if err != nil {
		return 0, err
	}
	rows, err := s.s.QueryContext(context.Background(), s.args)
	if err != nil {
		return 0, sqliteError(err)
	}
	if err = rows.Next(nil); err == io.EOF {
		return size, nil // the statement is done and needs no reset
	}
	return size, sqliteError(errors.Join(err, rows.Close()))
}

// query starts a statement that returns rows.
func (c *sqliteConn) query(ctx context.Context, sql string, args []any) (*Rows, error) {
	s, err := c.prepare(sql)
	if err != nil {
		return nil, err
	}
	if _, err = s.bind(args); err != nil {
		c.release(s)
		return nil, err
	}
	rows, err := s.s.QueryContext(ctx, s.args)
	if err != nil {
		c.release(s)
		return nil, sqliteError(err)
	}
	if s.row == nil {
		s.row = make([]driver.Value, len(rows.Columns()))
	}
	s.busy = true
	r := &sqliteRows{c: c, s: s, rows: rows}
	c.open = append(c.open, r)
	return &Rows{src: r, cells: make([]cell, len(s.row))}, nil
}

// closeRows ends results that their reader left open.
func (c *sqliteConn) closeRows() {
	for len(c.open) > 0 {
		c.open[len(c.open)-1].close()
	}
}

// sqliteRows is the running result of a statement.
type sqliteRows struct {
	c    *sqliteConn
	s    *sqliteStmt
	rows driver.Rows
}

func (r *sqliteRows) next(cells []cell) (bool, error) {
	if r.rows == nil {
		return false, errEnded
	}
	err := r.rows.Next(r.s.row)
	if err == io.EOF {
		return false, nil
	}
	if err != nil {
		return false, sqliteError(err)
	}
	for i, v := range r.s.row {
		cells[i] = sqliteCell(v)
	}
	return true, nil
}

func (r *sqliteRows) close() error {
	if r.rows == nil {
		return nil
	}
	err := r.rows.Close()
	r.rows = nil
	clear(r.s.row)
	r.c.release(r.s)
	for i, o := range r.c.open {
		if o == r {
			r.c.open = append(r.c.open[:i], r.c.open[i+1:]...)
			break
		}
	}
	return sqliteError(err)
}

func sqliteCell(v driver.Value) cell {
	switch v := v.(type) {
	case int64:
		return cell{kind: integer, n: v}
	case string:
		return cell{kind: text, s: v}
	case []byte:
		return cell{kind: blob, b: v}
	case float64:
		return cell{kind: float, n: int64(math.Float64bits(v))}
	case bool:
		if v {
			return cell{kind: boolean, n: 1}
		}
		return cell{kind: boolean}
	}
	return cell{}
}

// sqliteError gives the driver's error its scope and its neutral name.
func sqliteError(err error) error {
	var e sqlite3.Error
	if err == nil || !errors.As(err, &e) {
		return err
	}
	switch e.Code {
	case sqlite3.ErrConstraint:
		switch e.ExtendedCode {
		case sqlite3.ErrConstraintUnique, sqlite3.ErrConstraintPrimaryKey, sqlite3.ErrConstraintRowID:
			return fmt.Errorf("%w: %w", ErrConflict, err)
		}
		return err
	case sqlite3.ErrFull:
		return &fault{scope: scopeBatch, op: -1, err: fmt.Errorf("%w: %w", ErrDiskFull, err)}
	case sqlite3.ErrIoErr:
		if e.SystemErrno == syscall.ENOSPC || e.SystemErrno == syscall.EDQUOT {
			err = fmt.Errorf("%w: %w", ErrDiskFull, err)
		}
		return &fault{scope: scopeBatch, op: -1, err: err}
	case sqlite3.ErrBusy, sqlite3.ErrLocked, sqlite3.ErrNomem, sqlite3.ErrReadonly, sqlite3.ErrCorrupt,
		sqlite3.ErrCantOpen, sqlite3.ErrNotADB, sqlite3.ErrProtocol, sqlite3.ErrPerm:
		return &fault{scope: scopeBatch, op: -1, err: err}
	}
	return err
}

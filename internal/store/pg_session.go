package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"
)

// maxResult bounds the bytes of one result, which is held in memory.
const maxResult = 64 << 20

// maxPgStatements bounds the statements that a connection keeps prepared from one
// transaction to the next.
const maxPgStatements = 256

// pgSession is one connection with its prepared statements. It belongs to one
// goroutine at a time.
type pgSession struct {
	c     *pgconn.PgConn
	stmts map[string]*pgStmt
	names int

	// Arguments of queued commands; reset starts them anew.
	arena   []byte
	params  [][]byte
	formats []int16
}

type pgStmt struct {
	sd       *pgconn.StatementDescription
	results  []int16
	readonly bool
}

// pgCommand is one statement with its arguments in wire form.
type pgCommand struct {
	stmt    *pgStmt
	params  [][]byte
	formats []int16
	op      int // of the batch, -1 for the store's own
}

func newPgSession(c *pgconn.PgConn) *pgSession {
	return &pgSession{c: c, stmts: map[string]*pgStmt{}, arena: newArena()}
}

// newArena is never nil, and so is no part of it: an empty value is not NULL.
func newArena() []byte { return make([]byte, 0, 512) }

// reset forgets all queued arguments. It drops buffers that one large batch made.
func (s *pgSession) reset() {
	if cap(s.arena) > 1<<20 {
		s.arena = newArena()
	}
	clear(s.params)
	s.arena, s.params, s.formats = s.arena[:0], s.params[:0], s.formats[:0]
}

// trim forgets all prepared statements if there are too many. Nothing may be queued.
// Texts are few and fixed; whoever makes more pays with preparing again.
func (s *pgSession) trim(ctx context.Context) error {
	if len(s.stmts) < maxPgStatements {
		return nil
	}
	clear(s.stmts)
	return pgError(s.c.Exec(ctx, "DEALLOCATE ALL").Close())
}

func (s *pgSession) prepare(ctx context.Context, sql string) (*pgStmt, error) {
	if st := s.stmts[sql]; st != nil {
		return st, nil
	}
	if _, _, err := numbered(sql); err != nil {
		return nil, err
	}
	s.names++
	sd, err := s.c.Prepare(ctx, "s"+strconv.Itoa(s.names), sql, nil)
	if err != nil {
		return nil, pgError(err)
	}
	st := &pgStmt{sd: sd, readonly: readsOnly(sql)}
	for _, f := range sd.Fields {
		st.results = append(st.results, resultFormat(f.DataTypeOID))
	}
	s.stmts[sql] = st
	return st, nil
}

// command prepares sql and encodes args.
func (s *pgSession) command(ctx context.Context, sql string, args []any) (pgCommand, error) {
	st, err := s.prepare(ctx, sql)
	if err != nil {
		return pgCommand{}, err
	}
	if len(args) != len(st.sd.ParamOIDs) {
		return pgCommand{}, fmt.Errorf("store: %d arguments for %d parameters", len(args), len(st.sd.ParamOIDs))
	}
	from := len(s.params)
	for i, a := range args {
		v, err := bound(a)
		if err != nil {
			return pgCommand{}, fmt.Errorf("$%d: %w", i+1, err)
		}
		if v == nil {
			s.params, s.formats = append(s.params, nil), append(s.formats, binaryFormat)
			continue
		}
		at := len(s.arena)
		var format int16
		if s.arena, format, err = appendParam(s.arena, st.sd.ParamOIDs[i], v); err != nil {
			return pgCommand{}, fmt.Errorf("$%d: %w", i+1, err)
		}
		// Growing the arena leaves what earlier parameters point to as it is.
		s.params, s.formats = append(s.params, s.arena[at:len(s.arena):len(s.arena)]), append(s.formats, format)
	}
	return pgCommand{stmt: st, params: s.params[from:], formats: s.formats[from:], op: -1}, nil
}

// run sends cmds in one round trip and returns the rows of the last one and its tag.
// On an error it returns the index of the command that failed.
func (s *pgSession) run(ctx context.Context, cmds []pgCommand) (rows *pgRows, tag string, failed int, err error) {
	batch := &pgconn.Batch{}
	for _, c := range cmds {
		batch.ExecStatement(c.stmt.sd, c.params, c.formats, c.stmt.results)
	}
	results := s.c.ExecBatch(ctx, batch)
	n := 0
	for results.NextResult() {
		r := results.ResultReader()
		if n == len(cmds)-1 {
			rows, err = readRows(r, cmds[n].stmt)
		}
		t, closeErr := r.Close()
		if err = errors.Join(err, closeErr); err != nil {
			break
		}
		tag = t.String()
		n++
	}
	if closeErr := results.Close(); err == nil {
		err = closeErr
	}
	if err == nil && n < len(cmds) {
		err = fmt.Errorf("store: %d results for %d statements", n, len(cmds))
	}
	if err != nil {
		return nil, "", min(n, len(cmds)-1), pgError(err)
	}
	return rows, tag, 0, nil
}

// readRows copies a result into memory, which frees the connection for the next
// statement.
func readRows(r *pgconn.ResultReader, st *pgStmt) (*pgRows, error) {
	out := &pgRows{fields: st.sd.Fields}
	var err error
	for r.NextRow() {
		if len(out.data) > maxResult {
			err = errors.New("store: the result is too large")
			continue
		}
		for _, v := range r.Values() {
			if v == nil {
				out.sizes = append(out.sizes, -1)
				continue
			}
			out.sizes = append(out.sizes, int32(len(v)))
			out.data = append(out.data, v...)
		}
	}
	return out, err
}

// pgRows is a result in memory.
type pgRows struct {
	fields []pgconn.FieldDescription
	data   []byte
	sizes  []int32 // of one value after the other, -1 for NULL
}

func (r *pgRows) rows() *Rows { return &Rows{src: r, cells: make([]cell, len(r.fields))} }

func (r *pgRows) next(cells []cell) (bool, error) {
	if len(r.sizes) == 0 {
		return false, nil
	}
	for i := range cells {
		n := r.sizes[i]
		if n < 0 {
			cells[i] = cell{}
			continue
		}
		cells[i] = pgCell(r.fields[i].DataTypeOID, r.data[:n:n])
		r.data = r.data[n:]
	}
	r.sizes = r.sizes[len(cells):]
	return true, nil
}

func (r *pgRows) close() error { return nil }

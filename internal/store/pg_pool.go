package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// pgPool lends reading connections.
type pgPool struct{ p *pgxpool.Pool }

const sessionKey = "hearth.session"

func newPgPool(url, schema string, size int) (*pgPool, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	configure(&config.ConnConfig.Config, schema)
	config.ConnConfig.RuntimeParams["default_transaction_read_only"] = "on"
	config.MaxConns, config.MinConns = int32(size), 0
	config.MaxConnIdleTime = 5 * time.Minute
	config.PingTimeout = 5 * time.Second
	p, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		return nil, err
	}
	return &pgPool{p}, nil
}

// close closes all connections. It does not wait for a reader that Close gave up on:
// that one's connection is closed when it comes back.
func (p *pgPool) close() {
	closed := make(chan struct{})
	go func() {
		p.p.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(time.Second):
	}
}

// read runs f in a read-only transaction, whose first statement takes the snapshot and
// goes out in one round trip with the BEGIN.
func (p *pgPool) read(ctx context.Context, f func(r *Reader) error) error {
	return p.with(ctx, func(s *pgSession) error {
		session := &pgReader{s: s, ctx: ctx}
		defer session.end()
		r := &Reader{s: session}
		err := f(r)
		r.s = ended{}
		return err
	})
}

// readOne runs one statement without a transaction around it: one round trip.
func (p *pgPool) readOne(ctx context.Context, sql string, args []any) *Row {
	var row *Row
	err := p.with(ctx, func(s *pgSession) error {
		row = (&pgReader{s: s, ctx: ctx, begun: true}).row(sql, args)
		return nil
	})
	if err != nil {
		return &Row{err: err}
	}
	return row
}

// with lends a connection.
func (p *pgPool) with(ctx context.Context, f func(s *pgSession) error) error {
	lent, err := p.p.Acquire(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &fault{scope: scopeSession, op: -1, err: err}
	}
	defer lent.Release() // closes a connection that is not usable
	c := lent.Conn().PgConn()
	s, _ := c.CustomData()[sessionKey].(*pgSession)
	if s == nil {
		s = newPgSession(c)
		c.CustomData()[sessionKey] = s
	}
	if err := s.trim(ctx); err != nil {
		return err
	}
	return f(s)
}

// pgReader runs the statements of one snapshot under its context.
type pgReader struct {
	s     *pgSession
	ctx   context.Context
	begun bool
}

const beginRead = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

func (r *pgReader) query(sql string, args []any) (*Rows, error) {
	rows, err := r.run(sql, args)
	if err != nil {
		if r.ctx.Err() != nil {
			return nil, r.ctx.Err()
		}
		return nil, err
	}
	return rows.rows(), nil
}

func (r *pgReader) run(sql string, args []any) (*pgRows, error) {
	r.s.reset()
	var cmds []pgCommand
	if !r.begun {
		begin, err := r.s.command(r.ctx, beginRead, nil)
		if err != nil {
			return nil, err
		}
		cmds = append(cmds, begin)
	}
	cmd, err := r.s.command(r.ctx, sql, args)
	if err != nil {
		return nil, err
	}
	r.begun = true
	rows, _, _, err := r.s.run(r.ctx, append(cmds, cmd))
	return rows, err
}

func (r *pgReader) row(sql string, args []any) *Row { return first(r.query(sql, args)) }

// end ends the transaction. If that fails the connection is closed, and Release sees it.
func (r *pgReader) end() {
	if !r.begun || r.s.c.IsClosed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	r.s.reset()
	cmd, err := r.s.command(ctx, "ROLLBACK", nil)
	if err == nil {
		_, _, _, err = r.s.run(ctx, []pgCommand{cmd})
	}
	if err != nil {
		r.s.c.Close(ctx)
	}
}

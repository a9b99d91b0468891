package store

import (
	"context"
	"sync"
)

// sqlitePool lends reading connections. They are opened when they are first needed.
type sqlitePool struct {
	path  string
	slots chan struct{} // one token a connection that may be lent

	mu     sync.Mutex
	idle   []*sqliteConn // guarded by mu
	closed bool          // guarded by mu
}

func newSQLitePool(path string, size int) *sqlitePool {
	p := &sqlitePool{path: path, slots: make(chan struct{}, size)}
	for range size {
		p.slots <- struct{}{}
	}
	return p
}

func (p *sqlitePool) get(ctx context.Context) (*sqliteConn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case <-p.slots:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p.mu.Lock()
	closed := p.closed
	var c *sqliteConn
	if n := len(p.idle); n > 0 {
		c, p.idle = p.idle[n-1], p.idle[:n-1]
	}
	p.mu.Unlock()
	if c != nil {
		return c, nil
	}
	var err error
	if closed {
		err = closedError()
	} else {
		c, err = openSQLite(p.path, readerStatements, "cache_size=-512", "query_only=ON")
	}
	if err != nil {
		p.slots <- struct{}{}
	}
	return c, err
}

// put takes c back; a connection in doubt is closed.
func (p *sqlitePool) put(c *sqliteConn, sound bool) {
	p.mu.Lock()
	if sound = sound && !p.closed; sound {
		p.idle = append(p.idle, c)
	}
	p.mu.Unlock()
	if !sound {
		c.close()
	}
	p.slots <- struct{}{}
}

// close closes the idle connections; a lent one is closed when it comes back.
func (p *sqlitePool) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	for _, c := range idle {
		c.close()
	}
}

// read runs f in a deferred transaction, whose first statement takes the snapshot.
func (p *sqlitePool) read(ctx context.Context, f func(r *Reader) error) (err error) {
	c, err := p.get(ctx)
	if err != nil {
		return err
	}
	sound := false
	defer func() { p.put(c, sound) }()
	if _, err := c.exec("BEGIN", nil); err != nil {
		return asFault(err).client()
	}
	r := &Reader{s: &sqliteReader{c: c, ctx: ctx}}
	err = f(r)
	r.s = ended{}
	c.closeRows()
	if c.inTx() {
		_, end := c.exec("ROLLBACK", nil)
		sound = end == nil
	}
	return err
}

// readOne runs one statement; outside a transaction it is one of its own.
func (p *sqlitePool) readOne(ctx context.Context, sql string, args []any) *Row {
	c, err := p.get(ctx)
	if err != nil {
		return &Row{err: err}
	}
	sound := false
	defer func() { p.put(c, sound) }()
	row := first(c.query(ctx, sql, args))
	c.closeRows()
	sound = !c.inTx()
	return row
}

// sqliteReader runs the statements of one snapshot under its context.
type sqliteReader struct {
	c   *sqliteConn
	ctx context.Context
}

func (r *sqliteReader) query(sql string, args []any) (*Rows, error) {
	return r.c.query(r.ctx, sql, args)
}

func (r *sqliteReader) row(sql string, args []any) *Row {
	return first(r.c.query(r.ctx, sql, args))
}

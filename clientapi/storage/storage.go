// Package storage is the SQL of the user store. Its log is the union of the tables
// that hold positions (log.go): a position whose row was written again later is a
// gap, which readers see as an entry of kind 0.
//
// Functions that take a transaction may run more than once (internal/store,
// Independent), so they have no effects outside it.
package storage

import (
	"context"
	"embed"
	"errors"

	"hearth/internal/merr"
	"hearth/internal/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Users is the database of the user store.
type Users struct {
	db      *store.DB
	tell    func(Line)
	witness *witness
}

// Open opens the database; the component, migrations and policy in o are set here.
// tell, which may be nil, is called with each entry of the log after its commit, in
// order of position, and must not block.
func Open(ctx context.Context, o store.Options, tell func(Line)) (*Users, error) {
	o.Component, o.Migrations, o.Policy = "userstore", migrations, store.Independent
	db, err := store.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	u := &Users{db: db, tell: func(Line) {}} // nobody listens yet
	if err := u.index(ctx); err != nil {
		_ = db.Close()
		return nil, err
	}
	if err := u.watch(ctx, o); err != nil {
		_ = db.Close()
		return nil, err
	}
	if tell != nil {
		u.tell = tell
	}
	return u, nil
}

// Close commits what is queued and releases the database.
func (u *Users) Close() error {
	err := u.db.Close()
	u.witness.close(u.db.Head())
	return err
}

// Lost is closed when another process took the database over.
func (u *Users) Lost() <-chan struct{} { return u.db.Lost() }

// Head is the last committed log position.
func (u *Users) Head() int64 { return u.db.Head() }

// found turns a missing row into 404 M_NOT_FOUND.
func found(err error, what string) error {
	if errors.Is(err, store.ErrNoRows) {
		return merr.NotFound("%s not found", what)
	}
	return err
}

// count runs a SELECT count(*).
func count(q store.Queryer, sql string, args ...any) (int64, error) {
	var n int64
	err := q.Row(sql, args...).Scan(&n)
	return n, err
}

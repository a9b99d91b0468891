// Package storage is the SQL of federationapi: the keys of other servers, and what is
// still to be sent to them.
package storage

import (
	"context"
	"embed"
	"errors"

	"hearth/internal/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// DB is the database of federationapi.
type DB struct{ db *store.DB }

// Open opens the database; the component, migrations and policy in o are set here.
func Open(ctx context.Context, o store.Options) (*DB, error) {
	o.Component, o.Migrations, o.Policy = "federationapi", migrations, store.Independent
	db, err := store.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	return &DB{db}, nil
}

// Close commits what is queued and releases the database.
func (d *DB) Close() error { return d.db.Close() }

// Lost is closed when another process took the database over.
func (d *DB) Lost() <-chan struct{} { return d.db.Lost() }

// Key is a key of a server.
type Key struct {
	ID         string
	Public     []byte // 32 bytes
	ValidUntil int64  // milliseconds
	// Ended says that ValidUntil is the server's word on when it stopped using the key.
	Ended bool
	// Direct says that the server told us the key, not a notary.
	Direct bool
}

// Server is what is known of the keys of a server. Who got one from a function must not
// change it.
type Server struct {
	Keys []Key
	// Answer is what the server said last, canonical and signed by it; nil: it never
	// answered.
	Answer []byte
	// ValidUntil is the end of Answer, Fetched when it or the keys came, both in
	// milliseconds.
	ValidUntil, Fetched int64
}

const (
	selectServer = `SELECT answer, valid_until, fetched FROM server WHERE server = $1`
	selectKeys   = `SELECT key_id, public, valid_until, ended, direct FROM server_key WHERE server = $1 ORDER BY key_id`
	upsertServer = `INSERT INTO server (server, answer, valid_until, fetched) VALUES ($1, $2, $3, $4)
		ON CONFLICT (server) DO UPDATE SET answer = excluded.answer, valid_until = excluded.valid_until, fetched = excluded.fetched`
	insertKey    = `INSERT INTO server_key (server, key_id, public, valid_until, ended, direct) VALUES ($1, $2, $3, $4, $5, $6)`
	deleteKeys   = `DELETE FROM server_key WHERE server = $1`
	deleteServer = `DELETE FROM server WHERE server = $1`
	selectCount  = `SELECT COUNT(*) FROM server`
	selectOldest = `SELECT server FROM server ORDER BY fetched LIMIT $1`
)

// Get returns what is known of a server, an empty Server if that is nothing.
func (d *DB) Get(ctx context.Context, server string) (*Server, error) {
	var s *Server
	err := d.db.Read(ctx, func(r *store.Reader) (err error) {
		s, err = get(r, server)
		return err
	})
	return s, err
}

// Update replaces what is known of a server with what change makes of it, and returns
// that. change may run more than once.
func (d *DB) Update(ctx context.Context, server string, change func(old *Server) *Server) (*Server, error) {
	var s *Server
	err := d.db.Write(ctx, func(tx *store.Tx) error {
		old, err := get(tx, server)
		if err != nil {
			return err
		}
		s = change(old)
		return put(tx, server, s)
	})
	return s, err
}

// Prune forgets the servers that were heard of longest ago, at most limit at once, as
// long as there are more than keep. It returns how many it forgot.
func (d *DB) Prune(ctx context.Context, keep, limit int) (n int, err error) {
	err = d.db.Write(ctx, func(tx *store.Tx) error {
		n = 0
		var count int
		if err := tx.Row(selectCount).Scan(&count); err != nil || count <= keep {
			return err
		}
		names, err := names(tx, min(count-keep, limit))
		for _, name := range names {
			if err == nil {
				err = tx.Exec(deleteKeys, name)
			}
			if err == nil {
				err = tx.Exec(deleteServer, name)
			}
		}
		n = len(names)
		return err
	})
	return n, err
}

func names(q store.Queryer, limit int) ([]string, error) {
	rows, err := q.Query(selectOldest, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		out = append(out, name)
	}
	return out, rows.Err()
}

func get(q store.Queryer, server string) (*Server, error) {
	s := &Server{}
	err := q.Row(selectServer, server).Scan(&s.Answer, &s.ValidUntil, &s.Fetched)
	if errors.Is(err, store.ErrNoRows) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	rows, err := q.Query(selectKeys, server)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var k Key
		if err := rows.Scan(&k.ID, &k.Public, &k.ValidUntil, &k.Ended, &k.Direct); err != nil {
			return nil, err
		}
		s.Keys = append(s.Keys, k)
	}
	return s, rows.Err()
}

func put(tx *store.Tx, server string, s *Server) error {
	if err := tx.Exec(upsertServer, server, s.Answer, s.ValidUntil, s.Fetched); err != nil {
		return err
	}
	if err := tx.Exec(deleteKeys, server); err != nil {
		return err
	}
	for _, k := range s.Keys {
		if err := tx.Exec(insertKey, server, k.ID, k.Public, k.ValidUntil, k.Ended, k.Direct); err != nil {
			return err
		}
	}
	return nil
}

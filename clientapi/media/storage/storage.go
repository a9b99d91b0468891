// Package storage is the SQL of the content repository: what mxc:// URIs name, and
// which files are needed.
//
// A file is needed while a row of media or of thumbnail names it. Functions that
// remove rows return the files that may not be needed any more; the caller asks
// Needed again, with the file locked.
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

// Media is the database of the content repository.
type Media struct{ db *store.DB }

// Open opens the database; the component, migrations and policy in o are set here.
func Open(ctx context.Context, o store.Options) (*Media, error) {
	o.Component, o.Migrations, o.Policy = "media", migrations, store.Independent
	db, err := store.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	return &Media{db}, nil
}

// Close commits what is queued and releases the database.
func (m *Media) Close() error { return m.db.Close() }

// Lost is closed when another process took the database over.
func (m *Media) Lost() <-chan struct{} { return m.db.Lost() }

// MXC is an mxc:// URI: its server name and media id.
type MXC struct{ Origin, ID string }

// String returns the URI.
func (x MXC) String() string { return "mxc://" + x.Origin + "/" + x.ID }

// Item is what a URI names.
type Item struct {
	MXC
	SHA256      []byte // nil: the content is awaited
	Size        int64  // bytes
	ContentType string
	FileName    string // "": none was given
	UserID      string
	Created     int64 // milliseconds
	Expires     int64 // milliseconds; 0: never
	Quarantined bool
}

const (
	columns = `origin, media_id, sha256, size, content_type, file_name, user_id, created, expires, quarantined`

	selectItem  = `SELECT ` + columns + ` FROM media WHERE origin = $1 AND media_id = $2 AND (expires = 0 OR expires > $3)`
	selectUser  = `SELECT ` + columns + ` FROM media WHERE user_id = $1 AND (created, media_id) > ($2, $3) ORDER BY created, media_id LIMIT $4`
	selectUsage = `SELECT files, bytes FROM usage WHERE user_id = $1`
	selectFile  = `SELECT 1 FROM media WHERE sha256 = $1 LIMIT 1`
	selectThumb = `SELECT 1 FROM thumbnail WHERE sha256 = $1 LIMIT 1`
)

// Get returns what a URI names at a time, 404 M_NOT_FOUND if it names nothing.
func (m *Media) Get(ctx context.Context, x MXC, now int64) (*Item, error) {
	var item *Item
	err := m.db.Read(ctx, func(r *store.Reader) (err error) {
		item, err = get(r, x, now)
		return err
	})
	return item, err
}

func get(q store.Queryer, x MXC, now int64) (*Item, error) {
	item, err := scan(q.Row(selectItem, x.Origin, x.ID, now))
	if errors.Is(err, store.ErrNoRows) {
		return nil, merr.NotFound("Media not found")
	}
	return item, err
}

func scan(row interface{ Scan(dst ...any) error }) (*Item, error) {
	var i Item
	err := row.Scan(&i.Origin, &i.ID, &i.SHA256, &i.Size, &i.ContentType, &i.FileName, &i.UserID, &i.Created, &i.Expires, &i.Quarantined)
	return &i, err
}

// ByUser lists what a user has uploaded or wants to, oldest first, after an item that
// was listed before (nil: from the start), at most limit items.
func (m *Media) ByUser(ctx context.Context, userID string, after *Item, limit int) ([]*Item, error) {
	created, id := int64(-1), ""
	if after != nil {
		created, id = after.Created, after.ID
	}
	var out []*Item
	err := m.db.Read(ctx, func(r *store.Reader) (err error) {
		out, err = items(r, selectUser, userID, created, id, limit)
		return err
	})
	return out, err
}

// Usage returns how much a user has uploaded.
func (m *Media) Usage(ctx context.Context, userID string) (files, bytes int64, err error) {
	err = m.db.Read(ctx, func(r *store.Reader) (err error) {
		files, bytes, err = usage(r, userID)
		return err
	})
	return files, bytes, err
}

func usage(q store.Queryer, userID string) (files, bytes int64, err error) {
	err = q.Row(selectUsage, userID).Scan(&files, &bytes)
	if errors.Is(err, store.ErrNoRows) {
		return 0, 0, nil
	}
	return files, bytes, err
}

// Needed reports whether any row names a file.
func (m *Media) Needed(ctx context.Context, sha256 []byte) (bool, error) {
	missing, err := m.Unneeded(ctx, [][]byte{sha256})
	return len(missing) == 0, err
}

// Unneeded returns those of the files that no row names.
func (m *Media) Unneeded(ctx context.Context, files [][]byte) ([][]byte, error) {
	var out [][]byte
	err := m.db.Read(ctx, func(r *store.Reader) error {
		for _, file := range files {
			needed, err := exists(r, selectFile, file)
			if err == nil && !needed {
				needed, err = exists(r, selectThumb, file)
			}
			if err != nil {
				return err
			}
			if !needed {
				out = append(out, file)
			}
		}
		return nil
	})
	return out, err
}

func exists(q store.Queryer, sql string, args ...any) (bool, error) {
	var one int
	err := q.Row(sql, args...).Scan(&one)
	if errors.Is(err, store.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

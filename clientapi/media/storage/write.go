package storage

import (
	"context"
	"net/http"
	"time"

	"hearth/internal/merr"
	"hearth/internal/store"
)

const (
	insertItem = `INSERT INTO media (` + columns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`
	fillItem   = `UPDATE media SET sha256 = $3, size = $4, content_type = $5, file_name = $6, created = $7, expires = 0, quarantined = $8
		WHERE origin = $1 AND media_id = $2`
	addUsage = `INSERT INTO usage (user_id, files, bytes) VALUES ($1, $2, $3)
		ON CONFLICT (user_id) DO UPDATE SET files = usage.files + excluded.files, bytes = usage.bytes + excluded.bytes`
	selectBad     = `SELECT 1 FROM media WHERE sha256 = $1 AND quarantined LIMIT 1`
	selectPending = `SELECT count(*), min(expires) FROM media WHERE user_id = $1 AND sha256 IS NULL AND expires > $2`
	putThumb      = `INSERT INTO thumbnail (source, variant, sha256, content_type) VALUES ($1, $2, $3, $4)
		ON CONFLICT (source, variant) DO UPDATE SET sha256 = excluded.sha256, content_type = excluded.content_type`
	selectVariant = `SELECT sha256, content_type FROM thumbnail WHERE source = $1 AND variant = $2`
)

// Quota bounds what one user may have uploaded; 0: no bound.
type Quota struct{ Files, Bytes int64 }

// Check returns 403 M_FORBIDDEN if that is too much.
func (q Quota) Check(files, bytes int64) error {
	if q.Files > 0 && files > q.Files || q.Bytes > 0 && bytes > q.Bytes {
		return merr.Forbidden("You have reached the quota for uploaded content")
	}
	return nil
}

// Add stores a new item with content. Content that is in quarantine goes there again.
func (m *Media) Add(ctx context.Context, i *Item, q Quota) error {
	return m.db.Write(ctx, func(tx *store.Tx) error {
		if err := charge(tx, i, q); err != nil {
			return err
		}
		return insert(tx, i)
	})
}

func insert(tx *store.Tx, i *Item) error {
	bad, err := exists(tx, selectBad, i.SHA256)
	if err != nil {
		return err
	}
	return tx.Exec(insertItem, i.Origin, i.ID, i.SHA256, i.Size, i.ContentType, i.FileName, i.UserID, i.Created, i.Expires, bad)
}

// charge adds an item to what its user has. The copies, which belong to nobody, are
// counted under the empty name.
func charge(tx *store.Tx, i *Item, q Quota) error {
	files, bytes, err := usage(tx, i.UserID)
	if err != nil {
		return err
	}
	if err := q.Check(files+1, bytes+i.Size); err != nil {
		return err
	}
	return tx.Exec(addUsage, i.UserID, 1, i.Size)
}

// Create stores an item whose content is awaited until i.Expires. A user who awaits
// limit of them already gets M_LIMIT_EXCEEDED.
func (m *Media) Create(ctx context.Context, i *Item, limit int64) error {
	return m.db.Write(ctx, func(tx *store.Tx) error {
		var n int64
		var first *int64
		if err := tx.Row(selectPending, i.UserID, i.Created).Scan(&n, &first); err != nil {
			return err
		}
		if n >= limit {
			return merr.LimitExceeded(time.Duration(*first-i.Created) * time.Millisecond)
		}
		return tx.Exec(insertItem, i.Origin, i.ID, nil, 0, "", "", i.UserID, i.Created, i.Expires, false)
	})
}

// Awaited checks that a user may upload the content of a created item: 404 if it was
// not created or has expired, 403 if another user did it, 409 if the content is there.
func (m *Media) Awaited(ctx context.Context, x MXC, userID string, now int64) error {
	return m.db.Read(ctx, func(r *store.Reader) error { return awaited(r, x, userID, now) })
}

func awaited(q store.Queryer, x MXC, userID string, now int64) error {
	item, err := get(q, x, now)
	switch {
	case err != nil:
		return err
	case item.UserID != userID:
		return merr.Forbidden("Another user has created this URI")
	case item.SHA256 != nil:
		return merr.New(http.StatusConflict, "M_CANNOT_OVERWRITE_MEDIA", "The content has been uploaded already")
	}
	return nil
}

// Fill stores the content of a created item; its errors are those of Awaited and of
// the quota.
func (m *Media) Fill(ctx context.Context, i *Item, q Quota) error {
	return m.db.Write(ctx, func(tx *store.Tx) error {
		if err := awaited(tx, i.MXC, i.UserID, i.Created); err != nil {
			return err
		}
		if err := charge(tx, i, q); err != nil {
			return err
		}
		bad, err := exists(tx, selectBad, i.SHA256)
		if err != nil {
			return err
		}
		return tx.Exec(fillItem, i.Origin, i.ID, i.SHA256, i.Size, i.ContentType, i.FileName, i.Created, bad)
	})
}

// Thumbnail is a file made of another one.
type Thumbnail struct {
	Source      []byte
	Variant     string // what it is like, for the caller
	SHA256      []byte
	ContentType string
}

// Thumbnail returns the file that was made of source, nil if none was.
func (m *Media) Thumbnail(ctx context.Context, source []byte, variant string) (*Thumbnail, error) {
	t := &Thumbnail{Source: source, Variant: variant}
	err := m.db.Read(ctx, func(r *store.Reader) error {
		return r.Row(selectVariant, source, variant).Scan(&t.SHA256, &t.ContentType)
	})
	if isNoRows(err) {
		return nil, nil
	}
	return t, err
}

// AddThumbnail stores a thumbnail; 404 if its source has gone meanwhile.
func (m *Media) AddThumbnail(ctx context.Context, t *Thumbnail) error {
	return m.db.Write(ctx, func(tx *store.Tx) error {
		there, err := exists(tx, selectFile, t.Source)
		if err != nil {
			return err
		}
		if !there {
			return merr.NotFound("Media not found")
		}
		return tx.Exec(putThumb, t.Source, t.Variant, t.SHA256, t.ContentType)
	})
}

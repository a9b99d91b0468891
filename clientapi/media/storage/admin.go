package storage

import (
	"context"
	"fmt"

	"hearth/internal/merr"
	"hearth/internal/store"
)

// Listed is an item as administrators see it.
type Listed struct {
	Item
	QuarantinedBy string
	Safe          bool // from quarantine
}

const listedColumns = columns + `, quarantined_by, safe`

func scanListed(row interface{ Scan(dst ...any) error }) (*Listed, error) {
	var i Listed
	err := row.Scan(&i.Origin, &i.ID, &i.SHA256, &i.Size, &i.ContentType, &i.FileName, &i.UserID, &i.Created, &i.Expires, &i.Quarantined,
		&i.QuarantinedBy, &i.Safe)
	return &i, err
}

func listed(q store.Queryer, sql string, args ...any) ([]*Listed, error) {
	rows, err := q.Query(sql, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := []*Listed{}
	for rows.Next() {
		item, err := scanListed(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, item)
	}
	return out, rows.Err()
}

// Look returns an item, expired or not: 404 M_NOT_FOUND if there is none.
func (m *Media) Look(ctx context.Context, x MXC) (item *Listed, err error) {
	err = m.db.Read(ctx, func(r *store.Reader) error {
		item, err = scanListed(r.Row(`SELECT `+listedColumns+` FROM media WHERE origin = $1 AND media_id = $2`, x.Origin, x.ID))
		if isNoRows(err) {
			return merr.NotFound("Media not found")
		}
		return err
	})
	return item, err
}

// mediaOrders are Synapse's words for how a user's media are sorted.
var mediaOrders = map[string]string{
	"media_id": "media_id", "upload_name": "file_name", "created_ts": "created", "last_access_ts": "created", "media_length": "size",
	"media_type": "content_type", "quarantined_by": "quarantined_by", "safe_from_quarantine": "safe",
}

// IsOrder reports whether media can be sorted that way.
func IsOrder(order string) bool { return mediaOrders[order] != "" }

// OfUser reads a page of what a user has uploaded, and how much that is.
func (m *Media) OfUser(ctx context.Context, userID, order string, backwards bool, from, limit int) (page []*Listed, total int64, err error) {
	column := mediaOrders[order]
	if column == "" {
		column = "created"
	}
	direction := "ASC"
	if backwards {
		direction = "DESC"
	}
	err = m.db.Read(ctx, func(r *store.Reader) error {
		if err := r.Row(`SELECT COUNT(*) FROM media WHERE user_id = $1 AND sha256 IS NOT NULL`, userID).Scan(&total); err != nil {
			return err
		}
		page, err = listed(r, fmt.Sprintf(`SELECT `+listedColumns+` FROM media WHERE user_id = $1 AND sha256 IS NOT NULL
ORDER BY %s %s, media_id %s LIMIT $2 OFFSET $3`, column, direction, direction), userID, limit, from)
		return err
	})
	return page, total, err
}

// Old lists up to limit items with content after an item in order of id: those of one origin, or
// of all others, that were created before a time and have at least a size.
func (m *Media) Old(ctx context.Context, origin string, others bool, before, size int64, after *Listed, limit int) (page []*Listed, err error) {
	compare := "="
	if others {
		compare = "<>"
	}
	place := MXC{}
	if after != nil {
		place = after.MXC
	}
	err = m.db.Read(ctx, func(r *store.Reader) error {
		page, err = listed(r, `SELECT `+listedColumns+` FROM media WHERE origin `+compare+` $1 AND created < $2 AND size >= $3
AND sha256 IS NOT NULL AND (origin, media_id) > ($4, $5) ORDER BY origin, media_id LIMIT $6`, origin, before, size, place.Origin, place.ID, limit)
		return err
	})
	return page, err
}

// PutAway puts an item and all others with the same content into quarantine, unless they are safe,
// and returns how many are new there; or takes them out. 404 if there is no such item.
func (m *Media) PutAway(ctx context.Context, x MXC, by string, on bool) (n int, err error) {
	err = m.db.Write(ctx, func(tx *store.Tx) error {
		item, err := scanListed(tx.Row(`SELECT `+listedColumns+` FROM media WHERE origin = $1 AND media_id = $2`, x.Origin, x.ID))
		if isNoRows(err) {
			return merr.NotFound("Media not found")
		}
		if err != nil {
			return err
		}
		where, args := `sha256 = $3`, []any{on, by, item.SHA256}
		if item.SHA256 == nil {
			where, args = `origin = $3 AND media_id = $4`, []any{on, by, x.Origin, x.ID}
		}
		if on {
			where += ` AND NOT safe`
		}
		rows, err := tx.Query(`UPDATE media SET quarantined = $1, quarantined_by = $2 WHERE quarantined <> $1 AND `+where+` RETURNING media_id`, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for n = 0; rows.Next(); n++ {
			var id string
			if err := rows.Scan(&id); err != nil {
				return err
			}
		}
		return rows.Err()
	})
	return n, err
}

// Protect makes an item safe from quarantine, or ends that. 404 if there is no such item.
func (m *Media) Protect(ctx context.Context, x MXC, on bool) error {
	return m.db.Write(ctx, func(tx *store.Tx) error {
		if _, err := get(tx, x, 0); err != nil {
			return err
		}
		return tx.Exec(`UPDATE media SET safe = $3 WHERE origin = $1 AND media_id = $2`, x.Origin, x.ID, on)
	})
}

// UserUsage is what a user has uploaded.
type UserUsage struct {
	UserID       string
	Files, Bytes int64
}

// UsageQuery asks for a page of what users have uploaded in a time in milliseconds; 0: any.
type UsageQuery struct {
	Order       string // user_id, displayname, media_length or media_count
	Backwards   bool
	From, Limit int
	Since, Till int64
	Text        string // part of the user id
}

var usageOrders = map[string]string{"user_id": "user_id", "displayname": "user_id", "media_length": "bytes", "media_count": "files"}

// IsUsageOrder reports whether users can be sorted that way.
func IsUsageOrder(order string) bool { return usageOrders[order] != "" }

// Statistics reads a page, and the number of all users that match.
func (m *Media) Statistics(ctx context.Context, q *UsageQuery) (page []UserUsage, total int64, err error) {
	column := usageOrders[q.Order]
	if column == "" {
		column = "user_id"
	}
	direction := "ASC"
	if q.Backwards {
		direction = "DESC"
	}
	const from = ` FROM (SELECT user_id, COUNT(*) AS files, COALESCE(SUM(size), 0) AS bytes FROM media WHERE user_id <> '' AND sha256 IS NOT NULL
AND created >= $1 AND ($2 = 0 OR created <= $2) AND ($3 = '' OR user_id LIKE $4 ESCAPE '\') GROUP BY user_id) u`
	args := []any{q.Since, q.Till, q.Text, "%" + escapeLike(q.Text) + "%"}
	err = m.db.Read(ctx, func(r *store.Reader) error {
		if err := r.Row(`SELECT COUNT(*)`+from, args...).Scan(&total); err != nil {
			return err
		}
		rows, err := r.Query(fmt.Sprintf(`SELECT user_id, files, CAST(bytes AS BIGINT)`+from+` ORDER BY %s %s, user_id LIMIT $5 OFFSET $6`, column, direction),
			append(args, q.Limit, q.From)...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var u UserUsage
			if err := rows.Scan(&u.UserID, &u.Files, &u.Bytes); err != nil {
				return err
			}
			page = append(page, u)
		}
		return rows.Err()
	})
	return page, total, err
}

package storage

import (
	"context"
	"errors"

	"hearth/internal/merr"
	"hearth/internal/store"
)

const (
	deleteItem    = `DELETE FROM media WHERE origin = $1 AND media_id = $2`
	setQuarantine = `UPDATE media SET quarantined = $2 WHERE sha256 = $1`
	setOne        = `UPDATE media SET quarantined = $3 WHERE origin = $1 AND media_id = $2`
	selectExpired = `SELECT ` + columns + ` FROM media WHERE expires > 0 AND expires <= $1 ORDER BY expires LIMIT $2`
	selectNext    = `SELECT ` + columns + ` FROM media WHERE expires > 0 AND user_id = '' ORDER BY expires LIMIT $1`
	deleteThumbs  = `DELETE FROM thumbnail WHERE source = $1 RETURNING sha256`
)

func isNoRows(err error) bool { return errors.Is(err, store.ErrNoRows) }

// Delete removes an item, and the thumbnails of its content if no other item has the
// same. It returns the files that may not be needed any more; 404 if there is no item.
func (m *Media) Delete(ctx context.Context, x MXC) (files [][]byte, err error) {
	err = m.db.Write(ctx, func(tx *store.Tx) error {
		item, err := get(tx, x, 0) // expired ones too
		if err != nil {
			return err
		}
		files, err = remove(tx, item)
		return err
	})
	return files, err
}

// Expire removes up to limit items, as Delete does: those that have expired, then,
// while there are more than keep bytes of items that belong to no user, those of
// them that will expire next. n is how many were removed.
func (m *Media) Expire(ctx context.Context, now, keep int64, limit int) (n int, files [][]byte, err error) {
	err = m.db.Write(ctx, func(tx *store.Tx) error {
		n, files = 0, nil // this may run twice
		expired, err := items(tx, selectExpired, now, limit)
		if err != nil {
			return err
		}
		_, bytes, err := usage(tx, "")
		if err != nil {
			return err
		}
		take := func(i *Item) error {
			some, err := remove(tx, i)
			if i.UserID == "" {
				bytes -= i.Size
			}
			n, files = n+1, append(files, some...)
			return err
		}
		for _, i := range expired {
			if err := take(i); err != nil {
				return err
			}
		}
		if n == limit || bytes <= keep {
			return nil
		}
		next, err := items(tx, selectNext, limit-n)
		for _, i := range next {
			if bytes > keep && err == nil {
				err = take(i)
			}
		}
		return err
	})
	return n, files, err
}

func items(q store.Queryer, sql string, args ...any) ([]*Item, error) {
	rows, err := q.Query(sql, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []*Item
	for rows.Next() {
		item, err := scan(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, item)
	}
	return out, rows.Err()
}

func remove(tx *store.Tx, i *Item) ([][]byte, error) {
	if err := tx.Exec(deleteItem, i.Origin, i.ID); err != nil {
		return nil, err
	}
	if i.SHA256 == nil {
		return nil, nil
	}
	if err := tx.Exec(addUsage, i.UserID, -1, -i.Size); err != nil {
		return nil, err
	}
	if still, err := exists(tx, selectFile, i.SHA256); err != nil || still {
		return nil, err
	}
	files := [][]byte{i.SHA256}
	rows, err := tx.Query(deleteThumbs, i.SHA256)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var file []byte
		if err := rows.Scan(&file); err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	return files, rows.Err()
}

// Quarantine hides an item and all others with the same content, those to come too,
// or shows them again. It returns 404 if there is no item.
func (m *Media) Quarantine(ctx context.Context, x MXC, on bool) error {
	return m.db.Write(ctx, func(tx *store.Tx) error {
		item, err := scan(tx.Row(selectItem, x.Origin, x.ID, 0))
		if isNoRows(err) {
			return merr.NotFound("Media not found")
		}
		if err != nil {
			return err
		}
		if item.SHA256 == nil {
			return tx.Exec(setOne, x.Origin, x.ID, on)
		}
		return tx.Exec(setQuarantine, item.SHA256, on)
	})
}

package storage

import (
	"context"

	"hearth/internal/store"
)

// ProfileNews is a row of table profile_news.
type ProfileNews struct {
	Localpart string
	Serial    int64
}

const (
	upsertProfileNews = `INSERT INTO profile_news (localpart, serial) VALUES ($1, 1)
		ON CONFLICT (localpart) DO UPDATE SET serial = profile_news.serial + 1`
	selectProfileNews = `SELECT localpart, serial FROM profile_news WHERE localpart > $1 ORDER BY localpart LIMIT $2`
	deleteProfileNews = `DELETE FROM profile_news WHERE localpart = $1 AND serial = $2`
)

// ProfileNews lists changes of profiles that rooms have still to hear of, in order of
// localpart.
func (u *Users) ProfileNews(ctx context.Context, after string, limit int) (list []ProfileNews, err error) {
	err = u.db.Read(ctx, func(r *store.Reader) error {
		list = nil
		rows, err := r.Query(selectProfileNews, after, limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var n ProfileNews
			if err := rows.Scan(&n.Localpart, &n.Serial); err != nil {
				return err
			}
			list = append(list, n)
		}
		return rows.Err()
	})
	return list, err
}

// ProfileTold ends a change that all rooms have heard of, unless there is a newer one.
func (u *Users) ProfileTold(ctx context.Context, n ProfileNews) error {
	return u.write(ctx, func(tx *Tx) error { return tx.Exec(deleteProfileNews, n.Localpart, n.Serial) })
}

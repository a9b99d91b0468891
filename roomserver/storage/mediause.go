package storage

import (
	"context"

	"hearth/internal/store"
)

// MediaUse says that event Nid shows a file of this server.
type MediaUse struct {
	URI         string
	Nid, Sender int64
	Owns        bool // the file goes with its last event
}

func (u *MediaUse) write(tx *store.Tx) error {
	owns := 0
	if u.Owns {
		owns = 1
	}
	return tx.Exec(`INSERT INTO media_use (uri, nid, sender, owns) VALUES ($1, $2, $3, $4) ON CONFLICT (uri, nid) DO NOTHING`, u.URI, u.Nid, u.Sender, owns)
}

const (
	lastUses = `INSERT INTO media_gone (uri, sender) SELECT u.uri, u.sender FROM media_use u WHERE u.nid = $1 AND u.owns <> 0
AND NOT EXISTS (SELECT 1 FROM media_use o WHERE o.uri = u.uri AND o.nid <> $1) ON CONFLICT (uri) DO NOTHING`
	endUses = `DELETE FROM media_use WHERE nid = $1`
)

// releaseMedia is the write that goes with an event's content.
func releaseMedia(tx *store.Tx, nid int64) error {
	if err := tx.Exec(lastUses, nid); err != nil {
		return err
	}
	return tx.Exec(endUses, nid)
}

// GoneMedia is a file whose last event is gone.
type GoneMedia struct {
	URI    string
	Sender int64
}

// GoneMedia lists up to limit files that are to go after a URI, in order. Those that came to be shown again are left out.
func (s *Store) GoneMedia(ctx context.Context, after string, limit int) (list []GoneMedia, err error) {
	err = s.read(ctx, "read files that are to go", func(r *store.Reader) error {
		rows, err := r.Query(`SELECT uri, sender FROM media_gone g WHERE uri > $1
AND NOT EXISTS (SELECT 1 FROM media_use u WHERE u.uri = g.uri) ORDER BY uri LIMIT $2`, after, limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var g GoneMedia
			if err := rows.Scan(&g.URI, &g.Sender); err != nil {
				return err
			}
			list = append(list, g)
		}
		return rows.Err()
	})
	return list, err
}

// SettleMedia is the write after files have gone, and for those that are shown again.
func SettleMedia(tx *store.Tx, list []GoneMedia) error {
	for _, g := range list {
		if err := tx.Exec(`DELETE FROM media_gone WHERE uri = $1`, g.URI); err != nil {
			return err
		}
	}
	return tx.Exec(`DELETE FROM media_gone WHERE EXISTS (SELECT 1 FROM media_use u WHERE u.uri = media_gone.uri)`)
}

package push

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"net/url"

	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/internal/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// database is the store of pushers. Functions that take a transaction may run more
// than once, so they have no effects outside it.
type database struct{ *store.DB }

func openDatabase(ctx context.Context, o store.Options) (database, error) {
	o.Component, o.Migrations, o.Policy, o.Readers = "push", migrations, store.Independent, 2
	db, err := store.Open(ctx, o)
	return database{db}, err
}

const pusherColumns = `id, user_id, app_id, pushkey, device, app_name, device_name, profile_tag, lang, data, since, ts`

// pushers reads all pushers.
func (db database) pushers(ctx context.Context) (list []*pusher, err error) {
	err = db.Read(ctx, func(r *store.Reader) error {
		list = nil
		rows, err := r.Query(`SELECT ` + pusherColumns + ` FROM pusher ORDER BY id`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			p := &pusher{}
			var data []byte
			if err := rows.Scan(&p.id, &p.userID, &p.appID, &p.pushKey, &p.device, &p.appName, &p.deviceName,
				&p.profileTag, &p.lang, &data, &p.since, &p.ts); err != nil {
				return err
			}
			p.data = data
			text, _ := pdu.GetString(p.data, "url")
			if p.url, err = url.Parse(text); err != nil {
				return err
			}
			list = append(list, p)
		}
		return rows.Err()
	})
	return list, err
}

const insertPusher = `INSERT INTO pusher (` + pusherColumns + `, badge) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 0)
ON CONFLICT (user_id, app_id, pushkey) DO UPDATE SET device = excluded.device, app_name = excluded.app_name,
 device_name = excluded.device_name, profile_tag = excluded.profile_tag, lang = excluded.lang, data = excluded.data, ts = excluded.ts
RETURNING id, since`

// set stores a pusher and returns it as it is now, with the numbers of those that it
// has taken the place of: with the same key, of other users, unless keep.
func (db database) set(ctx context.Context, p pusher, keep bool) (now *pusher, gone []int64, err error) {
	err = db.Write(ctx, func(tx *store.Tx) error {
		gone = nil
		var n int
		if err := tx.Row(`SELECT count(*) FROM pusher WHERE user_id = $1 AND NOT (app_id = $2 AND pushkey = $3)`,
			p.userID, p.appID, p.pushKey).Scan(&n); err != nil {
			return err
		}
		if n >= maxPushers {
			return merr.Forbidden("This account has %d pushers, delete some first", n)
		}
		if !keep {
			others, err := ids(tx, `SELECT id FROM pusher WHERE app_id = $1 AND pushkey = $2 AND user_id <> $3`, p.appID, p.pushKey, p.userID)
			if err != nil {
				return err
			}
			if err := drop(tx, others...); err != nil {
				return err
			}
			gone = others
		}
		stored := p
		stored.ts = tx.Now().UnixMilli()
		err := tx.Row(insertPusher, tx.Next(), p.userID, p.appID, p.pushKey, p.device, p.appName, p.deviceName,
			p.profileTag, p.lang, []byte(p.data), p.since, stored.ts).Scan(&stored.id, &stored.since)
		now = &stored
		return err
	})
	return now, gone, err
}

// remove deletes a user's pusher and returns its number, if it was there.
func (db database) remove(ctx context.Context, userID, appID, pushKey string) (gone []int64, err error) {
	err = db.Write(ctx, func(tx *store.Tx) error {
		gone, err = ids(tx, `SELECT id FROM pusher WHERE user_id = $1 AND app_id = $2 AND pushkey = $3`, userID, appID, pushKey)
		if err != nil {
			return err
		}
		return drop(tx, gone...)
	})
	return gone, err
}

// drop deletes pushers by number.
func (db database) drop(ctx context.Context, numbers ...int64) error {
	return db.Write(ctx, func(tx *store.Tx) error { return drop(tx, numbers...) })
}

func drop(tx *store.Tx, numbers ...int64) error {
	for _, id := range numbers {
		if err := tx.Exec(`DELETE FROM notice WHERE pusher = $1`, id); err != nil {
			return err
		}
		if err := tx.Exec(`DELETE FROM pusher WHERE id = $1`, id); err != nil {
			return err
		}
	}
	return nil
}

func ids(q store.Queryer, sql string, args ...any) ([]int64, error) {
	rows, err := q.Query(sql, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []int64
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		list = append(list, id)
	}
	return list, rows.Err()
}

// progress is how far the room log was read; known is false at the first start.
func (db database) progress(ctx context.Context) (pos int64, known bool, err error) {
	err = db.Read(ctx, func(r *store.Reader) error { return r.Row(`SELECT pos FROM progress WHERE one = 1`).Scan(&pos) })
	if errors.Is(err, store.ErrNoRows) {
		return 0, false, nil
	}
	return pos, err == nil, err
}

// notice is something to send. event is empty for a number of unread notifications.
type notice struct {
	seq, pusher int64
	room, event string
	pos         int64
	tweaks      json.RawMessage
	high        bool
	at          int64
}

const upsertProgress = `INSERT INTO progress (one, pos) VALUES (1, $1) ON CONFLICT (one) DO UPDATE SET pos = excluded.pos`

// advance stores what entries up to pos make to be sent.
func (db database) advance(ctx context.Context, pos int64, notices []notice) error {
	return db.Write(ctx, func(tx *store.Tx) error {
		for i := range notices {
			if err := insertNotice(tx, &notices[i]); err != nil {
				return err
			}
		}
		return tx.Exec(upsertProgress, pos)
	})
}

func insertNotice(tx *store.Tx, n *notice) error {
	var there int
	if err := tx.Row(`SELECT count(*) FROM pusher WHERE id = $1`, n.pusher).Scan(&there); err != nil || there == 0 {
		return err // it was deleted meanwhile
	}
	if n.event == "" { // one is enough
		if err := tx.Exec(`DELETE FROM notice WHERE pusher = $1 AND event = ''`, n.pusher); err != nil {
			return err
		}
	}
	err := tx.Exec(`INSERT INTO notice (seq, pusher, room, event, pos, tweaks, high, at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		tx.Next(), n.pusher, n.room, n.event, n.pos, []byte(n.tweaks), n.high, tx.Now().UnixMilli())
	if err != nil {
		return err
	}
	return tx.Exec(`DELETE FROM notice WHERE pusher = $1 AND seq <=
 (SELECT seq FROM notice WHERE pusher = $1 ORDER BY seq DESC LIMIT 1 OFFSET $2)`, n.pusher, maxWaiting)
}

// waiting lists the pushers for which something waits.
func (db database) waiting(ctx context.Context) (list []int64, err error) {
	err = db.Read(ctx, func(r *store.Reader) error {
		list, err = ids(r, `SELECT DISTINCT pusher FROM notice`)
		return err
	})
	return list, err
}

// next reads the oldest notice of a pusher; nil if none waits.
func (db database) next(ctx context.Context, id int64) (*notice, error) {
	n := &notice{pusher: id}
	var tweaks []byte
	err := db.Read(ctx, func(r *store.Reader) error {
		return r.Row(`SELECT seq, room, event, pos, tweaks, high, at FROM notice WHERE pusher = $1 ORDER BY seq LIMIT 1`, id).
			Scan(&n.seq, &n.room, &n.event, &n.pos, &tweaks, &n.high, &n.at)
	})
	if errors.Is(err, store.ErrNoRows) {
		return nil, nil
	}
	n.tweaks = tweaks
	return n, err
}

// done deletes a notice. badge, if not negative, is what the gateway was told.
func (db database) done(ctx context.Context, n *notice, badge int) error {
	return db.Write(ctx, func(tx *store.Tx) error {
		if badge >= 0 {
			if err := tx.Exec(`UPDATE pusher SET badge = $2 WHERE id = $1`, n.pusher, badge); err != nil {
				return err
			}
		}
		return tx.Exec(`DELETE FROM notice WHERE seq = $1`, n.seq)
	})
}

// badges reads what gateways were told last.
func (db database) badges(ctx context.Context) (map[int64]int, error) {
	out := map[int64]int{}
	err := db.Read(ctx, func(r *store.Reader) error {
		rows, err := r.Query(`SELECT id, badge FROM pusher WHERE badge > 0`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id int64
			var n int
			if err := rows.Scan(&id, &n); err != nil {
				return err
			}
			out[id] = n
		}
		return rows.Err()
	})
	return out, err
}

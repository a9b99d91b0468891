package delayed

import (
	"context"
	"embed"
	"errors"
	"time"

	"hearth/internal/merr"
	"hearth/internal/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// States of an event.
const (
	scheduled = iota
	sent
	cancelled
)

// event is a delayed event. Times are in milliseconds.
type event struct {
	id, userID, device, txn string
	room, typ               string
	stateKey                *string
	content                 []byte
	ts                      int64
	delay, since, at        int64
	state                   int64
	ended                   int64
	eventID                 string
	failure                 []byte // a Matrix error; nil: none
}

// database is the store. Functions that take a transaction may run more than once, so
// they have no effects outside it.
type database struct{ *store.DB }

func openDatabase(ctx context.Context, o store.Options) (database, error) {
	o.Component, o.Migrations, o.Policy, o.Readers = "delayed", migrations, store.Independent, 2
	db, err := store.Open(ctx, o)
	return database{db}, err
}

const columns = `id, user_id, device, txn, room, type, state_key, content, ts, delay, since, at, state, ended, event, error`

func scan(row interface{ Scan(...any) error }) (*event, error) {
	e := &event{}
	return e, row.Scan(&e.id, &e.userID, &e.device, &e.txn, &e.room, &e.typ, &e.stateKey, &e.content, &e.ts, &e.delay, &e.since, &e.at,
		&e.state, &e.ended, &e.eventID, &e.failure)
}

func list(q store.Queryer, sql string, args ...any) (all []*event, err error) {
	rows, err := q.Query(sql, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		e, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, rows.Err()
}

// insert schedules an event and returns its id, or that of an earlier request with its
// transaction id.
func (db database) insert(ctx context.Context, e *event) (id string, err error) {
	err = db.Write(ctx, func(tx *store.Tx) error {
		id = e.id
		if e.txn != "" {
			err := tx.Row(`SELECT id FROM delayed WHERE user_id = $1 AND device = $2 AND txn = $3`, e.userID, e.device, e.txn).Scan(&id)
			if !errors.Is(err, store.ErrNoRows) {
				return err
			}
			id = e.id
		}
		var n int
		var next *int64
		if err := tx.Row(`SELECT count(*), min(at) FROM delayed WHERE user_id = $1 AND state = 0`, e.userID).Scan(&n, &next); err != nil {
			return err
		}
		if n >= MaxScheduled {
			return merr.LimitExceeded(max(time.Second, time.Duration(*next-tx.Now().UnixMilli())*time.Millisecond))
		}
		return tx.Exec(`INSERT INTO delayed (`+columns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 0, 0, '', NULL)`,
			e.id, e.userID, e.device, e.txn, e.room, e.typ, e.stateKey, e.content, e.ts, e.delay, e.since, e.at)
	})
	return id, err
}

// get reads an event.
func (db database) get(ctx context.Context, id string) (e *event, err error) {
	err = db.Read(ctx, func(r *store.Reader) error {
		e, err = scan(r.Row(`SELECT `+columns+` FROM delayed WHERE id = $1`, id))
		return err
	})
	if errors.Is(err, store.ErrNoRows) {
		return nil, merr.NotFound("Unknown delayed event")
	}
	return e, err
}

// of lists a user's events: scheduled ones in the order in which they are to be sent, or
// those that have ended, the last first.
func (db database) of(ctx context.Context, userID string, ended bool) (all []*event, err error) {
	sql := `SELECT ` + columns + ` FROM delayed WHERE user_id = $1 AND state = 0 ORDER BY at, id LIMIT $2`
	if ended {
		sql = `SELECT ` + columns + ` FROM delayed WHERE user_id = $1 AND state > 0 ORDER BY ended DESC, id LIMIT $2`
	}
	err = db.Read(ctx, func(r *store.Reader) error {
		all, err = list(r, sql, userID, MaxScheduled)
		return err
	})
	return all, err
}

// due lists events that are to be sent by a time, and when the next one is; 0: there is
// none.
func (db database) due(ctx context.Context, by int64, limit int) (all []*event, next int64, err error) {
	err = db.Read(ctx, func(r *store.Reader) error {
		all, err = list(r, `SELECT `+columns+` FROM delayed WHERE state = 0 AND at <= $1 ORDER BY at, id LIMIT $2`, by, limit)
		if err != nil {
			return err
		}
		var first *int64
		if err := r.Row(`SELECT min(at) FROM delayed WHERE state = 0 AND at > $1`, by).Scan(&first); err != nil {
			return err
		}
		if next = 0; first != nil {
			next = *first
		}
		return nil
	})
	return all, next, err
}

// restart lets the delay begin again.
func (db database) restart(ctx context.Context, id string, now int64) error {
	return db.Write(ctx, func(tx *store.Tx) error {
		return tx.Exec(`UPDATE delayed SET since = $2, at = $2 + delay WHERE id = $1 AND state = 0`, id, now)
	})
}

// end notes what became of an event, and forgets the user's oldest that have ended.
func (db database) end(ctx context.Context, e *event) error {
	return db.Write(ctx, func(tx *store.Tx) error {
		if err := tx.Exec(`UPDATE delayed SET state = $2, ended = $3, event = $4, error = $5 WHERE id = $1 AND state = 0`,
			e.id, e.state, e.ended, e.eventID, e.failure); err != nil {
			return err
		}
		return tx.Exec(`DELETE FROM delayed WHERE user_id = $1 AND state > 0 AND id IN (
 SELECT id FROM delayed WHERE user_id = $1 AND state > 0 ORDER BY ended DESC, id LIMIT 100 OFFSET $2)`, e.userID, maxEnded)
	})
}

// expire forgets what ended before a time.
func (db database) expire(ctx context.Context, before int64) error {
	return db.Write(ctx, func(tx *store.Tx) error {
		return tx.Exec(`DELETE FROM delayed WHERE id IN (SELECT id FROM delayed WHERE state > 0 AND ended < $1 LIMIT 1000)`, before)
	})
}

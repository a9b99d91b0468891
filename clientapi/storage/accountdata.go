package storage

import (
	"context"
	"errors"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/internal/store"
)

const (
	upsertData = `INSERT INTO account_data (pos, localpart, room, type, content) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (localpart, room, type) DO UPDATE SET pos = excluded.pos, content = excluded.content`
	selectData    = `SELECT content, pos FROM account_data WHERE localpart = $1 AND room = $2 AND type = $3`
	countData     = `SELECT count(*) FROM account_data WHERE localpart = $1`
	selectChanged = `SELECT room, type, content, pos FROM account_data
		WHERE localpart = $1 AND pos > $2 AND pos <= $3 ORDER BY pos`
	selectLog = `SELECT localpart, room, type, content, pos FROM account_data
		WHERE pos > $1 AND pos <= $2 ORDER BY pos LIMIT $3`
)

// pageBytes bounds a page of account data. One piece may be larger.
const pageBytes = 400 << 10

// SetAccountData stores a piece of data under a new log position and calls
// committed with it, in commit order, when it is durable.
func (u *Users) SetAccountData(ctx context.Context, localpart string, d userapi.AccountData, limit int64, committed func(pos int64)) error {
	var pos int64
	done := make(chan error, 1)
	err := u.db.Submit(store.Op{
		Run: func(tx *store.Tx) error {
			if err := active(tx, localpart); err != nil {
				return err
			}
			var old []byte
			var at int64
			switch err := tx.Row(selectData, localpart, d.RoomID, d.Type).Scan(&old, &at); {
			case errors.Is(err, store.ErrNoRows):
				if n, err := count(tx, countData, localpart); err != nil {
					return err
				} else if n >= limit {
					return merr.Forbidden("This account has too many pieces of account data")
				}
			case err != nil:
				return err
			}
			pos = tx.Next()
			return tx.Exec(upsertData, pos, localpart, d.RoomID, d.Type, []byte(d.Content))
		},
		Done: func(err error) {
			if err == nil {
				committed(pos)
			}
			done <- err
		},
	})
	if err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// AccountData returns a piece of data, 404 M_NOT_FOUND if it was never set.
func (u *Users) AccountData(ctx context.Context, localpart, room, kind string) (userapi.AccountData, error) {
	d := userapi.AccountData{RoomID: room, Type: kind}
	err := u.db.Read(ctx, func(r *store.Reader) error {
		var content []byte
		err := r.Row(selectData, localpart, room, kind).Scan(&content, &d.Pos)
		d.Content = content
		return found(err, "Account data")
	})
	return d, err
}

// ChangedAccountData lists data with after < pos ≤ upTo (0: the head), a page at a time.
func (u *Users) ChangedAccountData(ctx context.Context, localpart string, after, upTo int64) (*userapi.ChangedAccountDataResponse, error) {
	head := u.db.Head() // taken first, so that the snapshot below has everything up to it
	if upTo == 0 || upTo > head {
		upTo = head
	}
	page := &userapi.ChangedAccountDataResponse{Pos: upTo}
	err := u.db.Read(ctx, func(r *store.Reader) error {
		rows, err := r.Query(selectChanged, localpart, after, upTo)
		if err != nil {
			return err
		}
		defer rows.Close()
		size := 0
		for rows.Next() {
			var d userapi.AccountData
			var content []byte
			if err := rows.Scan(&d.RoomID, &d.Type, &content, &d.Pos); err != nil {
				return err
			}
			size += len(content) + len(d.Type) + len(d.RoomID) + 64
			if size > pageBytes && len(page.Data) > 0 {
				page.More = true
				return nil
			}
			d.Content = content
			page.Data = append(page.Data, d)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	return page, nil
}

// ReadLog returns up to limit entries of the log after a position, without gaps,
// and the head. userID makes a user id of a localpart.
func (u *Users) ReadLog(ctx context.Context, after int64, limit int, userID func(localpart string) string) ([]bus.Positioned[userapi.Entry], int64, error) {
	head := u.db.Head()
	var entries []bus.Positioned[userapi.Entry]
	fill := func(before int64) { // positions whose row was written again later
		for pos := after + int64(len(entries)) + 1; pos < before && len(entries) < limit; pos++ {
			entries = append(entries, bus.Positioned[userapi.Entry]{Pos: pos, Entry: &userapi.Entry{}})
		}
	}
	err := u.db.Read(ctx, func(r *store.Reader) error {
		rows, err := r.Query(selectLog, after, head, limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		size := 0
		for rows.Next() {
			var localpart string
			var content []byte
			d := &userapi.AccountData{}
			if err := rows.Scan(&localpart, &d.RoomID, &d.Type, &content, &d.Pos); err != nil {
				return err
			}
			d.Content = content
			if fill(d.Pos); len(entries) == limit {
				return nil
			}
			if size += len(content); size > pageBytes && len(entries) > 0 {
				return nil
			}
			entries = append(entries, bus.Positioned[userapi.Entry]{Pos: d.Pos, Entry: &userapi.Entry{
				Kind: userapi.KindAccountData, UserID: userID(localpart), Data: d,
			}})
		}
		if err := rows.Err(); err != nil {
			return err
		}
		fill(head + 1)
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	return entries, head, nil
}

package storage

import (
	"context"
	"errors"

	"hearth/clientapi/userapi"
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
	// pos + 0 keeps the planner from the index by position, which goes through all rooms.
	selectChangedIn = `SELECT room, type, content, pos FROM account_data
		WHERE localpart = $1 AND pos + 0 > $2 AND pos + 0 <= $3 AND room = $4 ORDER BY pos + 0`
)

// pageBytes bounds a page of account data. One piece may be larger.
const pageBytes = 400 << 10

// SetAccountData stores a piece of data under a new log position.
func (u *Users) SetAccountData(ctx context.Context, localpart string, d userapi.AccountData, limit int64) error {
	return u.EditAccountData(ctx, localpart, d, limit, func([]byte) ([]byte, error) { return d.Content, nil })
}

// EditAccountData replaces the content of the piece that d names by what change
// makes of it; old is nil if it was never set. Nothing happens if change returns nil.
func (u *Users) EditAccountData(ctx context.Context, localpart string, d userapi.AccountData, limit int64, change func(old []byte) ([]byte, error)) error {
	return u.write(ctx, func(tx *Tx) error {
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
		content, err := change(old)
		if err != nil || content == nil {
			return err
		}
		data := d
		data.Content = content
		data.Pos = tx.log(localpart, userapi.Entry{Kind: userapi.KindAccountData, Data: &data})
		return tx.Exec(upsertData, data.Pos, localpart, d.RoomID, d.Type, content)
	})
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

// ChangedAccountData lists data with after < pos ≤ upTo (0: the head), a page at a time:
// that of one room, or all if room is nil.
func (u *Users) ChangedAccountData(ctx context.Context, localpart string, room *string, after, upTo int64) (*userapi.ChangedAccountDataResponse, error) {
	head := u.db.Head() // taken first, so that the snapshot below has everything up to it
	if upTo == 0 || upTo > head {
		upTo = head
	}
	page := &userapi.ChangedAccountDataResponse{Pos: upTo}
	err := u.db.Read(ctx, func(r *store.Reader) error {
		query, args := selectChanged, []any{localpart, after, upTo}
		if room != nil {
			query, args = selectChangedIn, append(args, *room)
		}
		rows, err := r.Query(query, args...)
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

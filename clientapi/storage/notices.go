package storage

import (
	"context"

	"hearth/internal/store"
)

// NoticeRoom returns the room of the notices to a user, 404 M_NOT_FOUND if there is none.
func (u *Users) NoticeRoom(ctx context.Context, localpart string) (room string, err error) {
	err = u.db.Read(ctx, func(r *store.Reader) error {
		return found(r.Row(`SELECT room FROM notice_room WHERE localpart = $1`, localpart).Scan(&room), "Room for notices")
	})
	return room, err
}

// SetNoticeRoom remembers that room; "" forgets it.
func (u *Users) SetNoticeRoom(ctx context.Context, localpart, room string) error {
	return u.write(ctx, func(tx *Tx) error {
		if room == "" {
			return tx.Exec(`DELETE FROM notice_room WHERE localpart = $1`, localpart)
		}
		if err := active(tx, localpart); err != nil {
			return err
		}
		return tx.Exec(`INSERT INTO notice_room (localpart, room) VALUES ($1, $2)
			ON CONFLICT (localpart) DO UPDATE SET room = excluded.room`, localpart, room)
	})
}

package storage

import (
	"context"

	"hearth/internal/store"
)

// Purging lists the rooms that are being deleted: number and id.
func (s *Store) Purging(ctx context.Context) (rooms map[int64]string, err error) {
	rooms = map[int64]string{}
	err = s.read(ctx, "read rooms that are being deleted", func(r *store.Reader) error {
		list, err := r.Query(`SELECT room, id FROM purging`)
		if err != nil {
			return err
		}
		defer list.Close()
		for list.Next() {
			var nid int64
			var id string
			if err := list.Scan(&nid, &id); err != nil {
				return err
			}
			rooms[nid] = id
		}
		return list.Err()
	})
	return rooms, err
}

// BeginPurge is the write after which a room is unknown. Its other rows are for PurgeStep.
func BeginPurge(tx *store.Tx, room int64, id string) error {
	if err := tx.Exec(`INSERT INTO purging (room, id) VALUES ($1, $2)`, room, id); err != nil {
		return err
	}
	for _, table := range []string{"room", "room_info", "published", "alias"} {
		if err := tx.Exec(`DELETE FROM `+table+` WHERE room = $1`, room); err != nil {
			return err
		}
	}
	return nil
}

// purgeRows are the tables of a room with many rows: how rows are found and what goes with them.
var purgeRows = []struct {
	find   string
	delete []string
}{
	{`SELECT nid FROM event WHERE room = $1 LIMIT $2`, []string{"relation WHERE nid", "body WHERE nid", "event WHERE nid"}},
	{`SELECT user_nid FROM member WHERE room = $1 LIMIT $2`, []string{"member WHERE room = $1 AND user_nid"}},
	{`SELECT snap FROM snap WHERE room = $1 LIMIT $2`, []string{"snap WHERE snap"}},
	{`SELECT pos FROM log WHERE room = $1 LIMIT $2`, []string{"log WHERE pos"}},
}

// PurgePage is how many keys PurgeFind is asked for at once. Some tables have no index by room,
// and are read whole each time.
const PurgePage = 1 << 18

// PurgeTables is the number of tables that PurgeFind and PurgeRows know.
var PurgeTables = len(purgeRows)

// PurgeFind reads the keys of up to limit rows of a room that is being deleted.
func (s *Store) PurgeFind(ctx context.Context, table int, room int64, limit int) (keys []int64, err error) {
	err = s.read(ctx, "find rows to delete", func(r *store.Reader) error {
		rows, err := r.Query(purgeRows[table].find, room, limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var k int64
			if err := rows.Scan(&k); err != nil {
				return err
			}
			keys = append(keys, k)
		}
		return rows.Err()
	})
	return keys, err
}

// PurgeRows is the write that deletes rows by their keys.
func PurgeRows(tx *store.Tx, table int, room int64, keys []int64) error {
	for _, what := range purgeRows[table].delete {
		for _, k := range keys {
			args := []any{k}
			bound := "$1"
			if what == purgeRows[1].delete[0] {
				args, bound = []any{room, k}, "$2"
			}
			if err := tx.Exec(`DELETE FROM `+what+` = `+bound, args...); err != nil {
				return err
			}
		}
	}
	return nil
}

// EndPurge is the write that deletes the rest of a room.
func EndPurge(tx *store.Tx, room int64) error {
	for _, table := range []string{"host", "receipt", "outside", "gap", "inbox", "redaction", "related", "relation", "purging"} {
		if err := tx.Exec(`DELETE FROM `+table+` WHERE room = $1`, room); err != nil {
			return err
		}
	}
	return nil
}

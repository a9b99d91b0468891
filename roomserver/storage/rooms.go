package storage

import (
	"context"

	"hearth/internal/store"
)

// Room reads a room and its checkpoint: ErrNotFound if we do not know it.
func (s *Store) Room(ctx context.Context, id string) (*Room, error) {
	room := &Room{ID: id}
	err := s.read(ctx, "read room", func(r *store.Reader) error {
		var heads []byte
		err := r.Row(`SELECT room, version, pos, snap, heads FROM room WHERE id = $1`, id).
			Scan(&room.Nid, &room.Version, &room.Pos, &room.Snap, &heads)
		if err != nil {
			return err
		}
		room.Heads, err = UnpackInts(heads)
		return err
	})
	if err != nil {
		return nil, err
	}
	return room, nil
}

// RoomIDs returns the ids of rooms by number.
func (s *Store) RoomIDs(ctx context.Context, nids []int64) (map[int64]RoomRef, error) {
	ids := make(map[int64]RoomRef, len(nids))
	err := s.read(ctx, "read room ids", func(r *store.Reader) error {
		return roomRefs(r, nids, ids)
	})
	return ids, err
}

// RoomRef names a room.
type RoomRef struct {
	ID, Version string
}

func roomRefs(r *store.Reader, nids []int64, ids map[int64]RoomRef) error {
	return inChunks(nids, func(list string, args []any) error {
		rows, err := r.Query(`SELECT room, id, version FROM room WHERE room IN (`+list+`)`, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var nid int64
			var ref RoomRef
			if err := rows.Scan(&nid, &ref.ID, &ref.Version); err != nil {
				return err
			}
			ids[nid] = ref
		}
		return rows.Err()
	})
}

// Snaps reads state snapshots by number.
func (s *Store) Snaps(ctx context.Context, nids []int64) ([]Snap, error) {
	var snaps []Snap
	err := s.read(ctx, "read snapshots", func(r *store.Reader) error {
		return inChunks(nids, func(list string, args []any) error {
			rows, err := r.Query(`SELECT snap, room, seq, prev, parent, chain, n, delta FROM snap WHERE snap IN (`+list+`)`, args...)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var sn Snap
				var chain []byte
				if err := rows.Scan(&sn.Nid, &sn.Room, &sn.Seq, &sn.Prev, &sn.Parent, &chain, &sn.N, &sn.Delta); err != nil {
					return err
				}
				if sn.Chain, err = UnpackInts(chain); err != nil {
					return err
				}
				snaps = append(snaps, sn)
			}
			return rows.Err()
		})
	})
	return snaps, err
}

// MemberCounts counts the members of a room by membership: joined and invited.
func (s *Store) MemberCounts(ctx context.Context, room int64) (joined, invited int64, err error) {
	err = s.read(ctx, "count members", func(r *store.Reader) error {
		const q = `SELECT COUNT(*) FROM member WHERE room = $1 AND membership = $2`
		if err := r.Row(q, room, MembershipJoin).Scan(&joined); err != nil {
			return err
		}
		return r.Row(q, room, MembershipInvite).Scan(&invited)
	})
	return joined, invited, err
}

// Heroes returns up to limit users other than not, with one of the memberships,
// in the order of their member events.
func (s *Store) Heroes(ctx context.Context, room, not int64, memberships []int64, limit int) ([]int64, error) {
	type hero struct{ user, nid int64 }
	var all []hero
	err := s.read(ctx, "read heroes", func(r *store.Reader) error {
		for _, m := range memberships {
			rows, err := r.Query(`SELECT user_nid, nid FROM member WHERE room = $1 AND membership = $2 AND user_nid <> $3 ORDER BY nid LIMIT $4`,
				room, m, not, limit)
			if err != nil {
				return err
			}
			for rows.Next() {
				var h hero
				if err := rows.Scan(&h.user, &h.nid); err != nil {
					rows.Close()
					return err
				}
				all = append(all, h)
			}
			rows.Close()
			if err := rows.Err(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	sortBy(all, func(h hero) int64 { return h.nid })
	users := make([]int64, 0, limit)
	for _, h := range all[:min(limit, len(all))] {
		users = append(users, h.user)
	}
	return users, nil
}

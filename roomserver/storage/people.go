package storage

import (
	"context"
	"errors"

	"hearth/internal/store"
)

const (
	selectMutual = `SELECT r.id FROM member a JOIN member b ON b.room = a.room JOIN room r ON r.room = a.room
WHERE a.user_nid = $1 AND a.membership = $3 AND b.user_nid = $2 AND b.membership = $3 AND r.id > $4 ORDER BY r.id LIMIT $5`
	countMutual = `SELECT count(*) FROM member a JOIN member b ON b.room = a.room
WHERE a.user_nid = $1 AND a.membership = $3 AND b.user_nid = $2 AND b.membership = $3`
	selectShares = `SELECT 1 FROM member a JOIN member b ON b.room = a.room
WHERE a.user_nid = $1 AND a.membership = $3 AND b.user_nid = $2 AND b.membership = $3 LIMIT 1`
	selectJoined = `SELECT r.id FROM member m JOIN room r ON r.room = m.room WHERE m.user_nid = $1 AND m.membership = $2
ORDER BY m.nid DESC LIMIT $3`
	selectNear = `SELECT n.s, b.json FROM (
  SELECT user_nid, max(nid) AS nid FROM (
    SELECT b.user_nid, b.nid FROM member a JOIN member b ON b.room = a.room
    WHERE a.user_nid = $1 AND a.membership = $2 AND b.membership = $2 LIMIT $3
  ) near GROUP BY user_nid
) last JOIN name n ON n.nid = last.user_nid JOIN event e ON e.nid = last.nid JOIN body b ON b.nid = last.nid
WHERE n.s NOT LIKE $4 ESCAPE '\' AND e.redacted_by = 0 LIMIT $5`
)

// MutualRooms lists the rooms that two users have joined, after a room id in order
// of room id, and counts all of them.
func (s *Store) MutualRooms(ctx context.Context, user, other int64, after string, limit int) (ids []string, total int64, err error) {
	err = s.read(ctx, "read mutual rooms", func(r *store.Reader) error {
		if err := r.Row(countMutual, user, other, int64(MembershipJoin)).Scan(&total); err != nil {
			return err
		}
		ids, err = idsOf(r, selectMutual, user, other, int64(MembershipJoin), after, limit)
		return err
	})
	return ids, total, err
}

func idsOf(q store.Queryer, sql string, args ...any) ([]string, error) {
	rows, err := q.Query(sql, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var ids []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// SharesRoom reports whether two users have joined a room in common.
func (s *Store) SharesRoom(ctx context.Context, user, other int64) (bool, error) {
	var one int64
	err := s.row(ctx, "look up a shared room", selectShares, []any{user, other, int64(MembershipJoin)}, &one)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return one == 1, err
}

// JoinedRooms lists the rooms that a user has joined, the latest first.
func (s *Store) JoinedRooms(ctx context.Context, user int64, limit int) (ids []string, err error) {
	err = s.read(ctx, "read joined rooms", func(r *store.Reader) error {
		ids, err = idsOf(r, selectJoined, user, int64(MembershipJoin), limit)
		return err
	})
	return ids, err
}

// NearUser is a member of a room that a user is in.
type NearUser struct {
	UserID string
	JSON   []byte // the member event
}

// NearUsers lists users in the rooms of a user, except those of a server. At most
// look rows of members are looked at.
func (s *Store) NearUsers(ctx context.Context, user int64, notOf string, look, limit int) (list []NearUser, err error) {
	err = s.read(ctx, "read users nearby", func(r *store.Reader) error {
		rows, err := r.Query(selectNear, user, int64(MembershipJoin), look, "%:"+likeEscaper.Replace(notOf), limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var u NearUser
			if err := rows.Scan(&u.UserID, &u.JSON); err != nil {
				return err
			}
			list = append(list, u)
		}
		return rows.Err()
	})
	return list, err
}

// LocalMembers lists the joined members of a room whose ids end with a server's name,
// after one of them in order of user id.
func (s *Store) LocalMembers(ctx context.Context, roomID, server, after string, limit int) (ids []string, err error) {
	err = s.read(ctx, "read local members", func(r *store.Reader) error {
		ids, err = idsOf(r, `SELECT n.s FROM room r JOIN member m ON m.room = r.room JOIN name n ON n.nid = m.user_nid
WHERE r.id = $1 AND m.membership = $2 AND n.s LIKE $3 ESCAPE '\' AND n.s > $4 ORDER BY n.s LIMIT $5`,
			roomID, int64(MembershipJoin), "%:"+likeEscaper.Replace(server), after, limit)
		return err
	})
	return ids, err
}

package storage

import (
	"context"

	"hearth/internal/store"
)

// Gap is a place in a room's timeline before which events are missing, with the state there.
type Gap struct{ Ord, Snap int64 }

// Gaps lists the gaps of a room in order of the timeline.
func (s *Store) Gaps(ctx context.Context, room int64) (gaps []Gap, err error) {
	err = s.read(ctx, "read gaps", func(r *store.Reader) error {
		rows, err := r.Query(`SELECT ord, snap FROM gap WHERE room = $1 ORDER BY ord`, room)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var g Gap
			if err := rows.Scan(&g.Ord, &g.Snap); err != nil {
				return err
			}
			gaps = append(gaps, g)
		}
		return rows.Err()
	})
	return gaps, err
}

// Import is a room whose state other servers gave, as one write. The state's events are
// stored already.
type Import struct {
	Room Room // its row is there
	Append
	// Gap is the place of the state in the timeline.
	Gap Gap
	// Joined is the user who has joined now: what was outside of the room is over.
	Joined int64
}

const (
	// What was true when we were last in the room is so no more, but for invites and knocks
	// that came from outside in the meantime.
	endMembers = `UPDATE member SET membership = $2, pos = $6 WHERE room = $1 AND membership IN ($3, $4, $5)
AND NOT EXISTS (SELECT 1 FROM outside o WHERE o.room = member.room AND o.user_nid = member.user_nid)`
	importMember = `INSERT INTO member (user_nid, room, membership, nid, sender, forgotten, pos) VALUES ($1, $2, $3, $4, $5, 0, $6)
ON CONFLICT (user_nid, room) DO UPDATE SET membership = excluded.membership, nid = excluded.nid, sender = excluded.sender, pos = excluded.pos,
forgotten = CASE WHEN member.nid = excluded.nid THEN member.forgotten ELSE 0 END`
)

// Write writes the rows.
func (i *Import) Write(tx *store.Tx) error {
	r := &i.Room
	since := i.Gap.Ord >> OrdShift
	for _, q := range []struct {
		sql  string
		args []any
	}{
		{`UPDATE room SET version = $2 WHERE room = $1`, []any{r.Nid, r.Version}},
		{endMembers, []any{r.Nid, MembershipLeave, MembershipJoin, MembershipInvite, MembershipKnock, since}},
		{`DELETE FROM host WHERE room = $1`, []any{r.Nid}},
		{`DELETE FROM room_info WHERE room = $1`, []any{r.Nid}}, // made anew when it is wanted
		{`DELETE FROM outside WHERE room = $1 AND user_nid = $2`, []any{r.Nid, i.Joined}},
		{`INSERT INTO gap (room, ord, snap) VALUES ($1, $2, $3)`, []any{r.Nid, i.Gap.Ord, i.Gap.Snap}},
	} {
		if err := tx.Exec(q.sql, q.args...); err != nil {
			return err
		}
	}
	for _, m := range i.Members {
		if err := tx.Exec(importMember, m.User, m.Room, m.Membership, m.Nid, m.Sender, max(m.Nid, since)); err != nil {
			return err
		}
	}
	rest := i.Append
	rest.Members, rest.Checkpoint = nil, r
	return rest.Write(tx)
}

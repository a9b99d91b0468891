package storage

import (
	"context"
	"errors"

	"hearth/internal/pdu"
	"hearth/internal/store"
)

// PeerQuery asks with whom a user shares encrypted rooms at two positions. Member,
// Encryption and Empty are the numbers of m.room.member, m.room.encryption and "".
type PeerQuery struct {
	User, From, To            int64
	Member, Encryption, Empty int64
	Candidates                []int64
	Changes                   bool
}

// Peers is the answer to a PeerQuery.
type Peers struct{ Shared, Joined, Left []int64 }

// peerRoom is a room of the user that is encrypted.
type peerRoom struct {
	at [2]bool // whether the user has joined it, and it is encrypted, at From and at To
}

// peers is a PeerQuery at work on one snapshot.
type peers struct {
	*PeerQuery
	r     *store.Reader
	rooms map[int64]*peerRoom
}

// Peers reads with whom a user shares encrypted rooms, from one snapshot.
func (s *Store) Peers(ctx context.Context, q *PeerQuery) (answer Peers, err error) {
	err = s.read(ctx, "read peers", func(r *store.Reader) error {
		p := &peers{PeerQuery: q, r: r, rooms: map[int64]*peerRoom{}}
		if err := p.findRooms(); err != nil {
			return err
		}
		for _, user := range q.Candidates {
			_, to, err := p.isPeer(user)
			if err != nil {
				return err
			}
			if to {
				answer.Shared = append(answer.Shared, user)
			}
		}
		if !q.Changes {
			return nil
		}
		moved, err := p.moved()
		if err != nil {
			return err
		}
		for user := range moved {
			from, to, err := p.isPeer(user)
			if err != nil {
				return err
			}
			switch {
			case to && !from:
				answer.Joined = append(answer.Joined, user)
			case from && !to:
				answer.Left = append(answer.Left, user)
			}
		}
		return nil
	})
	return answer, err
}

// memberRow is a row of table member.
type memberRow struct{ room, user, membership, pos int64 }

const memberColumns = `SELECT room, user_nid, membership, pos FROM member `

func (p *peers) members(where string, args ...any) ([]memberRow, error) {
	rows, err := p.r.Query(memberColumns+where, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []memberRow
	for rows.Next() {
		var m memberRow
		if err := rows.Scan(&m.room, &m.user, &m.membership, &m.pos); err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, rows.Err()
}

// findRooms finds the encrypted rooms that the user has joined at From or To.
func (p *peers) findRooms() error {
	mine, err := p.members(`WHERE user_nid = $1`, p.User)
	if err != nil {
		return err
	}
	for _, m := range mine {
		if m.membership != MembershipJoin && m.pos <= p.From {
			continue
		}
		since, err := p.encryptedSince(m.room)
		if err != nil {
			return err
		}
		if since == 0 || since > OrdAfter(p.To) {
			continue
		}
		room := &peerRoom{}
		for i, pos := range []int64{p.From, p.To} {
			if room.at[i], err = p.joinedAt(&m, pos); err != nil {
				return err
			}
			room.at[i] = room.at[i] && since <= OrdAfter(pos)
		}
		if room.at[0] || room.at[1] {
			p.rooms[m.room] = room
		}
	}
	return nil
}

// encryptedSince returns the order of the event that encrypted a room, 0 if there is
// none. Encryption cannot be switched off.
func (p *peers) encryptedSince(room int64) (ord int64, err error) {
	rows, err := p.r.Query(`SELECT ord, flags FROM event WHERE room = $1 AND type = $2 AND skey = $3 AND skey IS NOT NULL ORDER BY ord`,
		room, p.Encryption, p.Empty)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var flags int64
		if err := rows.Scan(&ord, &flags); err != nil {
			return 0, err
		}
		if flags&(FlagRejected|FlagSoftFailed) == 0 { // an outlier is of a state that was told
			return ord, nil
		}
	}
	return 0, rows.Err()
}

// joinedAt reports whether a member was joined at a position.
func (p *peers) joinedAt(m *memberRow, pos int64) (bool, error) {
	if m.pos <= pos {
		return m.membership == MembershipJoin, nil
	}
	var json []byte
	err := p.r.Row(`SELECT b.json FROM event e JOIN body b ON b.nid = e.nid
		WHERE e.room = $1 AND e.type = $2 AND e.skey = $3 AND e.skey IS NOT NULL AND e.ord <= $4 AND e.flags & $5 = 0
		ORDER BY e.ord DESC, e.depth DESC LIMIT 1`, m.room, p.Member, m.user, OrdAfter(pos), int64(FlagRejected|FlagSoftFailed)).Scan(&json)
	if errors.Is(err, store.ErrNoRows) {
		return false, nil
	}
	content, _ := pdu.Get(json, "content")
	membership, _ := pdu.GetString(content, "membership")
	return membership == "join", err
}

// isPeer reports whether a user is a peer at From and at To.
func (p *peers) isPeer(user int64) (from, to bool, err error) {
	if user == p.User || len(p.rooms) == 0 {
		return false, false, nil
	}
	theirs, err := p.members(`WHERE user_nid = $1`, user)
	if err != nil {
		return false, false, err
	}
	is := [2]bool{}
	for i := range theirs {
		m := &theirs[i]
		room := p.rooms[m.room]
		if room == nil {
			continue
		}
		for n, pos := range []int64{p.From, p.To} {
			if is[n] || !room.at[n] {
				continue
			}
			if is[n], err = p.joinedAt(m, pos); err != nil {
				return false, false, err
			}
		}
		if is[0] && is[1] {
			break
		}
	}
	return is[0], is[1], nil
}

// moved collects the users who may have become or ceased to be peers.
func (p *peers) moved() (map[int64]bool, error) {
	users := map[int64]bool{}
	add := func(where string, args ...any) error {
		list, err := p.members(where, args...)
		for _, m := range list {
			users[m.user] = true
		}
		return err
	}
	for id, room := range p.rooms {
		if !room.at[0] || !room.at[1] { // the room is new or gone: so are all in it
			if err := add(`WHERE room = $1 AND membership = $2`, id, int64(MembershipJoin)); err != nil {
				return nil, err
			}
		}
		for membership := int64(MembershipLeave); membership <= MembershipBan; membership++ {
			if err := add(`WHERE room = $1 AND membership = $2 AND pos > $3`, id, membership, p.From); err != nil {
				return nil, err
			}
		}
	}
	return users, nil
}

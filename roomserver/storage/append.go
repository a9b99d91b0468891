package storage

import (
	"hearth/internal/store"
)

// Name is a row of the dictionary.
type Name struct {
	Nid int64
	S   string
}

// Room is a room and a checkpoint of its head.
type Room struct {
	Nid     int64
	ID      string
	Version string
	Pos     int64   // the checkpoint is true up to this log position
	Snap    int64   // current state at Pos
	Heads   []int64 // forward extremities at Pos
}

// Event is the skeleton of an event with its body.
type Event struct {
	Nid        int64
	Room       int64
	Key        []byte // EventKey of the event id
	Ord        int64
	Flags      int64
	Type       int64
	StateKey   int64
	IsState    bool
	Sender     int64
	TS         int64
	Depth      int64
	Gen        int64 // 1 + the greatest Gen of the auth events
	Snap       int64 // state after the event
	Cur        int64 // state of the room after the event was accepted
	Replaces   int64 // the state event that this one replaced; 0: none
	RedactedBy int64 // 0: not redacted
	Links      []byte
	Origin     string // device and transaction id of a local sender, packed by PackOrigin
	JSON       []byte
}

// PackOrigin joins a device id and a transaction id.
func PackOrigin(device, txn string) string {
	if txn == "" {
		return ""
	}
	return device + "\n" + txn
}

// Member is the current membership of a user in a room.
type Member struct {
	User, Room int64
	Membership int64
	Nid        int64
	Sender     int64
	Pos        int64 // position since when it is the room's
}

// Snap is a state snapshot as stored.
type Snap struct {
	Nid    int64
	Room   int64
	Seq    int64
	Prev   int64
	Parent int64
	Chain  []int64
	N      int64
	Delta  []byte
}

// Txn remembers which event a transaction id has made. At is in milliseconds.
type Txn struct {
	Sender      int64
	Device, Txn string
	Nid         int64
	At          int64
}

// Redaction replaces the body of event Nid.
type Redaction struct {
	Nid, By int64
	JSON    []byte
}

// Alias points to a room.
type Alias struct {
	Alias         string
	Room, Creator int64
}

// Append is everything that one step writes about a room.
type Append struct {
	Room       int64
	Names      []Name
	NewRoom    *Room
	Events     []Event
	Snaps      []Snap
	Members    []Member
	Hosts      []Host
	Txns       []Txn
	Promoted   []Event // outliers that become live
	Redactions []Redaction
	// Waiting are redactions of events that we do not have, Arrived those whose event came.
	Waiting, Arrived []WaitingRedaction
	Processed        []string // ids of events that leave the inbox
	Gaps             []Gap
	Relations        []Relation
	Broken           []Relation // relations of children that are redacted
	Media            []MediaUse
	Aliases          []Alias
	Checkpoint       *Room
	Published        *Published
	Info             *RoomInfo
	Numbers          *RoomNumbers
	// MoveAliasesFrom, if not 0, is a room whose aliases come to point to NewRoom.
	MoveAliasesFrom int64
}

const (
	insertName  = `INSERT INTO name (nid, s) VALUES ($1, $2) ON CONFLICT DO NOTHING`
	insertRoom  = `INSERT INTO room (room, id, version, pos, snap, heads) VALUES ($1, $2, $3, $4, $5, $6)`
	insertEvent = `INSERT INTO event (nid, room, id, ord, flags, type, skey, sender, ts, depth, gen, snap, cur, replaces, redacted_by, links, origin)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)`
	insertBody   = `INSERT INTO body (nid, json) VALUES ($1, $2)`
	insertSnap   = `INSERT INTO snap (snap, room, seq, prev, parent, chain, n, delta) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`
	upsertMember = `INSERT INTO member (user_nid, room, membership, nid, sender, forgotten, pos) VALUES ($1, $2, $3, $4, $5, 0, $6)
ON CONFLICT (user_nid, room) DO UPDATE SET membership = excluded.membership, nid = excluded.nid, sender = excluded.sender, forgotten = 0,
 pos = excluded.pos`
	insertTxn   = `INSERT INTO txn (sender, device, txn, nid, at) VALUES ($1, $2, $3, $4, $5)`
	updateBody  = `UPDATE body SET json = $2 WHERE nid = $1`
	markRedact  = `UPDATE event SET redacted_by = $2 WHERE nid = $1`
	insertAlias = `INSERT INTO alias (alias, room, creator) VALUES ($1, $2, $3)`
	checkpoint  = `UPDATE room SET pos = $2, snap = $3, heads = $4 WHERE room = $1`
)

// Write writes the rows. An error of one statement may surface at the commit.
func (a *Append) Write(tx *store.Tx) error {
	for i := range a.Names {
		if err := tx.Exec(insertName, a.Names[i].Nid, a.Names[i].S); err != nil {
			return err
		}
	}
	if r := a.NewRoom; r != nil {
		if err := tx.Exec(insertRoom, r.Nid, r.ID, r.Version, r.Pos, r.Snap, PackInts(r.Heads)); err != nil {
			return err
		}
	}
	for i := range a.Events {
		if err := a.Events[i].write(tx); err != nil {
			return err
		}
	}
	for i := range a.Promoted {
		if err := a.Promoted[i].promote(tx); err != nil {
			return err
		}
	}
	for i := range a.Snaps {
		s := &a.Snaps[i]
		if err := tx.Exec(insertSnap, s.Nid, s.Room, s.Seq, s.Prev, s.Parent, PackInts(s.Chain), s.N, s.Delta); err != nil {
			return err
		}
	}
	return a.writeRest(tx)
}

func (a *Append) writeRest(tx *store.Tx) error {
	for _, m := range a.Members {
		if err := tx.Exec(upsertMember, m.User, m.Room, m.Membership, m.Nid, m.Sender, m.Pos); err != nil {
			return err
		}
	}
	for i := range a.Hosts {
		if err := a.Hosts[i].write(tx); err != nil {
			return err
		}
	}
	for _, t := range a.Txns {
		if err := tx.Exec(insertTxn, t.Sender, t.Device, t.Txn, t.Nid, t.At); err != nil {
			return err
		}
	}
	for _, r := range a.Redactions {
		if err := tx.Exec(updateBody, r.Nid, r.JSON); err != nil {
			return err
		}
		if err := tx.Exec(markRedact, r.Nid, r.By); err != nil {
			return err
		}
		if err := releaseMedia(tx, r.Nid); err != nil {
			return err
		}
	}
	for i := range a.Media {
		if err := a.Media[i].write(tx); err != nil {
			return err
		}
	}
	for i := range a.Relations {
		if err := a.Relations[i].write(tx); err != nil {
			return err
		}
	}
	for i := range a.Waiting {
		if err := a.Waiting[i].write(tx); err != nil {
			return err
		}
	}
	for i := range a.Arrived {
		if err := a.Arrived[i].done(tx); err != nil {
			return err
		}
	}
	for i := range a.Broken {
		if err := a.Broken[i].undo(tx); err != nil {
			return err
		}
	}
	for _, al := range a.Aliases {
		if err := tx.Exec(insertAlias, al.Alias, al.Room, al.Creator); err != nil {
			return err
		}
	}
	if a.MoveAliasesFrom != 0 {
		if err := MoveAliases(tx, a.MoveAliasesFrom, a.NewRoom.Nid); err != nil {
			return err
		}
	}
	if a.Published != nil {
		if err := a.Published.Write(tx); err != nil {
			return err
		}
	}
	if a.Info != nil {
		if err := a.Info.Write(tx); err != nil {
			return err
		}
	}
	if a.Numbers != nil {
		if err := a.Numbers.write(tx); err != nil {
			return err
		}
	}
	for _, g := range a.Gaps {
		if err := tx.Exec(`INSERT INTO gap (room, ord, snap) VALUES ($1, $2, $3)`, a.Room, g.Ord, g.Snap); err != nil {
			return err
		}
	}
	for _, id := range a.Processed {
		if err := DeleteInbox(tx, a.Room, id); err != nil {
			return err
		}
	}
	if c := a.Checkpoint; c != nil {
		return tx.Exec(checkpoint, c.Nid, c.Pos, c.Snap, PackInts(c.Heads))
	}
	return nil
}

func (e *Event) write(tx *store.Tx) error {
	var skey, origin any
	if e.IsState {
		skey = e.StateKey
	}
	if e.Origin != "" {
		origin = e.Origin
	}
	if err := tx.Exec(insertEvent, e.Nid, e.Room, e.Key, e.Ord, e.Flags, e.Type, skey, e.Sender, e.TS, e.Depth,
		e.Gen, e.Snap, e.Cur, e.Replaces, e.RedactedBy, e.Links, origin); err != nil {
		return err
	}
	return tx.Exec(insertBody, e.Nid, e.JSON)
}

// promote gives an outlier its place in the timeline, and its log position.
func (e *Event) promote(tx *store.Tx) error {
	err := tx.Exec(`UPDATE event SET ord = $2, flags = $3, gen = $4, snap = $5, cur = $6, replaces = $7, links = $8 WHERE nid = $1`,
		e.Nid, e.Ord, e.Flags, e.Gen, e.Snap, e.Cur, e.Replaces, e.Links)
	if err != nil {
		return err
	}
	return tx.Exec(`INSERT INTO log (pos, kind, room, user_nid) VALUES ($1, $2, $3, $4)`, e.Ord>>OrdShift, logPromoted, e.Room, e.Nid)
}

// logPromoted is the kind of log rows whose user_nid is the number of a promoted event.
const logPromoted = 1

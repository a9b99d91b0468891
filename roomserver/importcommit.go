package roomserver

import (
	"context"

	"hearth/internal/pdu"
	"hearth/internal/store"
	"hearth/roomserver/auth"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/state"
	"hearth/roomserver/storage"
)

// commit makes the room known.
func (in *importing) commit(ctx context.Context, lr *lockedRoom, it *item) error {
	b := lr.begin() // gives names their numbers
	m, err := in.members(ctx, b)
	if err != nil {
		return err
	}
	if held := in.held[in.state[auth.StateKey{Type: memberType, StateKey: in.join.Sender}]]; held.nid != 0 {
		if it.replaced, err = in.s.event(ctx, lr.room, held.nid); err != nil {
			return err
		}
	}
	if it.key, err = b.keyOf(ctx, memberType, in.join.Sender); err != nil {
		return err
	}
	joined, err := b.name(ctx, in.join.Sender)
	if err != nil {
		return err
	}
	var gaps []storage.Gap
	if lr.staged != nil {
		gaps = lr.staged.gaps
	}
	root := state.Root(in.s.snapSeq.Add(1), m.entries)
	afterID := in.s.snapSeq.Add(1)
	done := make(chan error, 1)
	in.s.rooms.retain(lr.room)
	var c *commit
	_, err = in.s.store.DB.Stage(lr.generation, 1, func(first int64) store.Op {
		c = &commit{s: in.s, room: lr.room, rows: &storage.Append{Names: b.rows.Names}, items: []*item{it}, done: done}
		imp := &storage.Import{Joined: joined}
		if c.err = c.enter(m, it, first, root, afterID, gaps, imp); c.err == nil {
			c.stage()
		}
		return store.Op{Run: func(tx *store.Tx) error {
			if c.err != nil {
				return c.err
			}
			return imp.Write(tx)
		}, Done: c.finish}
	})
	if err != nil {
		in.s.rooms.release(lr.room)
		return err
	}
	if c.err == nil {
		lr.staged, lr.sinceCheckpoint, lr.merged = c.head, 0, nil
	}
	return waitFor(done)(ctx)
}

// enter works out the room's first head, with the join at a position.
func (c *commit) enter(m *importedMembers, it *item, pos int64, root *state.Snapshot, afterID int64, gaps []storage.Gap, imp *storage.Import) error {
	it.at, it.nid, it.ord = pos, pos, storage.LiveOrd(pos)
	chain := newSnapChain(c.s, c.room).with(root)
	change := []state.Entry{{Key: it.key, Event: it.nid}}
	after, err := chain.grow(root, afterID, change)
	if err != nil {
		return err
	}
	it.snap, it.cur = after.ID, after.ID
	if it.replaced != nil {
		it.replaces = it.replaced.nid
	}
	c.keepSnap(root)
	c.keepSnap(after)
	it.row = storage.Event{
		Room: c.room.nid, Key: storage.EventKey(it.ev.EventID), Type: it.key.Type, StateKey: it.key.StateKey, IsState: true,
		Sender: it.key.StateKey, TS: it.ev.OriginServerTS, Depth: it.depth, Gen: it.gen, JSON: it.ev.JSON,
	}
	c.addRows(it, storage.Links{Auth: it.auth})
	imp.Gap = storage.Gap{Ord: it.ord - 1, Snap: root.ID}
	c.head = &head{
		pos: pos, extremities: []extremity{extremityOf(it.stored)}, snap: after, view: state.NewView(m.entries).With(change...),
		chain: chain.with(after), joined: m.joined, invited: m.invited, hosts: newHosts(c.s.serverName, m.hosts),
		gaps: append(gaps[:len(gaps):len(gaps)], imp.Gap),
	}
	m.own.Nid = it.nid
	c.rows.Members = append(m.rows, m.own)
	c.rows.Hosts = m.hostRows
	it.client = clientEvent(it.stored, replacedBy(it), nil)
	c.entries = []roomapi.Entry{{Kind: roomapi.KindEvent, RoomID: c.room.id, Event: it.client, Reset: true}}
	imp.Append = *c.rows
	imp.Room = storage.Room{Nid: c.room.nid, ID: c.room.id, Version: c.room.version.ID, Pos: pos, Snap: after.ID, Heads: []int64{it.nid}}
	return nil
}

func replacedBy(it *item) *pdu.Event {
	if it.replaced == nil {
		return nil
	}
	return it.replaced.ev
}

// importedMembers is what a given state means for the lists of members and servers, with the
// one who joins now.
type importedMembers struct {
	entries         []state.Entry
	rows            []storage.Member
	own             storage.Member // of who joins
	joined, invited int64
	hosts           map[string]int64
	hostRows        []storage.Host
}

// members reads the state. It numbers the names that it needs.
func (in *importing) members(ctx context.Context, b *batch) (*importedMembers, error) {
	m := &importedMembers{entries: make([]state.Entry, 0, len(in.state)), joined: 1, hosts: map[string]int64{in.s.serverName: 1}}
	for key, id := range in.state {
		held := in.held[id]
		if held.nid == 0 {
			continue // rejected
		}
		k, err := b.keyOf(ctx, key.Type, key.StateKey)
		if err != nil {
			return nil, err
		}
		m.entries = append(m.entries, state.Entry{Key: k, Event: held.nid})
		if key.Type != memberType || key.StateKey == in.join.Sender {
			continue
		}
		sender, err := b.name(ctx, held.sender)
		if err != nil {
			return nil, err
		}
		m.rows = append(m.rows, storage.Member{User: k.StateKey, Room: b.room.nid, Membership: held.membership, Nid: held.nid, Sender: sender})
		switch held.membership {
		case storage.MembershipJoin:
			m.joined++
			m.hosts[pdu.Domain(key.StateKey)]++
		case storage.MembershipInvite:
			m.invited++
		}
	}
	user, err := b.name(ctx, in.join.Sender)
	if err != nil {
		return nil, err
	}
	m.own = storage.Member{User: user, Room: b.room.nid, Membership: storage.MembershipJoin, Sender: user}
	for server, n := range m.hosts {
		nid, err := b.name(ctx, server)
		if err != nil {
			return nil, err
		}
		m.hostRows = append(m.hostRows, storage.Host{Room: b.room.nid, Server: nid, Joined: n})
	}
	return m, nil
}

// keyOf numbers a type and a state key.
func (b *batch) keyOf(ctx context.Context, typ, stateKey string) (key state.Key, err error) {
	if key.Type, err = b.name(ctx, typ); err != nil {
		return key, err
	}
	key.StateKey, err = b.name(ctx, stateKey)
	return key, err
}

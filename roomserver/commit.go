package roomserver

import (
	"hearth/internal/pdu"
	"hearth/internal/store"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/state"
	"hearth/roomserver/storage"
)

// checkpointEvery is after how many events a room's head is written to its row, so
// that loading it replays few.
const checkpointEvery = 64

// commit is a batch with its numbers, on its way to the disk.
type commit struct {
	s       *Server
	room    *room
	rows    *storage.Append
	items   []*item
	forms   []*stored // new forms of redacted events
	entries []roomapi.Entry
	txns    []settling
	head    *head
	err     error
	done    chan error
}

// number gives the batch's events their positions and works out everything that
// depends on them. It runs under the store's queue lock: no I/O.
func (b *batch) number(first int64) *commit {
	c := &commit{s: b.s, room: b.room.room, rows: &b.rows, items: b.items, head: b.nextHead()}
	for i, it := range b.items {
		it.nid = first + int64(i)
		it.ord = storage.LiveOrd(it.nid)
		if err := c.place(b, it); err != nil {
			c.err = err
			return c
		}
	}
	c.setExtremities(b)
	c.applyRedactions(b)
	c.tell(b)
	b.checkpoint(c)
	if c.rows.Published != nil {
		c.rows.Published.Joined = c.head.joined
	}
	c.room.mu.Lock()
	for _, it := range b.items {
		c.room.pending[it.nid] = it.stored
		if it.txn != "" {
			key := txnKey(it.ev.Sender, it.device, it.txn)
			p := &pendingTxn{eventID: it.ev.EventID, done: make(chan struct{})}
			c.room.txns[key] = p
			c.txns = append(c.txns, settling{key, p})
		}
	}
	for _, form := range c.forms {
		c.room.pending[form.nid] = form
	}
	c.room.mu.Unlock()
	return c
}

// settling is a transaction id that waits for the commit.
type settling struct {
	key string
	txn *pendingTxn
}

func (b *batch) nextHead() *head {
	if b.base == nil {
		return &head{chain: newSnapChain(b.s.store), hosts: newHosts(b.s.serverName, nil)}
	}
	h := *b.base
	return &h
}

// place finishes the rows of one event: its links, its state, its member row.
func (c *commit) place(b *batch, it *item) error {
	if it.key != (state.Key{}) {
		if err := c.advanceState(it); err != nil {
			return err
		}
	}
	it.snap, it.cur = c.head.snap.ID, c.head.snap.ID
	row := &it.row
	others := c.head.hosts.count() // before the event, then also after it
	row.Nid, row.Ord, row.Snap, row.Cur = it.nid, it.ord, it.snap, it.cur
	if it.replaced != nil {
		row.Replaces = it.replaced.nid
	}
	it.replaces = row.Replaces
	row.Links = b.links(it).Pack()
	if it.txn != "" {
		c.rows.Txns = append(c.rows.Txns, storage.Txn{Sender: row.Sender, Device: it.device, Txn: it.txn, Nid: it.nid, At: c.s.now().UnixMilli()})
	}
	if it.relation != nil {
		it.relation.Nid, it.relation.Ord = it.nid, it.ord
		c.rows.Relations = append(c.rows.Relations, *it.relation)
	}
	if it.member != nil {
		it.member.Nid = it.nid
		c.rows.Members = append(c.rows.Members, *it.member)
		c.countMember(it)
	}
	if it.federate && max(others, c.head.hosts.count()) > 0 {
		it.flags |= storage.FlagFederate
	}
	row.Flags = it.flags
	c.rows.Events = append(c.rows.Events, *row)
	c.head.pos = it.nid
	return nil
}

// links are the edges of an event: within the batch each follows the one before.
func (b *batch) links(it *item) storage.Links {
	l := storage.Links{Auth: make([]int64, len(it.auth))}
	for i, e := range it.auth {
		l.Auth[i] = e.nid
	}
	for i, other := range b.items {
		if other == it && i > 0 {
			l.Prev = []int64{b.items[i-1].nid}
			return l
		}
	}
	if b.base != nil {
		for _, x := range b.base.extremities[:min(len(b.base.extremities), maxPrev)] {
			l.Prev = append(l.Prev, x.nid)
		}
	}
	return l
}

// advanceState makes the snapshot that a state event leads to.
func (c *commit) advanceState(it *item) error {
	h := c.head
	change := []state.Entry{{Key: it.key, Event: it.nid}}
	id := c.s.snapSeq.Add(1)
	snap, err := h.chain.grow(h.snap, id, change)
	if err != nil {
		return err
	}
	c.rows.Snaps = append(c.rows.Snaps, snapRow(snap, c.room.nid))
	h.view = h.view.With(change...)
	h.snap, h.chain = snap, h.chain.with(snap)
	return nil
}

func (c *commit) countMember(it *item) {
	before := ""
	if it.replaced != nil {
		before, _ = pdu.GetString(it.replaced.ev.Content, "membership")
	}
	adjust := func(number int64, by int64) {
		switch number {
		case storage.MembershipJoin:
			c.head.joined += by
		case storage.MembershipInvite:
			c.head.invited += by
		}
	}
	adjust(storage.MembershipNumber(before), -1)
	adjust(it.member.Membership, 1)
	delta := int64(0)
	if before == "join" {
		delta--
	}
	if it.member.Membership == storage.MembershipJoin {
		delta++
	}
	if delta != 0 {
		server := pdu.Domain(*it.ev.StateKey)
		c.head.hosts = c.head.hosts.with(server, delta)
		c.rows.Hosts = append(c.rows.Hosts, storage.Host{Room: c.room.nid, Server: it.server, Joined: c.head.hosts.joined(server)})
	}
}

// setExtremities: the batch's last event follows all that it named as prev events.
func (c *commit) setExtremities(b *batch) {
	last := extremityOf(b.items[len(b.items)-1].stored)
	var rest []extremity
	if b.base != nil && len(b.base.extremities) > maxPrev {
		rest = b.base.extremities[maxPrev:]
	}
	c.head.extremities = append([]extremity{last}, rest...)
}

func (c *commit) applyRedactions(b *batch) {
	for _, r := range b.redacted {
		form := *r.target
		form.ev, form.redactedBy = r.form, r.by.nid
		form.client = clientEvent(&form, nil, r.by.ev)
		if r.target.client != nil { // what it replaced stays what it was
			form.client.ReplacesState = r.target.client.ReplacesState
			form.client.PrevContent, form.client.PrevSender = r.target.client.PrevContent, r.target.client.PrevSender
		}
		c.forms = append(c.forms, &form)
		if broken := b.brokenRelation(r.target); broken != nil {
			c.rows.Broken = append(c.rows.Broken, *broken)
		}
		c.rows.Redactions = append(c.rows.Redactions, storage.Redaction{Nid: form.nid, By: r.by.nid, JSON: r.form.JSON})
	}
}

// tell makes the log entries.
func (c *commit) tell(b *batch) {
	c.entries = make([]roomapi.Entry, len(b.items))
	for i, it := range b.items {
		var replaced *pdu.Event
		if it.replaced != nil {
			replaced = it.replaced.ev
		}
		it.client = clientEvent(it.stored, replaced, nil)
		c.entries[i] = roomapi.Entry{Kind: roomapi.KindEvent, RoomID: c.room.id, Event: it.client, Federate: it.flags&storage.FlagFederate != 0}
		for j, r := range b.redacted {
			if r.by == it {
				c.entries[i].Redacted = c.forms[j].client
			}
		}
	}
}

// checkpoint adds the room's head to the rows every so often, and always for a new room.
func (b *batch) checkpoint(c *commit) {
	r := c.room
	r.sinceCheckpoint += len(b.items)
	row := storage.Room{
		Nid: r.nid, ID: r.id, Version: r.version.ID, Pos: c.head.pos, Snap: c.head.snap.ID,
		Heads: make([]int64, len(c.head.extremities)),
	}
	for i, x := range c.head.extremities {
		row.Heads[i] = x.nid
	}
	switch {
	case b.base == nil:
		c.rows.NewRoom = &row
	case r.sinceCheckpoint >= checkpointEvery:
		c.rows.Checkpoint = &row
	default:
		return
	}
	r.sinceCheckpoint = 0
}

// run writes the rows; on the writer's goroutine.
func (c *commit) run(tx *store.Tx) error {
	if c.err != nil {
		return c.err
	}
	return c.rows.Write(tx)
}

// finish is called after the fsync, in the order of positions: what was staged
// becomes visible, is told, and is answered.
func (c *commit) finish(err error) {
	defer c.s.rooms.release(c.room)
	if err != nil {
		c.settleTxns(err)
		c.done <- err
		return
	}
	c.s.names.settled(c.rows.Names)
	for _, it := range c.items {
		c.s.cache.Put(it.nid, it.stored)
	}
	for _, form := range c.forms {
		c.s.cache.Put(form.nid, form)
		c.s.forgetMentions(form)
	}
	c.room.committed.Store(c.head)
	c.room.mu.Lock()
	for _, it := range c.items {
		if c.room.pending[it.nid] == it.stored { // not a redacted form that is still on its way
			delete(c.room.pending, it.nid)
		}
	}
	for _, form := range c.forms {
		if c.room.pending[form.nid] == form {
			delete(c.room.pending, form.nid)
		}
	}
	c.room.mu.Unlock()
	c.settleTxns(nil)
	for i := range c.entries {
		c.s.entries.Publish(c.items[i].nid, &c.entries[i])
	}
	c.done <- nil
}

func (c *commit) settleTxns(err error) {
	c.room.mu.Lock()
	defer c.room.mu.Unlock()
	for _, t := range c.txns {
		if c.room.txns[t.key] == t.txn {
			delete(c.room.txns, t.key)
		}
		t.txn.err = err
		close(t.txn.done)
	}
}

package roomserver

import (
	"slices"

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
	snaps   []*state.Snapshot
	entries []roomapi.Entry
	txns    []settling
	head    *head
	release func()
	err     error
	done    chan error
}

// number gives the batch's events their positions and works out everything that
// depends on them. It runs under the store's queue lock: no I/O.
func (b *batch) number(first int64) *commit {
	c := &commit{s: b.s, room: b.room.room, rows: &b.rows, items: b.items, head: b.nextHead(), release: b.release}
	for i, it := range b.items {
		it.at = first + int64(i)
		if !it.promoted {
			it.nid = it.at
		}
		it.ord = storage.LiveOrd(it.at)
		if err := c.place(b, i, it); err != nil {
			c.err = err
			return c
		}
	}
	c.applyRedactions(b)
	c.tell(b)
	b.checkpoint(c)
	if c.rows.Published != nil {
		c.rows.Published.Joined = c.head.joined
	}
	b.numbers(c)
	c.stage()
	return c
}

// stage makes what is on its way visible to the holder of the room's lock.
func (c *commit) stage() {
	c.room.mu.Lock()
	defer c.room.mu.Unlock()
	for _, it := range c.items {
		c.room.stage(it.stored)
		if it.txn != "" {
			key := txnKey(it.ev.Sender, it.device, it.txn)
			p := &pendingTxn{eventID: it.ev.EventID, done: make(chan struct{})}
			c.room.txns[key] = p
			c.txns = append(c.txns, settling{key, p})
		}
	}
	for _, form := range c.forms {
		c.room.stage(form)
	}
	for _, snap := range c.snaps {
		c.room.snaps[snap.ID] = snap
	}
}

// settling is a transaction id that waits for the commit.
type settling struct {
	key string
	txn *pendingTxn
}

func (b *batch) nextHead() *head {
	if b.base == nil {
		return &head{chain: newSnapChain(b.s, b.room.room), hosts: newHosts(b.s.serverName, nil)}
	}
	h := *b.base
	return &h
}

// place finishes the rows of one event: its links, its state, the rows of members.
func (c *commit) place(b *batch, i int, it *item) error {
	links := b.links(i)
	it.stored.prev, it.stored.auth = links.Prev, links.Auth
	others := c.head.hosts.count() // before the event, then also after it
	follow := c.follow
	if it.plan != nil {
		follow = c.branch
	}
	if err := follow(it); err != nil {
		return err
	}
	c.head.pos = it.at
	for j := range it.members {
		c.countMember(&it.members[j])
	}
	if it.federate && (max(others, c.head.hosts.count()) > 0 || it.replaced != nil && c.s.outsider(it.ev, it.replaced.ev) != "") {
		it.flags |= storage.FlagFederate
	}
	if it.replaced != nil {
		it.replaces = it.replaced.nid
	}
	c.addRows(it, links)
	return nil
}

// addRows adds the rows of an event.
func (c *commit) addRows(it *item, links storage.Links) {
	row := &it.row
	row.Nid, row.Ord, row.Snap, row.Cur, row.Flags, row.Replaces = it.nid, it.ord, it.snap, it.cur, it.flags, it.replaces
	row.RedactedBy, row.Links = it.redactedBy, links.Pack()
	if it.promoted {
		c.rows.Promoted = append(c.rows.Promoted, *row)
	} else {
		c.rows.Events = append(c.rows.Events, *row)
	}
	if it.txn != "" {
		c.rows.Txns = append(c.rows.Txns, storage.Txn{Sender: row.Sender, Device: it.device, Txn: it.txn, Nid: it.nid, At: c.s.now().UnixMilli()})
	}
	if !it.hidden() {
		c.rows.Media = append(c.rows.Media, c.s.mediaUses(it.stored, row.Sender)...)
	}
	if it.relation != nil {
		it.relation.Nid, it.relation.Ord = it.nid, it.ord
		c.rows.Relations = append(c.rows.Relations, *it.relation)
	}
}

// links are the edges of an event: within the batch each follows the one before.
func (b *batch) links(i int) storage.Links {
	it := b.items[i]
	l := storage.Links{Auth: make([]int64, len(it.authEvents)), Prev: it.prevNids}
	for j, e := range it.authEvents {
		l.Auth[j] = e.nid
	}
	switch {
	case it.prevNids != nil:
	case i > 0:
		l.Prev = []int64{b.items[i-1].nid}
	case b.base != nil:
		for _, x := range b.base.extremities {
			l.Prev = append(l.Prev, x.nid)
		}
	}
	return l
}

// follow lets an event follow all forward extremities: a state event makes the next state.
func (c *commit) follow(it *item) error {
	h := c.head
	if it.key != (state.Key{}) {
		change := []state.Entry{{Key: it.key, Event: it.nid}}
		snap, err := h.chain.grow(h.snap, c.s.snapSeq.Add(1), change)
		if err != nil {
			return err
		}
		if snap != h.snap {
			c.keepSnap(snap)
			h.view = h.view.With(change...)
			h.snap, h.chain = snap, h.chain.with(snap)
		}
	}
	it.snap, it.cur = h.snap.ID, h.snap.ID
	h.extremities = []extremity{extremityOf(it.stored)}
	return nil
}

func (c *commit) keepSnap(snap *state.Snapshot) {
	c.snaps = append(c.snaps, snap)
	c.rows.Snaps = append(c.rows.Snaps, snapRow(snap, c.room.nid))
}

// branch does what the event's plan says, now that it has a number.
func (c *commit) branch(it *item) (err error) {
	p, h := it.plan, c.head
	for _, snap := range p.merges {
		c.keepSnap(snap)
	}
	if p.gap != nil && !it.hidden() {
		gap := storage.Gap{Ord: it.ord - 1, Snap: p.gap.ID}
		c.rows.Gaps = append(c.rows.Gaps, gap)
		h.gaps = append(slices.Clip(h.gaps), gap)
	}
	after := p.before
	if p.after != 0 {
		after, err = grow(p.work, p.before, p.after, []state.Entry{{Key: it.key, Event: it.nid}})
		if err != nil {
			return err
		}
		p.work.add(after)
		c.keepSnap(after)
	}
	it.snap, it.cur = after.ID, h.snap.ID
	if it.hidden() || p.aside {
		return nil
	}
	current := after
	if p.base != nil {
		current = p.base
	}
	if len(p.changes) > 0 {
		if current, err = grow(p.work, current, p.current, numbered(p.changes, it.nid)); err != nil {
			return err
		}
		p.work.add(current)
		c.keepSnap(current)
	}
	if current.ID != h.snap.ID {
		h.view = h.view.With(numbered(p.delta, it.nid)...)
		h.snap, h.chain = current, p.work.with(current)
	}
	it.cur = current.ID
	h.extremities = append([]extremity{extremityOf(it.stored)}, p.keep...)
	return nil
}

// numbered puts an event's number in the place of selfNid.
func numbered(changes []state.Entry, nid int64) []state.Entry {
	out := make([]state.Entry, len(changes))
	for i, e := range changes {
		if out[i] = e; e.Event == selfNid {
			out[i].Event = nid
		}
	}
	return out
}

// countMember follows a change of a membership: the row of the member and of their server,
// the room's numbers.
func (c *commit) countMember(m *memberChange) {
	row := m.row
	if m.by != nil {
		row.Nid = m.by.nid
	}
	row.Pos = c.head.pos // of this event: see place
	c.rows.Members = append(c.rows.Members, row)
	c.head.joined += m.joined
	c.head.invited += m.asked
	if m.change != 0 {
		c.head.hosts = c.head.hosts.with(m.server, m.change)
		c.rows.Hosts = append(c.rows.Hosts, storage.Host{Room: c.room.nid, Server: m.serverNid, Joined: c.head.hosts.joined(m.server)})
	}
}

func (c *commit) applyRedactions(b *batch) {
	c.forms = b.redactedForms()
	for i := range c.rows.Waiting {
		c.rows.Waiting[i].Nid = c.items[len(c.items)-1].nid
	}
}

// redactedForms makes the new forms of redacted events, and their rows.
func (b *batch) redactedForms() (forms []*stored) {
	for _, r := range b.redacted {
		form := *r.target
		form.ev, form.redactedBy = r.form, r.by.nid
		form.client = clientEvent(&form, nil, r.by.ev)
		if r.target.client != nil { // what it replaced stays what it was
			form.client.ReplacesState = r.target.client.ReplacesState
			form.client.PrevContent, form.client.PrevSender = r.target.client.PrevContent, r.target.client.PrevSender
		}
		forms = append(forms, &form)
		if broken := b.brokenRelation(r.target); broken != nil {
			b.rows.Broken = append(b.rows.Broken, *broken)
		}
		b.rows.Redactions = append(b.rows.Redactions, storage.Redaction{Nid: form.nid, By: r.by.nid, JSON: r.form.JSON})
	}
	return forms
}

// tell makes the log entries. A hidden event leaves an empty one.
func (c *commit) tell(b *batch) {
	c.entries = make([]roomapi.Entry, len(b.items))
	for i, it := range b.items {
		var replaced, redaction *pdu.Event
		if it.replaced != nil {
			replaced = it.replaced.ev
		}
		if it.redaction != nil {
			redaction = it.redaction.ev
		}
		it.client = clientEvent(it.stored, replaced, redaction)
		if it.hidden() || it.flags&storage.FlagPurged != 0 {
			continue
		}
		if b.kept != nil && *b.kept > 0 {
			it.client.Expires = it.ev.OriginServerTS + *b.kept
		}
		e := &c.entries[i]
		*e = roomapi.Entry{Kind: roomapi.KindEvent, RoomID: c.room.id, Event: it.client, Federate: it.flags&storage.FlagFederate != 0}
		if p := it.plan; p != nil {
			e.Gone, e.Reset = p.gone, p.reset
			for _, told := range p.told {
				e.State = append(e.State, told.client)
			}
		}
		for j, r := range b.redacted {
			if r.by == it.stored {
				e.Redacted = c.forms[j].client
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
	if c.release != nil {
		defer c.release()
	}
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
	for _, snap := range c.snaps {
		c.s.snaps.Put(snap.ID, snap)
	}
	c.s.show(c.room, c.head, c.sameHistory())
	c.room.mu.Lock()
	for _, it := range c.items {
		c.room.settle(it.stored)
	}
	for _, form := range c.forms {
		c.room.settle(form)
	}
	for _, snap := range c.snaps {
		delete(c.room.snaps, snap.ID)
	}
	c.room.mu.Unlock()
	c.settleTxns(nil)
	for i := range c.entries {
		c.s.entries.Publish(c.items[i].at, &c.entries[i])
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

package appservice

import (
	"context"
	"errors"
	"strings"
	"time"

	"hearth/internal/bus"
	"hearth/internal/lru"
	"hearth/internal/store"
	"hearth/roomserver/roomapi"
)

const (
	followPause = time.Second
	// maxRooms bounds the rooms whose interest is in memory.
	maxRooms = 20_000
	// maxUsers bounds the users of whom is in memory whose they are.
	maxUsers = 20_000
	// lazyEntries and lazyTime are how many entries without an effect go by, and how
	// long, before the cursor is stored.
	lazyEntries = 1000
	lazyTime    = time.Second
)

// follow reads the room log until ctx ends.
func (s *Service) follow(ctx context.Context) error {
	for ctx.Err() == nil {
		err := s.followOnce(ctx)
		if ctx.Err() != nil {
			break
		}
		if errors.Is(err, bus.ErrLog) {
			s.log.WithError(err).Error("the room log is older than what application services were told; " +
				"what they still waited for is dropped")
			err = s.begin(ctx)
		}
		if err != nil {
			s.log.WithError(err).Warn("application services: the room log cannot be read, trying again")
			pause(ctx, followPause)
		}
	}
	return nil
}

// begin reads the log from its start, silently up to its present end.
func (s *Service) begin(ctx context.Context) error {
	head, err := bus.Head(ctx, s.bus, roomapi.Log)
	if err != nil {
		return err
	}
	return s.db.rewind(ctx, head)
}

func (s *Service) followOnce(ctx context.Context) error {
	pos, quiet, known, err := s.db.progress(ctx)
	if err != nil {
		return err
	}
	if !known {
		if err := s.begin(ctx); err != nil {
			return err
		}
		return nil // and again
	}
	f := &follower{
		Service: s, quiet: quiet, stored: pos,
		rooms: lru.New[string, *roomInterest](maxRooms, nil),
		users: lru.New[string, []int](maxUsers, nil),
	}
	return bus.Follow(ctx, s.bus, roomapi.Log, pos, f.apply)
}

// follower turns log entries into pending positions. It is the only writer of
// progress, joined and interest, so what it remembers of them is true until a write
// fails; then another follower begins with what is stored.
type follower struct {
	*Service
	quiet    int64
	stored   int64 // the cursor in the database
	storedAt time.Time
	rooms    *lru.Cache[string, *roomInterest]
	users    *lru.Cache[string, []int] // indexes of the services that have the user
}

// roomInterest says which services have joined users in a room. It is immutable.
type roomInterest struct {
	members []int64 // by index of the service
}

// batch is the effect of some entries.
type batch struct {
	rooms   map[string]*roomInterest // whole new values
	joined  map[membership]bool
	changed map[string]map[int]bool // room → services whose number has changed
	pending []waiting
	keep    map[int64]*roomapi.Entry
}

// waiting is a row of pending.
type waiting struct {
	service int // index
	pos     int64
}

func (f *follower) apply(ctx context.Context, entries []bus.Positioned[roomapi.Entry]) error {
	b := &batch{
		rooms: map[string]*roomInterest{}, joined: map[membership]bool{}, changed: map[string]map[int]bool{},
		keep: map[int64]*roomapi.Entry{},
	}
	for _, e := range entries {
		if err := f.entry(ctx, b, e.Pos, e.Entry); err != nil {
			return err
		}
	}
	last := entries[len(entries)-1].Pos
	// Reading entries again that had no effect has none either.
	if len(b.joined) > 0 || len(b.pending) > 0 || last-f.stored >= lazyEntries || time.Since(f.storedAt) >= lazyTime {
		if err := f.db.Write(ctx, func(tx *store.Tx) error { return f.write(tx, b, last) }); err != nil {
			return err
		}
		f.stored, f.storedAt = last, time.Now()
	}
	for room, r := range b.rooms {
		f.rooms.Put(room, r)
	}
	for pos, e := range b.keep {
		f.recent.Put(pos, e)
	}
	for _, w := range b.pending {
		f.peers[w.service].ring()
	}
	return nil
}

func (f *follower) write(tx *store.Tx, b *batch, last int64) error {
	for m, joined := range b.joined {
		sql := `DELETE FROM joined WHERE room = $1 AND member = $2`
		if joined {
			sql = `INSERT INTO joined (room, member) VALUES ($1, $2) ON CONFLICT (room, member) DO NOTHING`
		}
		if err := tx.Exec(sql, m.room, m.member); err != nil {
			return err
		}
	}
	for room, services := range b.changed {
		for i := range services {
			if err := writeInterest(tx, room, f.peers[i].nid, b.rooms[room].members[i]); err != nil {
				return err
			}
		}
	}
	for _, w := range b.pending {
		err := tx.Exec(`INSERT INTO pending (service, pos) VALUES ($1, $2) ON CONFLICT (service, pos) DO NOTHING`, f.peers[w.service].nid, w.pos)
		if err != nil {
			return err
		}
	}
	return tx.Exec(`UPDATE progress SET pos = $1 WHERE one = 1`, last)
}

func writeInterest(tx *store.Tx, room string, nid, members int64) error {
	if members == 0 {
		return tx.Exec(`DELETE FROM interest WHERE room = $1 AND service = $2`, room, nid)
	}
	return tx.Exec(`INSERT INTO interest (room, service, members) VALUES ($1, $2, $3)
		ON CONFLICT (room, service) DO UPDATE SET members = excluded.members`, room, nid, members)
}

// entry adds the effect of one entry.
func (f *follower) entry(ctx context.Context, b *batch, pos int64, e *roomapi.Entry) error {
	switch {
	case (e.Kind == roomapi.KindEvent || e.Kind == roomapi.KindOutside) && e.Event != nil:
		return f.event(ctx, b, pos, e)
	case e.Kind == roomapi.KindReceipt && e.Receipt != nil && pos > f.quiet:
		return f.receipt(ctx, b, pos, e)
	case e.Kind == roomapi.KindRetention:
		f.recent.Clear() // what is remembered may have expired
	}
	return nil
}

func (f *follower) event(ctx context.Context, b *batch, pos int64, e *roomapi.Entry) error {
	ev := e.Event
	target := ""
	if ev.Type == "m.room.member" && ev.StateKey != nil {
		target = *ev.StateKey
	}
	if pos > f.quiet {
		if err := f.tell(ctx, b, pos, e, func(i int) bool { return f.has(i, ev.Sender) || target != "" && f.has(i, target) }); err != nil {
			return err
		}
	}
	if target == "" || !f.peers[0].local(target) {
		return nil
	}
	return f.member(ctx, b, membership{e.RoomID, target}, ev.Membership == "join")
}

func (f *follower) receipt(ctx context.Context, b *batch, pos int64, e *roomapi.Entry) error {
	private := e.Receipt.Kind == "m.read.private"
	wants := func(i int) bool { return f.peers[i].Ephemeral && (!private || f.has(i, e.Receipt.UserID)) }
	return f.tellIf(ctx, b, pos, e, wants, func(i int) bool { return f.has(i, e.Receipt.UserID) })
}

// tell makes the services wait for an entry that are interested in its room, or for
// which concerns is true.
func (f *follower) tell(ctx context.Context, b *batch, pos int64, e *roomapi.Entry, concerns func(i int) bool) error {
	return f.tellIf(ctx, b, pos, e, func(int) bool { return true }, concerns)
}

func (f *follower) tellIf(ctx context.Context, b *batch, pos int64, e *roomapi.Entry, wants, concerns func(i int) bool) error {
	room, err := f.room(ctx, b, e.RoomID)
	if err != nil {
		return err
	}
	for i, p := range f.peers {
		if p.URL == "" || !wants(i) {
			continue
		}
		interested := room.members[i] > 0 || concerns(i)
		if !interested {
			if interested, err = f.byRoom(ctx, p.Registration, e.RoomID); err != nil {
				return err
			}
		}
		if interested {
			b.pending = append(b.pending, waiting{i, pos})
			b.keep[pos] = e
		}
	}
	return nil
}

// member notes that a local user is joined to a room, or is not.
func (f *follower) member(ctx context.Context, b *batch, m membership, joined bool) error {
	before, known := b.joined[m]
	if !known {
		var err error
		if before, err = f.db.isJoined(ctx, m); err != nil {
			return err
		}
	}
	if before == joined {
		return nil
	}
	b.joined[m] = joined
	services := f.of(m.member)
	if len(services) == 0 {
		return nil
	}
	old, err := f.room(ctx, b, m.room)
	if err != nil {
		return err
	}
	room := &roomInterest{members: append([]int64(nil), old.members...)}
	for _, i := range services {
		if joined {
			room.members[i]++
		} else {
			room.members[i] = max(0, room.members[i]-1)
		}
		if b.changed[m.room] == nil {
			b.changed[m.room] = map[int]bool{}
		}
		b.changed[m.room][i] = true
	}
	b.rooms[m.room] = room
	return nil
}

// room returns the interest in a room after what the batch holds so far.
func (f *follower) room(ctx context.Context, b *batch, id string) (*roomInterest, error) {
	if r := b.rooms[id]; r != nil {
		return r, nil
	}
	if r, ok := f.rooms.Get(id); ok {
		return r, nil
	}
	members, err := f.db.members(ctx, id)
	if err != nil {
		return nil, err
	}
	r := &roomInterest{members: make([]int64, len(f.peers))}
	for i, p := range f.peers {
		r.members[i] = members[p.nid]
	}
	b.rooms[id] = r
	return r, nil
}

// of lists the services that have a user.
func (f *follower) of(user string) []int {
	if !strings.HasPrefix(user, "@") {
		return nil
	}
	if list, ok := f.users.Get(user); ok {
		return list
	}
	var list []int
	for i, p := range f.peers {
		if p.HasUser(user) {
			list = append(list, i)
		}
	}
	f.users.Put(user, list)
	return list
}

func (f *follower) has(i int, user string) bool {
	for _, j := range f.of(user) {
		if i == j {
			return true
		}
	}
	return false
}

package roomserver

import (
	"context"
	"math"

	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

// Bounds of one page.
const (
	maxPage      = 1000
	defaultPage  = 10
	maxPageBytes = 512 << 10
	// maxScan is how many events a page may look at for those that are wanted and
	// visible; a page that found too few still says where to go on.
	maxScan = 5000
)

// The ends of a timeline.
const (
	minOrd = math.MinInt64
	maxOrd = math.MaxInt64
)

// messages pages through the timeline.
func (s *Server) messages(ctx context.Context, req *roomapi.MessagesRequest) (*roomapi.MessagesResponse, error) {
	r, h, done, err := s.view(ctx, req.RoomID)
	if err != nil {
		return nil, notAMember(err)
	}
	defer done()
	v, err := s.visibility(ctx, r, req.UserID)
	if err != nil {
		return nil, err
	}
	if err := s.mayPage(ctx, r, h, v); err != nil {
		return nil, err
	}
	p, err := s.newPager(ctx, r, v, req)
	if err != nil {
		return nil, err
	}
	walk := p.run
	if req.Backwards {
		walk = func(ctx context.Context) error { return p.pageOver(ctx, req) }
	}
	if err := walk(ctx); err != nil {
		return nil, err
	}
	v = p.v
	resp := &roomapi.MessagesResponse{Start: req.From, Events: p.events, State: p.members}
	if resp.Start.IsZero() {
		resp.Start = roomapi.Point{Ord: p.start}
	}
	if p.more {
		resp.End = roomapi.Point{Ord: p.at}
	}
	return resp, s.bundle(ctx, r, v, req.Ignored, resp.Events...)
}

// mayPage refuses those who may not see anything of a room: not a member, never
// one, and the room is not world readable.
func (s *Server) mayPage(ctx context.Context, r *room, h *head, v *visibility) error {
	if v.current() == "join" {
		return nil
	}
	readable, err := s.worldReadable(ctx, r, h)
	if err != nil || readable {
		return err
	}
	if v.everJoined() {
		_, err = s.access(ctx, r, h, v.userID) // refuses who has forgotten the room
		return err
	}
	if v.current() == "invite" { // sees what the setting "invited" shows
		return nil
	}
	return merr.Forbidden("You are not in this room")
}

// pager walks a room's timeline in one direction and collects what is wanted and
// visible. Places are between events: at is after the event with that order.
type pager struct {
	s    *Server
	room *room
	v    *visibility

	low, high int64 // the walk stays within low < ord ≤ high
	start     int64
	at        int64
	backwards bool
	limit     int
	filter    *compiledFilter
	related   *relatedBy // nil: children do not matter
	lazy      *lazyMembers
	// unbroken ends the walk at the first event that the user may not see.
	unbroken bool

	// forked is the order of the newest event seen at which state resolution changed the state.
	forked int64
	// before is the newest event with a state among those before the oldest one kept; nil if
	// none was read. It is kept walking backwards only.
	before *stored

	events  []*roomapi.Event
	members []*roomapi.Event
	bytes   int
	more    bool
}

func (s *Server) newPager(ctx context.Context, r *room, v *visibility, req *roomapi.MessagesRequest) (*pager, error) {
	related, err := s.relatedBy(ctx, &req.Filter)
	if err != nil {
		return nil, err
	}
	p := &pager{
		s: s, room: r, v: v, backwards: req.Backwards, limit: clamp(req.Limit, 1, maxPage, defaultPage),
		filter: compileFilter(&req.Filter), related: related, low: math.MinInt64, high: math.MaxInt64,
	}
	if req.Backwards {
		p.at = math.MaxInt64
		if !req.To.IsZero() {
			p.low = ordOf(req.To)
		}
	} else {
		p.at = math.MinInt64
		if !req.To.IsZero() {
			p.high = ordOf(req.To)
		}
	}
	if !req.From.IsZero() {
		p.at = ordOf(req.From)
	}
	p.start = p.at
	if req.LazyMembers {
		p.lazy = &lazyMembers{s: s, room: r, seen: make(map[string]bool)}
	}
	return p, nil
}

func (p *pager) run(ctx context.Context) error {
	least := p.least()
	for scanned := 0; ; {
		want := min(max(p.limit-len(p.events), least)+1, 256)
		least = fewest
		events, err := p.read(ctx, want)
		if err != nil {
			return err
		}
		read, chosen := len(events), map[string]bool(nil)
		if p.related != nil {
			if events, chosen, err = p.related.of(ctx, p.s, p.room, events); err != nil {
				return err
			}
		}
		for _, e := range events {
			if len(p.events) >= p.limit || p.bytes > maxPageBytes || scanned >= maxScan {
				p.more = true
				p.pass(e)
				return nil
			}
			scanned++
			if p.unbroken && !e.hidden() && !p.v.sees(e) {
				p.more = true
				p.pass(e)
				return nil
			}
			if err := p.take(ctx, e, p.related == nil || chosen[string(storage.EventKey(e.ev.EventID))]); err != nil {
				return err
			}
		}
		if len(events) < read && p.related.probes <= 0 {
			p.more = true
			return nil
		}
		if read < want && len(events) == read {
			return nil
		}
	}
}

// fewest is how many events are read at once at least when the first few were not enough.
const fewest = 16

// least is how many events are read at first at least.
func (p *pager) least() int {
	if p.related != nil || !p.filter.all() {
		return fewest
	}
	return 0 // most rooms show all that they have
}

// pass notes an event that is not kept.
func (p *pager) pass(e *stored) {
	if p.before == nil && (e.nid > 0 || e.flags&storage.FlagPromoted != 0) {
		p.before = e
	}
}

// read reads the next events in the direction of the walk: their numbers, and what is not
// in memory.
func (p *pager) read(ctx context.Context, n int) ([]*stored, error) {
	found := make(map[int64]*stored, n)
	known := func(nid int64) bool {
		e, ok := p.s.cache.Get(nid)
		if ok {
			found[nid] = e
		}
		return ok
	}
	page := storage.Page{Room: p.room.nid, Low: p.at, High: p.high, Limit: n}
	if p.backwards {
		page.Low, page.High, page.Backwards = p.low, p.at, true
	}
	nids, rows, err := p.s.store.Page(ctx, page, known)
	if err != nil {
		return nil, err
	}
	read, err := p.s.finish(ctx, p.room.version, rows)
	if err != nil {
		return nil, err
	}
	for _, e := range read {
		found[e.nid] = e
	}
	events := make([]*stored, 0, len(nids))
	for _, nid := range nids {
		if e := found[nid]; e != nil {
			events = append(events, e)
		}
	}
	return events, nil
}

// take moves past an event and keeps it if it is wanted, which its children may have
// decided, and visible.
func (p *pager) take(ctx context.Context, e *stored, chosen bool) error {
	if p.start == math.MaxInt64 || p.start == math.MinInt64 {
		p.start = e.ord
		if !p.backwards {
			p.start--
		}
	}
	if e.flags&storage.FlagForked != 0 {
		p.forked = max(p.forked, e.ord)
	}
	p.at = e.ord
	if p.backwards {
		p.at-- // the place before the event
	}
	if !chosen || !p.v.sees(e) || !p.filter.matches(e) {
		p.pass(e)
		return nil
	}
	p.before = nil
	c := seen(p.v, e)
	p.events = append(p.events, c)
	p.bytes += len(c.JSON) + len(c.PrevContent) + 300
	if p.lazy == nil {
		return nil
	}
	member, err := p.lazy.of(ctx, e)
	if err != nil || member == nil {
		return err
	}
	p.members = append(p.members, member)
	p.bytes += len(member.JSON) + 300
	return nil
}

// lazyMembers finds the member events of senders, each once.
type lazyMembers struct {
	s    *Server
	room *room
	seen map[string]bool
}

// of returns the member event of e's sender as of e; nil if it was returned before
// or there is none.
func (l *lazyMembers) of(ctx context.Context, e *stored) (*roomapi.Event, error) {
	if l.seen[e.ev.Sender] {
		return nil, nil
	}
	l.seen[e.ev.Sender] = true
	key, ok, err := l.s.stateKey(ctx, memberType, e.ev.Sender)
	if err != nil || !ok || e.snap == 0 {
		return nil, err
	}
	member, err := l.s.stateIn(ctx, l.room, e.snap, key)
	if err != nil || member == nil {
		return nil, err
	}
	return member.client, nil
}

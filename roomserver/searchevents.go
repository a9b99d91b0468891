package roomserver

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/search"
	"hearth/roomserver/storage"
)

const (
	maxSearchTerm    = 1000 // bytes
	maxSearchResults = 100
	// maxSearchScan is how many matches a search looks at, for one page and to count them.
	maxSearchScan = 2000
	// searchBatch is how many of them are loaded at once.
	searchBatch = 32
	// maxSearchProbes is how many index entries the children of one match may take.
	maxSearchProbes = 100
	// A page ends when it has this many bytes, and holds at most the other number.
	usualSearchBytes = 384 << 10
	maxSearchBytes   = 900 << 10
)

// searching is one search at work.
type searching struct {
	s      *Server
	req    *roomapi.SearchRequest
	query  *search.Query
	kinds  search.Kinds
	filter *compiledFilter
	// related selects by children; nil: they do not matter.
	related *relatedBy
	limit   int
	rooms   map[string]*searchedRoom
	resp    *roomapi.SearchResponse
	bytes   int
}

// searchedRoom is a room of the user. It is no actor: a search only reads what is on
// disk, and loads no state of rooms in which it finds something.
type searchedRoom struct {
	*room
	v *visibility // nil until something is found
}

// searchEvents finds events by their words.
func (s *Server) searchEvents(ctx context.Context, req *roomapi.SearchRequest) (*roomapi.SearchResponse, error) {
	if len(req.Term) > maxSearchTerm {
		return nil, merr.InvalidParam("The search term is too long")
	}
	p := &searching{
		s: s, req: req, query: search.ParseQuery(req.Term), filter: compileFilter(&req.Filter),
		limit: clamp(req.Limit, 1, maxSearchResults, defaultPage), resp: &roomapi.SearchResponse{},
	}
	cursor, err := parseSearchCursor(req.From)
	if err != nil {
		return nil, err
	}
	if p.related, err = s.relatedBy(ctx, &req.Filter); err != nil {
		return nil, err
	}
	if p.related != nil && p.related.f.Probes() > maxSearchProbes {
		return nil, merr.InvalidParam("The filter names too many senders and types of relationships for a search")
	}
	p.resp.Highlights = p.query.Highlights()
	p.kinds = p.wantedKinds()
	if p.query.Empty() || p.kinds == 0 {
		return p.resp, nil
	}
	if err := p.findRooms(ctx); err != nil {
		return nil, err
	}
	return p.resp, p.run(ctx, cursor)
}

// wantedKinds are those of the keys and of the filter's types.
func (p *searching) wantedKinds() (kinds search.Kinds) {
	for _, k := range []struct {
		kind     search.Kinds
		key, typ string
	}{
		{search.Body, roomapi.SearchBody, "m.room.message"},
		{search.Name, roomapi.SearchName, "m.room.name"},
		{search.Topic, roomapi.SearchTopic, "m.room.topic"},
	} {
		types := p.req.Filter
		if (p.req.Keys == nil || contains(p.req.Keys, k.key)) && (types.Types == nil || anyPattern(types.Types, k.typ)) && !anyPattern(types.NotTypes, k.typ) {
			kinds |= k.kind
		}
	}
	return kinds
}

// findRooms lists the rooms to search: all with which the user has to do, but those
// that are forgotten. Whether the user was in them shows when something is found.
func (p *searching) findRooms(ctx context.Context) error {
	p.rooms = make(map[string]*searchedRoom)
	user, ok, err := p.s.names.lookup(ctx, p.req.UserID)
	if err != nil || !ok {
		return err
	}
	for after := ""; ; {
		rows, _, err := p.s.store.UserRooms(ctx, user, after, maxMemberships)
		if err != nil {
			return err
		}
		for _, row := range rows {
			after = row.RoomID
			version, ok := pdu.Version(row.Version)
			if ok && !row.Forgotten && p.wantsRoom(row.RoomID) {
				p.rooms[row.RoomID] = &searchedRoom{room: &room{id: row.RoomID, nid: row.Room, version: version}}
			}
		}
		if len(rows) < maxMemberships {
			return nil
		}
	}
}

func (p *searching) wantsRoom(id string) bool {
	r := p.req
	return (r.InRoom == "" || r.InRoom == id) && (r.Rooms == nil || contains(r.Rooms, id)) && !contains(r.NotRooms, id)
}

// senders are those whom the index shall look for; nil: anybody.
func (p *searching) senders() []string {
	r := p.req
	switch {
	case r.BySender == "":
		return r.Filter.Senders
	case r.Filter.Senders != nil && !contains(r.Filter.Senders, r.BySender):
		return []string{}
	}
	return []string{r.BySender}
}

func (p *searching) run(ctx context.Context, cursor search.Hit) error {
	ask := &search.Request{
		Query: p.query, Senders: p.senders(), Kinds: p.kinds, Recent: p.req.Recent, Limit: maxSearchScan,
	}
	for id := range p.rooms {
		ask.Rooms = append(ask.Rooms, id)
	}
	answer, err := p.s.search.Find(ctx, ask)
	if err != nil {
		return err
	}
	if err := p.count(ctx, answer.Hits); err != nil {
		return err
	}
	if cursor.Pos != 0 {
		n := len(answer.Hits)
		if answer.More && !ask.Before(cursor, answer.Hits[n-1]) {
			ask.After = cursor
			if answer, err = p.s.search.Find(ctx, ask); err != nil {
				return err
			}
		} else {
			answer.Hits = slices.DeleteFunc(answer.Hits, func(h search.Hit) bool { return !ask.Before(cursor, h) })
		}
	}
	return p.collect(ctx, answer)
}

// count counts the hits. What the user may not see is not counted either: the number alone would tell whether
// a word was said.
func (p *searching) count(ctx context.Context, hits []search.Hit) error {
	expiring := map[*visibility][]int64{}
	for _, h := range hits {
		v, err := p.visibility(ctx, h.RoomID)
		if err != nil {
			return err
		}
		switch {
		case !v.seesPlace(storage.LiveOrd(h.Pos)):
		case v.expiry.cut != never:
			expiring[v] = append(expiring[v], h.Pos)
		default:
			p.resp.Count++
		}
	}
	for v, positions := range expiring {
		n, err := p.s.store.CountSince(ctx, positions, v.expiry.cut)
		if err != nil {
			return err
		}
		p.resp.Count += n
	}
	return nil
}

// collect fills the page from the hits.
func (p *searching) collect(ctx context.Context, answer *search.Answer) error {
	for batch := range slices.Chunk(answer.Hits, searchBatch) {
		events, err := p.load(ctx, batch)
		if err != nil {
			return err
		}
		for _, h := range batch {
			e := events[h.Pos]
			if e == nil {
				continue
			}
			taken := len(p.resp.Results) < p.limit && p.bytes < usualSearchBytes
			if taken {
				if taken, err = p.take(ctx, h, e); err != nil {
					return err
				}
			}
			if !taken { // the page is full: the next one begins here
				i := slices.Index(answer.Hits, h)
				p.resp.Next = searchCursor(answer.Hits[i-1]) // a page holds at least one
				return nil
			}
		}
	}
	if n := len(answer.Hits); answer.More && n > 0 {
		p.resp.Next = searchCursor(answer.Hits[n-1])
	}
	return nil
}

// visibility tells what of a room the user may see: nothing if they never were in it.
func (p *searching) visibility(ctx context.Context, roomID string) (*visibility, error) {
	r := p.rooms[roomID]
	if r.v != nil {
		return r.v, nil
	}
	v, err := p.s.visibility(ctx, r.room, p.req.UserID)
	if err != nil {
		return nil, err
	}
	r.v = v
	return v, nil
}

// seesPlace is sees for an event that changes nobody's membership and no visibility.
// Who was never in a room finds nothing in it.
func (v *visibility) seesPlace(ord int64) bool {
	return v.everJoined() && v.allows(at(v.settings, ord, false, shared), at(v.memberships, ord, false, ""), ord)
}

// load reads the events of hits and returns those that are wanted, visible, and really
// hold what was asked for, by position.
func (p *searching) load(ctx context.Context, batch []search.Hit) (map[int64]*stored, error) {
	byRoom := make(map[string][]int64)
	for _, h := range batch {
		v, err := p.visibility(ctx, h.RoomID)
		if err != nil {
			return nil, err
		}
		if v.seesPlace(storage.LiveOrd(h.Pos)) {
			byRoom[h.RoomID] = append(byRoom[h.RoomID], h.Pos)
		}
	}
	wanted := make(map[int64]*stored, len(batch))
	for id, positions := range byRoom {
		r := p.rooms[id]
		rows, err := p.s.store.EventsByNid(ctx, positions)
		if err != nil {
			return nil, err
		}
		events, err := p.s.finish(ctx, r.version, rows)
		if err != nil {
			return nil, err
		}
		events = slices.DeleteFunc(events, func(e *stored) bool { return !p.wants(r, e) })
		if events, err = p.withChildren(ctx, r, events); err != nil {
			return nil, err
		}
		for _, e := range events {
			wanted[e.nid] = e
		}
	}
	return wanted, nil
}

// withChildren returns those of the events that have the children that the filter asks for.
func (p *searching) withChildren(ctx context.Context, r *searchedRoom, events []*stored) ([]*stored, error) {
	if p.related == nil || len(events) == 0 {
		return events, nil
	}
	keys := make([][]byte, len(events))
	for i, e := range events {
		keys[i] = storage.EventKey(e.ev.EventID)
	}
	found, _, err := p.s.store.RelatedBy(ctx, r.nid, keys, p.related.f)
	return slices.DeleteFunc(events, func(e *stored) bool { return !found[string(storage.EventKey(e.ev.EventID))] }), err
}

func (p *searching) wants(r *searchedRoom, e *stored) bool {
	kind, texts := search.Texts(e.client)
	return kind&p.kinds != 0 && e.redactedBy == 0 && r.v.sees(e) && p.filter.matches(e) &&
		(p.req.BySender == "" || p.req.BySender == e.ev.Sender) && !p.ignores(e.client) && p.query.Match(texts)
}

// ignores reports whether an event is not shown because of its sender ("Ignoring
// Users"). State is always shown.
func (p *searching) ignores(e *roomapi.Event) bool {
	return e.StateKey == nil && contains(p.req.Ignored, e.Sender)
}

func searchCursor(h search.Hit) string {
	return strconv.FormatUint(uint64(h.Rank), 36) + "_" + strconv.FormatInt(h.Pos, 36)
}

func parseSearchCursor(text string) (search.Hit, error) {
	if text == "" {
		return search.Hit{}, nil
	}
	rank, pos, _ := strings.Cut(text, "_")
	r, err := strconv.ParseUint(rank, 36, 32)
	n, err2 := strconv.ParseInt(pos, 36, 64)
	if err != nil || err2 != nil || n <= 0 {
		return search.Hit{}, merr.InvalidParam("Invalid pagination token").WithCause(fmt.Errorf("search cursor %q", text))
	}
	return search.Hit{Rank: uint32(r), Pos: n}, nil
}

package roomserver

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"hearth/federationapi/remoteapi"
	"hearth/internal/lru"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

const (
	// spacesFor is how long answers of other servers about spaces are kept ("Retrieve a space
	// tree": they should be cached).
	spacesFor        = 5 * time.Minute
	refusalsFor      = time.Minute // the same for answers that were errors
	spaceCacheBytes  = 4 << 20
	spaceTime        = 10 * time.Second // for all requests of a walk
	maxSpaceRequests = 20               // of a walk
)

// farSpace is a room that we are not in with its direct children, as another server shows them to
// us: it has to be found out yet which of them a user may see.
type farSpace struct {
	room     *roomapi.Summary
	children map[string]*roomapi.Summary
	// closed are children of which the server knows that we may not see them.
	closed map[string]bool
	until  time.Time
	size   int
	err    error // why there is no room
}

func newFarSpaces() *lru.Cache[string, *farSpace] {
	return lru.New(spaceCacheBytes, func(key string, f *farSpace) int { return len(key) + f.size + 300 })
}

// farSpace asks the servers in turn for a room and its children; 404 if none shows it to us.
func (s *Server) farSpace(ctx context.Context, roomID string, servers []string, suggested bool) (*farSpace, error) {
	key := roomID + " " + strconv.FormatBool(suggested)
	if f, ok := s.farSpaces.Get(key); ok && s.now().Before(f.until) {
		return f, f.err
	}
	if len(servers) == 0 {
		return nil, merr.NotFound("Room not found").WithCause(errNoRoom)
	}
	resp, err := remoteapi.Hierarchy.Do(ctx, s.bus, &remoteapi.HierarchyRequest{Destinations: servers, RoomID: roomID, SuggestedOnly: suggested})
	if err != nil {
		if ctx.Err() == nil {
			s.farSpaces.Put(key, &farSpace{until: s.now().Add(refusalsFor), err: err})
		}
		return nil, err
	}
	f := &farSpace{
		children: make(map[string]*roomapi.Summary), closed: make(map[string]bool), until: s.now().Add(spacesFor), size: len(resp.Room),
	}
	if f.room = farSummary(resp.Room); f.room == nil || f.room.RoomID != roomID {
		return nil, badAnswer("The room is another one")
	}
	for _, raw := range resp.Children[:min(len(resp.Children), maxSpaceChildren)] {
		if sum := farSummary(raw); sum != nil {
			sum.ChildrenState = nil
			f.children[sum.RoomID] = sum
			f.size += len(raw)
		}
	}
	for _, id := range resp.Inaccessible[:min(len(resp.Inaccessible), maxSpaceChildren)] {
		f.closed[id] = true
		f.size += len(id)
	}
	s.farSpaces.Put(key, f)
	return f, nil
}

// farSummary reads a room of another server's answer; nil if it has not the shape of one.
func farSummary(raw []byte) *roomapi.Summary {
	canonical, err := pdu.Canonical(raw, false)
	if err != nil {
		return nil
	}
	sum := &roomapi.Summary{}
	if json.Unmarshal(canonical, sum) != nil {
		return nil
	}
	if _, _, err := pdu.ParseRoomID(sum.RoomID); err != nil {
		return nil
	}
	sum.Membership = ""
	if sum.JoinRule == "" {
		sum.JoinRule = "public" // what servers from before the property meant
	}
	return sum
}

// farSummaryFor is a room that we are not in as a user sees it; nil if the user may not. known is
// what another server has told of it already, or nil.
func (s *Server) farSummaryFor(ctx context.Context, roomID, userID string, via []string, known *roomapi.Summary) (*roomapi.Summary, error) {
	if known == nil {
		servers, err := s.destinations(ctx, roomID, userID, via)
		if err != nil {
			return nil, err
		}
		f, err := s.farSpace(ctx, roomID, servers, false)
		if err != nil {
			return nil, err
		}
		known = f.room
	}
	sum := *known
	if userID != "" {
		switch _, m, err := s.outside(ctx, roomID, userID); {
		case err == nil:
			sum.Membership = storage.MembershipName(m.Membership)
		case notFoundAs(err, nil) != nil:
			return nil, err
		}
	}
	visible, err := s.accessible(ctx, &sum, userID)
	if err != nil || !visible {
		return nil, err
	}
	return &sum, nil
}

// farChildren reads children_state of another server: rooms in order, and the events as they are
// shown.
func farChildren(sum *roomapi.Summary, suggestedOnly bool) (list []spaceChild) {
	pdu.Elements(sum.ChildrenState, func(val []byte) bool {
		typ, _ := pdu.GetString(val, "type")
		sender, _ := pdu.GetString(val, "sender")
		key, ok := pdu.GetString(val, "state_key")
		content, ok2 := pdu.Get(val, "content")
		if _, _, err := pdu.ParseRoomID(key); err != nil || typ != spaceChildType || !ok || !ok2 || pdu.Kind(content) != '{' {
			return true
		}
		ts, _ := pdu.GetInt(val, "origin_server_ts")
		ev := &pdu.Event{Type: typ, Sender: sender, StateKey: &key, Content: content, OriginServerTS: ts}
		if c, ok := childOf(&stored{ev: ev}); ok && (c.suggested || !suggestedOnly) {
			list = append(list, c)
		}
		return len(list) < maxSpaceChildren
	})
	return list
}

// viaOf lists the servers that an m.space.child event names.
func viaOf(content []byte) (servers []string) {
	via, _ := pdu.Get(content, "via")
	pdu.Elements(via, func(val []byte) bool {
		if name, ok := pdu.String(val); ok {
			servers = append(servers, name)
		}
		return len(servers) < maxDestinations
	})
	return servers
}

// far finds a room of the walk that we are not in. An error that is not ours is one of another
// server: the room is left out.
func (w *spaceWalk) far(ctx context.Context, roomID string, via []string, parent *farSpace) (*roomapi.Summary, *farSpace, error) {
	var known *roomapi.Summary
	if parent != nil {
		if parent.closed[roomID] {
			return nil, nil, errNoRoom
		}
		known = parent.children[roomID]
	}
	var space *farSpace
	if known == nil || known.RoomType == "m.space" {
		if w.requests++; w.requests > maxSpaceRequests {
			return nil, nil, errNoRoom
		}
		limited, cancel := context.WithDeadline(ctx, w.until)
		defer cancel()
		servers, err := w.s.destinations(ctx, roomID, w.req.UserID, via)
		if err != nil {
			return nil, nil, err
		}
		if space, err = w.s.farSpace(limited, roomID, servers, w.req.SuggestedOnly); err != nil {
			if ctx.Err() != nil {
				return nil, nil, ctx.Err()
			}
			return nil, nil, errors.Join(errNoRoom, err)
		}
		known = space.room
	}
	sum, err := w.s.farSummaryFor(ctx, roomID, w.req.UserID, via, known)
	return sum, space, err
}

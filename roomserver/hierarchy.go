package roomserver

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

const (
	spaceChildType = "m.space.child"

	maxHierarchyDepth = 10
	maxHierarchyPage  = 100
	maxHierarchyRooms = 2000 // of one tree; also what later pages walk over
	maxSpaceChildren  = 1000 // of one space
)

// hierarchy walks a tree of spaces depth first. A page is told from the next by the
// number of rooms before it: the walk is done again, in the order that the children
// have now.
func (s *Server) hierarchy(ctx context.Context, req *roomapi.HierarchyRequest) (*roomapi.HierarchyResponse, error) {
	skip, err := hierarchySkip(req)
	if err != nil {
		return nil, err
	}
	depth := clamp(req.MaxDepth, 0, maxHierarchyDepth, maxHierarchyDepth)
	if req.MaxDepth < 0 {
		depth = 0
	}
	w := &spaceWalk{
		s: s, req: req, seen: map[string]bool{}, skip: skip, limit: clamp(req.Limit, 1, maxHierarchyPage, 50), depth: depth,
		until: time.Now().Add(spaceTime),
	}
	root, far, err := w.find(ctx, req.RoomID, nil, nil)
	if errors.Is(err, errNoRoom) || err == nil && root == nil {
		return nil, merr.Forbidden("You are not allowed to view this room")
	}
	if err != nil {
		return nil, err
	}
	if err := w.visit(ctx, root, far, 0); err != nil {
		return nil, err
	}
	resp := &roomapi.HierarchyResponse{Rooms: w.rooms}
	if w.more {
		resp.Next = strings.Join([]string{"h", strconv.Itoa(skip + len(w.rooms)), strconv.Itoa(req.MaxDepth), strconv.FormatBool(req.SuggestedOnly)}, "_")
	}
	return resp, nil
}

// hierarchySkip reads the token, which fixes max_depth and suggested_only.
func hierarchySkip(req *roomapi.HierarchyRequest) (int, error) {
	if req.From == "" {
		return 0, nil
	}
	parts := strings.Split(req.From, "_")
	if len(parts) != 4 || parts[0] != "h" {
		return 0, merr.InvalidParam("Invalid pagination token")
	}
	skip, err := strconv.Atoi(parts[1])
	if err != nil || skip < 0 {
		return 0, merr.InvalidParam("Invalid pagination token")
	}
	if parts[2] != strconv.Itoa(req.MaxDepth) || parts[3] != strconv.FormatBool(req.SuggestedOnly) {
		return 0, merr.InvalidParam("suggested_only and max_depth cannot change on paginated requests")
	}
	return skip, nil
}

type spaceWalk struct {
	s     *Server
	req   *roomapi.HierarchyRequest
	seen  map[string]bool
	skip  int
	limit int
	depth int
	rooms []roomapi.Summary
	bytes int
	more  bool
	// requests counts what other servers are asked, until the walk waits for them.
	requests int
	until    time.Time
}

// find returns a room as the user sees it, nil if the user may not, with what another server tells
// of its children if we are not in it. parent is where it was found, if that is of another server.
func (w *spaceWalk) find(ctx context.Context, roomID string, via []string, parent *farSpace) (*roomapi.Summary, *farSpace, error) {
	here, err := w.s.isHere(ctx, roomID)
	if err != nil {
		return nil, nil, err
	}
	if !here {
		return w.far(ctx, roomID, via, parent)
	}
	sum, err := w.s.summaryFor(ctx, roomID, w.req.UserID)
	return sum, nil, err
}

// visit adds a room to the page and goes on to its children.
func (w *spaceWalk) visit(ctx context.Context, sum *roomapi.Summary, far *farSpace, depth int) error {
	w.seen[sum.RoomID] = true
	if len(w.rooms) >= w.limit || w.bytes > maxPageBytes {
		w.more = true
		return nil
	}
	var children []spaceChild
	var err error
	if far != nil {
		children = farChildren(far.room, w.req.SuggestedOnly)
	} else if children, err = w.childrenHere(ctx, sum); err != nil {
		return err
	}
	slices.SortFunc(children, spaceChild.compare)
	_, state := rendered(children)
	if len(w.seen) > w.skip {
		sum.Membership, sum.ChildrenState = "", state
		w.rooms = append(w.rooms, *sum)
		w.bytes += len(state) + 500
	}
	if depth >= w.depth {
		return nil
	}
	for _, c := range children {
		if w.more || len(w.seen) >= maxHierarchyRooms {
			return nil
		}
		if w.seen[c.roomID] {
			continue
		}
		child, space, err := w.find(ctx, c.roomID, viaOf(c.e.ev.Content), far)
		if errors.Is(err, errNoRoom) || err == nil && child == nil {
			continue
		}
		if err != nil {
			return err
		}
		if err := w.visit(ctx, child, space, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// children lists the rooms of a space in the order of the spec ("Ordering of
// children within a space"), and their events as stripped state.
func (w *spaceWalk) children(ctx context.Context, sum *roomapi.Summary) (ids []string, state []byte, err error) {
	list, err := w.childrenHere(ctx, sum)
	if err != nil {
		return nil, nil, err
	}
	slices.SortFunc(list, spaceChild.compare)
	ids, state = rendered(list)
	return ids, state, nil
}

// childrenHere reads the children of a space that we are in.
func (w *spaceWalk) childrenHere(ctx context.Context, sum *roomapi.Summary) (list []spaceChild, err error) {
	if sum.RoomType != "m.space" {
		return nil, nil
	}
	r, h, done, err := w.s.view(ctx, sum.RoomID)
	if err != nil {
		return nil, err
	}
	defer done()
	nids, err := w.s.selectState(ctx, h.view, []string{spaceChildType})
	if err != nil {
		return nil, err
	}
	err = w.s.eachEvent(ctx, r, nids[:min(len(nids), maxSpaceChildren)], func(e *stored) error {
		if c, ok := childOf(e); ok && (c.suggested || !w.req.SuggestedOnly) {
			list = append(list, c)
		}
		return nil
	})
	return list, err
}

// rendered lists the rooms of children, and their events as stripped state.
func rendered(list []spaceChild) (ids []string, state []byte) {
	state = []byte{'['}
	for i, c := range list {
		ids = append(ids, c.roomID)
		if i > 0 {
			state = append(state, ',')
		}
		state = appendStripped(state, c.e.ev)
		state = append(state[:len(state)-1], `,"origin_server_ts":`...)
		state = append(strconv.AppendInt(state, c.e.ev.OriginServerTS, 10), '}')
	}
	return ids, append(state, ']')
}

type spaceChild struct {
	roomID    string
	order     string // "" if there is no valid one: last
	ts        int64
	suggested bool
	e         *stored
}

// childOf reads an m.space.child event; ok is false for one that was taken back,
// which has no via.
func childOf(e *stored) (c spaceChild, ok bool) {
	via, _ := pdu.Get(e.ev.Content, "via")
	servers := 0
	pdu.Elements(via, func([]byte) bool { servers++; return true })
	if servers == 0 {
		return c, false
	}
	c = spaceChild{roomID: *e.ev.StateKey, ts: e.ev.OriginServerTS, e: e}
	c.suggested, _ = pdu.GetBool(e.ev.Content, "suggested")
	if order, _ := pdu.GetString(e.ev.Content, "order"); validOrder(order) {
		c.order = order
	}
	return c, true
}

func validOrder(order string) bool {
	for i := range len(order) {
		if order[i] < 0x20 || order[i] > 0x7e {
			return false
		}
	}
	return len(order) <= 50
}

func (c spaceChild) compare(d spaceChild) int {
	if (c.order == "") != (d.order == "") {
		if c.order != "" {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(c.order, d.order), cmp.Compare(c.ts, d.ts), cmp.Compare(c.roomID, d.roomID))
}

package roomserver

import (
	"context"
	"fmt"
	"slices"

	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/internal/pduwire"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

const (
	maxOutgoing = 100 // positions of one call
	// outgoingBytes bounds an answer, so that it fits in a message of the bus.
	outgoingBytes = 700 << 10
	hostsPage     = 1000
	maxNewest     = 10
	// maxMemberChanges is how many changes of members are taken back to find out who was in a
	// room at an event.
	maxMemberChanges = 5000
)

// handleOutgoing registers what federationapi asks to send events.
func (s *Server) handleOutgoing() error {
	b := s.bus
	for _, err := range []error{
		bus.Handle(b, roomapi.Outgoing, s.outgoing),
		bus.Handle(b, roomapi.Hosts, s.listHosts),
		bus.Handle(b, roomapi.HostOf, s.hostOf),
		bus.Handle(b, roomapi.ServersOf, s.serversOf),
		bus.Handle(b, roomapi.Extremities, s.extremities),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

// outgoing returns events with the servers that they go to. An answer that would be too
// large ends early: the caller asks again for what is missing after its last event.
func (s *Server) outgoing(ctx context.Context, req *roomapi.OutgoingRequest) (*roomapi.OutgoingResponse, error) {
	if len(req.Positions) > maxOutgoing {
		return nil, merr.InvalidParam("More than %d positions", maxOutgoing)
	}
	rows, err := s.eventsAt(ctx, slices.Sorted(slices.Values(req.Positions)))
	if err != nil {
		return nil, err
	}
	byRoom := map[int64][]*storage.Event{}
	for _, row := range rows {
		byRoom[row.Room] = append(byRoom[row.Room], row)
	}
	nids := make([]int64, 0, len(byRoom))
	for nid := range byRoom {
		nids = append(nids, nid)
	}
	refs, err := s.store.RoomIDs(ctx, nids)
	if err != nil {
		return nil, err
	}
	resp := &roomapi.OutgoingResponse{}
	for nid, list := range byRoom {
		events, err := s.outgoingOf(ctx, refs[nid].ID, list)
		if err != nil {
			return nil, err
		}
		resp.Events = append(resp.Events, events...)
	}
	slices.SortFunc(resp.Events, func(a, b roomapi.OutgoingEvent) int { return int(a.Pos - b.Pos) })
	size := 0
	for i, e := range resp.Events {
		size += len(e.PDU.JSON) + 300
		for _, h := range e.Hosts {
			size += len(h) + 3
		}
		if i > 0 && size > outgoingBytes {
			resp.Events = resp.Events[:i]
			break
		}
	}
	return resp, nil
}

// eventsAt reads the live events at log positions that go to other servers.
func (s *Server) eventsAt(ctx context.Context, positions []int64) ([]*storage.Event, error) {
	rows, err := s.store.EventsByNid(ctx, positions)
	if err != nil {
		return nil, err
	}
	found := make(map[int64]bool, len(rows))
	for _, row := range rows {
		found[row.Nid] = true
	}
	for _, pos := range positions { // what was an outlier before has another number
		if found[pos] {
			continue
		}
		page, err := s.store.Log(ctx, pos-1, pos, 1)
		if err != nil {
			return nil, err
		}
		rows = append(rows, page.Events...)
	}
	return slices.DeleteFunc(rows, func(e *storage.Event) bool {
		return e.Flags&storage.HiddenFlags != 0 || e.Flags&storage.FlagFederate == 0
	}), nil
}

// outgoingOf makes the answer for events of one room.
func (s *Server) outgoingOf(ctx context.Context, roomID string, rows []*storage.Event) ([]roomapi.OutgoingEvent, error) {
	r, h, done, err := s.view(ctx, roomID)
	if err != nil {
		return nil, err
	}
	defer done()
	events, err := s.finish(ctx, r.version, rows)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(events, func(a, b *stored) int { return int(b.pos() - a.pos()) })
	past, err := s.newPastHosts(ctx, r, h, events[len(events)-1].ord)
	if err != nil {
		return nil, err
	}
	expired, err := s.expiryOf(ctx, r, h)
	if err != nil {
		return nil, err
	}
	out := make([]roomapi.OutgoingEvent, 0, len(events))
	for _, e := range events {
		ev := e.ev
		if expired.gone(ctx, e) { // others need its place in the DAG, nobody what it said
			if ev, err = ev.Redact(); err != nil {
				return nil, err
			}
		}
		hosts := past.around(e.ord, pdu.Domain(e.ev.Sender))
		if e.replaces != 0 && e.ev.Type == memberType {
			replaced, err := s.event(ctx, r, e.replaces)
			if err != nil {
				return nil, err
			}
			server := s.outsider(e.ev, replaced.ev)
			if at, found := slices.BinarySearch(hosts, server); !found && server != "" && server != pdu.Domain(e.ev.Sender) {
				hosts = slices.Insert(hosts, at, server)
			}
		}
		out = append(out, roomapi.OutgoingEvent{Pos: e.pos(), RoomID: roomID, PDU: pduwire.Of(ev), Hosts: hosts})
	}
	return out, nil
}

// pastHosts walks back through the changes of a room's servers.
type pastHosts struct {
	hosts   *hosts
	changes []hostChange // the newest first
	next    int
}

// hostChange is what an event has changed.
type hostChange struct {
	ord    int64
	server string
	delta  int64
	reset  bool // the state was replaced as a whole: what was before is not known
}

// newPastHosts reads the changes since a place in a room's timeline.
func (s *Server) newPastHosts(ctx context.Context, r *room, h *head, ord int64) (*pastHosts, error) {
	p := &pastHosts{hosts: h.hosts}
	member, ok, err := s.names.lookup(ctx, memberType)
	if err != nil || !ok {
		return p, err
	}
	rows, err := s.store.MembersSince(ctx, r.nid, member, ord, maxMemberChanges)
	if err != nil {
		return nil, err
	}
	events, err := s.finish(ctx, r.version, rows)
	if err != nil {
		return nil, err
	}
	for _, e := range events {
		if e.hidden() || e.pos() > h.pos || e.pos() == 0 {
			continue
		}
		c := hostChange{ord: e.ord, reset: e.flags&storage.FlagReset != 0}
		if e.ev.Type == memberType && e.ev.StateKey != nil {
			c.server = pdu.Domain(*e.ev.StateKey)
			if membershipIn(e.ev) == "join" {
				c.delta++
			}
			if e.replaces != 0 {
				before, err := s.event(ctx, r, e.replaces)
				if err != nil {
					return nil, fmt.Errorf("what a member event has replaced: %w", err)
				}
				if membershipIn(before.ev) == "join" {
					c.delta--
				}
			}
		}
		p.changes = append(p.changes, c)
	}
	return p, nil
}

// membershipIn is the membership in a member event.
func membershipIn(e *pdu.Event) string {
	membership, _ := pdu.GetString(e.Content, "membership")
	return membership
}

// around lists the servers that were in the room before or after the event at a place, but the
// one that made it. Places must not grow from call to call.
func (p *pastHosts) around(ord int64, maker string) []string {
	for p.next < len(p.changes) && p.changes[p.next].ord > ord {
		p.undo()
	}
	after := p.hosts
	for p.next < len(p.changes) && p.changes[p.next].ord == ord {
		p.undo()
	}
	out := slices.Concat(after.list(), p.hosts.list())
	slices.Sort(out)
	return slices.DeleteFunc(slices.Compact(out), func(server string) bool { return server == maker })
}

// undo takes back one change.
func (p *pastHosts) undo() {
	c := p.changes[p.next]
	p.next++
	if c.reset {
		p.next = len(p.changes)
		return
	}
	p.hosts = p.hosts.with(c.server, -c.delta)
}

// listHosts lists the other servers in a room; none if we do not know the room.
func (s *Server) listHosts(ctx context.Context, req *roomapi.HostsRequest) (*roomapi.HostsResponse, error) {
	_, h, done, err := s.view(ctx, req.RoomID)
	if err != nil {
		return nil, err
	}
	defer done()
	return &roomapi.HostsResponse{Servers: slices.Clone(h.hosts.list())}, nil
}

// hostOf lists the rooms that we share with a server.
func (s *Server) hostOf(ctx context.Context, req *roomapi.HostOfRequest) (*roomapi.HostOfResponse, error) {
	resp := &roomapi.HostOfResponse{}
	server, ok, err := s.names.lookup(ctx, req.Server)
	if err != nil || !ok {
		return resp, err
	}
	own, ok, err := s.names.lookup(ctx, s.serverName)
	if err != nil || !ok {
		return resp, err
	}
	limit := clamp(req.Limit, 1, hostsPage, hostsPage)
	rooms, err := s.store.RoomsOfHost(ctx, server, own, req.After, limit+1)
	if err != nil {
		return nil, err
	}
	resp.More = len(rooms) > limit
	for _, r := range rooms[:min(limit, len(rooms))] {
		resp.Rooms = append(resp.Rooms, roomapi.HostRoom{RoomID: r.ID, Pos: r.Pos})
	}
	return resp, nil
}

// serversOf lists the servers that share a room with a user.
func (s *Server) serversOf(ctx context.Context, req *roomapi.ServersOfRequest) (*roomapi.HostsResponse, error) {
	resp := &roomapi.HostsResponse{}
	user, ok, err := s.names.lookup(ctx, req.UserID)
	if err != nil || !ok {
		return resp, err
	}
	own, _, err := s.names.lookup(ctx, s.serverName) // 0, which is nobody's, if there is none
	if err != nil {
		return nil, err
	}
	resp.Servers, err = s.store.HostsWith(ctx, user, own)
	return resp, err
}

// extremities returns the newest events of a room.
func (s *Server) extremities(ctx context.Context, req *roomapi.HostsRequest) (*roomapi.ExtremitiesResponse, error) {
	r, h, done, err := s.view(ctx, req.RoomID)
	if err != nil {
		return nil, err
	}
	defer done()
	var nids []int64
	for _, x := range h.extremities[:min(len(h.extremities), maxNewest)] {
		nids = append(nids, x.nid)
	}
	events, err := s.events(ctx, r, nids)
	if err != nil {
		return nil, err
	}
	resp := &roomapi.ExtremitiesResponse{}
	for _, e := range events {
		resp.PDUs = append(resp.PDUs, pduwire.Of(e.ev))
	}
	return resp, nil
}

package clientapi

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"hearth/internal/bus"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
	"hearth/syncapi/viewapi"
)

const (
	// maxOldEvents is how many events one answer of /events holds.
	maxOldEvents = 100
	// oldTimeout is how long /events waits if the client does not say it.
	oldTimeout = 30 * time.Second
)

// oneEvent is GET /events/{eventId}.
func (s *Server) oneEvent(r *matrixhttp.Request) (any, error) {
	id := r.Param("eventId")
	if !plainText(id) {
		return nil, merr.NotFound("Event not found")
	}
	ignored, err := s.ignored(r)
	if err != nil {
		return nil, err
	}
	found, err := roomapi.FindEvent.Do(r.Context(), s.bus, &roomapi.EventRequest{UserID: r.Identity.UserID, EventID: id, Ignored: ignored})
	if err != nil {
		return nil, err
	}
	return matrixhttp.Raw(found.Event.AppendJSON(nil, s.render(r, found.RoomID))), nil
}

// events is GET /events: what happens in the rooms of the user, or with room_id in one
// room, which the user need not have joined.
func (s *Server) events(r *matrixhttp.Request) (any, error) {
	query := r.Query()
	l := &listening{s: s, userID: r.Identity.UserID, room: query.String("room_id"), joined: make(map[string]bool)}
	from := query.String("from")
	timeout := time.Duration(query.Int("timeout", oldTimeout.Milliseconds(), 0, maxSyncTimeout.Milliseconds())) * time.Millisecond
	if err := query.Err(); err != nil {
		return nil, err
	}
	if query.Has("room_id") {
		if _, _, err := pdu.ParseRoomID(l.room); err != nil {
			return nil, merr.InvalidParam("Invalid room id")
		}
	}
	head, err := bus.Head(r.Context(), s.bus, roomapi.Log)
	if err != nil {
		return nil, err
	}
	if l.from, err = oldPosition(from, head); err != nil {
		return nil, err
	}
	if l.ignored, err = s.ignored(r); err != nil {
		return nil, err
	}
	start := l.from
	if err := l.wait(r.Context(), timeout); err != nil {
		return nil, err
	}
	if from == "" {
		from = viewapi.Token{Room: start}.String()
	}
	buf := pdu.AppendString([]byte(`{"start":`), from)
	buf = pdu.AppendString(append(buf, `,"end":`...), viewapi.Token{Room: l.from}.String())
	buf = append(buf, `,"chunk":[`...)
	for i, e := range l.events {
		buf = e.AppendJSON(comma(buf, i), s.render(r, e.room))
	}
	return matrixhttp.Raw(append(buf, `]}`...)), nil
}

// oldPosition reads a token; none is now. A place that the log has not reached is none.
func oldPosition(token string, head int64) (int64, error) {
	if token == "" {
		return head, nil
	}
	t, err := viewapi.ParseToken(token)
	if err != nil {
		return 0, err
	}
	if t.Room > head {
		return 0, merr.InvalidParam("The token is of another time")
	}
	return t.Room, nil
}

// listening is one request of /events.
type listening struct {
	s       *Server
	userID  string
	room    string // empty: all rooms of the user
	ignored []string
	// from is the log position up to which everything was told.
	from   int64
	events []placedEvent
	// joined are the rooms in which something may be new to the user.
	joined map[string]bool
}

type placedEvent struct {
	*roomapi.Event
	room string
}

// wait collects what is new, until there is something or the time is over.
func (l *listening) wait(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.s.stopping, cancel)() // a stopping process does not wait for long-polls
	if err := l.collect(ctx); err != nil || len(l.events) > 0 || timeout == 0 {
		return err
	}
	rooms := l.rooms()
	w := &waiter{userID: l.userID, rooms: func(id string) bool { return rooms[id] }}
	joined, err := l.s.bell.join(ctx, w)
	if err != nil {
		return err
	}
	if !joined {
		return merr.Busy(time.Second)
	}
	defer l.s.bell.leave(w)
	over := time.After(timeout)
	for {
		// The first time for what came before the waiter was there.
		if err := l.collect(ctx); err != nil || len(l.events) > 0 {
			return err
		}
		select {
		case <-w.rung:
		case <-over:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// rooms are those whose events wake the request. A room that is entered later wakes it
// by the user's membership.
func (l *listening) rooms() map[string]bool {
	rooms := maps.Clone(l.joined)
	if l.room != "" {
		rooms[l.room] = true
	}
	return rooms
}

// collect reads the events after from, oldest first, and moves from past them.
func (l *listening) collect(ctx context.Context) error {
	head, err := bus.Head(ctx, l.s.bus, roomapi.Log)
	if err != nil {
		return err
	}
	if l.room != "" {
		if err := l.read(ctx, l.room, head); err != nil {
			return err
		}
	} else if err := l.readAll(ctx, head); err != nil {
		return err
	}
	slices.SortFunc(l.events, func(a, b placedEvent) int { return int(a.Pos - b.Pos) })
	l.from = head
	if len(l.events) >= maxOldEvents { // there may be more
		l.events = l.events[:maxOldEvents]
		l.from = l.events[maxOldEvents-1].Pos
	}
	return nil
}

// readAll reads all rooms of the user, and those that were left since from.
func (l *listening) readAll(ctx context.Context, head int64) error {
	req := &roomapi.MembershipsRequest{UserID: l.userID}
	until := head
	for {
		page, err := roomapi.Memberships.Do(ctx, l.s.bus, req)
		if err != nil {
			return err
		}
		for _, m := range page.Rooms {
			req.After = m.RoomID
			if m.Membership != "join" && m.Pos <= l.from {
				delete(l.joined, m.RoomID)
				continue
			}
			l.joined[m.RoomID] = true
			// Only the oldest events are told, so what is newer than all of a full
			// answer need not be read.
			until = l.bound(until)
			if err := l.read(ctx, m.RoomID, until); err != nil && !errors.Is(err, merr.Forbidden("")) {
				return err
			}
		}
		if !page.More || len(page.Rooms) == 0 {
			return nil
		}
	}
}

// bound is the position of the last event that an answer could still hold.
func (l *listening) bound(until int64) int64 {
	if len(l.events) < 2*maxOldEvents {
		return until
	}
	slices.SortFunc(l.events, func(a, b placedEvent) int { return int(a.Pos - b.Pos) })
	l.events = l.events[:maxOldEvents]
	return l.events[maxOldEvents-1].Pos
}

// read adds the events of a room after from, up to a position: as many as an answer
// holds, or all.
func (l *listening) read(ctx context.Context, room string, until int64) error {
	req := &roomapi.MessagesRequest{
		RoomID: room, UserID: l.userID, From: roomapi.Point{Pos: l.from}, To: roomapi.Point{Pos: max(until, l.from)},
		Limit: maxOldEvents, Ignored: l.ignored,
	}
	for n := 0; n < maxOldEvents; {
		page, err := roomapi.Messages.Do(ctx, l.s.bus, req)
		if err != nil {
			return err
		}
		for _, e := range page.Events {
			if e.StateKey != nil || !slices.Contains(l.ignored, e.Sender) {
				l.events = append(l.events, placedEvent{e, room})
				n++
			}
		}
		if page.End.IsZero() {
			return nil
		}
		req.From = page.End
	}
	return nil
}

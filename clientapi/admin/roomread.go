package admin

import (
	"encoding/json"

	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
	"hearth/syncapi/viewapi"
)

// point reads a pagination token, of this API or of /sync; an empty one is no limit.
func point(token string) (roomapi.Point, error) {
	switch {
	case token == "":
		return roomapi.Point{}, nil
	case token[0] == 's':
		t, err := viewapi.ParseToken(token)
		return roomapi.Point{Pos: t.Room}, err
	}
	return roomapi.ParseTimelineToken(token)
}

func filterOf(text string) (filter roomapi.EventFilter, err error) {
	if text == "" {
		return filter, nil
	}
	canonical, err := pdu.Canonical([]byte(text), false)
	if err != nil {
		return filter, merr.InvalidParam("The filter is not a JSON object").WithCause(err)
	}
	return filter, matrixhttp.Unmarshal(canonical, &filter)
}

func appendEvents(dst []byte, events []*roomapi.Event, render roomapi.Render) []byte {
	dst = append(dst, '[')
	for i, e := range events {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = e.AppendJSON(dst, render)
	}
	return append(dst, ']')
}

// roomMessages is GET /v1/rooms/{roomId}/messages. The reading is recorded.
func (s *Server) roomMessages(r *matrixhttp.Request) (any, error) {
	id, err := roomID(r)
	if err != nil {
		return nil, err
	}
	q := r.Query()
	req := &roomapi.MessagesRequest{
		RoomID: id, UserID: roomapi.Everything, Backwards: q.Enum("dir", "f", "b", "f") == "b", Limit: int(q.Int("limit", 10, 0, 1000)),
	}
	from, to, filter := q.String("from"), q.String("to"), q.String("filter")
	if err := q.Err(); err != nil {
		return nil, err
	}
	if req.From, err = point(from); err != nil {
		return nil, err
	}
	if req.To, err = point(to); err != nil {
		return nil, err
	}
	if req.Filter, err = filterOf(filter); err != nil {
		return nil, err
	}
	if err := s.record(r, "room.read_messages", id, "", nil, map[string]string{"from": from}); err != nil {
		return nil, err
	}
	page, err := roomapi.Messages.Do(r.Context(), s.Bus, req)
	if err != nil {
		return nil, err
	}
	start := from
	if start == "" {
		start = tokenOf(page.Start)
	}
	buf := pdu.AppendString([]byte(`{"start":`), start)
	if !page.End.IsZero() {
		buf = pdu.AppendString(append(buf, `,"end":`...), tokenOf(page.End))
	}
	buf = appendEvents(append(buf, `,"chunk":`...), page.Events, s.render(id))
	return matrixhttp.Raw(append(buf, '}')), nil
}

func tokenOf(p roomapi.Point) string {
	if p.Pos != 0 {
		return viewapi.Token{Room: p.Pos}.String()
	}
	return roomapi.TimelineToken(p.Ord)
}

// roomContext is GET /v1/rooms/{roomId}/context/{eventId}. The reading is recorded.
func (s *Server) roomContext(r *matrixhttp.Request) (any, error) {
	id, err := roomID(r)
	if err != nil {
		return nil, err
	}
	q := r.Query()
	req := &roomapi.ContextRequest{
		RoomID: id, UserID: roomapi.Everything, EventID: r.Param("eventId"), Limit: int(q.Int("limit", 10, 0, 200)),
	}
	filter := q.String("filter")
	if err := q.Err(); err != nil {
		return nil, err
	}
	if req.Filter, err = filterOf(filter); err != nil {
		return nil, err
	}
	if err := s.record(r, "room.read_context", id, "", nil, map[string]string{"event_id": req.EventID}); err != nil {
		return nil, err
	}
	c, err := roomapi.Context.Do(r.Context(), s.Bus, req)
	if err != nil {
		return nil, err
	}
	render := s.render(id)
	buf := pdu.AppendString([]byte(`{"start":`), tokenOf(c.Start))
	buf = pdu.AppendString(append(buf, `,"end":`...), tokenOf(c.End))
	buf = c.Event.AppendJSON(append(buf, `,"event":`...), render)
	buf = appendEvents(append(buf, `,"events_before":`...), c.Before, render)
	buf = appendEvents(append(buf, `,"events_after":`...), c.After, render)
	buf = appendEvents(append(buf, `,"state":`...), c.State, render)
	return matrixhttp.Raw(append(buf, '}')), nil
}

// fetchEvent is GET /v1/fetch_event/{eventId}. The reading is recorded.
func (s *Server) fetchEvent(r *matrixhttp.Request) (any, error) {
	id := r.Param("eventId")
	if err := s.record(r, "event.read", id, "", nil, nil); err != nil {
		return nil, err
	}
	found, err := roomapi.FindEvent.Do(r.Context(), s.Bus, &roomapi.EventRequest{UserID: roomapi.Everything, EventID: id})
	if err != nil {
		return nil, err
	}
	buf := found.Event.AppendJSON([]byte(`{"event":`), s.render(found.RoomID))
	return matrixhttp.Raw(append(buf, '}')), nil
}

// eventAt is GET /v1/rooms/{roomId}/timestamp_to_event.
func (s *Server) eventAt(r *matrixhttp.Request) (any, error) {
	id, err := roomID(r)
	if err != nil {
		return nil, err
	}
	q := r.Query()
	if !q.Has("ts") {
		return nil, merr.MissingParam("ts")
	}
	ts, dir := q.Int("ts", 0, 0, 1<<53), q.Enum("dir", "f", "f", "b")
	if err := q.Err(); err != nil {
		return nil, err
	}
	e, err := roomapi.EventAt.Do(r.Context(), s.Bus, &roomapi.EventAtRequest{RoomID: id, UserID: roomapi.Everything, TS: ts, Backwards: dir == "b"})
	if err != nil {
		return nil, err
	}
	return map[string]any{"event_id": e.EventID, "origin_server_ts": e.OriginServerTS}, nil
}

// roomHierarchy is GET /v1/rooms/{roomId}/hierarchy.
func (s *Server) roomHierarchy(r *matrixhttp.Request) (any, error) {
	id, err := roomID(r)
	if err != nil {
		return nil, err
	}
	q := r.Query()
	req := &roomapi.HierarchyRequest{RoomID: id, UserID: roomapi.Everything, Limit: int(q.Int("limit", 50, 1, 100)), From: q.String("from")}
	if q.Has("max_depth") {
		if req.MaxDepth = int(q.Int("max_depth", 0, 0, 1000)); req.MaxDepth == 0 {
			req.MaxDepth = -1 // the room itself only
		}
	}
	if err := q.Err(); err != nil {
		return nil, err
	}
	page, err := roomapi.Hierarchy.Do(r.Context(), s.Bus, req)
	if err != nil {
		return nil, err
	}
	rooms := page.Rooms
	for i := range rooms {
		if len(rooms[i].ChildrenState) == 0 {
			rooms[i].ChildrenState = json.RawMessage("[]")
		}
	}
	if rooms == nil {
		rooms = []roomapi.Summary{}
	}
	out := map[string]any{"rooms": rooms}
	if page.Next != "" {
		out["next_batch"] = page.Next
	}
	return out, nil
}

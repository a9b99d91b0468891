package clientapi

import (
	"slices"

	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
	"hearth/syncapi/viewapi"
)

// point reads a pagination token: one of /messages and /context, of /sync or
// of sliding sync.
// An empty token is no limit.
func point(token string) (roomapi.Point, error) {
	switch {
	case token == "":
		return roomapi.Point{}, nil
	case token[0] == 's':
		t, err := viewapi.ParseToken(token)
		return roomapi.Point{Pos: t.Room}, err
	case token[0] == 'p':
		pos, err := viewapi.ParsePos(token)
		if err != nil {
			return roomapi.Point{}, merr.InvalidParam("Invalid pagination token")
		}
		return roomapi.Point{Pos: pos.Token.Room}, nil
	default:
		return roomapi.ParseTimelineToken(token)
	}
}

func pointToken(p roomapi.Point) string {
	if p.Pos != 0 {
		return viewapi.Token{Room: p.Pos}.String()
	}
	return roomapi.TimelineToken(p.Ord)
}

// readFilter reads the filter parameter for a room. A filter that leaves out the
// room leaves out everything.
func readFilter(text, room string) (filter roomapi.EventFilter, lazy bool, err error) {
	if text == "" {
		return filter, false, nil
	}
	canonical, err := pdu.Canonical([]byte(text), false)
	if err != nil {
		return filter, false, merr.InvalidParam("The filter is not a JSON object").WithCause(err)
	}
	var f struct {
		Types           []string `json:"types"`
		NotTypes        []string `json:"not_types"`
		Senders         []string `json:"senders"`
		NotSenders      []string `json:"not_senders"`
		Rooms           []string `json:"rooms"`
		NotRooms        []string `json:"not_rooms"`
		ContainsURL     *bool    `json:"contains_url"`
		LazyLoadMembers bool     `json:"lazy_load_members"`
		RelatedRelTypes []string `json:"related_by_rel_types"`
		RelatedSenders  []string `json:"related_by_senders"`
	}
	if err := matrixhttp.Unmarshal(canonical, &f); err != nil {
		return filter, false, err
	}
	filter = roomapi.EventFilter{
		Types: f.Types, NotTypes: f.NotTypes, Senders: f.Senders, NotSenders: f.NotSenders, ContainsURL: f.ContainsURL,
		RelatedByRelTypes: f.RelatedRelTypes, RelatedBySenders: f.RelatedSenders,
	}
	if slices.Contains(f.NotRooms, room) || f.Rooms != nil && !slices.Contains(f.Rooms, room) {
		filter.Types = []string{}
	}
	return filter, f.LazyLoadMembers, nil
}

// messages is GET /rooms/{roomId}/messages.
func (s *Server) messages(r *matrixhttp.Request) (any, error) {
	room, err := roomID(r)
	if err != nil {
		return nil, err
	}
	query := r.Query()
	direction := query.Enum("dir", "", "b", "f")
	req := &roomapi.MessagesRequest{
		RoomID: room, UserID: r.Identity.UserID,
		Backwards: direction == "b", Limit: int(query.Int("limit", 10, 0, 1000)),
	}
	from, to, filter := query.String("from"), query.String("to"), query.String("filter")
	if err := query.Err(); err != nil {
		return nil, err
	}
	if direction == "" {
		return nil, merr.MissingParam("dir")
	}
	if req.From, err = point(from); err != nil {
		return nil, err
	}
	if req.To, err = point(to); err != nil {
		return nil, err
	}
	if req.Filter, req.LazyMembers, err = readFilter(filter, room); err != nil {
		return nil, err
	}
	if req.Ignored, err = s.ignored(r); err != nil {
		return nil, err
	}
	page, err := roomapi.Messages.Do(r.Context(), s.bus, req)
	if err != nil {
		return nil, err
	}
	render := s.render(r, room)
	start := from // as the client knows it
	if start == "" {
		start = pointToken(page.Start)
	}
	buf := pdu.AppendString([]byte(`{"start":`), start)
	if !page.End.IsZero() {
		buf = pdu.AppendString(append(buf, `,"end":`...), pointToken(page.End))
	}
	buf = appendEvents(append(buf, `,"chunk":`...), page.Events, render)
	if len(page.State) > 0 {
		buf = appendEvents(append(buf, `,"state":`...), page.State, render)
	}
	return matrixhttp.Raw(append(buf, '}')), nil
}

// context is GET /rooms/{roomId}/context/{eventId}.
func (s *Server) context(r *matrixhttp.Request) (any, error) {
	room, err := roomID(r)
	if err != nil {
		return nil, err
	}
	id := r.Param("eventId")
	if !plainText(id) {
		return nil, merr.NotFound("Event not found")
	}
	query := r.Query()
	req := &roomapi.ContextRequest{
		RoomID: room, UserID: r.Identity.UserID, EventID: id, Limit: int(query.Int("limit", 10, 0, 200)),
	}
	filter := query.String("filter")
	if err := query.Err(); err != nil {
		return nil, err
	}
	if req.Filter, req.LazyMembers, err = readFilter(filter, room); err != nil {
		return nil, err
	}
	if req.Ignored, err = s.ignored(r); err != nil {
		return nil, err
	}
	c, err := roomapi.Context.Do(r.Context(), s.bus, req)
	if err != nil {
		return nil, err
	}
	render := s.render(r, room)
	buf := pdu.AppendString([]byte(`{"start":`), pointToken(c.Start))
	buf = pdu.AppendString(append(buf, `,"end":`...), pointToken(c.End))
	buf = c.Event.AppendJSON(append(buf, `,"event":`...), render)
	buf = appendEvents(append(buf, `,"events_before":`...), c.Before, render)
	buf = appendEvents(append(buf, `,"events_after":`...), c.After, render)
	buf = appendEvents(append(buf, `,"state":`...), c.State, render)
	return matrixhttp.Raw(append(buf, '}')), nil
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

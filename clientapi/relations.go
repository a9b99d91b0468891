package clientapi

import (
	"strconv"

	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// relations is GET /rooms/{roomId}/relations/{eventId} and its forms with a type of
// relation and of event.
func (s *Server) relations(r *matrixhttp.Request) (any, error) {
	room, err := roomID(r)
	if err != nil {
		return nil, err
	}
	query := r.Query()
	req := &roomapi.RelationsRequest{
		RoomID: room, UserID: r.Identity.UserID, EventID: r.Param("eventId"),
		RelType: r.Param("relType"), EventType: r.Param("eventType"),
		Backwards: query.Enum("dir", "b", "b", "f") == "b",
		Limit:     int(query.Int("limit", 50, 1, 1000)),
		Recurse:   query.Bool("recurse"),
	}
	from, to := query.String("from"), query.String("to")
	if err := query.Err(); err != nil {
		return nil, err
	}
	if !plainText(req.EventID) {
		return nil, merr.NotFound("Event not found")
	}
	if req.From, err = point(from); err != nil {
		return nil, err
	}
	if req.To, err = point(to); err != nil {
		return nil, err
	}
	if req.Ignored, err = s.ignored(r); err != nil {
		return nil, err
	}
	page, err := roomapi.Relations.Do(r.Context(), s.bus, req)
	if err != nil {
		return nil, err
	}
	buf := s.appendPage(nil, r, room, page)
	if from != "" {
		buf = pdu.AppendString(append(buf, `,"prev_batch":`...), from)
	}
	if query.Has("recurse") {
		depth := 0
		if req.Recurse {
			depth = roomapi.RelationDepth
		}
		buf = strconv.AppendInt(append(buf, `,"recursion_depth":`...), int64(depth), 10)
	}
	return matrixhttp.Raw(append(buf, '}')), nil
}

// threads is GET /rooms/{roomId}/threads.
func (s *Server) threads(r *matrixhttp.Request) (any, error) {
	room, err := roomID(r)
	if err != nil {
		return nil, err
	}
	query := r.Query()
	req := &roomapi.ThreadsRequest{
		RoomID: room, UserID: r.Identity.UserID,
		Participated: query.Enum("include", "all", "all", "participated") == "participated",
		Limit:        int(query.Int("limit", 20, 1, 100)),
	}
	from := query.String("from")
	if err := query.Err(); err != nil {
		return nil, err
	}
	if req.From, err = point(from); err != nil {
		return nil, err
	}
	if req.Ignored, err = s.ignored(r); err != nil {
		return nil, err
	}
	page, err := roomapi.Threads.Do(r.Context(), s.bus, req)
	if err != nil {
		return nil, err
	}
	return matrixhttp.Raw(append(s.appendPage(nil, r, room, page), '}')), nil
}

// appendPage writes the events and the token of the next page, and leaves the
// object open.
func (s *Server) appendPage(dst []byte, r *matrixhttp.Request, room string, page *roomapi.MessagesResponse) []byte {
	dst = appendEvents(append(dst, `{"chunk":`...), page.Events, s.render(r, room))
	if !page.End.IsZero() {
		dst = pdu.AppendString(append(dst, `,"next_batch":`...), pointToken(page.End))
	}
	return dst
}

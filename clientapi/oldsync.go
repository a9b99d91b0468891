package clientapi

import (
	"bufio"
	"context"
	"errors"
	"io"
	"slices"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
	"hearth/syncapi/viewapi"
)

// The forms of sync from before /sync ("initialSync" in the client-server API), which
// the spec still has. Nothing of them is kept in memory as a whole.

// maxOldLimit is how many messages of a room they show at most.
const maxOldLimit = 100

// initialSync is GET /initialSync.
func (s *Server) initialSync(r *matrixhttp.Request) (any, error) {
	query := r.Query()
	limit := int(query.Int("limit", 10, 0, maxOldLimit))
	archived := query.Bool("archived")
	if err := query.Err(); err != nil {
		return nil, err
	}
	old, err := s.beginOld(r, limit, nil)
	if err != nil {
		return nil, err
	}
	wanted := []string{"invite", "join"}
	if archived {
		wanted = append(wanted, "leave", "ban")
	}
	return matrixhttp.Stream(func(w io.Writer) error {
		out := bufio.NewWriterSize(w, 32<<10)
		head := pdu.AppendString([]byte(`{"end":`), old.end())
		head = append(head, `,"presence":[],"account_data":[`...)
		head = append(appendData(head, old.data, ""), `],"rooms":[`...)
		if _, err := out.Write(head); err != nil {
			return err
		}
		if err := old.rooms(out, wanted); err != nil {
			return err
		}
		if _, err := out.WriteString(`]}`); err != nil {
			return err
		}
		return out.Flush()
	}), nil
}

// roomInitialSync is GET /rooms/{roomId}/initialSync, also for those who peek.
func (s *Server) roomInitialSync(r *matrixhttp.Request) (any, error) {
	room, err := roomID(r)
	if err != nil {
		return nil, err
	}
	query := r.Query()
	limit := int(query.Int("limit", 10, 0, maxOldLimit))
	if err := query.Err(); err != nil {
		return nil, err
	}
	old, err := s.beginOld(r, limit, &room)
	if err != nil {
		return nil, err
	}
	begin, err := old.room(room)
	if err != nil {
		return nil, err
	}
	return matrixhttp.Stream(func(w io.Writer) error {
		out := bufio.NewWriterSize(w, 32<<10)
		if err := old.finish(out, begin, room); err != nil {
			return err
		}
		return out.Flush()
	}), nil
}

// oldSync is an answer in an old form.
type oldSync struct {
	s     *Server
	r     *matrixhttp.Request
	ctx   context.Context
	limit int
	// head is the log position at which the answer is true.
	head int64
	data []userapi.AccountData
}

// beginOld prepares an answer; room, if not nil, is the only one whose account data is wanted.
func (s *Server) beginOld(r *matrixhttp.Request, limit int, room *string) (*oldSync, error) {
	old := &oldSync{s: s, r: r, ctx: r.Context(), limit: limit}
	var err error
	if old.head, err = bus.Head(old.ctx, s.bus, roomapi.Log); err != nil {
		return nil, err
	}
	req := &userapi.ChangedAccountDataRequest{UserID: r.Identity.UserID, Room: room}
	for {
		page, err := userapi.ChangedAccountData.Do(old.ctx, s.bus, req)
		if err != nil {
			return nil, err
		}
		old.data, req.UpTo = append(old.data, page.Data...), page.Pos
		if !page.More || len(page.Data) == 0 {
			return old, nil
		}
		req.After = page.Data[len(page.Data)-1].Pos
	}
}

// end is the token from which /events goes on.
func (o *oldSync) end() string { return viewapi.Token{Room: o.head}.String() }

// appendData writes the account data of a room, or that of none.
func appendData(dst []byte, data []userapi.AccountData, room string) []byte {
	n := 0
	for _, d := range data {
		if d.RoomID != room || len(d.Content) == 0 {
			continue
		}
		dst = pdu.AppendString(append(comma(dst, n), `{"type":`...), d.Type)
		dst = append(append(append(dst, `,"content":`...), d.Content...), '}')
		n++
	}
	return dst
}

// rooms writes the rooms of the user with one of the memberships.
func (o *oldSync) rooms(out *bufio.Writer, memberships []string) error {
	req := &roomapi.MembershipsRequest{UserID: o.r.Identity.UserID, Limit: 200}
	for n := 0; ; {
		page, err := roomapi.Memberships.Do(o.ctx, o.s.bus, req)
		if err != nil {
			return err
		}
		for _, m := range page.Rooms {
			req.After = m.RoomID
			if !slices.Contains(memberships, m.Membership) {
				continue
			}
			if _, err := out.Write(comma(nil, n)); err != nil {
				return err
			}
			n++
			if err := o.member(out, &m); err != nil {
				return err
			}
		}
		if !page.More || len(page.Rooms) == 0 {
			return nil
		}
	}
}

// member writes one room of the user.
func (o *oldSync) member(out *bufio.Writer, m *roomapi.Membership) error {
	if m.Membership != "invite" {
		begin, err := o.room(m.RoomID)
		if errors.Is(err, merr.Forbidden("")) { // they were invited and declined, or the room has changed since
			begin = pdu.AppendString(append(pdu.AppendString([]byte(`{"room_id":`), m.RoomID), `,"membership":`...), m.Membership)
			_, err = out.Write(append(begin, '}'))
			return err
		}
		if err != nil {
			return err
		}
		return o.finish(out, begin, m.RoomID)
	}
	e, err := roomapi.GetEvent.Do(o.ctx, o.s.bus, &roomapi.EventRequest{RoomID: m.RoomID, UserID: o.r.Identity.UserID, EventID: m.EventID})
	if err != nil {
		return err
	}
	buf := pdu.AppendString([]byte(`{"membership":"invite","room_id":`), m.RoomID)
	buf = e.AppendJSON(append(buf, `,"invite":`...), o.s.render(o.r, m.RoomID))
	_, err = out.Write(append(buf, '}'))
	return err
}

// room is what is said of a room before its state; the object is left open. 403 for
// those who may not see it.
func (o *oldSync) room(room string) ([]byte, error) {
	user := o.r.Identity.UserID
	page := &roomapi.MessagesResponse{End: roomapi.Point{Pos: o.head}}
	var err error
	if o.limit > 0 {
		ignored, err := o.s.ignored(o.r)
		if err != nil {
			return nil, err
		}
		page, err = roomapi.Messages.Do(o.ctx, o.s.bus, &roomapi.MessagesRequest{
			RoomID: room, UserID: user, From: roomapi.Point{Pos: o.head}, Backwards: true, Limit: o.limit, Ignored: ignored,
		})
		if err != nil {
			return nil, err
		}
	}
	member, err := roomapi.GetStateEvent.Do(o.ctx, o.s.bus, &roomapi.StateEventRequest{RoomID: room, UserID: user, Type: "m.room.member", StateKey: user})
	if err != nil && !errors.Is(err, merr.NotFound("")) {
		return nil, err
	}
	published, err := roomapi.IsPublished.Do(o.ctx, o.s.bus, &roomapi.RoomRequest{RoomID: room, UserID: user})
	if err != nil {
		return nil, err
	}
	visibility := "private"
	if published.Published {
		visibility = "public"
	}
	buf := pdu.AppendString([]byte(`{"room_id":`), room)
	if member != nil && member.Membership != "" && member.Membership != "knock" {
		buf = pdu.AppendString(append(buf, `,"membership":`...), member.Membership)
	}
	buf = pdu.AppendString(append(buf, `,"visibility":`...), visibility)
	buf = append(appendData(append(buf, `,"account_data":[`...), o.data, room), `],"messages":{`...)
	if !page.End.IsZero() { // there are earlier ones
		buf = append(pdu.AppendString(append(buf, `"start":`...), pointToken(page.End)), ',')
	}
	buf = pdu.AppendString(append(buf, `"end":`...), o.end())
	slices.Reverse(page.Events)
	buf = appendEvents(append(buf, `,"chunk":`...), page.Events, o.s.render(o.r, room))
	return append(buf, `},"state":`...), nil
}

// finish writes what room has begun, and the state.
func (o *oldSync) finish(out *bufio.Writer, begin []byte, room string) error {
	if _, err := out.Write(begin); err != nil {
		return err
	}
	if err := o.s.writeState(o.ctx, out, o.s.render(o.r, room)); err != nil {
		return err
	}
	return out.WriteByte('}')
}

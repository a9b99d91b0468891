package clientapi

import (
	"bufio"
	"encoding/json"
	"io"

	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// render says how events are written for the sender of a request.
func (s *Server) render(r *matrixhttp.Request, room string) roomapi.Render {
	return roomapi.Render{RoomID: room, UserID: r.Identity.UserID, DeviceID: r.Identity.DeviceID, Now: s.now()}
}

// state is GET /rooms/{roomId}/state.
func (s *Server) state(r *matrixhttp.Request) (any, error) {
	room, err := roomID(r)
	if err != nil {
		return nil, err
	}
	return s.stateStream(r, &roomapi.StateRequest{RoomID: room, UserID: r.Identity.UserID}, "[", "]"), nil
}

// members is GET /rooms/{roomId}/members.
func (s *Server) members(r *matrixhttp.Request) (any, error) {
	room, err := roomID(r)
	if err != nil {
		return nil, err
	}
	query := r.Query()
	choices := []string{"join", "invite", "knock", "leave", "ban"}
	req := &roomapi.StateRequest{
		RoomID: room, UserID: r.Identity.UserID, Types: []string{"m.room.member"},
		Membership:    query.Enum("membership", "", choices...),
		NotMembership: query.Enum("not_membership", "", choices...),
	}
	at := query.String("at")
	if err := query.Err(); err != nil {
		return nil, err
	}
	if req.At, err = point(at); err != nil {
		return nil, err
	}
	return s.stateStream(r, req, `{"chunk":[`, `]}`), nil
}

// stateStream writes events of the state as they come.
func (s *Server) stateStream(r *matrixhttp.Request, req *roomapi.StateRequest, opening, closing string) matrixhttp.Stream {
	return func(w io.Writer) error {
		out := bufio.NewWriterSize(w, 32<<10)
		render := s.render(r, req.RoomID)
		separator := opening
		var buf []byte
		err := roomapi.ReadEvents(r.Context(), s.bus, req, func(e *roomapi.Event) error {
			buf = e.AppendJSON(append(buf[:0], separator...), render)
			separator = ","
			_, err := out.Write(buf)
			return err
		})
		if err != nil {
			return err
		}
		if separator == opening {
			closing = opening + closing
		}
		if _, err := out.WriteString(closing); err != nil {
			return err
		}
		return out.Flush()
	}
}

// joinedMembers is GET /rooms/{roomId}/joined_members.
func (s *Server) joinedMembers(r *matrixhttp.Request) (any, error) {
	room, err := roomID(r)
	if err != nil {
		return nil, err
	}
	req := &roomapi.StateRequest{
		RoomID: room, UserID: r.Identity.UserID, Types: []string{"m.room.member"}, Membership: "join", MembersOnly: true,
	}
	return matrixhttp.Stream(func(w io.Writer) error {
		out := bufio.NewWriterSize(w, 32<<10)
		opening := `{"joined":{`
		separator := opening
		err := roomapi.ReadEvents(r.Context(), s.bus, req, func(e *roomapi.Event) error {
			if e.StateKey == nil {
				return nil
			}
			member, err := describeMember(e)
			if err != nil {
				return err
			}
			buf := append(pdu.AppendString([]byte(separator), *e.StateKey), ':')
			separator = ","
			_, err = out.Write(append(buf, member...))
			return err
		})
		if err != nil {
			return err
		}
		if separator == opening {
			if _, err := out.WriteString(opening); err != nil {
				return err
			}
		}
		if _, err := out.WriteString("}}"); err != nil {
			return err
		}
		return out.Flush()
	}), nil
}

// describeMember is what /joined_members says of a member. Content came from
// anywhere, so a field of another type is left out.
func describeMember(e *roomapi.Event) ([]byte, error) {
	var content map[string]json.RawMessage
	if err := json.Unmarshal(e.Content(), &content); err != nil {
		return nil, err
	}
	var member struct {
		DisplayName *string `json:"display_name,omitempty"`
		AvatarURL   *string `json:"avatar_url,omitempty"`
	}
	var text string
	if json.Unmarshal(content["displayname"], &text) == nil {
		member.DisplayName = &text
	}
	var url string
	if json.Unmarshal(content["avatar_url"], &url) == nil {
		member.AvatarURL = &url
	}
	return json.Marshal(member)
}

// stateEvent is GET /rooms/{roomId}/state/{eventType}/{stateKey}.
func (s *Server) stateEvent(r *matrixhttp.Request) (any, error) {
	room, err := roomID(r)
	if err != nil {
		return nil, err
	}
	query := r.Query()
	format := query.Enum("format", "content", "content", "event")
	if err := query.Err(); err != nil {
		return nil, err
	}
	e, err := roomapi.GetStateEvent.Do(r.Context(), s.bus, &roomapi.StateEventRequest{
		RoomID: room, UserID: r.Identity.UserID, Type: r.Param("eventType"), StateKey: r.Param("stateKey"),
	})
	if err != nil {
		return nil, err
	}
	if format == "event" {
		return matrixhttp.Raw(e.AppendJSON(nil, s.render(r, room))), nil
	}
	return matrixhttp.Raw(e.Content()), nil
}

// event is GET /rooms/{roomId}/event/{eventId}.
func (s *Server) event(r *matrixhttp.Request) (any, error) {
	room, err := roomID(r)
	if err != nil {
		return nil, err
	}
	id := r.Param("eventId")
	if !plainText(id) {
		return nil, merr.NotFound("Event not found")
	}
	ignored, err := s.ignored(r)
	if err != nil {
		return nil, err
	}
	e, err := roomapi.GetEvent.Do(r.Context(), s.bus, &roomapi.EventRequest{
		RoomID: room, UserID: r.Identity.UserID, EventID: id, Ignored: ignored,
	})
	if err != nil {
		return nil, err
	}
	return matrixhttp.Raw(e.AppendJSON(nil, s.render(r, room))), nil
}

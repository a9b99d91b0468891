package federationapi

import (
	"context"
	"encoding/json"
	"io"

	"hearth/clientapi/userapi"
	"hearth/federationapi/verify"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/internal/pduwire"
	"hearth/roomserver/roomapi"
)

// maxVersions is how many room versions a server may name.
const maxVersions = 100

// makeMembership is GET make_join, make_knock and make_leave ("Joining Rooms",
// "Knocking upon a room", "Leaving Rooms"): the template of a member event.
func (s *Server) makeMembership(membership string) matrixhttp.Handler {
	return func(r *matrixhttp.Request) (any, error) {
		room, err := roomOf(r)
		if err != nil {
			return nil, err
		}
		user, query := r.Param("userId"), r.Query()
		if err := query.Err(); err != nil {
			return nil, err
		}
		if _, domain, err := pdu.ParseUserID(user); err != nil || domain != r.Identity.Server {
			return nil, merr.Forbidden("The user is not of your server")
		}
		req := &roomapi.MakeMembershipRequest{Origin: r.Identity.Server, RoomID: room, UserID: user, Membership: membership}
		if membership != "leave" {
			if req.Versions = query.All("ver"); len(req.Versions) == 0 {
				req.Versions = []string{"1"}
			}
		}
		if len(req.Versions) > maxVersions {
			return nil, merr.InvalidParam("More than %d room versions", maxVersions)
		}
		if membership == "join" {
			ask := &userapi.MayJoinRequest{UserID: user, RoomID: room, Asked: true}
			if _, err := userapi.MayJoin.Do(r.Context(), s.deps.Bus, ask); err != nil {
				return nil, err
			}
		}
		made, err := roomapi.MakeMembership.Do(r.Context(), s.deps.Bus, req)
		if err != nil {
			return nil, err
		}
		return map[string]any{"room_version": made.RoomVersion, "event": made.Event}, nil
	}
}

// sendJoin is PUT /_matrix/federation/v2/send_join.
func (s *Server) sendJoin(r *matrixhttp.Request) (any, error) {
	req, err := s.submitted(r, "join")
	if err != nil {
		return nil, err
	}
	query := r.Query()
	req.OmitMembers = query.Bool("omit_members")
	if err := query.Err(); err != nil {
		return nil, err
	}
	return s.join(r.Context(), req, "", ""), nil
}

// sendJoinV1 is PUT /_matrix/federation/v1/send_join, of old servers: the same answer in
// an array after its status.
func (s *Server) sendJoinV1(r *matrixhttp.Request) (any, error) {
	req, err := s.submitted(r, "join")
	if err != nil {
		return nil, err
	}
	return s.join(r.Context(), req, "[200,", "]"), nil
}

func (s *Server) join(ctx context.Context, req *roomapi.AcceptRequest, head, tail string) matrixhttp.Stream {
	return func(w io.Writer) error {
		return copyStream(w, head, tail, func(recv func([]byte) error) error {
			return roomapi.AcceptJoin.Do(ctx, s.deps.Bus, req, recv)
		})
	}
}

// sendKnock is PUT /_matrix/federation/v1/send_knock.
func (s *Server) sendKnock(r *matrixhttp.Request) (any, error) {
	req, err := s.submitted(r, "knock")
	if err != nil {
		return nil, err
	}
	answer, err := roomapi.AcceptMembership.Do(r.Context(), s.deps.Bus, req)
	if err != nil {
		return nil, err
	}
	state := answer.StrippedState
	if state == nil {
		state = json.RawMessage("[]")
	}
	return map[string]any{"knock_room_state": state}, nil
}

// sendLeave is PUT /_matrix/federation/v2/send_leave.
func (s *Server) sendLeave(r *matrixhttp.Request) (any, error) {
	req, err := s.submitted(r, "leave")
	if err != nil {
		return nil, err
	}
	_, err = roomapi.AcceptMembership.Do(r.Context(), s.deps.Bus, req)
	return nil, err
}

// sendLeaveV1 is PUT /_matrix/federation/v1/send_leave, of old servers.
func (s *Server) sendLeaveV1(r *matrixhttp.Request) (any, error) {
	if _, err := s.sendLeave(r); err != nil {
		return nil, err
	}
	return matrixhttp.Raw("[200,{}]"), nil
}

// submitted reads the member event of a send_join, send_knock or send_leave and makes
// the checks of these endpoints: 400 M_INVALID_PARAM if one fails.
func (s *Server) submitted(r *matrixhttp.Request, membership string) (*roomapi.AcceptRequest, error) {
	room, err := roomOf(r)
	if err != nil {
		return nil, err
	}
	body, err := r.Object()
	if err != nil {
		return nil, err
	}
	known, err := roomapi.FederationRoom.Do(r.Context(), s.deps.Bus, &roomapi.FederationRoomRequest{RoomID: room, Origin: r.Identity.Server})
	if err != nil {
		return nil, err
	}
	version, ok := pdu.Version(known.Version)
	if !ok {
		return nil, merr.NotFound("Unknown room")
	}
	e, err := s.memberEvent(r, version, room, body)
	if err != nil {
		return nil, err
	}
	value, _ := pdu.GetString(e.Content, "membership")
	switch {
	case value != membership:
		return nil, merr.InvalidParam("Not a %s event", membership)
	case !e.StateKeyEquals(e.Sender):
		return nil, merr.InvalidParam("The event is not about its sender")
	}
	return &roomapi.AcceptRequest{Origin: r.Identity.Server, RoomID: room, Membership: membership, Event: pduwire.Of(e)}, nil
}

// memberEvent checks a member event of the origin's user that is sent alone: that it is
// what the path says, and its signatures.
func (s *Server) memberEvent(r *matrixhttp.Request, version *pdu.RoomVersion, room string, raw json.RawMessage) (*pdu.Event, error) {
	e, err := pdu.Parse(version, raw)
	if err != nil {
		return nil, merr.InvalidParam("The event is not valid: %s", text(err)).WithCause(err)
	}
	switch {
	case e.EventID != r.Param("eventId"):
		return nil, merr.InvalidParam("The event has another id than the path")
	case e.RoomID != room:
		return nil, merr.InvalidParam("The event is of another room than the path")
	case e.Type != "m.room.member" || e.StateKey == nil:
		return nil, merr.InvalidParam("Not a member event")
	case pdu.Domain(e.Sender) != r.Identity.Server:
		return nil, merr.InvalidParam("The sender is not of your server")
	case e.Redacted:
		return nil, merr.InvalidParam("The content hash of the event does not match")
	}
	// Only now: other servers may have to be asked for keys.
	if e, err = verify.Submitted(r.Context(), s.keys, version, raw, s.deps.ServerName); err == nil {
		return e, nil
	}
	if merr.From(err).Temporary {
		return nil, merr.Unavailable("A key that signed the event cannot be had now").WithCause(err)
	}
	return nil, merr.InvalidParam("The event is not valid: %s", text(err)).WithCause(err)
}

// roomOf is the room of the path: 400 if it is none.
func roomOf(r *matrixhttp.Request) (string, error) {
	room := r.Param("roomId")
	_, _, err := pdu.ParseRoomID(room)
	return room, err
}

// text is what another server may know of an error.
func text(err error) string { return merr.From(err).Message }

// copyStream writes a stream of the bus between head and tail. Nothing is written if the
// stream fails before its first byte.
func copyStream(w io.Writer, head, tail string, do func(recv func([]byte) error) error) error {
	begun := false
	err := do(func(chunk []byte) error {
		if !begun && head != "" {
			if _, err := io.WriteString(w, head); err != nil {
				return err
			}
		}
		begun = true
		_, err := w.Write(chunk)
		return err
	})
	if err != nil || tail == "" {
		return err
	}
	_, err = io.WriteString(w, tail)
	return err
}

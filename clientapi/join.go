package clientapi

import (
	"context"

	"hearth/internal/bus"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

type reasonRequest struct {
	Reason string `json:"reason"`
}

// joinRequest is the body of a join or a knock.
type joinRequest struct {
	Reason string `json:"reason"`
	// Signed is of an invitation by third-party identifier, which nobody has: it has
	// types all the same.
	Signed *struct {
		MXID       string                       `json:"mxid"`
		Sender     string                       `json:"sender"`
		Token      string                       `json:"token"`
		Signatures map[string]map[string]string `json:"signatures"`
	} `json:"third_party_signed"`
}

// join is POST /join/{roomIdOrAlias}.
func (s *Server) join(r *matrixhttp.Request) (any, error) {
	return s.enter(r, r.Param("roomIdOrAlias"), roomapi.Join)
}

// joinRoom is POST /rooms/{roomId}/join.
func (s *Server) joinRoom(r *matrixhttp.Request) (any, error) {
	id, err := roomID(r)
	if err != nil {
		return nil, err
	}
	return s.enter(r, id, roomapi.Join)
}

// knock is POST /knock/{roomIdOrAlias}.
func (s *Server) knock(r *matrixhttp.Request) (any, error) {
	return s.enter(r, r.Param("roomIdOrAlias"), roomapi.Knock)
}

// maxVia bounds the servers that a client may name.
const maxVia = 20

func (s *Server) enter(r *matrixhttp.Request, target string, call bus.Call[roomapi.JoinRequest, roomapi.MembershipResponse]) (any, error) {
	_, _, notRoom := pdu.ParseRoomID(target)
	_, _, notAlias := pdu.ParseAlias(target)
	if notRoom != nil && notAlias != nil {
		return nil, merr.InvalidParam("Invalid room id or alias")
	}
	query := r.Query()
	via := query.All("via")
	if len(via) == 0 {
		via = query.All("server_name") // its name before v1.12
	}
	if err := query.Err(); err != nil {
		return nil, err
	}
	if len(via) > maxVia {
		via = via[:maxVia]
	}
	req, err := matrixhttp.Decode[joinRequest](r)
	if err != nil {
		return nil, err
	}
	if err := s.limits.send.take(r.Identity.UserID); err != nil {
		return nil, err
	}
	if err := s.mayEnter(r.Context(), r.Identity.UserID, target); err != nil {
		return nil, err
	}
	profile, err := s.memberProfile(r.Context(), r.Identity.UserID)
	if err != nil {
		return nil, err
	}
	enter := &roomapi.JoinRequest{
		RoomIDOrAlias: target, UserID: r.Identity.UserID, Via: via, Profile: profile, Reason: req.Reason, IsGuest: r.Identity.Guest,
	}
	answer, err := call.Do(r.Context(), s.bus, enter)
	if err != nil {
		if err := s.unknownAlias(r.Context(), target, err); err != nil {
			return nil, err
		}
		if answer, err = call.Do(r.Context(), s.bus, enter); err != nil {
			return nil, err
		}
	}
	if call.Subject == roomapi.Join.Subject {
		s.succeed(r.Context(), r.Identity.UserID, answer.RoomID)
	}
	return map[string]string{"room_id": answer.RoomID}, nil
}

// joinedRooms is GET /joined_rooms.
func (s *Server) joinedRooms(r *matrixhttp.Request) (any, error) {
	rooms := []string{}
	err := s.eachMembership(r.Context(), r.Identity.UserID, []string{"join"}, func(m roomapi.Membership) error {
		rooms = append(rooms, m.RoomID)
		return nil
	})
	return map[string]any{"joined_rooms": rooms}, err
}

// eachMembership calls f for the rooms of a user, page by page.
func (s *Server) eachMembership(ctx context.Context, user string, memberships []string, f func(roomapi.Membership) error) error {
	for after := ""; ; {
		page, err := roomapi.Memberships.Do(ctx, s.bus, &roomapi.MembershipsRequest{
			UserID: user, Memberships: memberships, After: after,
		})
		if err != nil {
			return err
		}
		for _, m := range page.Rooms {
			if err := f(m); err != nil {
				return err
			}
			after = m.RoomID
		}
		if !page.More || len(page.Rooms) == 0 {
			return nil
		}
	}
}

package clientapi

import (
	"hearth/internal/bus"
	"hearth/internal/matrixhttp"
	"hearth/roomserver/roomapi"
)

type targetRequest struct {
	UserID string `json:"user_id"`
	Reason string `json:"reason"`
}

// kick is POST /rooms/{roomId}/kick.
func (s *Server) kick(r *matrixhttp.Request) (any, error) { return s.moderate(r, roomapi.Kick) }

// ban is POST /rooms/{roomId}/ban.
func (s *Server) ban(r *matrixhttp.Request) (any, error) { return s.moderate(r, roomapi.Ban) }

// unban is POST /rooms/{roomId}/unban.
func (s *Server) unban(r *matrixhttp.Request) (any, error) { return s.moderate(r, roomapi.Unban) }

func (s *Server) moderate(r *matrixhttp.Request, call bus.Call[roomapi.MembershipRequest, roomapi.MembershipResponse]) (any, error) {
	id, err := roomID(r)
	if err != nil {
		return nil, err
	}
	req, err := matrixhttp.Decode[targetRequest](r)
	if err != nil {
		return nil, err
	}
	if err := userID(req.UserID); err != nil {
		return nil, err
	}
	if s.shadowed(r) {
		return nil, nil
	}
	_, err = call.Do(r.Context(), s.bus, &roomapi.MembershipRequest{
		RoomID: id, Sender: r.Identity.UserID, Target: req.UserID, Reason: req.Reason,
	})
	return nil, err
}

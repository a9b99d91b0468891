package clientapi

import (
	"hearth/internal/matrixhttp"
	"hearth/roomserver/roomapi"
)

// leave is POST /rooms/{roomId}/leave.
func (s *Server) leave(r *matrixhttp.Request) (any, error) {
	id, err := roomID(r)
	if err != nil {
		return nil, err
	}
	req, err := matrixhttp.Decode[reasonRequest](r)
	if err != nil {
		return nil, err
	}
	if err := s.keepNotices(r.Context(), r.Identity.UserID, id); err != nil {
		return nil, err
	}
	_, err = roomapi.Leave.Do(r.Context(), s.bus, &roomapi.MembershipRequest{
		RoomID: id, Sender: r.Identity.UserID, Target: r.Identity.UserID, Reason: req.Reason,
	})
	return nil, err
}

// forget is POST /rooms/{roomId}/forget.
func (s *Server) forget(r *matrixhttp.Request) (any, error) {
	id, err := roomID(r)
	if err != nil {
		return nil, err
	}
	_, err = roomapi.Forget.Do(r.Context(), s.bus, &roomapi.ForgetRequest{RoomID: id, UserID: r.Identity.UserID})
	return nil, err
}

package admin

import (
	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
)

// pushers is GET /v1/users/{userId}/pushers.
func (s *Server) pushers(r *matrixhttp.Request) (any, error) {
	u, err := s.account(r)
	if err != nil {
		return nil, err
	}
	list := s.Pushers(u.UserID)
	return map[string]any{"pushers": list, "total": len(list)}, nil
}

func (s *Server) counts(r *matrixhttp.Request) (*roomapi.UserCounts, error) {
	u, err := s.account(r)
	if err != nil {
		return nil, err
	}
	q := r.Query()
	if !q.Has("from_ts") {
		return nil, merr.MissingParam("from_ts")
	}
	from := q.Int("from_ts", 0, 0, 1<<53)
	if err := q.Err(); err != nil {
		return nil, err
	}
	return roomapi.CountUser.Do(r.Context(), s.Bus, &roomapi.CountUserRequest{UserID: u.UserID, FromTS: from})
}

// sentInvites is GET /v1/users/{userId}/sent_invite_count.
func (s *Server) sentInvites(r *matrixhttp.Request) (any, error) {
	n, err := s.counts(r)
	if err != nil {
		return nil, err
	}
	return map[string]int64{"invite_count": n.Invites}, nil
}

// joinedCount is GET /v1/users/{userId}/cumulative_joined_room_count.
func (s *Server) joinedCount(r *matrixhttp.Request) (any, error) {
	n, err := s.counts(r)
	if err != nil {
		return nil, err
	}
	return map[string]int64{"cumulative_joined_room_count": n.Joins}, nil
}

// externalOwner is GET /v1/auth_providers/{provider}/users/{externalId}.
func (s *Server) externalOwner(r *matrixhttp.Request) (any, error) {
	owner, err := userapi.ExternalUser.Do(r.Context(), s.Bus, &userapi.ExternalID{Provider: r.Param("provider"), Subject: r.Param("externalId")})
	if err != nil {
		return nil, err
	}
	return map[string]string{"user_id": owner.UserID}, nil
}

// largestRooms is GET /v1/statistics/database/rooms.
func (s *Server) largestRooms(r *matrixhttp.Request) (any, error) {
	found, err := roomapi.LargestRooms.Do(r.Context(), s.Bus, &roomapi.LargestRoomsRequest{Limit: 10})
	if err != nil {
		return nil, err
	}
	return map[string]any{"rooms": found.Rooms}, nil
}

// backgroundUpdates is GET /v1/background_updates/status. Migrations run before the server starts,
// so that there are none; jobs are what goes on.
func (s *Server) backgroundUpdates(*matrixhttp.Request) (any, error) {
	return map[string]any{"enabled": true, "current_updates": map[string]any{}}, nil
}

// startUpdate is POST /v1/background_updates/start_job.
func (s *Server) startUpdate(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[struct {
		Name string `json:"job_name"`
	}](r)
	if err != nil {
		return nil, err
	}
	if req.Name == "" {
		return nil, merr.MissingParam("job_name")
	}
	return nil, merr.InvalidParam("Invalid job_name")
}

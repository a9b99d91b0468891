package push

import (
	"net/http"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/matrixhttp"
	"hearth/roomserver/roomapi"
)

// Routes is the table of endpoints; user finds out who sends a request.
func (s *Server) Routes(user matrixhttp.Auth) []matrixhttp.Route {
	const v3 = "/_matrix/client/(r0|v3)"
	return []matrixhttp.Route{
		{Method: http.MethodGet, Path: v3 + "/pushers", Auth: user, Handle: s.list},
		{Method: http.MethodPost, Path: v3 + "/pushers/set", Auth: user, Body: matrixhttp.Body{Max: 64 << 10}, Handle: s.set},
		{Method: http.MethodGet, Path: v3 + "/notifications", Auth: user, Handle: s.notifications},
	}
}

// list is GET /pushers.
func (s *Server) list(r *matrixhttp.Request) (any, error) {
	out := []view{}
	var devices map[string]bool
	for _, p := range s.users.pushers(r.Identity.UserID) {
		if devices == nil {
			answer, err := userapi.Devices.Do(r.Context(), s.bus, &userapi.UserRequest{UserID: r.Identity.UserID})
			if err != nil {
				return nil, err
			}
			devices = map[string]bool{}
			for _, d := range answer.Devices {
				devices[d.DeviceID] = true
			}
		}
		if devices[p.device] {
			out = append(out, p.view())
		} else if err := s.forget(r.Context(), p); err != nil {
			return nil, err
		}
	}
	return map[string]any{"pushers": out}, nil
}

// set is POST /pushers/set.
func (s *Server) set(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[setRequest](r)
	if err != nil {
		return nil, err
	}
	p, remove, err := s.check(r.Identity.UserID, r.Identity.DeviceID, req)
	if err != nil {
		return nil, err
	}
	if remove {
		gone, err := s.db.remove(r.Context(), p.userID, p.appID, p.pushKey)
		if err != nil {
			return nil, err
		}
		s.users.drop(gone...)
		return nil, nil
	}
	if p.since, err = bus.Head(r.Context(), s.bus, roomapi.Log); err != nil {
		return nil, err
	}
	now, gone, err := s.db.set(r.Context(), *p, req.Append)
	if err != nil {
		return nil, err
	}
	s.users.drop(gone...)
	s.users.put(now)
	return nil, nil
}

// Of lists the pushers of a user as GET /pushers shows them.
func (s *Server) Of(userID string) []any {
	out := []any{}
	for _, p := range s.users.pushers(userID) {
		out = append(out, p.view())
	}
	return out
}

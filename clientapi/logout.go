package clientapi

import (
	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
)

// logout is POST /logout.
func (s *Server) logout(r *matrixhttp.Request) (any, error) {
	return nil, s.endDevices(r, &userapi.LogoutRequest{UserID: r.Identity.UserID, Devices: []string{r.Identity.DeviceID}})
}

// logoutAll is POST /logout/all.
func (s *Server) logoutAll(r *matrixhttp.Request) (any, error) {
	return nil, s.endDevices(r, &userapi.LogoutRequest{UserID: r.Identity.UserID, All: true})
}

// endDevices deletes devices. This process forgets their tokens before the answer;
// the others hear of it at about the same time.
func (s *Server) endDevices(r *matrixhttp.Request, req *userapi.LogoutRequest) error {
	revoked, err := userapi.Logout.Do(r.Context(), s.bus, req)
	if err != nil {
		return err
	}
	s.tokens.revoke(revoked)
	s.ghosts.forget(req.UserID)
	return nil
}

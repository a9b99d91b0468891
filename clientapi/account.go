package clientapi

import (
	"errors"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
)

// whoami is GET /account/whoami.
func (s *Server) whoami(r *matrixhttp.Request) (any, error) {
	answer := map[string]any{"user_id": r.Identity.UserID, "is_guest": r.Identity.Guest}
	if r.Identity.DeviceID != "" {
		answer["device_id"] = r.Identity.DeviceID
	}
	return answer, nil
}

type setPasswordRequest struct {
	Auth          *authData `json:"auth"`
	NewPassword   string    `json:"new_password"`
	LogoutDevices *bool     `json:"logout_devices"`
}

// setPassword is POST /account/password.
func (s *Server) setPassword(r *matrixhttp.Request) (any, error) {
	if r.Identity.UserID == "" {
		return s.resetPassword(r)
	}
	req, err := matrixhttp.Decode[setPasswordRequest](r)
	if err != nil {
		return nil, err
	}
	if ask, err := s.confirm(r, req.Auth); err != nil || ask != nil {
		return ask, err
	}
	if req.NewPassword == "" {
		return nil, merr.MissingParam("new_password")
	}
	revoked, err := userapi.SetPassword.Do(r.Context(), s.bus, &userapi.SetPasswordRequest{
		UserID: r.Identity.UserID, Password: req.NewPassword,
		LogoutDevices: req.LogoutDevices == nil || *req.LogoutDevices, KeepDevice: r.Identity.DeviceID,
	})
	if err != nil {
		return nil, err
	}
	s.tokens.revoke(revoked)
	return nil, nil
}

type deactivateRequest struct {
	Auth  *authData `json:"auth"`
	Erase bool      `json:"erase"`
	// IDServer is not asked; it has a type all the same.
	IDServer string `json:"id_server"`
}

// deactivate is POST /account/deactivate. The user leaves all rooms first, while
// the account can still do so and a failure can still be repaired by trying again.
func (s *Server) deactivate(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[deactivateRequest](r)
	if err != nil {
		return nil, err
	}
	userID := r.Identity.UserID
	var ask any
	if userID == "" {
		userID, ask, err = s.confirmByPassword(r, req.Auth)
	} else {
		ask, err = s.confirm(r, req.Auth)
	}
	if err != nil || ask != nil {
		return ask, err
	}
	err = s.eachMembership(r.Context(), userID, []string{"join", "invite", "knock"}, func(m roomapi.Membership) error {
		_, err := roomapi.Leave.Do(r.Context(), s.bus, &roomapi.MembershipRequest{RoomID: m.RoomID, Sender: userID, Target: userID})
		var e *merr.Error
		if errors.As(err, &e) && e.Status < 500 && !e.Temporary {
			return nil // a room that one cannot leave does not keep the account alive
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	unbound := s.unbindAll(r.Context(), userID)
	revoked, err := userapi.Deactivate.Do(r.Context(), s.bus, &userapi.DeactivateRequest{UserID: userID, Erase: req.Erase})
	if err != nil {
		return nil, err
	}
	s.tokens.revoke(revoked)
	return unbindAnswer(unbound), nil
}

package clientapi

import (
	"net/http"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

type registerRequest struct {
	Auth         *authData `json:"auth"`
	Username     string    `json:"username"`
	Password     *string   `json:"password"`
	DeviceID     string    `json:"device_id"`
	DisplayName  string    `json:"initial_device_display_name"`
	InhibitLogin bool      `json:"inhibit_login"`
}

// register is POST /register.
func (s *Server) register(r *matrixhttp.Request) (any, error) {
	query := r.Query()
	kind := query.Enum("kind", "user", "user", "guest")
	if err := query.Err(); err != nil {
		return nil, err
	}
	if kind == "guest" {
		return nil, merr.New(http.StatusForbidden, "M_GUEST_ACCESS_FORBIDDEN", "Guest accounts are not offered")
	}
	if !s.open() {
		return nil, merr.Forbidden("Registration is disabled")
	}
	req, err := matrixhttp.Decode[registerRequest](r)
	if err != nil {
		return nil, err
	}
	if err := s.limits.register.take(address(r)); err != nil {
		return nil, err
	}
	// The name and the password are judged before authentication, as the spec asks.
	if req.Username != "" {
		if err := s.checkUsername(r, req.Username); err != nil {
			return nil, err
		}
	}
	if req.Password != nil && len(*req.Password) < s.options.MinPasswordLength {
		return nil, merr.New(http.StatusBadRequest, "M_WEAK_PASSWORD",
			"The password must have at least %d characters", s.options.MinPasswordLength)
	}
	if req.Auth == nil || req.Auth.Type == "" {
		return challenge(stageDummy, nil), nil
	}
	if req.Auth.Type != stageDummy {
		return challenge(stageDummy, merr.New(http.StatusUnauthorized, "M_UNRECOGNIZED", "Unknown authentication type")), nil
	}
	if req.Password == nil || *req.Password == "" {
		return nil, merr.MissingParam("password")
	}
	session, err := userapi.Register.Do(r.Context(), s.bus, &userapi.RegisterRequest{
		Username: req.Username, Password: *req.Password, InhibitLogin: req.InhibitLogin,
		DeviceID: req.DeviceID, DeviceDisplayName: req.DisplayName,
	})
	if err != nil {
		return nil, err
	}
	r.Identity.UserID = session.UserID
	return s.session(session), nil
}

func (s *Server) open() bool { return s.options.RegistrationMode == "open" }

func (s *Server) checkUsername(r *matrixhttp.Request, name string) error {
	_, err := userapi.CheckUsername.Do(r.Context(), s.bus, &userapi.UsernameRequest{Username: name})
	return err
}

// usernameAvailable is GET /register/available.
func (s *Server) usernameAvailable(r *matrixhttp.Request) (any, error) {
	query := r.Query()
	name := query.String("username")
	if err := query.Err(); err != nil {
		return nil, err
	}
	if !s.open() { // who may not register need not learn who has
		return nil, merr.Forbidden("Registration is disabled")
	}
	if name == "" {
		return nil, merr.MissingParam("username")
	}
	if err := s.limits.loginAddress.take(address(r)); err != nil {
		return nil, err
	}
	if err := s.checkUsername(r, name); err != nil {
		return nil, err
	}
	return map[string]bool{"available": true}, nil
}

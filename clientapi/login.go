package clientapi

import (
	"net/http"
	"strings"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

// loginFlows is GET /login.
func (s *Server) loginFlows(*matrixhttp.Request) (any, error) {
	return matrixhttp.Raw(`{"flows":[{"type":"m.login.password"}]}`), nil
}

type loginRequest struct {
	Type        string      `json:"type"`
	Identifier  *identifier `json:"identifier"`
	User        string      `json:"user"` // as Identifier, from before it
	Password    *string     `json:"password"`
	DeviceID    string      `json:"device_id"`
	DisplayName string      `json:"initial_device_display_name"`
}

// login is POST /login.
func (s *Server) login(r *matrixhttp.Request) (any, error) {
	if err := s.limits.loginAddress.take(address(r)); err != nil {
		return nil, err
	}
	req, err := matrixhttp.Decode[loginRequest](r)
	if err != nil {
		return nil, err
	}
	if req.Type == "" {
		return nil, merr.MissingParam("type")
	}
	if req.Type != stagePassword {
		return nil, merr.New(http.StatusBadRequest, "M_UNKNOWN", "Unknown login type")
	}
	user := req.User
	if req.Identifier != nil {
		switch req.Identifier.Type {
		case "m.id.user":
			user = req.Identifier.User
		case "m.id.thirdparty", "m.id.phone": // accounts have none
			return nil, merr.Forbidden("Invalid username or password")
		default:
			return nil, merr.New(http.StatusBadRequest, "M_UNKNOWN", "Unknown identifier type")
		}
	}
	if user == "" {
		return nil, merr.MissingParam("identifier")
	}
	if req.Password == nil {
		return nil, merr.MissingParam("password")
	}
	if err := s.limits.loginUser.take(strings.ToLower(user)); err != nil {
		return nil, err
	}
	session, err := userapi.Login.Do(r.Context(), s.bus, &userapi.LoginRequest{
		User: user, Password: *req.Password, DeviceID: req.DeviceID, DeviceDisplayName: req.DisplayName,
	})
	if err != nil {
		return nil, err
	}
	r.Identity.UserID = session.UserID
	return s.session(session), nil
}

// session is the answer to a log-in or registration.
func (s *Server) session(session *userapi.Session) map[string]any {
	answer := map[string]any{"user_id": session.UserID, "home_server": s.serverName}
	if session.Token != "" {
		answer["access_token"], answer["device_id"] = session.Token, session.DeviceID
	}
	if discovery := s.discovery(); discovery != nil {
		answer["well_known"] = discovery
	}
	return answer
}

package clientapi

import (
	"net/http"
	"strings"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

const loginToken = "m.login.token"

// loginFlows is GET /login.
func (s *Server) loginFlows(*matrixhttp.Request) (any, error) {
	flows := []any{
		map[string]any{"type": stagePassword},
		map[string]any{"type": loginToken, "get_login_token": true},
		map[string]any{"type": typeService},
	}
	if s.sso != nil {
		flows = append(flows, s.ssoFlow())
	}
	return map[string]any{"flows": flows}, nil
}

type loginRequest struct {
	Type         string      `json:"type"`
	Identifier   *identifier `json:"identifier"`
	User         string      `json:"user"` // as Identifier, from before it
	Medium       string      `json:"medium"`
	Address      string      `json:"address"`
	Password     *string     `json:"password"`
	Token        string      `json:"token"`
	DeviceID     string      `json:"device_id"`
	DisplayName  string      `json:"initial_device_display_name"`
	RefreshToken bool        `json:"refresh_token"`
}

// login is POST /login.
func (s *Server) login(r *matrixhttp.Request) (any, error) {
	if answer, mine, err := s.loginForService(r); mine {
		return answer, err
	}
	if err := s.limits.loginAddress.take(address(r)); err != nil {
		return nil, err
	}
	req, err := matrixhttp.Decode[loginRequest](r)
	if err != nil {
		return nil, err
	}
	var session *userapi.Session
	switch req.Type {
	case "":
		return nil, merr.MissingParam("type")
	case stagePassword:
		session, err = s.loginPassword(r, req)
	case loginToken:
		session, err = s.loginWithToken(r, req)
	default:
		return nil, merr.New(http.StatusBadRequest, "M_UNKNOWN", "Unknown login type")
	}
	if err != nil {
		return nil, err
	}
	r.Identity.UserID = session.UserID
	if err := s.policy.MayLogin(r.Context(), session.UserID, session.DeviceID, req.DisplayName, clientIP(r), r.HTTP.UserAgent()); err != nil {
		return nil, s.undoLogin(r, session, err)
	}
	return s.session(session), nil
}

// undoLogin takes a log-in back that the policy does not allow.
func (s *Server) undoLogin(r *matrixhttp.Request, session *userapi.Session, why error) error {
	gone, err := userapi.Logout.Do(r.Context(), s.bus, &userapi.LogoutRequest{UserID: session.UserID, Devices: []string{session.DeviceID}})
	if err != nil {
		return err
	}
	s.tokens.revoke(gone)
	return why
}

func (s *Server) loginPassword(r *matrixhttp.Request, req *loginRequest) (*userapi.Session, error) {
	login := &userapi.LoginRequest{
		User: req.User, DeviceID: req.DeviceID, DeviceDisplayName: req.DisplayName, RefreshToken: req.RefreshToken,
	}
	if req.Medium != "" && req.Identifier == nil {
		login.ThreePID = &userapi.ThreePIDName{Medium: req.Medium, Address: req.Address}
	}
	if id := req.Identifier; id != nil {
		switch id.Type {
		case "m.id.user":
			login.User = id.User
		case "m.id.thirdparty":
			login.User, login.ThreePID = "", &userapi.ThreePIDName{Medium: id.Medium, Address: id.Address}
		case "m.id.phone": // accounts have none
			return nil, merr.Forbidden("Invalid username or password")
		default:
			return nil, merr.New(http.StatusBadRequest, "M_UNKNOWN", "Unknown identifier type")
		}
	}
	counted := login.User
	if login.ThreePID != nil {
		counted = login.ThreePID.Medium + " " + login.ThreePID.Address
	}
	if login.User == "" && login.ThreePID == nil {
		return nil, merr.MissingParam("identifier")
	}
	if req.Password == nil {
		return nil, merr.MissingParam("password")
	}
	login.Password = *req.Password
	if err := s.limits.loginUser.take(strings.ToLower(counted)); err != nil {
		return nil, err
	}
	return userapi.Login.Do(r.Context(), s.bus, login)
}

func (s *Server) loginWithToken(r *matrixhttp.Request, req *loginRequest) (*userapi.Session, error) {
	if req.Token == "" {
		return nil, merr.MissingParam("token")
	}
	return userapi.LoginToken.Do(r.Context(), s.bus, &userapi.LoginTokenRequest{
		Token: req.Token, DeviceID: req.DeviceID, DeviceDisplayName: req.DisplayName, RefreshToken: req.RefreshToken,
	})
}

// session is the answer to a log-in or registration.
func (s *Server) session(session *userapi.Session) map[string]any {
	answer := map[string]any{"user_id": session.UserID, "home_server": s.serverName}
	if session.Token != "" {
		answer["access_token"], answer["device_id"] = session.Token, session.DeviceID
	}
	if session.RefreshToken != "" {
		answer["refresh_token"], answer["expires_in_ms"] = session.RefreshToken, session.ExpiresInMS
	}
	if discovery := s.discovery(); discovery != nil {
		answer["well_known"] = discovery
	}
	return answer
}

type refreshRequest struct {
	RefreshToken string `json:"refresh_token"`
}

// refresh is POST /refresh.
func (s *Server) refresh(r *matrixhttp.Request) (any, error) {
	if err := s.limits.loginAddress.take(address(r)); err != nil {
		return nil, err
	}
	req, err := matrixhttp.Decode[refreshRequest](r)
	if err != nil {
		return nil, err
	}
	if req.RefreshToken == "" {
		return nil, merr.MissingParam("refresh_token")
	}
	session, err := userapi.Refresh.Do(r.Context(), s.bus, &userapi.RefreshRequest{Token: req.RefreshToken})
	if err != nil {
		return nil, err
	}
	r.Identity.UserID = session.UserID
	return map[string]any{
		"access_token": session.Token, "refresh_token": session.RefreshToken, "expires_in_ms": session.ExpiresInMS,
	}, nil
}

type authRequest struct {
	Auth *authData `json:"auth"`
}

// getLoginToken is POST /login/get_token.
func (s *Server) getLoginToken(r *matrixhttp.Request) (any, error) {
	_, auth, err := decodeConfirmed[authRequest](s, r)
	if err != nil {
		return nil, err
	}
	if err := s.limits.loginTokens.take(r.Identity.UserID); err != nil {
		return nil, err
	}
	if ask, err := s.confirm(r, auth); err != nil || ask != nil {
		return ask, err
	}
	token, err := userapi.IssueLoginToken.Do(r.Context(), s.bus, &userapi.IssueTokenRequest{UserID: r.Identity.UserID})
	if err != nil {
		return nil, err
	}
	return map[string]any{"login_token": token.Token, "expires_in_ms": token.ExpiresInMS}, nil
}

package clientapi

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

// Stages of user-interactive authentication.
const (
	stagePassword = "m.login.password"
	stageDummy    = "m.login.dummy"
)

// identifier is a user identifier (client-server API, "Identifier types").
type identifier struct {
	Type string `json:"type"`
	User string `json:"user"`
}

// authData is the auth member of a request.
type authData struct {
	Type       string      `json:"type"`
	Session    string      `json:"session"`
	Password   string      `json:"password"`
	Identifier *identifier `json:"identifier"`
	User       string      `json:"user"` // as Identifier, from before it
}

// challenge asks for user-interactive authentication in one stage. Every flow of
// ours has one stage, which a request completes by itself; so sessions carry no
// state, cannot run out, and hold in every process. failed, if not nil, says why
// the stage was not passed.
func challenge(stage string, failed *merr.Error) matrixhttp.Response {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	body := map[string]any{
		"flows":     []any{map[string]any{"stages": []string{stage}}},
		"params":    struct{}{},
		"session":   base64.RawURLEncoding.EncodeToString(b[:]),
		"completed": []string{},
	}
	if failed != nil {
		body["errcode"], body["error"] = failed.Code, failed.Message
	}
	return matrixhttp.Response{Status: http.StatusUnauthorized, Body: body}
}

// confirm asks the user of a request for the password again. It returns the answer
// to give instead if the request does not have it.
func (s *Server) confirm(r *matrixhttp.Request, auth *authData) (ask any, err error) {
	if auth == nil || auth.Type == "" {
		return challenge(stagePassword, nil), nil
	}
	if auth.Type != stagePassword {
		return challenge(stagePassword, merr.New(http.StatusUnauthorized, "M_UNRECOGNIZED", "Unknown authentication type")), nil
	}
	user := auth.User
	if auth.Identifier != nil {
		user = auth.Identifier.User
	}
	if user != r.Identity.UserID && "@"+user+":"+s.serverName != r.Identity.UserID {
		return challenge(stagePassword, merr.Forbidden("The password must be that of the user who asks")), nil
	}
	if err := s.limits.loginUser.take(r.Identity.UserID); err != nil {
		return nil, err
	}
	_, err = userapi.CheckPassword.Do(r.Context(), s.bus, &userapi.PasswordRequest{UserID: r.Identity.UserID, Password: auth.Password})
	if errors.Is(err, merr.Forbidden("")) {
		return challenge(stagePassword, merr.From(err)), nil
	}
	return nil, err
}

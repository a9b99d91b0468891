package clientapi

import (
	"crypto/sha256"
	"errors"
	"net/http"
	"slices"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

// Stages of user-interactive authentication.
const (
	stagePassword  = "m.login.password"
	stageDummy     = "m.login.dummy"
	stageToken     = "m.login.registration_token"
	stageTerms     = "m.login.terms"
	stageEmail     = "m.login.email.identity"
	stageRecaptcha = "m.login.recaptcha"
)

// identifier is a user identifier (client-server API, "Identifier types").
type identifier struct {
	Type    string `json:"type"`
	User    string `json:"user"`
	Medium  string `json:"medium"`
	Address string `json:"address"`
}

// authData is the auth member of a request.
type authData struct {
	Type       string      `json:"type"`
	Session    string      `json:"session"`
	Password   string      `json:"password"`
	Identifier *identifier `json:"identifier"`
	User       string      `json:"user"` // as Identifier, from before it
	// Token is that of a registration, Response that of a captcha.
	Token     string           `json:"token"`
	Response  string           `json:"response"`
	Validated *validationProof `json:"threepid_creds"`
}

// validationProof names a validation of an address.
type validationProof struct {
	Sid          string `json:"sid"`
	ClientSecret string `json:"client_secret"`
	// This server asks no identity server; these have types all the same.
	IDServer string `json:"id_server"`
	IDToken  string `json:"id_access_token"`
}

// interact takes the authentication of a request one step on. ask is the answer to
// give if a flow is not complete yet; a stage that a request proves by itself needs no
// session from before.
func (s *Server) interact(r *matrixhttp.Request, session *uiaSession, auth *authData) (ask any, err error) {
	session.mu.Lock()
	defer session.mu.Unlock()
	if session.spent {
		return nil, merr.Forbidden("This authentication was used already")
	}
	if auth == nil || auth.Type == "" {
		if session.complete() {
			return nil, nil
		}
		return s.challenge(session, nil), nil
	}
	if !session.has(auth.Type) {
		return s.challenge(session, merr.New(http.StatusUnauthorized, "M_UNRECOGNIZED", "Unknown authentication type")), nil
	}
	if !slices.Contains(session.completed, auth.Type) {
		err := s.stage(r, session, auth)
		var failed *merr.Error
		switch {
		case err == nil:
			session.completed = append(session.completed, auth.Type)
		case errors.As(err, &failed) && !failed.Temporary && failed.Status < 500:
			return s.challenge(session, failed), nil
		default:
			return nil, err
		}
	}
	if session.complete() {
		return nil, nil
	}
	return s.challenge(session, nil), nil
}

// challenge remembers the session and asks for what is missing. failed, if not nil,
// says why a stage was not passed. The caller holds the session's lock.
func (s *Server) challenge(session *uiaSession, failed *merr.Error) matrixhttp.Response {
	s.interactions.keep(session)
	body := map[string]any{
		"flows":     session.describe(),
		"params":    s.stageParams(session),
		"session":   session.id,
		"completed": append([]string{}, session.completed...),
	}
	if failed != nil {
		body["errcode"], body["error"] = failed.Code, failed.Message
	}
	return matrixhttp.Response{Status: http.StatusUnauthorized, Body: body}
}

// confirm asks the user of a request to prove again who it is. It returns the answer
// to give instead if the request does not do so. The proof is good for this request
// alone: the same user, path and body.
func (s *Server) confirm(r *matrixhttp.Request, auth *authData) (ask any, err error) {
	if r.Identity.Service != "" { // it rules its users, who have no passwords
		return nil, nil
	}
	_, rest, err := s.body(r)
	if err != nil {
		return nil, err
	}
	operation := confirmOperation(r)
	var session *uiaSession
	if auth != nil {
		session = s.interactions.find(auth.Session, operation)
		if session != nil && session.bodySum != sha256.Sum256(rest) {
			session = nil
		}
	}
	if session == nil {
		flows, err := s.confirmFlows(r)
		if err != nil {
			return nil, err
		}
		session = s.interactions.begin(operation, flows)
		session.bind(rest)
		session.user, session.what = r.Identity.UserID, describeOperation(r)
	}
	if ask, err := s.interact(r, session, auth); ask != nil || err != nil {
		return ask, err
	}
	if !s.interactions.spend(session) {
		return nil, merr.Forbidden("This authentication was used already")
	}
	return nil, nil
}

// confirmByPassword is confirm for a request without an access token: the user is who
// gives name and password.
func (s *Server) confirmByPassword(r *matrixhttp.Request, auth *authData) (user string, ask any, err error) {
	if err := s.limits.loginAddress.take(address(r)); err != nil {
		return "", nil, err
	}
	operation := confirmOperation(r)
	var session *uiaSession
	if auth != nil {
		session = s.interactions.find(auth.Session, operation)
	}
	if session == nil {
		session = s.interactions.begin(operation, [][]string{{stagePassword}})
	} else if err := s.limits.session.take(session.id); err != nil {
		return "", nil, err
	}
	if ask, err := s.interact(r, session, auth); ask != nil || err != nil {
		return "", ask, err
	}
	if !s.interactions.spend(session) {
		return "", nil, merr.Forbidden("This authentication was used already")
	}
	r.Identity.UserID = session.proved
	return session.proved, nil, nil
}

// confirmOperation is what a proof is bound to, except the body.
func confirmOperation(r *matrixhttp.Request) [sha256.Size]byte {
	return operationOf(r.HTTP.Method, r.HTTP.URL.Path, r.Identity.UserID, r.Identity.DeviceID)
}

// confirmFlows lists how a user may prove who it is.
func (s *Server) confirmFlows(r *matrixhttp.Request) ([][]string, error) {
	password := [][]string{{stagePassword}}
	if s.sso == nil {
		return password, nil
	}
	providers, err := s.ssoProvidersOf(r, r.Identity.UserID)
	if err != nil || len(providers) == 0 {
		return password, err
	}
	user, err := userapi.GetUser.Do(r.Context(), s.bus, &userapi.UserRequest{UserID: r.Identity.UserID})
	if err != nil {
		return nil, err
	}
	if user.HasPassword {
		return append(password, []string{stageSSO}), nil
	}
	return [][]string{{stageSSO}}, nil
}

// decodeConfirmed reads a body with an auth member. A body that has nothing else and
// goes on with a session stands for the one that began it, as the spec's fallback
// sends it.
func decodeConfirmed[T any](s *Server, r *matrixhttp.Request) (*T, *authData, error) {
	auth, rest, err := s.body(r)
	if err != nil {
		return nil, nil, err
	}
	v := new(T)
	if err := matrixhttp.Unmarshal(rest, v); err != nil {
		return nil, nil, err
	}
	return v, auth, nil
}

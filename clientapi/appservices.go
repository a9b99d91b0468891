package clientapi

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"hearth/clientapi/appservice"
	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

// typeService is how application services register and log in.
const typeService = "m.login.application_service"

// credentials is what /register and /login of application services have.
type credentials struct {
	Type         string      `json:"type"`
	Username     string      `json:"username"`
	User         string      `json:"user"`
	Identifier   *identifier `json:"identifier"`
	DeviceID     string      `json:"device_id"`
	DisplayName  string      `json:"initial_device_display_name"`
	InhibitLogin bool        `json:"inhibit_login"`
	RefreshToken bool        `json:"refresh_token"`
}

// asService reads the body of a request if it is one of an application service, and
// finds out which one (Application Service API, "Server admin style permissions").
// mine is false for every other request.
func (s *Server) asService(r *matrixhttp.Request) (req *credentials, service *appservice.Registration, mine bool, err error) {
	req, err = matrixhttp.Decode[credentials](r)
	if err != nil || req.Type != typeService {
		return nil, nil, false, nil // who serves the request says what is wrong with it
	}
	token := bearer(r)
	if token == "" {
		return nil, nil, true, merr.MissingToken()
	}
	service = s.options.Appservices.ByToken(sha256.Sum256([]byte(token)))
	if service == nil {
		return nil, nil, true, merr.UnknownToken(false)
	}
	return req, service, true, nil
}

func exclusive(format string, args ...any) error {
	return merr.New(http.StatusBadRequest, "M_EXCLUSIVE", format, args...)
}

// mayHaveUser refuses users that a service (nil: a person) may not make.
func (s *Server) mayHaveUser(service *appservice.Registration, user string) error {
	if service != nil && !service.HasUser(user) {
		return exclusive("The user is not in a namespace of the application service")
	}
	if s.options.Appservices.UserTaken(user, service) {
		return exclusive("The user name is reserved by an application service")
	}
	return nil
}

// localID is the user id of a name, as the user store will have it.
func (s *Server) localID(name string) string { return "@" + strings.ToLower(name) + ":" + s.serverName }

// registerForService is POST /register by an application service.
func (s *Server) registerForService(r *matrixhttp.Request) (answer any, mine bool, err error) {
	req, service, mine, err := s.asService(r)
	if !mine || err != nil {
		return nil, mine, err
	}
	if req.Username == "" {
		return nil, true, merr.MissingParam("username")
	}
	if err := s.mayHaveUser(service, s.localID(req.Username)); err != nil {
		return nil, true, err
	}
	session, err := userapi.Register.Do(r.Context(), s.bus, &userapi.RegisterRequest{
		Username: req.Username, InhibitLogin: req.InhibitLogin, DeviceID: req.DeviceID, DeviceDisplayName: req.DisplayName,
		RefreshToken: req.RefreshToken,
	})
	if err != nil {
		return nil, true, err
	}
	r.Identity.UserID = session.UserID
	return s.session(session), true, nil
}

// loginForService is POST /login by an application service.
func (s *Server) loginForService(r *matrixhttp.Request) (answer any, mine bool, err error) {
	req, service, mine, err := s.asService(r)
	if !mine || err != nil {
		return nil, mine, err
	}
	user := req.User
	if req.Identifier != nil {
		if req.Identifier.Type != "m.id.user" {
			return nil, true, merr.New(http.StatusBadRequest, "M_UNKNOWN", "Unknown identifier type")
		}
		user = req.Identifier.User
	}
	if user == "" {
		return nil, true, merr.MissingParam("identifier")
	}
	if !strings.HasPrefix(user, "@") {
		user = s.localID(user)
	}
	if !service.HasUser(user) {
		return nil, true, exclusive("The user is not in a namespace of the application service")
	}
	session, err := userapi.LoginAs.Do(r.Context(), s.bus, &userapi.LoginAsRequest{
		UserID: user, DeviceID: req.DeviceID, DeviceDisplayName: req.DisplayName, RefreshToken: req.RefreshToken,
	})
	if errors.Is(err, merr.NotFound("")) {
		err = merr.Forbidden("The application service has not registered this user")
	}
	if err != nil {
		return nil, true, err
	}
	r.Identity.UserID = session.UserID
	return s.session(session), true, nil
}

// mayHaveAlias refuses aliases that the sender of a request may not make or delete.
func (s *Server) mayHaveAlias(r *matrixhttp.Request, alias string) error {
	service := s.asking(r)
	if service != nil && !service.HasAlias(alias) {
		return exclusive("The alias is not in a namespace of the application service")
	}
	if s.options.Appservices.AliasTaken(alias, service) {
		return exclusive("The alias is reserved by an application service")
	}
	return nil
}

// maxTimestamp is the greatest origin_server_ts, in milliseconds.
const maxTimestamp = 1<<53 - 1

// timestamp is the time that an application service gives an event, in milliseconds
// ("Timestamp massaging"); 0: none.
func timestamp(r *matrixhttp.Request) (int64, error) {
	if r.Identity.Service == "" {
		return 0, nil
	}
	query := r.Query()
	if !query.Has("ts") {
		return 0, query.Err()
	}
	ts, err := strconv.ParseInt(query.String("ts"), 10, 64)
	if err != nil || ts < 1 || ts > maxTimestamp {
		return 0, merr.InvalidParam("ts must be a time in milliseconds")
	}
	return ts, nil
}

// pingService is POST /appservice/{appserviceId}/ping.
func (s *Server) pingService(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[struct {
		TransactionID string `json:"transaction_id"`
	}](r)
	if err != nil {
		return nil, err
	}
	if r.Param("appserviceId") != r.Identity.Service {
		return nil, merr.Forbidden("The access token is not that of the application service")
	}
	took, err := s.services.Ping(r.Context(), s.asking(r), req.TransactionID)
	if err != nil {
		return nil, err
	}
	return map[string]int64{"duration_ms": took.Milliseconds()}, nil
}

// unknownUser asks application services for a user of theirs that is not there, and
// returns the profile if they made it; otherwise err.
func (s *Server) unknownUser(ctx context.Context, user string, err error) (*userapi.Profile, error) {
	if !errors.Is(err, merr.NotFound("")) {
		return nil, err
	}
	made, failed := s.services.QueryUser(ctx, user)
	if failed != nil {
		return nil, failed
	}
	if !made {
		return nil, err
	}
	return userapi.GetProfile.Do(ctx, s.bus, &userapi.UserRequest{UserID: user})
}

// unknownAlias asks application services for an alias of theirs that is not there. It
// returns nil if they made it, otherwise err.
func (s *Server) unknownAlias(ctx context.Context, alias string, err error) error {
	if !errors.Is(err, merr.NotFound("")) || !strings.HasPrefix(alias, "#") {
		return err
	}
	made, failed := s.services.QueryAlias(ctx, alias)
	switch {
	case failed != nil:
		return failed
	case made:
		return nil
	}
	return err
}

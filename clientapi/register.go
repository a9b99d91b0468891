package clientapi

import (
	"crypto/sha256"
	"errors"
	"net/http"
	"strings"

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
	RefreshToken bool      `json:"refresh_token"`
	GuestToken   string    `json:"guest_access_token"`
}

// register is POST /register.
func (s *Server) register(r *matrixhttp.Request) (any, error) {
	if answer, mine, err := s.registerForService(r); mine {
		return answer, err
	}
	query := r.Query()
	kind := query.Enum("kind", "user", "user", "guest")
	if err := query.Err(); err != nil {
		return nil, err
	}
	if kind == "guest" {
		return s.registerGuest(r)
	}
	if !s.registers() {
		return nil, merr.Forbidden("Registration is disabled")
	}
	req, err := matrixhttp.Decode[registerRequest](r)
	if err != nil {
		return nil, err
	}
	session, err := s.registration(r, req)
	if err != nil {
		return nil, err
	}
	upgrade, err := s.guestToUpgrade(r, req)
	if err != nil {
		return nil, err
	}
	// The name and the password are judged before authentication, as the spec asks.
	if req.Username != "" && !upgrade {
		if err := s.checkUsername(r, req.Username); err != nil {
			return nil, err
		}
	}
	if err := s.checkNewPassword(req.Password); err != nil {
		return nil, err
	}
	session.remember(req)
	if ask, err := s.interact(r, session, req.Auth); ask != nil || err != nil {
		return ask, err
	}
	if req.Password == nil || *req.Password == "" {
		return nil, merr.MissingParam("password")
	}
	return s.finishRegistration(r, session, req, upgrade)
}

// registers reports whether new accounts can be made.
func (s *Server) registers() bool {
	switch s.options.RegistrationMode {
	case "open", "token", "approval":
		return true
	}
	return false
}

// registrationOperation is what the sessions of registrations are bound to. The body
// is not: many clients begin with an empty one to learn the flows.
func registrationOperation() [sha256.Size]byte { return operationOf("register") }

// registration finds or makes the session of a registration and completes the request
// with what earlier ones of the session have said. Who has no session yet is counted.
func (s *Server) registration(r *matrixhttp.Request, req *registerRequest) (*uiaSession, error) {
	if req.Auth != nil && req.Auth.Session != "" {
		if session := s.interactions.find(req.Auth.Session, registrationOperation()); session != nil {
			session.recall(req)
			return session, s.limits.session.take(session.id)
		}
	}
	if err := s.limits.register.take(address(r)); err != nil {
		return nil, err
	}
	return s.interactions.begin(registrationOperation(), s.registrationFlows()), nil
}

// registrationFlows lists the ways to an account.
func (s *Server) registrationFlows() [][]string {
	var stages []string
	o := s.options.Registration
	if o.RecaptchaPublicKey != "" {
		stages = append(stages, stageRecaptcha)
	}
	if o.TermsURL != "" || o.PrivacyURL != "" {
		stages = append(stages, stageTerms)
	}
	if s.options.RegistrationMode == "token" {
		stages = append(stages, stageToken)
	}
	withEmail := append(append([]string{}, stages...), stageEmail)
	if o.RequireEmail {
		return [][]string{withEmail}
	}
	// The dummy keeps this flow from being the beginning of the other one.
	if len(stages) == 0 || s.mail != nil {
		stages = append(stages, stageDummy)
	}
	if s.mail == nil {
		return [][]string{stages}
	}
	return [][]string{stages, withEmail}
}

// remember keeps what a request says for those that follow it in its session.
func (u *uiaSession) remember(req *registerRequest) {
	u.mu.Lock()
	defer u.mu.Unlock()
	kept := *req
	kept.Auth, kept.GuestToken = nil, ""
	if len(kept.DisplayName) > maxText {
		kept.DisplayName = ""
	}
	if len(kept.DeviceID) > maxText {
		kept.DeviceID = ""
	}
	u.registration = kept
}

// recall fills in what a request leaves out.
func (u *uiaSession) recall(req *registerRequest) {
	u.mu.Lock()
	defer u.mu.Unlock()
	old := u.registration
	if req.Username == "" {
		req.Username = old.Username
	}
	if req.Password == nil {
		req.Password = old.Password
		req.InhibitLogin = req.InhibitLogin || old.InhibitLogin
		req.RefreshToken = req.RefreshToken || old.RefreshToken
	}
	if req.DeviceID == "" {
		req.DeviceID = old.DeviceID
	}
	if req.DisplayName == "" {
		req.DisplayName = old.DisplayName
	}
}

// checkNewPassword refuses a password that would not be taken; nil is none.
func (s *Server) checkNewPassword(password *string) error {
	switch {
	case password == nil:
		return nil
	case len(*password) < s.options.MinPasswordLength:
		return merr.New(http.StatusBadRequest, "M_WEAK_PASSWORD",
			"The password must have at least %d characters", s.options.MinPasswordLength)
	case len(*password) > userapi.MaxPassword:
		return merr.InvalidParam("The password must not be longer than %d bytes", userapi.MaxPassword)
	}
	return nil
}

// finishRegistration makes the account of a session that is complete.
func (s *Server) finishRegistration(r *matrixhttp.Request, session *uiaSession, req *registerRequest, upgrade bool) (any, error) {
	if !s.interactions.spend(session) {
		return nil, merr.Forbidden("This authentication was used already")
	}
	if err := s.mayRegister(r, session, req); err != nil {
		s.interactions.reopen(session)
		return nil, err
	}
	waits := s.options.RegistrationMode == "approval"
	made, err := userapi.Register.Do(r.Context(), s.bus, &userapi.RegisterRequest{
		Username: req.Username, Password: *req.Password, InhibitLogin: req.InhibitLogin,
		DeviceID: req.DeviceID, DeviceDisplayName: req.DisplayName, RefreshToken: req.RefreshToken,
		Unapproved: waits, UpgradeGuest: upgrade,
		RegistrationToken: session.token, ThreePIDs: session.threePIDs,
	})
	if err != nil {
		s.interactions.reopen(session)
		return s.failedRegistration(session, err)
	}
	r.Identity.UserID = made.UserID
	if waits && !req.InhibitLogin {
		return nil, merr.Forbidden("The account has been made, and has to be approved by an administrator of the server before it can be used")
	}
	return s.session(made), nil
}

// mayRegister asks the policy about all that a registration has shown.
func (s *Server) mayRegister(r *matrixhttp.Request, session *uiaSession, req *registerRequest) error {
	var emails []string
	for _, id := range session.threePIDs {
		if id.Medium == "email" {
			emails = append(emails, id.Address)
		}
	}
	return s.policy.MayRegister(r.Context(), strings.ToLower(req.Username), emails, clientIP(r))
}

// failedRegistration takes back the stages whose results were refused in the end.
func (s *Server) failedRegistration(session *uiaSession, err error) (any, error) {
	var e *merr.Error
	if !errors.As(err, &e) {
		return nil, err
	}
	switch e.Code {
	case "M_FORBIDDEN": // others were faster with the token
		session.undo(stageToken)
		session.mu.Lock()
		defer session.mu.Unlock()
		if !session.complete() {
			return s.challenge(session, e), nil
		}
	case "M_THREEPID_IN_USE":
		session.undo(stageEmail)
	}
	return nil, err
}

func (s *Server) checkUsername(r *matrixhttp.Request, name string) error {
	if reserved := s.options.Notices.Localpart; reserved != "" && strings.EqualFold(name, reserved) {
		return merr.New(http.StatusBadRequest, "M_USER_IN_USE", "This user name is taken")
	}
	if err := s.mayHaveUser(nil, s.localID(name)); err != nil {
		return err
	}
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
	if !s.registers() { // who may not register need not learn who has
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

// registrationTokenValidity is GET /register/m.login.registration_token/validity.
func (s *Server) registrationTokenValidity(r *matrixhttp.Request) (any, error) {
	query := r.Query()
	token := query.String("token")
	if err := query.Err(); err != nil {
		return nil, err
	}
	if !s.registers() {
		return nil, merr.Forbidden("Registration is disabled")
	}
	if token == "" {
		return nil, merr.MissingParam("token")
	}
	if err := s.limits.loginAddress.take(address(r)); err != nil {
		return nil, err
	}
	valid, err := s.registrationTokenValid(r.Context(), token)
	return map[string]bool{"valid": valid}, err
}

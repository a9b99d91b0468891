package clientapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

// stage checks one stage. A *merr.Error of the client's kind means that it was not
// passed and may be tried again. The caller holds the session's lock.
func (s *Server) stage(r *matrixhttp.Request, session *uiaSession, auth *authData) error {
	switch auth.Type {
	case stageDummy, stageTerms:
		return nil
	case stagePassword:
		return s.passwordStage(r, session, auth)
	case stageToken:
		return s.tokenStage(r, session, auth.Token)
	case stageRecaptcha:
		return s.recaptchaStage(r.Context(), auth.Response, address(r))
	case stageEmail:
		return s.emailStage(r.Context(), session, auth.Validated)
	default:
		return merr.New(http.StatusUnauthorized, "M_UNAUTHORIZED", "This stage has to be done in a web browser first")
	}
}

// stageParams says what a client has to know for the stages of a session.
func (s *Server) stageParams(session *uiaSession) map[string]any {
	params := map[string]any{}
	if session.has(stageTerms) {
		params[stageTerms] = map[string]any{"policies": s.options.Registration.policies()}
	}
	if session.has(stageRecaptcha) {
		params[stageRecaptcha] = map[string]string{"public_key": s.options.Registration.RecaptchaPublicKey}
	}
	return params
}

// passwordStage checks the password of the user who asks or, if that is not known, of
// the one who is named.
func (s *Server) passwordStage(r *matrixhttp.Request, session *uiaSession, auth *authData) error {
	user := auth.User
	if id := auth.Identifier; id != nil {
		switch id.Type {
		case "m.id.user", "":
			user = id.User
		case "m.id.thirdparty":
			owner, err := userapi.ThreePIDOwner.Do(r.Context(), s.bus, &userapi.ThreePIDName{Medium: id.Medium, Address: id.Address})
			if err != nil && !errors.Is(err, merr.NotFound("")) && !errors.Is(err, merr.InvalidParam("")) {
				return err
			}
			if owner != nil {
				user = owner.UserID
			}
		}
	}
	who := r.Identity.UserID
	switch {
	case who == "" && user == "":
		return merr.MissingParam("identifier")
	case who == "" && strings.HasPrefix(user, "@"):
		who = user
	case who == "":
		who = s.localID(user)
	case user != who && "@"+user+":"+s.serverName != who:
		return merr.Forbidden("The password must be that of the user who asks")
	}
	if err := s.limits.loginUser.take(who); err != nil {
		return err
	}
	_, err := userapi.CheckPassword.Do(r.Context(), s.bus, &userapi.PasswordRequest{UserID: who, Password: auth.Password})
	if err == nil && r.Identity.UserID == "" {
		session.proved = who
	}
	return err
}

// tokenStage checks a registration token; the registration itself uses it up.
func (s *Server) tokenStage(r *matrixhttp.Request, session *uiaSession, token string) error {
	if token == "" {
		return merr.MissingParam("token")
	}
	if err := s.limits.loginAddress.take(address(r)); err != nil {
		return err
	}
	valid, err := s.registrationTokenValid(r.Context(), token)
	if err != nil {
		return err
	}
	if !valid {
		return merr.Forbidden("Invalid registration token")
	}
	session.token = token
	return nil
}

func (s *Server) registrationTokenValid(ctx context.Context, token string) (bool, error) {
	if !plainText(token) {
		return false, nil
	}
	answer, err := userapi.CheckRegistrationToken.Do(ctx, s.bus, &userapi.RegistrationTokenRequest{Token: token})
	if err != nil {
		return false, err
	}
	return answer.Valid, nil
}

// emailStage takes the result of a validation over, which it ends: nobody can use it again.
func (s *Server) emailStage(ctx context.Context, session *uiaSession, proof *validationProof) error {
	if proof == nil || proof.Sid == "" || proof.ClientSecret == "" {
		return merr.MissingParam("threepid_creds")
	}
	purpose := userapi.ForPassword
	if session.operation == registrationOperation() {
		purpose = userapi.ForRegistration
	}
	v, err := userapi.Validated.Do(ctx, s.bus, &userapi.ValidatedRequest{
		Purpose: purpose, Sid: proof.Sid, ClientSecret: proof.ClientSecret, Consume: true,
	})
	var e *merr.Error
	if errors.As(err, &e) && (e.Code == "M_SESSION_NOT_VALIDATED" || e.Code == "M_NO_VALID_SESSION") {
		return merr.New(http.StatusUnauthorized, "M_UNAUTHORIZED", "The address has not been confirmed")
	}
	if err != nil {
		return err
	}
	session.threePIDs = []userapi.ThreePID{{Medium: v.Medium, Address: v.Address, ValidatedTS: v.ValidatedTS}}
	return nil
}

const (
	captchaTimeout   = 10 * time.Second
	maxCaptchaAnswer = 64 << 10
	maxCaptchaToken  = 16 << 10
)

// recaptchaStage asks the captcha's service whether the response is good.
func (s *Server) recaptchaStage(ctx context.Context, response, ip string) error {
	if response == "" {
		return merr.MissingParam("response")
	}
	if len(response) > maxCaptchaToken {
		return merr.InvalidParam("The response is too long")
	}
	ctx, cancel := context.WithTimeout(ctx, captchaTimeout)
	defer cancel()
	form := url.Values{"secret": {s.options.Registration.RecaptchaPrivateKey}, "response": {response}}
	if !strings.Contains(ip, "/") { // a network is no address
		form.Set("remoteip", ip)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.options.Registration.RecaptchaVerifyURL, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := s.outside.Do(req)
	if err != nil {
		return merr.Unavailable("The captcha cannot be checked now").WithCause(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxCaptchaAnswer))
	var verdict struct {
		Success bool `json:"success"`
	}
	if err == nil {
		err = json.Unmarshal(body, &verdict)
	}
	if err != nil {
		return merr.Unavailable("The captcha cannot be checked now").WithCause(err)
	}
	if !verdict.Success {
		return merr.New(http.StatusUnauthorized, "M_UNAUTHORIZED", "The captcha was not solved")
	}
	return nil
}

package clientapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"hearth/clientapi/mail"
	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

type emailTokenRequest struct {
	ClientSecret string `json:"client_secret"`
	Email        string `json:"email"`
	SendAttempt  *int64 `json:"send_attempt"`
	NextLink     string `json:"next_link"`
	// This server asks no identity server; these have types all the same.
	IDServer string `json:"id_server"`
	IDToken  string `json:"id_access_token"`
}

// registerEmailToken is POST /register/email/requestToken.
func (s *Server) registerEmailToken(r *matrixhttp.Request) (any, error) {
	if !s.registers() {
		return nil, merr.Forbidden("Registration is disabled")
	}
	return s.emailToken(r, userapi.ForRegistration)
}

// passwordEmailToken is POST /account/password/email/requestToken.
func (s *Server) passwordEmailToken(r *matrixhttp.Request) (any, error) {
	return s.emailToken(r, userapi.ForPassword)
}

// accountEmailToken is POST /account/3pid/email/requestToken.
func (s *Server) accountEmailToken(r *matrixhttp.Request) (any, error) {
	return s.emailToken(r, userapi.ForAccount)
}

// phoneToken is the same for telephone numbers, which this server does not use.
func (s *Server) phoneToken(*matrixhttp.Request) (any, error) {
	return nil, merr.New(http.StatusForbidden, "M_THREEPID_DENIED", "This server does not use telephone numbers")
}

// emailToken starts a validation. Whether the address belongs to an account is told to
// its owner, by the message that is sent, and to nobody else: the answer and the time
// it takes are the same.
func (s *Server) emailToken(r *matrixhttp.Request, purpose string) (any, error) {
	if s.mail == nil || s.options.PublicBaseURL == "" {
		return nil, merr.New(http.StatusForbidden, "M_THREEPID_DENIED", "This server does not use e-mail addresses")
	}
	req, err := matrixhttp.Decode[emailTokenRequest](r)
	if err != nil {
		return nil, err
	}
	switch {
	case req.ClientSecret == "":
		return nil, merr.MissingParam("client_secret")
	case req.Email == "":
		return nil, merr.MissingParam("email")
	case req.SendAttempt == nil:
		return nil, merr.MissingParam("send_attempt")
	}
	if err := s.limits.mailAddress.take(address(r)); err != nil {
		return nil, err
	}
	if err := s.limits.mailUser.take(strings.ToLower(strings.TrimSpace(req.Email))); err != nil {
		return nil, err
	}
	name := &userapi.ThreePIDName{Medium: "email", Address: req.Email}
	owner, err := userapi.ThreePIDOwner.Do(r.Context(), s.bus, name)
	if err != nil && !errors.Is(err, merr.NotFound("")) {
		return nil, err
	}
	started, err := userapi.StartValidation.Do(r.Context(), s.bus, &userapi.StartValidationRequest{
		Purpose: purpose, Medium: "email", Address: req.Email, ClientSecret: req.ClientSecret,
		SendAttempt: *req.SendAttempt, NextLink: req.NextLink,
	})
	if err != nil {
		return nil, err
	}
	if started.Token != "" {
		message := s.validationMail(purpose, owner, s.validationLink(started, req.ClientSecret))
		if message != nil {
			message.To = strings.ToLower(strings.TrimSpace(req.Email))
			if err := s.mail.Send(*message); err != nil {
				return nil, err
			}
		}
	}
	return map[string]string{"sid": started.Sid}, nil
}

// submitPath is where links in messages lead.
const submitPath = "/_hearth/client/submit_token"

func (s *Server) validationLink(v *userapi.StartedValidation, secret string) string {
	query := url.Values{"sid": {v.Sid}, "client_secret": {secret}, "token": {v.Token}}
	return s.options.PublicBaseURL + submitPath + "?" + query.Encode()
}

// validationMail is what is sent, nil for nothing: who has no account here is not told
// that somebody has tried to reset its password. No word of it comes from who asked.
func (s *Server) validationMail(purpose string, owner *userapi.UserRequest, link string) *mail.Message {
	const ignore = "\nIf you did not ask for this, you need not do anything.\n"
	switch {
	case purpose == userapi.ForPassword && owner == nil:
		return nil
	case purpose == userapi.ForPassword:
		return &mail.Message{
			Subject: "Reset your password for " + s.serverName,
			Text: fmt.Sprintf("Somebody, hopefully you, wants to set a new password for your account %s.\n\n"+
				"To confirm it open this link:\n\n%s\n", owner.UserID, link) + ignore,
		}
	case owner != nil:
		return &mail.Message{
			Subject: "You already have an account at " + s.serverName,
			Text: fmt.Sprintf("Somebody, hopefully you, wants to use this e-mail address at %s, "+
				"but it belongs to the account %s.\n\nIf you forgot its password, you can reset it from the "+
				"log-in page of your application.\n", s.serverName, owner.UserID) + ignore,
		}
	default:
		return &mail.Message{
			Subject: "Confirm your e-mail address for " + s.serverName,
			Text: fmt.Sprintf("Somebody, hopefully you, wants to use this e-mail address at %s.\n\n"+
				"To confirm it open this link:\n\n%s\n", s.serverName, link) + ignore,
		}
	}
}

const submitTitle = "Confirm your e-mail address"

// submitTokenPage is the page that a link leads to. It does nothing by itself: programs
// that look into messages open links too.
func (s *Server) submitTokenPage(r *matrixhttp.Request) (any, error) {
	query := r.Query()
	type field struct{ Name, Value string }
	fields := []field{{"sid", query.String("sid")}, {"client_secret", query.String("client_secret")}, {"token", query.String("token")}}
	if err := query.Err(); err != nil {
		return s.complain(submitTitle, err)
	}
	return s.pages.confirmEmail.show(http.StatusOK, pageData{Title: submitTitle, Data: map[string]any{
		"Question": "Do you confirm that this e-mail address is yours, and that you have just asked " + s.serverName + " to use it?",
		"Fields":   fields,
	}}), nil
}

// submitToken takes the form of that page.
func (s *Server) submitToken(r *matrixhttp.Request) (any, error) {
	if err := s.limits.loginAddress.take(address(r)); err != nil {
		return s.complain(submitTitle, err)
	}
	values, err := form(r)
	if err != nil {
		return s.complain(submitTitle, err)
	}
	v, err := s.validate(r.Context(), values.Get("sid"), values.Get("client_secret"), values.Get("token"))
	if err != nil {
		return s.complain(submitTitle, err)
	}
	next, host := "", ""
	if u, err := url.Parse(v.NextLink); err == nil && v.NextLink != "" {
		next, host = v.NextLink, u.Host
	}
	return s.pages.emailDone.show(http.StatusOK, pageData{Title: "Thank you", Data: map[string]any{"Next": next, "Host": host}}), nil
}

func (s *Server) validate(ctx context.Context, sid, secret, token string) (*userapi.ValidatedAddress, error) {
	for _, text := range []string{sid, secret, token} {
		if !plainText(text) {
			return nil, merr.InvalidParam("The link is not complete")
		}
	}
	return userapi.Validate.Do(ctx, s.bus, &userapi.ValidateRequest{Sid: sid, ClientSecret: secret, Token: token})
}

package clientapi

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"hearth/clientapi/sso"
	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

// ssoProvidersOf lists the providers at which a user is known.
func (s *Server) ssoProvidersOf(r *matrixhttp.Request, userID string) ([]sso.ProviderOptions, error) {
	if s.sso == nil || userID == "" {
		return nil, nil
	}
	known, err := userapi.ExternalIDs.Do(r.Context(), s.bus, &userapi.UserRequest{UserID: userID})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(s.sso.Providers(), func(p sso.ProviderOptions) bool {
		return !slices.ContainsFunc(known.IDs, func(id userapi.ExternalID) bool { return id.Provider == p.ID })
	}), nil
}

// ssoFallback is the page of stage m.login.sso: the way to a provider.
func (s *Server) ssoFallback(r *matrixhttp.Request, session *uiaSession) (any, error) {
	query := r.Query()
	chosen := query.String("provider")
	if err := query.Err(); err != nil {
		return s.ssoComplain(err)
	}
	providers, err := s.ssoProvidersOf(r, session.user)
	if err != nil {
		return s.ssoComplain(err)
	}
	why := sso.Purpose{Session: session.id}
	if chosen != "" {
		if !slices.ContainsFunc(providers, func(p sso.ProviderOptions) bool { return p.ID == chosen }) {
			return s.ssoComplain(merr.NotFound("You have no account at that provider"))
		}
		return s.ssoBegin(r, chosen, why)
	}
	return s.ssoChoice(providers, why, func(id string) string {
		return r.HTTP.URL.Path + "?" + url.Values{"session": {session.id}, "provider": {id}}.Encode()
	})
}

// approval is what the form of the last page carries.
type approval struct {
	Session string `json:"s"`
	User    string `json:"u"`
	Until   int64  `json:"e"` // milliseconds
}

const approvalTime = 10 * time.Minute

// ssoConfirmed asks who came back from a provider whether it is meant. The question
// comes last: who has stolen an access token could lead its owner past an earlier one.
func (s *Server) ssoConfirmed(r *matrixhttp.Request, person *sso.Person) (any, error) {
	session := s.interactions.get(person.Purpose.Session)
	if session == nil || !session.has(stageSSO) {
		return s.ssoComplain(merr.NotFound("This authentication is unknown or too old. Begin again in your application."))
	}
	owner, err := userapi.ExternalUser.Do(r.Context(), s.bus, &userapi.ExternalID{Provider: person.Provider.ID, Subject: person.Subject})
	if err != nil {
		return s.ssoComplain(err)
	}
	if owner.UserID != session.user {
		return s.ssoComplain(merr.Forbidden("You have logged in at %s as somebody else", person.Provider.Name))
	}
	return s.pages.ssoApprove.show(http.StatusOK, pageData{Title: "Confirm", Data: map[string]string{
		"What": session.what, "UserID": session.user, "Action": ssoApprovePath, "Ticket": s.sso.Ticket(approval{
			Session: session.id, User: session.user, Until: s.now().Add(approvalTime).UnixMilli(),
		}),
	}}), nil
}

// ssoApprove is the form of that page.
func (s *Server) ssoApprove(r *matrixhttp.Request) (any, error) {
	values, err := form(r)
	if err != nil {
		return s.ssoComplain(err)
	}
	var a approval
	if !s.sso.ReadTicket(values.Get("ticket"), &a) || s.now().UnixMilli() >= a.Until {
		return s.ssoComplain(merr.Forbidden("This page is too old. Begin again in your application."))
	}
	session := s.interactions.get(a.Session)
	if session == nil || session.user != a.User || !session.has(stageSSO) {
		return s.ssoComplain(merr.NotFound("This authentication is unknown or too old. Begin again in your application."))
	}
	session.mu.Lock()
	defer session.mu.Unlock()
	if session.spent {
		return s.ssoComplain(merr.Forbidden("This authentication was used already"))
	}
	if !slices.Contains(session.completed, stageSSO) {
		session.completed = append(session.completed, stageSSO)
	}
	s.interactions.keep(session)
	return s.pages.authDone.show(http.StatusOK, pageData{Title: "Thank you"}), nil
}

// describeOperation says what a request would do, for its user.
func describeOperation(r *matrixhttp.Request) string {
	path := r.HTTP.URL.Path
	for _, d := range []struct{ part, text string }{
		{"/account/deactivate", "end your account for ever"},
		{"/account/password", "change your password"},
		{"/account/3pid", "add an e-mail address to your account"},
		{"/device_signing/upload", "replace the keys with which others know that it is you"},
		{"/delete_devices", "log devices out"},
		{"/devices/", "log a device out"},
		{"/login/get_token", "log you in on another device"},
	} {
		if strings.Contains(path, d.part) {
			return d.text
		}
	}
	return "change something about your account"
}

package clientapi

import (
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"strings"

	"hearth/clientapi/sso"
	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

const (
	stageSSO        = "m.login.sso"
	ssoTitle        = "Log in"
	ssoCallbackPath = "/_hearth/client/sso/callback"
	ssoApprovePath  = "/_hearth/client/sso/approve"
)

// SSOOptions name the providers of single sign-on; without providers it is off. It needs
// Deps.PublicBaseURL.
type SSOOptions struct {
	Providers []sso.ProviderOptions
	// TrustedRedirects are addresses of applications to which people are sent back
	// without being asked: those that begin with one of them.
	TrustedRedirects []string
}

// newSSO returns nil if single sign-on is off.
func newSSO(d *Deps) (*sso.Client, error) {
	if len(d.SSO.Providers) == 0 {
		return nil, nil
	}
	callback := ""
	if d.PublicBaseURL != "" {
		callback = d.PublicBaseURL + ssoCallbackPath
	}
	return sso.New(sso.Options{Providers: d.SSO.Providers, Callback: callback, HTTP: d.Outside, Log: d.Log, Now: d.Now})
}

// ssoFlow is the flow m.login.sso of GET /login.
func (s *Server) ssoFlow() any {
	providers := []map[string]string{}
	for _, p := range s.sso.Providers() {
		described := map[string]string{"id": p.ID, "name": p.Name}
		if p.Icon != "" {
			described["icon"] = p.Icon
		}
		if p.Brand != "" {
			described["brand"] = p.Brand
		}
		providers = append(providers, described)
	}
	return map[string]any{"type": stageSSO, "identity_providers": providers}
}

// ssoRedirect is GET /login/sso/redirect and GET /login/sso/redirect/{idpId}.
func (s *Server) ssoRedirect(r *matrixhttp.Request) (any, error) {
	if s.sso == nil {
		return s.ssoComplain(merr.NotFound("This server has no single sign-on"))
	}
	if err := s.limits.loginAddress.take(address(r)); err != nil {
		return s.ssoComplain(err)
	}
	query := r.Query()
	back := query.String("redirectUrl")
	if err := query.Err(); err != nil {
		return s.ssoComplain(err)
	}
	if back == "" {
		return s.ssoComplain(merr.MissingParam("redirectUrl"))
	}
	if _, err := clientAddress(back); err != nil {
		return s.ssoComplain(err)
	}
	id := r.Param("idpId")
	if id == "" {
		return s.ssoChoice(s.sso.Providers(), sso.Purpose{RedirectURL: back}, func(id string) string {
			return "/_matrix/client/v3/login/sso/redirect/" + url.PathEscape(id) + "?" + url.Values{"redirectUrl": {back}}.Encode()
		})
	}
	return s.ssoBegin(r, id, sso.Purpose{RedirectURL: back})
}

// ssoChoice lets people choose a provider.
func (s *Server) ssoChoice(providers []sso.ProviderOptions, why sso.Purpose, link func(id string) string) (any, error) {
	type choice struct{ Name, URL string }
	var choices []choice
	for _, p := range providers {
		choices = append(choices, choice{p.Name, link(p.ID)})
	}
	if len(choices) == 1 {
		return redirect(choices[0].URL, nil), nil
	}
	question := "Where do you have an account?"
	if why.Session != "" {
		question = "An application wants to change something about your account. Show that it is you:"
	}
	return s.pages.ssoChoose.show(http.StatusOK, pageData{Title: ssoTitle, Data: map[string]any{"Question": question, "Choices": choices}}), nil
}

// ssoBegin sends a browser to a provider.
func (s *Server) ssoBegin(r *matrixhttp.Request, id string, why sso.Purpose) (any, error) {
	to, cookie, err := s.sso.Begin(r.Context(), id, why)
	if err != nil {
		return s.ssoComplain(err)
	}
	return redirect(to, cookie), nil
}

// ssoCallback is where providers send people back to.
func (s *Server) ssoCallback(r *matrixhttp.Request) (any, error) {
	if err := s.limits.loginAddress.take(address(r)); err != nil {
		return s.ssoComplain(err)
	}
	person, cookie, err := s.sso.Finish(r.Context(), r.HTTP)
	var answer any
	switch {
	case err != nil:
		answer, err = s.ssoComplain(err)
	case person.Purpose.Session != "":
		answer, err = s.ssoConfirmed(r, person)
	default:
		answer, err = s.ssoLogin(r, person)
	}
	show, ok := answer.(matrixhttp.Serve)
	if err != nil || !ok || cookie == nil {
		return answer, err
	}
	return matrixhttp.Serve(func(w http.ResponseWriter, hr *http.Request) error {
		http.SetCookie(w, cookie)
		return show(w, hr)
	}), nil
}

// ssoLogin sends somebody who has logged in back to the application, with a token for it.
func (s *Server) ssoLogin(r *matrixhttp.Request, person *sso.Person) (any, error) {
	back, err := clientAddress(person.Purpose.RedirectURL)
	if err != nil {
		return s.ssoComplain(err)
	}
	userID, err := s.ssoUser(r, person)
	if err != nil {
		return s.ssoComplain(err)
	}
	r.Identity.UserID = userID
	token, err := userapi.IssueLoginToken.Do(r.Context(), s.bus, &userapi.IssueTokenRequest{UserID: userID})
	if err != nil {
		return s.ssoComplain(err)
	}
	to := withLoginToken(back, token.Token)
	if s.trusts(back) {
		return redirect(to, nil), nil
	}
	shown := back.Host
	if shown == "" || back.Scheme != "https" && back.Scheme != "http" {
		shown = back.Scheme + "://" + back.Host
	}
	// clientAddress has seen the scheme; the template knows only those of the web.
	return s.pages.ssoConfirm.show(http.StatusOK, pageData{Title: ssoTitle, Data: map[string]any{
		"Host": shown, "UserID": userID, "URL": template.URL(to),
	}}), nil
}

// redirect sends a browser elsewhere.
func redirect(to string, cookie *http.Cookie) matrixhttp.Serve {
	return func(w http.ResponseWriter, _ *http.Request) error {
		if cookie != nil {
			http.SetCookie(w, cookie)
		}
		h := w.Header()
		h.Set("Location", to)
		h.Set("Cache-Control", "no-store")
		h.Set("Referrer-Policy", "no-referrer")
		w.WriteHeader(http.StatusFound)
		return nil
	}
}

// ssoComplain shows an error on a page: browsers are here, not applications.
func (s *Server) ssoComplain(err error) (any, error) {
	var e *merr.Error
	if errors.As(err, &e) && e.Status == http.StatusServiceUnavailable {
		return s.pages.message.show(e.Status, pageData{Title: ssoTitle, Error: e.Message}), nil
	}
	return s.complain(ssoTitle, err)
}

// clientAddress reads the address of an application. Schemes that run something or show
// something of this server's are none.
func clientAddress(raw string) (*url.URL, error) {
	if len(raw) > sso.MaxRedirect {
		return nil, merr.InvalidParam("The redirectUrl is longer than %d bytes", sso.MaxRedirect)
	}
	u, err := url.Parse(raw)
	bad := err != nil || u.Scheme == "" || u.User != nil || strings.ContainsFunc(raw, func(c rune) bool { return c <= ' ' || c == 0x7f || c == '\\' })
	if !bad {
		switch u.Scheme {
		case "http", "https":
			bad = u.Hostname() == "" || u.Opaque != ""
		case "javascript", "data", "vbscript", "file", "filesystem", "blob", "about", "view-source", "ws", "wss":
			bad = true
		}
	}
	if bad {
		return nil, merr.InvalidParam("The redirectUrl is no address of an application")
	}
	return u, nil
}

// withLoginToken adds a login token in the place of any that is there.
func withLoginToken(u *url.URL, token string) string {
	out := *u
	var kept []string
	for part := range strings.SplitSeq(u.RawQuery, "&") {
		name, _, _ := strings.Cut(part, "=")
		if plain, err := url.QueryUnescape(name); part != "" && (err != nil || plain != "loginToken") {
			kept = append(kept, part)
		}
	}
	out.RawQuery = strings.Join(append(kept, "loginToken="+url.QueryEscape(token)), "&")
	return out.String()
}

// trusts reports whether the configuration names an application, or it is this server's
// own page.
func (s *Server) trusts(u *url.URL) bool {
	trusted := s.options.SSO.TrustedRedirects
	if s.options.PublicBaseURL != "" {
		trusted = append([]string{s.options.PublicBaseURL + loginFallbackPath}, trusted...)
	}
	for _, text := range trusted {
		t, err := url.Parse(text)
		if err != nil || t.Scheme != u.Scheme || !strings.EqualFold(t.Host, u.Host) || t.Opaque != u.Opaque {
			continue
		}
		path := strings.TrimSuffix(t.Path, "/")
		if u.Path == path || strings.HasPrefix(u.Path, path+"/") && !strings.Contains(u.Path, "..") {
			return true
		}
	}
	return false
}

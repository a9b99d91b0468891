package clientapi

import (
	"net/http"

	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

const fallbackTitle = "Authentication"

// fallback is GET /auth/{authType}/fallback/web: a stage for clients that do not know it.
func (s *Server) fallback(r *matrixhttp.Request) (any, error) {
	query := r.Query()
	id := query.String("session")
	if err := query.Err(); err != nil {
		return s.complain(fallbackTitle, err)
	}
	session, err := s.fallbackSession(r, id)
	if err != nil {
		return s.complain(fallbackTitle, err)
	}
	if r.Param("authType") == stageSSO {
		return s.ssoFallback(r, session)
	}
	return s.fallbackPage(r.Param("authType"), session, http.StatusOK, "")
}

// fallbackSubmit is POST /auth/{authType}/fallback/web: the form of such a page.
func (s *Server) fallbackSubmit(r *matrixhttp.Request) (any, error) {
	values, err := form(r)
	if err != nil {
		return s.complain(fallbackTitle, err)
	}
	session, err := s.fallbackSession(r, values.Get("session"))
	if err != nil {
		return s.complain(fallbackTitle, err)
	}
	kind := r.Param("authType")
	ask, err := s.interact(r, session, &authData{
		Type: kind, Token: values.Get("token"), Response: values.Get("g-recaptcha-response"),
	})
	if err != nil {
		return s.complain(fallbackTitle, err)
	}
	if challenge, ok := ask.(matrixhttp.Response); ok {
		if text, failed := challenge.Body.(map[string]any)["error"].(string); failed {
			return s.fallbackPage(kind, session, http.StatusUnauthorized, text)
		}
	}
	session.mu.Lock()
	s.interactions.keep(session)
	session.mu.Unlock()
	return s.pages.authDone.show(http.StatusOK, pageData{Title: "Thank you"}), nil
}

// fallbackSession finds the session of a page.
func (s *Server) fallbackSession(r *matrixhttp.Request, id string) (*uiaSession, error) {
	session := s.interactions.get(id)
	if session == nil {
		return nil, merr.NotFound("This authentication is unknown or too old. Begin again in your application.")
	}
	if !session.has(r.Param("authType")) {
		return nil, merr.NotFound("This authentication has no such stage")
	}
	return session, s.limits.session.take(session.id)
}

func (s *Server) fallbackPage(kind string, session *uiaSession, status int, text string) (any, error) {
	o := s.options.Registration
	switch kind {
	case stageTerms:
		type policy struct{ Name, URL string }
		var list []policy
		for _, p := range []policy{{"Terms of Service", o.TermsURL}, {"Privacy Policy", o.PrivacyURL}} {
			if p.URL != "" {
				list = append(list, p)
			}
		}
		return s.pages.terms.show(status, pageData{Title: "Terms of this server", Error: text, Data: map[string]any{
			"Session": session.id, "Policies": list,
		}}), nil
	case stageToken:
		return s.pages.token.show(status, pageData{Title: "Registration", Error: text, Data: map[string]any{"Session": session.id}}), nil
	case stageRecaptcha:
		return s.pages.recaptcha.show(status, pageData{Title: "Are you a person?", Error: text, Data: map[string]any{
			"Session": session.id, "Key": o.RecaptchaPublicKey,
		}}), nil
	default:
		return s.complain(fallbackTitle, merr.NotFound("There is no page for this stage"))
	}
}

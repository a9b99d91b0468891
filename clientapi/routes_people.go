package clientapi

import (
	"net/http"

	"hearth/internal/matrixhttp"
)

// peopleRoutes are the endpoints of accounts, sessions and what people say of themselves.
func (s *Server) peopleRoutes() []matrixhttp.Route {
	const get, post = http.MethodGet, http.MethodPost
	anyone := matrixhttp.Auth(nil)
	user := s.user
	return table([]line{
		{get, v1 + "/register/m.login.registration_token/validity", anyone, noneBody, s.registrationTokenValidity},
		{get, v3 + "/auth/{authType}/fallback/web", anyone, noneBody, s.fallback},
		{post, v3 + "/auth/{authType}/fallback/web", anyone, objectBody, s.fallbackSubmit},
		{post, v3 + "/refresh", anyone, objectBody, s.refresh},
		{post, v1 + "/login/get_token", user, optionalBody, s.getLoginToken},
	})
}

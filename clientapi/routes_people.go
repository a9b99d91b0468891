package clientapi

import (
	"net/http"

	"hearth/internal/matrixhttp"
)

// peopleRoutes are the endpoints of accounts, sessions and what people say of themselves.
func (s *Server) peopleRoutes() []matrixhttp.Route {
	const get, put, post, del = http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete
	const tags = own + "/rooms/{roomId}/tags"
	anyone := matrixhttp.Auth(nil)
	user := s.user
	routes := table([]line{
		{get, v1 + "/register/m.login.registration_token/validity", anyone, noneBody, s.registrationTokenValidity},
		{get, v3 + "/auth/{authType}/fallback/web", anyone, noneBody, s.fallback},
		{post, v3 + "/auth/{authType}/fallback/web", anyone, objectBody, s.fallbackSubmit},
		{get, loginFallbackPath, anyone, noneBody, s.loginFallback},
		{get, v3 + "/login/sso/redirect", anyone, noneBody, s.ssoRedirect},
		{get, v3 + "/login/sso/redirect/{idpId}", anyone, noneBody, s.ssoRedirect},
		{get, v1 + "/auth_metadata", anyone, noneBody, s.noAuthMetadata},
		{get, unstable + "/org.matrix.msc2965/auth_metadata", anyone, noneBody, s.noAuthMetadata},
		{post, v3 + "/refresh", anyone, objectBody, s.refresh},
		{post, v1 + "/login/get_token", user, optionalBody, s.getLoginToken},

		{get, v3 + "/account/3pid", user, noneBody, s.threePIDs},
		{post, v3 + "/account/3pid/bind", user, objectBody, s.bindThreePID},
		{post, v3 + "/account/3pid/delete", user, objectBody, s.deleteThreePID},
		{post, v3 + "/account/3pid/unbind", user, objectBody, s.unbindThreePID},

		{get, "/.well-known/matrix/support", anyone, noneBody, s.support},
		{get, v3 + "/presence/{userId}/status", user, noneBody, s.getPresence},
		{put, v3 + "/presence/{userId}/status", user, objectBody, s.setPresence},
		{post, v3 + "/user_directory/search", user, objectBody, s.searchUsers},
		{get, v1 + "/mutual_rooms", user, noneBody, s.mutualRooms},
		{get, unstable + "/uk.half-shot.msc2666/user/mutual_rooms", user, noneBody, s.mutualRooms},
		{get, tags, user, noneBody, s.tags},
		{put, tags + "/{tag}", user, objectBody, s.setTag},
		{del, tags + "/{tag}", user, optionalBody, s.deleteTag},
		{post, own + "/openid/request_token", user, optionalBody, s.openIDToken},
		{put, subscriptionPath, user, objectBody, s.subscribe},
		{get, subscriptionPath, user, noneBody, s.subscription},
		{del, subscriptionPath, user, optionalBody, s.unsubscribe},
		{get, subscriptionsPath, user, noneBody, s.subscriptions},
	})
	if s.mail != nil {
		routes = append(routes, s.mailRoutes()...)
	}
	if s.sso != nil {
		routes = append(routes, table([]line{
			{get, ssoCallbackPath, anyone, noneBody, s.ssoCallback},
			{post, ssoApprovePath, anyone, objectBody, s.ssoApprove},
		})...)
	}
	return routes
}

// mailRoutes are the endpoints that need a server that sends e-mail.
func (s *Server) mailRoutes() []matrixhttp.Route {
	const get, post = http.MethodGet, http.MethodPost
	anyone := matrixhttp.Auth(nil)
	user := s.user
	return table([]line{
		{post, v3 + "/account/3pid", user, objectBody, s.addThreePID},
		{post, v3 + "/account/3pid/add", user, objectBody, s.addThreePID},
		{post, v3 + "/register/email/requestToken", anyone, objectBody, s.registerEmailToken},
		{post, v3 + "/account/password/email/requestToken", anyone, objectBody, s.passwordEmailToken},
		{post, v3 + "/account/3pid/email/requestToken", anyone, objectBody, s.accountEmailToken},
		{post, v3 + "/register/msisdn/requestToken", anyone, objectBody, s.phoneToken},
		{post, v3 + "/account/password/msisdn/requestToken", anyone, objectBody, s.phoneToken},
		{post, v3 + "/account/3pid/msisdn/requestToken", anyone, objectBody, s.phoneToken},
		{get, submitPath, anyone, noneBody, s.submitTokenPage},
		{post, submitPath, anyone, objectBody, s.submitToken},
	})
}

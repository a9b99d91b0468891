package media

import (
	"net/http"

	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

// Routes is the table of endpoints. user finds out who sends a request and refuses
// guests, guest lets them in.
func (s *Server) Routes(user, guest matrixhttp.Auth) []matrixhttp.Route {
	const (
		get, put, post = http.MethodGet, http.MethodPut, http.MethodPost
		v1             = "/_matrix/client/v1/media"
		old            = "/_matrix/media/(r0|v3)"
		item           = "/{serverName}/{mediaId}"
	)
	var none matrixhttp.Body
	file := matrixhttp.Body{Max: s.options.MaxUpload}
	maybe := optional(guest)
	var routes []matrixhttp.Route
	for _, l := range []struct {
		method, path string
		auth         matrixhttp.Auth
		body         matrixhttp.Body
		handle       matrixhttp.Handler
	}{
		{get, v1 + "/config", user, none, s.config},
		{get, v1 + "/download" + item, guest, none, s.download},
		{get, v1 + "/download" + item + "/{fileName}", guest, none, s.download},
		{get, v1 + "/thumbnail" + item, guest, none, s.thumbnail},
		{get, v1 + "/preview_url", user, none, s.previewURL},

		{post, "/_matrix/media/v1/create", user, matrixhttp.Body{Max: 64 << 10, MayBeEmpty: true}, s.create},
		{post, old + "/upload", user, file, s.upload},
		{put, old + "/upload" + item, user, file, s.uploadTo},

		{get, old + "/config", user, none, s.config},
		{get, old + "/preview_url", user, none, s.previewURL},
		{get, old + "/download" + item, maybe, none, frozen(s.download)},
		{get, old + "/download" + item + "/{fileName}", maybe, none, frozen(s.download)},
		{get, old + "/thumbnail" + item, maybe, none, frozen(s.thumbnail)},
	} {
		routes = append(routes, matrixhttp.Route{Method: l.method, Path: l.path, Auth: l.auth, Body: l.body, Handle: l.handle})
	}
	return routes
}

// optional lets requests without a good access token in, as nobody.
func optional(auth matrixhttp.Auth) matrixhttp.Auth {
	return func(r *matrixhttp.Request) error {
		if err := auth(r); err != nil && merr.From(err).Status != http.StatusUnauthorized {
			return err
		}
		return nil
	}
}

// frozen hides everything from nobody: the endpoints that once needed no access token
// show what was uploaded before they were frozen, and they have always been here.
func frozen(h matrixhttp.Handler) matrixhttp.Handler {
	return func(r *matrixhttp.Request) (any, error) {
		if r.Identity.UserID == "" && r.Identity.Server == "" {
			return nil, merr.NotFound("Media not found")
		}
		return h(r)
	}
}

// config is GET /media/config.
func (s *Server) config(*matrixhttp.Request) (any, error) {
	return map[string]int64{"m.upload.size": s.options.MaxUpload}, nil
}

package federationapi

import (
	"net/http"

	"hearth/internal/matrixhttp"
)

// routes is the server-server API. A path and method that is not here is answered
// with M_UNRECOGNIZED.
func (s *Server) routes() []matrixhttp.Route {
	return []matrixhttp.Route{
		{Method: http.MethodGet, Path: "/_matrix/federation/v1/version", Handle: s.version},
		{Method: http.MethodGet, Path: "/_matrix/federation/v1/query/directory", Auth: s.authenticate, Handle: s.queryDirectory},
		{Method: http.MethodGet, Path: "/_matrix/federation/v1/query/profile", Auth: s.authenticate, Handle: s.queryProfile},
		{Method: http.MethodGet, Path: "/_matrix/key/v2/server", Handle: s.serverKeys},
		{Method: http.MethodGet, Path: "/_matrix/key/v2/server/{keyID}", Handle: s.serverKeys},
		{Method: http.MethodGet, Path: "/_matrix/key/v2/query/{serverName}", Handle: s.queryOne},
		{Method: http.MethodPost, Path: "/_matrix/key/v2/query", Body: matrixhttp.Body{Max: maxQuery}, Handle: s.queryMany},
	}
}

// version is GET /_matrix/federation/v1/version.
func (s *Server) version(*matrixhttp.Request) (any, error) {
	return map[string]any{"server": map[string]string{"name": "Hearth", "version": s.deps.Version}}, nil
}

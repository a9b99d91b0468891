package clientapi

import (
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

// wellKnownServer is GET /.well-known/matrix/server (server-server API, "Resolving
// server names"): other servers look for it where clients do, at the server name.
func (s *Server) wellKnownServer(*matrixhttp.Request) (any, error) {
	if s.options.Delegate == "" {
		return nil, merr.NotFound("This server is found at its name")
	}
	return map[string]string{"m.server": s.options.Delegate}, nil
}

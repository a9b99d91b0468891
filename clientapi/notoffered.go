package clientapi

import "hearth/internal/matrixhttp"

// pushers is GET /pushers. There is no way to set one yet, so nobody has any.
func (s *Server) pushers(*matrixhttp.Request) (any, error) {
	return matrixhttp.Raw(`{"pushers":[]}`), nil
}

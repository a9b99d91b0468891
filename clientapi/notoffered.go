package clientapi

import "hearth/internal/matrixhttp"

// pushers is GET /pushers. There is no way to set one yet, so nobody has any.
func (s *Server) pushers(*matrixhttp.Request) (any, error) {
	return matrixhttp.Raw(`{"pushers":[]}`), nil
}

// turnServer is GET /voip/turnServer; empty: the server offers none.
func (s *Server) turnServer(*matrixhttp.Request) (any, error) { return nil, nil }

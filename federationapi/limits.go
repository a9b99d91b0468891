package federationapi

import (
	"hearth/federationapi/gate"
	"hearth/internal/matrixhttp"
)

// Classes of work: what is answered at once, what reads much, what moves files.
const (
	quick = "quick"
	heavy = "heavy"
	files = "files"
)

// limits bound what one server can make us do.
func limits() map[string]gate.Class {
	return map[string]gate.Class{
		quick: {Each: 16, Queue: 64, All: 512},
		heavy: {Each: 4, Queue: 32, All: 32},
		files: {Each: 8, Queue: 32, All: 128},
	}
}

const (
	requestRate  = 100 // a second, of one server
	requestBurst = 500
)

func (s *Server) quick(h matrixhttp.Handler) matrixhttp.Handler { return s.limited(quick, h) }
func (s *Server) heavy(h matrixhttp.Handler) matrixhttp.Handler { return s.limited(heavy, h) }

// limited lets a request wait for its turn. It counts until the answer is out.
func (s *Server) limited(class string, h matrixhttp.Handler) matrixhttp.Handler {
	return func(r *matrixhttp.Request) (any, error) {
		leave, err := s.gate.Enter(r.Context(), class, r.Identity.Server)
		if err != nil {
			return nil, err
		}
		r.Answered(leave)
		return h(r)
	}
}

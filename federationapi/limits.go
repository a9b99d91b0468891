package federationapi

import (
	"time"

	"hearth/federationapi/gate"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
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

// maxInFlight bounds the requests of all servers together, those that are not known yet too.
const maxInFlight = 4000

// Bodies of unknown senders: what is larger than smallBody, or does not say how large it is, has to
// wait for one of few places until its signature is checked.
const (
	smallBody   = 1 << 20
	largeBodies = 64
	bodyWait    = 10 * time.Second
)

// place waits for a place for a large body.
func (s *Server) place(r *matrixhttp.Request) (leave func(), err error) {
	if n := r.HTTP.ContentLength; n >= 0 && n <= smallBody {
		return func() {}, nil
	}
	timer := time.NewTimer(bodyWait)
	defer timer.Stop()
	select {
	case s.bodies <- struct{}{}:
		return func() { <-s.bodies }, nil
	case <-timer.C:
		return nil, merr.Busy(time.Second)
	case <-r.Context().Done():
		return nil, merr.Unavailable("The request was cancelled")
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

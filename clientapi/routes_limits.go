package clientapi

import (
	"net/http"
	"strings"

	"hearth/internal/matrixhttp"
)

// limitRule counts the requests of a method to the paths that begin with one of a list.
type limitRule struct {
	limit  *limit
	method string
	paths  []string
}

// limitRules say what is counted under which limit before its handler sees it. What needs
// to know more than the user, or has cheap errors to give first, counts by itself.
func (s *Server) limitRules() []limitRule {
	const get, put, post, del = http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete
	l := s.limits
	stored := []string{own + "/", v3 + "/profile/", v3 + "/directory/", v3 + "/devices/", dehydratedPath}
	return []limitRule{
		{l.toDevice, put, []string{v3 + "/sendToDevice/"}},
		{l.keys, post, []string{v3 + "/keys/", unstable + "/keys/"}},
		{l.keys, get, []string{v3 + "/keys/changes"}},
		{l.notice, put, []string{room + "/typing/"}},
		{l.notice, post, []string{room + "/receipt/", room + "/read_markers"}},
		{l.settings, put, append(stored, v3+"/room_keys/version")},
		{l.settings, del, append(stored, v3+"/room_keys/version", v3+"/pushrules/")},
		{l.settings, post, []string{own + "/filter", v3 + "/pushers/set", v3 + "/room_keys/version"}},
		{l.send, post, []string{room + "/leave", room + "/forget", room + "/kick", room + "/ban", room + "/unban"}},
		{l.read, get, []string{
			room + "/messages", room + "/context/", room + "/members", room + "/joined_members", room + "/state", room + "/initialSync",
			v3 + "/initialSync", v3 + "/publicRooms", v3 + "/notifications",
			v1 + "/rooms/{roomId}/relations/", v1 + "/rooms/{roomId}/threads", v1 + "/rooms/{roomId}/hierarchy", v1 + "/rooms/{roomId}/timestamp_to_event",
		}},
		{l.read, post, []string{v3 + "/publicRooms"}},
	}
}

// withLimits puts the limits of limitRules before handlers.
func (s *Server) withLimits(routes []matrixhttp.Route) []matrixhttp.Route {
	for _, rule := range s.limitRules() {
		if rule.limit == nil {
			continue
		}
		for i := range routes {
			if routes[i].Method == rule.method && rule.covers(routes[i].Path) {
				routes[i].Handle = s.limited(rule.limit, routes[i].Handle)
			}
		}
	}
	return routes
}

func (rule *limitRule) covers(path string) bool {
	for _, p := range rule.paths {
		if path == p || strings.HasPrefix(path, p) && (strings.HasSuffix(p, "/") || path[len(p)] == '/') {
			return true
		}
	}
	return false
}

// limited returns a handler that counts the requests of each user, and those of nobody
// by their address, before it does its work.
func (s *Server) limited(l *limit, handle matrixhttp.Handler) matrixhttp.Handler {
	return func(r *matrixhttp.Request) (any, error) {
		l, key := l, r.Identity.UserID
		if key == "" {
			l, key = s.limits.nobody, address(r)
		}
		if err := l.take(key); err != nil {
			return nil, err
		}
		return handle(r)
	}
}

package clientapi

import (
	"net/http"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

// DefaultRoomVersion is the version of rooms for which the client asks for none.
const DefaultRoomVersion = "12"

// versions is GET /versions. A version is listed when clients that go by it work;
// what we have of later ones is named as a feature.
func (s *Server) versions(*matrixhttp.Request) (any, error) {
	return map[string]any{
		"versions": []string{
			"r0.6.1", "v1.1", "v1.2", "v1.3", "v1.4", "v1.5", "v1.6", "v1.7", "v1.8", "v1.9", "v1.10", "v1.11", "v1.12", "v1.13",
			"v1.14", "v1.15", "v1.16", "v1.17", "v1.18", "v1.19",
		},
		"unstable_features": s.withEncryption(map[string]bool{
			"org.matrix.msc2285.stable": true, // private read receipts
			"uk.tcpip.msc4133.stable":   true, // profile fields
			// Rooms in common with another user, under both names.
			"uk.half-shot.msc2666.query_mutual_rooms":        true,
			"uk.half-shot.msc2666.query_mutual_rooms.stable": true,
			"org.matrix.simplified_msc3575":                  true, // sliding sync
			"org.matrix.msc3916.stable":                      true, // authenticated media
			"fi.mau.msc2246.stable":                          true, // asynchronous uploads
			// Threads, as clients of before v1.4 look for them.
			"org.matrix.msc3440.stable": true,
			"org.matrix.msc3715.stable": true,             // relations in both directions
			"org.matrix.msc3856.stable": true,             // the list of threads
			"org.matrix.msc3827.stable": true,             // the directory by types of rooms
			"fi.mau.msc2659.stable":     true,             // pings of application services
			"org.matrix.msc4380.stable": true,             // users who want no invites
			"org.matrix.msc4140":        s.delayed != nil, // events that are sent later
		}),
	}, nil
}

// wellKnown is GET /.well-known/matrix/client.
func (s *Server) wellKnown(*matrixhttp.Request) (any, error) {
	if s.options.PublicBaseURL == "" {
		return nil, merr.NotFound("This server announces no base URL")
	}
	return s.discovery(), nil
}

// discovery is the client configuration, nil if none is announced.
func (s *Server) discovery() any {
	if s.options.PublicBaseURL == "" {
		return nil
	}
	answer := map[string]any{"m.homeserver": map[string]string{"base_url": s.options.PublicBaseURL}}
	if list := s.transports(); len(list) > 0 {
		answer["org.matrix.msc4143.rtc_foci"] = list
	}
	return answer
}

// capabilities is GET /capabilities.
func (s *Server) capabilities(r *matrixhttp.Request) (any, error) {
	available := map[string]string{}
	for _, v := range pdu.Versions() {
		available[v.ID] = "stable"
	}
	on, off := map[string]bool{"enabled": true}, map[string]bool{"enabled": false}
	all := map[string]any{
		"m.room_versions":                   map[string]any{"default": DefaultRoomVersion, "available": available},
		"m.change_password":                 on,
		"org.matrix.msc4140.delayed_events": delayLimits(),
		"m.profile_fields":                  on,
		"m.set_displayname":                 on,
		"m.set_avatar_url":                  on,
		"m.3pid_changes":                    map[string]bool{"enabled": s.mail != nil},
		"m.get_login_token":                 on,
		"m.forget_forced_upon_leave":        off,
	}
	if userapi.Includes(r.Identity.Role, userapi.RoleModerate) {
		all["m.account_moderation"] = map[string]bool{"suspend": true, "lock": true}
	}
	return map[string]any{"capabilities": all}, nil
}

// noAuthMetadata is GET /auth_metadata: this server is no OAuth authorization server.
func (s *Server) noAuthMetadata(*matrixhttp.Request) (any, error) {
	return nil, merr.New(http.StatusNotFound, "M_UNRECOGNIZED", "This server is no OAuth authorization server: log in through /login")
}

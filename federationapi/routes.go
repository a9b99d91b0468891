package federationapi

import (
	"net/http"

	"hearth/federationapi/inbound"
	"hearth/internal/matrixhttp"
)

// Sizes of bodies in bytes: an event with what escapes and unsigned may add to it, an
// invite with the state of its room, and objects of other kinds.
const (
	eventBody  = 256 << 10
	inviteBody = 1 << 20
	objectBody = 1 << 20
)

// routes is the server-server API. A path and method that is not here is answered
// with M_UNRECOGNIZED.
func (s *Server) routes() []matrixhttp.Route {
	put := func(path string, size int64, h matrixhttp.Handler) matrixhttp.Route {
		return matrixhttp.Route{Method: http.MethodPut, Path: path, Auth: s.authenticate, Body: matrixhttp.Body{Max: size}, Handle: h}
	}
	post := func(path string, size int64, h matrixhttp.Handler) matrixhttp.Route {
		return matrixhttp.Route{Method: http.MethodPost, Path: path, Auth: s.authenticate, Body: matrixhttp.Body{Max: size}, Handle: h}
	}
	get := func(path string, h matrixhttp.Handler) matrixhttp.Route {
		return matrixhttp.Route{Method: http.MethodGet, Path: path, Auth: s.authenticate, Handle: h}
	}
	return []matrixhttp.Route{
		{Method: http.MethodGet, Path: v1 + "/version", Handle: s.version},
		{Method: http.MethodGet, Path: "/_matrix/key/v2/server", Handle: s.serverKeys},
		{Method: http.MethodGet, Path: "/_matrix/key/v2/server/{keyID}", Handle: s.serverKeys},
		{Method: http.MethodGet, Path: "/_matrix/key/v2/query/{serverName}", Handle: s.queryOne},
		{Method: http.MethodPost, Path: "/_matrix/key/v2/query", Body: matrixhttp.Body{Max: maxQuery}, Handle: s.queryMany},
		{Method: http.MethodGet, Path: v1 + "/openid/userinfo", Handle: s.openIDUser},
		{Method: http.MethodPut, Path: v1 + "/3pid/onbind", Body: matrixhttp.Body{Max: bindBody}, Handle: s.onBind},

		put(v1+"/send/{txnId}", inbound.MaxBody, s.transaction),
		get(v1+"/query/directory", s.quick(s.queryDirectory)),
		get(v1+"/query/profile", s.quick(s.queryProfile)),
		get(v1+"/publicRooms", s.quick(s.publicRooms)),
		post(v1+"/publicRooms", objectBody, s.quick(s.searchPublicRooms)),

		get(v1+"/make_join/{roomId}/{userId}", s.quick(s.makeMembership("join"))),
		get(v1+"/make_knock/{roomId}/{userId}", s.quick(s.makeMembership("knock"))),
		get(v1+"/make_leave/{roomId}/{userId}", s.quick(s.makeMembership("leave"))),
		put(v1+"/send_join/{roomId}/{eventId}", eventBody, s.heavy(s.sendJoinV1)),
		put(v2+"/send_join/{roomId}/{eventId}", eventBody, s.heavy(s.sendJoin)),
		put(v1+"/send_knock/{roomId}/{eventId}", eventBody, s.quick(s.sendKnock)),
		put(v1+"/send_leave/{roomId}/{eventId}", eventBody, s.quick(s.sendLeaveV1)),
		put(v2+"/send_leave/{roomId}/{eventId}", eventBody, s.quick(s.sendLeave)),
		put(v1+"/invite/{roomId}/{eventId}", inviteBody, s.quick(s.inviteV1)),
		put(v2+"/invite/{roomId}/{eventId}", inviteBody, s.quick(s.invite)),
		put(v1+"/exchange_third_party_invite/{roomId}", eventBody, s.quick(s.exchangeInvite)),

		get(v1+"/event/{eventId}", s.quick(s.event)),
		get(v1+"/state/{roomId}", s.heavy(s.state)),
		get(v1+"/state_ids/{roomId}", s.heavy(s.stateIDs)),
		get(v1+"/event_auth/{roomId}/{eventId}", s.heavy(s.eventAuth)),
		get(v1+"/backfill/{roomId}", s.heavy(s.backfill)),
		post(v1+"/get_missing_events/{roomId}", objectBody, s.heavy(s.missingEvents)),
		get(v1+"/timestamp_to_event/{roomId}", s.quick(s.eventAt)),
		get(v1+"/hierarchy/{roomId}", s.heavy(s.hierarchy)),

		get(v1+"/user/devices/{userId}", s.quick(s.userDevices)),
		post(v1+"/user/keys/query", objectBody, s.heavy(s.queryUserKeys)),
		post(v1+"/user/keys/claim", objectBody, s.quick(s.claimUserKeys)),
		get(v1+"/media/download/{mediaId}", s.limited(files, s.download)),
		get(v1+"/media/thumbnail/{mediaId}", s.limited(files, s.thumbnail)),
	}
}

// version is GET /_matrix/federation/v1/version.
func (s *Server) version(*matrixhttp.Request) (any, error) {
	return map[string]any{"server": map[string]string{"name": "Hearth", "version": s.deps.Version}}, nil
}

package clientapi

import (
	"net/http"

	"hearth/internal/matrixhttp"
	"hearth/syncapi/viewapi"
)

// Prefixes. Clients of the time of r0 get what v3 gives.
const (
	v3 = "/_matrix/client/(r0|v3)"
	v1 = "/_matrix/client/v1"
	// What clients of the time before the spec had it still call.
	unstable = "/_matrix/client/unstable"
	room     = v3 + "/rooms/{roomId}"
	own      = v3 + "/user/{userId}"
)

// Bodies. An event has at most 64 KiB as canonical JSON; clients may write it longer.
var (
	noneBody     = matrixhttp.Body{}
	objectBody   = matrixhttp.Body{Max: 64 << 10}
	optionalBody = matrixhttp.Body{Max: 64 << 10, MayBeEmpty: true}
	contentBody  = matrixhttp.Body{Max: 128 << 10}
	largeBody    = matrixhttp.Body{Max: 384 << 10}
	reportBody   = matrixhttp.Body{Max: 256 << 10}
	slidingBody  = matrixhttp.Body{Max: viewapi.MaxSlidingBody}
)

// line is a matrixhttp.Route.
type line struct {
	method, path string
	auth         matrixhttp.Auth
	body         matrixhttp.Body
	handle       matrixhttp.Handler
}

func table(lines []line) []matrixhttp.Route {
	routes := make([]matrixhttp.Route, len(lines))
	for i, l := range lines {
		routes[i] = matrixhttp.Route{Method: l.method, Path: l.path, Auth: l.auth, Body: l.body, Handle: l.handle}
	}
	return routes
}

// clientRoutes is the client-server API. A path and method that is not here is
// answered with M_UNRECOGNIZED, which tells clients that we have not got it.
func (s *Server) clientRoutes() []matrixhttp.Route {
	const get, put, post, del = http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete
	anyone := matrixhttp.Auth(nil)
	user, guest := s.user, s.guest // guest: a user, guests among them
	return append(table([]line{
		{get, "/.well-known/matrix/client", anyone, noneBody, s.wellKnown},
		{get, "/.well-known/matrix/server", anyone, noneBody, s.wellKnownServer},
		{get, "/_matrix/client/versions", anyone, noneBody, s.versions},
		{get, v3 + "/capabilities", user, noneBody, s.capabilities},

		{get, v3 + "/login", anyone, noneBody, s.loginFlows},
		{post, v3 + "/login", anyone, objectBody, s.login},
		{post, v3 + "/logout", user, optionalBody, s.logout},
		{post, v3 + "/logout/all", user, optionalBody, s.logoutAll},
		{post, v3 + "/register", anyone, objectBody, s.register},
		{get, v3 + "/register/available", anyone, noneBody, s.usernameAvailable},
		{get, v3 + "/account/whoami", guest, noneBody, s.whoami},
		{post, v3 + "/account/password", s.userOrNobody, objectBody, s.setPassword},
		{post, v3 + "/account/deactivate", s.userOrNobody, optionalBody, s.deactivate},
		{get, v3 + "/devices", guest, noneBody, s.devices},
		{get, v3 + "/devices/{deviceId}", guest, noneBody, s.device},
		{put, v3 + "/devices/{deviceId}", guest, objectBody, s.setDevice},
		{del, v3 + "/devices/{deviceId}", user, optionalBody, s.deleteDevice},
		{post, v3 + "/delete_devices", user, objectBody, s.deleteDevices},

		{get, v3 + "/profile/{userId}", anyone, noneBody, s.profile},
		{get, v3 + "/profile/{userId}/{keyName}", anyone, noneBody, s.profileField},
		{put, v3 + "/profile/{userId}/{keyName}", guest, objectBody, s.setProfileField},
		{del, v3 + "/profile/{userId}/{keyName}", guest, optionalBody, s.deleteProfileField},

		{post, own + "/filter", user, objectBody, s.putFilter},
		{get, own + "/filter/{filterId}", user, noneBody, s.filter},
		{get, own + "/account_data/{type}", user, noneBody, s.accountData},
		{put, own + "/account_data/{type}", user, largeBody, s.setAccountData},
		{get, own + "/rooms/{roomId}/account_data/{type}", user, noneBody, s.accountData},
		{put, own + "/rooms/{roomId}/account_data/{type}", user, largeBody, s.setAccountData},

		{post, v3 + "/createRoom", user, largeBody, s.createRoom},
		{post, v3 + "/join/{roomIdOrAlias}", user, optionalBody, s.join},
		{post, v3 + "/knock/{roomIdOrAlias}", user, optionalBody, s.knock},
		{get, v3 + "/joined_rooms", user, noneBody, s.joinedRooms},
		{post, room + "/join", guest, optionalBody, s.joinRoom},
		{post, room + "/leave", guest, optionalBody, s.leave},
		{post, room + "/forget", user, optionalBody, s.forget},
		{post, room + "/invite", user, objectBody, s.invite},
		{post, room + "/kick", user, objectBody, s.kick},
		{post, room + "/ban", user, objectBody, s.ban},
		{post, room + "/unban", user, objectBody, s.unban},

		{put, room + "/send/{eventType}/{txnId}", guest, contentBody, s.send},
		{put, room + "/redact/{eventId}/{txnId}", user, optionalBody, s.redact},
		{put, room + "/state/{eventType}", guest, contentBody, s.setState},
		{put, room + "/state/{eventType}/", guest, contentBody, s.setState},
		{put, room + "/state/{eventType}/{stateKey}", guest, contentBody, s.setState},

		{get, room + "/state", guest, noneBody, s.state},
		{get, room + "/state/{eventType}", guest, noneBody, s.stateEvent},
		{get, room + "/state/{eventType}/", guest, noneBody, s.stateEvent},
		{get, room + "/state/{eventType}/{stateKey}", guest, noneBody, s.stateEvent},
		{get, room + "/members", guest, noneBody, s.members},
		{get, room + "/joined_members", user, noneBody, s.joinedMembers},
		{get, room + "/event/{eventId}", guest, noneBody, s.event},
		{get, room + "/messages", guest, noneBody, s.messages},
		{get, room + "/context/{eventId}", guest, noneBody, s.context},
		{get, v1 + "/rooms/{roomId}/relations/{eventId}", user, noneBody, s.relations},
		{get, v1 + "/rooms/{roomId}/relations/{eventId}/{relType}", user, noneBody, s.relations},
		{get, v1 + "/rooms/{roomId}/relations/{eventId}/{relType}/{eventType}", user, noneBody, s.relations},
		{get, v1 + "/rooms/{roomId}/threads", user, noneBody, s.threads},
		{get, v1 + "/rooms/{roomId}/hierarchy", user, noneBody, s.hierarchy},
		{get, v1 + "/rooms/{roomId}/timestamp_to_event", user, noneBody, s.eventAt},
		{get, v1 + "/room_summary/{roomIdOrAlias}", s.userOrNobody, noneBody, s.roomSummary},
		{get, unstable + "/org.matrix.msc1763/retention/configuration", user, noneBody, s.retentionConfiguration},
		{get, unstable + "/im.nheko.summary/summary/{roomIdOrAlias}", s.userOrNobody, noneBody, s.roomSummary},
		{get, unstable + "/im.nheko.summary/rooms/{roomIdOrAlias}/summary", s.userOrNobody, noneBody, s.roomSummary},
		{post, room + "/upgrade", user, objectBody, s.upgrade},

		{get, v3 + "/publicRooms", anyone, noneBody, s.publicRooms},
		{post, v3 + "/publicRooms", user, optionalBody, s.searchPublicRooms},
		{get, v3 + "/directory/list/room/{roomId}", anyone, noneBody, s.directoryVisibility},
		{put, v3 + "/directory/list/room/{roomId}", user, optionalBody, s.setDirectoryVisibility},

		{get, room + "/aliases", user, noneBody, s.aliases},
		{get, v3 + "/directory/room/{roomAlias}", anyone, noneBody, s.resolveAlias},
		{put, v3 + "/directory/room/{roomAlias}", user, objectBody, s.setAlias},
		{del, v3 + "/directory/room/{roomAlias}", user, optionalBody, s.deleteAlias},

		{put, room + "/typing/{userId}", user, objectBody, s.typing},
		{post, room + "/receipt/{receiptType}/{eventId}", user, optionalBody, s.receipt},
		{post, room + "/read_markers", user, objectBody, s.readMarkers},

		{post, v3 + "/search", user, objectBody, s.search},
		{get, v3 + "/sync", guest, noneBody, s.sync},
		{get, v3 + "/initialSync", user, noneBody, s.initialSync},
		{get, room + "/initialSync", guest, noneBody, s.roomInitialSync},
		{get, v3 + "/events", guest, noneBody, s.events},
		{get, v3 + "/events/{eventId}", user, noneBody, s.oneEvent},
		{post, "/_matrix/client/v4/sync", user, slidingBody, s.slidingSync},
		{post, unstable + "/org.matrix.simplified_msc3575/sync", user, slidingBody, s.unstableSlidingSync},

		{get, v3 + "/pushrules/", user, noneBody, s.pushRules},
		{get, v3 + "/pushrules", user, noneBody, s.pushRules},
		{get, v3 + "/pushrules/global/", user, noneBody, s.pushRulesGlobal},
		{get, v3 + "/pushrules/global", user, noneBody, s.pushRulesGlobal},
		{get, v3 + "/pushrules/global/{kind}/{ruleId}", user, noneBody, s.pushRule},
		{put, v3 + "/pushrules/global/{kind}/{ruleId}", user, objectBody, s.putPushRule},
		{del, v3 + "/pushrules/global/{kind}/{ruleId}", user, optionalBody, s.deletePushRule},
		{get, v3 + "/pushrules/global/{kind}/{ruleId}/enabled", user, noneBody, s.pushRuleEnabled},
		{put, v3 + "/pushrules/global/{kind}/{ruleId}/enabled", user, objectBody, s.enablePushRule},
		{get, v3 + "/pushrules/global/{kind}/{ruleId}/actions", user, noneBody, s.pushRuleActions},
		{put, v3 + "/pushrules/global/{kind}/{ruleId}/actions", user, objectBody, s.setPushRuleActions},
		{get, v3 + "/voip/turnServer", user, noneBody, s.turnServer},

		{post, room + "/report", user, objectBody, s.reportRoom},
		{post, room + "/report/{eventId}", user, reportBody, s.reportEvent},
		{post, v3 + "/users/{userId}/report", user, objectBody, s.reportUser},
		{get, v3 + "/admin/whois/{userId}", user, noneBody, s.whois},
		{get, v1 + "/admin/suspend/{userId}", user, noneBody, s.suspension},
		{put, v1 + "/admin/suspend/{userId}", user, objectBody, s.suspend},
		{get, v1 + "/admin/lock/{userId}", user, noneBody, s.locking},
		{put, v1 + "/admin/lock/{userId}", user, objectBody, s.lock},

		{get, v3 + "/thirdparty/protocols", user, noneBody, s.thirdPartyProtocols},
		{get, v3 + "/thirdparty/protocol/{protocol}", user, noneBody, s.thirdPartyProtocol},
		{get, v3 + "/thirdparty/location", user, noneBody, s.thirdPartyLocations},
		{get, v3 + "/thirdparty/location/{protocol}", user, noneBody, s.thirdPartyLocations},
		{get, v3 + "/thirdparty/user", user, noneBody, s.thirdPartyUsers},
		{get, v3 + "/thirdparty/user/{protocol}", user, noneBody, s.thirdPartyUsers},
		{put, v3 + "/directory/list/appservice/{networkId}/{roomId}", s.service, objectBody, s.setNetworkVisibility},
		{post, v1 + "/appservice/{appserviceId}/ping", s.service, optionalBody, s.pingService},
	}), s.peopleRoutes()...)
}

// adminRoutes is the admin API, which has its own listener unless configured otherwise.
func (s *Server) adminRoutes() []matrixhttp.Route {
	return append(table([]line{
		{http.MethodGet, "/_synapse/admin/v1/register", nil, noneBody, s.registerNonce},
		{http.MethodPost, "/_synapse/admin/v1/register", nil, objectBody, s.registerShared},
	}), s.administration.Routes()...)
}

package admin

import (
	"net/http"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
)

const (
	v1   = "/_synapse/admin/v1"
	v2   = "/_synapse/admin/v2"
	v3   = "/_synapse/admin/v3"
	ours = "/_hearth/admin/v1"
)

var (
	noneBody     = matrixhttp.Body{}
	objectBody   = matrixhttp.Body{Max: 256 << 10}
	optionalBody = matrixhttp.Body{Max: 256 << 10, MayBeEmpty: true}
)

type line struct {
	method, path, role string
	body               matrixhttp.Body
	handle             matrixhttp.Handler
}

// Routes is the table of the API.
func (s *Server) Routes() []matrixhttp.Route {
	routes := []matrixhttp.Route{{Method: http.MethodGet, Path: v1 + "/server_version", Handle: s.serverVersion}}
	for _, l := range s.lines() {
		routes = append(routes, matrixhttp.Route{Method: l.method, Path: l.path, Auth: s.role(l.role), Body: l.body, Handle: l.handle})
	}
	return routes
}

func (s *Server) lines() []line {
	const get, put, post, del = http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete
	const read, moderate, admin = userapi.RoleRead, userapi.RoleModerate, userapi.RoleAdmin
	const user, devices = v1 + "/users/{userId}", v2 + "/users/{userId}/devices"
	const room, named = v1 + "/rooms/{roomId}", v1 + "/rooms/{roomIdOrAlias}"
	const file, remote = v1 + "/media/{serverName}/{mediaId}", v1 + "/federation/destinations"
	return []line{
		{get, v2 + "/users", read, noneBody, s.listUsers},
		{get, v3 + "/users", read, noneBody, s.listUsersV3},
		{get, v2 + "/users/{userId}", read, noneBody, s.getUser},
		{put, v2 + "/users/{userId}", moderate, objectBody, s.putUser},
		{get, v1 + "/username_available", read, noneBody, s.usernameAvailable},
		{post, v1 + "/deactivate/{userId}", moderate, optionalBody, s.deactivate},
		{put, v1 + "/suspend/{userId}", moderate, objectBody, s.suspend},
		{post, v1 + "/reset_password/{userId}", admin, objectBody, s.resetPassword},
		{post, user + "/login", admin, optionalBody, s.loginAs},
		{get, user + "/admin", read, noneBody, s.isAdmin},
		{put, user + "/admin", admin, objectBody, s.setAdmin},
		{post, user + "/shadow_ban", moderate, optionalBody, s.shadowBan},
		{del, user + "/shadow_ban", moderate, optionalBody, s.endShadowBan},
		{get, v1 + "/whois/{userId}", read, noneBody, s.whois},
		{get, user + "/joined_rooms", read, noneBody, s.joinedRooms},
		{get, user + "/memberships", read, noneBody, s.memberships},
		{get, user + "/accountdata", admin, noneBody, s.accountData},
		{get, v1 + "/threepid/{medium}/users/{address}", read, noneBody, s.threePIDOwner},

		{get, devices, read, noneBody, s.listDevices},
		{post, devices, admin, objectBody, s.createDevice},
		{get, devices + "/{deviceId}", read, noneBody, s.getDevice},
		{put, devices + "/{deviceId}", moderate, objectBody, s.putDevice},
		{del, devices + "/{deviceId}", moderate, optionalBody, s.deleteDevice},
		{post, v2 + "/users/{userId}/delete_devices", moderate, objectBody, s.deleteDevices},

		{get, v1 + "/registration_tokens", read, noneBody, s.listTokens},
		{post, v1 + "/registration_tokens/new", admin, optionalBody, s.newToken},
		{get, v1 + "/registration_tokens/{token}", read, noneBody, s.getToken},
		{put, v1 + "/registration_tokens/{token}", admin, objectBody, s.putToken},
		{del, v1 + "/registration_tokens/{token}", admin, optionalBody, s.deleteToken},

		{get, v1 + "/event_reports", read, noneBody, s.eventReports},
		{get, v1 + "/event_reports/{reportId}", read, noneBody, s.eventReport},
		{del, v1 + "/event_reports/{reportId}", moderate, optionalBody, s.deleteEventReport},
		{get, v1 + "/user_reports", read, noneBody, s.userReports},
		{get, v1 + "/user_reports/{reportId}", read, noneBody, s.userReport},
		{del, v1 + "/user_reports/{reportId}", moderate, optionalBody, s.deleteUserReport},

		{get, v1 + "/rooms", read, noneBody, s.listRooms},
		{get, room, read, noneBody, s.getRoom},
		{del, room, moderate, optionalBody, s.deleteRoomNow},
		{del, v2 + "/rooms/{roomId}", moderate, optionalBody, s.deleteRoom},
		{get, v2 + "/rooms/delete_status/{deleteId}", read, noneBody, s.deleteStatus},
		{get, v2 + "/rooms/{roomId}/delete_status", read, noneBody, s.deletesOfRoom},
		{get, room + "/members", read, noneBody, s.roomMembers},
		{get, room + "/state", moderate, noneBody, s.roomState},
		{get, room + "/messages", moderate, noneBody, s.roomMessages},
		{get, room + "/context/{eventId}", moderate, noneBody, s.roomContext},
		{get, room + "/timestamp_to_event", moderate, noneBody, s.eventAt},
		{get, room + "/hierarchy", read, noneBody, s.roomHierarchy},
		{get, room + "/block", read, noneBody, s.getBlock},
		{put, room + "/block", moderate, objectBody, s.putBlock},
		{post, named + "/make_room_admin", admin, optionalBody, s.makeRoomAdmin},
		{get, named + "/forward_extremities", read, noneBody, s.forwardExtremities},
		{del, named + "/forward_extremities", admin, optionalBody, s.joinExtremities},
		{post, v1 + "/join/{roomIdOrAlias}", moderate, objectBody, s.joinRoom},
		{get, v1 + "/fetch_event/{eventId}", moderate, noneBody, s.fetchEvent},

		{post, v1 + "/purge_history/{roomId}", moderate, objectBody, s.purgeHistory},
		{post, v1 + "/purge_history/{roomId}/{eventId}", moderate, optionalBody, s.purgeHistory},
		{get, v1 + "/purge_history_status/{purgeId}", read, noneBody, s.purgeStatus},
		{get, ours + "/retention", read, noneBody, s.getRetention},
		{put, ours + "/retention/policy", admin, objectBody, s.putPolicy},
		{del, ours + "/retention/policy", admin, optionalBody, s.resetPolicy},
		{put, ours + "/retention/rooms/{roomId}", admin, objectBody, s.putRoomLifetime},
		{post, ours + "/retention/run", admin, optionalBody, s.runRetention},
		{post, ours + "/retention/holds", admin, objectBody, s.placeHold},
		{del, ours + "/retention/holds/{holdId}", admin, optionalBody, s.liftHold},

		{post, v1 + "/user/{userId}/redact", moderate, objectBody, s.redactUser},
		{get, v1 + "/user/redact_status/{redactId}", read, noneBody, s.redactStatus},
		{get, v1 + "/scheduled_tasks", read, noneBody, s.scheduledTasks},
		{get, ours + "/jobs", read, noneBody, s.listJobs},
		{get, ours + "/jobs/{jobId}", read, noneBody, s.getJob},
		{del, ours + "/jobs/{jobId}", moderate, optionalBody, s.cancelJob},

		{get, file, read, noneBody, s.getMedia},
		{del, file, moderate, optionalBody, s.deleteMedia},
		{post, v1 + "/media/delete", moderate, optionalBody, s.deleteOldMedia},
		{post, v1 + "/media/{serverName}/delete", moderate, optionalBody, s.deleteOldMedia},
		{post, v1 + "/purge_media_cache", moderate, optionalBody, s.purgeMediaCache},
		{get, user + "/media", read, noneBody, s.userMedia},
		{del, user + "/media", moderate, optionalBody, s.deleteUserMedia},
		{get, v1 + "/room/{roomId}/media", moderate, noneBody, s.roomMedia},
		{post, v1 + "/media/quarantine/{serverName}/{mediaId}", moderate, optionalBody, s.quarantine},
		{post, v1 + "/media/unquarantine/{serverName}/{mediaId}", moderate, optionalBody, s.unquarantine},
		{post, v1 + "/user/{userId}/media/quarantine", moderate, optionalBody, s.quarantineUser},
		{post, v1 + "/room/{roomId}/media/quarantine", moderate, optionalBody, s.quarantineRoom},
		{post, v1 + "/quarantine_media/{roomId}", moderate, optionalBody, s.quarantineRoom},
		{post, v1 + "/media/protect/{mediaId}", moderate, optionalBody, s.protect},
		{post, v1 + "/media/unprotect/{mediaId}", moderate, optionalBody, s.unprotect},
		{get, v1 + "/statistics/users/media", read, noneBody, s.mediaStatistics},
		{get, v1 + "/statistics/database/rooms", read, noneBody, s.largestRooms},

		{get, user + "/pushers", read, noneBody, s.pushers},
		{get, user + "/override_ratelimit", read, noneBody, s.getRateLimit},
		{post, user + "/override_ratelimit", admin, optionalBody, s.setRateLimit},
		{del, user + "/override_ratelimit", admin, optionalBody, s.deleteRateLimit},
		{get, user + "/sent_invite_count", read, noneBody, s.sentInvites},
		{get, user + "/cumulative_joined_room_count", read, noneBody, s.joinedCount},
		{post, user + "/_allow_cross_signing_replacement_without_uia", admin, optionalBody, s.allowKeys},
		{get, v1 + "/auth_providers/{provider}/users/{externalId}", read, noneBody, s.externalOwner},
		{get, v1 + "/experimental_features/{userId}", read, noneBody, s.getFeatures},
		{put, v1 + "/experimental_features/{userId}", admin, objectBody, s.putFeatures},
		{post, v1 + "/account_validity/validity", admin, objectBody, s.setValidity},
		{get, v1 + "/background_updates/status", read, noneBody, s.backgroundUpdates},
		{post, v1 + "/background_updates/start_job", admin, objectBody, s.startUpdate},

		{get, remote, read, noneBody, s.listDestinations},
		{get, remote + "/{destination}", read, noneBody, s.getDestination},
		{get, remote + "/{destination}/rooms", read, noneBody, s.destinationRooms},
		{post, remote + "/{destination}/reset_connection", admin, optionalBody, s.resetDestination},

		{post, v1 + "/send_server_notice", moderate, objectBody, s.sendNotice},
		{put, v1 + "/send_server_notice/{txnId}", moderate, objectBody, s.sendNotice},

		{get, ours + "/policy/rules", read, noneBody, s.listRules},
		{post, ours + "/policy/rules", moderate, objectBody, s.addRule},
		{put, ours + "/policy/rules/{ruleId}", moderate, objectBody, s.putRule},
		{del, ours + "/policy/rules/{ruleId}", moderate, optionalBody, s.deleteRule},
		{post, ours + "/policy/check", read, objectBody, s.checkPolicy},
		{get, ours + "/policy/lists", read, noneBody, s.policyLists},
		{put, ours + "/policy/lists/{roomId}", admin, objectBody, s.putPolicyList},
		{del, ours + "/policy/lists/{roomId}", admin, optionalBody, s.deletePolicyList},
		{post, ours + "/users/{userId}/approve", moderate, optionalBody, s.approve},

		{get, ours + "/cases", read, noneBody, s.listCases},
		{get, ours + "/cases/{caseId}", read, noneBody, s.getCase},
		{put, ours + "/cases/{caseId}", moderate, objectBody, s.updateCase},
		{get, ours + "/reports/{reportId}", read, noneBody, s.anyReport},
		{get, ours + "/audit", read, noneBody, s.auditLog},
		{get, ours + "/audit/verify", read, noneBody, s.verifyAudit},
		{put, ours + "/users/{userId}/role", admin, objectBody, s.setRole},
		{put, ours + "/users/{userId}/lock", moderate, objectBody, s.lock},
	}
}

// serverVersion is GET /v1/server_version, for everybody.
func (s *Server) serverVersion(*matrixhttp.Request) (any, error) {
	return map[string]string{"server_version": s.Version}, nil
}

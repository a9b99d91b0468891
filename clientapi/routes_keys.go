package clientapi

import (
	"net/http"

	"hearth/internal/matrixhttp"
)

// Bodies of requests about keys. A request may name hundreds of devices.
var (
	keysBody     = matrixhttp.Body{Max: 768 << 10}
	toDeviceBody = matrixhttp.Body{Max: 4 << 20}
	backupBody   = matrixhttp.Body{Max: 8 << 20}
)

// dehydratedPath has only the name from before the spec: MSC3814 is not in it.
const dehydratedPath = unstable + "/org.matrix.msc3814.v1/dehydrated_device"

// keyRoutes are the endpoints of end-to-end encryption.
func (s *Server) keyRoutes() []matrixhttp.Route {
	const get, put, post, del = http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete
	user, guest := s.user, s.guest
	const backup, backups = v3 + "/room_keys/keys", v3 + "/room_keys/version"
	return table([]line{
		{post, v3 + "/keys/upload", guest, keysBody, s.uploadKeys},
		{post, v3 + "/keys/upload/{deviceId}", guest, keysBody, s.uploadKeys},
		{post, v3 + "/keys/query", guest, keysBody, s.queryKeys},
		{post, v3 + "/keys/claim", guest, keysBody, s.claimKeys},
		{get, v3 + "/keys/changes", user, noneBody, s.keyChanges},
		{post, v3 + "/keys/device_signing/upload", user, largeBody, s.setCrossSigning},
		{post, unstable + "/keys/device_signing/upload", user, largeBody, s.setCrossSigning},
		{post, v3 + "/keys/signatures/upload", user, keysBody, s.uploadSignatures},
		{post, unstable + "/keys/signatures/upload", user, keysBody, s.uploadSignatures},

		{put, v3 + "/sendToDevice/{eventType}/{txnId}", guest, toDeviceBody, s.sendToDevice},

		{post, backups, user, largeBody, s.createBackup},
		{get, backups, user, noneBody, s.backup},
		{get, backups + "/{version}", user, noneBody, s.backup},
		{put, backups + "/{version}", user, largeBody, s.setBackup},
		{del, backups + "/{version}", user, optionalBody, s.deleteBackup},
		{put, backup, user, backupBody, s.putBackupKeys},
		{get, backup, user, noneBody, s.backupKeys},
		{del, backup, user, optionalBody, s.deleteBackupKeys},
		{put, backup + "/{roomId}", user, backupBody, s.putRoomBackupKeys},
		{get, backup + "/{roomId}", user, noneBody, s.backupKeys},
		{del, backup + "/{roomId}", user, optionalBody, s.deleteBackupKeys},
		{put, backup + "/{roomId}/{sessionId}", user, largeBody, s.putBackupKey},
		{get, backup + "/{roomId}/{sessionId}", user, noneBody, s.backupKey},
		{del, backup + "/{roomId}/{sessionId}", user, optionalBody, s.deleteBackupKeys},

		{put, dehydratedPath, user, keysBody, s.putDehydrated},
		{get, dehydratedPath, user, noneBody, s.dehydrated},
		{del, dehydratedPath, user, optionalBody, s.deleteDehydrated},
		{get, dehydratedPath + "/{deviceId}/events", user, noneBody, s.dehydratedEvents},
		{post, dehydratedPath + "/{deviceId}/events", user, optionalBody, s.postDehydratedEvents},
	})
}

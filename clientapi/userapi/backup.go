package userapi

import (
	"encoding/json"

	"hearth/internal/bus"
)

// The backup of room keys (client-server API, "Server-side key backups"). A version
// that does not exist is 404 M_NOT_FOUND.
var (
	// CreateBackup makes a new version. It is not idempotent.
	CreateBackup = bus.Call[CreateBackupRequest, BackupVersion]{Subject: "userstore.backup.create"}
	// GetBackup describes a version, the current one if none is named.
	GetBackup = bus.Call[BackupRequest, BackupInfo]{Subject: "userstore.backup"}
	// SetBackup replaces the auth data: M_INVALID_PARAM if the algorithm is another.
	SetBackup = bus.Call[SetBackupRequest, Empty]{Subject: "userstore.backup.set"}
	// DeleteBackup deletes a version with its keys; one that was deleted is no error.
	DeleteBackup = bus.Call[BackupRequest, Empty]{Subject: "userstore.backup.delete"}
	// PutBackupKeys stores keys that are better than those that are there:
	// M_WRONG_ROOM_KEYS_VERSION with current_version unless the version is the current one.
	PutBackupKeys = bus.Call[PutBackupKeysRequest, BackupState]{Subject: "userstore.backup.keys.put"}
	// GetBackupKeys returns a page of keys in order of room and session.
	GetBackupKeys = bus.Call[BackupKeysRequest, BackupKeysResponse]{Subject: "userstore.backup.keys"}
	// DeleteBackupKeys deletes the keys that the request names.
	DeleteBackupKeys = bus.Call[BackupKeysRequest, BackupState]{Subject: "userstore.backup.keys.delete"}
)

// Limits of backups.
const (
	MaxBackups    = 1000      // versions of a user that are not deleted
	MaxBackupKeys = 2_000_000 // in a version
)

// BackupVersion names a version.
type BackupVersion struct{ Version string }

// CreateBackupRequest describes a new version.
type CreateBackupRequest struct {
	UserID    string
	Algorithm string
	AuthData  json.RawMessage // an object
}

// BackupRequest names a version; empty: the current one.
type BackupRequest struct{ UserID, Version string }

// SetBackupRequest carries new auth data.
type SetBackupRequest struct {
	UserID, Version string
	Algorithm       string
	AuthData        json.RawMessage // an object
}

// BackupInfo describes a version.
type BackupInfo struct {
	Algorithm string          `json:"algorithm"`
	AuthData  json.RawMessage `json:"auth_data"`
	Count     int64           `json:"count"`
	Etag      string          `json:"etag"`
	Version   string          `json:"version"`
}

// BackupKey is a key of a backup.
type BackupKey struct {
	RoomID      string          `json:"r"`
	SessionID   string          `json:"s"`
	FirstIndex  int64           `json:"i"`
	Forwarded   int64           `json:"f"`
	Verified    bool            `json:"v"`
	SessionData json.RawMessage `json:"d"` // an object
}

// PutBackupKeysRequest carries keys, of less than 900 KiB together.
type PutBackupKeysRequest struct {
	UserID, Version string
	Keys            []BackupKey
}

// BackupState is the number of keys in a version and a text that changes with them.
type BackupState struct {
	Count int64  `json:"count"`
	Etag  string `json:"etag"`
}

// BackupKeysRequest names keys: those of a room if RoomID is set, one if SessionID is
// set too. AfterRoom and AfterSession name the last key of the page before.
type BackupKeysRequest struct {
	UserID, Version         string
	RoomID, SessionID       string
	AfterRoom, AfterSession string
}

// BackupKeysResponse is a page of less than 512 KiB, or one larger key. The only key
// of a request with SessionID is 404 M_NOT_FOUND if it is not there.
type BackupKeysResponse struct {
	Keys []BackupKey
	More bool
}

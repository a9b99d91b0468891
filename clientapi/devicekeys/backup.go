package devicekeys

import (
	"context"
	"strconv"

	"hearth/clientapi/storage"
	"hearth/clientapi/userapi"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

// Bounds of backups, in bytes and keys.
const (
	maxAuthData    = 64 << 10
	maxSessionData = 64 << 10
	backupPage     = 1000
	backupBytes    = 400 << 10
)

func backupVersion(version string) (int64, error) {
	n, err := strconv.ParseInt(version, 10, 64)
	if err != nil || n < 1 || strconv.FormatInt(n, 10) != version {
		return 0, storage.UnknownBackup()
	}
	return n, nil
}

// owned returns the localpart and the version of a request.
func (k *Keys) owned(userID, version string) (localpart string, n int64, err error) {
	if localpart, err = k.local(userID); err == nil {
		n, err = backupVersion(version)
	}
	return localpart, n, err
}

func checkBackup(algorithm string, authData []byte) error {
	switch {
	case algorithm == "":
		return merr.MissingParam("algorithm")
	case absent(authData):
		return merr.MissingParam("auth_data")
	case !plain(algorithm, userapi.MaxKey):
		return invalid("Invalid algorithm")
	case pdu.Kind(authData) != '{':
		return merr.BadJSON("auth_data must be an object")
	case len(authData) > maxAuthData:
		return merr.TooLarge("auth_data is larger than %d bytes", maxAuthData)
	}
	return nil
}

func (k *Keys) createBackup(ctx context.Context, req *userapi.CreateBackupRequest) (*userapi.BackupVersion, error) {
	localpart, err := k.local(req.UserID)
	if err != nil {
		return nil, err
	}
	if err := checkBackup(req.Algorithm, req.AuthData); err != nil {
		return nil, err
	}
	version, err := k.users.CreateBackup(ctx, localpart, req.Algorithm, req.AuthData, userapi.MaxBackups)
	return &userapi.BackupVersion{Version: strconv.FormatInt(version, 10)}, err
}

func (k *Keys) getBackup(ctx context.Context, req *userapi.BackupRequest) (*userapi.BackupInfo, error) {
	localpart, err := k.local(req.UserID)
	if err != nil {
		return nil, err
	}
	version := int64(0)
	if req.Version != "" {
		if version, err = backupVersion(req.Version); err != nil {
			return nil, err
		}
	}
	b, err := k.users.Backup(ctx, localpart, version)
	if err != nil {
		return nil, err
	}
	return &userapi.BackupInfo{
		Algorithm: b.Algorithm, AuthData: b.AuthData, Count: b.Keys,
		Etag: etag(b), Version: strconv.FormatInt(b.Version, 10),
	}, nil
}

func etag(b storage.Backup) string { return strconv.FormatInt(b.Etag, 10) }

func (k *Keys) setBackup(ctx context.Context, req *userapi.SetBackupRequest) (*userapi.Empty, error) {
	localpart, version, err := k.owned(req.UserID, req.Version)
	if err != nil {
		return nil, err
	}
	if err := checkBackup(req.Algorithm, req.AuthData); err != nil {
		return nil, err
	}
	return &userapi.Empty{}, k.users.SetBackup(ctx, localpart, version, req.Algorithm, req.AuthData)
}

func (k *Keys) deleteBackup(ctx context.Context, req *userapi.BackupRequest) (*userapi.Empty, error) {
	localpart, version, err := k.owned(req.UserID, req.Version)
	if err != nil {
		return nil, err
	}
	return &userapi.Empty{}, k.users.DeleteBackup(ctx, localpart, version)
}

func (k *Keys) putBackupKeys(ctx context.Context, req *userapi.PutBackupKeysRequest) (*userapi.BackupState, error) {
	localpart, err := k.local(req.UserID)
	if err != nil {
		return nil, err
	}
	version, err := backupVersion(req.Version)
	if err != nil {
		version = -1 // is not the current one, which is an error of its own
	}
	keys := make([]storage.BackupKey, 0, len(req.Keys))
	for i := range req.Keys {
		in := &req.Keys[i]
		if !plain(in.RoomID, userapi.MaxKey) || !plain(in.SessionID, userapi.MaxKey) {
			return nil, invalid("Invalid room or session id")
		}
		if pdu.Kind(in.SessionData) != '{' {
			return nil, merr.BadJSON("session_data must be an object")
		}
		if len(in.SessionData) > maxSessionData {
			return nil, merr.TooLarge("session_data is larger than %d bytes", maxSessionData)
		}
		keys = append(keys, storage.BackupKey{
			Room: in.RoomID, Session: in.SessionID, First: in.FirstIndex, Forwarded: in.Forwarded,
			Verified: in.Verified, Data: in.SessionData,
		})
	}
	b, err := k.users.PutBackupKeys(ctx, localpart, version, keys, userapi.MaxBackupKeys)
	return &userapi.BackupState{Count: b.Keys, Etag: etag(b)}, err
}

func (k *Keys) getBackupKeys(ctx context.Context, req *userapi.BackupKeysRequest) (*userapi.BackupKeysResponse, error) {
	localpart, version, err := k.owned(req.UserID, req.Version)
	if err != nil {
		return nil, err
	}
	answer := &userapi.BackupKeysResponse{}
	var keys []storage.BackupKey
	if req.SessionID != "" {
		key, err := k.users.BackupKey(ctx, localpart, version, req.RoomID, req.SessionID)
		if err != nil {
			return nil, err
		}
		keys = []storage.BackupKey{key}
	} else {
		keys, answer.More, err = k.users.BackupKeys(ctx, localpart, version, req.RoomID,
			[2]string{req.AfterRoom, req.AfterSession}, backupPage, backupBytes)
		if err != nil {
			return nil, err
		}
	}
	for _, key := range keys {
		answer.Keys = append(answer.Keys, userapi.BackupKey{
			RoomID: key.Room, SessionID: key.Session, FirstIndex: key.First, Forwarded: key.Forwarded,
			Verified: key.Verified, SessionData: key.Data,
		})
	}
	return answer, nil
}

func (k *Keys) deleteBackupKeys(ctx context.Context, req *userapi.BackupKeysRequest) (*userapi.BackupState, error) {
	localpart, version, err := k.owned(req.UserID, req.Version)
	if err != nil {
		return nil, err
	}
	b, err := k.users.DeleteBackupKeys(ctx, localpart, version, req.RoomID, req.SessionID)
	return &userapi.BackupState{Count: b.Keys, Etag: etag(b)}, err
}

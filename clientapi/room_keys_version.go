package clientapi

import (
	"encoding/json"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

type backupRequest struct {
	Algorithm string          `json:"algorithm"`
	AuthData  json.RawMessage `json:"auth_data"`
	Version   *string         `json:"version"`
}

// createBackup is POST /room_keys/version.
func (s *Server) createBackup(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[backupRequest](r)
	if err != nil {
		return nil, err
	}
	answer, err := userapi.CreateBackup.Do(r.Context(), s.bus, &userapi.CreateBackupRequest{
		UserID: r.Identity.UserID, Algorithm: req.Algorithm, AuthData: req.AuthData,
	})
	if err != nil {
		return nil, err
	}
	return map[string]string{"version": answer.Version}, nil
}

// backup is GET /room_keys/version/{version}, or without a version the current one.
func (s *Server) backup(r *matrixhttp.Request) (any, error) {
	answer, err := userapi.GetBackup.Do(r.Context(), s.bus, &userapi.BackupRequest{
		UserID: r.Identity.UserID, Version: r.Param("version"),
	})
	if err != nil {
		return nil, err
	}
	return answer, nil
}

// setBackup is PUT /room_keys/version/{version}.
func (s *Server) setBackup(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[backupRequest](r)
	if err != nil {
		return nil, err
	}
	if req.Version != nil && *req.Version != r.Param("version") {
		return nil, merr.InvalidParam("The version in the body is not the one in the path")
	}
	_, err = userapi.SetBackup.Do(r.Context(), s.bus, &userapi.SetBackupRequest{
		UserID: r.Identity.UserID, Version: r.Param("version"), Algorithm: req.Algorithm, AuthData: req.AuthData,
	})
	return nil, err
}

// deleteBackup is DELETE /room_keys/version/{version}.
func (s *Server) deleteBackup(r *matrixhttp.Request) (any, error) {
	_, err := userapi.DeleteBackup.Do(r.Context(), s.bus, &userapi.BackupRequest{
		UserID: r.Identity.UserID, Version: r.Param("version"),
	})
	return nil, err
}

package clientapi

import (
	"encoding/json"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

type uploadKeysRequest struct {
	DeviceKeys   json.RawMessage            `json:"device_keys"`
	OneTimeKeys  map[string]json.RawMessage `json:"one_time_keys"`
	FallbackKeys map[string]json.RawMessage `json:"fallback_keys"`
	// FallbackKeysOld is the name from before the spec had them.
	FallbackKeysOld map[string]json.RawMessage `json:"org.matrix.msc2732.fallback_keys"`
}

// uploadKeys is POST /keys/upload.
func (s *Server) uploadKeys(r *matrixhttp.Request) (any, error) {
	if r.Identity.DeviceID == "" {
		return nil, merr.InvalidParam("Keys belong to a device, and this access token has none")
	}
	// Clients of the time of r0 name the device in the path.
	if id := r.Param("deviceId"); id != "" && id != r.Identity.DeviceID {
		return nil, merr.InvalidParam("Keys can only be uploaded for the device that asks")
	}
	req, err := matrixhttp.Decode[uploadKeysRequest](r)
	if err != nil {
		return nil, err
	}
	if req.FallbackKeys == nil {
		req.FallbackKeys = req.FallbackKeysOld
	}
	answer, err := userapi.UploadKeys.Do(r.Context(), s.bus, &userapi.UploadKeysRequest{
		UserID: r.Identity.UserID, DeviceID: r.Identity.DeviceID,
		DeviceKeys: req.DeviceKeys, OneTimeKeys: req.OneTimeKeys, FallbackKeys: req.FallbackKeys,
	})
	if err != nil {
		return nil, err
	}
	if answer.Counts == nil {
		answer.Counts = map[string]int64{}
	}
	return map[string]any{"one_time_key_counts": answer.Counts}, nil
}

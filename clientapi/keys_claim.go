package clientapi

import (
	"encoding/json"
	"maps"
	"slices"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

type claimKeysRequest struct {
	Timeout     *int64                       `json:"timeout"`
	OneTimeKeys map[string]map[string]string `json:"one_time_keys"`
}

// claimKeys is POST /keys/claim.
func (s *Server) claimKeys(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[claimKeysRequest](r)
	if err != nil {
		return nil, err
	}
	if req.OneTimeKeys == nil {
		return nil, merr.MissingParam("one_time_keys")
	}
	servers, err := byServer(req.OneTimeKeys)
	if err != nil {
		return nil, err
	}
	keys := map[string]map[string]json.RawMessage{}
	if err := s.claimLocalKeys(r, servers[s.serverName], keys); err != nil {
		return nil, err
	}
	delete(servers, s.serverName)
	timeout := int64(0)
	if req.Timeout != nil {
		timeout = max(0, *req.Timeout)
	}
	failures := s.claimElsewhere(r.Context(), servers, timeout, keys)
	body := appendObject([]byte(`{"one_time_keys":`), keys, func(dst []byte, devices map[string]json.RawMessage) []byte {
		return appendObject(dst, devices, appendRaw)
	})
	body = appendObject(append(body, `,"failures":`...), failures, appendFailure)
	return matrixhttp.Raw(append(body, '}')), nil
}

func (s *Server) claimLocalKeys(r *matrixhttp.Request, users map[string]map[string]string, keys map[string]map[string]json.RawMessage) error {
	var claims []userapi.KeyClaim
	for _, user := range slices.Sorted(maps.Keys(users)) {
		for _, device := range slices.Sorted(maps.Keys(users[user])) {
			claims = append(claims, userapi.KeyClaim{UserID: user, DeviceID: device, Algorithm: users[user][device]})
		}
	}
	for part := range slices.Chunk(claims, userapi.MaxClaims) {
		answer, err := userapi.ClaimKeys.Do(r.Context(), s.bus, &userapi.ClaimKeysRequest{Claims: part})
		if err != nil {
			return err
		}
		for i, k := range answer.Keys {
			if k.Name == "" || i >= len(part) {
				continue
			}
			user := part[i].UserID
			if keys[user] == nil {
				keys[user] = map[string]json.RawMessage{}
			}
			named := append(pdu.AppendString([]byte{'{'}, k.Name), ':')
			keys[user][part[i].DeviceID] = append(append(named, k.Key...), '}')
		}
	}
	return nil
}

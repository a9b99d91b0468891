package federationapi

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

// keyValidity is how long others may trust our key without asking again. The spec
// lets them believe at most 7 days; a day bounds what a stolen key is good for.
const keyValidity = 24 * time.Hour

// serverKeys is GET /_matrix/key/v2/server (server-server API, "Publishing Keys"). Old
// servers name a key in the path, and get all as well.
func (s *Server) serverKeys(*matrixhttp.Request) (any, error) {
	keys, err := s.ownKeys()
	if err != nil {
		return nil, err
	}
	return matrixhttp.Raw(keys), nil
}

// ownKeys is what we say of our keys, signed.
func (s *Server) ownKeys() ([]byte, error) {
	public, ok := s.deps.Key.Key.Public().(ed25519.PublicKey)
	if !ok {
		return nil, merr.Internal(fmt.Errorf("the signing key is not usable"))
	}
	body, err := json.Marshal(map[string]any{
		"server_name":    s.deps.ServerName,
		"valid_until_ts": s.deps.Now().Add(keyValidity).UnixMilli(),
		"verify_keys": map[string]any{
			s.deps.Key.KeyID: map[string]string{"key": base64.RawStdEncoding.EncodeToString(public)},
		},
		"old_verify_keys": map[string]any{},
	})
	if err != nil {
		return nil, merr.Internal(err)
	}
	return pdu.SignJSON(body, s.deps.Key)
}

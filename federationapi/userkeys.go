package federationapi

import (
	"encoding/json"
	"io"
	"maps"
	"slices"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

// maxKeyUsers is how many users one request may ask about, maxKeyDevices about how many
// devices of one of them.
const (
	maxKeyUsers   = 2000
	maxKeyDevices = 1000
)

type queryKeysRequest struct {
	DeviceKeys map[string][]string `json:"device_keys"`
}

// queryUserKeys is POST /_matrix/federation/v1/user/keys/query ("End-to-End Encryption"). Users
// of other servers are left out.
func (s *Server) queryUserKeys(r *matrixhttp.Request) (any, error) {
	body, err := matrixhttp.Decode[queryKeysRequest](r)
	if err != nil {
		return nil, err
	}
	if body.DeviceKeys == nil {
		return nil, merr.MissingParam("device_keys")
	}
	req := &userapi.QueryKeysRequest{Users: map[string][]string{}}
	for user, devices := range body.DeviceKeys {
		if len(devices) > maxKeyDevices {
			return nil, merr.InvalidParam("More than %d devices of a user", maxKeyDevices)
		}
		if s.local(user) {
			req.Users[user] = devices
		}
	}
	if len(req.Users) > maxKeyUsers {
		return nil, merr.InvalidParam("More than %d users", maxKeyUsers)
	}
	ctx := r.Context()
	return matrixhttp.Stream(func(w io.Writer) error {
		a := &keysAnswer{w: w, left: req.Users, cross: map[int]map[string]json.RawMessage{userapi.MasterPart: {}, userapi.SelfSigningPart: {}}}
		if err := userapi.ReadKeys(ctx, s.deps.Bus, req, a.add); err != nil {
			return err
		}
		return a.finish()
	}), nil
}

// local reports whether a user is of this server.
func (s *Server) local(userID string) bool {
	_, domain, err := pdu.ParseUserID(userID)
	return err == nil && domain == s.deps.ServerName
}

// keysAnswer writes the keys of devices as they come; only cross-signing keys, of which a
// user has two, wait for the end.
type keysAnswer struct {
	w     io.Writer
	buf   []byte
	begun bool
	user  string              // whose devices are being written
	left  map[string][]string // users of whom nothing was written yet
	cross map[int]map[string]json.RawMessage
}

// keysChunk is how much is written at once, in bytes.
const keysChunk = 64 << 10

func (a *keysAnswer) add(p *userapi.KeyPart) error {
	if p.Part != userapi.DeviceKeysPart {
		if keys := a.cross[p.Part]; keys != nil {
			keys[p.UserID] = p.Keys
		}
		return nil
	}
	if a.user != p.UserID {
		a.open(p.UserID)
	} else {
		a.buf = append(a.buf, ',')
	}
	a.buf = append(append(pdu.AppendString(a.buf, p.DeviceID), ':'), p.Keys...)
	return a.flush(keysChunk)
}

// open ends the devices of one user and begins those of the next.
func (a *keysAnswer) open(user string) {
	switch {
	case !a.begun:
		a.buf = append(a.buf, `{"device_keys":{`...)
	case a.user != "":
		a.buf = append(a.buf, "},"...)
	}
	a.begun, a.user = true, user
	delete(a.left, user)
	a.buf = append(pdu.AppendString(a.buf, user), ":{"...)
}

func (a *keysAnswer) flush(least int) error {
	if len(a.buf) < least {
		return nil
	}
	_, err := a.w.Write(a.buf)
	a.buf = a.buf[:0]
	return err
}

// finish writes the users without devices, so that those are known to be gone, and the
// cross-signing keys.
func (a *keysAnswer) finish() error {
	for _, user := range slices.Sorted(maps.Keys(a.left)) {
		a.open(user)
	}
	switch {
	case !a.begun:
		a.buf = append(a.buf, `{"device_keys":{`...)
	default:
		a.buf = append(a.buf, '}')
	}
	a.buf = append(a.buf, '}')
	for _, part := range []struct {
		name string
		part int
	}{{"master_keys", userapi.MasterPart}, {"self_signing_keys", userapi.SelfSigningPart}} {
		a.buf = append(pdu.AppendString(append(a.buf, ','), part.name), ":{"...)
		for i, user := range slices.Sorted(maps.Keys(a.cross[part.part])) {
			if i > 0 {
				a.buf = append(a.buf, ',')
			}
			a.buf = append(append(pdu.AppendString(a.buf, user), ':'), a.cross[part.part][user]...)
		}
		a.buf = append(a.buf, '}')
	}
	a.buf = append(a.buf, '}')
	return a.flush(0)
}

type claimKeysRequest struct {
	OneTimeKeys map[string]map[string]string `json:"one_time_keys"`
}

// claimUserKeys is POST /_matrix/federation/v1/user/keys/claim. Users of other servers are
// left out.
func (s *Server) claimUserKeys(r *matrixhttp.Request) (any, error) {
	body, err := matrixhttp.Decode[claimKeysRequest](r)
	if err != nil {
		return nil, err
	}
	if body.OneTimeKeys == nil {
		return nil, merr.MissingParam("one_time_keys")
	}
	var claims []userapi.KeyClaim
	for _, user := range slices.Sorted(maps.Keys(body.OneTimeKeys)) {
		if !s.local(user) {
			continue
		}
		devices := body.OneTimeKeys[user]
		for _, device := range slices.Sorted(maps.Keys(devices)) {
			claims = append(claims, userapi.KeyClaim{UserID: user, DeviceID: device, Algorithm: devices[device]})
		}
	}
	if len(claims) > userapi.MaxClaims {
		return nil, merr.InvalidParam("More than %d keys", userapi.MaxClaims)
	}
	keys := map[string]map[string]map[string]json.RawMessage{}
	if len(claims) == 0 {
		return map[string]any{"one_time_keys": keys}, nil
	}
	answer, err := userapi.ClaimKeys.Do(r.Context(), s.deps.Bus, &userapi.ClaimKeysRequest{Claims: claims})
	if err != nil {
		return nil, err
	}
	for i, k := range answer.Keys[:min(len(answer.Keys), len(claims))] {
		if k.Name == "" {
			continue
		}
		c := claims[i]
		if keys[c.UserID] == nil {
			keys[c.UserID] = map[string]map[string]json.RawMessage{}
		}
		keys[c.UserID][c.DeviceID] = map[string]json.RawMessage{k.Name: k.Key}
	}
	return map[string]any{"one_time_keys": keys}, nil
}

// userDevices is GET /_matrix/federation/v1/user/devices/{userId} ("Device Management").
func (s *Server) userDevices(r *matrixhttp.Request) (any, error) {
	user := r.Param("userId")
	if !s.local(user) {
		return nil, merr.NotFound("There is no such user here")
	}
	if _, err := userapi.GetUser.Do(r.Context(), s.deps.Bus, &userapi.UserRequest{UserID: user}); err != nil {
		return nil, err
	}
	known, err := userapi.UserDevices(r.Context(), s.deps.Bus, user)
	if err != nil {
		return nil, err
	}
	type device struct {
		ID   string          `json:"device_id"`
		Name string          `json:"device_display_name,omitempty"`
		Keys json.RawMessage `json:"keys"`
	}
	answer := struct {
		UserID      string          `json:"user_id"`
		StreamID    int64           `json:"stream_id"`
		Devices     []device        `json:"devices"`
		Master      json.RawMessage `json:"master_key,omitempty"`
		SelfSigning json.RawMessage `json:"self_signing_key,omitempty"`
	}{user, known.StreamID, make([]device, len(known.Devices)), known.Master, known.SelfSigning}
	for i, d := range known.Devices {
		unsigned, _ := pdu.Get(d.Keys, "unsigned")
		name, _ := pdu.GetString(unsigned, "device_display_name")
		answer.Devices[i] = device{d.DeviceID, name, d.Keys}
	}
	return answer, nil
}

package clientapi

import (
	"context"
	"encoding/json"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

type queryKeysRequest struct {
	Timeout    *int64              `json:"timeout"`
	DeviceKeys map[string][]string `json:"device_keys"`
}

// queryKeys is POST /keys/query. What is not kept here of users of other servers is asked
// of these, all at once; one that does not answer is a failure of its own.
func (s *Server) queryKeys(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[queryKeysRequest](r)
	if err != nil {
		return nil, err
	}
	if req.DeviceKeys == nil {
		return nil, merr.MissingParam("device_keys")
	}
	if _, err := byServer(req.DeviceKeys); err != nil {
		return nil, err
	}
	answer := newKeyAnswer()
	asks, err := s.queryKeptKeys(r.Context(), r.Identity.UserID, req.DeviceKeys, answer)
	if err != nil {
		return nil, err
	}
	failures := s.askForKeys(r.Context(), r.Identity.UserID, asks, keysTimeout(req.Timeout), answer)
	return answer.finish(failures)
}

// keysTimeout is how long other servers may take, in milliseconds; 0: as long as usual.
func keysTimeout(given *int64) int64 {
	if given == nil {
		return 0
	}
	return max(*given, 0)
}

// byServer groups what is asked of users by their servers.
func byServer[T any](users map[string]T) (map[string]map[string]T, error) {
	servers := map[string]map[string]T{}
	for id, v := range users {
		if _, _, err := pdu.ParseUserID(id); err != nil {
			return nil, merr.InvalidParam("Invalid user id")
		}
		server := pdu.Domain(id)
		if servers[server] == nil {
			servers[server] = map[string]T{}
		}
		servers[server][id] = v
	}
	return servers, nil
}

// unreachable is the failure of a server that cannot be asked.
func unreachable(server string) *merr.Error {
	return merr.Unavailable("The server %s could not be reached", server)
}

// queryKeptKeys adds what the user store has, and returns what other servers must be asked.
func (s *Server) queryKeptKeys(ctx context.Context, viewer string, users map[string][]string, answer *keyAnswer) (keyAsks, error) {
	for id := range users {
		if pdu.Domain(id) == s.serverName {
			answer.user(id)
		}
	}
	asks := keyAsks{}
	err := userapi.ReadKeys(ctx, s.bus, &userapi.QueryKeysRequest{Viewer: viewer, Users: users}, func(p *userapi.KeyPart) error {
		switch ask := asks.of(p.UserID); {
		case p.Part == userapi.AskPart:
			asks.add(p, users[p.UserID])
		case ask != nil:
			ask.spare = append(ask.spare, p)
		default:
			answer.add(p)
		}
		return nil
	})
	return asks, err
}

// keyAnswer is the body of an answer under construction.
type keyAnswer struct {
	devices map[string]map[string]json.RawMessage
	cross   map[int]map[string]json.RawMessage // by part
}

func newKeyAnswer() *keyAnswer {
	return &keyAnswer{
		devices: map[string]map[string]json.RawMessage{},
		cross:   map[int]map[string]json.RawMessage{userapi.MasterPart: {}, userapi.SelfSigningPart: {}, userapi.UserSigningPart: {}},
	}
}

// user notes that the server of a user answered: a user without devices has an empty
// map, which tells clients that the devices that they knew are gone.
func (a *keyAnswer) user(id string) map[string]json.RawMessage {
	if a.devices[id] == nil {
		a.devices[id] = map[string]json.RawMessage{}
	}
	return a.devices[id]
}

func (a *keyAnswer) add(p *userapi.KeyPart) {
	if p.Part == userapi.DeviceKeysPart {
		a.user(p.UserID)[p.DeviceID] = p.Keys
	} else if keys := a.cross[p.Part]; keys != nil {
		keys[p.UserID] = p.Keys
	}
}

func (a *keyAnswer) finish(failures map[string]*merr.Error) (any, error) {
	body := appendObject([]byte(`{"device_keys":`), a.devices, func(dst []byte, devices map[string]json.RawMessage) []byte {
		return appendObject(dst, devices, appendRaw)
	})
	body = appendObject(append(body, `,"failures":`...), failures, appendFailure)
	for name, part := range map[string]int{
		"master_keys": userapi.MasterPart, "self_signing_keys": userapi.SelfSigningPart, "user_signing_keys": userapi.UserSigningPart,
	} {
		body = append(pdu.AppendString(append(body, ','), name), ':')
		body = appendObject(body, a.cross[part], appendRaw)
	}
	return matrixhttp.Raw(append(body, '}')), nil
}

// appendObject writes a map as a JSON object; encoding/json would check and copy each
// value again.
func appendObject[T any](dst []byte, m map[string]T, value func([]byte, T) []byte) []byte {
	dst = append(dst, '{')
	first := true
	for k, v := range m {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = value(append(pdu.AppendString(dst, k), ':'), v)
	}
	return append(dst, '}')
}

func appendRaw(dst []byte, v json.RawMessage) []byte { return append(dst, v...) }

func appendFailure(dst []byte, e *merr.Error) []byte { return append(dst, e.Body()...) }

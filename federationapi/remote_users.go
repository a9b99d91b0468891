package federationapi

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"hearth/federationapi/remoteapi"
	"hearth/federationapi/transport"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

const (
	usualKeysTime = 10 * time.Second
	maxKeysTime   = time.Minute
	maxDevices    = 10_000 // of one user
)

// profile asks for what a user says of himself.
func (r *remote) profile(ctx context.Context, req *remoteapi.ProfileRequest) (*remoteapi.Object, error) {
	server, err := r.validUser(req.UserID)
	if err != nil {
		return nil, err
	}
	query := url.Values{"user_id": {req.UserID}}
	if req.Field != "" {
		query.Set("field", req.Field)
	}
	answer, err := r.object(ctx, server, v1+"/query/profile", query, false)
	if err != nil {
		return nil, err
	}
	out := map[string]json.RawMessage{}
	pdu.Members(answer, func(key string, val []byte) bool {
		text := key == "displayname" || key == "avatar_url"
		if len(key) <= pdu.MaxIDLength && pdu.Kind(val) != 'n' && (!text || pdu.Kind(val) == '"') && (req.Field == "" || key == req.Field) {
			out[key] = val
		}
		return true
	})
	if req.Field != "" && out[req.Field] == nil {
		return nil, merr.NotFound("The profile has no such field")
	}
	return &remoteapi.Object{JSON: encode(out)}, nil
}

// queryKeys asks for keys of devices and of cross-signing.
func (r *remote) queryKeys(ctx context.Context, req *remoteapi.KeysRequest) (*remoteapi.Object, error) {
	answer, err := r.keysCall(ctx, req, "/user/keys/query", "device_keys")
	if err != nil {
		return nil, err
	}
	asked := askedUsers(req)
	out := map[string]map[string]json.RawMessage{"device_keys": {}, "master_keys": {}, "self_signing_keys": {}}
	devices, _ := pdu.Get(answer, "device_keys")
	pdu.Members(devices, func(user string, val []byte) bool {
		if asked[user] && pdu.Kind(val) == '{' {
			out["device_keys"][user] = encode(goodDevices(user, val))
		}
		return true
	})
	for _, list := range []string{"master_keys", "self_signing_keys"} {
		keys, _ := pdu.Get(answer, list)
		pdu.Members(keys, func(user string, val []byte) bool {
			if asked[user] && isCrossSigningKey(user, val) {
				out[list][user] = val
			}
			return true
		})
	}
	return &remoteapi.Object{JSON: encode(out)}, nil
}

// keysCall sends a request of a user who waits for keys.
func (r *remote) keysCall(ctx context.Context, req *remoteapi.KeysRequest, path, key string) (json.RawMessage, error) {
	timeout := usualKeysTime
	if req.TimeoutMS > 0 {
		timeout = time.Duration(min(req.TimeoutMS, maxKeysTime.Milliseconds())) * time.Millisecond
	}
	if pdu.Kind(req.Keys) != '{' {
		return nil, merr.BadJSON("%s must be an object", key)
	}
	// A user who waits for a short time says nothing about the server.
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answer, err := r.ask.Do(ctx, transport.Request{
		Destination: req.Destination, Method: http.MethodPost, Path: v1 + path, Body: encode(map[string]json.RawMessage{key: req.Keys}),
		MaxAnswer: maxCallAnswer, Timeout: maxKeysTime,
	}, false)
	return answer, err
}

// askedUsers are the users of the other server in a request.
func askedUsers(req *remoteapi.KeysRequest) map[string]bool {
	asked := map[string]bool{}
	pdu.Members(req.Keys, func(user string, _ []byte) bool {
		if pdu.Domain(user) == req.Destination {
			asked[user] = true
		}
		return true
	})
	return asked
}

// goodDevices keeps the device keys of a user that say whose they are.
func goodDevices(user string, devices []byte) map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	pdu.Members(devices, func(device string, val []byte) bool {
		if isDeviceKeys(user, device, val) {
			out[device] = val
		}
		return len(out) < maxDevices
	})
	return out
}

func isDeviceKeys(user, device string, val []byte) bool {
	owner, _ := pdu.GetString(val, "user_id")
	id, _ := pdu.GetString(val, "device_id")
	algorithms, _ := pdu.Get(val, "algorithms")
	return owner == user && id == device && device != "" && pdu.Kind(algorithms) == '[' && stringsIn(val, "keys") && hasObject(val, "signatures")
}

func isCrossSigningKey(user string, val []byte) bool {
	owner, _ := pdu.GetString(val, "user_id")
	usage, _ := pdu.Get(val, "usage")
	return owner == user && pdu.Kind(usage) == '[' && stringsIn(val, "keys")
}

func hasObject(val []byte, key string) bool {
	object, _ := pdu.Get(val, key)
	return pdu.Kind(object) == '{'
}

// stringsIn reports whether a member is an object of strings.
func stringsIn(val []byte, key string) bool {
	object, _ := pdu.Get(val, key)
	all := true
	return pdu.Members(object, func(_ string, v []byte) bool { all = all && pdu.Kind(v) == '"'; return all }) && all
}

// claimKeys claims one-time keys.
func (r *remote) claimKeys(ctx context.Context, req *remoteapi.KeysRequest) (*remoteapi.Object, error) {
	answer, err := r.keysCall(ctx, req, "/user/keys/claim", "one_time_keys")
	if err != nil {
		return nil, err
	}
	asked := askedUsers(req)
	out := map[string]map[string]json.RawMessage{}
	all, _ := pdu.Get(answer, "one_time_keys")
	pdu.Members(all, func(user string, devices []byte) bool {
		if !asked[user] {
			return true
		}
		wanted, _ := pdu.Get(req.Keys, user)
		good := map[string]json.RawMessage{}
		pdu.Members(devices, func(device string, keys []byte) bool {
			if _, ok := pdu.Get(wanted, device); ok && isClaimed(keys) {
				good[device] = keys
			}
			return true
		})
		if len(good) > 0 {
			out[user] = good
		}
		return true
	})
	return &remoteapi.Object{JSON: encode(map[string]any{"one_time_keys": out})}, nil
}

// isClaimed reports whether a device has given one key, as a string or an object.
func isClaimed(keys []byte) bool {
	n, good := 0, true
	pdu.Members(keys, func(_ string, key []byte) bool {
		n++
		good = good && (pdu.Kind(key) == '"' || pdu.Kind(key) == '{')
		return good
	})
	return n == 1 && good
}

// userDevices asks for all devices of a user.
func (r *remote) userDevices(ctx context.Context, req *remoteapi.UserRequest) (*remoteapi.Object, error) {
	server, err := r.validUser(req.UserID)
	if err != nil {
		return nil, err
	}
	answer, err := r.object(ctx, server, path(v1+"/user/devices", req.UserID), nil, false)
	if err != nil {
		return nil, err
	}
	user, _ := pdu.GetString(answer, "user_id")
	stream, ok := pdu.GetInt(answer, "stream_id")
	list, _ := pdu.Get(answer, "devices")
	if user != req.UserID || !ok || pdu.Kind(list) != '[' {
		return nil, transport.Malformed("not the devices of the user")
	}
	devices := []json.RawMessage{}
	pdu.Elements(list, func(d []byte) bool {
		id, _ := pdu.GetString(d, "device_id")
		keys, _ := pdu.Get(d, "keys")
		name, named := pdu.Get(d, "device_display_name")
		if isDeviceKeys(user, id, keys) && (!named || pdu.Kind(name) == '"' || pdu.Kind(name) == 'n') {
			devices = append(devices, d)
		}
		return len(devices) < maxDevices
	})
	out := map[string]any{"user_id": user, "stream_id": stream, "devices": devices}
	for _, key := range []string{"master_key", "self_signing_key"} {
		if val, _ := pdu.Get(answer, key); isCrossSigningKey(user, val) {
			out[key] = json.RawMessage(val)
		}
	}
	return &remoteapi.Object{JSON: encode(out)}, nil
}

// openID asks whose token it is.
func (r *remote) openID(ctx context.Context, req *remoteapi.OpenIDRequest) (*remoteapi.Object, error) {
	answer, err := r.ask.Do(ctx, transport.Request{
		Destination: req.Destination, Method: http.MethodGet, Path: v1 + "/openid/userinfo",
		Query: url.Values{"access_token": {req.Token}}, Unsigned: true, MaxAnswer: 64 << 10,
	}, true)
	if err != nil {
		return nil, err
	}
	user, _ := pdu.GetString(answer, "sub")
	if _, domain, err := pdu.ParseUserID(user); err != nil || domain != req.Destination {
		return nil, transport.Malformed("not a user of the server")
	}
	return &remoteapi.Object{JSON: encode(map[string]string{"sub": user})}, nil
}

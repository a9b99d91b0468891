package devicekeys

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"sort"

	"hearth/clientapi/storage"
	"hearth/clientapi/userapi"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

// Bounds of one-time keys. Clients keep 50 to 100 of them; of a device that uploads
// more than the server keeps, the oldest go, as the client forgets them too.
const (
	maxUpload        = 1000 // keys in one request
	maxOneTime       = 1000 // unclaimed keys of a device and algorithm
	maxKeyAlgorithms = 8    // algorithms of a device's one-time keys
)

// upload stores what a device uploads (POST /keys/upload). Without keys it counts.
func (k *Keys) upload(ctx context.Context, req *userapi.UploadKeysRequest) (*userapi.UploadKeysResponse, error) {
	localpart, err := k.local(req.UserID)
	if err != nil {
		return nil, err
	}
	up, err := k.checkUpload(ctx, localpart, req)
	if err != nil {
		return nil, err
	}
	counts, err := k.users.UploadKeys(ctx, up)
	if err != nil {
		return nil, err
	}
	return &userapi.UploadKeysResponse{Counts: counts}, nil
}

func (k *Keys) checkUpload(ctx context.Context, localpart string, req *userapi.UploadKeysRequest) (*storage.KeyUpload, error) {
	up := &storage.KeyUpload{
		Localpart: localpart, Device: req.DeviceID, SameIdentity: sameIdentity,
		MaxOneTime: maxOneTime, MaxAlgorithms: maxKeyAlgorithms,
	}
	var signer ed25519.PublicKey
	var err error
	if !absent(req.DeviceKeys) {
		if signer, err = deviceKeys(req.DeviceKeys, req.UserID, req.DeviceID); err != nil {
			return nil, err
		}
		up.Keys = stored(req.DeviceKeys, req.UserID)
	}
	if len(req.OneTimeKeys)+len(req.FallbackKeys) == 0 {
		return up, nil
	}
	if len(req.OneTimeKeys) > maxUpload || len(req.FallbackKeys) > maxKeyAlgorithms {
		return nil, merr.InvalidParam("At most %d one-time keys and %d fallback keys can be uploaded at once", maxUpload, maxKeyAlgorithms)
	}
	if signer == nil {
		if signer, err = k.signer(ctx, localpart, req.DeviceID); err != nil {
			return nil, err
		}
	}
	if up.OneTime, err = keyList(req.OneTimeKeys, req, signer); err != nil {
		return nil, err
	}
	if up.Fallback, err = keyList(req.FallbackKeys, req, signer); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, f := range up.Fallback {
		if seen[f.Algorithm] {
			return nil, invalid("There can be one fallback key of each algorithm")
		}
		seen[f.Algorithm] = true
	}
	return up, nil
}

// keyList checks keys and orders them by name, so that the same request has the same
// effect.
func keyList(keys map[string]json.RawMessage, req *userapi.UploadKeysRequest, signer ed25519.PublicKey) ([]storage.OneTimeKey, error) {
	names := make([]string, 0, len(keys))
	for name := range keys {
		names = append(names, name)
	}
	sort.Strings(names)
	list := make([]storage.OneTimeKey, 0, len(keys))
	for _, name := range names {
		algorithm, id, err := oneTimeKey(name, keys[name], req.UserID, req.DeviceID, signer)
		if err != nil {
			return nil, err
		}
		list = append(list, storage.OneTimeKey{Algorithm: algorithm, ID: id, Keys: keys[name]})
	}
	return list, nil
}

// signer returns the ed25519 key that a device has uploaded, nil if it has none.
func (k *Keys) signer(ctx context.Context, localpart, device string) (ed25519.PublicKey, error) {
	found, err := k.users.Identities(ctx, localpart, []string{localpart})
	if err != nil {
		return nil, err
	}
	for _, d := range found[localpart].Devices {
		if d.Device == device {
			return ed25519Of(d.Keys, device), nil
		}
	}
	return nil, nil
}

// ed25519Of returns the key "ed25519:"+id of a key object, nil if there is none.
func ed25519Of(obj []byte, id string) ed25519.PublicKey {
	keys, _ := pdu.Get(obj, "keys")
	text, _ := pdu.GetString(keys, "ed25519:"+id)
	if raw, ok := key32(text); ok {
		return raw
	}
	return nil
}

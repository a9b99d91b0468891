package devicekeys

import (
	"context"
	"encoding/json"
	"errors"

	"hearth/clientapi/storage"
	"hearth/clientapi/userapi"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

var errNeedsAuthorization = errors.New("devicekeys: new keys need authorization")

// setCrossSigning stores cross-signing keys (POST /keys/device_signing/upload).
func (k *Keys) setCrossSigning(ctx context.Context, req *userapi.SetCrossSigningRequest) (*userapi.SetCrossSigningResponse, error) {
	localpart, err := k.local(req.UserID)
	if err != nil {
		return nil, err
	}
	keys, err := crossKeys(req)
	if err != nil {
		return nil, err
	}
	err = k.users.SetCrossKeys(ctx, localpart, keys, func(old []storage.CrossKey) error {
		if err := signedByMaster(keys, old, req.UserID); err != nil {
			return err
		}
		if !req.Authorized && !exempt(keys, old) {
			return errNeedsAuthorization
		}
		return nil
	})
	if errors.Is(err, errNeedsAuthorization) {
		return &userapi.SetCrossSigningResponse{NeedsAuthorization: true}, nil
	}
	if err != nil {
		return nil, err
	}
	return &userapi.SetCrossSigningResponse{}, nil
}

// crossKeys checks the shape of the keys of a request; the master key is the first.
func crossKeys(req *userapi.SetCrossSigningRequest) ([]storage.CrossKey, error) {
	var keys []storage.CrossKey
	for _, in := range []struct {
		purpose int64
		usage   string
		obj     json.RawMessage
	}{
		{storage.Master, "master", req.Master},
		{storage.SelfSigning, "self_signing", req.SelfSigning},
		{storage.UserSigning, "user_signing", req.UserSigning},
	} {
		if absent(in.obj) {
			continue
		}
		id, err := crossKey(in.obj, in.usage, req.UserID)
		if err != nil {
			return nil, err
		}
		for _, other := range keys {
			if other.ID == id {
				return nil, invalid("Two cross-signing keys are the same")
			}
		}
		keys = append(keys, storage.CrossKey{Purpose: in.purpose, ID: id, Keys: stored(in.obj, req.UserID)})
	}
	return keys, nil
}

// crossKey checks a cross-signing key and returns its public key, which is its id.
func crossKey(obj []byte, usage, userID string) (id string, err error) {
	if pdu.Kind(obj) != '{' {
		return "", merr.BadJSON("The %s key must be an object", usage)
	}
	if len(obj) > maxKeyObject {
		return "", merr.TooLarge("The %s key is larger than %d bytes", usage, maxKeyObject)
	}
	if s, ok := pdu.GetString(obj, "user_id"); !ok || s != userID {
		return "", invalid("The user_id of the %s key must be that of the user who uploads", usage)
	}
	list, _ := pdu.Get(obj, "usage")
	found := false
	pdu.Elements(list, func(val []byte) bool {
		s, ok := pdu.String(val)
		found = found || ok && s == usage
		return true
	})
	if !found {
		return "", invalid("The usage of the %s key must have %q", usage, usage)
	}
	keys, _ := pdu.Get(obj, "keys")
	n := 0
	if !pdu.Members(keys, func(name string, val []byte) bool {
		n++
		algorithm, part, _ := splitKeyID(name)
		text, _ := pdu.String(val)
		if _, ok := key32(text); ok && algorithm == "ed25519" && part == text {
			id = text
		}
		return true
	}) || n != 1 || id == "" {
		return "", invalid("The %s key must have exactly one key ed25519:<public key> whose value is the public key", usage)
	}
	return id, signaturesShape(obj, false)
}

// signedByMaster checks that the other keys are signed by the master key of the
// request, or else by the one that is there.
func signedByMaster(keys, old []storage.CrossKey, userID string) error {
	master := find(keys, storage.Master)
	if master == nil {
		master = find(old, storage.Master)
	}
	if master == nil {
		return merr.New(400, "M_MISSING_PARAM", "No master signing key is available")
	}
	public, _ := key32(master.ID)
	for i := range keys {
		k := &keys[i]
		if k.Purpose != storage.Master && pdu.VerifyJSON(k.Keys, userID, "ed25519:"+master.ID, public) != nil {
			return badSignature("The key %s is not signed by the master signing key", k.ID)
		}
	}
	return nil
}

// exempt says whether keys may be stored without authorization: there was no master
// key, or nothing is new.
func exempt(keys, old []storage.CrossKey) bool {
	if find(old, storage.Master) == nil {
		return true
	}
	for _, k := range keys {
		if was := find(old, k.Purpose); was == nil || was.ID != k.ID {
			return false
		}
	}
	return true
}

func find(keys []storage.CrossKey, purpose int64) *storage.CrossKey {
	for i := range keys {
		if keys[i].Purpose == purpose {
			return &keys[i]
		}
	}
	return nil
}

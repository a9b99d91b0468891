package devicekeys

import (
	"context"
	"encoding/json"
	"sort"

	"hearth/clientapi/storage"
	"hearth/clientapi/userapi"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

// Bounds of signatures.
const (
	maxSigned     = 2000    // objects in one request
	maxSignatures = 200_000 // that a user has made
)

// uploadSignatures stores signatures that a user has made on keys of their own or on
// the master keys of others (POST /keys/signatures/upload). What is not good is a
// failure and not stored.
func (k *Keys) uploadSignatures(ctx context.Context, req *userapi.UploadSignaturesRequest) (*userapi.UploadSignaturesResponse, error) {
	signer, err := k.local(req.UserID)
	if err != nil {
		return nil, err
	}
	answer := &userapi.UploadSignaturesResponse{}
	fail := func(user, key string, err *merr.Error) {
		if answer.Failures == nil {
			answer.Failures = map[string]map[string]*merr.Error{}
		}
		if answer.Failures[user] == nil {
			answer.Failures[user] = map[string]*merr.Error{}
		}
		answer.Failures[user][key] = err
	}
	var list []signedObject
	var targets []string
	for user, keys := range req.Signed {
		target, local := k.localpart(user)
		if !local {
			target = user
		}
		targets = append(targets, target)
		for key, obj := range keys {
			list = append(list, signedObject{user, target, key, obj})
		}
	}
	if len(list) > maxSigned {
		return nil, merr.InvalidParam("At most %d objects can be signed at once", maxSigned)
	}
	sort.Slice(list, func(i, j int) bool {
		return list[i].user < list[j].user || list[i].user == list[j].user && list[i].key < list[j].key
	})
	err = k.users.AddSignatures(ctx, signer, targets, maxSignatures, func(identities map[string]*storage.Identity) []storage.Signature {
		answer.Failures = nil // the transaction may run again
		var good []storage.Signature
		for _, o := range list {
			found, err := o.signatures(req.UserID, signer, identities)
			if err != nil {
				fail(o.user, o.key, err)
				continue
			}
			good = append(good, found...)
		}
		return good
	})
	if err != nil {
		return nil, err
	}
	return answer, nil
}

// signedObject is a signed object of a request.
type signedObject struct {
	user, target, key string
	obj               json.RawMessage
}

// signatures returns the new signatures of the user on an object.
func (o *signedObject) signatures(userID, signer string, identities map[string]*storage.Identity) ([]storage.Signature, *merr.Error) {
	if pdu.Kind(o.obj) != '{' || len(o.obj) > maxKeyObject {
		return nil, merr.BadJSON("A signed object is needed")
	}
	if e := signaturesShape(o.obj, true); e != nil {
		return nil, merr.From(e)
	}
	known := object(identities[o.target], o.key, o.target == signer)
	if known == nil {
		return nil, merr.NotFound("There is no such key")
	}
	if string(bare(o.obj)) != string(bare(known)) {
		return nil, merr.InvalidParam("The signed object is not the one that is known")
	}
	all, _ := pdu.Get(o.obj, "signatures")
	own, _ := pdu.Get(all, userID)
	was, _ := pdu.Get(known, "signatures")
	was, _ = pdu.Get(was, userID)
	var list []storage.Signature
	var failed *merr.Error
	n := 0
	pdu.Members(own, func(name string, val []byte) bool {
		n++
		if old, ok := pdu.Get(was, name); ok && string(old) == string(val) {
			return true // is part of what was uploaded
		}
		text, _ := pdu.String(val)
		public := signingKey(identities[signer], name, o.target != signer)
		if public == nil {
			failed = badSignature("The key %s is not known or may not sign this", name)
		} else if pdu.VerifyJSON(o.obj, userID, name, public) != nil {
			failed = badSignature("The signature with %s is not valid", name)
		}
		list = append(list, storage.Signature{Target: o.target, Key: o.key, Signer: signer, SignerKey: name, Signature: text})
		return failed == nil
	})
	if failed == nil && n == 0 {
		failed = badSignature("There is no signature of yours")
	}
	if failed != nil {
		return nil, failed
	}
	return list, nil
}

package devicekeys

import (
	"crypto/ed25519"
	"encoding/base64"
	"net/http"
	"strings"

	"hearth/clientapi/userapi"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

// Bounds of what is stored of keys, in bytes and numbers.
const (
	maxKeyObject  = 16 << 10
	maxAlgorithms = 32 // that a device supports
)

func invalid(format string, args ...any) error { return merr.InvalidParam(format, args...) }

func badSignature(format string, args ...any) *merr.Error {
	return merr.New(http.StatusBadRequest, "M_INVALID_SIGNATURE", format, args...)
}

// absent reports whether a member is missing or null.
func absent(val []byte) bool { return len(val) == 0 || string(val) == "null" }

// key32 decodes a key of 32 bytes.
func key32(text string) ([]byte, bool) {
	raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
	return raw, err == nil && len(raw) == 32
}

// splitKeyID splits "algorithm:id".
func splitKeyID(name string) (algorithm, id string, ok bool) {
	algorithm, id, ok = strings.Cut(name, ":")
	return algorithm, id, ok && plain(algorithm, 64) && plain(id, userapi.MaxKey)
}

// deviceKeys checks the identity keys of a device and returns its ed25519 key
// (client-server API, "Device keys" and "Uploading keys").
func deviceKeys(obj []byte, userID, device string) (ed25519.PublicKey, error) {
	if pdu.Kind(obj) != '{' {
		return nil, merr.BadJSON("device_keys must be an object")
	}
	if len(obj) > maxKeyObject {
		return nil, merr.TooLarge("device_keys is larger than %d bytes", maxKeyObject)
	}
	if s, ok := pdu.GetString(obj, "user_id"); !ok || s != userID {
		return nil, invalid("device_keys.user_id must be that of the user who uploads")
	}
	if s, ok := pdu.GetString(obj, "device_id"); !ok || s != device {
		return nil, invalid("device_keys.device_id must be that of the device that uploads")
	}
	if err := algorithms(obj); err != nil {
		return nil, err
	}
	signer, err := identityKeys(obj, device)
	if err != nil {
		return nil, err
	}
	if err := signaturesShape(obj, true); err != nil {
		return nil, err
	}
	if pdu.VerifyJSON(obj, userID, "ed25519:"+device, signer) != nil {
		return nil, badSignature("device_keys is not signed by the device's own key")
	}
	return signer, nil
}

func algorithms(obj []byte) error {
	list, _ := pdu.Get(obj, "algorithms")
	n, good := 0, true
	if !pdu.Elements(list, func(val []byte) bool {
		s, ok := pdu.String(val)
		n++
		good = good && ok && len(s) <= userapi.MaxKey
		return good
	}) && good {
		good = false
	}
	if !good || n > maxAlgorithms {
		return invalid("device_keys.algorithms must be an array of at most %d strings", maxAlgorithms)
	}
	return nil
}

// identityKeys checks device_keys.keys and returns the ed25519 key.
func identityKeys(obj []byte, device string) (ed25519.PublicKey, error) {
	keys, _ := pdu.Get(obj, "keys")
	var signer ed25519.PublicKey
	var bad error
	n := 0
	ok := pdu.Members(keys, func(name string, val []byte) bool {
		algorithm, id, ok := splitKeyID(name)
		text, isText := pdu.String(val)
		if n++; !ok || id != device || !isText || n > maxAlgorithms {
			bad = invalid("device_keys.keys must have names of the form algorithm:device_id and strings")
			return false
		}
		raw, whole := key32(text)
		if (algorithm == "ed25519" || algorithm == "curve25519") && !whole {
			bad = invalid("device_keys.keys: the %s key must be 32 bytes in base64", algorithm)
			return false
		}
		if algorithm == "ed25519" {
			signer = raw
		}
		return true
	})
	switch {
	case bad != nil:
		return nil, bad
	case !ok:
		return nil, invalid("device_keys.keys must be an object")
	case signer == nil:
		return nil, invalid("device_keys.keys must have an ed25519 key")
	}
	return signer, nil
}

// signaturesShape checks that signatures is a map of user id to a map of key id to
// string. must says that it may not be missing.
func signaturesShape(obj []byte, must bool) error {
	bad := invalid("signatures must be a map from user id to a map from key id to a string")
	all, ok := pdu.Get(obj, "signatures")
	if !ok {
		if must {
			return invalid("signatures is missing")
		}
		return nil
	}
	good := true
	ok = pdu.Members(all, func(_ string, keys []byte) bool {
		inner := pdu.Members(keys, func(name string, val []byte) bool {
			_, _, named := splitKeyID(name)
			good = good && named && pdu.Kind(val) == '"'
			return good
		})
		good = good && inner
		return good
	})
	if !good || !ok {
		return bad
	}
	return nil
}

// oneTimeKey checks a one-time or fallback key: a string, or an object with key and
// signatures. With signer, the ed25519 key of the device, a signature must be good.
func oneTimeKey(name string, val []byte, userID, device string, signer ed25519.PublicKey) (algorithm, id string, err error) {
	algorithm, id, ok := splitKeyID(name)
	if !ok {
		return "", "", invalid("Keys must have names of the form algorithm:key_id")
	}
	if len(val) > maxKeyObject {
		return "", "", merr.TooLarge("Key %s is larger than %d bytes", name, maxKeyObject)
	}
	text, isText := pdu.String(val)
	if pdu.Kind(val) == '{' {
		if text, isText = pdu.GetString(val, "key"); !isText {
			return "", "", invalid("Key %s must have a string key", name)
		}
		if err := signaturesShape(val, true); err != nil {
			return "", "", err
		}
	} else if algorithm == "signed_curve25519" {
		isText = false
	}
	if !isText {
		return "", "", invalid("Key %s must be a string or an object with key and signatures", name)
	}
	if algorithm == "curve25519" || algorithm == "signed_curve25519" {
		if _, whole := key32(text); !whole {
			return "", "", invalid("Key %s must be 32 bytes in base64", name)
		}
	}
	if algorithm == "signed_curve25519" && signer != nil && pdu.VerifyJSON(val, userID, "ed25519:"+device, signer) != nil {
		return "", "", badSignature("Key %s is not signed by the device's own key", name)
	}
	return algorithm, id, nil
}

// bare returns an object without signatures and unsigned: what is signed.
func bare(obj []byte) []byte {
	out := []byte{'{'}
	pdu.Members(obj, func(key string, val []byte) bool {
		if key == "signatures" || key == "unsigned" {
			return true
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(pdu.AppendString(out, key), ':')
		out = append(out, val...)
		return true
	})
	return append(out, '}')
}

// stored returns the form in which an uploaded object is kept: without unsigned, and
// with the user's own signatures only, since those of others are nobody's business
// ("Key and signature security").
func stored(obj []byte, userID string) []byte {
	out := bare(obj)
	all, _ := pdu.Get(obj, "signatures")
	if own, ok := pdu.Get(all, userID); ok {
		signatures, _ := pdu.Set([]byte("{}"), userID, own)
		out, _ = pdu.Set(out, "signatures", signatures)
	}
	return out
}

// sameIdentity reports whether two device keys differ in signatures only.
func sameIdentity(a, b []byte) bool { return string(bare(a)) == string(bare(b)) }

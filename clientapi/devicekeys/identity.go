package devicekeys

import (
	"crypto/ed25519"
	"strings"

	"hearth/clientapi/storage"
)

// object returns the object that a user's key, a device or a public key, stands for;
// others may sign the master key alone.
func object(id *storage.Identity, key string, own bool) []byte {
	for _, c := range id.Cross {
		if c.ID == key && (own || c.Purpose == storage.Master) {
			return c.Keys
		}
	}
	for _, d := range id.Devices {
		if own && d.Device == key {
			return d.Keys
		}
	}
	return nil
}

// signingKey returns the public key of one of the user's key ids. Only the
// user-signing key may sign keys of others; it signs nothing of its owner's.
func signingKey(id *storage.Identity, name string, forOthers bool) ed25519.PublicKey {
	key, ok := strings.CutPrefix(name, "ed25519:")
	if !ok {
		return nil
	}
	for _, c := range id.Cross {
		if c.ID == key && (c.Purpose == storage.UserSigning) == forOthers {
			public, _ := key32(key)
			return public
		}
	}
	if forOthers {
		return nil
	}
	for _, d := range id.Devices {
		if d.Device == key {
			return ed25519Of(d.Keys, key)
		}
	}
	return nil
}

package auth

import (
	"crypto/ed25519"
	"encoding/base64"
	"strings"

	"hearth/internal/pdu"
)

// maxVerifications bounds the signatures that one third-party invite makes us
// verify, because each of a list of signatures may match each of a list of keys.
// Honest invites have one of the first and one or two of the second.
const maxVerifications = 64

// thirdPartyInvite is rule 5.4.1; invite is content.third_party_invite.
func (c *check) thirdPartyInvite(invite []byte) error {
	at := func(n int) string { return rule(c.n.member, c.n.invite, 1, n) }
	target := *c.ev.StateKey
	// 5.4.1.1. If target user is banned, reject.
	if c.membership(target) == "ban" {
		return c.reject(at(1), "The user is banned")
	}
	// 5.4.1.2. If content.third_party_invite does not have a signed property, reject.
	signed, ok := pdu.Get(invite, "signed")
	if !ok {
		return c.reject(at(2), "The third-party invite is not signed")
	}
	// 5.4.1.3. If signed does not have mxid and token properties, reject.
	mxid, ok := pdu.GetString(signed, "mxid")
	token, ok2 := pdu.GetString(signed, "token")
	if !ok || !ok2 {
		return c.reject(at(3), "The third-party invite has no user or no token")
	}
	// 5.4.1.4. If mxid does not match state_key, reject.
	if mxid != target {
		return c.reject(at(4), "The third-party invite is for another user")
	}
	// 5.4.1.5. If there is no m.room.third_party_invite event in the current room
	// state with state_key matching token, reject.
	source := c.st.Event(typeThirdPartyInvite, token)
	if source == nil {
		return c.reject(at(5), "The room has no such third-party invite")
	}
	// 5.4.1.6. If sender does not match sender of the m.room.third_party_invite, reject.
	if source.Sender != c.ev.Sender {
		return c.reject(at(6), "The third-party invite is from another user")
	}
	// 5.4.1.7. If any signature in signed matches any public key in the
	// m.room.third_party_invite event, allow.
	if signedByAny(signed, publicKeys(source.Content)) {
		return nil
	}
	// 5.4.1.8. Otherwise, reject.
	return c.reject(at(8), "The third-party invite has no valid signature")
}

// publicKeys reads the keys of an m.room.third_party_invite event: "public_key"
// and those in the list "public_keys". What is no Ed25519 key is left out.
func publicKeys(content []byte) []ed25519.PublicKey {
	var keys []ed25519.PublicKey
	add := func(obj []byte) {
		text, ok := pdu.GetString(obj, "public_key")
		if !ok {
			return
		}
		if key, ok := decodeBase64(text); ok && len(key) == ed25519.PublicKeySize {
			keys = append(keys, ed25519.PublicKey(key))
		}
	}
	add(content)
	list, _ := pdu.Get(content, "public_keys")
	pdu.Elements(list, func(val []byte) bool {
		add(val)
		return len(keys) < maxVerifications
	})
	return keys
}

// signedByAny reports whether a signature in signed, an object with signatures
// (appendices, "Checking for a Signature"), matches one of keys.
func signedByAny(signed []byte, keys []ed25519.PublicKey) bool {
	signatures, _ := pdu.Get(signed, "signatures")
	message, ok := pdu.Delete(signed, "signatures")
	if ok {
		message, ok = pdu.Delete(message, "unsigned")
	}
	if !ok {
		return false
	}
	budget, found := maxVerifications, false
	verify := func(keyID string, val []byte) bool {
		text, ok := pdu.String(val)
		if !ok || !strings.HasPrefix(keyID, "ed25519:") {
			return true
		}
		signature, ok := decodeBase64(text)
		if !ok || len(signature) != ed25519.SignatureSize {
			return true
		}
		for _, key := range keys {
			if budget--; budget < 0 || ed25519.Verify(key, message, signature) {
				found = budget >= 0
				return false
			}
		}
		return true
	}
	pdu.Members(signatures, func(_ string, byServer []byte) bool {
		pdu.Members(byServer, verify)
		return !found && budget >= 0
	})
	return found
}

// decodeBase64 reads base64 of either alphabet, with or without padding.
func decodeBase64(text string) ([]byte, bool) {
	text = strings.TrimRight(text, "=")
	enc := base64.RawStdEncoding
	if strings.ContainsAny(text, "-_") {
		enc = base64.RawURLEncoding
	}
	out, err := enc.DecodeString(text)
	return out, err == nil
}

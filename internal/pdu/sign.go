package pdu

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"

	"hearth/internal/merr"
)

// Signer is a server's signing key.
type Signer struct {
	// ServerName is the entity that signs; KeyID is its key, such as
	// "ed25519:auto".
	ServerName, KeyID string
	// Key is the private key, 64 bytes.
	Key ed25519.PrivateKey
}

// Signature is one signature of an event.
type Signature struct {
	// Server and KeyID say who signed with what.
	Server, KeyID string
	// Bytes is the decoded signature, nil if it is not base64. It need not have
	// the right length.
	Bytes []byte
}

// Faults of signatures, as the causes of the errors of [VerifyJSON] and
// [Event.VerifySignature].
var (
	ErrNoSignature  = errors.New("no signature by this server and key")
	ErrBadSignature = errors.New("signature does not match")
	ErrBadKey       = errors.New("key does not have the right length")
)

func signatureError(server, keyID string, cause error) error {
	return merr.New(401, "M_UNAUTHORIZED", "Signature of %s with %s is not valid", server, keyID).WithCause(cause)
}

// Signatures returns all signatures of the event, in the order of the PDU.
func (e *Event) Signatures() []Signature {
	f, _ := split(e.JSON)
	var out []Signature
	Members(f.val(fSignatures), func(server string, keys []byte) bool {
		Members(keys, func(keyID string, sig []byte) bool {
			raw, _ := appendBase64(nil, sig)
			out = append(out, Signature{Server: server, KeyID: keyID, Bytes: raw})
			return true
		})
		return true
	})
	return out
}

// VerifySignature checks the signature of one server with one key (server-server
// API, "Validating hashes and signatures on received events"). Whether the key
// was valid at the event's time is for the caller to know. The error is a
// *merr.Error 401 with [ErrNoSignature], [ErrBadSignature] or [ErrBadKey] as its
// cause. A key of any length is safe.
func (e *Event) VerifySignature(server, keyID string, key ed25519.PublicKey) error {
	f, ok := split(e.JSON)
	if !ok {
		return signatureError(server, keyID, ErrNoSignature)
	}
	var buf [smallEvent]byte
	signed := f.appendRedacted(buf[:0], e.Version, e.Type, false)
	return verify(f.val(fSignatures), signed, server, keyID, key)
}

func verify(signatures, signed []byte, server, keyID string, key ed25519.PublicKey) error {
	keys, _ := Get(signatures, server)
	val, ok := Get(keys, keyID)
	if !ok {
		return signatureError(server, keyID, ErrNoSignature)
	}
	if len(key) != ed25519.PublicKeySize { // ed25519.Verify would panic
		return signatureError(server, keyID, ErrBadKey)
	}
	var buf [ed25519.SignatureSize + 8]byte
	sig, ok := appendBase64(buf[:0], val)
	if !ok || len(sig) != ed25519.SignatureSize || !ed25519.Verify(key, signed, sig) {
		return signatureError(server, keyID, ErrBadSignature)
	}
	return nil
}

// sign returns the signature of data as a JSON string.
func (s Signer) sign(data []byte) ([]byte, error) {
	if len(s.Key) != ed25519.PrivateKeySize || s.ServerName == "" || s.KeyID == "" {
		return nil, merr.Internal(fmt.Errorf("signing key %q of %q is not usable", s.KeyID, s.ServerName))
	}
	sig := ed25519.Sign(s.Key, data)
	out := make([]byte, 0, base64.RawStdEncoding.EncodedLen(len(sig))+2)
	out = base64.RawStdEncoding.AppendEncode(append(out, '"'), sig)
	return append(out, '"'), nil
}

// addSignature returns the canonical object signatures with one more entry. What
// is there but not an object is replaced.
func (s Signer) addSignature(signatures, sig []byte) []byte {
	keys, _ := Get(signatures, s.ServerName)
	entry, ok := Set(keys, s.KeyID, sig)
	if !ok {
		entry, _ = Set([]byte("{}"), s.KeyID, sig)
	}
	out, ok := Set(signatures, s.ServerName, entry)
	if !ok {
		out, _ = Set([]byte("{}"), s.ServerName, entry)
	}
	return out
}

// Sign returns the event with one more signature, as a server does for an invite
// to its user and for a restricted join that it allows. Callers sign only what
// they have checked. Errors: *merr.Error, 413 if the event becomes too large.
func (e *Event) Sign(s Signer) (*Event, error) {
	f, ok := split(e.JSON)
	if !ok {
		return nil, errNotEvent()
	}
	sig, err := s.sign(f.appendRedacted(nil, e.Version, e.Type, false))
	if err != nil {
		return nil, err
	}
	return e.cosigned(s.addSignature(f.val(fSignatures), sig))
}

// WithSignature returns the event with a signature that somebody else has made, in unpadded
// base64, as a policy server does. It is not verified. Errors: *merr.Error, 413 if the event
// becomes too large.
func (e *Event) WithSignature(server, keyID, signature string) (*Event, error) {
	f, ok := split(e.JSON)
	if !ok {
		return nil, errNotEvent()
	}
	s := Signer{ServerName: server, KeyID: keyID}
	return e.cosigned(s.addSignature(f.val(fSignatures), AppendString(nil, signature)))
}

// cosigned is the event with other signatures.
func (e *Event) cosigned(signatures []byte) (*Event, error) {
	json, _ := Set(e.JSON, "signatures", signatures)
	if len(json) > MaxEventSize {
		return nil, merr.TooLarge("Event is too large")
	}
	signed, err := Load(e.Version, json, e.EventID)
	if err != nil {
		return nil, err
	}
	signed.Redacted = e.Redacted
	return signed, nil
}

// SignJSON checks src, signs it (appendices, "Signing JSON") and returns it as
// canonical JSON with the new signature. The signature covers everything but
// signatures and unsigned; signatures that were there and unsigned stay. Numbers
// keep their text, because requests carry events of old room versions. Errors are
// those of [Canonical], or 500 if the key cannot be used.
func SignJSON(src []byte, s Signer) ([]byte, error) {
	json, err := Canonical(src, false)
	if err != nil {
		return nil, err
	}
	f, _ := split(json)
	sig, err := s.sign(f.appendWithout(nil, fSignatures, fUnsigned))
	if err != nil {
		return nil, err
	}
	out, _ := Set(json, "signatures", s.addSignature(f.val(fSignatures), sig))
	return out, nil
}

// VerifyJSON checks one signature of src (appendices, "Checking for a
// Signature"). Errors are those of [Canonical] and [Event.VerifySignature].
func VerifyJSON(src []byte, server, keyID string, key ed25519.PublicKey) error {
	json, err := Canonical(src, false)
	if err != nil {
		return err
	}
	return VerifyCanonical(json, server, keyID, key)
}

// VerifyCanonical is [VerifyJSON] for what has passed [Canonical] or [Envelope] already.
func VerifyCanonical(json []byte, server, keyID string, key ed25519.PublicKey) error {
	f, _ := split(json)
	return verify(f.val(fSignatures), f.appendWithout(nil, fSignatures, fUnsigned), server, keyID, key)
}

package pdu

import (
	"crypto/ed25519"

	"hearth/internal/merr"
)

// Parse reads a PDU that came from outside.
func Parse(v *RoomVersion, src []byte) (*Event, error) { return nil, merr.NotJSON("not ready") }

// Load reads a PDU that we stored ourselves.
func Load(v *RoomVersion, json []byte, eventID string) (*Event, error) {
	return nil, merr.NotJSON("not ready")
}

// Template is what the caller decides about a new event.
type Template struct {
	RoomID, Type, Sender   string
	StateKey               *string
	Content                []byte
	Redacts                string
	PrevEvents, AuthEvents []Ref
	Depth, OriginServerTS  int64
}

// Ref names an event.
type Ref struct {
	EventID string
	SHA256  []byte // reference hash, only needed for event format 1
}

// Signer signs.
type Signer struct {
	ServerName, KeyID string
	Key               ed25519.PrivateKey
}

// Build makes a new event.
func Build(v *RoomVersion, t Template, s Signer) (*Event, error) {
	return nil, merr.NotJSON("not ready")
}

// Redact returns the redacted form.
func (e *Event) Redact() (*Event, error) { return e, nil }

// ReferenceHash returns the reference hash.
func (e *Event) ReferenceHash() []byte { return nil }

// Ref returns the reference to e.
func (e *Event) Ref() Ref { return Ref{EventID: e.EventID} }

// Signature is one signature of an event.
type Signature struct {
	Server, KeyID string
	Bytes         []byte // decoded; nil if it is not base64
}

// Signatures returns all signatures.
func (e *Event) Signatures() []Signature { return nil }

// VerifySignature checks one signature.
func (e *Event) VerifySignature(server, keyID string, key ed25519.PublicKey) error { return nil }

// Sign returns e with one more signature.
func (e *Event) Sign(s Signer) (*Event, error) { return e, nil }

// SignJSON signs.
func SignJSON(src []byte, s Signer) ([]byte, error) { return src, nil }

// VerifyJSON verifies.
func VerifyJSON(src []byte, server, keyID string, key ed25519.PublicKey) error { return nil }

// Canonical is the gate.
func Canonical(src []byte, strictNumbers bool) ([]byte, error) { return src, nil }

// Get returns the raw value of key in the canonical object obj.
func Get(obj []byte, key string) (val []byte, ok bool) { return nil, false }

// GetString returns the string value of key.
func GetString(obj []byte, key string) (string, bool) { return "", false }

// GetInt returns the integer value of key.
func GetInt(obj []byte, key string) (int64, bool) { return 0, false }

// Members calls f for every member of obj until f returns false.
func Members(obj []byte, f func(key string, val []byte) bool) bool { return false }

// Elements calls f for every element of arr until f returns false.
func Elements(arr []byte, f func(val []byte) bool) bool { return false }

// String decodes a JSON string value.
func String(val []byte) (string, bool) { return "", false }

// Int decodes a JSON integer value.
func Int(val []byte) (int64, bool) { return 0, false }

// AppendString appends s as a JSON string.
func AppendString(dst []byte, s string) []byte { return dst }

// Set returns obj with key set to val.
func Set(obj []byte, key string, val []byte) ([]byte, bool) { return obj, false }

// ParseServerName checks a server name.
func ParseServerName(s string) (host, port string, err error) { return s, "", nil }

// ParseUserID splits a user id (historical grammar accepted).
func ParseUserID(s string) (localpart, domain string, err error) { return "", "", nil }

// ParseStrictUserID splits a user id of the current grammar.
func ParseStrictUserID(s string) (localpart, domain string, err error) { return "", "", nil }

// ParseRoomID splits a room id; domain is "" for the domainless form.
func ParseRoomID(s string) (opaque, domain string, err error) { return "", "", nil }

// ParseEventID splits an event id; domain is "" for the hash forms.
func ParseEventID(s string) (opaque, domain string, err error) { return "", "", nil }

// ParseAlias splits a room alias.
func ParseAlias(s string) (localpart, domain string, err error) { return "", "", nil }

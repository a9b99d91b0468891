package userapi

import (
	"context"
	"encoding/json"
	"errors"

	"hearth/internal/bus"
	"hearth/internal/merr"
)

// Keys for end-to-end encryption (client-server API, "End-to-End Encryption"). All
// objects are canonical JSON. Of users of other servers the lists of devices may be known
// (federation.go).
var (
	// UploadKeys stores the identity keys of a device, one-time and fallback keys.
	// Errors: M_INVALID_PARAM for a wrong shape and for a one-time key whose id was used
	// for another one, M_INVALID_SIGNATURE.
	UploadKeys = bus.Call[UploadKeysRequest, UploadKeysResponse]{Subject: "userstore.keys.upload"}
	// QueryKeys streams the keys of users; read it with ReadKeys.
	QueryKeys = bus.Stream[QueryKeysRequest]{Subject: "userstore.keys.query"}
	// ClaimKeys gives out one-time keys. A repetition gives out further ones.
	ClaimKeys = bus.Call[ClaimKeysRequest, ClaimKeysResponse]{Subject: "userstore.keys.claim"}
	// SetCrossSigning stores cross-signing keys. Errors: M_MISSING_PARAM without a
	// master key, M_INVALID_SIGNATURE, M_INVALID_PARAM, M_FORBIDDEN for a key whose id
	// is that of a device.
	SetCrossSigning = bus.Call[SetCrossSigningRequest, SetCrossSigningResponse]{Subject: "userstore.keys.cross_signing"}
	// UploadSignatures stores signatures that a user has made.
	UploadSignatures = bus.Call[UploadSignaturesRequest, UploadSignaturesResponse]{Subject: "userstore.keys.signatures"}
	// ChangedDeviceLists lists users whose devices or cross-signing keys changed.
	ChangedDeviceLists = bus.Call[ChangedDeviceListsRequest, ChangedDeviceListsResponse]{Subject: "userstore.keys.changed"}
)

// UploadKeysRequest carries what one device uploads. One-time and fallback keys have
// names such as "signed_curve25519:AAAAHg". DeviceKeys may be empty.
type UploadKeysRequest struct {
	UserID, DeviceID string
	DeviceKeys       json.RawMessage            `json:",omitempty"`
	OneTimeKeys      map[string]json.RawMessage `json:",omitempty"`
	FallbackKeys     map[string]json.RawMessage `json:",omitempty"`
}

// UploadKeysResponse has the number of unclaimed one-time keys of each algorithm.
type UploadKeysResponse struct{ Counts map[string]int64 }

// QueryKeysRequest names users and for each the wanted devices, all if there are none.
// Viewer is the user who asks; empty for another server.
type QueryKeysRequest struct {
	Viewer string
	Users  map[string][]string
}

// Parts of what QueryKeys tells of a user.
const (
	DeviceKeysPart  = 1
	MasterPart      = 2
	SelfSigningPart = 3
	UserSigningPart = 4 // only of Viewer
	// AskPart says that the server of the user has to be asked: the list is not kept, or
	// stale. Keys is an object from keys (devices or public keys) of the user to objects whose
	// signatures are those that Viewer has made; they belong to what that server answers.
	// Parts of the stale list follow, for when it does not answer.
	AskPart = 5
)

// KeyPart is one object of a user: the keys of a device, with the signatures that
// Viewer may see and with unsigned, a cross-signing key, or what AskPart says.
type KeyPart struct {
	Part     int
	UserID   string
	DeviceID string // of DeviceKeysPart
	Keys     json.RawMessage
}

// Append appends the form of p in the stream.
func (p *KeyPart) Append(dst []byte) []byte {
	e := bus.NewEncoder(dst)
	e.Uint(uint64(p.Part))
	e.String(p.UserID)
	e.String(p.DeviceID)
	e.Bytes(p.Keys)
	return e.Buffer()
}

// ReadKeys reads a QueryKeys stream and hands each part to f; all parts of a user come
// together.
func ReadKeys(ctx context.Context, b *bus.Bus, req *QueryKeysRequest, f func(*KeyPart) error) error {
	var rest []byte
	err := QueryKeys.Do(ctx, b, req, func(chunk []byte) error {
		rest = append(rest, chunk...)
		for len(rest) > 0 {
			d := bus.NewDecoder(rest)
			p := &KeyPart{Part: int(d.Uint()), UserID: d.String(), DeviceID: d.String()}
			p.Keys = append(json.RawMessage(nil), d.Bytes()...)
			if d.Err() != nil {
				return nil // the rest comes with the next chunk
			}
			rest = rest[len(rest)-d.Len():]
			if err := f(p); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && len(rest) > 0 {
		err = merr.Internal(errors.New("keys: the stream ends within a part"))
	}
	return err
}

// MaxClaims is the number of keys that one request may claim.
const MaxClaims = 2000

// KeyClaim asks for a key of a device.
type KeyClaim struct{ UserID, DeviceID, Algorithm string }

// ClaimKeysRequest asks for keys, at most MaxClaims. All are given out together.
type ClaimKeysRequest struct{ Claims []KeyClaim }

// ClaimedKey is a key with its name, such as "signed_curve25519:AAAAHg". The name is
// empty if the device has none left or does not exist.
type ClaimedKey struct {
	Name string          `json:",omitempty"`
	Key  json.RawMessage `json:",omitempty"`
}

// ClaimKeysResponse has an entry for each claim, in the same order.
type ClaimKeysResponse struct{ Keys []ClaimedKey }

// SetCrossSigningRequest carries cross-signing keys, each may be empty. Without
// Authorized nothing is stored that is new, unless there is no master key yet
// (client-server API, POST /keys/device_signing/upload).
type SetCrossSigningRequest struct {
	UserID      string
	Authorized  bool
	Master      json.RawMessage `json:",omitempty"`
	SelfSigning json.RawMessage `json:",omitempty"`
	UserSigning json.RawMessage `json:",omitempty"`
}

// SetCrossSigningResponse says whether the request needs Authorized; then nothing was
// stored.
type SetCrossSigningResponse struct{ NeedsAuthorization bool }

// UploadSignaturesRequest carries signed objects by user and by device or public key.
type UploadSignaturesRequest struct {
	UserID string
	Signed map[string]map[string]json.RawMessage
}

// UploadSignaturesResponse says which objects were not stored and why.
type UploadSignaturesResponse struct {
	Failures map[string]map[string]*merr.Error
}

// ChangedDeviceListsRequest asks for changes at After < position ≤ UpTo (0: the head).
type ChangedDeviceListsRequest struct {
	UserID      string
	After, UpTo int64
}

// ChangedDeviceListsResponse is a page. Users changed for everyone who shares an
// encrypted room with them; Signed are users whose keys UserID has signed. With More
// the rest begins after Next.
type ChangedDeviceListsResponse struct {
	Users, Signed []string
	Next          int64
	More          bool
}

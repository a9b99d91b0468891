package pdu

// RoomVersion is one row of the feature table: what a room version changes, as
// the room version pages of the specification say. The values that [Version]
// and [Versions] return are shared and must not be modified.
type RoomVersion struct {
	// ID is the version's name, "1" to "12".
	ID string
	// EventFormat is 1 for v1–v2 (event_id in the PDU; references are pairs of
	// id and hash), 3 for v3–v11 (the id is the reference hash) and 12 for v12
	// (as 3, and the create event has no room_id).
	EventFormat int
	// StateResolution is 1 (v1), 2 (v2–v11) or 21 (v12, "2.1").
	StateResolution int
	// StrictJSON (v6+): PDUs must obey the number rules of canonical JSON.
	StrictJSON bool
	// URLSafeEventIDs (v4+): event ids are URL-safe unpadded base64; in v3 they
	// are standard unpadded base64.
	URLSafeEventIDs bool
	// EnforceKeyValidity (v5+): a signing key must be valid at origin_server_ts.
	EnforceKeyValidity bool
	// IntegerPowerLevels (v10+): power levels must be JSON integers, not strings
	// or fractions.
	IntegerPowerLevels bool
	// AliasAuthRule (v1–v5): m.room.aliases has its own authorisation rule.
	AliasAuthRule bool
	// NotificationLevels (v6+): power levels under "notifications" are checked
	// by the authorisation rules.
	NotificationLevels bool
	// RedactionAuthRule (v1–v2): redactions are decided by the authorisation
	// rules; from v3 on they are decided when both events are known.
	RedactionAuthRule bool
	// CreatorIsSender (v11+): the create event has no content.creator.
	CreatorIsSender bool
	// RedactsInContent (v11+): m.room.redaction names its target in content.
	RedactsInContent bool
	// KnockAllowed (v7+): membership and join rule "knock".
	KnockAllowed bool
	// RestrictedJoins (v8+): join rule "restricted".
	RestrictedJoins bool
	// KnockRestricted (v10+): join rule "knock_restricted".
	KnockRestricted bool
	// DomainlessRoomIDs (v12): the room id is the create event's id with the
	// sigil "!" and auth_events never hold the create event.
	DomainlessRoomIDs bool
	// PrivilegedCreators (v12): creators have infinite power.
	PrivilegedCreators bool

	redaction redactionRules
}

// redactionRules says what survives redaction beside the keys that survive in
// every version.
type redactionRules struct {
	legacyTopLevel bool // v1–v10: origin, membership and prev_state
	aliases        bool // v1–v5: m.room.aliases keeps aliases
	allow          bool // v8+: m.room.join_rules keeps allow
	authorisedVia  bool // v9+: m.room.member keeps join_authorised_via_users_server
	wholeCreate    bool // v11+: m.room.create keeps all of its content
	invite         bool // v11+: m.room.power_levels keeps invite
	redacts        bool // v11+: m.room.redaction keeps redacts
	thirdParty     bool // v11+: m.room.member keeps third_party_invite.signed
}

// versions holds v1 … v12; it is never written after initialisation.
var versions = buildVersions()

func buildVersions() [12]*RoomVersion {
	ids := [12]string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"}
	var out [12]*RoomVersion
	for i := range out {
		n := i + 1
		v := &RoomVersion{
			ID:                 ids[i],
			EventFormat:        3,
			StateResolution:    2,
			StrictJSON:         n >= 6,
			URLSafeEventIDs:    n >= 4,
			EnforceKeyValidity: n >= 5,
			IntegerPowerLevels: n >= 10,
			AliasAuthRule:      n <= 5,
			NotificationLevels: n >= 6,
			RedactionAuthRule:  n <= 2,
			CreatorIsSender:    n >= 11,
			RedactsInContent:   n >= 11,
			KnockAllowed:       n >= 7,
			RestrictedJoins:    n >= 8,
			KnockRestricted:    n >= 10,
			DomainlessRoomIDs:  n >= 12,
			PrivilegedCreators: n >= 12,
			redaction: redactionRules{
				legacyTopLevel: n <= 10,
				aliases:        n <= 5,
				allow:          n >= 8,
				authorisedVia:  n >= 9,
				wholeCreate:    n >= 11,
				invite:         n >= 11,
				redacts:        n >= 11,
				thirdParty:     n >= 11,
			},
		}
		if n <= 2 {
			v.EventFormat = 1
		}
		if n >= 12 {
			v.EventFormat, v.StateResolution = 12, 21
		}
		if n == 1 {
			v.StateResolution = 1
		}
		out[i] = v
	}
	return out
}

// Version returns the row of one room version; ok is false for a version that
// Hearth does not know.
func Version(id string) (v *RoomVersion, ok bool) {
	for _, v := range versions {
		if v.ID == id {
			return v, true
		}
	}
	return nil, false
}

// Versions returns all rows in order, v1 to v12.
func Versions() []*RoomVersion {
	return append([]*RoomVersion(nil), versions[:]...)
}

package roomapi

import (
	"encoding/json"
	"time"

	"hearth/internal/bus"
)

// retentionTimeout bounds a run that somebody waits for.
const retentionTimeout = 10 * time.Minute

// Retention: how long events are kept. Lifetimes are in milliseconds; 0 is without end.
var (
	// GetRetention returns the policy, the lifetimes of single rooms and the holds.
	GetRetention = bus.Call[Empty, Retention]{Subject: "roomserver.retention.get"}
	// SetRetention changes the policy, or the lifetime of one room.
	SetRetention = bus.Call[SetRetentionRequest, Retention]{Subject: "roomserver.retention.set"}
	// RunRetention purges what has expired and overwrites it, now; or only tells what it would purge.
	RunRetention = bus.Call[RunRetentionRequest, DeletionReceipt]{Subject: "roomserver.retention.run", Timeout: retentionTimeout}
	// PurgeHistory begins to purge a room's events before a place, and answers with an id at once.
	PurgeHistory = bus.Call[PurgeHistoryRequest, PurgeHistoryResponse]{Subject: "roomserver.retention.purge_history"}
	// PurgeStatus tells what became of a PurgeHistory: 404 for an id that is not known (any more).
	PurgeStatus = bus.Call[PurgeHistoryResponse, PurgeStatusResponse]{Subject: "roomserver.retention.purge_status"}
	// PlaceHold keeps what it names from being purged. It stays invisible to clients once it has expired.
	PlaceHold = bus.Call[Hold, Hold]{Subject: "roomserver.retention.hold"}
	// LiftHold ends a hold: 404 if there is none with that id.
	LiftHold = bus.Call[Hold, Hold]{Subject: "roomserver.retention.lift"}
)

// RetentionPolicy says how long events are kept. Of all lifetimes that apply to a room the shortest counts.
type RetentionPolicy struct {
	// DefaultMaxLifetime is for rooms without a policy of their own (m.room.retention, MSC1763).
	DefaultMaxLifetime int64 `json:"default_max_lifetime"`
	// AllowedLifetimeMin and AllowedLifetimeMax bound what a room's own policy may say.
	AllowedLifetimeMin int64 `json:"allowed_lifetime_min"`
	AllowedLifetimeMax int64 `json:"allowed_lifetime_max"`
	// The lifetimes of kinds of rooms. A direct room is one that is not public and has two members at most.
	Direct    int64 `json:"direct"`
	Private   int64 `json:"private"`
	Public    int64 `json:"public"`
	Encrypted int64 `json:"encrypted"`
	// IgnoreRooms says that m.room.retention does not count.
	IgnoreRooms bool `json:"ignore_rooms"`
	// Forgotten is how long the events of a room are kept that nobody of this server is in, however short
	// the time since they left.
	Forgotten int64 `json:"forgotten"`
}

// Retention is everything that bounds how long events are kept.
type Retention struct {
	Policy RetentionPolicy `json:"policy"`
	// Changed says that the policy was changed at run time and differs from the configuration's.
	Changed bool           `json:"changed"`
	Rooms   []RoomLifetime `json:"rooms"`
	Holds   []Hold         `json:"holds"`
}

// RoomLifetime is what an administrator has set for one room.
type RoomLifetime struct {
	RoomID      string `json:"room_id"`
	MaxLifetime int64  `json:"max_lifetime"` // 0: nothing is set
}

// SetRetentionRequest changes what is not nil. Configured takes the policy of the configuration again.
type SetRetentionRequest struct {
	Policy     *RetentionPolicy
	Configured bool
	Room       *RoomLifetime
}

// RunRetentionRequest asks for a purge of what has expired, in one room or in all. Policy, if not nil,
// is what a dry run goes by.
type RunRetentionRequest struct {
	RoomID string
	DryRun bool
	Policy *RetentionPolicy
	Actor  string
}

// DeletionReceipt says what one run has deleted, or for a dry run would delete. Times are in milliseconds.
type DeletionReceipt struct {
	Policy RetentionPolicy `json:"policy"`
	DryRun bool            `json:"dry_run,omitempty"`
	// Rooms counts those that events were deleted of, RoomIDs names the first of them.
	Rooms   int      `json:"rooms"`
	RoomIDs []string `json:"room_ids,omitempty"`
	Events  int64    `json:"events"`
	Bytes   int64    `json:"bytes"`
	Started int64    `json:"started"`
	Purged  int64    `json:"purged"`
	// Overwritten is when nothing of it was left in the database's files; 0: not yet.
	Overwritten int64 `json:"overwritten"`
}

// PurgeHistoryRequest names a room and the end of what is purged: the place of EventID, or the time BeforeTS
// in milliseconds.
type PurgeHistoryRequest struct {
	RoomID, EventID string
	BeforeTS        int64
	// Local says that events of this server's users go too. Other servers may have no copy of them.
	Local bool
	Actor string
}

// PurgeHistoryResponse names a purge.
type PurgeHistoryResponse struct {
	PurgeID string `json:"purge_id"`
}

// PurgeStatusResponse is active, complete or failed.
type PurgeStatusResponse struct {
	Status string `json:"status"`
	Error  string `json:"error,omitempty"`
}

// Kinds of holds.
const (
	HoldRoom  = "room"
	HoldUser  = "user"
	HoldEvent = "event"
)

// Hold keeps a room, what a user has sent, or an event from being purged.
type Hold struct {
	ID     int64  `json:"id"`
	Kind   string `json:"kind"`
	Target string `json:"target"` // room id, user id or event id
	Reason string `json:"reason"`
	// Until is when the hold ends, in milliseconds; 0: when it is lifted.
	Until int64  `json:"until,omitempty"`
	Actor string `json:"actor"`
	At    int64  `json:"at"`
}

// Raw is the receipt for the audit log.
func (d *DeletionReceipt) Raw() json.RawMessage {
	raw, err := json.Marshal(d)
	if err != nil {
		return json.RawMessage("{}") // numbers and texts always marshal
	}
	return raw
}

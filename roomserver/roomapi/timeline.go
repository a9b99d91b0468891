package roomapi

import (
	"strconv"

	"hearth/internal/merr"
)

// Point is a place in a room's timeline, between events. Exactly one of Ord and
// Pos is set; Pos comes from a /sync token and is translated by the roomserver.
// The zero Point is "no limit": the end for a walk backwards, the start for one forwards.
type Point struct {
	// Ord: the place after the event with this order.
	Ord int64
	// Pos: the place after the last event of the room at or before this position.
	Pos int64
}

// IsZero reports whether p sets no limit.
func (p Point) IsZero() bool { return p == Point{} }

// TimelineToken is the pagination token of the place after order ord.
func TimelineToken(ord int64) string { return "t" + strconv.FormatInt(ord, 36) }

// ParseTimelineToken reads a token that TimelineToken wrote.
func ParseTimelineToken(s string) (Point, error) {
	if len(s) < 2 || s[0] != 't' {
		return Point{}, merr.InvalidParam("Invalid pagination token")
	}
	n, err := strconv.ParseInt(s[1:], 36, 64)
	if err != nil {
		return Point{}, merr.InvalidParam("Invalid pagination token")
	}
	return Point{Ord: n}, nil
}

// EventFilter selects events (client-server API, "Filtering", RoomEventFilter).
// A nil slice selects everything; an empty, non-nil one nothing. Types may hold * as a wildcard.
type EventFilter struct {
	Types      []string `json:"types"`
	NotTypes   []string `json:"not_types,omitempty"`
	Senders    []string `json:"senders"`
	NotSenders []string `json:"not_senders,omitempty"`
	// ContainsURL, if set, selects events by whether their content has a url key.
	ContainsURL *bool `json:"contains_url,omitempty"`
	// RelatedByRelTypes and RelatedBySenders select events by a child that they have:
	// of one of these types, from one of these senders. At most MaxRelatedBy each.
	RelatedByRelTypes []string `json:"related_by_rel_types,omitzero"`
	RelatedBySenders  []string `json:"related_by_senders,omitzero"`
}

// MaxRelatedBy bounds the lists that select events by their children.
const MaxRelatedBy = 100

// MessagesRequest asks for a page of the timeline from From towards To.
type MessagesRequest struct {
	RoomID, UserID string
	From, To       Point
	Backwards      bool
	Limit          int // at most 1,000
	Filter         EventFilter
	LazyMembers    bool // add the member events of the senders as State
	// Ignored users' events are left out of aggregations.
	Ignored []string
}

// MessagesResponse is a page. End is the zero Point if there is no more in that
// direction; a page may be empty and yet have an End when a filter or the
// visibility rules took everything.
type MessagesResponse struct {
	Start, End Point
	Events     []*Event
	State      []*Event
}

// ContextRequest asks for an event and up to Limit events around it.
type ContextRequest struct {
	RoomID, UserID, EventID string
	Limit                   int // at most 200
	Filter                  EventFilter
	LazyMembers             bool
	Ignored                 []string // as in MessagesRequest
}

// ContextResponse has Before newest first and After oldest first; State is the
// state at the last event of After. A member event that lazy loading leaves out is not in State.
type ContextResponse struct {
	Start, End Point
	Event      *Event
	Before     []*Event
	After      []*Event
	State      []*Event
}

// StateRequest asks for a room's state as UserID may see it: current for a
// member (or anyone in a world-readable room), at departure for a former member.
type StateRequest struct {
	RoomID, UserID string
	// Types, if not empty, selects the event types.
	Types []string
	// Membership and NotMembership select member events by membership; they leave other events alone.
	Membership, NotMembership string
	// At is a place in the timeline; zero: now.
	At Point
	// MembersOnly asks that UserID be joined now, with 403 otherwise (joined_members).
	MembersOnly bool
}

// WindowRequest asks for what /sync shows of a room to a user.
type WindowRequest struct {
	RoomID, UserID string
	// From is the position up to which the client knows the room; 0: nothing is
	// known, and the whole state is wanted.
	From int64
	// To is the position at which the window ends; 0: the head.
	To int64
	// Limit is the greatest number of timeline events.
	Limit  int
	Filter EventFilter
	// Lazy leaves out of State the member events of those who do not speak in the timeline.
	Lazy bool
	// StateAfter asks for the state at the end of the timeline instead of the state
	// before its start ("use_state_after").
	StateAfter bool
	// NoState skips State.
	NoState bool
	// Ignored is as in MessagesRequest. Aggregations are part of limited windows only.
	Ignored []string
}

// WindowInfo is what a window says besides events.
type WindowInfo struct {
	// Pos is the log position at which the window is true: the request's To, or the head.
	Pos int64
	// Membership of the user at Pos, MemberPos the position of that member event.
	Membership string
	MemberPos  int64
	// JoinedPos is the position at which the user's present joined time began; 0 if not joined.
	JoinedPos int64
	// Limited says that events between From and the first of the timeline are missing.
	Limited bool
	// PrevBatch is the place before the first event of the timeline.
	PrevBatch Point
	// Joined and Invited are numbers of members at Pos.
	Joined, Invited int
	// Heroes are up to five other members, as "Room summary" of the spec says.
	Heroes []string
}

// Window is a whole answer to a WindowRequest.
type Window struct {
	WindowInfo
	Timeline []*Event // oldest first
	State    []*Event
}

// RelationsRequest asks for a page of the children of an event: newest first when
// Backwards, which is the usual direction, otherwise oldest first.
type RelationsRequest struct {
	RoomID, UserID, EventID string
	RelType, EventType      string // empty: any
	From, To                Point
	Backwards               bool
	Limit                   int // at most 1,000
	Recurse                 bool
	Ignored                 []string // as in MessagesRequest
}

// RelationDepth is how deep Recurse goes.
const RelationDepth = 3

// ThreadsRequest asks for the roots of a room's threads, the thread with the newest
// event first; Participated selects those that the user takes part in.
type ThreadsRequest struct {
	RoomID, UserID string
	Participated   bool
	From           Point
	Limit          int      // at most 100
	Ignored        []string // as in MessagesRequest
}

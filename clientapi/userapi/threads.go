package userapi

import (
	"strconv"
	"strings"

	"hearth/internal/bus"
	"hearth/internal/merr"
)

// MaxThreadSubscriptions is the number of threads that a user may have said something of.
const MaxThreadSubscriptions = 20_000

// MaxThreadPage is the number of thread subscriptions of one answer.
const MaxThreadPage = 250

// Calls about thread subscriptions (MSC4306). Whether the thread exists, and the user may
// see it, is for the caller to find out.
var (
	// Subscribe subscribes a user to a thread. What was subscribed by hand stays so. 409
	// IO.ELEMENT.MSC4306.M_CONFLICTING_UNSUBSCRIPTION if the user has unsubscribed when the
	// cause of an automatic subscription was there already; 403 M_FORBIDDEN if there are
	// too many.
	Subscribe = bus.Call[SubscribeRequest, Empty]{Subject: "userstore.thread.subscribe"}
	// Unsubscribe ends a subscription; nothing happens if there is none.
	Unsubscribe = bus.Call[UnsubscribeRequest, Empty]{Subject: "userstore.thread.unsubscribe"}
	// GetSubscription returns a subscription, 404 M_NOT_FOUND if there is none.
	GetSubscription = bus.Call[ThreadRequest, ThreadSubscription]{Subject: "userstore.thread"}
	// ChangedSubscriptions lists subscriptions and their ends, the latest first.
	ChangedSubscriptions = bus.Call[ChangedSubscriptionsRequest, ChangedSubscriptionsResponse]{Subject: "userstore.thread.changed"}
)

// ThreadRequest names a thread by its root.
type ThreadRequest struct{ UserID, RoomID, ThreadID string }

// SubscribeRequest subscribes to a thread. Cause is the position in the room log of the
// event for which a client subscribes by itself, 0 for one that never was in the live
// timeline; Automatic says that there is one.
type SubscribeRequest struct {
	ThreadRequest
	Automatic bool
	Cause     int64
}

// UnsubscribeRequest ends a subscription. Seen is the head of the room log: events up to it
// cause no automatic subscription any more.
type UnsubscribeRequest struct {
	ThreadRequest
	Seen int64
}

// ThreadSubscription is what a user has said of a thread last.
type ThreadSubscription struct {
	RoomID     string `json:"room_id"`
	ThreadID   string `json:"thread_id"`
	Subscribed bool   `json:"subscribed"`
	Automatic  bool   `json:"automatic"`
	Pos        int64  `json:"pos"` // log position of the last change
}

// ChangedSubscriptionsRequest asks for those with After < Pos ≤ UpTo, at most Limit, which
// is at least 1 and at most MaxThreadPage. UpTo 0 means the head.
type ChangedSubscriptionsRequest struct {
	UserID      string
	After, UpTo int64
	Limit       int
}

// ChangedSubscriptionsResponse is a page. More says that the rest is before the position of
// the last one.
type ChangedSubscriptionsResponse struct {
	Threads []ThreadSubscription
	More    bool
}

// ThreadsBody is how clients see a page (MSC4308): by room and thread.
type ThreadsBody struct {
	Subscribed   map[string]map[string]SubscribedBody   `json:"subscribed,omitempty"`
	Unsubscribed map[string]map[string]UnsubscribedBody `json:"unsubscribed,omitempty"`
	PrevBatch    string                                 `json:"prev_batch,omitempty"` // of a sync
	End          string                                 `json:"end,omitempty"`        // of a page
}

// SubscribedBody is a subscription. Of two of the same thread, that with the higher stamp
// is later.
type SubscribedBody struct {
	Automatic bool  `json:"automatic"`
	BumpStamp int64 `json:"bump_stamp"`
}

// UnsubscribedBody is the end of a subscription.
type UnsubscribedBody struct {
	BumpStamp int64 `json:"bump_stamp"`
}

// Body returns the page as clients see it, without a token.
func (r *ChangedSubscriptionsResponse) Body() ThreadsBody {
	var b ThreadsBody
	for _, t := range r.Threads {
		if t.Subscribed {
			put(&b.Subscribed, t.RoomID, t.ThreadID, SubscribedBody{Automatic: t.Automatic, BumpStamp: t.Pos})
		} else {
			put(&b.Unsubscribed, t.RoomID, t.ThreadID, UnsubscribedBody{BumpStamp: t.Pos})
		}
	}
	return b
}

func put[V any](m *map[string]map[string]V, room, thread string, v V) {
	if *m == nil {
		*m = map[string]map[string]V{}
	}
	if (*m)[room] == nil {
		(*m)[room] = map[string]V{}
	}
	(*m)[room][thread] = v
}

// Rest is the token of what a page with more leaves out; after is where the page ends. It
// is empty without more.
func (r *ChangedSubscriptionsResponse) Rest(after int64) string {
	if !r.More || len(r.Threads) == 0 {
		return ""
	}
	return "t" + strconv.FormatInt(r.Threads[len(r.Threads)-1].Pos, 36) + "_" + strconv.FormatInt(after, 36)
}

// ParseRest reads what Rest wrote, 400 M_INVALID_PARAM for anything else: the positions
// between which the rest is, upTo being in it.
func ParseRest(s string) (after, upTo int64, err error) {
	first, last, ok := strings.Cut(strings.TrimPrefix(s, "t"), "_")
	before, errBefore := strconv.ParseInt(first, 36, 64)
	after, errAfter := strconv.ParseInt(last, 36, 64)
	if !ok || !strings.HasPrefix(s, "t") || errBefore != nil || errAfter != nil || after < 0 || before <= after {
		return 0, 0, merr.InvalidParam("Invalid token")
	}
	return after, before - 1, nil
}

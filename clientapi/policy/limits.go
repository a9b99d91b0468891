package policy

import (
	"sync"
	"time"

	"hearth/internal/lru"
	"hearth/internal/merr"
)

// maxBuckets bounds who is remembered by one limit.
const maxBuckets = 20_000

// limits bound how often users and servers invite and join.
type limits struct {
	now func() time.Time
	on  bool
	// inviter is a user, invitee one of ours, origin another server.
	inviter, invitee, origin *buckets
	joiner, joinOrigin       *buckets
}

func newLimits(on bool, now func() time.Time) *limits {
	l := &limits{now: now, on: on}
	if !on {
		return l
	}
	l.inviter, l.invitee, l.origin = l.table(), l.table(), l.table()
	l.joiner, l.joinOrigin = l.table(), l.table()
	return l
}

// Limits: so many at once, and one more after each time. A room is made with 200 invites at most.
var (
	inviterLimit    = rate{200, 5 * time.Second}
	inviteeLimit    = rate{100, 30 * time.Second}
	originLimit     = rate{500, time.Second}
	joinerLimit     = rate{200, 5 * time.Second}
	joinOriginLimit = rate{1000, 50 * time.Millisecond}
)

type rate struct {
	burst float64
	every time.Duration
}

// buckets are token buckets by name; nil limits nothing.
type buckets struct {
	now  func() time.Time
	list *lru.Cache[string, *bucket]
}

type bucket struct {
	mu   sync.Mutex // guards the rest
	left float64
	at   time.Time
}

func (l *limits) table() *buckets {
	return &buckets{now: l.now, list: lru.New[string, *bucket](maxBuckets, nil)}
}

// take uses one of name's up, or returns M_LIMIT_EXCEEDED.
func (b *buckets) take(name string, r rate) error {
	if b == nil || name == "" {
		return nil
	}
	now := b.now()
	k := b.list.GetOrPut(name, &bucket{left: r.burst, at: now})
	k.mu.Lock()
	defer k.mu.Unlock()
	k.left = min(r.burst, k.left+max(0, float64(now.Sub(k.at))/float64(r.every)))
	k.at = now
	if k.left < 1 {
		return merr.LimitExceeded(time.Duration((1 - k.left) * float64(r.every)))
	}
	k.left--
	return nil
}

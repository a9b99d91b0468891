package clientapi

import (
	"net/netip"
	"sync"
	"time"

	"hearth/clientapi/userapi"
	"hearth/internal/lru"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

// maxBuckets bounds the callers that one limit remembers.
const maxBuckets = 10_000

// limits are the rate limits of a process; nil members limit nothing.
type limits struct {
	loginAddress, loginUser, register, send *limit
	session                                 *limit // requests of one user-interactive authentication
	loginTokens                             *limit // login tokens of one user
	mailAddress, mailUser                   *limit // e-mails asked for from one address, and to one
	search                                  *limit // searches of one user
	nobody                                  *limit // requests without an account from one address
	toDevice                                *limit // sends to devices by one user
	keys                                    *limit // requests about keys by one user
	notice                                  *limit // receipts, typing and the like of one user
	settings                                *limit // changes that one user makes of what is stored for it
	read                                    *limit // requests of one user that read much
	report                                  *limit // reports of one user
}

// newLimits returns the limits; free says which users have none, set who has others.
func newLimits(on bool, now func() time.Time, free func(userID string) bool, set *overrides) *limits {
	if !on {
		return &limits{}
	}
	l := &limits{
		loginAddress: newLimit(now, 20, time.Second),
		loginUser:    newLimit(now, 10, 5*time.Second),
		register:     newLimit(now, 10, 5*time.Second),
		send:         newLimit(now, 200, 20*time.Millisecond),
		session:      newLimit(now, 60, 500*time.Millisecond),
		loginTokens:  newLimit(now, 6, 20*time.Second),
		mailAddress:  newLimit(now, 10, time.Minute),
		mailUser:     newLimit(now, 5, 5*time.Minute),
		search:       newLimit(now, 20, 200*time.Millisecond),
		nobody:       newLimit(now, 60, 200*time.Millisecond),
		toDevice:     newLimit(now, 1000, 50*time.Millisecond), // a key for a large room goes out in many
		keys:         newLimit(now, 300, 100*time.Millisecond),
		notice:       newLimit(now, 300, 50*time.Millisecond),
		settings:     newLimit(now, 200, 100*time.Millisecond),
		read:         newLimit(now, 500, 20*time.Millisecond),
		report:       newLimit(now, reportBurst, reportEvery),
	}
	for _, ofUser := range []*limit{l.send, l.search, l.toDevice, l.keys, l.notice, l.settings, l.read} {
		ofUser.free, ofUser.override = free, set.of
	}
	return l
}

// limit is a set of token buckets, one for each key.
type limit struct {
	now     func() time.Time
	burst   float64
	every   time.Duration         // one more request
	free    func(key string) bool // may be nil
	buckets *lru.Cache[string, *bucket]
	// override says who has another limit; may be nil.
	override func(key string) (userapi.RateLimit, bool)
}

type bucket struct {
	mu   sync.Mutex // guards the rest
	left float64
	at   time.Time
}

func newLimit(now func() time.Time, burst int, every time.Duration) *limit {
	return &limit{now: now, burst: float64(burst), every: every, buckets: lru.New[string, *bucket](maxBuckets, nil)}
}

// take uses one request of key up, or returns M_LIMIT_EXCEEDED.
func (l *limit) take(key string) error {
	if l == nil || l.free != nil && l.free(key) {
		return nil
	}
	burst, every := l.burst, l.every
	if l.override != nil {
		if other, ok := l.override(key); ok {
			if other.MessagesPerSecond == 0 {
				return nil
			}
			burst, every = float64(max(other.BurstCount, 1)), time.Second/time.Duration(other.MessagesPerSecond)
		}
	}
	now := l.now()
	b := l.buckets.GetOrPut(key, &bucket{left: burst, at: now})
	b.mu.Lock()
	defer b.mu.Unlock()
	// A clock that was set back adds nothing.
	b.left = min(burst, b.left+max(0, float64(now.Sub(b.at))/float64(every)))
	b.at = now
	if b.left < 1 {
		return merr.LimitExceeded(time.Duration((1 - b.left) * float64(every)))
	}
	b.left--
	return nil
}

// address is the network address that a request is counted under: one host, or for
// IPv6 the /64 that a host may choose from.
func address(r *matrixhttp.Request) string {
	at, err := netip.ParseAddrPort(r.HTTP.RemoteAddr)
	if err != nil {
		return ""
	}
	addr := at.Addr().Unmap()
	if addr.Is6() {
		if prefix, err := addr.Prefix(64); err == nil {
			return prefix.String()
		}
	}
	return addr.String()
}

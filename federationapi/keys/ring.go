// Package keys knows the keys of other servers (server-server API, "Retrieving server
// keys"): from memory, from the database, from the server itself, and from notaries if
// that fails.
package keys

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"

	"hearth/federationapi/storage"
	"hearth/federationapi/transport"
	"hearth/federationapi/xmatrix"
	"hearth/internal/lru"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

const (
	maxMemory  = 32 << 20 // bytes of keys and answers
	maxServers = 50_000   // in the database
	maxWaits   = 20_000
	pruneEvery = time.Hour
	pruneBatch = 200
	batchers   = 16 // servers of one batch that are asked at the same time
)

// Client sends requests to other servers, as [transport.Client] does.
type Client interface {
	Do(ctx context.Context, r transport.Request) (status int, answer json.RawMessage, err error)
}

// Options say how to build a Ring.
type Options struct {
	// Own is our key.
	Own    pdu.Signer
	Client Client
	DB     *storage.DB
	// Notaries are asked, in this order, for keys that their servers do not give.
	Notaries []string
	// Banned are ids of keys that count for nothing, whosever they are.
	Banned []string
	Log    *logrus.Entry
	Now    func() time.Time
}

// Ring holds the keys of other servers. It may be used by many goroutines.
type Ring struct {
	o      Options
	cache  *lru.Cache[string, *storage.Server]
	waits  *lru.Cache[source, wait]
	flight singleflight.Group
	// pending bounds who waits to fetch, fetching who fetches, asking how many of those
	// do it because others ask us as a notary.
	pending, fetching, asking chan struct{}
}

// New returns a ring.
func New(o Options) *Ring {
	weigh := func(name string, s *storage.Server) int { return 200 + len(name) + len(s.Answer) + 120*len(s.Keys) }
	return &Ring{
		o: o, cache: lru.New(maxMemory, weigh), waits: lru.New[source, wait](maxWaits, nil),
		pending: make(chan struct{}, maxPending), fetching: make(chan struct{}, maxFetching), asking: make(chan struct{}, maxAsking),
	}
}

// Run forgets servers when there are too many, until ctx ends.
func (r *Ring) Run(ctx context.Context) {
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	for {
		n, err := r.o.DB.Prune(ctx, maxServers, pruneBatch)
		if err != nil && ctx.Err() == nil {
			r.o.Log.WithError(err).Warn("forget the keys of old servers")
		}
		if err == nil && n == pruneBatch {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// At returns the time at which the key of an event must be valid: its origin_server_ts,
// or the zero time in room versions where any time will do.
func At(v *pdu.RoomVersion, originServerTS int64) time.Time {
	if !v.EnforceKeyValidity {
		return time.Time{}
	}
	return time.UnixMilli(originServerTS)
}

// Key returns a key that was valid at a time; the zero time takes a key that ever was.
// The error is 401 M_UNAUTHORIZED if there is none; Temporary says that the server did
// not answer.
func (r *Ring) Key(ctx context.Context, server, keyID string, at time.Time) (ed25519.PublicKey, error) {
	return r.key(ctx, server, keyID, at, true)
}

// Want names a key, as the parameters of [Ring.Key] do.
type Want struct {
	Server, KeyID string
	At            time.Time
}

// Result is a key or why there is none.
type Result struct {
	Key ed25519.PublicKey
	Err error
}

// Keys looks for many keys at the same time; the results are in the order of wants.
func (r *Ring) Keys(ctx context.Context, wants []Want) []Result {
	out := make([]Result, len(wants))
	servers := map[string][]int{}
	for i, w := range wants {
		servers[w.Server] = append(servers[w.Server], i)
	}
	var group errgroup.Group
	group.SetLimit(batchers)
	for server, indices := range servers {
		group.Go(func() error {
			for _, i := range indices {
				out[i].Key, out[i].Err = r.Key(ctx, server, wants[i].KeyID, wants[i].At)
			}
			return nil
		})
	}
	_ = group.Wait() // the errors are in the results
	return out
}

func (r *Ring) key(ctx context.Context, server, keyID string, at time.Time, notaries bool) (ed25519.PublicKey, error) {
	if slices.Contains(r.o.Banned, keyID) {
		return nil, noKey(server, keyID, errors.New("the key is banned here"))
	}
	if _, _, err := pdu.ParseServerName(server); err != nil || !xmatrix.ValidKeyID(keyID) {
		return nil, noKey("the server", "that is named", errors.New("it cannot exist"))
	}
	if server == r.o.Own.ServerName {
		return r.own(keyID)
	}
	if at.After(r.o.Now().Add(maxValidity)) {
		return nil, noKey(server, keyID, errors.New("no key can be valid so far in the future"))
	}
	sources := []source{{server: server}}
	if notaries && len(r.o.Notaries) > 0 {
		sources = append(sources, source{server: server, notaries: true})
	}
	var failed error
	for i := 0; ; i++ {
		known, err := r.known(ctx, server)
		if err != nil {
			return nil, merr.From(err)
		}
		key, final := find(known, keyID, at)
		if key != nil {
			return key, nil
		}
		if final || i == len(sources) {
			return nil, noKey(server, keyID, failed)
		}
		if err := r.refresh(ctx, sources[i]); err != nil {
			failed = err
		}
	}
}

func (r *Ring) own(keyID string) (ed25519.PublicKey, error) {
	key, ok := r.o.Own.Key.Public().(ed25519.PublicKey)
	if !ok || keyID != r.o.Own.KeyID {
		return nil, noKey(r.o.Own.ServerName, keyID, errors.New("it is not ours"))
	}
	return key, nil
}

// find looks for a key; final says that asking again would not change the result.
func find(s *storage.Server, keyID string, at time.Time) (key ed25519.PublicKey, final bool) {
	for _, k := range s.Keys {
		if k.ID != keyID {
			continue
		}
		if len(k.Public) == ed25519.PublicKeySize && (at.IsZero() || at.UnixMilli() <= k.ValidUntil) {
			return k.Public, true
		}
		return nil, k.Ended && k.Direct
	}
	return nil, false
}

// known returns what is known of a server without asking anybody.
func (r *Ring) known(ctx context.Context, server string) (*storage.Server, error) {
	if s, ok := r.cache.Get(server); ok {
		return s, nil
	}
	s, err := r.o.DB.Get(ctx, server)
	if err != nil || len(s.Keys) == 0 {
		return s, err
	}
	return r.cache.GetOrPut(server, s), nil
}

// noKey is the error for a key that there is not.
func noKey(server, keyID string, cause error) error {
	e := merr.New(http.StatusUnauthorized, "M_UNAUTHORIZED", "The key %s of %s is not known or not valid", keyID, server)
	var known *merr.Error
	if errors.As(cause, &known) {
		e.Temporary = known.Temporary
	}
	return e.WithCause(cause)
}

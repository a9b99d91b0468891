package appservice

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"hearth/internal/lru"
	"hearth/internal/merr"
)

// queryAttempts is how often a service is asked that does not answer.
const queryAttempts = 3

// QueryUser asks the services that have a user in their namespaces whether there is
// such a user, which they make if they want to ("Querying"). It returns true if one of
// them says yes: then the user is there. 408 if none says yes and one does not answer.
func (s *Service) QueryUser(ctx context.Context, userID string) (bool, error) {
	if s == nil {
		return false, nil
	}
	return s.query(ctx, "/users/", userID, func(r *Registration) bool { return userID != r.Sender && r.HasUser(userID) })
}

// QueryAlias is QueryUser for the room of an alias.
func (s *Service) QueryAlias(ctx context.Context, alias string) (bool, error) {
	if s == nil {
		return false, nil
	}
	return s.query(ctx, "/rooms/", alias, func(r *Registration) bool { return r.HasAlias(alias) })
}

func (s *Service) query(ctx context.Context, kind, id string, concerns func(*Registration) bool) (bool, error) {
	if s.unknown.has(id) {
		return false, nil
	}
	asked := false
	var failed error
	for _, p := range s.peers {
		if p.URL == "" || !concerns(p.Registration) {
			continue
		}
		asked = true
		answer, err := p.query(ctx, &request{path: "/_matrix/app/v1" + kind + url.PathEscape(id), legacy: kind + url.PathEscape(id), unread: true})
		if err != nil {
			failed = err
			continue
		}
		if answer.status == http.StatusOK {
			return true, nil
		}
	}
	if asked && failed == nil {
		s.unknown.add(id)
	}
	return false, failed
}

// query asks a service, again if it does not answer: 408 in the end.
func (p *peer) query(ctx context.Context, r *request) (*reply, error) {
	select {
	case p.asking <- struct{}{}:
		defer func() { <-p.asking }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	r.method, r.timeout = http.MethodGet, p.s.tune.query
	var failed error
	for range queryAttempts {
		answer, err := p.ask(ctx, r)
		if err == nil {
			return answer, nil
		}
		failed = err
		pause(ctx, p.s.tune.queryPause)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	p.log.WithError(failed).Warn("the application service does not answer a query")
	return nil, merr.New(http.StatusRequestTimeout, "M_UNKNOWN", "An application service did not answer").WithCause(failed)
}

const (
	maxUnknown = 10_000
	// unknownTTL is how long the answer that something does not exist is believed.
	unknownTTL = 5 * time.Second
)

// unknownCache remembers what services have said not to exist, so that clients
// cannot make us ask without end.
type unknownCache struct {
	now func() time.Time
	ids *lru.Cache[string, time.Time]
}

func newUnknownCache(now func() time.Time) *unknownCache {
	return &unknownCache{now, lru.New[string, time.Time](maxUnknown, nil)}
}

func (c *unknownCache) add(id string) { c.ids.Put(id, c.now().Add(unknownTTL)) }

func (c *unknownCache) has(id string) bool {
	until, ok := c.ids.Get(id)
	left := until.Sub(c.now())
	return ok && left > 0 && left <= unknownTTL
}

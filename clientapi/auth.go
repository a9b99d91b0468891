package clientapi

import (
	"context"
	"crypto/sha256"
	"strings"
	"sync/atomic"
	"time"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/lru"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

const (
	// maxCachedTokens bounds the memory of the cache to some megabytes.
	maxCachedTokens = 20_000
	// tokenTTL is how long a token may live on if the message that revokes it is lost.
	tokenTTL = 5 * time.Second
)

// guest authenticates a request by its access token (client-server API, "Using
// access tokens"). The user may be a guest.
func (s *Server) guest(r *matrixhttp.Request) error {
	token := bearer(r)
	if token == "" {
		return merr.MissingToken()
	}
	hash := sha256.Sum256([]byte(token))
	if service := s.options.Appservices.ByToken(hash); service != nil {
		return s.masquerade(r, service)
	}
	id, err := s.tokens.identity(r.Context(), hash)
	if err != nil {
		return err
	}
	r.Identity = matrixhttp.Identity{
		UserID: id.UserID, DeviceID: id.DeviceID, Admin: id.Admin, Guest: id.Guest, Role: id.Role,
		Suspended: id.Suspended, ShadowBanned: id.ShadowBanned,
	}
	s.seen.note(r.Identity, clientIP(r))
	return s.restrict(r, id.Restrictions)
}

// user authenticates a request that guests may not make.
func (s *Server) user(r *matrixhttp.Request) error {
	if err := s.guest(r); err != nil {
		return err
	}
	if r.Identity.Guest {
		return guestForbidden("Guests may not do this")
	}
	return nil
}

// bearer returns the access token. Clients of the time of r0 send it in the query
// string, which the spec has since given up; on r0 paths it is still taken.
func bearer(r *matrixhttp.Request) string {
	scheme, token, _ := strings.Cut(r.HTTP.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token)
	}
	path := r.HTTP.URL.Path
	if scheme == "" && (strings.HasPrefix(path, "/_matrix/client/r0/") || strings.HasPrefix(path, "/_matrix/media/r0/")) {
		return r.HTTP.URL.Query().Get("access_token")
	}
	return ""
}

// tokenCache remembers who owns an access token, by its SHA-256.
type tokenCache struct {
	bus     *bus.Bus
	now     func() time.Time
	entries *lru.Cache[[sha256.Size]byte, cachedToken]
	// revocations counts them, so that an answer which a revocation has overtaken
	// is not remembered.
	revocations atomic.Uint64
}

type cachedToken struct {
	id    userapi.Identity
	until time.Time
}

func newTokenCache(b *bus.Bus, now func() time.Time) *tokenCache {
	return &tokenCache{bus: b, now: now, entries: lru.New[[sha256.Size]byte, cachedToken](maxCachedTokens, nil)}
}

func (c *tokenCache) identity(ctx context.Context, hash [sha256.Size]byte) (userapi.Identity, error) {
	now := c.now()
	if e, ok := c.entries.Get(hash); ok && now.Before(e.until) && e.until.Sub(now) <= tokenTTL {
		return e.id, nil
	}
	before := c.revocations.Load()
	id, err := userapi.Authenticate.Do(ctx, c.bus, &userapi.AuthenticateRequest{Token: hash[:]})
	if err != nil {
		c.entries.Delete(hash)
		return userapi.Identity{}, err
	}
	if c.revocations.Load() == before {
		until := now.Add(tokenTTL)
		if end := time.UnixMilli(id.ExpiresTS); id.ExpiresTS != 0 && end.Before(until) {
			until = end
		}
		c.entries.Put(hash, cachedToken{*id, until})
	}
	return *id, nil
}

// revoke forgets tokens.
func (c *tokenCache) revoke(gone *userapi.Revoked) {
	c.revocations.Add(1)
	for _, hash := range gone.Tokens {
		if len(hash) == sha256.Size {
			c.entries.Delete([sha256.Size]byte(hash))
		}
	}
}

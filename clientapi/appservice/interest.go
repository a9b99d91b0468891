package appservice

import (
	"context"
	"errors"
	"slices"
	"time"

	"hearth/internal/bus"
	"hearth/internal/lru"
	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
)

// byRoom reports whether a service is interested in a room because of its id or of
// one of its aliases.
func (s *Service) byRoom(ctx context.Context, r *Registration, room string) (bool, error) {
	if r.HasRoom(room) {
		return true, nil
	}
	if len(r.Aliases) == 0 {
		return false, nil
	}
	aliases, err := s.aliases.of(ctx, room)
	return slices.ContainsFunc(aliases, r.HasAlias), err
}

// interested reports whether a service is interested in a room, users included.
func (s *Service) interested(ctx context.Context, p *peer, room string) (bool, error) {
	members, err := s.db.members(ctx, room)
	if err != nil || members[p.nid] > 0 {
		return err == nil, err
	}
	return s.byRoom(ctx, p.Registration, room)
}

// AliasChanged makes the aliases of a room be read anew.
func (s *Service) AliasChanged(room string) {
	if s != nil {
		s.aliases.rooms.Delete(room)
	}
}

const (
	maxAliasRooms = 20_000
	// aliasTTL is how long a change of aliases that somebody else has made stays unknown.
	aliasTTL = 5 * time.Second
)

// aliasCache remembers the aliases of rooms for a short time: aliases are no events,
// so the log does not tell of them.
type aliasCache struct {
	bus   *bus.Bus
	now   func() time.Time
	rooms *lru.Cache[string, aliasList]
}

type aliasList struct {
	aliases []string
	until   time.Time
}

func newAliasCache(b *bus.Bus, now func() time.Time) *aliasCache {
	return &aliasCache{b, now, lru.New[string, aliasList](maxAliasRooms, nil)}
}

func (c *aliasCache) of(ctx context.Context, room string) ([]string, error) {
	now := c.now()
	if l, ok := c.rooms.Get(room); ok && now.Before(l.until) && l.until.Sub(now) <= aliasTTL {
		return l.aliases, nil
	}
	answer, err := roomapi.LocalAliases.Do(ctx, c.bus, &roomapi.RoomRequest{RoomID: room})
	if errors.Is(err, merr.NotFound("")) {
		answer, err = &roomapi.AliasesResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	c.rooms.Put(room, aliasList{answer.Aliases, now.Add(aliasTTL)})
	return answer.Aliases, nil
}

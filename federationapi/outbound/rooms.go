package outbound

import (
	"context"
	"slices"
	"sync"
	"time"

	"hearth/internal/bus"
	"hearth/internal/lru"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

const (
	maxHostBytes  = 16 << 20
	hostsLifetime = time.Minute
	maxTypists    = 20_000 // rooms
)

// hostCache knows for a while which servers are in a room, for what may be lost.
type hostCache struct {
	bus   *bus.Bus
	now   func() time.Time
	rooms *lru.Cache[string, knownHosts]
}

type knownHosts struct {
	servers []string
	until   time.Time
}

func newHostCache(b *bus.Bus, now func() time.Time) *hostCache {
	return &hostCache{bus: b, now: now, rooms: lru.New(maxHostBytes, func(room string, k knownHosts) int {
		return 200 + len(room) + 40*len(k.servers)
	})}
}

// drop forgets a room whose members have changed.
func (c *hostCache) drop(roomID string) { c.rooms.Put(roomID, knownHosts{}) }

// of lists the other servers in a room. The list must not be changed.
func (c *hostCache) of(ctx context.Context, roomID string) ([]string, error) {
	if k, ok := c.rooms.Get(roomID); ok && c.now().Before(k.until) {
		return k.servers, nil
	}
	resp, err := roomapi.Hosts.Do(ctx, c.bus, &roomapi.HostsRequest{RoomID: roomID})
	if err != nil {
		return nil, err
	}
	c.rooms.Put(roomID, knownHosts{resp.Servers, c.now().Add(hostsLifetime)})
	return resp.Servers, nil
}

// typists knows who of our users was typing where, to tell what has changed.
type typists struct {
	own string

	mu    sync.Mutex // guards rooms
	rooms *lru.Cache[string, []string]
}

func newTypists(own string) *typists {
	return &typists{own: own, rooms: lru.New[string, []string](maxTypists, nil)}
}

// change returns who of our users began to type in a room, and who ceased to.
func (t *typists) change(now *roomapi.Typing) (began, ceased []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before, _ := t.rooms.Get(now.RoomID)
	var ours []string
	for _, user := range now.UserIDs {
		if pdu.Domain(user) != t.own {
			continue
		}
		ours = append(ours, user)
		if !slices.Contains(before, user) {
			began = append(began, user)
		}
	}
	for _, user := range before {
		if !slices.Contains(ours, user) {
			ceased = append(ceased, user)
		}
	}
	if len(began)+len(ceased) > 0 {
		t.rooms.Put(now.RoomID, ours)
	}
	return began, ceased
}

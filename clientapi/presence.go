package clientapi

import (
	"context"
	"strings"
	"time"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/lru"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
)

const (
	// presenceGrace is how long a device counts as connected after a sync.
	presenceGrace = 60 * time.Second
	// explicitTTL is how long a presence that was set by itself holds; a client that
	// syncs sets it again and again.
	explicitTTL = 5 * time.Minute
	// activeEvery is how often the activity of a user is told to the owner.
	activeEvery = 30 * time.Second
	maxShown    = 20_000
)

// presenceFeed tells the owner what devices show, and not more often than it must. All
// of it is best effort: nobody waits for presence and nothing fails for its sake.
type presenceFeed struct {
	bus    *bus.Bus
	now    func() time.Time
	shown  *lru.Cache[device, shownPresence]
	active *lru.Cache[string, time.Time]
}

type shownPresence struct {
	presence string
	until    time.Time
}

// newPresenceFeed returns a feed, nil if presence is off.
func newPresenceFeed(on bool, b *bus.Bus, now func() time.Time) *presenceFeed {
	if !on {
		return nil
	}
	return &presenceFeed{
		bus: b, now: now,
		shown:  lru.New[device, shownPresence](maxShown, nil),
		active: lru.New[string, time.Time](maxShown, nil),
	}
}

// syncing says that a device begins a sync that may wait for timeout.
func (p *presenceFeed) syncing(ctx context.Context, id matrixhttp.Identity, presence string, timeout time.Duration) {
	if p == nil || id.DeviceID == "" {
		return
	}
	key, now := device{id.UserID, id.DeviceID}, p.now()
	last, known := p.shown.Get(key)
	current := known && now.Before(last.until)
	if presence == userapi.Offline && (!current || last.presence == userapi.Offline) {
		return
	}
	if current && last.presence == presence && last.until.Sub(now) >= timeout+presenceGrace/2 && last.until.Sub(now) <= 2*(timeout+presenceGrace) {
		return
	}
	ttl := timeout + presenceGrace
	if _, err := userapi.SetPresence.Do(ctx, p.bus, &userapi.SetPresenceRequest{
		UserID: id.UserID, DeviceID: id.DeviceID, Presence: presence, TTLMS: ttl.Milliseconds(),
	}); err == nil {
		p.shown.Put(key, shownPresence{presence, now.Add(ttl)})
	}
}

// act says that a user did something.
func (p *presenceFeed) act(r *matrixhttp.Request) {
	if p == nil {
		return
	}
	now := p.now()
	if at, ok := p.active.Get(r.Identity.UserID); ok && now.Sub(at) < activeEvery && !now.Before(at) {
		return
	}
	if _, err := userapi.Active.Do(r.Context(), p.bus, &userapi.ActiveRequest{UserIDs: []string{r.Identity.UserID}}); err == nil {
		p.active.Put(r.Identity.UserID, now)
	}
}

func (s *Server) isLocal(userID string) bool { return strings.HasSuffix(userID, ":"+s.serverName) }

type presenceRequest struct {
	Presence string  `json:"presence"`
	Status   *string `json:"status_msg"`
}

func presenceOff() error { return merr.Forbidden("Presence is not enabled on this server") }

// setPresence is PUT /presence/{userId}/status.
func (s *Server) setPresence(r *matrixhttp.Request) (any, error) {
	if err := self(r); err != nil {
		return nil, err
	}
	req, err := matrixhttp.Decode[presenceRequest](r)
	if err != nil {
		return nil, err
	}
	if req.Presence == "" {
		return nil, merr.MissingParam("presence")
	}
	if s.presence == nil {
		return nil, presenceOff()
	}
	if err := s.limits.search.take(r.Identity.UserID); err != nil {
		return nil, err
	}
	status := ""
	if req.Status != nil {
		status = *req.Status
	}
	_, err = userapi.SetPresence.Do(r.Context(), s.bus, &userapi.SetPresenceRequest{
		UserID: r.Identity.UserID, DeviceID: r.Identity.DeviceID, Presence: req.Presence, Status: &status,
		TTLMS: explicitTTL.Milliseconds(), Explicit: true,
	})
	if err == nil {
		s.presence.shown.Delete(device{r.Identity.UserID, r.Identity.DeviceID})
	}
	return nil, err
}

// getPresence is GET /presence/{userId}/status, for users in the same rooms.
func (s *Server) getPresence(r *matrixhttp.Request) (any, error) {
	id := r.Param("userId")
	if err := userID(id); err != nil {
		return nil, err
	}
	if s.presence == nil {
		return nil, merr.NotFound("Presence is not enabled on this server")
	}
	if err := s.hiddenFrom(r, id); err != nil {
		return nil, err
	}
	if id != r.Identity.UserID {
		shared, err := roomapi.MutualRooms.Do(r.Context(), s.bus, &roomapi.MutualRoomsRequest{UserID: r.Identity.UserID, Other: id, Limit: 1})
		if err != nil {
			return nil, err
		}
		if shared.Total == 0 {
			return nil, merr.Forbidden("You are not allowed to see the presence of this user")
		}
	}
	p, err := userapi.GetPresence.Do(r.Context(), s.bus, &userapi.UserRequest{UserID: id})
	if err != nil {
		return nil, err
	}
	answer := map[string]any{"presence": p.Presence}
	if p.Presence == userapi.Online {
		answer["currently_active"] = p.CurrentlyActive
	}
	if p.LastActiveTS > 0 {
		answer["last_active_ago"] = max(0, s.now().UnixMilli()-p.LastActiveTS)
	}
	if p.StatusMsg != "" {
		answer["status_msg"] = p.StatusMsg
	}
	return answer, nil
}

package presence

import (
	"context"
	"time"

	"hearth/clientapi/userapi"
	"hearth/internal/pdu"
)

const (
	maxRemote   = 50_000 // users of other servers who are not offline
	maxRemoteOf = 5_000  // of one server
	maxPushed   = 500    // users of one EDU
	// remoteFor is how long what another server says holds; servers remind one another before.
	remoteFor = 30 * time.Minute
	// longestAgo is how long ago somebody can have been active.
	longestAgo = 365 * 24 * time.Hour
)

// remote are the users of other servers who are not offline.
type remote struct {
	users map[string]*remoteUser
	of    map[string]int // how many of each server
}

type remoteUser struct {
	told  userapi.Presence
	until time.Time
}

func newRemote() remote { return remote{users: map[string]*remoteUser{}, of: map[string]int{}} }

// setRemote takes an m.presence EDU.
func (t *Tracker) setRemote(_ context.Context, req *userapi.RemotePresenceRequest) (*userapi.Empty, error) {
	now := t.now()
	push, _ := pdu.Get(req.Content, "push")
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	pdu.Elements(push, func(entry []byte) bool {
		if p, ok := readRemote(entry, req.Origin, now); ok && !t.local(p.UserID) {
			t.tellRemote(p, now)
		}
		n++
		return n < maxPushed
	})
	return &userapi.Empty{}, nil
}

// readRemote reads one update ("User Presence Update").
func readRemote(entry []byte, origin string, now time.Time) (p userapi.Presence, ok bool) {
	p.UserID, _ = pdu.GetString(entry, "user_id")
	p.Presence, _ = pdu.GetString(entry, "presence")
	if _, domain, err := pdu.ParseUserID(p.UserID); err != nil || domain != origin {
		return p, false
	}
	if p.Presence != userapi.Online && p.Presence != userapi.Unavailable && p.Presence != userapi.Offline {
		return p, false
	}
	if status, _ := pdu.GetString(entry, "status_msg"); len(status) <= userapi.MaxStatus {
		p.StatusMsg = status
	}
	if ago, known := pdu.GetInt(entry, "last_active_ago"); known && ago >= 0 {
		p.LastActiveTS = now.UnixMilli() - min(ago, longestAgo.Milliseconds())
	}
	active, _ := pdu.GetBool(entry, "currently_active")
	p.CurrentlyActive = active && p.Presence == userapi.Online
	return p, true
}

// tellRemote publishes what another server says of a user if it changes something. mu is held.
func (t *Tracker) tellRemote(p userapi.Presence, now time.Time) {
	server := pdu.Domain(p.UserID)
	known := t.remote.users[p.UserID]
	switch {
	case known == nil && p.Presence == userapi.Offline:
		return
	case known == nil && (len(t.remote.users) >= maxRemote || t.remote.of[server] >= maxRemoteOf):
		return
	case known == nil:
		known = &remoteUser{}
		t.remote.users[p.UserID] = known
		t.remote.of[server]++
	}
	known.until = now.Add(remoteFor)
	old := known.told
	p.Epoch = t.epoch
	if p.Presence == old.Presence && p.StatusMsg == old.StatusMsg && p.CurrentlyActive == old.CurrentlyActive {
		p.Serial = old.Serial
		known.told = p
		return
	}
	t.serial = max(t.serial+1, now.UnixMilli())
	p.Serial = t.serial
	known.told = p
	if p.Presence == userapi.Offline {
		t.forgetRemote(p.UserID, server)
	}
	userapi.PresenceTopic.Publish(t.bus, &p)
}

func (t *Tracker) forgetRemote(userID, server string) {
	delete(t.remote.users, userID)
	if t.remote.of[server]--; t.remote.of[server] == 0 {
		delete(t.remote.of, server)
	}
}

// expireRemote lets users go of whom nothing was heard. mu is held.
func (t *Tracker) expireRemote(now time.Time) {
	for _, r := range t.remote.users {
		if !now.Before(r.until) {
			p := r.told
			p.Presence, p.CurrentlyActive = userapi.Offline, false
			t.tellRemote(p, now)
		}
	}
}

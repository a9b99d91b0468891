// Package presence knows who is online. Devices say what they show and for how long
// that holds; what others see of a user is the best of it:
//
//	a device shows online, the user did something in the last 5 minutes → online
//	a device shows online or unavailable                                → unavailable
//	otherwise                                                           → offline
//
// All of it is in memory, bounded, and lost with the process.
package presence

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/merr"
)

const (
	// idleAfter is how long somebody without activity stays online.
	idleAfter = 5 * time.Minute
	// activeFor is how long somebody counts as active after doing something.
	activeFor = time.Minute
	// forgetAfter is how long the last activity and the status of somebody offline are
	// remembered.
	forgetAfter = 7 * 24 * time.Hour

	tickEvery  = 2 * time.Second
	sweepEvery = time.Hour
	maxUsers   = 100_000
	maxDevices = 100 // of a user
	maxTTL     = 10 * time.Minute
	page       = 1000
)

// Deps is what a Tracker needs.
type Deps struct {
	Bus *bus.Bus
	Now func() time.Time
	// Local reports whether a user is of this server.
	Local func(userID string) bool
}

// Tracker answers the calls about presence and publishes changes.
type Tracker struct {
	bus   *bus.Bus
	now   func() time.Time
	local func(string) bool
	epoch int64
	most  int // users

	mu     sync.Mutex // guards the rest
	serial int64
	users  map[string]*user
	live   map[string]*user // those of users with devices: only they change by themselves
	swept  time.Time        // when the others were last looked at
	remote remote
	// untold are local users whose presence other servers have to hear of.
	untold map[string]bool
}

type user struct {
	devices map[string]shown
	active  time.Time // last activity
	sent    time.Time // when other servers were last told
	told    userapi.Presence
}

type shown struct {
	presence string
	until    time.Time
}

// New registers the handlers; Run must follow.
func New(d Deps) (*Tracker, error) {
	now := d.Now()
	t := &Tracker{
		bus: d.Bus, now: d.Now, local: d.Local, epoch: now.UnixMilli(), swept: now, most: maxUsers,
		users: map[string]*user{}, live: map[string]*user{}, remote: newRemote(), untold: map[string]bool{},
	}
	t.serial = t.epoch
	for _, err := range []error{
		bus.Handle(d.Bus, userapi.SetPresence, t.set),
		bus.Handle(d.Bus, userapi.Active, t.activity),
		bus.Handle(d.Bus, userapi.GetPresence, t.get),
		bus.Handle(d.Bus, userapi.OnlineUsers, t.online),
		bus.Handle(d.Bus, userapi.RemotePresence, t.setRemote),
	} {
		if err != nil {
			return nil, err
		}
	}
	return t, nil
}

// Run lets what devices show expire, until ctx ends. First it says that what an earlier
// owner told is no longer so.
func (t *Tracker) Run(ctx context.Context) {
	userapi.PresenceTopic.Publish(t.bus, &userapi.Presence{Epoch: t.epoch})
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() { t.federate(ctx) })
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			t.expire()
		}
	}
}

func (t *Tracker) set(_ context.Context, req *userapi.SetPresenceRequest) (*userapi.Empty, error) {
	switch {
	case req.Presence != userapi.Online && req.Presence != userapi.Unavailable && req.Presence != userapi.Offline:
		return nil, merr.InvalidParam("Unknown presence")
	case !t.local(req.UserID):
		return nil, merr.NotFound("User not found")
	case req.Status != nil && len(*req.Status) > userapi.MaxStatus:
		return nil, merr.InvalidParam("The status message is longer than %d bytes", userapi.MaxStatus)
	case req.TTLMS <= 0:
		return nil, merr.InvalidParam("Invalid time")
	}
	now := t.now()
	ttl := min(time.Duration(min(req.TTLMS, maxTTL.Milliseconds()))*time.Millisecond, maxTTL)
	t.mu.Lock()
	defer t.mu.Unlock()
	u := t.user(req.UserID)
	if u == nil {
		return nil, merr.Busy(time.Minute)
	}
	before, known := u.devices[req.DeviceID]
	if !known && len(u.devices) >= maxDevices {
		return nil, merr.LimitExceeded(time.Minute)
	}
	u.devices[req.DeviceID] = shown{req.Presence, now.Add(ttl)}
	t.live[req.UserID] = u
	// Whoever comes back did something; whoever goes on syncing did not.
	if req.Presence == userapi.Online && (req.Explicit || before.presence != userapi.Online || !now.Before(before.until)) {
		u.active = now
	}
	status := u.told.StatusMsg
	if req.Status != nil {
		status = *req.Status
	}
	t.tell(req.UserID, u, now, status)
	return &userapi.Empty{}, nil
}

func (t *Tracker) activity(_ context.Context, req *userapi.ActiveRequest) (*userapi.Empty, error) {
	if len(req.UserIDs) > userapi.MaxSeen {
		return nil, merr.InvalidParam("More than %d users", userapi.MaxSeen)
	}
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, id := range req.UserIDs {
		if u := t.users[id]; u != nil {
			u.active = now
			for device, d := range u.devices { // who does something is not away
				if d.presence == userapi.Unavailable {
					u.devices[device] = shown{userapi.Online, d.until}
				}
			}
			t.tell(id, u, now, u.told.StatusMsg)
		}
	}
	return &userapi.Empty{}, nil
}

// user returns the entry of a user, a new one if need be, for which one of somebody
// offline makes room; nil if there are too many.
func (t *Tracker) user(id string) *user {
	u := t.users[id]
	if u != nil {
		return u
	}
	if len(t.users) >= t.most {
		if len(t.live) >= t.most {
			return nil
		}
		for other := range t.users {
			if t.live[other] == nil {
				delete(t.users, other)
				break
			}
		}
	}
	u = &user{devices: map[string]shown{}, told: userapi.Presence{UserID: id, Presence: userapi.Offline, Epoch: t.epoch}}
	t.users[id] = u
	return u
}

// view is what others see of a user now.
func (t *Tracker) view(id string, u *user, now time.Time, status string) userapi.Presence {
	p := userapi.Presence{Serial: u.told.Serial, Epoch: t.epoch, UserID: id, Presence: userapi.Offline, StatusMsg: status}
	if !u.active.IsZero() {
		p.LastActiveTS = u.active.UnixMilli()
	}
	for _, d := range u.devices {
		if !now.Before(d.until) {
			continue
		}
		switch {
		case d.presence == userapi.Online && now.Sub(u.active) < idleAfter:
			p.Presence = userapi.Online
		case d.presence != userapi.Offline && p.Presence == userapi.Offline:
			p.Presence = userapi.Unavailable
		}
	}
	p.CurrentlyActive = p.Presence == userapi.Online && now.Sub(u.active) < activeFor
	return p
}

// tell publishes what others see if it changed. mu is held.
func (t *Tracker) tell(id string, u *user, now time.Time, status string) {
	p := t.view(id, u, now, status)
	old := u.told
	if p.Presence == old.Presence && p.StatusMsg == old.StatusMsg && p.CurrentlyActive == old.CurrentlyActive {
		return
	}
	t.serial = max(t.serial+1, now.UnixMilli())
	p.Serial = t.serial
	u.told = p
	t.untold[id] = true
	userapi.PresenceTopic.Publish(t.bus, &p)
}

// expire lets devices and users go.
func (t *Tracker) expire() {
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, u := range t.live {
		for device, d := range u.devices {
			if !now.Before(d.until) {
				delete(u.devices, device)
			}
		}
		t.tell(id, u, now, u.told.StatusMsg)
		if u.told.Presence != userapi.Offline && now.Sub(u.sent) >= remindEvery {
			t.untold[id] = true
		}
		if len(u.devices) == 0 {
			delete(t.live, id)
		}
	}
	t.expireRemote(now)
	if now.Sub(t.swept) < sweepEvery {
		return
	}
	t.swept = now
	for id, u := range t.users {
		if t.live[id] == nil && now.Sub(u.active) > forgetAfter {
			delete(t.users, id)
		}
	}
}

func (t *Tracker) get(_ context.Context, req *userapi.UserRequest) (*userapi.Presence, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r := t.remote.users[req.UserID]; r != nil {
		p := r.told
		return &p, nil
	}
	u := t.users[req.UserID]
	if u == nil {
		return &userapi.Presence{UserID: req.UserID, Presence: userapi.Offline, Epoch: t.epoch}, nil
	}
	p := t.view(req.UserID, u, t.now(), u.told.StatusMsg)
	return &p, nil
}

func (t *Tracker) online(_ context.Context, req *userapi.UserRequest) (*userapi.OnlineResponse, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	resp := &userapi.OnlineResponse{Epoch: t.epoch}
	for id, u := range t.live {
		if u.told.Presence != userapi.Offline && id > req.UserID {
			resp.Users = append(resp.Users, u.told)
		}
	}
	for id, r := range t.remote.users {
		if id > req.UserID {
			resp.Users = append(resp.Users, r.told)
		}
	}
	slices.SortFunc(resp.Users, func(a, b userapi.Presence) int { return strings.Compare(a.UserID, b.UserID) })
	if len(resp.Users) > page {
		resp.Users, resp.More = resp.Users[:page], true
	}
	return resp, nil
}

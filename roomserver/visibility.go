package roomserver

import (
	"context"
	"errors"
	"slices"

	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/state"
	"hearth/roomserver/storage"
)

const (
	visibilityType = "m.room.history_visibility"

	worldReadable = "world_readable"
	shared        = "shared"
	invited       = "invited"
)

// change is a moment of the timeline from which on something has a value.
type change struct {
	ord   int64
	value string
}

// at returns the value just before (or, if inclusive, at) a place in the timeline.
func at(changes []change, ord int64, inclusive bool, other string) string {
	i, found := slices.BinarySearchFunc(changes, ord, func(c change, ord int64) int {
		switch {
		case c.ord < ord:
			return -1
		case c.ord > ord:
			return 1
		}
		return 0
	})
	if found && inclusive {
		i++
	}
	if i == 0 {
		return other
	}
	return changes[i-1].value
}

// visibility tells which events of a room a user may see ("Room history
// visibility", server behaviour). It follows the order of the timeline.
type visibility struct {
	userID      string
	memberships []change
	settings    []change // of m.room.history_visibility
	expiry      *expiry
}

// visibility reads the history of a user's membership and of the room's setting.
func (s *Server) visibility(ctx context.Context, r *room, userID string) (*visibility, error) {
	v := &visibility{userID: userID}
	var err error
	if v.expiry, err = s.expiry(ctx, r); err != nil {
		return nil, err
	}
	v.expiry.showHeld = userID == roomapi.Everything
	if v.settings, err = s.history(ctx, r, visibilityType, "", "history_visibility", shared); err != nil {
		return nil, err
	}
	if userID == roomapi.Everything {
		v.memberships = []change{{-1 << 63, "join"}} // as somebody who always was in the room
		return v, nil
	}
	v.memberships, err = s.history(ctx, r, memberType, userID, "membership", "leave")
	return v, err
}

func (s *Server) readHistory(ctx context.Context, r *room, k state.Key, key, other string) ([]change, error) {
	rows, err := s.store.StateHistory(ctx, r.nid, k.Type, k.StateKey)
	if err != nil {
		return nil, err
	}
	nids := make([]int64, len(rows))
	for i, row := range rows {
		nids[i] = row.Nid
	}
	events, err := s.events(ctx, r, nids)
	if err != nil {
		return nil, err
	}
	changes := make([]change, len(rows))
	for i, e := range events {
		value, ok := pdu.GetString(e.ev.Content, key)
		if !ok {
			value = other
		}
		changes[i] = change{rows[i].Ord, value}
	}
	if changes, err = s.withGaps(ctx, r, k, key, other, changes); err != nil {
		return nil, err
	}
	return s.withState(ctx, r, k, key, other, changes)
}

// membership is the user's membership at an event: the new one at their own member event.
func (v *visibility) membership(e *stored) string {
	return at(v.memberships, e.ord, true, "leave")
}

// current is the user's membership now; "" if there never was one.
func (v *visibility) current() string {
	if len(v.memberships) == 0 {
		return ""
	}
	return v.memberships[len(v.memberships)-1].value
}

// sees reports whether the user may see an event. At a change of the setting the
// more permissive of before and after counts.
func (v *visibility) sees(e *stored) bool {
	if e.hidden() || v.expiry.gone(context.Background(), e) {
		return false
	}
	if e.ev.Type == memberType && e.ev.StateKeyEquals(v.userID) {
		return true // what happens to oneself, such as a ban, is no secret
	}
	settings := []string{at(v.settings, e.ord, false, shared)}
	if e.ev.Type == visibilityType && e.ev.StateKeyEquals("") {
		settings = append(settings, at(v.settings, e.ord, true, shared))
	}
	membership := at(v.memberships, e.ord, false, "")
	return slices.ContainsFunc(settings, func(setting string) bool { return v.allows(setting, membership, e.ord) })
}

func (v *visibility) allows(setting, membership string, ord int64) bool {
	switch {
	case setting == worldReadable, membership == "join":
		return true
	case setting == shared:
		return v.joinedAfter(ord)
	case setting == invited:
		return membership == "invite"
	}
	return false
}

func (v *visibility) joinedAfter(ord int64) bool {
	for i := len(v.memberships) - 1; i >= 0 && v.memberships[i].ord > ord; i-- {
		if v.memberships[i].value == "join" {
			return true
		}
	}
	return false
}

// everJoined reports whether the user was a member at any time.
func (v *visibility) everJoined() bool { return v.joinedAfter(-1 << 63) }

// access is what a user may read of a room.
type access struct {
	*visibility
	// state is the snapshot that the user sees as the room's state, true at ord.
	state int64
	ord   int64
}

// access checks that a user may read a room's state: the current one as a member
// or where it is world readable, the one at departure as a former member; 403 otherwise.
func (s *Server) access(ctx context.Context, r *room, h *head, userID string) (*access, error) {
	v, err := s.visibility(ctx, r, userID)
	if err != nil {
		return nil, err
	}
	a := &access{visibility: v, state: h.snap.ID, ord: storage.OrdAfter(h.pos)}
	if v.current() == "join" {
		return a, nil
	}
	readable, err := s.worldReadable(ctx, r, h)
	if err != nil {
		return nil, err
	}
	if readable {
		return a, nil
	}
	forbidden := merr.Forbidden("You are not in this room")
	if v.current() == "" || !v.everJoined() {
		return nil, forbidden
	}
	return s.departed(ctx, r, a, forbidden)
}

// departed narrows access to what was there when the user left.
func (s *Server) departed(ctx context.Context, r *room, a *access, forbidden error) (*access, error) {
	user, ok, err := s.names.lookup(ctx, a.userID)
	if err != nil {
		return nil, err
	}
	if ok {
		if _, forgotten, err := s.store.Member(ctx, user, r.nid); err != nil && !errors.Is(err, storage.ErrNotFound) {
			return nil, err
		} else if forgotten {
			return nil, forbidden
		}
	}
	// The end of the last time that the user was joined.
	i := len(a.memberships) - 1
	for i > 0 && a.memberships[i-1].value != "join" {
		i--
	}
	a.ord = a.memberships[i].ord
	a.state, _, err = s.store.SnapAt(ctx, r.nid, a.ord)
	return a, err
}

func (s *Server) worldReadable(ctx context.Context, r *room, h *head) (bool, error) {
	e, err := s.committedState(ctx, r, h, visibilityType, "")
	if err != nil || e == nil {
		return false, err
	}
	value, _ := pdu.GetString(e.ev.Content, "history_visibility")
	return value == worldReadable, nil
}

// committedState returns an event of the room's state as it is on disk; nil if there is none.
func (s *Server) committedState(ctx context.Context, r *room, h *head, typ, stateKey string) (*stored, error) {
	key, ok, err := s.stateKey(ctx, typ, stateKey)
	if err != nil || !ok {
		return nil, err
	}
	nid := h.view.Get(key)
	if nid == 0 {
		return nil, nil
	}
	return s.event(ctx, r, nid)
}

// mustBeMember refuses a user who is not joined.
func (s *Server) mustBeMember(ctx context.Context, r *room, h *head, userID string) error {
	e, err := s.committedState(ctx, r, h, memberType, userID)
	if err != nil {
		return err
	}
	if e == nil || e.client.Membership != "join" {
		return merr.Forbidden("You are not in this room")
	}
	return nil
}

// committedAuthState shows the state on disk to the auth rules.
type committedAuthState struct {
	ctx  context.Context
	s    *Server
	room *room
	head *head
	err  error
}

func (a *committedAuthState) Event(typ, stateKey string) *pdu.Event {
	e, err := a.s.committedState(a.ctx, a.room, a.head, typ, stateKey)
	if err != nil && a.err == nil {
		a.err = err
	}
	if e == nil {
		return nil
	}
	return e.ev
}

// snapshotView reads a whole state by its number; the room's current one is in memory.
func (s *Server) snapshotView(ctx context.Context, h *head, id int64) (state.View, error) {
	if id == h.snap.ID {
		return h.view, nil
	}
	snaps, err := h.chain.Load(ctx, []int64{id})
	if err != nil {
		return state.View{}, err
	}
	if snaps[0] == nil {
		return state.View{}, storage.ErrNotFound
	}
	return state.Resolve(ctx, h.chain, snaps[0])
}

package core

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"hearth/clientapi/userapi"
	"hearth/internal/invitefilter"
	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
)

// Settings is the global account data that decides what a user is shown. It is
// immutable.
type Settings struct {
	// Direct are the rooms in m.direct.
	Direct map[string]bool
	// Ignored are the users in m.ignored_user_list; IgnoredList has them in order.
	Ignored     map[string]bool
	IgnoredList []string
	// Permission and Filter say whose invites are wanted.
	Permission, Filter *invitefilter.Rules

	// positions of the last changes
	DirectPos, IgnoredPos, InvitesPos, FilterPos int64
}

// Hides reports whether an invite by a user is not shown.
func (s *Settings) Hides(inviter string) bool {
	return s.Ignored[inviter] || s.Permission.Decide(inviter) != invitefilter.Allow || s.Filter.Decide(inviter) != invitefilter.Allow
}

// Unignored returns events without what ignored users have sent, except state.
func (s *Settings) Unignored(events []*roomapi.Event) []*roomapi.Event {
	if len(s.Ignored) == 0 {
		return events
	}
	kept := make([]*roomapi.Event, 0, len(events))
	for _, e := range events {
		if e.StateKey != nil || !s.Ignored[e.Sender] {
			kept = append(kept, e)
		}
	}
	return kept
}

const (
	directType  = "m.direct"
	ignoredType = "m.ignored_user_list"
	tagType     = "m.tag"
)

// with returns the settings after a change; the same if d is none or is older.
func (s *Settings) with(d *userapi.AccountData) *Settings {
	next := *s
	var pos *int64
	switch {
	case d.RoomID != "":
		return s
	case d.Type == directType:
		pos = &next.DirectPos
		next.Direct = directRooms(d.Content)
	case d.Type == ignoredType:
		pos = &next.IgnoredPos
		next.Ignored = ignoredUsers(d.Content)
		next.IgnoredList = slices.Sorted(maps.Keys(next.Ignored))
	case d.Type == invitefilter.Permission:
		pos = &next.InvitesPos
		next.Permission = invitefilter.Parse(d.Content)
	case d.Type == invitefilter.Filter:
		pos = &next.FilterPos
		next.Filter = invitefilter.Parse(d.Content)
	default:
		return s
	}
	if d.Pos <= *pos {
		return s
	}
	*pos = d.Pos
	return &next
}

// The content of account data is what a client has put there: anything.

func directRooms(content json.RawMessage) map[string]bool {
	var users map[string]json.RawMessage
	if json.Unmarshal(content, &users) != nil {
		return nil
	}
	rooms := map[string]bool{}
	for _, raw := range users {
		var list []json.RawMessage
		if json.Unmarshal(raw, &list) != nil {
			continue
		}
		for _, item := range list {
			var id string
			if json.Unmarshal(item, &id) == nil {
				rooms[id] = true
			}
		}
	}
	return rooms
}

func ignoredUsers(content json.RawMessage) map[string]bool {
	var c struct {
		Users map[string]json.RawMessage `json:"ignored_users"`
	}
	if json.Unmarshal(content, &c) != nil || len(c.Users) == 0 {
		return nil
	}
	users := make(map[string]bool, len(c.Users))
	for id := range c.Users {
		users[id] = true
	}
	return users
}

// tagged are the tags of a room.
type tagged struct {
	pos  int64
	tags []string
}

func tagsOf(content json.RawMessage) []string {
	var c struct {
		Tags map[string]json.RawMessage `json:"tags"`
	}
	if json.Unmarshal(content, &c) != nil {
		return nil
	}
	return slices.Sorted(maps.Keys(c.Tags))
}

// learn notes a piece of account data.
func (u *User) learn(d *userapi.AccountData) {
	u.settings = u.settings.with(d)
	if u.tags != nil && d.Type == tagType && d.RoomID != "" && u.tags[d.RoomID].pos < d.Pos {
		u.tags[d.RoomID] = tagged{d.Pos, tagsOf(d.Content)}
		u.tagsPos = max(u.tagsPos, d.Pos)
	}
}

// loadSettings reads the settings while entries of the log change them too: the
// later position counts.
func (e *Engine) loadSettings(ctx context.Context, u *User) error {
	for _, typ := range []string{directType, ignoredType, invitefilter.Permission, invitefilter.Filter} {
		d, err := e.source.AccountDataOf(ctx, &userapi.AccountDataRequest{UserID: u.ID, Type: typ})
		if errors.Is(err, merr.NotFound("")) {
			continue
		}
		if err != nil {
			return err
		}
		e.mu.Lock()
		u.learn(d)
		e.mu.Unlock()
	}
	return nil
}

// NeedTags reads the tags of u's rooms, which Look tells from then on.
func (e *Engine) NeedTags(ctx context.Context, u *User) error {
	e.mu.Lock()
	have := u.tagsReady
	if u.tags == nil {
		u.tags = map[string]tagged{}
	}
	e.mu.Unlock()
	if have {
		return nil
	}
	for after := int64(0); ; {
		page, err := e.source.AccountData(ctx, &userapi.ChangedAccountDataRequest{UserID: u.ID, After: after})
		if err != nil {
			return err
		}
		e.mu.Lock()
		for i := range page.Data {
			u.learn(&page.Data[i])
		}
		u.tagsReady = !page.More || len(page.Data) == 0
		have = u.tagsReady
		e.mu.Unlock()
		if have {
			return nil
		}
		after = page.Data[len(page.Data)-1].Pos
	}
}

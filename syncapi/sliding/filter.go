package sliding

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
	"hearth/syncapi/core"

	"golang.org/x/sync/errgroup"
)

// filters select rooms of a list (SlidingRoomFilter). is_invite and room_name_like
// are of the unstable form; a client of either form may use the name of the other.
type filters struct {
	IsDM         *bool     `json:"is_dm"`
	Spaces       []string  `json:"spaces"`
	IsEncrypted  *bool     `json:"is_encrypted"`
	IsInvite     *bool     `json:"is_invite"`
	IsInvited    *bool     `json:"is_invited"`
	RoomTypes    []*string `json:"room_types"`
	NotRoomTypes []*string `json:"not_room_types"`
	Tags         []string  `json:"tags"`
	NotTags      []string  `json:"not_tags"`
	NameLike     string    `json:"room_name_like"`
}

func (f *filters) needFacts() bool {
	return f.IsEncrypted != nil || f.RoomTypes != nil || len(f.NotRoomTypes) > 0 || f.NameLike != ""
}

// match reports whether a room passes. children are the rooms of each space.
func (f *filters) match(row *core.Row, set *core.Settings, children map[string]map[string]bool) bool {
	if f == nil {
		return true
	}
	invited := row.Membership == core.Invite
	switch {
	case f.IsDM != nil && *f.IsDM != set.Direct[row.RoomID],
		f.IsInvite != nil && *f.IsInvite != invited,
		f.IsInvited != nil && *f.IsInvited != invited,
		f.Tags != nil && !overlap(f.Tags, row.Tags),
		overlap(f.NotTags, row.Tags):
		return false
	}
	if f.Spaces != nil && !slices.ContainsFunc(f.Spaces, func(space string) bool { return children[space][row.RoomID] }) {
		return false
	}
	return !f.needFacts() || row.Facts != nil && f.matchFacts(row.Facts)
}

func (f *filters) matchFacts(facts *core.Facts) bool {
	switch {
	case f.IsEncrypted != nil && *f.IsEncrypted != facts.Encrypted,
		f.RoomTypes != nil && !hasType(f.RoomTypes, facts.Type),
		hasType(f.NotRoomTypes, facts.Type):
		return false
	}
	return f.NameLike == "" || strings.Contains(strings.ToLower(facts.Name), strings.ToLower(f.NameLike))
}

// hasType looks for a room type; null in a list stands for rooms without one.
func hasType(list []*string, typ string) bool {
	return slices.ContainsFunc(list, func(t *string) bool { return t == nil && typ == "" || t != nil && *t == typ && typ != "" })
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

// factsAt is how many rooms are asked for at a time.
const factsAt = 16

// readFacts gets the facts of rows that lack them, and keeps them.
func (r *round) readFacts(ctx context.Context, rows []core.Row) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(factsAt)
	for i := range rows {
		row := &rows[i]
		if row.Facts != nil {
			continue
		}
		g.Go(func() error {
			var err error
			if row.Membership == core.Invite || row.Membership == core.Knock {
				row.Facts, err = r.strippedFacts(ctx, row.RoomID)
			} else {
				row.Facts, err = r.facts(ctx, row.RoomID)
			}
			if err == nil {
				r.s.engine.LearnFacts(r.user, row.RoomID, row.Facts, r.view.Now.Room)
			}
			return err
		})
	}
	return g.Wait()
}

func (r *round) facts(ctx context.Context, roomID string) (*core.Facts, error) {
	f := &core.Facts{}
	var contents [3]json.RawMessage
	for i, typ := range [...]string{"m.room.create", "m.room.encryption", "m.room.name"} {
		var err error
		if contents[i], err = r.content(ctx, roomID, typ); err != nil {
			return nil, err
		}
	}
	f.Type, f.Encrypted, f.Name = text(contents[0], "type"), contents[1] != nil, text(contents[2], "name")
	return f, nil
}

func (r *round) strippedFacts(ctx context.Context, roomID string) (*core.Facts, error) {
	f := &core.Facts{}
	state, err := r.s.engine.Source().InviteState(ctx, &roomapi.InviteStateRequest{RoomID: roomID, UserID: r.req.UserID})
	if refused(err) {
		return f, nil
	}
	if err != nil {
		return nil, err
	}
	var events []struct {
		Type    string          `json:"type"`
		Content json.RawMessage `json:"content"`
	}
	if json.Unmarshal(state.Events, &events) != nil {
		return f, nil // another server wrote it
	}
	for _, e := range events {
		switch e.Type {
		case "m.room.create":
			f.Type = text(e.Content, "type")
		case "m.room.encryption":
			f.Encrypted = true
		case "m.room.name":
			f.Name = text(e.Content, "name")
		}
	}
	return f, nil
}

// content reads the content of a state event with an empty key; nil if there is none.
func (r *round) content(ctx context.Context, roomID, typ string) (json.RawMessage, error) {
	e, err := r.s.engine.Source().StateEvent(ctx, &roomapi.StateEventRequest{RoomID: roomID, UserID: r.req.UserID, Type: typ})
	if refused(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return e.Content(), nil
}

// text returns a member of an object if it is a string, else "".
func text(content json.RawMessage, key string) string {
	var object map[string]json.RawMessage
	var s string
	if len(content) == 0 || json.Unmarshal(content, &object) != nil || json.Unmarshal(object[key], &s) != nil {
		return ""
	}
	return s
}

// refused reports whether the owner answered that there is nothing for this user.
func refused(err error) bool {
	var e *merr.Error
	return errors.As(err, &e) && (e.Status == http.StatusForbidden || e.Status == http.StatusNotFound)
}

// spaceChildren reads which rooms are in the spaces that lists name and the user has joined.
func (r *round) spaceChildren(ctx context.Context) (map[string]map[string]bool, error) {
	children := map[string]map[string]bool{}
	for i := range r.rules.lists {
		f := r.rules.lists[i].filters
		if f == nil {
			continue
		}
		for _, space := range f.Spaces {
			if children[space] != nil {
				continue
			}
			set, err := r.childrenOf(ctx, space)
			if err != nil {
				return nil, err
			}
			children[space] = set
		}
	}
	return children, nil
}

// childrenOf reads the children of a space; an empty set if the user is not in it.
func (r *round) childrenOf(ctx context.Context, space string) (map[string]bool, error) {
	set := map[string]bool{}
	row, ok := r.s.engine.Row(r.user, space)
	if !ok || row.Membership != core.Join {
		return set, nil
	}
	if row.Facts != nil && row.Facts.Children != nil {
		return row.Facts.Children, nil
	}
	req := &roomapi.StateRequest{RoomID: space, UserID: r.req.UserID, Types: []string{"m.space.child"}}
	err := r.s.engine.Source().State(ctx, req, func(e *roomapi.Event) error {
		var c struct {
			Via []json.RawMessage `json:"via"`
		}
		if e.StateKey != nil && json.Unmarshal(e.Content(), &c) == nil && len(c.Via) > 0 {
			set[*e.StateKey] = true
		}
		return nil
	})
	if refused(err) {
		return set, nil
	}
	if err != nil {
		return nil, err
	}
	facts, err := r.facts(ctx, space)
	if err != nil {
		return nil, err
	}
	facts.Children = set
	r.s.engine.LearnFacts(r.user, space, facts, r.view.Now.Room)
	return set, nil
}

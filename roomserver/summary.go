package roomserver

import (
	"context"
	"slices"
	"strings"

	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// lookup finds state events; nil if there is none.
type lookup func(ctx context.Context, typ, stateKey string) (*stored, error)

func (s *Server) committedLookup(r *room, h *head) lookup {
	return func(ctx context.Context, typ, stateKey string) (*stored, error) {
		return s.committedState(ctx, r, h, typ, stateKey)
	}
}

// summarize reads what a room says of itself.
func summarize(ctx context.Context, r *room, joined int64, state lookup) (*roomapi.Summary, error) {
	sum := &roomapi.Summary{RoomID: r.id, RoomVersion: r.version.ID, Joined: int(joined), JoinRule: "invite"}
	var setting, guests string
	for _, field := range []struct {
		typ, key string
		into     *string
	}{
		{"m.room.name", "name", &sum.Name},
		{"m.room.topic", "topic", &sum.Topic},
		{"m.room.canonical_alias", "alias", &sum.CanonicalAlias},
		{"m.room.avatar", "url", &sum.AvatarURL},
		{"m.room.join_rules", "join_rule", &sum.JoinRule},
		{"m.room.create", "type", &sum.RoomType},
		{"m.room.encryption", "algorithm", &sum.Encryption},
		{visibilityType, "history_visibility", &setting},
		{"m.room.guest_access", "guest_access", &guests},
	} {
		e, err := state(ctx, field.typ, "")
		if err != nil {
			return nil, err
		}
		if e == nil {
			continue
		}
		if value, ok := pdu.GetString(e.ev.Content, field.key); ok {
			*field.into = value
		}
	}
	sum.WorldReadable, sum.GuestCanJoin = setting == worldReadable, guests == "can_join"
	if sum.JoinRule == "restricted" || sum.JoinRule == "knock_restricted" {
		rules, err := state(ctx, "m.room.join_rules", "")
		if err != nil {
			return nil, err
		}
		sum.AllowedRoomIDs = allowedRooms(rules.ev.Content)
	}
	return sum, nil
}

// getSummary shows a room to those who may see it from outside.
func (s *Server) getSummary(ctx context.Context, req *roomapi.SummaryRequest) (*roomapi.Summary, error) {
	roomID, servers, err := s.find(ctx, req.RoomIDOrAlias)
	if err != nil {
		return nil, err
	}
	here, err := s.isHere(ctx, roomID)
	if err != nil {
		return nil, err
	}
	sum, err := s.summaryFor(ctx, roomID, req.UserID)
	if !here && req.UserID != "" { // nobody without an account makes us ask other servers
		limited, cancel := context.WithTimeout(ctx, spaceTime)
		defer cancel()
		far, farErr := s.farSummaryFor(limited, roomID, req.UserID, append(slices.Clone(req.Via), servers...), nil)
		if farErr == nil || err != nil {
			sum, err = far, farErr
		}
	}
	if err != nil {
		return nil, err
	}
	if sum == nil {
		return nil, merr.NotFound("Room not found")
	}
	return sum, nil
}

// summaryFor is a room as a user sees it from outside; nil if the user may not.
func (s *Server) summaryFor(ctx context.Context, roomID, userID string) (*roomapi.Summary, error) {
	r, h, done, err := s.view(ctx, roomID)
	if err != nil {
		return nil, err
	}
	defer done()
	sum, err := summarize(ctx, r, h.joined, s.committedLookup(r, h))
	if err != nil {
		return nil, err
	}
	if userID != "" {
		e, err := s.committedState(ctx, r, h, memberType, userID)
		if err != nil {
			return nil, err
		}
		if e != nil {
			sum.Membership = e.client.Membership
		}
	}
	visible, err := s.accessible(ctx, sum, userID)
	if err != nil || !visible {
		return nil, err
	}
	return sum, nil
}

// accessible says whether a room may be shown to a user ("Retrieve a portion of a
// space tree", conditions): members and invitees, who may join or knock, and all if
// it is world readable.
func (s *Server) accessible(ctx context.Context, sum *roomapi.Summary, userID string) (bool, error) {
	switch {
	case userID == roomapi.Everything, sum.Membership == "join", sum.Membership == "invite", sum.WorldReadable:
		return true, nil
	case sum.Membership == "ban":
		return false, nil
	case sum.JoinRule == "public", sum.JoinRule == "knock", sum.JoinRule == "knock_restricted":
		return true, nil
	case sum.JoinRule == "restricted" && userID != "":
		return s.inOneOf(ctx, userID, sum.AllowedRoomIDs)
	}
	return false, nil
}

// searchText is what a search of the directory looks at.
func searchText(sum *roomapi.Summary) string {
	return strings.ToLower(sum.Name + "\n" + sum.Topic + "\n" + sum.CanonicalAlias)
}

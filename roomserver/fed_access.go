package roomserver

import (
	"context"
	"slices"

	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

// handleFederationReads registers what other servers ask about events.
func (s *Server) handleFederationReads() error {
	b := s.bus
	for _, err := range []error{
		bus.Handle(b, roomapi.FederationEvent, s.federationEvent),
		bus.HandleStream(b, roomapi.FederationState, s.federationState),
		bus.HandleStream(b, roomapi.FederationEventAuth, s.federationEventAuth),
		bus.HandleStream(b, roomapi.FederationBackfill, s.federationBackfill),
		bus.HandleStream(b, roomapi.FederationMissing, s.federationMissing),
		bus.Handle(b, roomapi.FederationEventAt, s.federationEventAt),
		bus.Handle(b, roomapi.FederationHierarchy, s.federationHierarchy),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

// admit returns a room to a server that takes part in it: 404 if we do not know the room,
// 403 if the server is not in it or denied. done must be called.
func (s *Server) admit(ctx context.Context, roomID, origin string) (r *room, h *head, done func(), err error) {
	r, h, done, err = s.view(ctx, roomID)
	if err != nil {
		return nil, nil, nil, err
	}
	if err := s.federationAccess(ctx, r, h, origin); err != nil {
		done()
		return nil, nil, nil, err
	}
	return r, h, done, nil
}

// maxSightUsers is how many users of a server are looked at to find out whether it was in
// the room. What none of them shows it does not see.
const maxSightUsers = 200

// sight tells which events a server, which is in the room, may see: those that the
// room's history visibility shows to any of its users ("Room history visibility").
type sight struct {
	s        *Server
	room     *room
	server   string
	settings []change
	users    []int64
	listed   bool
	expiry   *expiry
	spans    [][]change // memberships of users[i], as far as they were read
}

func (s *Server) newSight(ctx context.Context, r *room, server string) (*sight, error) {
	settings, err := s.history(ctx, r, visibilityType, "", "history_visibility", shared)
	if err != nil {
		return nil, err
	}
	x, err := s.expiry(ctx, r)
	return &sight{s: s, room: r, server: server, settings: settings, expiry: x}, err
}

// sees reports whether the server may see an event whole.
func (v *sight) sees(ctx context.Context, e *stored) (bool, error) {
	if v.expiry.gone(ctx, e) {
		return false, nil
	}
	if e.ord == storage.OutlierOrd {
		// It is known because others name it as state or as auth event, and these are shown as such.
		return e.ev.IsState(), nil
	}
	if pdu.Domain(e.ev.Sender) == v.server || e.ev.Type == memberType && e.ev.StateKey != nil && pdu.Domain(*e.ev.StateKey) == v.server {
		return true, nil
	}
	settings := []string{at(v.settings, e.ord, false, shared)}
	if e.ev.Type == visibilityType && e.ev.StateKeyEquals("") {
		settings = append(settings, at(v.settings, e.ord, true, shared))
	}
	if slices.Contains(settings, worldReadable) || slices.Contains(settings, shared) {
		return true, nil
	}
	return v.present(ctx, e.ord, slices.Contains(settings, invited))
}

// present reports whether a user of the server was joined, or invited, just before a place in the timeline.
func (v *sight) present(ctx context.Context, ord int64, invitedToo bool) (bool, error) {
	if !v.listed {
		var err error
		if v.users, err = v.s.store.UsersOf(ctx, v.room.nid, v.server, maxSightUsers); err != nil {
			return false, err
		}
		v.listed = true
	}
	for i := range v.users {
		if i == len(v.spans) {
			span, err := v.memberships(ctx, v.users[i])
			if err != nil {
				return false, err
			}
			v.spans = append(v.spans, span)
		}
		switch at(v.spans[i], ord, false, "") {
		case "join":
			return true, nil
		case "invite":
			if invitedToo {
				return true, nil
			}
		}
	}
	return false, nil
}

func (v *sight) memberships(ctx context.Context, user int64) ([]change, error) {
	userID, err := v.s.names.text(ctx, user)
	if err != nil {
		return nil, err
	}
	return v.s.history(ctx, v.room, memberType, userID, "membership", "leave")
}

// shown is an event as the server may see it: whole or redacted.
func (v *sight) shown(ctx context.Context, e *stored) (*pdu.Event, error) {
	ok, err := v.sees(ctx, e)
	if ok || err != nil {
		return e.ev, err
	}
	return e.ev.Redact()
}

// unknownEvent is the answer about an event that we do not have, or not in that room.
func unknownEvent() error { return merr.NotFound("Could not find the event") }

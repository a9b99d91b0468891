package account

import (
	"context"
	"errors"
	"strings"
	"time"

	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

const (
	guestCursor = "guest_access"
	guestAccess = "m.room.guest_access"
	// cursorEvery is how many entries of the room log may pass before the place is
	// stored, if none of them was about guests. To read entries again does no harm.
	cursorEvery = 2000
	retryAfter  = 2 * time.Second
)

// ExpelGuests follows the room log until ctx ends. When a room no longer lets guests
// join, the guests of this server leave it (client-server API, "Guest Access").
func (s *Store) ExpelGuests(ctx context.Context) error {
	pos, known, err := s.users.Cursor(ctx, guestCursor)
	if err != nil {
		return err
	}
	for !known { // there were no guests before
		if pos, err = bus.Head(ctx, s.bus, roomapi.Log); err == nil {
			known = true
			err = s.users.SetCursor(ctx, guestCursor, pos)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case known && err != nil:
			return err
		case !known && !pause(ctx):
			return nil
		}
	}
	stored := pos
	err = bus.Follow(ctx, s.bus, roomapi.Log, pos, func(ctx context.Context, batch []bus.Positioned[roomapi.Entry]) error {
		acted := false
		for _, p := range batch {
			if !closesToGuests(p.Entry) {
				continue
			}
			acted = true
			for s.expel(ctx, p.Entry.RoomID) != nil {
				if !pause(ctx) {
					return ctx.Err()
				}
			}
		}
		last := batch[len(batch)-1].Pos
		if !acted && last-stored < cursorEvery {
			return nil
		}
		stored = last
		return s.users.SetCursor(ctx, guestCursor, last)
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func pause(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(retryAfter):
		return true
	}
}

// closesToGuests reports whether an entry is a guest access event that does not let
// guests join; a redacted one says nothing and so does not either.
func closesToGuests(e *roomapi.Entry) bool {
	ev := e.Event
	if e.Redacted != nil && e.Redacted.Type == guestAccess {
		ev = e.Redacted
	}
	if ev == nil || ev.Type != guestAccess || ev.StateKey == nil || *ev.StateKey != "" {
		return false
	}
	access, _ := pdu.GetString(ev.Content(), "guest_access")
	return access != "can_join"
}

// expel makes the guests leave a room. Errors that will not go away are final: whoever
// cannot leave is no member any more.
func (s *Store) expel(ctx context.Context, roomID string) error {
	for after := ""; ; {
		page, err := roomapi.LocalMembers.Do(ctx, s.bus, &roomapi.LocalMembersRequest{RoomID: roomID, After: after})
		if err != nil {
			return lasting(err)
		}
		var localparts []string
		for _, userID := range page.UserIDs {
			after = userID
			localparts = append(localparts, strings.TrimSuffix(strings.TrimPrefix(userID, "@"), ":"+s.serverName))
		}
		guests, err := s.users.Guests(ctx, localparts)
		if err != nil {
			return err
		}
		for _, guest := range guests {
			userID := s.userID(guest)
			_, err := roomapi.Leave.Do(ctx, s.bus, &roomapi.MembershipRequest{
				RoomID: roomID, Sender: userID, Target: userID, Reason: "Guests may not be in this room any more",
			})
			if err := lasting(err); err != nil {
				return err
			}
		}
		if !page.More {
			return nil
		}
	}
}

// lasting drops errors that another attempt would only repeat.
func lasting(err error) error {
	var e *merr.Error
	if errors.As(err, &e) && e.Status < 500 && !e.Temporary {
		return nil
	}
	return err
}

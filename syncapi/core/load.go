package core

import (
	"context"
	"time"

	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
)

// loadTime bounds the loading of one view.
const loadTime = 30 * time.Second

// load reads the memberships of u. Meanwhile entries of the log change the view
// too: of a row and an entry about the same room the later position counts, so the
// order in which they come does not matter.
func (e *Engine) load(u *User) {
	ctx, cancel := context.WithTimeout(e.ctx, loadTime)
	defer cancel()
	err := e.loadSettings(ctx, u)
	if err == nil {
		err = e.loadPages(ctx, u)
	}
	e.mu.Lock()
	e.arrange(u)
	u.partial = false
	if err != nil {
		u.err = merr.From(err)
		e.drop(u)
	} else if e.presences.again(u.ID) { // until now nobody could tell who may see it
		e.wakePeers(u)
	}
	close(u.ready)
	e.unlockAndWake()
}

// loadPages asks for forgotten rooms too: a device that was away must hear that they
// were left.
func (e *Engine) loadPages(ctx context.Context, u *User) error {
	every := []string{"join", "invite", "knock", "leave", "ban"}
	for after := ""; ; {
		page, err := e.source.Memberships(ctx, &roomapi.MembershipsRequest{UserID: u.ID, Memberships: every, After: after})
		if err != nil {
			return err
		}
		e.addPage(u, page)
		if !page.More || len(page.Rooms) == 0 {
			return nil
		}
		after = page.Rooms[len(page.Rooms)-1].RoomID
	}
}

func (e *Engine) addPage(u *User, page *roomapi.MembershipsResponse) {
	e.mu.Lock()
	defer e.mu.Unlock()
	u.loaded = max(u.loaded, page.Pos)
	for i := range page.Rooms {
		row := &page.Rooms[i]
		now := membershipOf(row.Membership)
		if now == None {
			continue
		}
		u.loaded = max(u.loaded, row.Pos)
		// A row says when the member event came, not when the user joined: it may be
		// a change of profile. So the beginning of the joined time is not exact.
		ousted := No
		if row.Sender != u.ID {
			ousted = Unknown
		}
		e.setMember(u, row.RoomID, memberEvent{now: now, pos: row.Pos, sender: row.Sender, ousted: ousted})
		if m := u.rooms[row.RoomID]; m.room != nil && row.LastEvent > 0 {
			m.room.limit(page.Pos, row)
		}
		if row.Forgotten { // at a position between this member event and the next
			e.forget(u, row.RoomID, row.Pos+1)
			u.forgot = max(u.forgot, page.Pos)
		}
	}
}

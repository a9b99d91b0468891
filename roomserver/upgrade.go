package roomserver

import (
	"context"
	"encoding/json"

	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/internal/store"
	"hearth/roomserver/auth"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

const tombstoneType = "m.room.tombstone"

// transferred are the types of state that a new room takes over ("Room upgrades",
// server behaviour), beside the power levels.
var transferred = [...]string{
	"m.room.server_acl", "m.room.encryption", "m.room.name", "m.room.avatar", "m.room.topic", "m.room.guest_access",
	visibilityType, "m.room.join_rules",
}

// upgrade replaces a room by one of another version. The new room is staged before
// the tombstone, so that a tombstone never points to a room that is not there.
func (s *Server) upgrade(ctx context.Context, req *roomapi.UpgradeRequest) (*roomapi.CreateResponse, error) {
	v, ok := pdu.Version(req.Version)
	if !ok {
		return nil, merr.New(400, "M_UNSUPPORTED_ROOM_VERSION", "This server does not support that room version")
	}
	old, err := s.lockRoom(ctx, req.RoomID)
	if err != nil {
		return nil, notAMember(err)
	}
	defer old.unlock()
	u := &upgrading{s: s, req: req, version: v, old: old.begin()}
	if err := u.allowed(ctx); err != nil {
		return nil, err
	}
	fresh := s.newRoom(v)
	defer fresh.unlock()
	u.fresh = fresh.begin()
	if err := u.build(ctx); err != nil {
		return nil, err
	}
	if err := u.old.info(ctx); err != nil {
		return nil, err
	}
	waitNew, err := u.fresh.stage()
	if err != nil {
		return nil, err
	}
	waitOld, err := u.old.stage()
	if err != nil {
		return nil, err
	}
	if err := waitNew(ctx); err != nil {
		return nil, err
	}
	if err := waitOld(ctx); err != nil {
		return nil, err
	}
	return &roomapi.CreateResponse{RoomID: fresh.id}, u.movePlaceInDirectory(ctx, old)
}

type upgrading struct {
	s          *Server
	req        *roomapi.UpgradeRequest
	version    *pdu.RoomVersion
	old, fresh *batch
	levels     auth.PowerLevels // of the old room
}

func (u *upgrading) allowed(ctx context.Context) error {
	if err := u.old.mustBeJoined(ctx, u.req.UserID); err != nil {
		return err
	}
	st := &authState{ctx: ctx, b: u.old}
	u.levels = auth.LevelsOf(u.old.room.version, st)
	if st.err != nil {
		return st.err
	}
	if u.levels.User(u.req.UserID) < u.levels.ForEvent(tombstoneType, true) {
		return merr.Forbidden("You cannot upgrade this room")
	}
	return nil
}

// build fills the new room and adds the tombstone to the old one.
func (u *upgrading) build(ctx context.Context) error {
	c, err := u.creation(ctx)
	if err != nil {
		return err
	}
	if err := c.fill(ctx, u.fresh); err != nil {
		return err
	}
	if err := u.copyLevels(ctx, c); err != nil {
		return err
	}
	u.fresh.rows.MoveAliasesFrom = u.old.room.nid
	u.fresh.room.published = u.old.room.published
	if err := u.fresh.entry(ctx); err != nil {
		return err
	}
	body := append([]byte(`{"body":"This room has been replaced","replacement_room":`), pdu.AppendString(nil, u.fresh.room.id)...)
	_, err = u.old.add(ctx, draft{typ: tombstoneType, sender: u.req.UserID, stateKey: ptr(""), content: append(body, '}')})
	if err != nil {
		return err
	}
	return u.closeOld(ctx)
}

// creation is the new room with the old one's state.
func (u *upgrading) creation(ctx context.Context) (*creation, error) {
	content := map[string]any{}
	create, err := u.old.stateEvent(ctx, "m.room.create", "")
	if err != nil {
		return nil, err
	}
	for _, key := range []string{"type", "m.federate"} {
		if value, ok := pdu.Get(create.ev.Content, key); ok {
			content[key] = json.RawMessage(value)
		}
	}
	predecessor := map[string]string{"room_id": u.req.RoomID}
	if last := u.old.extremities(); len(last) > 0 {
		predecessor["event_id"] = last[0].id
	}
	content["predecessor"] = predecessor
	if u.version.PrivilegedCreators && len(u.req.AdditionalCreators) > 0 {
		content["additional_creators"] = u.req.AdditionalCreators
	}
	raw, err := json.Marshal(content)
	if err != nil {
		return nil, merr.Internal(err)
	}
	req := &roomapi.CreateRequest{Creator: u.req.UserID, Profile: u.req.Profile, RoomVersion: u.version.ID, CreationContent: raw}
	if !u.version.PrivilegedCreators {
		if req.PowerLevelOverride, err = u.creatorsLevel(ctx); err != nil {
			return nil, err
		}
	}
	for _, typ := range transferred {
		e, err := u.old.stateEvent(ctx, typ, "")
		if err != nil {
			return nil, err
		}
		if e != nil {
			req.InitialState = append(req.InitialState, roomapi.StateEvent{Type: typ, Content: json.RawMessage(e.ev.Content)})
		}
	}
	c, err := u.s.newCreation(req)
	if err != nil {
		return nil, err
	}
	c.preset = preset{} // what the old room does not say, the new one does not say either
	return c, nil
}

// copyLevels gives the new room the power levels of the old one, at the end, when
// the creator has no more need of power over its state.
func (u *upgrading) copyLevels(ctx context.Context, c *creation) error {
	e, err := u.old.stateEvent(ctx, "m.room.power_levels", "")
	if err != nil || e == nil {
		return err
	}
	content := e.ev.Content
	if u.version.PrivilegedCreators {
		if content, err = withoutCreators(content, append([]string{u.req.UserID}, u.req.AdditionalCreators...)); err != nil {
			return err
		}
	} else if u.old.room.version.PrivilegedCreators {
		// The creator's power was not written down; here it has to be.
		override, err := u.creatorsLevel(ctx)
		if err != nil {
			return err
		}
		creator, _ := pdu.Get(override, "users")
		level, _ := pdu.Get(creator, u.req.UserID)
		users, ok := pdu.Get(content, "users")
		if !ok {
			users = []byte("{}")
		}
		users, _ = pdu.Set(users, u.req.UserID, level)
		content, _ = pdu.Set(content, "users", users)
	}
	_, err = u.fresh.add(ctx, draft{typ: "m.room.power_levels", sender: u.req.UserID, stateKey: ptr(""), content: content})
	return err
}

// creatorsLevel gives the creator of a new room, whose power must be written down,
// as much as the highest level that the old room's power levels name.
func (u *upgrading) creatorsLevel(ctx context.Context) ([]byte, error) {
	e, err := u.old.stateEvent(ctx, "m.room.power_levels", "")
	if err != nil {
		return nil, err
	}
	highest := int64(100)
	if e != nil {
		pdu.Members(e.ev.Content, func(_ string, value []byte) bool {
			raise(&highest, value)
			pdu.Members(value, func(_ string, inner []byte) bool {
				raise(&highest, inner)
				return true
			})
			return true
		})
	}
	return json.Marshal(map[string]any{"users": map[string]int64{u.req.UserID: highest}})
}

func raise(highest *int64, value []byte) {
	if n, ok := pdu.Int(value); ok {
		*highest = max(*highest, n)
	}
}

// withoutCreators takes the creators out of users, where they must not stand, and
// sets the level of a tombstone above that of other state ("Creation").
func withoutCreators(content []byte, creators []string) ([]byte, error) {
	users, ok := pdu.Get(content, "users")
	if ok {
		for _, userID := range creators {
			if rest, ok := pdu.Delete(users, userID); ok {
				users = rest
			}
		}
		content, _ = pdu.Set(content, "users", users)
	}
	events, ok := pdu.Get(content, "events")
	if !ok {
		events = []byte("{}")
	}
	events, ok = pdu.Set(events, tombstoneType, []byte("150"))
	if ok {
		content, _ = pdu.Set(content, "events", events)
	}
	return pdu.Canonical(content, true)
}

// closeOld keeps people from talking on in the old room, if the user may say so.
func (u *upgrading) closeOld(ctx context.Context) error {
	if u.levels.User(u.req.UserID) < u.levels.ForEvent("m.room.power_levels", true) {
		return nil
	}
	e, err := u.old.stateEvent(ctx, "m.room.power_levels", "")
	if err != nil || e == nil {
		return err
	}
	level, err := json.Marshal(max(50, u.levels.UsersDefault+1))
	if err != nil {
		return merr.Internal(err)
	}
	content, _ := pdu.Set(e.ev.Content, "events_default", level)
	content, _ = pdu.Set(content, "invite", level)
	if string(content) == string(e.ev.Content) {
		return nil
	}
	_, err = u.old.add(ctx, draft{typ: "m.room.power_levels", sender: u.req.UserID, stateKey: ptr(""), content: content})
	if err != nil && merr.From(err).Code == "M_FORBIDDEN" {
		return nil // levels above the user's own cannot be touched; the tombstone says enough
	}
	return err
}

func (u *upgrading) movePlaceInDirectory(ctx context.Context, old *lockedRoom) error {
	if !old.published {
		return nil
	}
	err := u.s.store.DB.Write(ctx, func(tx *store.Tx) error { return storage.Unpublish(tx, old.nid) })
	if err == nil {
		old.published = false
	}
	return err
}

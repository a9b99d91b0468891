package roomserver

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"

	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

// DefaultRoomVersion is the version of rooms that ask for none.
const DefaultRoomVersion = "12"

// Bounds of one createRoom request.
const (
	maxInitialState = 200
	maxInvites      = 500
)

// preset is what createRoom's preset stands for ("Creation", table of presets).
type preset struct {
	joinRule, historyVisibility, guestAccess string
	trusted                                  bool // invitees get the creator's power level
}

var presets = map[string]preset{
	"private_chat":         {"invite", "shared", "can_join", false},
	"trusted_private_chat": {"invite", "shared", "can_join", true},
	"public_chat":          {"public", "shared", "forbidden", false},
}

// create makes a room: all of its first events are one batch, so that a room is
// there as a whole or not at all.
func (s *Server) create(ctx context.Context, req *roomapi.CreateRequest) (*roomapi.CreateResponse, error) {
	c, err := s.newCreation(req)
	if err != nil {
		return nil, err
	}
	release := func() {}
	if c.alias != "" {
		if release, err = s.reserveAlias(ctx, c.alias); err != nil {
			return nil, err
		}
	}
	defer release()
	roomID, err := c.store(ctx)
	if err != nil {
		return nil, err
	}
	s.inviteAll(ctx, roomID, req)
	return &roomapi.CreateResponse{RoomID: roomID}, nil
}

// store makes the room and waits until it is on disk.
func (c *creation) store(ctx context.Context) (roomID string, err error) {
	lr := c.s.newRoom(c.version)
	defer lr.unlock()
	b := lr.begin()
	if err := c.fill(ctx, b); err != nil {
		return "", err
	}
	lr.published = c.req.Public
	if err := b.entry(ctx); err != nil {
		return "", err
	}
	wait, err := b.stage()
	if err != nil {
		return "", err
	}
	return lr.id, wait(ctx)
}

// creation is a checked createRoom request.
type creation struct {
	s       *Server
	req     *roomapi.CreateRequest
	version *pdu.RoomVersion
	preset  preset
	alias   string
	create  []byte // content of m.room.create
	levels  []byte // content of m.room.power_levels
	initial []roomapi.StateEvent
}

func (s *Server) newCreation(req *roomapi.CreateRequest) (*creation, error) {
	c := &creation{s: s, req: req}
	id := req.RoomVersion
	if id == "" {
		id = DefaultRoomVersion
	}
	v, ok := pdu.Version(id)
	if !ok {
		return nil, merr.New(400, "M_UNSUPPORTED_ROOM_VERSION", "Unsupported room version")
	}
	c.version = v
	if c.preset, ok = presets[c.presetName()]; !ok {
		return nil, merr.InvalidParam("Unknown preset")
	}
	if len(req.InitialState) > maxInitialState || len(req.Invite) > maxInvites {
		return nil, merr.InvalidParam("Too many events in initial_state or too many invites")
	}
	if req.AliasLocalpart != "" {
		c.alias = "#" + req.AliasLocalpart + ":" + s.serverName
		if _, _, err := pdu.ParseAlias(c.alias); err != nil {
			return nil, merr.InvalidParam("Invalid room alias")
		}
	}
	for _, invitee := range req.Invite {
		if _, _, err := pdu.ParseUserID(invitee.UserID); err != nil {
			return nil, merr.InvalidParam("Invalid user id in invite")
		}
	}
	var err error
	if c.create, err = c.createContent(); err != nil {
		return nil, err
	}
	if c.levels, err = c.powerLevels(); err != nil {
		return nil, err
	}
	return c, c.checkInitialState()
}

func (c *creation) presetName() string {
	switch {
	case c.req.Preset != "":
		return c.req.Preset
	case c.req.Public:
		return "public_chat"
	}
	return "private_chat"
}

// createContent is the client's creation_content with what the server decides.
// With a trusted preset, the invitees of a v12 room become its creators too.
func (c *creation) createContent() ([]byte, error) {
	content, err := canonicalContent(c.req.CreationContent)
	if err != nil {
		return nil, err
	}
	set := func(key string, value any) {
		raw, _ := json.Marshal(value) // strings and lists of strings
		content, _ = pdu.Set(content, key, raw)
	}
	set("room_version", c.version.ID)
	if c.version.CreatorIsSender {
		content, _ = pdu.Delete(content, "creator")
	} else {
		set("creator", c.req.Creator)
	}
	if c.version.PrivilegedCreators && c.preset.trusted {
		set("additional_creators", c.additionalCreators(content))
	}
	return pdu.Canonical(content, true)
}

func (c *creation) additionalCreators(content []byte) []string {
	seen := map[string]bool{c.req.Creator: true}
	var ids []string
	add := func(id string) {
		if !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	if given, ok := pdu.Get(content, "additional_creators"); ok {
		pdu.Elements(given, func(v []byte) bool {
			if id, ok := pdu.String(v); ok {
				add(id)
			}
			return true
		})
	}
	for _, invitee := range c.req.Invite {
		add(invitee.UserID)
	}
	return ids
}

// powerLevels is the default content with the client's override on top.
func (c *creation) powerLevels() ([]byte, error) {
	users := map[string]int{}
	tombstone := 100
	if c.version.PrivilegedCreators {
		tombstone = 150 // only creators, whose power is above any number
	} else {
		users[c.req.Creator] = 100
		if c.preset.trusted {
			for _, invitee := range c.req.Invite {
				users[invitee.UserID] = 100
			}
		}
	}
	invite := 0 // everybody in a private room may invite; in a public one it takes a moderator
	if c.presetName() == "public_chat" {
		invite = 50
	}
	levels := map[string]any{
		"ban": 50, "kick": 50, "redact": 50, "invite": invite, "state_default": 50, "events_default": 0, "users_default": 0,
		"events": map[string]int{
			"m.room.name": 50, "m.room.power_levels": 100, "m.room.history_visibility": 100,
			"m.room.canonical_alias": 50, "m.room.avatar": 50, "m.room.tombstone": tombstone,
			"m.room.server_acl": 100, "m.room.encryption": 100,
		},
		"users":         users,
		"notifications": map[string]int{"room": 50},
	}
	base, err := json.Marshal(levels)
	if err != nil {
		return nil, merr.Internal(err)
	}
	content, err := pdu.Canonical(base, true)
	if err != nil {
		return nil, err
	}
	if len(c.req.PowerLevelOverride) == 0 {
		return content, nil
	}
	override, err := pdu.Canonical(c.req.PowerLevelOverride, true)
	if err != nil {
		return nil, err
	}
	pdu.Members(override, func(key string, value []byte) bool {
		content, _ = pdu.Set(content, key, value)
		return true
	})
	return pdu.Canonical(content, true)
}

func (c *creation) checkInitialState() error {
	for _, e := range c.req.InitialState {
		content, err := canonicalContent(e.Content)
		if err != nil {
			return err
		}
		switch e.Type {
		case "":
			return merr.BadJSON("initial_state: an event has no type")
		case "m.room.create", memberType:
			return merr.New(400, "M_INVALID_ROOM_STATE", "initial_state must not hold %s", e.Type)
		}
		c.initial = append(c.initial, roomapi.StateEvent{Type: e.Type, StateKey: e.StateKey, Content: content})
	}
	return nil
}

// newRoom returns a locked room that is not stored yet. Its id is random, but in
// room versions from 12, where it is the create event's hash and known once that is built.
func (s *Server) newRoom(v *pdu.RoomVersion) *lockedRoom {
	r := &room{
		version: v, nid: s.roomSeq.Add(1), lock: make(chan struct{}, 1),
		txns: make(map[string]*pendingTxn), generation: s.store.DB.Generation(),
	}
	r.reset()
	r.lock <- struct{}{}
	if !v.DomainlessRoomIDs {
		for r.id = s.randomRoomID(); !s.rooms.adopt(r); r.id = s.randomRoomID() {
		}
	}
	return &lockedRoom{room: r, s: s}
}

func (s *Server) randomRoomID() string { return "!" + rand.Text() + ":" + s.serverName }

// fill adds the room's first events in the order of the spec ("Creation").
func (c *creation) fill(ctx context.Context, b *batch) error {
	creator := c.req.Creator
	if err := c.addCreate(ctx, b); err != nil {
		return err
	}
	if _, err := b.setMembership(ctx, creator, creator, memberContent{membership: "join", profile: c.req.Profile}); err != nil {
		return err
	}
	for _, e := range c.firstState() {
		_, err := b.add(ctx, draft{typ: e.Type, sender: creator, stateKey: &e.StateKey, content: e.Content})
		if errors.Is(err, merr.Forbidden("")) {
			return merr.New(400, "M_INVALID_ROOM_STATE", "%s: %s", e.Type, merr.From(err).Message)
		}
		if err != nil {
			return err
		}
	}
	if c.alias != "" {
		nid, err := b.name(ctx, creator)
		if err != nil {
			return err
		}
		b.rows.Aliases = []storage.Alias{{Alias: c.alias, Room: b.room.nid, Creator: nid}}
	}
	for _, invitee := range c.req.Invite {
		if invitee.UserID == creator || !b.s.isLocal(invitee.UserID) {
			continue // users of other servers are invited to the room once it is there
		}
		if _, err := b.invite(ctx, creator, invitee, c.req.IsDirect, ""); err != nil {
			return err
		}
	}
	return nil
}

// addCreate adds the create event. Where it gives the room its id, two rooms that
// one user makes in the same millisecond would be one: the later is dated later.
func (c *creation) addCreate(ctx context.Context, b *batch) error {
	d := draft{typ: "m.room.create", sender: c.req.Creator, stateKey: ptr(""), content: c.create, ts: b.s.now().UnixMilli()}
	if b.room.id != "" {
		_, err := b.add(ctx, d)
		return err
	}
	for ; ; d.ts++ {
		it, err := b.build(ctx, d)
		if err != nil {
			return err
		}
		b.room.id = it.ev.RoomID
		if _, err = b.s.store.Room(ctx, b.room.id); err == nil {
			continue
		}
		if !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		if b.s.rooms.adopt(b.room.room) {
			return b.accept(ctx, it)
		}
	}
}

// firstState lists the state after the creator's join: power levels, alias, preset,
// initial_state, name and topic. Of several with one key only the last is sent, in
// the place of the first: initial_state overrides the preset, name and topic both.
func (c *creation) firstState() []roomapi.StateEvent {
	list := []roomapi.StateEvent{{Type: "m.room.power_levels", Content: c.levels}}
	add := func(e roomapi.StateEvent) {
		for i := range list {
			if list[i].Type == e.Type && list[i].StateKey == e.StateKey {
				list[i].Content = e.Content
				return
			}
		}
		list = append(list, e)
	}
	text := func(typ, key, value string) {
		if value == "" {
			return
		}
		content := append([]byte(`{"`+key+`":`), pdu.AppendString(nil, value)...)
		add(roomapi.StateEvent{Type: typ, Content: append(content, '}')})
	}
	text("m.room.canonical_alias", "alias", c.alias)
	text("m.room.join_rules", "join_rule", c.preset.joinRule)
	text("m.room.history_visibility", "history_visibility", c.preset.historyVisibility)
	text("m.room.guest_access", "guest_access", c.preset.guestAccess)
	for _, e := range c.initial {
		add(e)
	}
	text("m.room.name", "name", c.req.Name)
	if c.req.Topic != "" {
		add(roomapi.StateEvent{Type: "m.room.topic", Content: topicContent(c.req.Topic)})
	}
	return list
}

// topicContent has the topic both as plain topic and in its m.topic block ("m.room.topic").
func topicContent(topic string) []byte {
	quoted := string(pdu.AppendString(nil, topic))
	return []byte(`{"m.topic":{"m.text":[{"body":` + quoted + `,"mimetype":"text/plain"}]},"topic":` + quoted + `}`)
}

func ptr[T any](v T) *T { return &v }

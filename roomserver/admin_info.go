package roomserver

import (
	"context"
	"errors"
	"slices"
	"strings"

	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/auth"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

// infoField is a part of the state.
type infoField struct {
	typ, key string
	into     func(i *storage.RoomInfo) *string
}

// infoFields are what the list of rooms shows. It is never written after initialisation.
var infoFields = []infoField{
	{"m.room.name", "name", func(i *storage.RoomInfo) *string { return &i.Name }},
	{"m.room.topic", "topic", func(i *storage.RoomInfo) *string { return &i.Topic }},
	{"m.room.canonical_alias", "alias", func(i *storage.RoomInfo) *string { return &i.Alias }},
	{"m.room.avatar", "url", func(i *storage.RoomInfo) *string { return &i.Avatar }},
	{"m.room.join_rules", "join_rule", func(i *storage.RoomInfo) *string { return &i.JoinRule }},
	{"m.room.create", "type", func(i *storage.RoomInfo) *string { return &i.RoomType }},
	{"m.room.encryption", "algorithm", func(i *storage.RoomInfo) *string { return &i.Encryption }},
	{visibilityType, "history_visibility", func(i *storage.RoomInfo) *string { return &i.Visibility }},
	{"m.room.guest_access", "guest_access", func(i *storage.RoomInfo) *string { return &i.GuestAccess }},
	{"m.room.tombstone", "replacement_room", func(i *storage.RoomInfo) *string { return &i.Replacement }},
}

// shownInInfo reports whether an event changes what the list of rooms shows, besides numbers.
func shownInInfo(it *item) bool {
	if it.plan != nil && len(it.plan.delta) > 0 {
		return true
	}
	return it.ev.StateKeyEquals("") && slices.ContainsFunc(infoFields, func(f infoField) bool { return f.typ == it.ev.Type })
}

// describe works out what the list of rooms shows, but for the numbers.
func describe(ctx context.Context, r *room, state lookup) (*storage.RoomInfo, error) {
	info := &storage.RoomInfo{RoomNumbers: storage.RoomNumbers{Room: r.nid}, Federatable: true}
	for _, f := range infoFields {
		e, err := state(ctx, f.typ, "")
		if err != nil {
			return nil, err
		}
		if e == nil {
			continue
		}
		if v, ok := pdu.GetString(e.ev.Content, f.key); ok && storable(v) {
			*f.into(info) = v
		}
		if f.typ != "m.room.create" {
			continue
		}
		if creators := auth.Creators(e.ev); len(creators) > 0 {
			info.Creator = creators[0]
		}
		if v, ok := pdu.Get(e.ev.Content, "m.federate"); ok && string(v) == "false" {
			info.Federatable = false
		}
	}
	return info, nil
}

// info adds the row of the list of rooms to a batch that changes it.
func (b *batch) info(ctx context.Context) (err error) {
	if slices.ContainsFunc(b.items, shownInInfo) {
		b.rows.Info, err = describe(ctx, b.room.room, b.stateEvent)
	}
	return err
}

// numbers adds the room's numbers, now that its state is known.
func (b *batch) numbers(c *commit) {
	n := numbersOf(c.room, c.head)
	switch {
	case c.rows.Info != nil:
		c.rows.Info.RoomNumbers = n
	case b.base != nil && b.base.snap != c.head.snap:
		c.rows.Numbers = &n
	}
}

func numbersOf(r *room, h *head) storage.RoomNumbers {
	return storage.RoomNumbers{Room: r.nid, Joined: h.joined, Local: h.hosts.joined(h.hosts.own), StateEvents: int64(h.view.Len())}
}

// infoStep is how many rooms are looked for at once.
const infoStep = 100

// fillInfo makes the rows of the list of rooms that are missing.
func (s *Server) fillInfo(ctx context.Context) error {
	for after := int64(0); ; {
		ids, last, err := s.store.RoomsWithoutInfo(ctx, after, infoStep)
		if err != nil || len(ids) == 0 {
			return err
		}
		for _, id := range ids {
			if err := s.makeInfo(ctx, id); err != nil {
				if ctx.Err() != nil {
					return err
				}
				s.log.WithError(err).WithField("room", id).Warn("a room is missing in the list of rooms")
			}
		}
		after = last
	}
}

// makeInfo writes the row of one room. The lock is held meanwhile: no change gets in between.
func (s *Server) makeInfo(ctx context.Context, id string) error {
	lr, err := s.lockRoom(ctx, id)
	if errors.Is(err, errNoRoom) {
		return nil
	}
	if err != nil {
		return err
	}
	defer lr.unlock()
	info, err := describe(ctx, lr.room, lr.begin().stateEvent)
	if err != nil {
		return err
	}
	info.RoomNumbers = numbersOf(lr.room, lr.staged)
	return s.store.DB.Write(ctx, info.Write)
}

// maxRoomsPage bounds a page of the list of rooms.
const maxRoomsPage = 1000

// listRooms pages through the list of rooms.
func (s *Server) listRooms(ctx context.Context, req *roomapi.ListRoomsRequest) (*roomapi.ListRoomsResponse, error) {
	if req.Order != "" && !storage.IsRoomOrder(req.Order) {
		return nil, merr.InvalidParam("Unknown value for order_by: %s", req.Order)
	}
	if !storable(req.Term) || len(req.Term) > maxTxn || !storable(req.RoomID) || req.From < 0 {
		return nil, merr.InvalidParam("Invalid search")
	}
	if err := s.fillInfo(ctx); err != nil {
		return nil, err
	}
	rows, total, err := s.store.Rooms(ctx, &storage.RoomsQuery{
		Term: strings.ToLower(req.Term), RoomID: req.RoomID, Order: req.Order, Reverse: req.Reverse, Public: req.Public, Empty: req.Empty,
		From: req.From, Limit: clamp(req.Limit, 1, maxRoomsPage, 100),
	})
	if err != nil {
		return nil, err
	}
	resp := &roomapi.ListRoomsResponse{Total: total, Rooms: make([]roomapi.RoomInfo, len(rows))}
	for i, row := range rows {
		resp.Rooms[i] = roomapi.RoomInfo{
			RoomID: row.RoomID, Version: row.Version, Name: row.Name, Topic: row.Topic, CanonicalAlias: row.Alias, AvatarURL: row.Avatar,
			Creator: row.Creator, RoomType: row.RoomType, Encryption: row.Encryption, JoinRule: row.JoinRule, GuestAccess: row.GuestAccess,
			HistoryVisibility: row.Visibility, ReplacementRoom: row.Replacement, Tombstoned: row.Replacement != "",
			Joined: row.Joined, JoinedLocal: row.Local, StateEvents: row.StateEvents, Federatable: row.Federatable, Public: row.Public,
		}
	}
	if req.RoomID != "" && len(rows) == 1 {
		resp.Rooms[0].Forgotten, err = s.store.AllForgotten(ctx, rows[0].Room, s.serverName)
	}
	return resp, err
}

// runInfo makes what is missing at the start, so that the first who asks for the list need not wait.
func (s *Server) runInfo(ctx context.Context) {
	if err := s.fillInfo(ctx); err != nil && ctx.Err() == nil {
		s.log.WithError(err).Warn("the list of rooms is incomplete")
	}
}

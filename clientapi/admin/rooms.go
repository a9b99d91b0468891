package admin

import (
	"bufio"
	"io"
	"strings"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// roomID reads a room id from the path.
func roomID(r *matrixhttp.Request) (string, error) {
	id := r.Param("roomId")
	if _, _, err := pdu.ParseRoomID(id); err != nil {
		return "", merr.InvalidParam("%s is not a legal room ID", id)
	}
	return id, nil
}

func describeRoom(i *roomapi.RoomInfo) map[string]any {
	return map[string]any{
		"room_id": i.RoomID, "name": orNull(i.Name), "canonical_alias": orNull(i.CanonicalAlias), "joined_members": i.Joined,
		"joined_local_members": i.JoinedLocal, "version": i.Version, "creator": i.Creator, "encryption": orNull(i.Encryption),
		"federatable": i.Federatable, "public": i.Public, "join_rules": orNull(i.JoinRule), "guest_access": orNull(i.GuestAccess),
		"history_visibility": orNull(i.HistoryVisibility), "state_events": i.StateEvents, "room_type": orNull(i.RoomType),
		"tombstoned": i.Tombstoned, "replacement_room": orNull(i.ReplacementRoom),
	}
}

// listRooms is GET /v1/rooms.
func (s *Server) listRooms(r *matrixhttp.Request) (any, error) {
	q := r.Query()
	req := &roomapi.ListRoomsRequest{
		Term: q.String("search_term"), Order: q.String("order_by"), Reverse: q.Enum("dir", "f", "f", "b") == "b",
		Public: optional(q, "public_rooms"), Empty: optional(q, "empty_rooms"),
		From: int(q.Int("from", 0, 0, 1<<40)), Limit: int(q.Int("limit", 100, 1, 1000)),
	}
	if err := q.Err(); err != nil {
		return nil, err
	}
	if q.Has("search_term") && req.Term == "" {
		return nil, merr.InvalidParam("search_term cannot be an empty string")
	}
	found, err := roomapi.ListRooms.Do(r.Context(), s.Bus, req)
	if err != nil {
		return nil, err
	}
	rooms := make([]map[string]any, len(found.Rooms))
	for i := range found.Rooms {
		rooms[i] = describeRoom(&found.Rooms[i])
	}
	out := map[string]any{"rooms": rooms, "offset": req.From, "total_rooms": found.Total}
	if next := req.From + len(rooms); int64(next) < found.Total && len(rooms) > 0 {
		out["next_batch"] = next
	}
	if req.From > 0 {
		out["prev_batch"] = max(0, req.From-req.Limit)
	}
	return out, nil
}

// room returns the room that the path names, 404 M_NOT_FOUND if the server does not know it.
func (s *Server) room(r *matrixhttp.Request) (*roomapi.RoomInfo, error) {
	id, err := roomID(r)
	if err != nil {
		return nil, err
	}
	found, err := roomapi.ListRooms.Do(r.Context(), s.Bus, &roomapi.ListRoomsRequest{RoomID: id})
	if err != nil {
		return nil, err
	}
	if len(found.Rooms) == 0 {
		return nil, merr.NotFound("Room not found")
	}
	return &found.Rooms[0], nil
}

// getRoom is GET /v1/rooms/{roomId}.
func (s *Server) getRoom(r *matrixhttp.Request) (any, error) {
	info, err := s.room(r)
	if err != nil {
		return nil, err
	}
	out := describeRoom(info)
	out["avatar"], out["topic"], out["forgotten"] = orNull(info.AvatarURL), orNull(info.Topic), info.Forgotten
	devices := 0
	err = s.eachLocalMember(r, info.RoomID, func(userID string) error {
		list, err := userapi.Devices.Do(r.Context(), s.Bus, &userapi.UserRequest{UserID: userID})
		if err == nil {
			devices += len(list.Devices)
		}
		return err
	})
	out["joined_local_devices"] = devices
	return out, err
}

// eachLocalMember calls f for the users of this server in a room.
func (s *Server) eachLocalMember(r *matrixhttp.Request, room string, f func(userID string) error) error {
	for after := ""; ; {
		page, err := roomapi.LocalMembers.Do(r.Context(), s.Bus, &roomapi.LocalMembersRequest{RoomID: room, After: after})
		if err != nil {
			return err
		}
		for _, id := range page.UserIDs {
			if err := f(id); err != nil {
				return err
			}
			after = id
		}
		if !page.More || len(page.UserIDs) == 0 {
			return nil
		}
	}
}

// roomMembers is GET /v1/rooms/{roomId}/members.
func (s *Server) roomMembers(r *matrixhttp.Request) (any, error) {
	info, err := s.room(r)
	if err != nil {
		return nil, err
	}
	members := []string{}
	err = roomapi.ReadEvents(r.Context(), s.Bus, &roomapi.StateRequest{
		RoomID: info.RoomID, UserID: roomapi.Everything, Types: []string{"m.room.member"}, Membership: "join",
	}, func(e *roomapi.Event) error {
		if e.StateKey != nil {
			members = append(members, *e.StateKey)
		}
		return nil
	})
	return map[string]any{"members": members, "total": len(members)}, err
}

// roomState is GET /v1/rooms/{roomId}/state.
func (s *Server) roomState(r *matrixhttp.Request) (any, error) {
	info, err := s.room(r)
	if err != nil {
		return nil, err
	}
	if err := s.record(r, "room.read_state", info.RoomID, "", nil, nil); err != nil {
		return nil, err
	}
	return matrixhttp.Stream(func(w io.Writer) error {
		out := bufio.NewWriterSize(w, 32<<10)
		separator := `{"state":[`
		var buf []byte
		err := roomapi.ReadEvents(r.Context(), s.Bus, &roomapi.StateRequest{RoomID: info.RoomID, UserID: roomapi.Everything}, func(e *roomapi.Event) error {
			buf = e.AppendJSON(append(buf[:0], separator...), s.render(info.RoomID))
			separator = ","
			_, err := out.Write(buf)
			return err
		})
		if err != nil {
			return err
		}
		closing := `]}`
		if separator != "," {
			closing = separator + closing
		}
		if _, err := out.WriteString(closing); err != nil {
			return err
		}
		return out.Flush()
	}), nil
}

// render says how events are written for administrators.
func (s *Server) render(room string) roomapi.Render {
	return roomapi.Render{RoomID: room, UserID: roomapi.Everything, Now: s.Now()}
}

// getBlock is GET /v1/rooms/{roomId}/block.
func (s *Server) getBlock(r *matrixhttp.Request) (any, error) {
	id, err := roomID(r)
	if err != nil {
		return nil, err
	}
	block, err := roomapi.GetBlock.Do(r.Context(), s.Bus, &roomapi.RoomRequest{RoomID: id})
	if err != nil {
		return nil, err
	}
	out := map[string]any{"block": block.Blocked}
	if block.Blocked {
		out["user_id"] = block.UserID
	}
	return out, nil
}

// putBlock is PUT /v1/rooms/{roomId}/block. The room need not be known.
func (s *Server) putBlock(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[struct {
		Block  *bool  `json:"block"`
		Reason string `json:"reason"`
	}](r)
	if err != nil {
		return nil, err
	}
	if req.Block == nil {
		return nil, merr.MissingParam("block")
	}
	id, err := roomID(r)
	if err != nil {
		return nil, err
	}
	if err := s.record(r, "room.block", id, req.Reason, nil, *req.Block); err != nil {
		return nil, err
	}
	block, err := roomapi.BlockRoom.Do(r.Context(), s.Bus, &roomapi.BlockRoomRequest{RoomID: id, UserID: r.Identity.UserID, Block: *req.Block})
	if err != nil {
		return nil, err
	}
	return map[string]bool{"block": block.Blocked}, nil
}

// resolve reads a room id or an alias of this server from the path.
func (s *Server) resolve(r *matrixhttp.Request) (string, error) {
	target := r.Param("roomIdOrAlias")
	if !strings.HasPrefix(target, "#") {
		if _, _, err := pdu.ParseRoomID(target); err != nil {
			return "", merr.InvalidParam("%s was not legal room ID or room alias", target)
		}
		return target, nil
	}
	found, err := roomapi.ResolveAlias.Do(r.Context(), s.Bus, &roomapi.AliasRequest{Alias: target})
	if err != nil {
		return "", err
	}
	return found.RoomID, nil
}

// forwardExtremities is GET /v1/rooms/{roomIdOrAlias}/forward_extremities.
func (s *Server) forwardExtremities(r *matrixhttp.Request) (any, error) {
	id, err := s.resolve(r)
	if err != nil {
		return nil, err
	}
	found, err := roomapi.ForwardExtremities.Do(r.Context(), s.Bus, &roomapi.RoomRequest{RoomID: id})
	if err != nil {
		return nil, err
	}
	return map[string]any{"count": len(found.Extremities), "results": found.Extremities}, nil
}

// joinExtremities is DELETE /v1/rooms/{roomIdOrAlias}/forward_extremities: an event that follows
// all of them takes their place.
func (s *Server) joinExtremities(r *matrixhttp.Request) (any, error) {
	id, err := s.resolve(r)
	if err != nil {
		return nil, err
	}
	if err := s.record(r, "room.join_extremities", id, "", nil, nil); err != nil {
		return nil, err
	}
	done, err := roomapi.JoinExtremities.Do(r.Context(), s.Bus, &roomapi.RoomRequest{RoomID: id})
	if err != nil {
		return nil, err
	}
	return map[string]int{"deleted": done.Gone}, nil
}

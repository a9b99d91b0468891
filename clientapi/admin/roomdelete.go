package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"hearth/clientapi/jobs"
	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
)

// kindDeleteRoom is the job that shuts a room down and deletes it.
const kindDeleteRoom = "room.delete"

type deleteRoomRequest struct {
	RoomID      string `json:"room_id"`
	NewRoomUser string `json:"new_room_user_id,omitempty"`
	RoomName    string `json:"room_name,omitempty"`
	Message     string `json:"message,omitempty"`
	Block       bool   `json:"block"`
	Purge       *bool  `json:"purge,omitempty"`
	ForcePurge  bool   `json:"force_purge"`
	Reason      string `json:"reason,omitempty"`
	Actor       string `json:"actor"`
}

func (d *deleteRoomRequest) purges() bool { return d.Purge == nil || *d.Purge }

// shutdown is what a deletion has done.
type shutdown struct {
	Kicked  []string `json:"kicked_users"`
	Failed  []string `json:"failed_to_kick_users"`
	Aliases []string `json:"local_aliases"`
	NewRoom *string  `json:"new_room_id"`
	// The steps that are done.
	Begun     bool   `json:"begun,omitempty"`
	After     string `json:"after,omitempty"`
	Evacuated bool   `json:"evacuated,omitempty"`
	Moved     int    `json:"moved,omitempty"` // of Kicked
	Deleting  bool   `json:"deleting,omitempty"`
}

func (d *shutdown) public() map[string]any {
	return map[string]any{
		"kicked_users": d.Kicked, "failed_to_kick_users": d.Failed, "local_aliases": d.Aliases, "new_room_id": d.NewRoom,
	}
}

func newShutdown() *shutdown {
	return &shutdown{Kicked: []string{}, Failed: []string{}, Aliases: []string{}}
}

func (s *Server) readDelete(r *matrixhttp.Request) (*deleteRoomRequest, error) {
	req, err := matrixhttp.Decode[deleteRoomRequest](r)
	if err != nil {
		return nil, err
	}
	if req.RoomID, err = roomID(r); err != nil {
		return nil, err
	}
	req.Actor = r.Identity.UserID
	if req.NewRoomUser != "" {
		if _, err := userapi.GetUser.Do(r.Context(), s.Bus, &userapi.UserRequest{UserID: req.NewRoomUser}); errors.Is(err, merr.NotFound("")) {
			return nil, merr.InvalidParam("new_room_user_id is no user of this server")
		} else if err != nil {
			return nil, err
		}
	}
	known, err := roomapi.ListRooms.Do(r.Context(), s.Bus, &roomapi.ListRoomsRequest{RoomID: req.RoomID})
	if err != nil {
		return nil, err
	}
	if len(known.Rooms) == 0 && !req.Block {
		return nil, merr.NotFound("Unknown room id %s", req.RoomID)
	}
	return req, s.record(r, "room.delete", req.RoomID, req.Reason, nil, req)
}

// deleteRoomNow is DELETE /v1/rooms/{roomId}: it answers when all is done.
func (s *Server) deleteRoomNow(r *matrixhttp.Request) (any, error) {
	req, err := s.readDelete(r)
	if err != nil {
		return nil, err
	}
	done := newShutdown()
	for {
		over, err := s.deleteStep(r.Context(), req, done)
		if err != nil {
			return nil, err
		}
		if over {
			return done.public(), nil
		}
	}
}

// deleteRoom is DELETE /v2/rooms/{roomId}: a job does it.
func (s *Server) deleteRoom(r *matrixhttp.Request) (any, error) {
	req, err := s.readDelete(r)
	if err != nil {
		return nil, err
	}
	for _, status := range []string{jobs.Active, jobs.Scheduled} {
		going, err := s.Jobs().List(r.Context(), kindDeleteRoom, req.RoomID, status)
		if err != nil {
			return nil, err
		}
		if len(going) > 0 {
			return nil, merr.New(http.StatusBadRequest, "M_UNKNOWN", "Purge already in progress for this room")
		}
	}
	id, err := s.Jobs().Start(r.Context(), kindDeleteRoom, req.RoomID, req.Actor, req)
	if err != nil {
		return nil, err
	}
	return map[string]string{"delete_id": id}, nil
}

// stepDelete does a step of the job.
func (s *Server) stepDelete(ctx context.Context, j *jobs.Job) (over bool, err error) {
	req, done := &deleteRoomRequest{}, newShutdown()
	if err := errors.Join(json.Unmarshal(j.Params, req), json.Unmarshal(j.Progress, done)); err != nil {
		return false, merr.Internal(err)
	}
	over, err = s.deleteStep(ctx, req, done)
	raw, marshalErr := json.Marshal(done)
	j.Progress = raw
	return over, errors.Join(err, marshalErr)
}

// deleteStep does the next step.
func (s *Server) deleteStep(ctx context.Context, req *deleteRoomRequest, done *shutdown) (over bool, err error) {
	switch {
	case !done.Begun:
		done.Begun = true
		return false, s.beginDelete(ctx, req, done)
	case !done.Evacuated:
		return false, s.evacuateStep(ctx, req, done)
	case done.NewRoom != nil && done.Moved < len(done.Kicked):
		user := done.Kicked[done.Moved]
		done.Moved++
		_, err := s.bringIn(ctx, *done.NewRoom, user, nil)
		if e := merr.From(err); e != nil && e.Status < 500 && !e.Temporary {
			return false, nil // this one stays outside
		}
		return false, err
	case !req.purges():
		return true, nil
	}
	return s.purgeStep(ctx, req, done)
}

// beginDelete blocks the room, and makes the one that its users are brought to.
func (s *Server) beginDelete(ctx context.Context, req *deleteRoomRequest, done *shutdown) error {
	if req.Block {
		if _, err := roomapi.BlockRoom.Do(ctx, s.Bus, &roomapi.BlockRoomRequest{RoomID: req.RoomID, UserID: req.Actor, Block: true}); err != nil {
			return err
		}
	}
	aliases, err := roomapi.LocalAliases.Do(ctx, s.Bus, &roomapi.RoomRequest{RoomID: req.RoomID})
	if err != nil && !errors.Is(err, merr.NotFound("")) {
		return err
	}
	if err == nil && len(aliases.Aliases) > 0 {
		done.Aliases = aliases.Aliases
	}
	if req.NewRoomUser == "" {
		return nil
	}
	name, message := req.RoomName, req.Message
	if name == "" {
		name = "Content Violation Notification"
	}
	if message == "" {
		message = "Sharing illegal content on this server is not permitted and rooms in violation will be blocked."
	}
	profile, err := s.memberProfile(ctx, req.NewRoomUser)
	if err != nil {
		return err
	}
	made, err := roomapi.Create.Do(ctx, s.Bus, &roomapi.CreateRequest{
		Creator: req.NewRoomUser, Profile: profile, Preset: "public_chat", Name: name,
		PowerLevelOverride: json.RawMessage(`{"users_default":-10}`),
	})
	if err != nil {
		return err
	}
	done.NewRoom = &made.RoomID
	content, err := json.Marshal(map[string]string{"msgtype": "m.text", "body": message})
	if err != nil {
		return merr.Internal(err)
	}
	_, err = roomapi.Send.Do(ctx, s.Bus, &roomapi.SendRequest{RoomID: made.RoomID, Sender: req.NewRoomUser, Type: "m.room.message", Content: content})
	return err
}

func (s *Server) evacuateStep(ctx context.Context, req *deleteRoomRequest, done *shutdown) error {
	left, err := roomapi.Evacuate.Do(ctx, s.Bus, &roomapi.EvacuateRequest{RoomID: req.RoomID, After: done.After, Forget: req.purges(), Reason: req.Reason})
	if err != nil {
		return err
	}
	done.Kicked, done.Failed = append(done.Kicked, left.Left...), append(done.Failed, left.Failed...)
	done.After, done.Evacuated = left.After, !left.More
	if !done.Evacuated {
		return nil
	}
	for _, alias := range done.Aliases {
		_, err := roomapi.DeleteAlias.Do(ctx, s.Bus, &roomapi.AliasRequest{Alias: alias, UserID: req.Actor, Manages: true})
		if err != nil && !errors.Is(err, merr.NotFound("")) {
			return err
		}
		if done.NewRoom == nil {
			continue
		}
		if _, err := roomapi.SetAlias.Do(ctx, s.Bus, &roomapi.AliasRequest{Alias: alias, RoomID: *done.NewRoom, UserID: req.NewRoomUser}); err != nil {
			return err
		}
	}
	return nil
}

// purgePoll is the time between two looks at a room that is being deleted.
const purgePoll = 200 * time.Millisecond

func (s *Server) purgeStep(ctx context.Context, req *deleteRoomRequest, done *shutdown) (over bool, err error) {
	_, err = roomapi.DeleteRoom.Do(ctx, s.Bus, &roomapi.DeleteRoomRequest{RoomID: req.RoomID, Force: req.ForcePurge})
	if errors.Is(err, merr.NotFound("")) {
		return true, nil // nothing is left of it
	}
	if err != nil {
		return false, err
	}
	done.Deleting = true
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case <-time.After(purgePoll):
		return false, nil
	}
}

func describeDelete(j *jobs.Job) map[string]any {
	done := newShutdown()
	_ = json.Unmarshal(j.Progress, done) // ours: an object
	out := map[string]any{"delete_id": j.ID, "room_id": j.Target, "status": j.Status, "shutdown_room": done.public()}
	if j.Error != "" {
		out["error"] = j.Error
	}
	return out
}

// deleteStatus is GET /v2/rooms/delete_status/{deleteId}.
func (s *Server) deleteStatus(r *matrixhttp.Request) (any, error) {
	j, err := s.job(r, r.Param("deleteId"), kindDeleteRoom)
	if err != nil {
		return nil, err
	}
	out := describeDelete(j)
	delete(out, "delete_id")
	return out, nil
}

// deletesOfRoom is GET /v2/rooms/{roomId}/delete_status.
func (s *Server) deletesOfRoom(r *matrixhttp.Request) (any, error) {
	id, err := roomID(r)
	if err != nil {
		return nil, err
	}
	list, err := s.Jobs().List(r.Context(), kindDeleteRoom, id, "")
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, merr.NotFound("No delete task for room_id '%s' found", id)
	}
	results := make([]map[string]any, len(list))
	for i, j := range list {
		results[i] = describeDelete(j)
	}
	return map[string]any{"results": results}, nil
}

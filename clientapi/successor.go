package clientapi

import (
	"context"
	"errors"
	"net/http"

	"hearth/clientapi/userapi"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// succeed carries over what a user has said of a room to the room that replaces it
// (client-server API, "Room Upgrades"): push rules and tags. It runs after the user
// has joined, and a failure is none of the join: whoever joins again tries again.
func (s *Server) succeed(ctx context.Context, userID, roomID string) {
	old, err := s.predecessor(ctx, userID, roomID)
	if err == nil && old != "" {
		err = s.carryOver(ctx, userID, old, roomID)
	}
	if err != nil && ctx.Err() == nil {
		s.options.Log.WithError(err).Warn("clientapi: push rules and tags were not carried over to the new room")
	}
}

// predecessor is the room that a room has replaced, if the user is or was in it;
// anybody may claim to replace a room.
func (s *Server) predecessor(ctx context.Context, userID, roomID string) (string, error) {
	create, err := roomapi.GetStateEvent.Do(ctx, s.bus, &roomapi.StateEventRequest{
		RoomID: roomID, UserID: userID, Type: "m.room.create",
	})
	if err != nil {
		return "", unless(isRefusal(err), err)
	}
	before, _ := pdu.Get(create.Content(), "predecessor")
	old, _ := pdu.GetString(before, "room_id")
	if _, _, err := pdu.ParseRoomID(old); err != nil || old == roomID {
		return "", nil
	}
	tombstone, err := roomapi.GetStateEvent.Do(ctx, s.bus, &roomapi.StateEventRequest{
		RoomID: old, UserID: userID, Type: "m.room.tombstone",
	})
	if isRefusal(err) {
		return "", nil // the user was never there, or the room was not replaced
	}
	if err != nil {
		return "", err
	}
	if next, _ := pdu.GetString(tombstone.Content(), "replacement_room"); next != roomID {
		return "", nil
	}
	return old, nil
}

func (s *Server) carryOver(ctx context.Context, userID, from, to string) error {
	if _, err := userapi.ChangePushRules.Do(ctx, s.bus, &userapi.PushRulesRequest{
		UserID: userID, Op: userapi.CopyRoomRules, From: from, RoomID: to,
	}); err != nil {
		return err
	}
	const tags = "m.tag"
	old, err := userapi.GetAccountData.Do(ctx, s.bus, &userapi.AccountDataRequest{UserID: userID, RoomID: from, Type: tags})
	if err != nil {
		return unless(isRefusal(err), err)
	}
	_, err = userapi.GetAccountData.Do(ctx, s.bus, &userapi.AccountDataRequest{UserID: userID, RoomID: to, Type: tags})
	if !isRefusal(err) {
		return err // the new room has tags already, or who knows
	}
	_, err = userapi.SetAccountData.Do(ctx, s.bus, &userapi.SetAccountDataRequest{
		UserID: userID, Data: userapi.AccountData{RoomID: to, Type: tags, Content: old.Content},
	})
	return err
}

// isRefusal reports whether the owner said that there is nothing for the user.
func isRefusal(err error) bool {
	var e *merr.Error
	return errors.As(err, &e) && (e.Status == http.StatusNotFound || e.Status == http.StatusForbidden)
}

func unless(fine bool, err error) error {
	if fine {
		return nil
	}
	return err
}

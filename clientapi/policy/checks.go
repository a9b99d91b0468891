package policy

import (
	"context"
	"encoding/json"
	"fmt"

	"hearth/clientapi/antispam"
	"hearth/clientapi/userapi"
	"hearth/internal/merr"
)

// MayRegister judges a new account by its name, its e-mail addresses and where it comes from.
func (g *Guard) MayRegister(ctx context.Context, name string, emails []string, address string) error {
	q := userapi.PolicyQuery{Op: userapi.OpRegister, Name: name, Address: address}
	if name != "" {
		q.User = "@" + name + ":" + g.d.ServerName
	}
	for i := range max(1, len(emails)) {
		if len(emails) > 0 {
			q.Email = emails[i]
		}
		if err := g.Allow(&q); err != nil {
			return err
		}
	}
	if name == "" {
		return nil
	}
	return g.d.Webhooks.Ask(ctx, antispam.CheckUsernameForSpam, map[string]any{
		"user_profile": map[string]any{"user_id": q.User, "display_name": name, "avatar_url": nil}, "requester_id": q.User,
	})
}

// MayLogin judges a log-in of somebody who has shown who they are.
func (g *Guard) MayLogin(ctx context.Context, userID, deviceID, displayName, address, agent string) error {
	if err := g.Allow(&userapi.PolicyQuery{Op: userapi.OpLogin, User: userID, Address: address}); err != nil {
		return err
	}
	if !g.d.Webhooks.Asks(antispam.CheckLoginForSpam) {
		return nil
	}
	orNull := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	return g.d.Webhooks.Ask(ctx, antispam.CheckLoginForSpam, map[string]any{
		"user_id": userID, "device_id": orNull(deviceID), "initial_display_name": orNull(displayName),
		"request_info": [][]any{{orNull(agent), address}}, "auth_provider_id": nil,
	})
}

// MayCreate judges the making of a room.
func (g *Guard) MayCreate(ctx context.Context, userID string) error {
	if err := g.Allow(&userapi.PolicyQuery{Op: userapi.OpCreate, User: userID}); err != nil {
		return err
	}
	if err := g.probation(ctx, userID, userapi.OpCreate, func(t *trial) error {
		return t.daily(userID, "make rooms", t.Rooms)
	}); err != nil {
		return err
	}
	return g.d.Webhooks.Ask(ctx, antispam.UserMayCreateRoom, map[string]string{"user_id": userID})
}

// MayAlias judges a new alias of a room, which may not be there yet.
func (g *Guard) MayAlias(ctx context.Context, userID, roomID, alias string) error {
	if err := g.Allow(&userapi.PolicyQuery{Op: userapi.OpAlias, User: userID, Room: roomID}); err != nil {
		return err
	}
	return g.d.Webhooks.Ask(ctx, antispam.UserMayCreateRoomAlias, map[string]string{"user_id": userID, "room_alias": alias})
}

// MayPublish judges the showing of a room in the directory.
func (g *Guard) MayPublish(ctx context.Context, userID, roomID string) error {
	if err := g.Allow(&userapi.PolicyQuery{Op: userapi.OpPublish, User: userID, Room: roomID}); err != nil {
		return err
	}
	return g.d.Webhooks.Ask(ctx, antispam.UserMayPublishRoom, map[string]string{"user_id": userID, "room_id": roomID})
}

// MaySend judges an event of one of our users before it is made, so it has no id yet.
func (g *Guard) MaySend(ctx context.Context, userID, roomID, typ string, stateKey *string, content json.RawMessage) error {
	if err := g.Allow(&userapi.PolicyQuery{Op: userapi.OpSend, User: userID, Room: roomID}); err != nil {
		return err
	}
	if typ == "m.room.message" && g.d.Probation.For > 0 && !g.d.Probation.Links && hasLinks(content) {
		if err := g.probation(ctx, userID, userapi.OpSend, func(*trial) error { return newcomer("post links") }); err != nil {
			return err
		}
	}
	if !g.d.Webhooks.Asks(antispam.CheckEventForSpam) {
		return nil
	}
	event := map[string]any{
		"type": typ, "room_id": roomID, "sender": userID, "content": content, "origin_server_ts": g.d.Now().UnixMilli(),
	}
	if stateKey != nil {
		event["state_key"] = *stateKey
	}
	return g.d.Webhooks.Ask(ctx, antispam.CheckEventForSpam, map[string]any{"event": event})
}

// MayUpload judges who uploads, MayStore a file that was uploaded or fetched, by its SHA-256.
func (g *Guard) MayUpload(ctx context.Context, userID string) error {
	if err := g.Allow(&userapi.PolicyQuery{Op: userapi.OpMedia, User: userID}); err != nil {
		return err
	}
	if g.d.Probation.Media {
		return nil
	}
	return g.probation(ctx, userID, userapi.OpMedia, func(*trial) error { return newcomer("upload files") })
}

// MayStore refuses a file that a rule denies.
func (g *Guard) MayStore(server string, sha256 []byte) error {
	if v := g.decide(&userapi.PolicyQuery{Op: userapi.OpMedia, Server: server, Media: fmt.Sprintf("%x", sha256)}); v.Denied {
		return merr.Forbidden("The policy of this server does not allow this file")
	}
	return nil
}

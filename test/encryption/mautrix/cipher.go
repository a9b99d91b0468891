package main

import (
	"context"
	"fmt"
	"time"

	"maunium.net/go/mautrix/crypto"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"
)

// cipher is what the library's client encrypts messages with. Its own helper would
// need a database.
type cipher struct{ d *device }

// Init has nothing to do.
func (cipher) Init(context.Context) error { return nil }

// Encrypt encrypts for the devices of all who are in a room or invited.
func (c cipher) Encrypt(ctx context.Context, room id.RoomID, kind event.Type, content any) (*event.EncryptedEventContent, error) {
	encrypted, err := c.d.machine.EncryptMegolmEvent(ctx, room, kind, content)
	if !crypto.IsShareError(err) {
		return encrypted, err
	}
	users, err := c.d.members(ctx, room, event.MembershipJoin, event.MembershipInvite)
	if err != nil {
		return nil, err
	}
	if err := c.d.machine.ShareGroupSession(ctx, room, users); err != nil {
		return nil, fmt.Errorf("share the session: %w", err)
	}
	return c.d.machine.EncryptMegolmEvent(ctx, room, kind, content)
}

// Decrypt decrypts an event.
func (c cipher) Decrypt(ctx context.Context, e *event.Event) (*event.Event, error) {
	return c.d.machine.DecryptMegolmEvent(ctx, e)
}

// WaitForSession waits for the key of a session.
func (c cipher) WaitForSession(ctx context.Context, room id.RoomID, sender id.SenderKey, session id.SessionID, timeout time.Duration) bool {
	return c.d.machine.WaitForSession(ctx, room, sender, session, timeout)
}

// RequestSession does not ask other devices for keys: the test is about keys that come
// by themselves.
func (cipher) RequestSession(context.Context, id.RoomID, id.SenderKey, id.SessionID, id.UserID, id.DeviceID) {
}

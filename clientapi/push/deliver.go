package push

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"hearth/internal/bus"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
	"hearth/syncapi/viewapi"
)

// notification is the body of POST /_matrix/push/v1/notify.
type notification struct {
	EventID    string          `json:"event_id,omitempty"`
	RoomID     string          `json:"room_id,omitempty"`
	Type       string          `json:"type,omitempty"`
	Sender     string          `json:"sender,omitempty"`
	SenderName string          `json:"sender_display_name,omitempty"`
	RoomName   string          `json:"room_name,omitempty"`
	RoomAlias  string          `json:"room_alias,omitempty"`
	UserTarget bool            `json:"user_is_target,omitempty"`
	Priority   string          `json:"prio,omitempty"`
	Content    json.RawMessage `json:"content,omitempty"`
	Counts     *counts         `json:"counts,omitempty"`
	Devices    []device        `json:"devices"`
}

type counts struct {
	Unread *int `json:"unread,omitempty"`
}

type device struct {
	AppID   string          `json:"app_id"`
	PushKey string          `json:"pushkey"`
	TS      int64           `json:"pushkey_ts"` // seconds
	Data    json.RawMessage `json:"data"`
	Tweaks  json.RawMessage `json:"tweaks,omitempty"`
}

// deliver sends one notice and deletes it. An error says that it waits still.
func (s *Server) deliver(ctx context.Context, p *pusher, n *notice) error {
	gone, err := s.deviceGone(ctx, p)
	if err != nil {
		return err
	}
	if gone {
		return s.forget(ctx, p)
	}
	if s.now().Sub(time.UnixMilli(n.at)) > maxAge {
		return s.db.done(ctx, n, -1)
	}
	body, badge, err := s.compose(ctx, p, n)
	if err != nil {
		return err
	}
	if body == nil {
		return s.db.done(ctx, n, -1)
	}
	rejected, err := s.post(ctx, p, body)
	if err != nil {
		return err
	}
	// A gateway speaks for the pushers that it is told of, and for no others.
	if slices.Contains(rejected, p.pushKey) {
		s.log.WithField("gateway", p.url.Host).Info("push: the gateway has rejected a pusher, which is deleted")
		return s.forget(ctx, p)
	}
	if badge >= 0 {
		s.users.setBadge(p.id, badge)
	}
	return s.db.done(ctx, n, badge)
}

// forget deletes a pusher.
func (s *Server) forget(ctx context.Context, p *pusher) error {
	if err := s.db.drop(ctx, p.id); err != nil {
		return err
	}
	s.users.drop(p.id)
	return nil
}

// compose writes what a gateway is told; nil if there is nothing to tell any more.
// badge is the number in it, -1 if it is not known.
func (s *Server) compose(ctx context.Context, p *pusher, n *notice) (body *notification, badge int, err error) {
	badge = s.unread(ctx, p.userID, n.pos)
	data, ok := pdu.Delete(p.data, "url")
	if !ok {
		data = p.data
	}
	body = &notification{Devices: []device{{AppID: p.appID, PushKey: p.pushKey, TS: p.ts / 1000, Data: data}}}
	if n.event == "" {
		if badge < 0 {
			return nil, badge, fmt.Errorf("the number of unread notifications is not known")
		}
		if badge == s.users.badgeOf(p.id) {
			return nil, badge, nil
		}
		// 0 is told too: it is what takes the number away.
		body.Counts, body.Priority = &counts{&badge}, "low"
		return body, badge, nil
	}
	ev, err := roomapi.GetEvent.Do(ctx, s.bus, &roomapi.EventRequest{RoomID: n.room, UserID: p.userID, EventID: n.event})
	if err != nil {
		if gone(err) {
			return nil, badge, nil
		}
		return nil, badge, err
	}
	if len(ev.RedactedBecause) > 0 {
		return nil, badge, nil
	}
	body.EventID, body.RoomID, body.Priority = n.event, n.room, "low"
	if n.high {
		body.Priority = "high"
	}
	if badge > 0 {
		body.Counts = &counts{&badge}
	}
	if p.short() {
		return body, badge, nil
	}
	body.Devices[0].Tweaks = n.tweaks
	return body, badge, s.describe(ctx, p, ev, body)
}

// describe adds what the event and its room say.
func (s *Server) describe(ctx context.Context, p *pusher, ev *roomapi.Event, body *notification) (err error) {
	body.Type, body.Sender, body.Content = ev.Type, ev.Sender, ev.Content()
	body.UserTarget = ev.Type == "m.room.member" && ev.StateKey != nil && *ev.StateKey == p.userID
	if body.UserTarget && ev.Membership == "invite" {
		return s.describeInvite(ctx, p, ev, body)
	}
	if body.SenderName, err = memberName(ctx, s.bus, body.RoomID, p.userID, ev.Sender); err != nil {
		return err
	}
	if body.RoomName, err = stateText(ctx, s.bus, body.RoomID, p.userID, "m.room.name", "", "name"); err != nil {
		return err
	}
	body.RoomAlias, err = stateText(ctx, s.bus, body.RoomID, p.userID, "m.room.canonical_alias", "", "alias")
	return err
}

// describeInvite adds what the stripped state says, which is all that the user may see.
func (s *Server) describeInvite(ctx context.Context, p *pusher, ev *roomapi.Event, body *notification) error {
	answer, err := roomapi.InviteState.Do(ctx, s.bus, &roomapi.InviteStateRequest{RoomID: body.RoomID, UserID: p.userID})
	if err != nil {
		if gone(err) {
			return nil // it was answered meanwhile
		}
		return err
	}
	pdu.Elements(answer.Events, func(stripped []byte) bool {
		typ, _ := pdu.GetString(stripped, "type")
		key, _ := pdu.GetString(stripped, "state_key")
		content, _ := pdu.Get(stripped, "content")
		switch {
		case typ == "m.room.member" && key == ev.Sender:
			body.SenderName, _ = pdu.GetString(content, "displayname")
		case typ == "m.room.name" && key == "":
			body.RoomName, _ = pdu.GetString(content, "name")
		case typ == "m.room.canonical_alias" && key == "":
			body.RoomAlias, _ = pdu.GetString(content, "alias")
		}
		return true
	})
	return nil
}

// memberName is the display name of a user in a room, as another user sees it.
func memberName(ctx context.Context, b *bus.Bus, roomID, reader, userID string) (string, error) {
	return stateText(ctx, b, roomID, reader, "m.room.member", userID, "displayname")
}

// stateText reads a text of a room's state; empty if there is none for the reader.
func stateText(ctx context.Context, b *bus.Bus, roomID, reader, typ, stateKey, key string) (string, error) {
	ev, err := roomapi.GetStateEvent.Do(ctx, b, &roomapi.StateEventRequest{RoomID: roomID, UserID: reader, Type: typ, StateKey: stateKey})
	if err != nil {
		if gone(err) {
			return "", nil
		}
		return "", err
	}
	text, _ := pdu.GetString(ev.Content(), key)
	return text, nil
}

// unread counts a user's unread notifications, -1 if nobody knows: that must not keep
// the notification back.
func (s *Server) unread(ctx context.Context, userID string, pos int64) int {
	ctx, cancel := context.WithTimeout(ctx, countTimeout)
	defer cancel()
	answer, err := viewapi.Unread.Do(ctx, s.bus, &viewapi.UnreadRequest{UserID: userID, Pos: pos})
	if err != nil {
		s.log.WithError(err).Debug("push: unread notifications cannot be counted")
		return -1
	}
	return answer.Notifications
}

// post sends a notification and returns the keys that the gateway rejects.
func (s *Server) post(ctx context.Context, p *pusher, n *notification) (rejected []string, err error) {
	body, err := json.Marshal(map[string]*notification{"notification": n})
	if err != nil {
		return nil, fmt.Errorf("encode notification: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	client := s.tls
	if p.url.Scheme == "http" {
		client = s.plain
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		return nil, fmt.Errorf("the gateway answers %d", resp.StatusCode)
	}
	var parsed struct {
		Rejected []string `json:"rejected"`
	}
	if err := json.Unmarshal(answer, &parsed); err != nil {
		return nil, nil // it has taken it, whatever it says
	}
	return parsed.Rejected, nil
}

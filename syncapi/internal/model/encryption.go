package model

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/roomserver/roomapi"
)

// device is the queue of a device.
type device struct {
	messages []placedMessage
	acked    int64
}

type placedMessage struct {
	pos  int64
	json json.RawMessage
}

func (o *Owners) appendUser(e *userapi.Entry) int64 {
	p := bus.Positioned[userapi.Entry]{Pos: int64(len(o.users)) + 1, Entry: e}
	o.users = append(o.users, p)
	if o.OnUser != nil {
		o.OnUser(p)
	}
	return p.Pos
}

// ChangeDevices changes the device list of a user.
func (o *Owners) ChangeDevices(user string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.appendUser(&userapi.Entry{Kind: userapi.KindDeviceList, UserID: user, DeviceID: "D"})
}

// Sign makes a user sign the keys of another one.
func (o *Owners) Sign(user, target string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.appendUser(&userapi.Entry{Kind: userapi.KindSignature, UserID: user, Target: target})
}

// SendToDevice sends a message with a number to a device.
func (o *Owners) SendToDevice(user, id string, n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	pos := int64(len(o.users)) + 1
	d := o.device(user, id)
	d.messages = append(d.messages, placedMessage{pos, json.RawMessage(fmt.Sprintf(`{"content":{"n":%d},"sender":"@x:h","type":"m.test"}`, n))})
	o.appendUser(&userapi.Entry{Kind: userapi.KindDevice, UserID: user, DeviceID: id})
}

// Acknowledged is the position up to which a device has reported its messages.
func (o *Owners) Acknowledged(user, id string) int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.device(user, id).acked
}

// SetKeys sets the number of one-time keys that every device has.
func (o *Owners) SetKeys(user, id string, n int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.keys = n
	o.appendUser(&userapi.Entry{Kind: userapi.KindDevice, UserID: user, DeviceID: id})
}

// DeviceAsks counts the questions about devices.
func (o *Owners) DeviceAsks() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.deviceAsks
}

func (o *Owners) device(user, id string) *device {
	key := user + "/" + id
	if o.devices == nil {
		o.devices = map[string]*device{}
	}
	if o.devices[key] == nil {
		o.devices[key] = &device{}
	}
	return o.devices[key]
}

// DeviceSync answers userapi.DeviceSync.
func (o *Owners) DeviceSync(_ context.Context, req *userapi.DeviceSyncRequest) (*userapi.DeviceSyncResponse, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.deviceAsks++
	d := o.device(req.UserID, req.DeviceID)
	d.acked = max(d.acked, req.Acknowledged)
	answer := &userapi.DeviceSyncResponse{Last: req.After, Pos: int64(len(o.users)), OneTimeKeys: map[string]int64{}}
	if o.keys > 0 {
		answer.OneTimeKeys["signed_curve25519"] = o.keys
	}
	for _, m := range d.messages {
		if m.pos <= req.After || m.pos <= d.acked {
			continue
		}
		if len(answer.Messages) == userapi.MaxToDeviceBatch {
			answer.More = true
			break
		}
		answer.Messages, answer.Last = append(answer.Messages, m.json), m.pos
	}
	return answer, nil
}

// UserHead answers userapi.LogPosition; 0, since entries are applied as they are made.
func (o *Owners) UserHead(context.Context) (int64, error) { return 0, nil }

// ChangedDeviceLists answers userapi.ChangedDeviceLists.
func (o *Owners) ChangedDeviceLists(_ context.Context, req *userapi.ChangedDeviceListsRequest) (*userapi.ChangedDeviceListsResponse, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	answer := &userapi.ChangedDeviceListsResponse{Next: req.UpTo}
	answer.Users, answer.Signed = o.changedLists(req.UserID, req.After, req.UpTo)
	return answer, nil
}

func (o *Owners) changedLists(user string, after, upTo int64) (users, signed []string) {
	for _, p := range o.users {
		switch {
		case p.Pos <= after || p.Pos > upTo:
		case p.Entry.Kind == userapi.KindDeviceList:
			users = append(users, p.Entry.UserID)
		case p.Entry.Kind == userapi.KindSignature && p.Entry.UserID == user:
			signed = append(signed, p.Entry.Target)
		}
	}
	return users, signed
}

// Peers answers roomapi.PeersStream.
func (o *Owners) Peers(_ context.Context, req *roomapi.PeersRequest) (*roomapi.Peers, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	was, is := o.peers(req.UserID, req.From), o.peers(req.UserID, req.To)
	answer := &roomapi.Peers{}
	for _, u := range req.Candidates {
		if is[u] {
			answer.Shared = append(answer.Shared, u)
		}
	}
	if req.Changes {
		answer.Joined, answer.Left = without(is, was), without(was, is)
	}
	return answer, nil
}

// peers are those who share an encrypted room with a user at a position.
func (o *Owners) peers(user string, at int64) map[string]bool {
	set := map[string]bool{}
	seen := map[string]bool{}
	for _, p := range o.rooms {
		id := p.Entry.RoomID
		if seen[id] {
			continue
		}
		seen[id] = true
		state := o.state(id, at)
		if state[key{"m.room.encryption", ""}] == nil {
			continue
		}
		if m, _ := o.member(id, user, at); m != "join" {
			continue
		}
		for k, e := range state {
			if k.kind == "m.room.member" && e.Membership == "join" && k.state != user {
				set[k.state] = true
			}
		}
	}
	return set
}

func without(a, b map[string]bool) []string {
	var list []string
	for u := range a {
		if !b[u] {
			list = append(list, u)
		}
	}
	slices.Sort(list)
	return list
}

// DeviceLists is what an incremental /sync must say of device lists.
func (o *Owners) DeviceLists(user string, fromRoom, fromUser, toRoom, toUser int64) (changed, left []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	was, is := o.peers(user, fromRoom), o.peers(user, toRoom)
	set := map[string]bool{}
	for _, u := range without(is, was) {
		set[u] = true
	}
	users, signed := o.changedLists(user, fromUser, toUser)
	for _, u := range users {
		if is[u] || u == user {
			set[u] = true
		}
	}
	for _, u := range signed {
		set[u] = true
	}
	return without(set, nil), without(was, is)
}

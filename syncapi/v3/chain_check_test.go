package v3

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"hearth/syncapi/core"
	"hearth/syncapi/internal/model"
	"hearth/syncapi/viewapi"
)

// check compares one answer with the model.
type check struct {
	w          *world
	c          *client
	since, now viewapi.Token
	view       model.View
	lag        bool // the process does not know the newest events yet
}

func (k *check) errorf(format string, args ...any) {
	k.w.t.Helper()
	k.w.t.Errorf("%s of %s, %s to %s: %s", k.c.name, k.c.user, k.since, k.now, fmt.Sprintf(format, args...))
}

func (k *check) apply(r *response) {
	c := k.c
	for id, room := range r.Rooms.Leave {
		delete(c.rooms, id)
		delete(c.invited, id)
		delete(c.knock, id)
		if left := k.view.Left[id]; left == nil {
			k.errorf("%s was not left", id)
		} else if room.Timeline != nil && len(room.Timeline.Events) > 0 {
			k.timeline(id, &room, left, false)
		}
	}
	for id := range r.Rooms.Invite {
		delete(c.rooms, id)
		delete(c.knock, id)
		c.invited[id] = true
	}
	for id := range r.Rooms.Knock {
		delete(c.rooms, id)
		delete(c.invited, id)
		c.knock[id] = true
	}
	for id, room := range r.Rooms.Join {
		delete(c.invited, id)
		delete(c.knock, id)
		k.join(id, &room)
	}
	for _, e := range r.AccountData.Events {
		c.account["\x00"+e.Type] = string(e.Content)
	}
	k.messages(r)
	k.deviceLists(r)
}

// messages checks that no message to the device is missing, and that they come in
// order and once, unless the client has thrown its token away.
func (k *check) messages(r *response) {
	c := k.c
	for _, e := range r.ToDevice.Events {
		var content struct{ N int }
		if err := json.Unmarshal(e.Content, &content); err != nil {
			k.errorf("message: %v", err)
		}
		if content.N != c.message+1 && (!c.fresh || content.N > c.message) {
			k.errorf("message %d after %d", content.N, c.message)
		}
		c.message, c.fresh = content.N, false
	}
	if sent := k.w.sent[c.user+"/"+c.device]; len(r.ToDevice.Events) < 100 && len(r.ToDevice.Events) > 0 && c.message != sent {
		k.errorf("the last message is %d, %d were sent", c.message, sent)
	}
	c.fresh = false
	if r.Unused == nil || r.OneTime == nil {
		k.errorf("nothing about the device's keys")
	}
}

// messagesFirst checks that no event is told before a message to the device that was
// sent earlier.
func (k *check) messagesFirst(r *response) {
	told := int64(0)
	for _, room := range r.Rooms.Join {
		if room.Timeline == nil {
			continue
		}
		for _, e := range room.Timeline.Events {
			var pos int64
			if _, err := fmt.Sscanf(e.EventID, "$%d", &pos); err != nil {
				k.errorf("%s: %v", e.EventID, err)
			}
			told = max(told, pos)
		}
	}
	earlier := 0
	for _, at := range k.w.sentAt[k.c.user+"/"+k.c.device] {
		if at < told {
			earlier++
		}
	}
	if k.c.message < earlier {
		k.errorf("event $%d is told with message %d, but %d were sent before it", told, k.c.message, earlier)
	}
}

// deviceLists compares the device lists with what the model says of the two tokens.
func (k *check) deviceLists(r *response) {
	var changed, left []string
	if k.c.since != "" {
		changed, left = k.w.h.owners.DeviceLists(k.c.user, k.since.Room, k.since.User, k.now.Room, k.now.User)
	}
	if !slices.Equal(r.DeviceLists.Changed, changed) || !slices.Equal(r.DeviceLists.Left, left) {
		k.errorf("device lists: changed %v, left %v, want %v, %v", r.DeviceLists.Changed, r.DeviceLists.Left, changed, left)
	}
}

func (k *check) join(id string, room *joinedRoom) {
	joined := k.view.Joined[id]
	if joined == nil {
		k.errorf("%s is told as joined", id)
		return
	}
	mine := k.c.rooms[id]
	if mine == nil {
		mine = &clientRoom{state: map[string]string{}, receipts: map[string]string{}}
		k.c.rooms[id] = mine
	}
	newly := joined.Since > k.since.Room
	if newly && room.Timeline == nil {
		k.errorf("%s is new, but has no timeline", id)
	}
	k.timeline(id, room, joined, newly)
	lists := []*events{room.State, room.StateAfter}
	if !k.c.after && room.Timeline != nil {
		lists = append(lists, &events{room.Timeline.Events})
	}
	for _, list := range lists {
		if list == nil {
			continue
		}
		for _, e := range list.Events {
			if e.StateKey != nil {
				mine.state[e.Type+"\x00"+*e.StateKey] = e.EventID
			}
		}
	}
	k.ephemeral(mine, room)
	for _, e := range room.AccountData.Events {
		k.c.account[id+"\x00"+e.Type] = string(e.Content)
	}
	if k.c.lazy && room.Timeline != nil {
		for _, e := range room.Timeline.Events {
			if mine.state[memberType+"\x00"+e.Sender] == "" {
				k.errorf("the client does not know %s, who sent %s in %s", e.Sender, e.EventID, id)
			}
		}
	}
}

// timeline compares the timeline of an answer with what the user may see.
func (k *check) timeline(id string, room *joinedRoom, want *model.Room, newly bool) {
	var expect []string
	redacted := map[string]bool{}
	for _, e := range want.Timeline {
		if (newly || e.Pos > k.since.Room) && (!k.c.messages || e.Type == "m.room.message") {
			expect = append(expect, e.EventID)
			redacted[e.EventID] = e.RedactedBecause != nil
		}
	}
	limited := len(expect) > k.c.limit || newly && want.Hole > 0 || want.Hole > k.since.Room
	expect = expect[max(0, len(expect)-k.c.limit):]
	if room.Timeline == nil {
		if len(expect) > 0 {
			k.errorf("%s has no timeline, want %v", id, expect)
		}
		return
	}
	if got := ids(room.Timeline.Events); !slices.Equal(got, expect) {
		k.errorf("timeline of %s: got %v, want %v", id, got, expect)
	}
	if room.Timeline.Limited != limited {
		k.errorf("timeline of %s: limited is %v", id, room.Timeline.Limited)
	}
	for _, e := range room.Timeline.Events {
		if !k.lag && redacted[e.EventID] != (e.Unsigned.Redacted != nil) {
			k.errorf("%s in %s: redacted is %v", e.EventID, id, e.Unsigned.Redacted != nil)
		}
	}
}

func (k *check) ephemeral(mine *clientRoom, room *joinedRoom) {
	for _, e := range room.Ephemeral.Events {
		if e.Type != "m.receipt" {
			continue
		}
		var content map[string]map[string]map[string]struct {
			ThreadID string `json:"thread_id"`
		}
		if err := json.Unmarshal(e.Content, &content); err != nil {
			k.errorf("receipt: %v", err)
		}
		for event, kinds := range content {
			for kind, users := range kinds {
				for user, r := range users {
					if kind == core.PrivateReceipt && user != k.c.user {
						k.errorf("a private receipt of %s", user)
					}
					mine.receipts[user+"\x00"+kind+"\x00"+r.ThreadID] = event
				}
			}
		}
	}
}

// compare compares all that the client has added up with the model.
func (k *check) compare() {
	c := k.c
	same := func(what string, got, want []string) {
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			k.errorf("%s: got %v, want %v", what, got, want)
		}
	}
	same("joined rooms", slices.Collect(maps.Keys(c.rooms)), slices.Collect(maps.Keys(k.view.Joined)))
	same("invites", slices.Collect(maps.Keys(c.invited)), slices.Collect(maps.Keys(k.view.Invited)))
	same("knocks", slices.Collect(maps.Keys(c.knock)), slices.Collect(maps.Keys(k.view.Knocked)))
	for id, mine := range c.rooms {
		want := k.view.Joined[id]
		if want == nil {
			continue
		}
		for key, event := range want.State {
			member := strings.HasPrefix(key, memberType)
			switch {
			case mine.state[key] == event:
			case c.lazy && member && (mine.state[key] == "" || k.lag):
			default:
				k.errorf("state %q of %s: got %q, want %q", key, id, mine.state[key], event)
			}
		}
		if !k.lag {
			receipts := map[string]string{}
			for _, r := range want.Receipts {
				receipts[r.UserID+"\x00"+r.Kind+"\x00"+r.ThreadID] = r.EventID
			}
			if !maps.Equal(mine.receipts, receipts) {
				k.errorf("receipts of %s: got %q, want %q", id, mine.receipts, receipts)
			}
		}
	}
	for _, d := range k.view.Account {
		if d.RoomID != "" && k.view.Joined[d.RoomID] == nil {
			continue
		}
		if got := c.account[d.RoomID+"\x00"+d.Type]; got != string(d.Content) {
			k.errorf("account data %s of %q: got %s, want %s", d.Type, d.RoomID, got, d.Content)
		}
	}
}

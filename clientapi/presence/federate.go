package presence

import (
	"context"
	"strconv"
	"time"

	"hearth/clientapi/userapi"
	"hearth/federationapi/remoteapi"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

const (
	// remindEvery is how often other servers are told of who stays online, lest they
	// take the user for offline.
	remindEvery = 25 * time.Minute
	// toldAtOnce is how many users other servers are told of in one go.
	toldAtOnce = 200
)

// federate tells other servers of local users, until ctx ends. It may lose what it tells.
func (t *Tracker) federate(ctx context.Context) {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, p := range t.news() {
			t.tellServers(ctx, p)
		}
	}
}

// news takes users of whom other servers have to hear.
func (t *Tracker) news() []userapi.Presence {
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []userapi.Presence
	for id := range t.untold {
		if len(out) == toldAtOnce {
			break
		}
		delete(t.untold, id)
		if u := t.users[id]; u != nil {
			u.sent = now
			out = append(out, u.told)
		}
	}
	return out
}

// tellServers tells the servers that share a room with a user ("Presence").
func (t *Tracker) tellServers(ctx context.Context, p userapi.Presence) {
	servers, err := roomapi.ServersOf.Do(ctx, t.bus, &roomapi.ServersOfRequest{UserID: p.UserID})
	if err != nil || len(servers.Servers) == 0 {
		return
	}
	remoteapi.PresenceTopic.Publish(t.bus, &remoteapi.EDURequest{
		Destinations: servers.Servers, Type: "m.presence", Content: t.push(p), Key: p.UserID,
	})
}

// push is the content of the EDU.
func (t *Tracker) push(p userapi.Presence) []byte {
	dst := []byte(`{"push":[{"currently_active":`)
	dst = strconv.AppendBool(dst, p.CurrentlyActive)
	ago := int64(0)
	if p.LastActiveTS != 0 {
		ago = max(0, t.now().UnixMilli()-p.LastActiveTS)
	}
	dst = strconv.AppendInt(append(dst, `,"last_active_ago":`...), ago, 10)
	dst = pdu.AppendString(append(dst, `,"presence":`...), p.Presence)
	if p.StatusMsg != "" {
		dst = pdu.AppendString(append(dst, `,"status_msg":`...), p.StatusMsg)
	}
	dst = pdu.AppendString(append(dst, `,"user_id":`...), p.UserID)
	return append(dst, "}]}"...)
}

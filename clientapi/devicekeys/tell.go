package devicekeys

import (
	"context"
	"encoding/json"

	"golang.org/x/sync/errgroup"

	"hearth/clientapi/userapi"
	"hearth/federationapi/remoteapi"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// Federate tells other servers of changes of our users' devices, notices when theirs are
// told to us no longer, and fetches their lists, until ctx ends.
func (k *Keys) Federate(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	tell := &follower[userapi.Entry]{keys: k, log: userapi.Log, name: "tell device lists", apply: k.tell}
	leave := &follower[roomapi.Entry]{keys: k, log: roomapi.Log, name: "distrust device lists", apply: k.notice}
	group.Go(func() error { return tell.run(ctx) })
	group.Go(func() error { return leave.run(ctx) })
	group.Go(func() error { return k.Resync(ctx) })
	return group.Wait()
}

// tell queues an EDU for the servers that share a room with a user whose devices have
// changed (server-server API, "Device Management").
func (k *Keys) tell(ctx context.Context, pos int64, e *userapi.Entry) (did bool, err error) {
	if e.Kind != userapi.KindDeviceList || pdu.Domain(e.UserID) != k.serverName {
		return false, nil
	}
	hosts, err := roomapi.ServersOf.Do(ctx, k.bus, &roomapi.ServersOfRequest{UserID: e.UserID})
	if err != nil || len(hosts.Servers) == 0 {
		return false, err
	}
	kind, content, err := k.edu(ctx, pos, e)
	if err != nil || content == nil {
		return false, err
	}
	_, err = remoteapi.QueueEDU.Do(ctx, k.bus, &remoteapi.EDURequest{Destinations: hosts.Servers, Type: kind, Content: content})
	if err != nil && !merr.From(err).Temporary { // it will be no better the next time
		if k.log != nil {
			k.log.WithError(err).WithField("user_id", e.UserID).Error("other servers are not told of a changed device")
		}
		err = nil
	}
	return true, err
}

// edu writes what is told of a change.
func (k *Keys) edu(ctx context.Context, pos int64, e *userapi.Entry) (kind string, content json.RawMessage, err error) {
	localpart, _ := k.localpart(e.UserID)
	found, err := k.users.Identities(ctx, "", []string{localpart})
	if err != nil {
		return "", nil, err
	}
	out := map[string]any{"user_id": e.UserID}
	if e.DeviceID == "" {
		for _, p := range k.appendParts(nil, localpart, "", found[localpart]) {
			switch p.Part {
			case userapi.MasterPart:
				out["master_key"] = p.Keys
			case userapi.SelfSigningPart:
				out["self_signing_key"] = p.Keys
			}
		}
		content, err = json.Marshal(out)
		return "m.signing_key_update", content, err
	}
	prev := []int64{}
	if e.Prev > 0 {
		prev = append(prev, e.Prev)
	}
	out["device_id"], out["stream_id"], out["prev_id"], out["deleted"] = e.DeviceID, pos, prev, e.Gone
	for _, p := range k.appendParts(nil, localpart, "", only(found[localpart], []string{e.DeviceID})) {
		if p.Part != userapi.DeviceKeysPart || e.Gone {
			continue
		}
		unsigned, _ := pdu.Get(p.Keys, "unsigned")
		if name, ok := pdu.GetString(unsigned, "device_display_name"); ok {
			out["device_display_name"] = name
		}
		out["keys"] = p.Keys
	}
	if out["keys"] == nil { // it is gone by now, which another entry tells too
		out["deleted"] = true
	}
	content, err = json.Marshal(out)
	return "m.device_list_update", content, err
}

// notice makes lists stale of users with whom no room may be shared any longer: until one
// is, nothing is told of their changes.
func (k *Keys) notice(ctx context.Context, _ int64, e *roomapi.Entry) (did bool, err error) {
	if e.Reset {
		return k.distrustRoom(ctx, e.RoomID)
	}
	var gone []string
	ours := false
	left := func(user, membership string) {
		_, domain, err := pdu.ParseUserID(user)
		switch {
		case err != nil || membership == "join":
		case domain == k.serverName:
			ours = true
		default:
			gone = append(gone, user)
		}
	}
	for _, event := range append(e.State[:len(e.State):len(e.State)], e.Event) {
		if event != nil && event.Type == "m.room.member" && event.StateKey != nil && event.Membership != "invite" && event.Membership != "knock" {
			left(*event.StateKey, event.Membership)
		}
	}
	for _, key := range e.Gone {
		if key.Type == "m.room.member" {
			left(key.StateKey, "")
		}
	}
	if len(gone) > 0 {
		did = true
		if err := k.users.DistrustRemoteLists(ctx, gone); err != nil {
			return did, err
		}
		k.ring()
	}
	if !ours {
		return did, nil
	}
	locals, err := roomapi.LocalMembers.Do(ctx, k.bus, &roomapi.LocalMembersRequest{RoomID: e.RoomID})
	if err != nil || len(locals.UserIDs) > 0 {
		return did, err
	}
	return k.distrustRoom(ctx, e.RoomID)
}

// distrustRoom makes the lists stale of the users of all servers in a room.
func (k *Keys) distrustRoom(ctx context.Context, room string) (did bool, err error) {
	hosts, err := roomapi.Hosts.Do(ctx, k.bus, &roomapi.HostsRequest{RoomID: room})
	if err != nil || len(hosts.Servers) == 0 {
		return false, err
	}
	defer k.ring()
	return true, k.users.DistrustServers(ctx, hosts.Servers)
}

package clientapi

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"hearth/clientapi/userapi"
	"hearth/federationapi/remoteapi"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// askedAtOnce is how many other servers are asked at the same time for one request.
const askedAtOnce = 32

// keyAsk is what the server of a user is asked for.
type keyAsk struct {
	devices []string           // that are wanted; none: all
	signed  json.RawMessage    // signatures of the viewer, by key
	spare   []*userapi.KeyPart // for when it does not answer
}

// keyAsks are by server and user.
type keyAsks map[string]map[string]*keyAsk

func (a keyAsks) of(user string) *keyAsk { return a[pdu.Domain(user)][user] }

func (a keyAsks) add(p *userapi.KeyPart, devices []string) {
	server := pdu.Domain(p.UserID)
	if a[server] == nil {
		a[server] = map[string]*keyAsk{}
	}
	a[server][p.UserID] = &keyAsk{devices: append([]string{}, devices...), signed: p.Keys}
}

// askForKeys asks other servers and adds their answers, or else what is known of old.
func (s *Server) askForKeys(ctx context.Context, viewer string, asks keyAsks, timeout int64, answer *keyAnswer) map[string]*merr.Error {
	failures := map[string]*merr.Error{}
	if len(asks) == 0 {
		return failures
	}
	s.trackPeers(ctx, viewer, asks)
	var mu sync.Mutex // guards answer and failures
	s.eachServer(slices.Collect(maps.Keys(asks)), func(server string) {
		wanted := map[string][]string{}
		for user, ask := range asks[server] {
			wanted[user] = ask.devices
		}
		keys, err := json.Marshal(wanted)
		var got *remoteapi.Object
		if err == nil {
			got, err = remoteapi.QueryKeys.Do(ctx, s.bus, &remoteapi.KeysRequest{Destination: server, Keys: keys, TimeoutMS: timeout})
		}
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			failures[server] = failure(server, err)
			for _, ask := range asks[server] {
				for _, p := range ask.spare {
					answer.add(p)
				}
			}
			return
		}
		addAnswer(answer, got.JSON, asks[server])
	})
	return failures
}

// eachServer runs f for servers, some at the same time.
func (s *Server) eachServer(servers []string, f func(server string)) {
	var group errgroup.Group
	group.SetLimit(askedAtOnce)
	for _, server := range servers {
		group.Go(func() error { f(server); return nil })
	}
	_ = group.Wait() // has no errors
}

// trackPeers begins to keep the lists of those who share an encrypted room with the
// viewer, before they are asked for: what changes from now on will be told.
func (s *Server) trackPeers(ctx context.Context, viewer string, asks keyAsks) {
	var candidates []string
	for _, users := range asks {
		candidates = slices.AppendSeq(candidates, maps.Keys(users))
	}
	peers, err := roomapi.ReadPeers(ctx, s.bus, &roomapi.PeersRequest{UserID: viewer, Candidates: candidates})
	if err == nil {
		for some := range slices.Chunk(peers.Shared, userapi.MaxUsersAtOnce) {
			if _, err = userapi.TrackDeviceLists.Do(ctx, s.bus, &userapi.UsersRequest{UserIDs: some}); err != nil {
				break
			}
		}
	}
	if err != nil { // then they are asked for again the next time
		s.options.Log.WithError(err).Debug("device lists of other servers are not kept")
	}
}

// addAnswer adds what another server has answered to POST /user/keys/query.
func addAnswer(answer *keyAnswer, body []byte, asked map[string]*keyAsk) {
	all, _ := pdu.Get(body, "device_keys")
	pdu.Members(all, func(user string, devices []byte) bool {
		if asked[user] == nil {
			return true
		}
		answer.user(user)
		pdu.Members(devices, func(device string, keys []byte) bool {
			answer.add(&userapi.KeyPart{Part: userapi.DeviceKeysPart, UserID: user, DeviceID: device, Keys: keys})
			return true
		})
		return true
	})
	for name, part := range map[string]int{"master_keys": userapi.MasterPart, "self_signing_keys": userapi.SelfSigningPart} {
		all, _ := pdu.Get(body, name)
		pdu.Members(all, func(user string, keys []byte) bool {
			if asked[user] != nil {
				answer.add(&userapi.KeyPart{Part: part, UserID: user, Keys: withSignatures(keys, asked[user].signed)})
			}
			return true
		})
	}
}

// withSignatures adds the signatures of the viewer to a cross-signing key.
func withSignatures(keys, signed []byte) []byte {
	names, _ := pdu.Get(keys, "keys")
	pdu.Members(names, func(_ string, public []byte) bool {
		id, _ := pdu.String(public)
		mine, _ := pdu.Get(signed, id)
		mine, ok := pdu.Get(mine, "signatures")
		if !ok {
			return true
		}
		all, ok := pdu.Get(keys, "signatures")
		if !ok {
			all = []byte("{}")
		}
		pdu.Members(mine, func(user string, signatures []byte) bool {
			all, _ = pdu.Set(all, user, signatures)
			return true
		})
		keys, _ = pdu.Set(keys, "signatures", all)
		return true
	})
	return keys
}

// failure is what is told of a server that did not answer.
func failure(server string, err error) *merr.Error {
	if e := merr.From(err); e.Status < 500 {
		return e
	}
	return unreachable(server)
}

// claimElsewhere claims keys of other servers.
func (s *Server) claimElsewhere(ctx context.Context, servers map[string]map[string]map[string]string, timeout int64,
	keys map[string]map[string]json.RawMessage) map[string]*merr.Error {
	failures := map[string]*merr.Error{}
	var mu sync.Mutex // guards keys and failures
	s.eachServer(slices.Collect(maps.Keys(servers)), func(server string) {
		users := servers[server]
		wanted, err := json.Marshal(users)
		var got *remoteapi.Object
		if err == nil {
			got, err = remoteapi.ClaimKeys.Do(ctx, s.bus, &remoteapi.KeysRequest{Destination: server, Keys: wanted, TimeoutMS: timeout})
		}
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			failures[server] = failure(server, err)
			return
		}
		all, _ := pdu.Get(got.JSON, "one_time_keys")
		pdu.Members(all, func(user string, devices []byte) bool {
			pdu.Members(devices, func(device string, key []byte) bool {
				if _, asked := users[user][device]; asked {
					if keys[user] == nil {
						keys[user] = map[string]json.RawMessage{}
					}
					keys[user][device] = key
				}
				return true
			})
			return true
		})
	})
	return failures
}

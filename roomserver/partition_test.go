package roomserver

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"hearth/federationapi/remoteapi"
	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/internal/pduwire"
	"hearth/roomserver/roomapi"
)

// partitioned is a network whose links are cut and healed. What a server sends over a cut
// link is lost, as if the other one had been away for long: only what it sends later lets
// the other know.
type partitioned struct {
	*network
	cut  map[string]bool // by linkName
	rand *rand.Rand
	room string
}

func linkName(a, b string) string {
	if a > b {
		a, b = b, a
	}
	return a + " " + b
}

// link finds a server that another one wants to reach.
func (p *partitioned) link(from, to string) (*fixture, error) {
	p.mu.Lock()
	cut := p.cut[linkName(from, to)]
	p.mu.Unlock()
	if cut {
		return nil, merr.Unavailable("cut off")
	}
	return p.to(from, to)
}

// bridge lets a server ask the others what PDUs wait for.
func (p *partitioned) bridge(name string, b *bus.Bus) {
	p.t.Helper()
	for _, err := range []error{
		bus.Handle(b, remoteapi.MissingEvents, func(ctx context.Context, req *remoteapi.MissingRequest) (*remoteapi.PDUs, error) {
			to, err := p.link(name, req.Destination)
			if err != nil {
				return nil, err
			}
			return read(ctx, to, roomapi.FederationMissing, &roomapi.FederationMissingRequest{
				Origin: name, RoomID: req.RoomID, Earliest: req.Earliest, Latest: req.Latest, Limit: req.Limit,
			})
		}),
		bus.Handle(b, remoteapi.Backfill, func(ctx context.Context, req *remoteapi.BackfillRequest) (*remoteapi.PDUs, error) {
			to, err := p.link(name, req.Destination)
			if err != nil {
				return nil, err
			}
			return read(ctx, to, roomapi.FederationBackfill, &roomapi.FederationBackfillRequest{Origin: name, RoomID: req.RoomID, From: req.From, Limit: req.Limit})
		}),
		bus.Handle(b, remoteapi.StateIDs, func(ctx context.Context, req *remoteapi.StateIDsRequest) (*remoteapi.StateIDsResponse, error) {
			var body struct {
				State []string `json:"pdu_ids"`
				Chain []string `json:"auth_chain_ids"`
			}
			err := p.body(ctx, name, req.Destination, &body, func(to *fixture, recv func([]byte) error) error {
				return roomapi.FederationState.Do(ctx, to.bus, &roomapi.FederationStateRequest{Origin: name, RoomID: req.RoomID, EventID: req.EventID, IDs: true}, recv)
			})
			return &remoteapi.StateIDsResponse{State: body.State, AuthChain: body.Chain}, err
		}),
		bus.HandleStream(b, remoteapi.EventAuth, func(ctx context.Context, req *remoteapi.EventAuthRequest, send func([]byte) error) error {
			var body struct {
				Chain []json.RawMessage `json:"auth_chain"`
			}
			err := p.body(ctx, name, req.Destination, &body, func(to *fixture, recv func([]byte) error) error {
				return roomapi.FederationEventAuth.Do(ctx, to.bus, &roomapi.FederationEventRequest{Origin: name, RoomID: req.RoomID, EventID: req.EventID}, recv)
			})
			if err != nil {
				return err
			}
			return write(req.RoomVersion, body.Chain, send)
		}),
		bus.HandleStream(b, remoteapi.Events, func(ctx context.Context, req *remoteapi.EventsRequest, send func([]byte) error) error {
			to, err := p.link(name, req.Destination)
			if err != nil {
				return err
			}
			w := pduwire.NewWriter(send)
			for _, id := range req.EventIDs {
				if e, err := roomapi.FederationEvent.Do(ctx, to.bus, &roomapi.FederationEventRequest{Origin: name, RoomID: req.RoomID, EventID: id}); err == nil {
					if err := w.Write(0, *e); err != nil {
						return err
					}
				}
			}
			return w.Flush()
		}),
	} {
		if err != nil {
			p.t.Fatal(err)
		}
	}
}

func read[Req any](ctx context.Context, to *fixture, s bus.Stream[Req], req *Req) (*remoteapi.PDUs, error) {
	out := &remoteapi.PDUs{}
	return out, s.Do(ctx, to.bus, req, func(chunk []byte) error {
		return pduwire.Read(chunk, func(_ byte, e pduwire.PDU) error { out.Events = append(out.Events, e); return nil })
	})
}

func write(version string, list []json.RawMessage, send func([]byte) error) error {
	v, _ := pdu.Version(version)
	w := pduwire.NewWriter(send)
	for _, raw := range list {
		ev, err := pdu.Parse(v, raw)
		if err != nil {
			return err
		}
		if err := w.Write(0, pduwire.Of(ev)); err != nil {
			return err
		}
	}
	return w.Flush()
}

func (p *partitioned) body(_ context.Context, from, to string, into any, ask func(to *fixture, recv func([]byte) error) error) error {
	f, err := p.link(from, to)
	if err != nil {
		return err
	}
	var body []byte
	if err := ask(f, func(chunk []byte) error { body = append(body, chunk...); return nil }); err != nil {
		return err
	}
	return json.Unmarshal(body, into)
}

// send delivers what a server has to send, over the links that are there; some of it in
// another order.
func (p *partitioned) send(name string) {
	p.t.Helper()
	f := p.servers[name]
	for {
		entries, head, err := f.s.readLog(p.t.Context(), p.told[name], 100)
		if err != nil {
			p.t.Fatal(err)
		}
		var positions []int64
		for _, e := range entries {
			if e.Entry.Federate && e.Entry.Event != nil {
				positions = append(positions, e.Pos)
			}
			p.told[name] = e.Pos
		}
		if len(positions) > 0 {
			events := do(f, roomapi.Outgoing, roomapi.OutgoingRequest{Positions: positions}).Events
			if p.rand.IntN(3) == 0 {
				p.rand.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
			}
			for _, e := range events {
				for _, host := range e.Hosts {
					if to, err := p.link(name, host); err == nil {
						p.hand(name, to, e.RoomID, e.PDU)
					}
				}
			}
		}
		if p.told[name] >= head {
			return
		}
	}
}

func (p *partitioned) hand(from string, to *fixture, room string, e pduwire.PDU) {
	p.t.Helper()
	_, err := roomapi.Receive.Do(p.t.Context(), to.bus, &roomapi.ReceiveRequest{Origin: from, RoomID: room, PDUs: []pduwire.PDU{e}})
	if err != nil {
		p.t.Fatalf("receive from %s: %v", from, err)
	}
}

// act lets a user do something; that they may not is no matter.
func (p *partitioned) act(name string, users []string) {
	f := p.servers[name]
	own := slices.DeleteFunc(slices.Clone(users), func(u string) bool { return pdu.Domain(u) != name })
	user := own[p.rand.IntN(len(own))]
	other := users[p.rand.IntN(len(users))]
	set := func(typ, key string, content any) {
		body, _ := json.Marshal(content)
		roomapi.Send.Do(p.t.Context(), f.bus, &roomapi.SendRequest{RoomID: p.room, Sender: user, Type: typ, StateKey: &key, Content: body})
	}
	member := &roomapi.MembershipRequest{RoomID: p.room, Sender: user, Target: other}
	switch p.rand.IntN(12) {
	case 0, 1, 2:
		set("m.room.topic", "", map[string]any{"topic": fmt.Sprint(p.rand.Int())})
	case 3:
		set("m.room.name", "", map[string]any{"name": fmt.Sprint(p.rand.Int())})
	case 4:
		levels := map[string]any{"users": map[string]int{}, "state_default": 10, "events_default": p.rand.IntN(2) * 5}
		for _, u := range users {
			levels["users"].(map[string]int)[u] = []int{100, 50, 50, 50}[p.rand.IntN(4)]
		}
		levels["users"].(map[string]int)[users[0]] = 100
		set("m.room.power_levels", "", levels)
	case 5:
		roomapi.Ban.Do(p.t.Context(), f.bus, member)
	case 6:
		roomapi.Unban.Do(p.t.Context(), f.bus, member)
	case 7:
		roomapi.Kick.Do(p.t.Context(), f.bus, member)
	case 8:
		roomapi.Join.Do(p.t.Context(), f.bus, &roomapi.JoinRequest{RoomIDOrAlias: p.room, UserID: user})
	case 9:
		set(memberType, user, map[string]any{"membership": "join", "displayname": fmt.Sprint(p.rand.Int())})
	default:
		roomapi.Send.Do(p.t.Context(), f.bus, &roomapi.SendRequest{RoomID: p.room, Sender: user, Type: "m.room.message", Content: []byte(`{"body":"hi","msgtype":"m.text"}`)})
	}
}

// TestPartitions cuts three servers from one another in turns while their users change the
// room's state, and heals them: all must come to the same state. The first user of each server
// is never put out, so that no server leaves.
func TestPartitions(t *testing.T) {
	for seed, version := range []string{"6", "10", "11", "12"} {
		t.Run("v"+version, func(t *testing.T) { testPartitions(t, uint64(seed), version) })
	}
}

func testPartitions(t *testing.T, seed uint64, version string) {
	names := []string{"a.example", "b.example", "c.example"}
	p := &partitioned{network: newNetwork(t, names...), cut: map[string]bool{}, rand: rand.New(rand.NewPCG(seed, 7))}
	for _, name := range names {
		p.bridge(name, p.servers[name].bus)
	}
	keepers := []string{"@root:a.example", "@keeper:b.example", "@keeper:c.example"}
	p.room = do(p.servers["a.example"], roomapi.Create, roomapi.CreateRequest{Creator: keepers[0], RoomVersion: version, Preset: "public_chat"}).RoomID
	var users []string
	for i, name := range names {
		for _, user := range []string{keepers[i], "@one:" + name, "@two:" + name} {
			if user != keepers[0] {
				do(p.servers[name], roomapi.Join, roomapi.JoinRequest{RoomIDOrAlias: p.room, UserID: user, Via: []string{"a.example"}})
			}
			if user != keepers[i] {
				users = append(users, user)
			}
			for _, from := range names {
				p.send(from)
			}
		}
	}
	levels := map[string]int{}
	for _, user := range append(slices.Clone(users), keepers[1:]...) {
		levels[user] = 50
	}
	for _, user := range keepers[1:] {
		levels[user] = 100
	}
	if version != "12" {
		levels[keepers[0]] = 100
	}
	content, _ := json.Marshal(map[string]any{"users": levels, "state_default": 10})
	p.servers["a.example"].state(p.room, keepers[0], "m.room.power_levels", "", string(content))
	p.send("a.example")
	for round := range 4 {
		for i, a := range names {
			for _, b := range names[i+1:] {
				p.mu.Lock()
				p.cut[linkName(a, b)] = p.rand.IntN(3) != 0
				p.mu.Unlock()
			}
		}
		for range 30 {
			name := names[p.rand.IntN(len(names))]
			p.act(name, users)
			if p.rand.IntN(2) == 0 {
				p.send(name)
			}
		}
		for _, name := range names {
			p.send(name)
		}
		p.mu.Lock()
		clear(p.cut)
		p.mu.Unlock()
		p.heal(round, names, keepers)
	}
}

// heal lets each server say something and waits until all have the same state.
func (p *partitioned) heal(round int, names, keepers []string) {
	p.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	var states []map[string]string
	for turn := 0; ; turn++ {
		for i, name := range names {
			p.servers[name].send(p.room, keepers[i], fmt.Sprint("heal ", round, " ", turn), "I am back")
			p.send(name)
		}
		for _, name := range names {
			for p.servers[name].s.inbox.holds(p.room) && time.Now().Before(deadline) {
				time.Sleep(5 * time.Millisecond)
				p.servers[name].s.inbox.wake(p.room)
			}
		}
		states = nil
		for i, name := range names {
			states = append(states, p.stateOf(name, p.room, keepers[i]))
		}
		if turn > 0 && maps.Equal(states[0], states[1]) && maps.Equal(states[0], states[2]) {
			return
		}
		if turn > 5 || time.Now().After(deadline) {
			break
		}
	}
	for key := range states[0] {
		if states[0][key] != states[1][key] || states[0][key] != states[2][key] {
			p.t.Errorf("round %d: %s is %s, %s, %s", round, key, states[0][key], states[1][key], states[2][key])
		}
	}
	p.t.Fatalf("round %d: the states have %d, %d and %d entries", round, len(states[0]), len(states[1]), len(states[2]))
}

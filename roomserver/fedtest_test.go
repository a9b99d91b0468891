package roomserver

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"hash/fnv"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"hearth/clientapi/userapi"
	"hearth/federationapi/remoteapi"
	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/internal/pduwire"
	"hearth/roomserver/roomapi"
)

// network is several roomservers in one process, each on its own bus. What one asks of
// another through remoteapi reaches the other's roomserver directly.
type network struct {
	t       *testing.T
	servers map[string]*fixture
	told    map[string]int64 // how much of a server's log has been delivered

	mu sync.Mutex
	// Hooks may change what a server answers; nil: nothing is changed.
	template func(*remoteapi.MakeResponse)
	answer   func(head *remoteapi.JoinHeader, state, auth []*pdu.Event) (s, a []*pdu.Event)
	signed   func(*remoteapi.InviteResponse)
	down     map[string]bool
	asked    []string // destinations of make calls
}

func newNetwork(t *testing.T, names ...string) *network {
	n := &network{t: t, servers: map[string]*fixture{}, told: map[string]int64{}, down: map[string]bool{}}
	for _, name := range names {
		n.servers[name] = n.start(name)
	}
	return n
}

func (n *network) start(name string) *fixture {
	n.t.Helper()
	log := logrus.New()
	log.SetLevel(logrus.ErrorLevel)
	f := &fixture{t: n.t, dir: n.t.TempDir(), local: true}
	var err error
	if f.bus, err = bus.Connect(n.t.Context(), bus.Options{Local: true, Log: logrus.NewEntry(log)}); err != nil {
		n.t.Fatal(err)
	}
	n.handle(name, f.bus)
	h := fnv.New128()
	h.Write([]byte(name))
	f.s, err = New(n.t.Context(), Deps{
		Bus: f.bus, ServerName: name, DataDir: f.dir, Log: logrus.NewEntry(log), Now: time.Now,
		Key: pdu.Signer{ServerName: name, KeyID: "ed25519:1", Key: ed25519.NewKeyFromSeed(append(h.Sum(nil), h.Sum(nil)...))},
	})
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() { f.s.Run(ctx); close(stopped) }()
	f.stop = sync.OnceFunc(func() {
		cancel()
		<-stopped
		if err := f.s.Close(); err != nil {
			n.t.Errorf("close: %v", err)
		}
		f.bus.Close()
	})
	n.t.Cleanup(func() { f.stop() })
	return f
}

// to finds the server that a request of from goes to: 502 if it is not there.
func (n *network) to(from, name string) (*fixture, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f := n.servers[name]
	if f == nil || name == from || n.down[name] {
		return nil, merr.New(502, "M_UNKNOWN", "%s cannot be reached", name)
	}
	return f, nil
}

// handle registers what federationapi does for a server.
func (n *network) handle(name string, b *bus.Bus) {
	n.t.Helper()
	for _, err := range []error{
		bus.Handle(b, userapi.GetUser, func(_ context.Context, req *userapi.UserRequest) (*userapi.User, error) {
			if req.UserID == "@nobody:"+name {
				return nil, merr.NotFound("No such user")
			}
			return &userapi.User{UserID: req.UserID}, nil
		}),
		bus.Handle(b, userapi.MayInvite, func(_ context.Context, req *userapi.MayInviteRequest) (*userapi.MayInviteResponse, error) {
			if id, _ := pdu.GetString(req.Event, "event_id"); id == "" || req.Inviter == "" || req.RoomID == "" {
				return nil, merr.InvalidParam("Not an invite of another server")
			}
			if req.Invitee == "@shy:"+name {
				return nil, merr.New(403, "M_INVITE_BLOCKED", "The user wants no invitations")
			}
			return &userapi.MayInviteResponse{Hidden: req.Invitee == "@deaf:"+name}, nil
		}),
		bus.Handle(b, remoteapi.MakeMembership, func(ctx context.Context, req *remoteapi.MakeRequest) (*remoteapi.MakeResponse, error) {
			return n.make(ctx, name, req)
		}),
		bus.HandleStream(b, remoteapi.SendJoin, func(ctx context.Context, req *remoteapi.SendJoinRequest, send func([]byte) error) error {
			return n.sendJoin(ctx, name, req, send)
		}),
		bus.Handle(b, remoteapi.SendMembership, func(ctx context.Context, req *remoteapi.SendRequest) (*remoteapi.SendResponse, error) {
			to, err := n.to(name, req.Destination)
			if err != nil {
				return nil, err
			}
			resp, err := roomapi.AcceptMembership.Do(ctx, to.bus, &roomapi.AcceptRequest{Origin: name, RoomID: req.RoomID, Membership: req.Membership, Event: req.Event})
			if err != nil {
				return nil, err
			}
			return &remoteapi.SendResponse{StrippedState: resp.StrippedState}, nil
		}),
		bus.Handle(b, remoteapi.SendInvite, func(ctx context.Context, req *remoteapi.InviteRequest) (*remoteapi.InviteResponse, error) {
			to, err := n.to(name, req.Destination)
			if err != nil {
				return nil, err
			}
			resp, err := roomapi.AcceptInvite.Do(ctx, to.bus, &roomapi.AcceptInviteRequest{
				Origin: name, RoomID: req.RoomID, RoomVersion: req.RoomVersion, Event: req.Event, State: req.State,
			})
			if err != nil {
				return nil, err
			}
			out := &remoteapi.InviteResponse{Event: resp.Event}
			if n.signed != nil {
				n.signed(out)
			}
			return out, nil
		}),
		bus.Handle(b, remoteapi.ResolveAlias, func(ctx context.Context, req *remoteapi.AliasRequest) (*remoteapi.AliasResponse, error) {
			to, err := n.to(name, pdu.Domain(req.Alias))
			if err != nil {
				return nil, err
			}
			resp, err := roomapi.ResolveAlias.Do(ctx, to.bus, &roomapi.AliasRequest{Alias: req.Alias})
			if err != nil {
				return nil, err
			}
			return &remoteapi.AliasResponse{RoomID: resp.RoomID, Servers: resp.Servers}, nil
		}),
	} {
		if err != nil {
			n.t.Fatal(err)
		}
	}
}

func (n *network) make(ctx context.Context, from string, req *remoteapi.MakeRequest) (*remoteapi.MakeResponse, error) {
	err := error(merr.NotFound("no destination"))
	for _, dest := range req.Destinations {
		n.mu.Lock()
		n.asked = append(n.asked, dest)
		n.mu.Unlock()
		var to *fixture
		if to, err = n.to(from, dest); err != nil {
			continue
		}
		var resp *roomapi.MakeMembershipResponse
		resp, err = roomapi.MakeMembership.Do(ctx, to.bus, &roomapi.MakeMembershipRequest{
			Origin: from, RoomID: req.RoomID, UserID: req.UserID, Membership: req.Membership, Versions: req.Versions,
		})
		if err != nil {
			continue
		}
		out := &remoteapi.MakeResponse{Destination: dest, RoomVersion: resp.RoomVersion, Event: resp.Event}
		if n.template != nil {
			n.template(out)
		}
		return out, nil
	}
	return nil, err
}

func (n *network) sendJoin(ctx context.Context, from string, req *remoteapi.SendJoinRequest, send func([]byte) error) error {
	to, err := n.to(from, req.Destination)
	if err != nil {
		return err
	}
	var body []byte
	err = roomapi.AcceptJoin.Do(ctx, to.bus, &roomapi.AcceptRequest{
		Origin: from, RoomID: req.RoomID, Membership: "join", Event: req.Event, OmitMembers: req.OmitMembers,
	}, func(chunk []byte) error { body = append(body, chunk...); return nil })
	if err != nil {
		return err
	}
	var given struct {
		State   []json.RawMessage `json:"state"`
		Chain   []json.RawMessage `json:"auth_chain"`
		Event   json.RawMessage   `json:"event"`
		Omitted bool              `json:"members_omitted"`
		Servers []string          `json:"servers_in_room"`
	}
	if err := json.Unmarshal(body, &given); err != nil {
		return err
	}
	v, _ := pdu.Version(req.RoomVersion)
	parse := func(list []json.RawMessage) (events []*pdu.Event) {
		for _, raw := range list {
			ev, err := pdu.Parse(v, raw)
			if err != nil {
				n.t.Errorf("send_join: %v", err)
				continue
			}
			events = append(events, ev)
		}
		return events
	}
	state, chain := parse(given.State), parse(given.Chain)
	join := parse([]json.RawMessage{given.Event})
	head := &remoteapi.JoinHeader{Event: pduwire.Of(join[0]), MembersOmitted: given.Omitted, ServersInRoom: given.Servers}
	if n.answer != nil {
		state, chain = n.answer(head, state, chain)
	}
	w := remoteapi.NewJoinWriter(send)
	if err := w.Head(head); err != nil {
		return err
	}
	for _, ev := range state {
		if err := w.State(pduwire.Of(ev)); err != nil {
			return err
		}
	}
	for _, ev := range chain {
		if err := w.Auth(pduwire.Of(ev)); err != nil {
			return err
		}
	}
	return w.Flush()
}

// deliver sends what the servers have to send to one another, until nothing is left.
func (n *network) deliver() {
	n.t.Helper()
	for moved := true; moved; {
		moved = false
		for name, f := range n.servers {
			moved = n.deliverFrom(name, f) || moved
		}
	}
}

func (n *network) deliverFrom(name string, f *fixture) (moved bool) {
	n.t.Helper()
	entries, head, err := f.s.readLog(n.t.Context(), n.told[name], 100)
	if err != nil {
		n.t.Fatal(err)
	}
	var positions []int64
	for _, e := range entries {
		if e.Entry.Federate && e.Entry.Event != nil {
			positions = append(positions, e.Pos)
		}
		n.told[name] = e.Pos
	}
	if len(positions) == 0 {
		return n.told[name] < head
	}
	for _, e := range do(f, roomapi.Outgoing, roomapi.OutgoingRequest{Positions: positions}).Events {
		for _, host := range e.Hosts {
			to, err := n.to(name, host)
			if err != nil {
				continue
			}
			resp, err := roomapi.Receive.Do(n.t.Context(), to.bus, &roomapi.ReceiveRequest{Origin: name, RoomID: e.RoomID, PDUs: []pduwire.PDU{e.PDU}})
			if err == nil && len(resp.Errors) > 0 {
				n.t.Logf("%s → %s: %v", name, host, resp.Errors)
			}
		}
	}
	return true
}

// membership is a user's membership as a server has it.
func (n *network) membership(server, room, user string) string {
	n.t.Helper()
	for _, m := range do(n.servers[server], roomapi.Memberships, roomapi.MembershipsRequest{UserID: user}).Rooms {
		if m.RoomID == room {
			return m.Membership
		}
	}
	return ""
}

// stateOf lists a room's state as a user sees it, by type and key.
func (n *network) stateOf(server, room, user string) map[string]string {
	n.t.Helper()
	out := map[string]string{}
	f := n.servers[server]
	err := roomapi.ReadEvents(n.t.Context(), f.bus, &roomapi.StateRequest{RoomID: room, UserID: user}, func(e *roomapi.Event) error {
		out[e.Type+"|"+*e.StateKey] = e.EventID
		return nil
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return out
}

// handleSpaces lets a server ask the others about spaces.
func (n *network) handleSpaces(name string) {
	n.t.Helper()
	err := bus.Handle(n.servers[name].bus, remoteapi.Hierarchy, func(ctx context.Context, req *remoteapi.HierarchyRequest) (*remoteapi.HierarchyResponse, error) {
		err := error(merr.NotFound("no destination"))
		for _, dest := range req.Destinations {
			n.mu.Lock()
			n.asked = append(n.asked, dest+" "+req.RoomID)
			n.mu.Unlock()
			var to *fixture
			if to, err = n.to(name, dest); err != nil {
				continue
			}
			var resp *roomapi.FederationHierarchyResponse
			if resp, err = roomapi.FederationHierarchy.Do(ctx, to.bus, &roomapi.FederationHierarchyRequest{Origin: name, RoomID: req.RoomID, SuggestedOnly: req.SuggestedOnly}); err != nil {
				continue
			}
			var body struct {
				Room         json.RawMessage   `json:"room"`
				Children     []json.RawMessage `json:"children"`
				Inaccessible []string          `json:"inaccessible_children"`
			}
			if err = json.Unmarshal(resp.Body, &body); err == nil {
				return &remoteapi.HierarchyResponse{Room: body.Room, Children: body.Children, Inaccessible: body.Inaccessible}, nil
			}
		}
		return nil, err
	})
	if err != nil {
		n.t.Fatal(err)
	}
}

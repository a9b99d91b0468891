package roomserver

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"hearth/federationapi/remoteapi"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/internal/pduwire"
	"hearth/roomserver/roomapi"
)

// edited changes members of a template.
func edited(changes map[string]any) func(*remoteapi.MakeResponse) {
	return func(r *remoteapi.MakeResponse) {
		var event map[string]any
		if json.Unmarshal(r.Event, &event) != nil {
			return
		}
		for key, value := range changes {
			if value == nil {
				delete(event, key)
			} else {
				event[key] = value
			}
		}
		r.Event, _ = json.Marshal(event)
	}
}

func TestHostileTemplates(t *testing.T) {
	many := slices.Repeat([]any{"$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}, 30)
	for name, hook := range map[string]func(*remoteapi.MakeResponse){
		"another room":       edited(map[string]any{"room_id": "!other:a.example"}),
		"another sender":     edited(map[string]any{"sender": bea}),
		"another state key":  edited(map[string]any{"state_key": bea}),
		"another type":       edited(map[string]any{"type": "m.room.message"}),
		"another membership": edited(map[string]any{"content": map[string]any{"membership": "leave"}}),
		"no prev events":     edited(map[string]any{"prev_events": nil}),
		"odd prev events":    edited(map[string]any{"prev_events": []any{7}}),
		"many prev events":   edited(map[string]any{"prev_events": many}),
		"many auth events":   edited(map[string]any{"auth_events": many}),
		"negative depth":     edited(map[string]any{"depth": -1}),
		"no depth":           edited(map[string]any{"depth": nil}),
		"odd voucher":        edited(map[string]any{"content": map[string]any{"membership": "join", authorisedVia: "x"}}),
		"not JSON":           func(r *remoteapi.MakeResponse) { r.Event = json.RawMessage(`[`) },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t, "a.example", "b.example")
			b := n.servers["b.example"]
			room := publicRoom(n.servers["a.example"], "11")
			n.template = hook
			join := roomapi.JoinRequest{RoomIDOrAlias: room, UserID: ben, Via: []string{"a.example"}}
			_, err := roomapi.Join.Do(t.Context(), b.bus, &join)
			if e := merr.From(err); e == nil || e.Status != 502 {
				t.Fatalf("got %v", err)
			}
			if got := n.membership("a.example", room, ben); got != "" {
				t.Errorf("the event was sent all the same: %q", got)
			}
			n.template = nil
			do(b, roomapi.Join, join)
		})
	}
}

func TestTemplateAddsNothing(t *testing.T) {
	n := newNetwork(t, "a.example", "b.example")
	b := n.servers["b.example"]
	room := publicRoom(n.servers["a.example"], "11")
	n.template = edited(map[string]any{
		"content": map[string]any{"membership": "join", "displayname": "Mallory", "extra": true}, "redacts": "$x", "unsigned": map[string]any{"a": 1},
		"origin_server_ts": 5, "signatures": map[string]any{"b.example": map[string]any{"ed25519:1": "x"}},
	})
	id := do(b, roomapi.Join, roomapi.JoinRequest{RoomIDOrAlias: room, UserID: ben, Via: []string{"a.example"}, Profile: roomapi.Profile{DisplayName: "Ben"}}).EventID
	e := do(b, roomapi.GetEvent, roomapi.EventRequest{RoomID: room, UserID: ben, EventID: id})
	if got := string(e.Content()); got != `{"displayname":"Ben","membership":"join"}` {
		t.Errorf("content %s", got)
	}
	if e.OriginServerTS == 5 || strings.Contains(string(e.JSON), "redacts") {
		t.Errorf("event %s", e.JSON)
	}
}

// lacking leaves out the events of a type.
func lacking(list []*pdu.Event, typ string) []*pdu.Event {
	return slices.DeleteFunc(slices.Clone(list), func(e *pdu.Event) bool { return e.Type == typ })
}

func TestHostileJoinAnswers(t *testing.T) {
	type answer = func(head *remoteapi.JoinHeader, state, auth []*pdu.Event) (s, a []*pdu.Event)
	mallory := newPeer(t, "a.example", "11")
	mallory.create(mallory.user("mallory"))
	foreign := mallory.heads[0]
	for name, hook := range map[string]answer{
		"no create event": func(_ *remoteapi.JoinHeader, s, a []*pdu.Event) ([]*pdu.Event, []*pdu.Event) {
			return lacking(s, "m.room.create"), a
		},
		"no create event anywhere": func(_ *remoteapi.JoinHeader, s, a []*pdu.Event) ([]*pdu.Event, []*pdu.Event) {
			return lacking(s, "m.room.create"), lacking(a, "m.room.create")
		},
		"no join rules": func(_ *remoteapi.JoinHeader, s, a []*pdu.Event) ([]*pdu.Event, []*pdu.Event) {
			return lacking(s, "m.room.join_rules"), lacking(a, "m.room.join_rules")
		},
		"an empty state": func(*remoteapi.JoinHeader, []*pdu.Event, []*pdu.Event) ([]*pdu.Event, []*pdu.Event) { return nil, nil },
		"state of another room": func(_ *remoteapi.JoinHeader, s, a []*pdu.Event) ([]*pdu.Event, []*pdu.Event) {
			return append(s, foreign), a
		},
		"auth chain of another room": func(_ *remoteapi.JoinHeader, s, a []*pdu.Event) ([]*pdu.Event, []*pdu.Event) {
			return s, append(a, foreign)
		},
		"two events for a key": func(_ *remoteapi.JoinHeader, s, a []*pdu.Event) ([]*pdu.Event, []*pdu.Event) {
			for _, e := range s {
				if e.Type == "m.room.name" {
					c := *e
					c.EventID = "$" + strings.Repeat("a", 43)
					return append(s, &c), a
				}
			}
			return s, a
		},
		"members left out": func(h *remoteapi.JoinHeader, s, a []*pdu.Event) ([]*pdu.Event, []*pdu.Event) {
			h.MembersOmitted = true
			return lacking(s, memberType), a
		},
		"another join": func(h *remoteapi.JoinHeader, s, a []*pdu.Event) ([]*pdu.Event, []*pdu.Event) {
			h.Event = pduwire.Of(s[len(s)-1])
			return s, a
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t, "a.example", "b.example")
			b := n.servers["b.example"]
			room := publicRoom(n.servers["a.example"], "11")
			n.answer = hook
			join := roomapi.JoinRequest{RoomIDOrAlias: room, UserID: ben, Via: []string{"a.example"}}
			_, err := roomapi.Join.Do(t.Context(), b.bus, &join)
			if e := merr.From(err); e == nil || e.Status != 502 {
				t.Fatalf("got %v", err)
			}
			if got := n.membership("b.example", room, ben); got != "" {
				t.Errorf("the user is shown as %q", got)
			}
			if log := entriesOf(b, roomapi.KindEvent); len(log) != 0 {
				t.Errorf("%d events were told", len(log))
			}
			refused(b, roomapi.GetStateEvent, roomapi.StateEventRequest{RoomID: room, UserID: ben, Type: "m.room.create"}, "M_FORBIDDEN")
			n.answer = nil
			do(b, roomapi.Join, join)
			if got := n.membership("b.example", room, ben); got != "join" {
				t.Errorf("membership %q after an honest answer", got)
			}
		})
	}
}

func TestHostileInviteAnswers(t *testing.T) {
	unsigned := func(r *remoteapi.InviteResponse) {
		raw, _ := pdu.Get(r.Event.JSON, "signatures")
		raw, _ = pdu.Delete(raw, "b.example")
		r.Event.JSON, _ = pdu.Set(r.Event.JSON, "signatures", raw)
	}
	content := func(r *remoteapi.InviteResponse) {
		r.Event.JSON, _ = pdu.Set(r.Event.JSON, "content", []byte(`{"membership":"join"}`))
	}
	for name, c := range map[string]struct {
		version string
		hook    func(*remoteapi.InviteResponse)
	}{
		"not signed v1":       {"1", unsigned},
		"not signed v11":      {"11", unsigned},
		"another content v1":  {"1", content},
		"another content v11": {"11", content},
		"another depth v11":   {"11", func(r *remoteapi.InviteResponse) { r.Event.JSON, _ = pdu.Set(r.Event.JSON, "depth", []byte("1")) }},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t, "a.example", "b.example")
			a := n.servers["a.example"]
			room := privateRoom(a, c.version)
			n.signed = c.hook
			_, err := roomapi.Invite.Do(t.Context(), a.bus, &roomapi.MembershipRequest{RoomID: room, Sender: anna, Target: ben})
			if e := merr.From(err); e == nil || e.Status != 502 {
				t.Fatalf("got %v", err)
			}
			if got := n.membership("a.example", room, ben); got != "" {
				t.Errorf("membership %q", got)
			}
		})
	}
}

func TestWhatOtherServersSubmitIsChecked(t *testing.T) {
	n := newNetwork(t, "a.example")
	a := n.servers["a.example"]
	room := publicRoom(a, "11")
	closed := privateRoom(a, "11")
	v, _ := pdu.Version("11")
	p := newPeer(t, "b.example", "11")
	made := func(room, membership string) *pdu.Event {
		resp := do(a, roomapi.MakeMembership, roomapi.MakeMembershipRequest{Origin: "b.example", RoomID: room, UserID: ben, Membership: membership, Versions: []string{"11"}})
		h := &handshake{s: a.s, roomID: room, userID: ben, content: memberContent{membership: membership}}
		tmpl, err := h.template(v, resp.Event)
		if err != nil {
			t.Fatal(err)
		}
		ev, err := pdu.Build(v, *tmpl, p.key)
		if err != nil {
			t.Fatal(err)
		}
		return ev
	}
	join := made(room, "join")
	for name, c := range map[string]struct {
		req  roomapi.AcceptRequest
		code string
	}{
		"an unknown room":         {roomapi.AcceptRequest{RoomID: "!x:a.example"}, "M_NOT_FOUND"},
		"another room":            {roomapi.AcceptRequest{RoomID: closed}, "M_INVALID_PARAM"},
		"another server":          {roomapi.AcceptRequest{RoomID: room, Origin: "c.example"}, "M_INVALID_PARAM"},
		"another membership":      {roomapi.AcceptRequest{RoomID: room, Membership: "leave"}, "M_INVALID_PARAM"},
		"a redacted event":        {roomapi.AcceptRequest{RoomID: room, Event: pduwire.PDU{EventID: join.EventID, JSON: join.JSON, Redacted: true}}, "M_INVALID_PARAM"},
		"not a member event":      {roomapi.AcceptRequest{RoomID: room, Event: pduwire.Of(rebuilt(t, p, join, func(tm *pdu.Template) { tm.Type = "m.room.topic" }))}, "M_INVALID_PARAM"},
		"about somebody else":     {roomapi.AcceptRequest{RoomID: room, Event: pduwire.Of(rebuilt(t, p, join, func(tm *pdu.Template) { tm.StateKey = ptr(bea) }))}, "M_INVALID_PARAM"},
		"unknown prev events":     {roomapi.AcceptRequest{RoomID: room, Event: pduwire.Of(rebuilt(t, p, join, func(tm *pdu.Template) { tm.PrevEvents[0].EventID = "$" + strings.Repeat("a", 43) }))}, "M_INVALID_PARAM"},
		"a join without a reason": {roomapi.AcceptRequest{RoomID: closed, Event: pduwire.Of(rebuilt(t, p, join, func(tm *pdu.Template) { tm.RoomID = closed }))}, "M_FORBIDDEN"},
	} {
		t.Run(name, func(t *testing.T) {
			req := c.req
			if req.Origin == "" {
				req.Origin = "b.example"
			}
			if req.Membership == "" {
				req.Membership = "join"
			}
			if req.Event.JSON == nil {
				req.Event = pduwire.Of(join)
			}
			var err error
			if req.Membership == "join" {
				err = roomapi.AcceptJoin.Do(t.Context(), a.bus, &req, func([]byte) error { return nil })
			} else {
				_, err = roomapi.AcceptMembership.Do(t.Context(), a.bus, &req)
			}
			if e := merr.From(err); e == nil || e.Code != c.code {
				t.Errorf("got %v, want %s", err, c.code)
			}
		})
	}
	for name, c := range map[string]struct {
		req  roomapi.MakeMembershipRequest
		code string
	}{
		"an old server":     {roomapi.MakeMembershipRequest{RoomID: room, UserID: ben, Membership: "join", Versions: []string{"1", "6"}}, "M_INCOMPATIBLE_ROOM_VERSION"},
		"somebody else":     {roomapi.MakeMembershipRequest{RoomID: room, UserID: "@x:c.example", Membership: "join", Versions: []string{"11"}}, "M_FORBIDDEN"},
		"a closed room":     {roomapi.MakeMembershipRequest{RoomID: closed, UserID: ben, Membership: "join", Versions: []string{"11"}}, "M_FORBIDDEN"},
		"no knocking":       {roomapi.MakeMembershipRequest{RoomID: closed, UserID: ben, Membership: "knock", Versions: []string{"11"}}, "M_FORBIDDEN"},
		"not there":         {roomapi.MakeMembershipRequest{RoomID: room, UserID: ben, Membership: "leave"}, "M_FORBIDDEN"},
		"an unknown room":   {roomapi.MakeMembershipRequest{RoomID: "!x:a.example", UserID: ben, Membership: "join", Versions: []string{"11"}}, "M_NOT_FOUND"},
		"an odd membership": {roomapi.MakeMembershipRequest{RoomID: room, UserID: ben, Membership: "ban", Versions: []string{"11"}}, "M_INVALID_PARAM"},
	} {
		t.Run("make: "+name, func(t *testing.T) {
			req := c.req
			req.Origin = "b.example"
			refused(a, roomapi.MakeMembership, req, c.code)
		})
	}
	_, err := roomapi.MakeMembership.Do(t.Context(), a.bus, &roomapi.MakeMembershipRequest{Origin: "b.example", RoomID: room, UserID: ben, Membership: "join", Versions: []string{"1"}})
	if e := merr.From(err); e.Extra["room_version"] != "11" {
		t.Errorf("room_version %v", e.Extra["room_version"])
	}
}

// rebuilt is an event with some of it changed, signed again.
func rebuilt(t *testing.T, p *peer, ev *pdu.Event, change func(*pdu.Template)) *pdu.Event {
	t.Helper()
	tm := pdu.Template{RoomID: ev.RoomID, Type: ev.Type, Sender: ev.Sender, StateKey: ev.StateKey, Content: ev.Content, Depth: ev.Depth, OriginServerTS: ev.OriginServerTS}
	for _, id := range ev.PrevEvents {
		tm.PrevEvents = append(tm.PrevEvents, pdu.Ref{EventID: id})
	}
	for _, id := range ev.AuthEvents {
		tm.AuthEvents = append(tm.AuthEvents, pdu.Ref{EventID: id})
	}
	change(&tm)
	out, err := pdu.Build(ev.Version, tm, p.key)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestHostileInvites(t *testing.T) {
	n := newNetwork(t, "b.example")
	b := n.servers["b.example"]
	p := newPeer(t, "a.example", "11")
	p.create(p.user("anna"))
	invite := p.member(p.user("anna"), ben, "invite")
	ask := func(change func(*roomapi.AcceptInviteRequest)) error {
		req := roomapi.AcceptInviteRequest{Origin: "a.example", RoomID: p.room, RoomVersion: "11", Event: pduwire.Of(invite), State: json.RawMessage(`[]`)}
		change(&req)
		_, err := roomapi.AcceptInvite.Do(t.Context(), b.bus, &req)
		return err
	}
	for name, c := range map[string]struct {
		change func(*roomapi.AcceptInviteRequest)
		code   string
	}{
		"an unknown version": {func(r *roomapi.AcceptInviteRequest) { r.RoomVersion = "x" }, "M_INCOMPATIBLE_ROOM_VERSION"},
		"another room":       {func(r *roomapi.AcceptInviteRequest) { r.RoomID = "!x:a.example" }, "M_INVALID_PARAM"},
		"another server":     {func(r *roomapi.AcceptInviteRequest) { r.Origin = "c.example" }, "M_INVALID_PARAM"},
		"not an invite": {func(r *roomapi.AcceptInviteRequest) {
			r.Event = pduwire.Of(p.heads[0])
			r.Event = pduwire.Of(rebuilt(t, p, invite, func(tm *pdu.Template) { tm.Content = []byte(`{"membership":"ban"}`) }))
		}, "M_INVALID_PARAM"},
		"a message": {func(r *roomapi.AcceptInviteRequest) {
			r.Event = pduwire.Of(rebuilt(t, p, invite, func(tm *pdu.Template) { tm.Type, tm.StateKey = "m.room.message", nil }))
		}, "M_INVALID_PARAM"},
		"somebody elsewhere": {func(r *roomapi.AcceptInviteRequest) {
			r.Event = pduwire.Of(rebuilt(t, p, invite, func(tm *pdu.Template) { tm.StateKey = ptr("@x:c.example") }))
		}, "M_INVALID_PARAM"},
		"nobody": {func(r *roomapi.AcceptInviteRequest) {
			r.Event = pduwire.Of(rebuilt(t, p, invite, func(tm *pdu.Template) { tm.StateKey = ptr("@nobody:b.example") }))
		}, "M_NOT_FOUND"},
	} {
		t.Run(name, func(t *testing.T) {
			if e := merr.From(ask(c.change)); e == nil || e.Code != c.code {
				t.Errorf("got %v, want %s", e, c.code)
			}
		})
	}
	for _, state := range []string{`null`, `5`, `{}`, `[null]`, `[{"type":"m.room.name"}]`, `[{"type":"m.room.name","state_key":"","sender":"@a:a.example","content":{"name":"x"}},7]`, `[`, strings.Repeat("[", 500)} {
		if err := ask(func(r *roomapi.AcceptInviteRequest) { r.State = json.RawMessage(state) }); err != nil {
			t.Errorf("state %.40s: %v", state, err)
		}
		events := do(b, roomapi.InviteState, roomapi.InviteStateRequest{RoomID: p.room, UserID: ben}).Events
		var list []map[string]any
		if err := json.Unmarshal(events, &list); err != nil || len(list) == 0 {
			t.Errorf("state %.40s: %s: %v", state, events, err)
		}
		do(b, roomapi.Leave, roomapi.MembershipRequest{RoomID: p.room, Sender: ben, Target: ben})
	}
}

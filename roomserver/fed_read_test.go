package roomserver

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/internal/pduwire"
	"hearth/roomserver/roomapi"
)

const (
	friend   = "friend.example"
	eve      = "@eve:friend.example"
	stranger = "stranger.example"
)

// streamed reads the whole of a stream.
func streamed[Req any](f *fixture, s bus.Stream[Req], req Req) (string, error) {
	var out strings.Builder
	err := s.Do(f.t.Context(), f.bus, &req, func(chunk []byte) error {
		out.Write(chunk)
		return nil
	})
	return out.String(), err
}

// refusedStream makes a stream call that must fail with an errcode before it has sent anything.
func refusedStream[Req any](f *fixture, s bus.Stream[Req], req Req, code string) {
	f.t.Helper()
	out, err := streamed(f, s, req)
	if got := merr.From(err); got == nil || got.Code != code || out != "" {
		f.t.Errorf("%s: got %q %v, want %s", s.Subject, out, err, code)
	}
}

// walked reads the PDUs of a walk.
func walked[Req any](f *fixture, s bus.Stream[Req], req Req) []pduwire.PDU {
	f.t.Helper()
	var list []pduwire.PDU
	err := s.Do(f.t.Context(), f.bus, &req, func(chunk []byte) error {
		return pduwire.Read(chunk, func(_ byte, p pduwire.PDU) error {
			list = append(list, p)
			return nil
		})
	})
	if err != nil {
		f.t.Fatalf("%s: %v", s.Subject, err)
	}
	return list
}

func idsOf(list []pduwire.PDU) []string {
	ids := make([]string, len(list))
	for i, p := range list {
		ids[i] = p.EventID
	}
	return ids
}

// body is the text of a message, "" if it is redacted.
func bodyOf(p pduwire.PDU) string {
	content, _ := pdu.Get(p.JSON, "content")
	body, _ := pdu.GetString(content, "body")
	return body
}

// TestStrangersAreRefused: a server that is not in a room, or denied by its ACL, gets nothing,
// and an event of another room is as one that we do not know.
func TestStrangersAreRefused(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		room := f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat"})
		other := f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat"})
		f.join(room, eve)
		event, foreign := f.send(room, alice, "1", "x"), f.send(other, alice, "2", "y")
		check := func(origin, room, event, code string) {
			t.Helper()
			for _, ids := range []bool{true, false} {
				refusedStream(f, roomapi.FederationState, roomapi.FederationStateRequest{Origin: origin, RoomID: room, EventID: event, IDs: ids}, code)
			}
			refusedStream(f, roomapi.FederationEventAuth, roomapi.FederationEventRequest{Origin: origin, RoomID: room, EventID: event}, code)
		}
		walks := func(origin, room, event, code string) {
			t.Helper()
			refusedStream(f, roomapi.FederationBackfill, roomapi.FederationBackfillRequest{Origin: origin, RoomID: room, From: []string{event}, Limit: 5}, code)
			refusedStream(f, roomapi.FederationMissing, roomapi.FederationMissingRequest{Origin: origin, RoomID: room, Latest: []string{event}, Limit: 5}, code)
			refused(f, roomapi.FederationEventAt, roomapi.FederationEventAtRequest{Origin: origin, RoomID: room}, code)
		}
		check(stranger, room, event, "M_FORBIDDEN")
		walks(stranger, room, event, "M_FORBIDDEN")
		check(friend, "!unknown:test.example", event, "M_NOT_FOUND")
		walks(friend, "!unknown:test.example", event, "M_NOT_FOUND")
		check(friend, room, foreign, "M_NOT_FOUND")
		check(friend, room, "$unknown", "M_NOT_FOUND")
		check(friend, other, foreign, "M_FORBIDDEN")
		for _, e := range []string{foreign, "$unknown", "x"} {
			refused(f, roomapi.FederationEvent, roomapi.FederationEventRequest{Origin: friend, EventID: e}, "M_NOT_FOUND")
		}
		refused(f, roomapi.FederationEvent, roomapi.FederationEventRequest{Origin: stranger, EventID: event}, "M_NOT_FOUND")
		if p := do(f, roomapi.FederationEvent, roomapi.FederationEventRequest{Origin: friend, EventID: event}); p.EventID != event || bodyOf(*p) != "x" {
			t.Errorf("%s %s", p.EventID, p.JSON)
		}
		if got := walked(f, roomapi.FederationBackfill, roomapi.FederationBackfillRequest{Origin: friend, RoomID: room, From: []string{foreign, "$x"}, Limit: 5}); len(got) != 0 {
			t.Errorf("events of another room: %v", idsOf(got))
		}
		f.state(room, alice, serverACLType, "", `{"allow":["*"],"deny":["FRIEND.example"]}`)
		check(friend, room, event, "M_FORBIDDEN")
		walks(friend, room, event, "M_FORBIDDEN")
		refused(f, roomapi.FederationEvent, roomapi.FederationEventRequest{Origin: friend, EventID: event}, "M_NOT_FOUND")
	})
}

// pduID is the id of an event in an answer.
func pduID(t *testing.T, version string, raw []byte) string {
	t.Helper()
	v, _ := pdu.Version(version)
	e, err := pdu.Parse(v, raw)
	if err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return e.EventID
}

// TestStateBefore: the state before an event does not hold the event, whether asked for as ids or
// as events, and the chain has all that the state's events and the chain's name.
func TestStateBefore(t *testing.T) {
	for _, version := range []string{"1", "3", "10", "12"} {
		t.Run(version, func(t *testing.T) {
			f := newFixture(t, t.TempDir(), "", true)
			room := f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat", RoomVersion: version})
			f.join(room, eve)
			first := f.state(room, alice, "m.room.name", "", `{"name":"a"}`)
			second := f.state(room, alice, "m.room.name", "", `{"name":"b"}`)
			topic := f.state(room, alice, "m.room.topic", "", `{"topic":"t"}`)
			message := f.send(room, alice, "1", "x")
			for _, c := range []struct {
				event     string
				has, lack []string
			}{
				{first, nil, []string{first, second, topic}},
				{second, []string{first}, []string{second, topic}},
				{topic, []string{second}, []string{first, topic}},
				{message, []string{second, topic}, []string{first, message}},
			} {
				body, err := streamed(f, roomapi.FederationState, roomapi.FederationStateRequest{Origin: friend, RoomID: room, EventID: c.event, IDs: true})
				if err != nil {
					t.Fatal(err)
				}
				var ids struct {
					Chain []string `json:"auth_chain_ids"`
					State []string `json:"pdu_ids"`
				}
				if err := json.Unmarshal([]byte(body), &ids); err != nil || ids.Chain == nil {
					t.Fatalf("%s: %v", body, err)
				}
				for _, id := range c.has {
					if !slices.Contains(ids.State, id) {
						t.Errorf("before %s: %s is missing", c.event, id)
					}
				}
				for _, id := range c.lack {
					if slices.Contains(ids.State, id) {
						t.Errorf("before %s: %s is there", c.event, id)
					}
				}
				if body, err = streamed(f, roomapi.FederationState, roomapi.FederationStateRequest{Origin: friend, RoomID: room, EventID: c.event}); err != nil {
					t.Fatal(err)
				}
				var whole struct {
					Chain []json.RawMessage `json:"auth_chain"`
					State []json.RawMessage `json:"pdus"`
				}
				if err := json.Unmarshal([]byte(body), &whole); err != nil {
					t.Fatalf("%s: %v", body, err)
				}
				same(t, version, "state", whole.State, ids.State)
				same(t, version, "chain", whole.Chain, ids.Chain)
				closed(t, version, whole.State, whole.Chain)
			}
			auth, err := streamed(f, roomapi.FederationEventAuth, roomapi.FederationEventRequest{Origin: friend, RoomID: room, EventID: message})
			if err != nil {
				t.Fatal(err)
			}
			var chain struct {
				Chain []json.RawMessage `json:"auth_chain"`
			}
			if err := json.Unmarshal([]byte(auth), &chain); err != nil || len(chain.Chain) < 2 {
				t.Fatalf("%s: %v", auth, err)
			}
			closed(t, version, nil, chain.Chain)
		})
	}
}

// same checks that events are those that the ids name, each once.
func same(t *testing.T, version, what string, events []json.RawMessage, ids []string) {
	t.Helper()
	var got []string
	for _, raw := range events {
		got = append(got, pduID(t, version, raw))
	}
	slices.Sort(got)
	want := slices.Sorted(slices.Values(ids))
	if !slices.Equal(got, want) || len(slices.Compact(got)) != len(want) {
		t.Errorf("%s: %d events, %d ids", what, len(got), len(want))
	}
}

// closed checks that a chain has every auth event of the events and of its own.
func closed(t *testing.T, version string, events, chain []json.RawMessage) {
	t.Helper()
	v, _ := pdu.Version(version)
	known := map[string]bool{}
	for _, raw := range chain {
		known[pduID(t, version, raw)] = true
	}
	for _, raw := range slices.Concat(events, chain) {
		e, err := pdu.Parse(v, raw)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range e.AuthEvents {
			if !known[id] {
				t.Errorf("the chain lacks %s, which %s names", id, e.EventID)
			}
		}
	}
}

func TestBackfill(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		room := f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat"})
		f.join(room, eve)
		var ids []string
		for i := range 120 {
			ids = append(ids, f.send(room, alice, fmt.Sprint(i), fmt.Sprint(i)))
		}
		slices.Reverse(ids)
		back := func(from []string, limit int) []string {
			t.Helper()
			return idsOf(walked(f, roomapi.FederationBackfill, roomapi.FederationBackfillRequest{Origin: friend, RoomID: room, From: from, Limit: limit}))
		}
		if got := back(ids[:1], 30); !slices.Equal(got, ids[:30]) {
			t.Errorf("%d events from the newest", len(got))
		}
		if got := back([]string{ids[5], ids[7], ids[5]}, 4); !slices.Equal(got, ids[5:9]) {
			t.Errorf("from two events: %d", len(got))
		}
		if got := back(ids[:1], 1000); !slices.Equal(got, ids[:maxBackfill]) {
			t.Errorf("without a limit: %d", len(got))
		}
		if got := back(ids[119:], 100); len(got) < 5 || got[0] != ids[119] {
			t.Errorf("to the beginning: %d", len(got))
		}
		if got := back([]string{"$unknown"}, 10); len(got) != 0 {
			t.Errorf("from an unknown event: %v", got)
		}
	})
}

func TestMissing(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		room := f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat"})
		f.join(room, eve)
		var ids []string
		for i := range 70 {
			ids = append(ids, f.send(room, alice, fmt.Sprint(i), fmt.Sprint(i)))
		}
		missing := func(earliest, latest []string, limit int, depth int64) []string {
			t.Helper()
			return idsOf(walked(f, roomapi.FederationMissing, roomapi.FederationMissingRequest{
				Origin: friend, RoomID: room, Earliest: earliest, Latest: latest, Limit: limit, MinDepth: depth,
			}))
		}
		if got := missing(ids[10:11], ids[15:16], 20, 0); !slices.Equal(got, ids[11:15]) {
			t.Errorf("between two: %v", got)
		}
		if got := missing(ids[10:11], ids[15:16], 2, 0); !slices.Equal(got, ids[13:15]) {
			t.Errorf("at most two: %v", got)
		}
		if got := missing(nil, ids[69:], 1000, 0); !slices.Equal(got, ids[69-maxMissing:69]) {
			t.Errorf("without a limit: %d", len(got))
		}
		depth := walked(f, roomapi.FederationBackfill, roomapi.FederationBackfillRequest{Origin: friend, RoomID: room, From: ids[12:13], Limit: 1})
		least, _ := pdu.GetInt(depth[0].JSON, "depth")
		if got := missing(nil, ids[15:16], 20, least); !slices.Equal(got, ids[12:15]) {
			t.Errorf("with a least depth: %v", got)
		}
		if got := missing(ids[:5], []string{"$unknown"}, 20, 0); len(got) != 0 {
			t.Errorf("before an unknown event: %v", got)
		}
	})
}

// TestServersSeeWhatTheirUsersMay: history visibility decides whether a server gets an event whole
// or redacted.
func TestServersSeeWhatTheirUsersMay(t *testing.T) {
	for setting, want := range map[string][]string{
		"world_readable": {"before", "invited", "joined", "away", "back"},
		"shared":         {"before", "invited", "joined", "away", "back"},
		"invited":        {"", "invited", "joined", "", "back"},
		"joined":         {"", "", "joined", "", "back"},
	} {
		t.Run(setting, func(t *testing.T) {
			f := newFixture(t, t.TempDir(), "", true)
			room := f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat", InitialState: []roomapi.StateEvent{
				{Type: visibilityType, Content: []byte(`{"history_visibility":"` + setting + `"}`)},
			}})
			f.join(room, "@other:else.example")
			var ids []string
			say := func(body string) { ids = append(ids, f.send(room, alice, body, body)) }
			say("before")
			content, err := memberContent{membership: "invite"}.canonical()
			if err != nil {
				t.Fatal(err)
			}
			target := eve
			err = f.s.update(t.Context(), room, func(b *batch) error {
				_, err := b.send(t.Context(), draft{typ: memberType, sender: alice, stateKey: &target, content: content})
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			say("invited")
			f.join(room, eve)
			say("joined")
			f.leave(room, eve)
			say("away")
			f.join(room, eve)
			say("back")
			got := map[string]string{}
			for _, p := range walked(f, roomapi.FederationBackfill, roomapi.FederationBackfillRequest{Origin: friend, RoomID: room, From: ids[4:], Limit: 100}) {
				got[p.EventID] = bodyOf(p)
			}
			for i, id := range ids {
				if body, ok := got[id]; !ok || body != want[i] {
					t.Errorf("backfill %d: %q %v, want %q", i, body, ok, want[i])
				}
				p := do(f, roomapi.FederationEvent, roomapi.FederationEventRequest{Origin: friend, EventID: id})
				if p.EventID != id || bodyOf(*p) != want[i] {
					t.Errorf("event %d: %q, want %q", i, bodyOf(*p), want[i])
				}
				if v, _ := pdu.Version("12"); v != nil {
					if _, err := p.Load(v); err != nil {
						t.Errorf("event %d is damaged: %v", i, err)
					}
				}
			}
		})
	}
}

func TestEventAtForServers(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		room := f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat", InitialState: []roomapi.StateEvent{
			{Type: visibilityType, Content: []byte(`{"history_visibility":"joined"}`)},
		}})
		hidden := f.send(room, alice, "1", "hidden")
		f.join(room, eve)
		id := f.send(room, alice, "2", "seen")
		at := do(f, roomapi.FederationEventAt, roomapi.FederationEventAtRequest{Origin: friend, RoomID: room, TS: 1 << 60, Backwards: true})
		if at.EventID != id || at.TS == 0 {
			t.Errorf("backwards: %+v, want %s", at, id)
		}
		ts, _ := pdu.GetInt(do(f, roomapi.FederationEvent, roomapi.FederationEventRequest{Origin: friend, EventID: hidden}).JSON, "origin_server_ts")
		at = do(f, roomapi.FederationEventAt, roomapi.FederationEventAtRequest{Origin: friend, RoomID: room, TS: ts})
		if at.EventID == hidden || at.TS < ts {
			t.Errorf("forwards: %+v", at)
		}
		refused(f, roomapi.FederationEventAt, roomapi.FederationEventAtRequest{Origin: friend, RoomID: room, TS: 1 << 60}, "M_NOT_FOUND")
	})
}

func TestHierarchyForServers(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		space := f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat", Name: "Space", CreationContent: []byte(`{"type":"m.space"}`)})
		open := f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat", Name: "Open"})
		shut := f.create(roomapi.CreateRequest{Creator: alice, Preset: "private_chat"})
		club := f.create(roomapi.CreateRequest{Creator: alice, Preset: "private_chat", Name: "Club"})
		f.state(club, alice, "m.room.join_rules", "", `{"join_rule":"restricted","allow":[{"type":"m.room_membership","room_id":"`+space+`"}]}`)
		for i, id := range []string{open, shut, club, "!gone:test.example"} {
			f.state(space, alice, spaceChildType, id, fmt.Sprintf(`{"via":["test.example"],"suggested":%v}`, i == 0))
		}
		type answer struct {
			Room struct {
				RoomID   string            `json:"room_id"`
				Children []json.RawMessage `json:"children_state"`
			} `json:"room"`
			Children []struct {
				RoomID string `json:"room_id"`
			} `json:"children"`
			Inaccessible []string `json:"inaccessible_children"`
		}
		ask := func(origin string, suggested bool) (a answer) {
			t.Helper()
			resp := do(f, roomapi.FederationHierarchy, roomapi.FederationHierarchyRequest{Origin: origin, RoomID: space, SuggestedOnly: suggested})
			if err := json.Unmarshal(resp.Body, &a); err != nil {
				t.Fatal(err)
			}
			return a
		}
		a := ask(stranger, false)
		if a.Room.RoomID != space || len(a.Room.Children) != 4 || len(a.Children) != 1 || a.Children[0].RoomID != open || len(a.Inaccessible) != 2 {
			t.Errorf("a stranger sees %+v", a)
		}
		if a := ask(stranger, true); len(a.Room.Children) != 1 || len(a.Children) != 1 || len(a.Inaccessible) != 0 {
			t.Errorf("suggested only: %+v", a)
		}
		f.join(space, eve)
		if a := ask(friend, false); len(a.Children) != 2 || len(a.Inaccessible) != 1 || a.Inaccessible[0] != shut {
			t.Errorf("a member of the space sees %+v", a)
		}
		refused(f, roomapi.FederationHierarchy, roomapi.FederationHierarchyRequest{Origin: stranger, RoomID: shut}, "M_NOT_FOUND")
		refused(f, roomapi.FederationHierarchy, roomapi.FederationHierarchyRequest{Origin: stranger, RoomID: "!gone:test.example"}, "M_NOT_FOUND")
		f.state(space, alice, serverACLType, "", `{"allow":["*"],"deny":["`+stranger+`"]}`)
		refused(f, roomapi.FederationHierarchy, roomapi.FederationHierarchyRequest{Origin: stranger, RoomID: space}, "M_NOT_FOUND")
	})
}

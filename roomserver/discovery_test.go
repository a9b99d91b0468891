package roomserver

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

func TestDirectory(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		var rooms []string
		for i := range 5 {
			room := f.create(roomapi.CreateRequest{
				Creator: alice, Preset: "public_chat", Public: true, Name: fmt.Sprintf("Room %d of 100%%", i), Topic: "Über ALLES",
				CreationContent: []byte([]string{`{}`, `{"type":"m.space"}`}[i%2]),
			})
			for j := range i { // room i has i + 1 members
				f.join(room, fmt.Sprintf("@u%d:test.example", j))
			}
			rooms = append(rooms, room)
		}
		f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat"}) // not published
		list := func(req roomapi.PublicRoomsRequest) (ids []string) {
			t.Helper()
			for range 20 {
				page := do(f, roomapi.PublicRooms, req)
				if page.Total != 5 {
					t.Errorf("total %d", page.Total)
				}
				for _, r := range page.Chunk {
					ids = append(ids, r.RoomID)
				}
				if page.Next == "" {
					return ids
				}
				req.Since = page.Next
			}
			t.Fatal("the pages do not end")
			return nil
		}
		want := slices.Clone(rooms)
		slices.Reverse(want)
		for _, limit := range []int{1, 2, 5, 100} {
			if got := list(roomapi.PublicRoomsRequest{Limit: limit, AnyType: true}); !slices.Equal(got, want) {
				t.Errorf("by %d: %v, want %v", limit, got, want)
			}
		}
		for term, n := range map[string]int{"room 3": 1, "über": 5, "100%": 5, "%": 5, "_": 0, "\\": 0, "nothing": 0} {
			if got := list(roomapi.PublicRoomsRequest{Term: term, AnyType: true}); len(got) != n {
				t.Errorf("search for %q finds %d rooms, want %d", term, len(got), n)
			}
		}
		for n, types := range map[int][]string{2: {"m.space"}, 3: {""}, 5: {"", "m.space"}, 0: {}} {
			if got := list(roomapi.PublicRoomsRequest{RoomTypes: types}); len(got) != n {
				t.Errorf("types %q: %d rooms, want %d", types, len(got), n)
			}
		}
		first := do(f, roomapi.PublicRooms, roomapi.PublicRoomsRequest{Limit: 2, AnyType: true})
		second := do(f, roomapi.PublicRooms, roomapi.PublicRoomsRequest{Limit: 2, AnyType: true, Since: first.Next})
		back := do(f, roomapi.PublicRooms, roomapi.PublicRoomsRequest{Limit: 2, AnyType: true, Since: second.Prev})
		if len(back.Chunk) != 2 || back.Chunk[0].RoomID != first.Chunk[0].RoomID {
			t.Errorf("back from the second page: %+v", back)
		}
		refused(f, roomapi.PublicRooms, roomapi.PublicRoomsRequest{Since: "x"}, "M_INVALID_PARAM")
		// Changes show at once.
		f.state(rooms[0], alice, "m.room.name", "", `{"name":"Renamed"}`)
		if got := list(roomapi.PublicRoomsRequest{Term: "renamed", AnyType: true}); !slices.Equal(got, rooms[:1]) {
			t.Errorf("after a new name: %v", got)
		}
		refused(f, roomapi.SetPublished, roomapi.SetPublishedRequest{RoomID: rooms[4], UserID: "@u1:test.example"}, "M_FORBIDDEN")
		do(f, roomapi.SetPublished, roomapi.SetPublishedRequest{RoomID: rooms[4], UserID: alice})
		if do(f, roomapi.IsPublished, roomapi.RoomRequest{RoomID: rooms[4]}).Published {
			t.Error("still published")
		}
		do(f, roomapi.SetPublished, roomapi.SetPublishedRequest{RoomID: rooms[4], UserID: alice, Published: true})
		f.leave(rooms[4], "@u1:test.example")
		f.restart()
		if got := do(f, roomapi.PublicRooms, roomapi.PublicRoomsRequest{Limit: 1, AnyType: true}); got.Chunk[0].Joined != 4 {
			t.Errorf("the largest room has %d members", got.Chunk[0].Joined)
		}
	})
}

func TestHierarchy(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		space := func(name string) string {
			return f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat", Name: name, CreationContent: []byte(`{"type":"m.space"}`)})
		}
		child := func(parent, room, more string) {
			f.state(parent, alice, spaceChildType, room, `{"via":["test.example"]`+more+`}`)
			time.Sleep(2 * time.Millisecond) // children without an order are in the order of their time
		}
		top, sub := space("top"), space("sub")
		open := f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat"})
		closed := f.create(roomapi.CreateRequest{Creator: alice})
		deep := f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat"})
		child(top, closed, ``)
		child(top, open, `,"suggested":true`)
		child(top, sub, `,"order":"a","suggested":true`)
		child(top, "!unknown:else.where", ``)
		f.state(top, alice, spaceChildType, deep, `{}`) // taken back
		child(sub, deep, ``)
		child(sub, top, ``) // a cycle
		walk := func(req roomapi.HierarchyRequest) (ids []string) {
			t.Helper()
			req.RoomID = top
			for range 20 {
				page := do(f, roomapi.Hierarchy, req)
				for _, r := range page.Rooms {
					ids = append(ids, r.RoomID)
				}
				if page.Next == "" {
					return ids
				}
				req.From = page.Next
			}
			t.Fatal("the pages do not end")
			return nil
		}
		for _, limit := range []int{1, 2, 50} {
			if got, want := walk(roomapi.HierarchyRequest{UserID: alice, Limit: limit}), []string{top, sub, deep, closed, open}; !slices.Equal(got, want) {
				t.Errorf("alice by %d: %v, want %v", limit, got, want)
			}
			if got, want := walk(roomapi.HierarchyRequest{UserID: bob, Limit: limit}), []string{top, sub, deep, open}; !slices.Equal(got, want) {
				t.Errorf("bob by %d: %v, want %v", limit, got, want)
			}
		}
		if got, want := walk(roomapi.HierarchyRequest{UserID: bob, MaxDepth: 1, SuggestedOnly: true}), []string{top, sub, open}; !slices.Equal(got, want) {
			t.Errorf("suggested, one level: %v, want %v", got, want)
		}
		page := do(f, roomapi.Hierarchy, roomapi.HierarchyRequest{RoomID: top, UserID: bob})
		if n := strings.Count(string(page.Rooms[0].ChildrenState), spaceChildType); n != 4 {
			t.Errorf("%d children in children_state: %s", n, page.Rooms[0].ChildrenState)
		}
		refused(f, roomapi.Hierarchy, roomapi.HierarchyRequest{RoomID: closed, UserID: bob}, "M_FORBIDDEN")
		refused(f, roomapi.Hierarchy, roomapi.HierarchyRequest{RoomID: top, UserID: bob, From: "h_1_9_false"}, "M_INVALID_PARAM")
		refused(f, roomapi.GetSummary, roomapi.SummaryRequest{RoomIDOrAlias: closed, UserID: bob}, "M_NOT_FOUND")
		if got := do(f, roomapi.GetSummary, roomapi.SummaryRequest{RoomIDOrAlias: top, UserID: alice}); got.Membership != "join" || got.RoomType != "m.space" {
			t.Errorf("summary %+v", got)
		}
	})
}

func TestEventAt(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		room := f.create(roomapi.CreateRequest{Creator: alice})
		now := f.s.now().UnixMilli() + 1_000_000
		at := func(ts int64) string {
			return do(f, roomapi.Send, roomapi.SendRequest{RoomID: room, Sender: alice, Type: "m.room.message", Content: []byte(`{}`), Timestamp: ts}).EventID
		}
		second, first := at(now+200), at(now+100)
		for _, c := range []struct {
			ts        int64
			backwards bool
			want      string
		}{
			{now, false, first}, {now + 100, false, first}, {now + 101, false, second},
			{now + 300, true, second}, {now + 200, true, second}, {now + 199, true, first},
		} {
			got := do(f, roomapi.EventAt, roomapi.EventAtRequest{RoomID: room, UserID: alice, TS: c.ts, Backwards: c.backwards})
			if got.EventID != c.want {
				t.Errorf("%d, backwards %v: %s, want %s", c.ts-now, c.backwards, got.EventID, c.want)
			}
		}
		refused(f, roomapi.EventAt, roomapi.EventAtRequest{RoomID: room, UserID: alice, TS: now + 201}, "M_NOT_FOUND")
		refused(f, roomapi.EventAt, roomapi.EventAtRequest{RoomID: room, UserID: bob, TS: now}, "M_FORBIDDEN")
	})
}

func TestUpgrade(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for _, versions := range [][2]string{{"6", "10"}, {"10", "12"}, {"12", "12"}, {"12", "11"}} {
			old := f.create(roomapi.CreateRequest{
				Creator: alice, Preset: "public_chat", Public: true, RoomVersion: versions[0], Name: "Den", AliasLocalpart: "den" + versions[0] + versions[1],
				CreationContent: []byte(`{"type":"m.space"}`),
				InitialState:    []roomapi.StateEvent{{Type: "m.room.server_acl", Content: []byte(`{"allow":["*"],"deny":["evil"]}`)}},
			})
			f.join(old, bob)
			refused(f, roomapi.Upgrade, roomapi.UpgradeRequest{RoomID: old, UserID: bob, Version: "12"}, "M_FORBIDDEN")
			refused(f, roomapi.Upgrade, roomapi.UpgradeRequest{RoomID: old, UserID: alice, Version: "0"}, "M_UNSUPPORTED_ROOM_VERSION")
			fresh := do(f, roomapi.Upgrade, roomapi.UpgradeRequest{RoomID: old, UserID: alice, Version: versions[1]}).RoomID
			create := []byte(f.content(fresh, alice, "m.room.create", ""))
			predecessor, _ := pdu.Get(create, "predecessor")
			if from, _ := pdu.GetString(predecessor, "room_id"); from != old {
				t.Errorf("%v: predecessor %s", versions, predecessor)
			}
			if kind, _ := pdu.GetString(create, "type"); kind != "m.space" {
				t.Errorf("%v: create %s", versions, create)
			}
			for _, typ := range []string{"m.room.name", "m.room.server_acl", "m.room.join_rules", visibilityType, "m.room.guest_access"} {
				if a, b := f.content(old, alice, typ, ""), f.content(fresh, alice, typ, ""); a != b {
					t.Errorf("%v: %s was %s and is %s", versions, typ, a, b)
				}
			}
			if to, _ := pdu.GetString([]byte(f.content(old, alice, tombstoneType, "")), "replacement_room"); to != fresh {
				t.Errorf("%v: tombstone to %s", versions, to)
			}
			if got := do(f, roomapi.ResolveAlias, roomapi.AliasRequest{Alias: "#den" + versions[0] + versions[1] + ":test.example"}); got.RoomID != fresh {
				t.Errorf("%v: the alias points to %s", versions, got.RoomID)
			}
			refused(f, roomapi.Send, roomapi.SendRequest{RoomID: old, Sender: bob, Type: "m.room.message", Content: []byte(`{}`)}, "M_FORBIDDEN")
			f.join(fresh, bob)
			f.send(fresh, bob, "x", "here we are")
			if a, b := do(f, roomapi.IsPublished, roomapi.RoomRequest{RoomID: old}), do(f, roomapi.IsPublished, roomapi.RoomRequest{RoomID: fresh}); a.Published || !b.Published {
				t.Errorf("%v: published: old %v, new %v", versions, a.Published, b.Published)
			}
		}
	})
}

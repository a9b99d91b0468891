package roomserver

import (
	"maps"
	"testing"

	"hearth/roomserver/roomapi"
)

const (
	anna = "@anna:a.example"
	ben  = "@ben:b.example"
	bea  = "@bea:b.example"
)

func publicRoom(f *fixture, version string) string {
	f.t.Helper()
	return f.create(roomapi.CreateRequest{Creator: anna, Preset: "public_chat", RoomVersion: version, Name: "Garden", AliasLocalpart: "garden" + version})
}

func TestJoinElsewhere(t *testing.T) {
	for _, version := range []string{"1", "6", "10", "11", "12"} {
		t.Run("v"+version, func(t *testing.T) {
			n := newNetwork(t, "a.example", "b.example")
			a, b := n.servers["a.example"], n.servers["b.example"]
			room := publicRoom(a, version)
			before := n.stateOf("a.example", room, anna)
			got := do(b, roomapi.Join, roomapi.JoinRequest{RoomIDOrAlias: "#garden" + version + ":a.example", UserID: ben, Profile: roomapi.Profile{DisplayName: "Ben"}})
			if got.RoomID != room || got.EventID == "" {
				t.Fatalf("%+v", got)
			}
			for server, user := range map[string]string{"a.example": anna, "b.example": ben} {
				state := n.stateOf(server, room, user)
				if state["m.room.member|"+ben] != got.EventID {
					t.Errorf("%s has no join: %v", server, state)
				}
				delete(state, "m.room.member|"+ben)
				if !maps.Equal(state, before) {
					t.Errorf("%s: state %v, want %v", server, state, before)
				}
			}
			w, err := roomapi.ReadWindow(t.Context(), b.bus, &roomapi.WindowRequest{RoomID: room, UserID: ben, Limit: 10})
			if err != nil {
				t.Fatal(err)
			}
			if len(w.Timeline) != 1 || w.Timeline[0].EventID != got.EventID || !w.Limited || w.PrevBatch.IsZero() || len(w.State) != len(before) || w.Joined != 2 {
				t.Errorf("window %+v with %d events and %d of state, want %d", w.WindowInfo, len(w.Timeline), len(w.State), len(before))
			}
			id := do(b, roomapi.Send, roomapi.SendRequest{RoomID: room, Sender: ben, Type: "m.room.message", Content: []byte(`{"body":"hi","msgtype":"m.text"}`)}).EventID
			n.deliver()
			if e := do(a, roomapi.GetEvent, roomapi.EventRequest{RoomID: room, UserID: anna, EventID: id}); e.Sender != ben {
				t.Errorf("%+v", e)
			}
		})
	}
}

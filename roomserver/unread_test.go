package roomserver

import (
	"slices"
	"strings"
	"testing"

	"hearth/roomserver/roomapi"
)

// unreadOf reads one room and returns its events as bodies with their threads.
func (f *fixture) unreadOf(room, user string, limit int) (*roomapi.UnreadRoom, []string) {
	f.t.Helper()
	var found *roomapi.UnreadRoom
	err := roomapi.ReadUnread(f.t.Context(), f.bus, &roomapi.UnreadRequest{UserID: user, Rooms: []string{room}, Limit: limit},
		func(u *roomapi.UnreadRoom) { found = u })
	if err != nil || found == nil {
		f.t.Fatalf("read unread: %v, %v", found, err)
	}
	return found, labels(found.Events)
}

func labels(events []roomapi.UnreadEvent) []string {
	out := []string{}
	for _, e := range events {
		if strings.HasPrefix(e.Event.Type, "m.room.message") || e.Event.Type == "m.reaction" {
			out = append(out, e.Event.EventID+" "+e.Thread)
		}
	}
	return out
}

func (f *fixture) read(room, user, event, thread string) {
	f.t.Helper()
	do(f, roomapi.SetReceipt, roomapi.ReceiptRequest{RoomID: room, UserID: user, Kind: readReceipt, EventID: event, ThreadID: thread})
}

func TestUnread(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		room := f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat"})
		before := f.send(room, alice, "0", "before bob")
		f.join(room, bob)
		a := f.send(room, alice, "a", "a")
		b := f.relate(room, alice, relThread, a, nil)
		c := f.send(room, alice, "c", "c")
		reaction := f.relate(room, alice, relAnnotation, b, map[string]any{"key": "x"})
		gone := f.send(room, alice, "gone", "gone")
		do(f, roomapi.Redact, roomapi.RedactRequest{RoomID: room, Sender: alice, EventID: gone})
		main := func(ids ...string) (out []string) {
			for _, id := range ids {
				thread := roomapi.MainThread
				if id == b || id == reaction {
					thread = a
				}
				out = append(out, id+" "+thread)
			}
			return out
		}
		expect := func(step string, want ...string) *roomapi.UnreadRoom {
			t.Helper()
			u, got := f.unreadOf(room, bob, roomapi.MaxUnread)
			if !slices.Equal(got, main(want...)) {
				t.Errorf("%s: %v, want %v", step, got, main(want...))
			}
			return u
		}
		u := expect("no receipt", a, b, c, reaction)
		if !u.Joined || u.Members != 2 || len(u.Levels) == 0 || !slices.Equal(u.Creators, []string{alice}) || u.Cut || u.From != u.JoinedOrd {
			t.Errorf("room: %+v", u)
		}
		f.read(room, bob, c, roomapi.MainThread)
		expect("main is read, the thread is not", a, b, c, reaction)
		f.read(room, bob, reaction, a)
		expect("the thread is read too", reaction)
		f.read(room, bob, before, "")
		expect("an old receipt", reaction)
		f.read(room, bob, reaction, "")
		u = expect("all is read")
		if len(u.Marks) != 3 {
			t.Errorf("marks: %+v", u.Marks)
		}
		var last []string
		for range 5 {
			last = append(last, f.send(room, alice, "", "x"))
		}
		if u, got := f.unreadOf(room, bob, 3); !u.Cut || !slices.Equal(got, main(last[2:]...)) {
			t.Errorf("cut: %v, %+v", got, u)
		}
		if u, got := f.unreadOf(room, carol, 3); u.Joined || len(got) != 0 {
			t.Errorf("a stranger: %+v", u)
		}
		f.leave(room, bob)
		if u, got := f.unreadOf(room, bob, 3); u.Joined || len(got) != 0 || u.Levels != nil {
			t.Errorf("who left: %+v", u)
		}
	})
}

func TestRecent(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		one := f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat"})
		two := f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat"})
		other := f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat"})
		f.send(one, alice, "0", "before bob")
		f.join(one, bob)
		f.join(two, bob)
		var want []string
		for i := range 9 {
			room := []string{one, two, other}[i%3]
			id := f.send(room, alice, "", "x")
			if room != other {
				want = append(want, id+" main")
			}
		}
		slices.Reverse(want)
		var got []string
		for before, pages := int64(0), 0; ; pages++ {
			recent, err := roomapi.ReadRecent(t.Context(), f.bus, &roomapi.RecentRequest{UserID: bob, Before: before, Window: 7, Limit: 2})
			if err != nil || pages > 50 {
				t.Fatal(pages, err)
			}
			for _, e := range recent.Events {
				if u := recent.Rooms[e.RoomID]; u == nil || !u.Joined {
					t.Errorf("room of %v: %+v", e, u)
				}
			}
			got = append(got, labels(recent.Events)...)
			if before = recent.Next; before == 0 {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %v\nwant %v", got, want)
		}
	})
}

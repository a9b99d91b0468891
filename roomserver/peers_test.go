package roomserver

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"hearth/internal/bus"
	"hearth/roomserver/roomapi"
)

// peerModel is the naive idea of who shares an encrypted room.
type peerModel struct {
	joined    map[string]map[string]bool // room, user
	encrypted map[string]bool
}

func (m *peerModel) peers(user string) map[string]bool {
	set := map[string]bool{}
	for room, users := range m.joined {
		if !m.encrypted[room] || !users[user] {
			continue
		}
		for other, in := range users {
			if in && other != user {
				set[other] = true
			}
		}
	}
	return set
}

func without(a, b map[string]bool) []string {
	var list []string
	for u := range a {
		if !b[u] {
			list = append(list, u)
		}
	}
	slices.Sort(list)
	return list
}

func TestPeers(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		random := rand.New(rand.NewPCG(1, 2))
		var users []string
		for i := range 6 {
			users = append(users, fmt.Sprintf("@user%d:test.example", i))
		}
		m := &peerModel{joined: map[string]map[string]bool{}, encrypted: map[string]bool{}}
		var rooms []string
		for i := range 5 {
			owner := users[i%len(users)]
			room := f.create(roomapi.CreateRequest{Creator: owner, Preset: "public_chat"})
			rooms = append(rooms, room)
			m.joined[room] = map[string]bool{owner: true}
		}
		type moment struct {
			pos   int64
			peers map[string]map[string]bool
		}
		var history []moment
		note := func() {
			pos, err := bus.Head(t.Context(), f.bus, roomapi.Log)
			if err != nil {
				t.Fatal(err)
			}
			now := moment{pos, map[string]map[string]bool{}}
			for _, u := range users {
				now.peers[u] = m.peers(u)
			}
			history = append(history, now)
		}
		note()
		for range 80 {
			i := random.IntN(len(rooms))
			room, user, owner := rooms[i], users[random.IntN(len(users))], users[i%len(users)]
			switch n := random.IntN(10); {
			case n == 0 && !m.encrypted[room]:
				f.state(room, owner, "m.room.encryption", "", `{"algorithm":"m.megolm.v1.aes-sha2"}`)
				m.encrypted[room] = true
			case n < 2: // a change of profile is none of membership
				if m.joined[room][user] {
					f.state(room, user, "m.room.member", user, fmt.Sprintf(`{"membership":"join","displayname":"%d"}`, random.Int()))
				}
			case n < 6:
				f.join(room, user)
				m.joined[room][user] = true
			case m.joined[room][user] && user != owner:
				if n == 6 {
					do(f, roomapi.Kick, roomapi.MembershipRequest{RoomID: room, Sender: owner, Target: user})
				} else {
					f.leave(room, user)
				}
				m.joined[room][user] = false
			}
			note()
		}
		for range 400 {
			a, b := history[random.IntN(len(history))], history[random.IntN(len(history))]
			if a.pos > b.pos {
				a, b = b, a
			}
			user := users[random.IntN(len(users))]
			got, err := roomapi.ReadPeers(t.Context(), f.bus, &roomapi.PeersRequest{
				UserID: user, From: a.pos, To: b.pos, Changes: true, Candidates: append(users, "@nobody:elsewhere"),
			})
			if err != nil {
				t.Fatal(err)
			}
			was, is := a.peers[user], b.peers[user]
			if want := without(is, nil); !slices.Equal(got.Shared, want) {
				t.Errorf("%s at %d: shared %v, want %v", user, b.pos, got.Shared, want)
			}
			if want := without(is, was); !slices.Equal(got.Joined, want) {
				t.Errorf("%s from %d to %d: joined %v, want %v", user, a.pos, b.pos, got.Joined, want)
			}
			if want := without(was, is); !slices.Equal(got.Left, want) {
				t.Errorf("%s from %d to %d: left %v, want %v", user, a.pos, b.pos, got.Left, want)
			}
		}
	})
}

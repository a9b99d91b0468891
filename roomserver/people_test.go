package roomserver

import (
	"fmt"
	"slices"
	"testing"

	"hearth/internal/store"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

func TestMutualRooms(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		var both []string
		for i := range 5 {
			room := f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat"})
			if i < 4 {
				f.join(room, bob)
			}
			if i < 3 {
				both = append(both, room)
			} else if i == 3 {
				f.leave(room, bob)
			}
		}
		slices.Sort(both)
		all := do(f, roomapi.MutualRooms, roomapi.MutualRoomsRequest{UserID: alice, Other: bob})
		if !slices.Equal(all.RoomIDs, both) || all.Total != 3 || all.More {
			t.Errorf("%+v, want %v", all, both)
		}
		first := do(f, roomapi.MutualRooms, roomapi.MutualRoomsRequest{UserID: bob, Other: alice, Limit: 2})
		if !slices.Equal(first.RoomIDs, both[:2]) || first.Total != 3 || !first.More {
			t.Errorf("%+v", first)
		}
		rest := do(f, roomapi.MutualRooms, roomapi.MutualRoomsRequest{UserID: bob, Other: alice, Limit: 2, After: both[1]})
		if !slices.Equal(rest.RoomIDs, both[2:]) || rest.More {
			t.Errorf("%+v", rest)
		}
		if none := do(f, roomapi.MutualRooms, roomapi.MutualRoomsRequest{UserID: alice, Other: "@nobody:test.example"}); none.Total != 0 || len(none.RoomIDs) != 0 {
			t.Errorf("%+v", none)
		}
	})
}

func TestFindUsers(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		const dave, erin = "@dave:test.example", "@erin:test.example"
		private := f.create(roomapi.CreateRequest{Creator: alice, Preset: "private_chat", Invite: []roomapi.Invitee{{UserID: bob}}})
		f.create(roomapi.CreateRequest{Creator: carol, Preset: "public_chat"})
		read := f.create(roomapi.CreateRequest{Creator: dave, Preset: "private_chat"})
		f.create(roomapi.CreateRequest{Creator: erin, Preset: "private_chat"})
		find := func(candidates ...string) []string {
			return do(f, roomapi.FindUsers, roomapi.FindUsersRequest{UserID: alice, Candidates: candidates}).Visible
		}
		all := []string{erin, dave, carol, bob, alice, "@nobody:test.example"}
		if got := find(all...); !slices.Equal(got, []string{carol, alice}) {
			t.Errorf("%v", got)
		}
		f.join(private, bob) // an invitation is no room in common
		f.state(read, dave, "m.room.history_visibility", "", `{"history_visibility":"world_readable"}`)
		if got := find(all...); !slices.Equal(got, []string{dave, carol, bob, alice}) {
			t.Errorf("%v", got)
		}
		if got := do(f, roomapi.LocalMembers, roomapi.LocalMembersRequest{RoomID: private}); !slices.Equal(got.UserIDs, []string{alice, bob}) || got.More {
			t.Errorf("%+v", got)
		}
		if got := do(f, roomapi.LocalMembers, roomapi.LocalMembersRequest{RoomID: private, After: alice}); !slices.Equal(got.UserIDs, []string{bob}) {
			t.Errorf("%+v", got)
		}
		if got := do(f, roomapi.LocalMembers, roomapi.LocalMembersRequest{RoomID: "!none:test.example"}); len(got.UserIDs) != 0 {
			t.Errorf("%+v", got)
		}
		f.leave(private, bob)
		if got := find(bob); len(got) != 0 {
			t.Errorf("%v", got)
		}
		refused(f, roomapi.FindUsers, roomapi.FindUsersRequest{UserID: alice, Candidates: make([]string, roomapi.MaxCandidates+1)}, "M_INVALID_PARAM")
	})
}

// TestFindUsersOfOthers: rows of members of other servers, as federation would leave them.
func TestFindUsersOfOthers(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.create(roomapi.CreateRequest{Creator: alice, Preset: "private_chat", Profile: roomapi.Profile{DisplayName: "Al"}})
		user, _, err := f.s.names.lookup(t.Context(), alice)
		if err != nil {
			t.Fatal(err)
		}
		err = f.s.store.DB.Write(t.Context(), func(tx *store.Tx) error {
			var room int64
			if err := tx.Row(`SELECT room FROM member WHERE user_nid = $1`, user).Scan(&room); err != nil {
				return err
			}
			for i, name := range []string{"@zed:other.example", "@yan:other.example", "@gone:other.example", "@test:not-test.example"} {
				nid := int64(9000 + i)
				json := fmt.Sprintf(`{"content":{"avatar_url":"mxc://a/b","displayname":"Zoë %d","membership":"join"}}`, i)
				membership := int64(storage.MembershipJoin)
				if name == "@gone:other.example" {
					membership = storage.MembershipLeave
				}
				for _, op := range []struct {
					sql  string
					args []any
				}{
					{`INSERT INTO name (nid, s) VALUES ($1, $2)`, []any{nid, name}},
					{`INSERT INTO event (nid, room, id, ord, flags, type, sender, ts, depth, gen, snap, cur, replaces, redacted_by, links)
						VALUES ($1, $2, $3, $1, 0, 0, $1, 0, 0, 0, 0, 0, 0, 0, $3)`, []any{-nid, room, []byte(name)}},
					{`INSERT INTO body (nid, json) VALUES ($1, $2)`, []any{-nid, []byte(json)}},
					{`INSERT INTO member (user_nid, room, membership, nid, sender, forgotten) VALUES ($1, $2, $3, $4, $1, 0)`, []any{nid, room, membership, -nid}},
				} {
					if err := tx.Exec(op.sql, op.args...); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		find := func(term string, limit int) *roomapi.FindUsersResponse {
			return do(f, roomapi.FindUsers, roomapi.FindUsersRequest{UserID: alice, Term: term, Limit: limit})
		}
		if got := find("ZOË 0", 10); len(got.Others) != 1 || got.Others[0] != (roomapi.FoundUser{
			UserID: "@zed:other.example", Profile: roomapi.Profile{DisplayName: "Zoë 0", AvatarURL: "mxc://a/b"},
		}) || got.Limited {
			t.Errorf("%+v", got)
		}
		if got := find("@YAN", 10); len(got.Others) != 1 || got.Others[0].UserID != "@yan:other.example" {
			t.Errorf("%+v", got)
		}
		if got := find("zoë", 10); len(got.Others) != 3 {
			t.Errorf("%+v", got)
		}
		if got := find("zoë", 2); len(got.Others) != 2 || !got.Limited {
			t.Errorf("%+v", got)
		}
		if got := find("al", 10); len(got.Others) != 0 {
			t.Errorf("%+v", got)
		}
	})
}

func TestGuestsJoin(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		room := f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat"})
		guest := roomapi.JoinRequest{RoomIDOrAlias: room, UserID: bob, IsGuest: true}
		refused(f, roomapi.Join, guest, "M_GUEST_ACCESS_FORBIDDEN")
		for content, allowed := range map[string]bool{
			`{"guest_access":"forbidden"}`: false, `{"guest_access":["can_join"]}`: false, `{}`: false, `{"guest_access":"can_join"}`: true,
		} {
			f.state(room, alice, "m.room.guest_access", "", content)
			if !allowed {
				refused(f, roomapi.Join, guest, "M_GUEST_ACCESS_FORBIDDEN")
				continue
			}
			do(f, roomapi.Join, guest)
			f.leave(room, bob)
		}
	})
}

package account

import (
	"fmt"
	"slices"
	"testing"

	"hearth/clientapi/userapi"
	"hearth/internal/merr"
)

func TestListUsers(t *testing.T) {
	each(t, func(e *house) {
		for i, name := range []string{"carol", "alice", "bob", "dave"} {
			_, err := userapi.Register.Do(e.ctx, e.bus, &userapi.RegisterRequest{
				Username: name, Password: "password of " + name, DisplayName: fmt.Sprint("The ", 9-i), Admin: name == "alice",
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if _, err := userapi.Deactivate.Do(e.ctx, e.bus, &userapi.DeactivateRequest{UserID: "@dave:test"}); err != nil {
			t.Fatal(err)
		}
		yes, no := true, false
		if _, err := userapi.Restrict.Do(e.ctx, e.bus, &userapi.RestrictRequest{UserID: "@bob:test", Locked: &yes}); err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct {
			req   userapi.ListUsersRequest
			want  []string
			total int64
		}{
			"all":           {userapi.ListUsersRequest{}, []string{"alice", "bob", "carol", "dave"}, 4},
			"a page":        {userapi.ListUsersRequest{From: 1, Limit: 2}, []string{"bob", "carol"}, 4},
			"backwards":     {userapi.ListUsersRequest{Backwards: true, Limit: 1}, []string{"dave"}, 4},
			"active":        {userapi.ListUsersRequest{Deactivated: &no}, []string{"alice", "bob", "carol"}, 3},
			"admins":        {userapi.ListUsersRequest{Admins: &yes}, []string{"alice"}, 1},
			"locked":        {userapi.ListUsersRequest{Locked: &yes}, []string{"bob"}, 1},
			"by text":       {userapi.ListUsersRequest{Text: "THE 9"}, []string{"carol"}, 1},
			"by user id":    {userapi.ListUsersRequest{UserID: "@aro"}, []string{"carol"}, 1},
			"a wild card":   {userapi.ListUsersRequest{UserID: "%"}, nil, 0},
			"by name shown": {userapi.ListUsersRequest{Order: userapi.ByDisplayName, Deactivated: &no}, []string{"bob", "alice", "carol"}, 3},
			"by last seen":  {userapi.ListUsersRequest{Order: userapi.ByLastSeen, Limit: 1}, []string{"alice"}, 4},
			"by avatar":     {userapi.ListUsersRequest{Order: userapi.ByAvatar, Limit: 1}, []string{"alice"}, 4},
		} {
			got, err := userapi.ListUsers.Do(e.ctx, e.bus, &c.req)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			var names []string
			for _, u := range got.Users {
				names = append(names, u.UserID[1:len(u.UserID)-len(":test")])
			}
			if !slices.Equal(names, c.want) || got.Total != c.total {
				t.Errorf("%s: %v of %d, want %v of %d", name, names, got.Total, c.want, c.total)
			}
		}
		if _, err := userapi.ListUsers.Do(e.ctx, e.bus, &userapi.ListUsersRequest{Order: "password"}); merr.From(err).Code != "M_INVALID_PARAM" {
			t.Errorf("ordered by what is secret: %v", err)
		}
	})
}

func TestTheLastAdministratorCannotBeLockedOut(t *testing.T) {
	each(t, func(e *house) {
		for _, name := range []string{"one", "two"} {
			if _, err := userapi.Register.Do(e.ctx, e.bus, &userapi.RegisterRequest{Username: name, Password: "password of " + name, Admin: true}); err != nil {
				t.Fatal(err)
			}
		}
		yes, none := true, userapi.RoleNone
		if _, err := userapi.Restrict.Do(e.ctx, e.bus, &userapi.RestrictRequest{UserID: "@one:test", Locked: &yes}); err != nil {
			t.Fatal(err)
		}
		for _, req := range []*userapi.RestrictRequest{{UserID: "@two:test", Locked: &yes}, {UserID: "@two:test", Role: &none}} {
			if _, err := userapi.Restrict.Do(e.ctx, e.bus, req); merr.From(err).Status != 403 {
				t.Errorf("%+v: %v", req, err)
			}
		}
	})
}

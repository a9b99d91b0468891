package roomserver

import (
	"slices"
	"testing"

	"hearth/roomserver/roomapi"
)

func TestAliasesForTheServerItself(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		room := f.create(roomapi.CreateRequest{Creator: alice, AliasLocalpart: "one"})
		do(f, roomapi.SetAlias, roomapi.AliasRequest{Alias: "#two:test.example", RoomID: room, UserID: alice})
		list := func() []string { return do(f, roomapi.LocalAliases, roomapi.RoomRequest{RoomID: room}).Aliases }
		if got := list(); !slices.Equal(got, []string{"#one:test.example", "#two:test.example"}) {
			t.Error(got)
		}
		refused(f, roomapi.LocalAliases, roomapi.RoomRequest{RoomID: "!none:test.example"}, "M_NOT_FOUND")
		refused(f, roomapi.DeleteAlias, roomapi.AliasRequest{Alias: "#two:test.example", UserID: bob}, "M_FORBIDDEN")
		do(f, roomapi.DeleteAlias, roomapi.AliasRequest{Alias: "#two:test.example", UserID: bob, Manages: true})
		refused(f, roomapi.DeleteAlias, roomapi.AliasRequest{Alias: "#two:test.example", UserID: bob, Manages: true}, "M_NOT_FOUND")
		if got := list(); !slices.Equal(got, []string{"#one:test.example"}) {
			t.Error(got)
		}
	})
}

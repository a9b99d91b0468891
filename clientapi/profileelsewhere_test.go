package clientapi

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"hearth/federationapi/remoteapi"
	"hearth/internal/bus"
	"hearth/internal/merr"
)

func TestProfilesAndDirectoriesElsewhere(t *testing.T) {
	each(t, func(s *server) {
		hangs := make(chan struct{})
		defer close(hangs)
		must(t, bus.Handle(s.bus, remoteapi.Profile, func(ctx context.Context, req *remoteapi.ProfileRequest) (*remoteapi.Object, error) {
			switch req.UserID {
			case "@bob:there":
				return &remoteapi.Object{JSON: json.RawMessage(`{"avatar_url":"mxc://there/b","displayname":"Bob"}`)}, nil
			case "@slow:there":
				select {
				case <-hangs:
				case <-ctx.Done():
				}
				return nil, merr.Unavailable("too slow")
			}
			return nil, merr.NotFound("No such user")
		}))
		var body string
		must(t, bus.Handle(s.bus, remoteapi.PublicRooms, func(_ context.Context, req *remoteapi.PublicRoomsRequest) (*remoteapi.Object, error) {
			if req.Destination != "other.example" {
				return nil, merr.New(502, "M_UNKNOWN", "cannot be reached")
			}
			body = string(req.Body)
			return &remoteapi.Object{JSON: json.RawMessage(`{"chunk":[{"room_id":"!x:other.example"}]}`)}, nil
		}))
		token := s.user("alice")
		same(t, "profile", s.must("GET", "/profile/@bob:there", "", "").raw, `{"avatar_url":"mxc://there/b","displayname":"Bob"}`)
		same(t, "field", s.must("GET", "/profile/@bob:there/displayname", "", "").raw, `{"displayname":"Bob"}`)
		s.refuse(404, "M_NOT_FOUND", "GET", "/profile/@bob:there/m.tz", "", "")
		s.refuse(404, "M_NOT_FOUND", "GET", "/profile/@eve:there", "", "")

		s.must("POST", "/rooms/!room:test/invite", token, `{"user_id":"@bob:there"}`)
		asked(t, "invite", s.rooms.took("roomserver.invite"),
			`{"RoomID":"!room:test","Sender":"@alice:test","Target":"@bob:there","Profile":{"displayname":"Bob","avatar_url":"mxc://there/b"}}`)
		begin := time.Now()
		s.must("POST", "/rooms/!room:test/invite", token, `{"user_id":"@slow:there"}`)
		asked(t, "invite", s.rooms.took("roomserver.invite"), `{"RoomID":"!room:test","Sender":"@alice:test","Target":"@slow:there"}`)
		if took := time.Since(begin); took > 2*profileTime {
			t.Errorf("the invite has waited %v for a profile", took)
		}

		same(t, "directory", s.must("POST", "/publicRooms?server=other.example", token, `{"limit":3,"since":"s","filter":{"generic_search_term":"x","room_types":[null,"m.space"]}}`).raw,
			`{"chunk":[{"room_id":"!x:other.example"}]}`)
		same(t, "request", body, `{"filter":{"generic_search_term":"x","room_types":[null,"m.space"]},"limit":3,"since":"s"}`)
		s.refuse(502, "M_UNKNOWN", "GET", "/publicRooms?server=down.example", "", "")
		s.refuse(400, "M_INVALID_PARAM", "GET", "/publicRooms?server=a/b", "", "")
	})
}

package clientapi

import "testing"

func TestFindingRooms(t *testing.T) {
	for _, local := range []bool{true, false} {
		s := start(t, local, nil)
		token := s.user("alice")
		r, r1 := "/rooms/!room:test", "/_matrix/client/v1/rooms/!room:test"
		const chunk = `{"room_id":"!room:test","num_joined_members":3,"world_readable":false,"guest_can_join":false}`

		same(t, "directory", s.must("GET", "/publicRooms?limit=5&since=n1_2", "", "").raw, `{"chunk":[`+chunk+`],"total_room_count_estimate":1}`)
		asked(t, "directory request", s.rooms.took("roomserver.directory"), `{"Limit":5,"Since":"n1_2","AnyType":true}`)
		s.must("POST", "/publicRooms", token, `{"limit":7,"filter":{"generic_search_term":"Den","room_types":[null,"m.space"]}}`)
		asked(t, "directory request", s.rooms.took("roomserver.directory"), `{"Limit":7,"Term":"Den","RoomTypes":["","m.space"]}`)
		s.refuse(401, "M_MISSING_TOKEN", "POST", "/publicRooms", "", `{}`)
		s.refuse(400, "M_INVALID_PARAM", "POST", "/publicRooms", token, `{"limit":0}`)
		s.refuse(400, "M_BAD_JSON", "POST", "/publicRooms", token, `{"filter":{"room_types":"m.space"}}`)
		same(t, "bridged network", s.must("POST", "/publicRooms", token, `{"third_party_instance_id":"irc"}`).raw, `{"chunk":[],"total_room_count_estimate":0}`)

		same(t, "visibility", s.must("GET", "/directory/list/room/!room:test", "", "").raw, `{"visibility":"public"}`)
		same(t, "visibility", s.must("PUT", "/directory/list/room/!room:test", token, `{"visibility":"private"}`).raw, `{}`)
		asked(t, "visibility request", s.rooms.took("roomserver.directory.set"), `{"RoomID":"!room:test","UserID":"@alice:test","Published":false}`)
		s.refuse(400, "M_INVALID_PARAM", "PUT", "/directory/list/room/!room:test", token, `{"visibility":"secret"}`)

		same(t, "hierarchy", s.must("GET", r1+"/hierarchy?max_depth=0&suggested_only=true&limit=3", token, "").raw,
			`{"next_batch":"h_1_0_false","rooms":[{"room_id":"!room:test","join_rule":"public","num_joined_members":0,"world_readable":false,"guest_can_join":false,"children_state":[]}]}`)
		asked(t, "hierarchy request", s.rooms.took("roomserver.hierarchy"), `{"RoomID":"!room:test","UserID":"@alice:test","SuggestedOnly":true,"MaxDepth":-1,"Limit":3,"From":""}`)
		s.refuse(400, "M_INVALID_PARAM", "GET", r1+"/hierarchy?limit=0", token, "")

		for _, path := range []string{"/_matrix/client/v1/room_summary/%23den:test", "/_matrix/client/unstable/im.nheko.summary/rooms/!room:test/summary"} {
			if a := s.must("GET", path, token, ""); a.text("membership") != "join" {
				t.Errorf("%s: %s", path, a.raw)
			}
		}
		s.refuse(400, "M_INVALID_PARAM", "GET", "/_matrix/client/v1/room_summary/den", token, "")

		same(t, "event at", s.must("GET", r1+"/timestamp_to_event?ts=12&dir=b", token, "").raw, `{"event_id":"`+testEvent+`","origin_server_ts":1699999995000}`)
		asked(t, "event at request", s.rooms.took("roomserver.event_at"), `{"RoomID":"!room:test","UserID":"@alice:test","TS":12,"Backwards":true}`)
		s.refuse(400, "M_MISSING_PARAM", "GET", r1+"/timestamp_to_event?ts=12", token, "")
		s.refuse(400, "M_INVALID_PARAM", "GET", r1+"/timestamp_to_event?ts=x&dir=f", token, "")

		same(t, "upgrade", s.must("POST", r+"/upgrade", token, `{"new_version":"12","additional_creators":["@bob:test"]}`).raw, `{"replacement_room":"!new:test"}`)
		asked(t, "upgrade request", s.rooms.took("roomserver.upgrade"), `{"RoomID":"!room:test","UserID":"@alice:test","Version":"12","AdditionalCreators":["@bob:test"],"Profile":{"displayname":"alice"}}`)
		s.refuse(400, "M_MISSING_PARAM", "POST", r+"/upgrade", token, `{}`)
		s.refuse(400, "M_INVALID_PARAM", "POST", r+"/upgrade", token, `{"new_version":"12","additional_creators":["bob"]}`)
	}
}

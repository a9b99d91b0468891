package clientapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
)

func TestTags(t *testing.T) {
	each(t, func(s *server) {
		token := s.user("alice")
		tags := "/user/@alice:test/rooms/" + testRoom + "/tags"
		same(s.t, "none", s.must("GET", tags, token, "").raw, `{"tags":{}}`)
		s.must("PUT", tags+"/m.favourite", token, `{"order":0.5}`)
		s.must("PUT", tags+"/u.Work%2FHome", token, `{}`)
		s.must("PUT", tags+"/m.favourite", token, `{"order":0.25,"x":[1]}`)
		want := `{"tags":{"m.favourite":{"order":0.25,"x":[1]},"u.Work/Home":{}}}`
		same(s.t, "tags", s.must("GET", tags, token, "").raw, want)
		same(s.t, "account data", s.must("GET", "/user/@alice:test/rooms/"+testRoom+"/account_data/m.tag", token, "").raw, want)
		s.must("DELETE", tags+"/m.favourite", token, "")
		s.must("DELETE", tags+"/m.favourite", token, "")
		same(s.t, "one gone", s.must("GET", tags, token, "").raw, `{"tags":{"u.Work/Home":{}}}`)
		s.must("PUT", "/user/@alice:test/rooms/"+testRoom+"/account_data/m.tag", token, `{"tags":5,"mine":1}`)
		same(s.t, "odd", s.must("GET", tags, token, "").raw, `{"tags":{}}`)
		s.must("PUT", tags+"/a", token, `{}`)
		same(s.t, "kept", s.must("GET", "/user/@alice:test/rooms/"+testRoom+"/account_data/m.tag", token, "").raw, `{"tags":{"a":{}},"mine":1}`)
		for i := range userapi.MaxTags - 1 {
			s.must("PUT", fmt.Sprintf("%s/t%d", tags, i), token, `{}`)
		}
		s.refuse(403, "M_FORBIDDEN", "PUT", tags+"/more", token, `{}`)
		s.refuse(403, "M_FORBIDDEN", "PUT", "/user/@bob:test/rooms/"+testRoom+"/tags/a", token, `{}`)
		s.refuse(403, "M_FORBIDDEN", "GET", "/user/@bob:test/rooms/"+testRoom+"/tags", token, "")
		s.refuse(400, "M_INVALID_PARAM", "GET", "/user/@alice:test/rooms/room/tags", token, "")
		s.refuse(400, "M_INVALID_PARAM", "PUT", tags+"/"+strings.Repeat("t", 300), token, `{}`)
		s.refuse(400, "M_BAD_JSON", "PUT", tags+"/a", token, `{"order":"0.5"}`)
		s.refuse(400, "M_BAD_JSON", "PUT", tags+"/a", token, `[]`)
		s.refuse(400, "M_NOT_JSON", "PUT", tags+"/a", token, `{`)
		s.refuse(413, "M_TOO_LARGE", "PUT", tags+"/a", token, `{"x":"`+strings.Repeat("x", userapi.MaxTagSize)+`"}`)
	})
}

func TestOpenID(t *testing.T) {
	each(t, func(s *server) {
		token := s.user("alice")
		const path = "/user/@alice:test/openid/request_token"
		a := s.must("POST", path, token, `{}`)
		if a.text("token_type") != "Bearer" || a.text("matrix_server_name") != "test" || a.body["expires_in"] != 3600.0 {
			s.t.Errorf("%s", a.raw)
		}
		who := func(token string) (*userapi.UserRequest, error) {
			return userapi.OpenIDUser.Do(s.t.Context(), s.bus, &userapi.OpenIDRequest{Token: token})
		}
		if u, err := who(a.text("access_token")); err != nil || u.UserID != "@alice:test" {
			s.t.Errorf("%v %v", u, err)
		}
		s.refuse(401, "M_UNKNOWN_TOKEN", "GET", "/account/whoami", a.text("access_token"), "")
		s.refuse(403, "M_FORBIDDEN", "POST", "/user/@bob:test/openid/request_token", token, `{}`)
		for _, bad := range []string{token, "", "hro_x"} {
			if u, err := who(bad); merr.From(err) == nil || merr.From(err).Code != "M_UNKNOWN_TOKEN" {
				s.t.Errorf("%q: %v %v", bad, u, err)
			}
		}
		s.clock.add(time.Hour)
		if u, err := who(a.text("access_token")); err == nil {
			s.t.Errorf("after an hour: %v", u)
		}
	})
}

func TestTurnServer(t *testing.T) {
	none := start(t, true, nil)
	same(t, "none", none.must("GET", "/voip/turnServer", none.user("alice"), "").raw, `{}`)
	static := start(t, true, func(d *Deps) {
		d.Turn = TurnOptions{URIs: []string{"turn:a"}, Username: "u", Password: "p", TTL: time.Hour}
	})
	same(t, "static", static.must("GET", "/voip/turnServer", static.user("alice"), "").raw,
		`{"username":"u","password":"p","uris":["turn:a"],"ttl":3600}`)
	shared := start(t, true, func(d *Deps) {
		d.Turn = TurnOptions{URIs: []string{"turn:a", "turns:b"}, SharedSecret: "secret"}
	})
	// openssl: printf %s 1700086400:@alice:test | openssl dgst -sha1 -hmac secret -binary | base64
	same(t, "shared", shared.must("GET", "/voip/turnServer", shared.user("alice"), "").raw,
		`{"username":"1700086400:@alice:test","password":"W4wSoRQ2asx2GMFgQ5d7WhoiNkM=","uris":["turn:a","turns:b"],"ttl":86400}`)
}

func TestSupport(t *testing.T) {
	none := start(t, true, nil)
	none.refuse(404, "M_NOT_FOUND", "GET", "/.well-known/matrix/support", "", "")
	s := start(t, true, func(d *Deps) {
		d.Support = SupportOptions{AdminUserID: "@admin:test", SecurityEmail: "s@test", Page: "https://test/help"}
	})
	a := s.must("GET", "/.well-known/matrix/support", "", "")
	same(t, "support", a.raw, `{"contacts":[{"role":"m.role.admin","matrix_id":"@admin:test"},{"role":"m.role.security","email_address":"s@test"}],
		"support_page":"https://test/help"}`)
	if a.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Error("no page may read it")
	}
}

func TestUserDirectory(t *testing.T) {
	each(t, func(s *server) {
		token := s.user("alice")
		for _, name := range []string{"bob", "bobby", "robert", "carol"} {
			s.user(name)
		}
		other := s.must("POST", "/login", "", `{"type":"m.login.password","user":"robert","password":"`+password+`"}`).text("access_token")
		s.must("PUT", "/profile/@robert:test/displayname", other, `{"displayname":"The Bob 100%"}`)
		s.must("PUT", "/profile/@robert:test/avatar_url", other, `{"avatar_url":"mxc://test/x"}`)
		search := func(body string) answer { return s.must("POST", "/user_directory/search", token, body) }
		same(s.t, "bob", search(`{"search_term":"BOB"}`).raw, `{"limited":false,"results":[{"user_id":"@bob:test","display_name":"bob"},
			{"user_id":"@bobby:test","display_name":"bobby"},{"user_id":"@robert:test","display_name":"The Bob 100%","avatar_url":"mxc://test/x"},
			{"user_id":"@away:other","display_name":"Bob Away"}]}`)
		asked(s.t, "request", s.rooms.took("roomserver.find_users"), `{"UserID":"@alice:test","Term":"BOB","Limit":10,"Candidates":["@bob:test","@bobby:test","@robert:test"]}`)
		same(s.t, "limit", search(`{"search_term":"bob","limit":2}`).raw, `{"limited":true,"results":[{"user_id":"@bob:test","display_name":"bob"},
			{"user_id":"@bobby:test","display_name":"bobby"}]}`)
		for term, found := range map[string]string{"0%": "robert", "%": "robert", "_": "", "@carol:te": "carol", "@carol:else": "", "the bob": "robert", `\\`: ""} {
			a := search(`{"search_term":"` + term + `"}`)
			if got := a.body["results"].([]any); found == "" && len(got) != 1 || found != "" && !strings.Contains(a.raw, `"@`+found+`:test"`) {
				s.t.Errorf("%q: %s", term, a.raw)
			}
		}
		same(s.t, "empty", search(`{"search_term":" "}`).raw, `{"limited":false,"results":[]}`)
		s.must("POST", "/account/deactivate", other, `{"auth":{"type":"m.login.password","user":"robert","password":"`+password+`"}}`)
		if a := search(`{"search_term":"robert"}`); strings.Contains(a.raw, "robert") {
			s.t.Errorf("%s", a.raw)
		}
		s.refuse(400, "M_MISSING_PARAM", "POST", "/user_directory/search", token, `{}`)
		s.refuse(400, "M_INVALID_PARAM", "POST", "/user_directory/search", token, `{"search_term":"x","limit":0}`)
		s.refuse(400, "M_BAD_JSON", "POST", "/user_directory/search", token, `{"search_term":5}`)
		s.refuse(400, "M_INVALID_PARAM", "POST", "/user_directory/search", token, `{"search_term":"`+strings.Repeat("x", 300)+`"}`)
	})
}

func TestMutualRooms(t *testing.T) {
	each(t, func(s *server) {
		token := s.user("alice")
		const path = "/_matrix/client/v1/mutual_rooms"
		first := s.must("GET", path+"?user_id=@bob:test", token, "")
		if first.body["count"] != 2.0 || first.text("next_batch") == "" || !strings.Contains(first.raw, `"joined":["!a:t"]`) {
			s.t.Errorf("%s", first.raw)
		}
		same(s.t, "rest", s.must("GET", path+"?user_id=@bob:test&from="+first.text("next_batch"), token, "").raw, `{"joined":["!b:t"],"count":2}`)
		same(s.t, "unstable", s.must("GET", "/_matrix/client/unstable/uk.half-shot.msc2666/user/mutual_rooms?user_id=@bob:test&batch_token="+first.text("next_batch"), token, "").raw, `{"joined":["!b:t"],"count":2}`)
		s.refuse(400, "M_INVALID_PARAM", "GET", path+"?user_id=@alice:test", token, "")
		s.refuse(400, "M_INVALID_PARAM", "GET", path+"?user_id=bob", token, "")
		s.refuse(400, "M_MISSING_PARAM", "GET", path, token, "")
		s.refuse(400, "M_INVALID_PARAM", "GET", path+"?user_id=@bob:test&from=x", token, "")
		s.refuse(400, "M_INVALID_PARAM", "GET", path+"?user_id=@bob:test&from=!!", token, "")
	})
}

// fakePeople answers the calls about who knows whom.
func fakePeople(t *testing.T, b *bus.Bus, f *fakeRooms) {
	t.Helper()
	must(t, bus.Handle(b, roomapi.FindUsers, func(_ context.Context, req *roomapi.FindUsersRequest) (*roomapi.FindUsersResponse, error) {
		return &roomapi.FindUsersResponse{
			Visible: req.Candidates, Others: []roomapi.FoundUser{{UserID: "@away:other", Profile: roomapi.Profile{DisplayName: "Bob Away"}}},
		}, f.note(roomapi.FindUsers.Subject, req)
	}))
	must(t, bus.Handle(b, roomapi.MutualRooms, func(_ context.Context, req *roomapi.MutualRoomsRequest) (*roomapi.MutualRoomsResponse, error) {
		answer := &roomapi.MutualRoomsResponse{RoomIDs: []string{"!a:t"}, Total: 2, More: true}
		if req.Other == "@stranger:test" {
			answer = &roomapi.MutualRoomsResponse{}
		}
		if req.After != "" {
			answer.RoomIDs, answer.More = []string{"!b:t"}, false
		}
		return answer, f.note(roomapi.MutualRooms.Subject, req)
	}))
}

func TestSeenDevices(t *testing.T) {
	for _, keep := range []time.Duration{24 * time.Hour, 0} {
		s := start(t, true, func(d *Deps) {
			d.SeenFor, d.TrustedProxies = keep, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		})
		token := s.user("alice")
		id := s.must("GET", "/account/whoami", token, "").text("device_id")
		r := httptest.NewRequest("GET", "/_matrix/client/v3/account/whoami", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("X-Forwarded-For", "203.0.113.9, 198.51.100.7")
		s.ClientHandler().ServeHTTP(httptest.NewRecorder(), r)
		at := s.clock.now().UnixMilli()
		s.seen.flush(t.Context())
		ip := ""
		if keep > 0 {
			ip = `"last_seen_ip":"198.51.100.7",`
		}
		same(t, "seen", s.must("GET", "/devices/"+id, token, "").raw, fmt.Sprintf(`{"device_id":%q,%s"last_seen_ts":%d}`, id, ip, at-at%60000))
		s.clock.add(25 * time.Hour)
		s.user("bob")
		s.must("GET", "/account/whoami", s.user("carol"), "")
		s.seen.mu.Lock()
		delete(s.seen.used, device{"@alice:test", id})
		s.seen.mu.Unlock()
		s.seen.flush(t.Context())
		if a := s.must("GET", "/devices/"+id, token, ""); a.text("last_seen_ip") != "" {
			t.Errorf("the address is still known: %s", a.raw)
		}
	}
}

func TestSeenDevicesAreBounded(t *testing.T) {
	s := start(t, true, nil)
	for i := range 2 * userapi.MaxSeen {
		s.seen.note(matrixhttp.Identity{UserID: "@x:test", DeviceID: fmt.Sprint(i)}, "")
	}
	s.seen.mu.Lock()
	defer s.seen.mu.Unlock()
	if len(s.seen.used) > userapi.MaxSeen {
		t.Errorf("%d devices", len(s.seen.used))
	}
}

func TestForwardedFor(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	for _, c := range []struct{ remote, header, want string }{
		{"10.0.0.1:99", "203.0.113.9", "203.0.113.9"},
		{"[::1]:99", "203.0.113.9", "203.0.113.9"},
		{"[::ffff:10.0.0.1]:99", "203.0.113.9", "203.0.113.9"},
		{"10.0.0.1:99", "1.2.3.4, 203.0.113.9, 10.9.9.9", "203.0.113.9"}, // what the client wrote itself is not believed
		{"10.0.0.1:99", "10.9.9.9", "10.9.9.9"},
		{"10.0.0.1:99", "junk, 10.9.9.9", "10.9.9.9"},
		{"10.0.0.1:99", "::ffff:1.2.3.4", "1.2.3.4"},
		{"10.0.0.1:99", "junk", ""},
		{"10.0.0.1:99", "fe80::1%eth0", ""},
		{"10.0.0.1:99", "", ""},
		{"198.51.100.1:99", "203.0.113.9", ""}, // not a proxy of ours
		{"@", "203.0.113.9", ""},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.remote
		r.Header.Set("X-Forwarded-For", c.header)
		addr, ok := forwardedFor(r, proxies)
		if got := addr.String(); ok != (c.want != "") || ok && got != c.want {
			t.Errorf("%+v: %v %v", c, addr, ok)
		}
	}
}

func TestNotices(t *testing.T) {
	each(t, func(s *server) {
		s.options.Notices = NoticeOptions{Localpart: "notices", DisplayName: "Server", RoomName: "Notices"}
		token := s.user("alice")
		s.refuse(400, "M_USER_IN_USE", "POST", "/register", "", registering("Notices", "{}"))
		send := func(user, body string) (string, error) {
			return s.sendNotice(s.t.Context(), user, "txn", json.RawMessage(body))
		}
		id, err := send("@alice:test", `{"body":"hello"}`)
		if err != nil || id != testEvent {
			s.t.Fatalf("%q %v", id, err)
		}
		asked(s.t, "create", s.rooms.took("roomserver.create"), `{"Creator":"@notices:test","Profile":{"displayname":"Server"},"Preset":"private_chat",
			"Name":"Notices","Invite":[{"UserID":"@alice:test","Profile":{"displayname":"alice"}}],"PowerLevelOverride":{"users_default":-10}}`)
		asked(s.t, "send", s.rooms.took("roomserver.send"), `{"RoomID":"!room:test","Sender":"@notices:test","TxnID":"txn","Type":"m.room.message",
			"Content":{"body":"hello","msgtype":"m.server_notice"}}`)
		same(s.t, "tag", s.must("GET", "/user/@alice:test/rooms/"+testRoom+"/tags", token, "").raw, `{"tags":{"m.server_notice":{}}}`)
		if _, err = send("@alice:test", `{"body":"again","msgtype":"m.text"}`); err != nil {
			s.t.Fatal(err)
		}
		if made := s.rooms.took("roomserver.create"); made != "" {
			s.t.Errorf("another room: %s", made)
		}
		for user, body := range map[string]string{"@nobody:test": `{"body":"x"}`, "@alice:test": `{}`, "@alice:other": `{"body":"x"}`} {
			if _, err := send(user, body); err == nil {
				s.t.Errorf("%s %s was sent", user, body)
			}
		}
		// The fake says that the user is invited.
		s.refuse(403, "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM", "POST", "/rooms/"+testRoom+"/leave", token, "")
		s.must("POST", "/rooms/!other:test/leave", token, "")
		s.must("POST", "/rooms/"+testRoom+"/leave", s.user("bob"), "")

		s.options.Notices.Localpart = "bob"
		if _, err := send("@alice:test", `{"body":"x"}`); err == nil {
			s.t.Error("a person's account was used for notices")
		}
		s.options.Notices.Localpart = ""
		if _, err := send("@alice:test", `{"body":"x"}`); merr.From(err) == nil || merr.From(err).Status != 400 {
			s.t.Errorf("%v", err)
		}
	})
}

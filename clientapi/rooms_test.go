package clientapi

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"hearth/internal/merr"
	"hearth/syncapi/viewapi"
)

func TestRequestsReachTheRoomserver(t *testing.T) {
	each(t, func(s *server) {
		token := s.user("alice")
		s.must("PUT", "/profile/@alice:test/displayname", token, `{"displayname":"Alice"}`)
		asked(s.t, "update profile", s.rooms.took("roomserver.update_profile"), `{"UserID":"@alice:test","Profile":{"displayname":"Alice"}}`)
		r := "/rooms/" + testRoom
		device := s.must("GET", "/account/whoami", token, "").text("device_id")
		for _, c := range []struct{ method, path, body, subject, want, answer string }{
			{"PUT", r + "/send/m.room.message/txn%201", `{"body":"x", "n":1}`, "roomserver.send",
				`{"RoomID":"!room:test","Sender":"@alice:test","DeviceID":"` + device + `","TxnID":"txn 1","Type":"m.room.message","StateKey":null,"Content":{"body":"x","n":1},"Timestamp":0}`,
				`{"event_id":"$event:test"}`},
			{"PUT", r + "/state/m.room.topic", `{"topic":"x"}`, "roomserver.send",
				`{"RoomID":"!room:test","Sender":"@alice:test","DeviceID":"` + device + `","TxnID":"","Type":"m.room.topic","StateKey":"","Content":{"topic":"x"},"Timestamp":0}`,
				`{"event_id":"$event:test"}`},
			{"PUT", r + "/state/m.x/", `{}`, "roomserver.send",
				`{"RoomID":"!room:test","Sender":"@alice:test","DeviceID":"` + device + `","TxnID":"","Type":"m.x","StateKey":"","Content":{},"Timestamp":0}`, `{"event_id":"$event:test"}`},
			{"PUT", r + "/state/m.x/a%2Fb", `{}`, "roomserver.send",
				`{"RoomID":"!room:test","Sender":"@alice:test","DeviceID":"` + device + `","TxnID":"","Type":"m.x","StateKey":"a/b","Content":{},"Timestamp":0}`, `{"event_id":"$event:test"}`},
			{"PUT", r + "/redact/%24e:test/t", `{"reason":"spam"}`, "roomserver.redact",
				`{"RoomID":"!room:test","Sender":"@alice:test","DeviceID":"` + device + `","TxnID":"t","EventID":"$e:test","Reason":"spam"}`, `{"event_id":"$event:test"}`},
			{"POST", "/join/%23room:test?server_name=a.org&server_name=b.org", ``, "roomserver.join",
				`{"RoomIDOrAlias":"#room:test","UserID":"@alice:test","Via":["a.org","b.org"],"Profile":{"displayname":"Alice"},"Reason":""}`, `{"room_id":"!room:test"}`},
			{"POST", r + "/join?via=c.org", `{"reason":"hi"}`, "roomserver.join",
				`{"RoomIDOrAlias":"!room:test","UserID":"@alice:test","Via":["c.org"],"Profile":{"displayname":"Alice"},"Reason":"hi"}`, `{"room_id":"!room:test"}`},
			{"POST", "/knock/!room:test", `{}`, "roomserver.knock",
				`{"RoomIDOrAlias":"!room:test","UserID":"@alice:test","Via":null,"Profile":{"displayname":"Alice"},"Reason":""}`, `{"room_id":"!room:test"}`},
			{"POST", r + "/leave", ``, "roomserver.leave",
				`{"RoomID":"!room:test","Sender":"@alice:test","Target":"@alice:test","Reason":"","Profile":{},"IsDirect":false}`, `{}`},
			{"POST", r + "/forget", ``, "roomserver.forget", `{"RoomID":"!room:test","UserID":"@alice:test"}`, `{}`},
			{"POST", r + "/invite", `{"user_id":"@bob:else.org","reason":"r"}`, "roomserver.invite",
				`{"RoomID":"!room:test","Sender":"@alice:test","Target":"@bob:else.org","Reason":"r","Profile":{},"IsDirect":false}`, `{}`},
			{"POST", r + "/kick", `{"user_id":"@bob:test","reason":"r"}`, "roomserver.kick",
				`{"RoomID":"!room:test","Sender":"@alice:test","Target":"@bob:test","Reason":"r","Profile":{},"IsDirect":false}`, `{}`},
			{"POST", r + "/ban", `{"user_id":"@bob:test"}`, "roomserver.ban",
				`{"RoomID":"!room:test","Sender":"@alice:test","Target":"@bob:test","Reason":"","Profile":{},"IsDirect":false}`, `{}`},
			{"POST", r + "/unban", `{"user_id":"@bob:test"}`, "roomserver.unban",
				`{"RoomID":"!room:test","Sender":"@alice:test","Target":"@bob:test","Reason":"","Profile":{},"IsDirect":false}`, `{}`},
			{"PUT", r + "/typing/@alice:test", `{"typing":true,"timeout":99999999}`, "roomserver.typing.set",
				`{"RoomID":"!room:test","UserID":"@alice:test","Typing":true,"TimeoutMS":120000}`, `{}`},
			{"PUT", r + "/typing/%40alice%3Atest", `{"typing":false}`, "roomserver.typing.set",
				`{"RoomID":"!room:test","UserID":"@alice:test","Typing":false,"TimeoutMS":30000}`, `{}`},
			{"POST", r + "/receipt/m.read/$e:test", `{"thread_id":"main"}`, "roomserver.receipt.set",
				`{"RoomID":"!room:test","UserID":"@alice:test","Kind":"m.read","EventID":"$e:test","ThreadID":"main"}`, `{}`},
			{"POST", r + "/receipt/m.read.private/$e:test", ``, "roomserver.receipt.set",
				`{"RoomID":"!room:test","UserID":"@alice:test","Kind":"m.read.private","EventID":"$e:test","ThreadID":""}`, `{}`},
			{"PUT", "/directory/room/%23a:test", `{"room_id":"!room:test"}`, "roomserver.alias.set",
				`{"Alias":"#a:test","RoomID":"!room:test","UserID":"@alice:test"}`, `{}`},
			{"DELETE", "/directory/room/%23a:test", ``, "roomserver.alias.delete", `{"Alias":"#a:test","RoomID":"","UserID":"@alice:test"}`, `{}`},
			{"GET", "/directory/room/%23a:test", ``, "roomserver.alias.resolve", `{"Alias":"#a:test","RoomID":"","UserID":""}`, `{"room_id":"!room:test","servers":["test"]}`},
			{"GET", r + "/aliases", ``, "roomserver.alias.list", `{"RoomID":"!room:test","UserID":"@alice:test"}`, `{"aliases":[]}`},
			{"GET", "/joined_rooms", ``, "memberships", `{"UserID":"@alice:test","Memberships":["join"],"After":"!b:t","Limit":0}`, `{"joined_rooms":["!a:t","!b:t","!c:t"]}`},
		} {
			a := s.must(c.method, c.path, token, c.body)
			same(s.t, c.method+" "+c.path, a.raw, c.answer)
			asked(s.t, c.subject, s.rooms.took(c.subject), c.want)
		}
	})
}

func TestCreateRoom(t *testing.T) {
	each(t, func(s *server) {
		token := s.user("alice")
		s.user("bob")
		a := s.must("POST", "/createRoom", token, `{"visibility":"public","preset":"public_chat","name":"N","topic":"T","room_alias_name":"al",
			"invite":["@bob:test","@x:else.org"],"room_version":"11","is_direct":true,"creation_content":{"m.federate":false},
			"initial_state":[{"type":"m.room.x","content":{"a":1}}],"power_level_content_override":{"ban":60}}`)
		same(s.t, "answer", a.raw, `{"room_id":"!room:test"}`)
		asked(s.t, "create", s.rooms.took("roomserver.create"), `{"Creator":"@alice:test","Profile":{"displayname":"alice"},"RoomVersion":"11","Preset":"public_chat","Public":true,
			"Name":"N","Topic":"T","AliasLocalpart":"al","Invite":[{"UserID":"@bob:test","Profile":{"displayname":"bob"}},{"UserID":"@x:else.org","Profile":{}}],
			"InitialState":[{"type":"m.room.x","state_key":"","content":{"a":1}}],"CreationContent":{"m.federate":false},"PowerLevelOverride":{"ban":60},"IsDirect":true}`)
		s.must("POST", "/createRoom", token, `{}`)
		for body, code := range map[string]string{
			`{"visibility":"secret"}`: "M_INVALID_PARAM", `{"preset":"x"}`: "M_INVALID_PARAM", `{"invite":["bob"]}`: "M_INVALID_PARAM",
			`{"invite":"@bob:test"}`: "M_BAD_JSON", `{"initial_state":[{"type":"x"}]}`: "M_BAD_JSON", `{"creation_content":[]}`: "M_BAD_JSON",
			`{"initial_state":[{"type":"x","content":5}]}`: "M_BAD_JSON", `{"name":{}}`: "M_BAD_JSON", `x`: "M_NOT_JSON",
		} {
			s.refuse(400, code, "POST", "/createRoom", token, body)
		}
		s.refuse(403, "M_FORBIDDEN", "POST", "/createRoom", token, `{"invite_3pid":[{}]}`)
		if got := s.rooms.took("roomserver.create"); strings.Contains(got, "secret") {
			s.t.Errorf("a refused request came through: %s", got)
		}
	})
}

func TestEventsAreRendered(t *testing.T) {
	each(t, func(s *server) {
		token := s.user("alice")
		r := "/rooms/" + testRoom
		message := func(id string) string {
			return `{"content":{"body":"<hi>"},"event_id":"` + id + `","origin_server_ts":1,"sender":"@alice:test","type":"m.room.message","room_id":"!room:test","unsigned":{"age":5000}}`
		}
		member := func(user, content string) string {
			return `{"content":` + content + `,"event_id":"$m","sender":"` + user + `","state_key":"` + user + `","type":"m.room.member","room_id":"!room:test","unsigned":{"age":1700000000000}}`
		}
		alice := member("@alice:test", `{"membership":"join","displayname":"Al","avatar_url":5}`)
		bob := member("@bob:test", `{"membership":"join"}`)
		same(s.t, "event", s.must("GET", r+"/event/%24event%3Atest", token, "").raw, message(testEvent))
		same(s.t, "state event", s.must("GET", r+"/state/m.room.member/@alice:test", token, "").raw, `{"membership":"join"}`)
		same(s.t, "state event in full", s.must("GET", r+"/state/m.room.member/@alice:test?format=event", token, "").raw, member("@alice:test", `{"membership":"join"}`))
		s.refuse(400, "M_INVALID_PARAM", "GET", r+"/state/m.room.member/@alice:test?format=x", token, "")
		same(s.t, "state", s.must("GET", r+"/state", token, "").raw, "["+alice+","+bob+"]")
		asked(s.t, "state request", s.rooms.took("state"), `{"RoomID":"!room:test","UserID":"@alice:test","Types":null,"Membership":"","NotMembership":"","At":{"Ord":0,"Pos":0},"MembersOnly":false}`)
		same(s.t, "members", s.must("GET", r+"/members?membership=join&not_membership=ban&at=sz_1_2", token, "").raw, `{"chunk":[`+alice+","+bob+"]}")
		asked(s.t, "members request", s.rooms.took("state"), `{"RoomID":"!room:test","UserID":"@alice:test","Types":["m.room.member"],"Membership":"join","NotMembership":"ban","At":{"Ord":0,"Pos":35},"MembersOnly":false}`)
		s.refuse(400, "M_INVALID_PARAM", "GET", r+"/members?membership=x", token, "")
		s.refuse(400, "M_INVALID_PARAM", "GET", r+"/members?at=x", token, "")
		same(s.t, "joined", s.must("GET", r+"/joined_members", token, "").raw, `{"joined":{"@alice:test":{"display_name":"Al"},"@bob:test":{}}}`)

		same(s.t, "messages", s.must("GET", r+"/messages?dir=b&limit=5000&filter=%7B%22types%22%3A%5B%22m.x%22%5D%2C%22lazy_load_members%22%3Atrue%7D&to=t3", token, "").raw,
			`{"start":"t9","end":"t2","chunk":[`+message("$a")+","+message("$b")+`],"state":[`+member("@alice:test", "{}")+`]}`)
		asked(s.t, "messages request", s.rooms.took("roomserver.messages"), `{"RoomID":"!room:test","UserID":"@alice:test","From":{"Ord":0,"Pos":0},"To":{"Ord":3,"Pos":0},
			"Backwards":true,"Limit":1000,"Filter":{"types":["m.x"],"senders":null},"LazyMembers":true}`)
		if a := s.must("GET", r+"/messages?dir=f&from=s5_0_0&filter=%7B%22not_rooms%22%3A%5B%22!room:test%22%5D%7D", token, ""); a.text("start") != "s5_0_0" {
			s.t.Errorf("%s", a.raw)
		}
		asked(s.t, "messages request", s.rooms.took("roomserver.messages"), `{"RoomID":"!room:test","UserID":"@alice:test","From":{"Ord":0,"Pos":5},"To":{"Ord":0,"Pos":0},
			"Backwards":false,"Limit":10,"Filter":{"types":[],"senders":null},"LazyMembers":false}`)
		s.refuse(400, "M_MISSING_PARAM", "GET", r+"/messages", token, "")
		for _, q := range []string{"dir=x", "dir=b&limit=-1", "dir=b&limit=x", "dir=b&from=x", "dir=b&to=t!", "dir=b&filter=x", "dir=b&filter=[]", "dir=b&from=s!"} {
			s.refuse(400, "M_INVALID_PARAM", "GET", r+"/messages?"+q, token, "")
		}
		s.refuse(400, "M_BAD_JSON", "GET", r+"/messages?dir=b&filter=%7B%22types%22%3A5%7D", token, "")
		same(s.t, "context", s.must("GET", r+"/context/%24event:test?limit=3", token, "").raw,
			`{"start":"t1","end":"s7_0_0","event":`+message(testEvent)+`,"events_before":[],"events_after":[],"state":[]}`)

		s.must("PUT", "/user/@alice:test/account_data/m.ignored_user_list", token, `{"ignored_users":{"@bad:test":{}}}`)
		v1 := "/_matrix/client/v1" + r
		same(s.t, "relations", s.must("GET", v1+"/relations/%24event:test?from=t5&recurse=true", token, "").raw,
			`{"chunk":[`+message("$a")+`],"next_batch":"t2","prev_batch":"t5","recursion_depth":3}`)
		asked(s.t, "relations request", s.rooms.took("roomserver.relations"), `{"RoomID":"!room:test","UserID":"@alice:test","EventID":"$event:test",
			"From":{"Ord":5},"Backwards":true,"Limit":50,"Recurse":true,"Ignored":["@bad:test"]}`)
		same(s.t, "relations", s.must("GET", v1+"/relations/%24event:test/m.thread/m.x?dir=f&limit=3", token, "").raw, `{"chunk":[`+message("$a")+`],"next_batch":"t2"}`)
		asked(s.t, "relations request", s.rooms.took("roomserver.relations"), `{"RoomID":"!room:test","UserID":"@alice:test","EventID":"$event:test",
			"RelType":"m.thread","EventType":"m.x","Limit":3,"Ignored":["@bad:test"]}`)
		same(s.t, "threads", s.must("GET", v1+"/threads?include=participated", token, "").raw, `{"chunk":[]}`)
		asked(s.t, "threads request", s.rooms.took("roomserver.threads"), `{"RoomID":"!room:test","UserID":"@alice:test","Participated":true,"Limit":20,"Ignored":["@bad:test"]}`)
		for _, path := range []string{"/threads?include=x", "/threads?limit=0", "/threads?from=x", "/relations/$e:test?dir=x", "/relations/$e:test?from=x", "/relations/$e:test?recurse=1"} {
			s.refuse(400, "M_INVALID_PARAM", "GET", v1+path, token, "")
		}
		for _, path := range []string{"/event/$e:test", "/messages?dir=b", "/context/$e:test"} {
			s.must("GET", r+path, token, "")
		}
		for _, subject := range []string{"roomserver.event", "roomserver.messages", "roomserver.context"} {
			if got := s.rooms.took(subject); !strings.Contains(got, `"Ignored":["@bad:test"]`) {
				s.t.Errorf("%s: %s", subject, got)
			}
		}
		for _, junk := range []string{`{}`, `{"ignored_users":[]}`, `{"ignored_users":5}`} {
			s.must("PUT", "/user/@alice:test/account_data/m.ignored_user_list", token, junk)
			s.must("GET", r+"/messages?dir=b", token, "")
		}

		s.rooms.failWith(errForbidden)
		for _, path := range []string{"/state", "/members", "/joined_members", "/event/$e:test", "/messages?dir=b", "/context/$e:test"} {
			s.refuse(403, "M_FORBIDDEN", "GET", r+path, token, "")
		}
		s.rooms.failWith(merr.Busy(time.Second))
		if a := s.refuse(503, "M_UNAVAILABLE", "PUT", r+"/send/m.x/1", token, "{}"); a.header.Get("Retry-After") != "1" {
			s.t.Errorf("%v", a.header)
		}
	})
}

func TestBadRequests(t *testing.T) {
	s := start(t, true, nil)
	token := s.user("alice")
	r := "/rooms/" + testRoom
	for _, c := range []struct {
		status                   int
		code, method, path, body string
	}{
		{400, "M_NOT_JSON", "PUT", r + "/send/m.x/1", `{"a":`},
		{400, "M_BAD_JSON", "PUT", r + "/send/m.x/1", `[]`},
		{400, "M_NOT_JSON", "PUT", r + "/send/m.x/1", ``},
		{413, "M_TOO_LARGE", "PUT", r + "/send/m.x/1", `{"a":"` + strings.Repeat("x", 128<<10) + `"}`},
		{400, "M_INVALID_PARAM", "PUT", r + "/send/m.x/" + strings.Repeat("t", 300), `{}`},
		{400, "M_INVALID_PARAM", "PUT", "/rooms/room/send/m.x/1", `{}`},
		{400, "M_INVALID_PARAM", "POST", "/rooms/%23a:test/join", `{}`},
		{400, "M_INVALID_PARAM", "POST", "/join/nonsense", `{}`},
		{400, "M_INVALID_PARAM", "POST", r + "/invite", `{"user_id":"bob"}`},
		{400, "M_MISSING_PARAM", "POST", r + "/invite", `{}`},
		{403, "M_FORBIDDEN", "POST", r + "/invite", `{"medium":"email","address":"a@b","id_server":"x"}`},
		{400, "M_MISSING_PARAM", "POST", r + "/ban", `{}`},
		{400, "M_BAD_JSON", "POST", r + "/kick", `{"user_id":5}`},
		{400, "M_BAD_JSON", "POST", r + "/leave", `{"reason":5}`},
		{403, "M_FORBIDDEN", "PUT", r + "/typing/@bob:test", `{"typing":true}`},
		{400, "M_MISSING_PARAM", "PUT", r + "/typing/@alice:test", `{}`},
		{400, "M_BAD_JSON", "PUT", r + "/typing/@alice:test", `{"typing":"yes"}`},
		{400, "M_INVALID_PARAM", "POST", r + "/receipt/m.unknown/$e:test", `{}`},
		{400, "M_INVALID_PARAM", "POST", r + "/receipt/m.read/e", `{}`},
		{400, "M_INVALID_PARAM", "POST", r + "/receipt/m.read/$e:test", `{"thread_id":""}`},
		{400, "M_INVALID_PARAM", "POST", r + "/receipt/m.read/$e:test", `{"thread_id":5}`},
		{400, "M_INVALID_PARAM", "POST", r + "/receipt/m.fully_read/$e:test", `{"thread_id":"main"}`},
		{400, "M_BAD_JSON", "POST", r + "/read_markers", `{"m.read":{}}`},
		{400, "M_INVALID_PARAM", "GET", "/directory/room/alias", ``},
		{400, "M_INVALID_PARAM", "PUT", "/directory/room/%23a:else.org", `{"room_id":"!room:test"}`},
		{400, "M_MISSING_PARAM", "PUT", "/directory/room/%23a:test", `{}`},
		{400, "M_INVALID_PARAM", "PUT", "/directory/room/%23a:test", `{"room_id":"x"}`},
		{403, "M_FORBIDDEN", "GET", "/user/@bob:test/account_data/m.x", ``},
		{403, "M_FORBIDDEN", "PUT", "/user/@bob:test/account_data/m.x", `{}`},
		{400, "M_BAD_JSON", "PUT", "/user/@alice:test/account_data/m.x", `[]`},
		{400, "M_NOT_JSON", "PUT", "/user/@alice:test/account_data/m.x", `{`},
		{400, "M_BAD_JSON", "PUT", "/user/@alice:test/account_data/m.x", `{"a":1,"a":2}`},
		{400, "M_INVALID_PARAM", "PUT", "/user/@alice:test/rooms/room/account_data/m.x", `{}`},
		{405, "M_BAD_JSON", "PUT", "/user/@alice:test/rooms/" + testRoom + "/account_data/m.fully_read", `{"event_id":"$e:test"}`},
		{405, "M_BAD_JSON", "PUT", "/user/@alice:test/account_data/m.push_rules", `{}`},
		{404, "M_NOT_FOUND", "GET", "/user/@alice:test/account_data/m.x", ``},
		{403, "M_FORBIDDEN", "POST", "/user/@bob:test/filter", `{}`},
		{400, "M_BAD_JSON", "POST", "/user/@alice:test/filter", `{"room":5}`},
		{400, "M_BAD_JSON", "POST", "/user/@alice:test/filter", `{"room":{"timeline":{"types":"m.x"}}}`},
		{400, "M_BAD_JSON", "POST", "/user/@alice:test/filter", `{"event_format":"xml"}`},
		{404, "M_NOT_FOUND", "GET", "/user/@alice:test/filter/none", ``},
		{403, "M_FORBIDDEN", "PUT", "/profile/@bob:test/displayname", `{"displayname":"x"}`},
		{400, "M_MISSING_PARAM", "PUT", "/profile/@alice:test/displayname", `{}`},
		{400, "M_BAD_JSON", "PUT", "/profile/@alice:test/displayname", `{"displayname":5}`},
		{400, "M_INVALID_PARAM", "PUT", "/profile/@alice:test/displayname", `{"displayname":"` + strings.Repeat("x", 2000) + `"}`},
		{400, "M_INVALID_PARAM", "PUT", "/profile/@alice:test/avatar_url", `{"avatar_url":"http://x/"}`},
		{400, "M_INVALID_PARAM", "PUT", "/profile/@alice:test/plain", `{"plain":1}`},
		{400, "M_INVALID_PARAM", "PUT", "/profile/@alice:test/a.B", `{"a.B":1}`},
		{400, "M_KEY_TOO_LARGE", "PUT", "/profile/@alice:test/a." + strings.Repeat("b", 254), `{}`},
		{404, "M_NOT_FOUND", "GET", "/profile/@nobody:test", ``},
		{404, "M_NOT_FOUND", "GET", "/profile/@alice:test/avatar_url", ``},
		{400, "M_INVALID_PARAM", "GET", "/profile/alice", ``},
		{404, "M_NOT_FOUND", "GET", "/pushrules/global/override/none", ``},
		{400, "M_INVALID_PARAM", "GET", "/pushrules/global/none/none", ``},
		{400, "M_INVALID_PARAM", "GET", "/sync?timeout=-1", ``},
		{400, "M_INVALID_PARAM", "GET", "/sync?set_presence=x", ``},
		{400, "M_INVALID_PARAM", "GET", "/sync?filter=none", ``},
		{400, "M_INVALID_PARAM", "GET", "/sync?filter=%7Bx", ``},
		{400, "M_BAD_JSON", "GET", "/sync?filter=%7B%22room%22%3A5%7D", ``},
		{404, "M_UNRECOGNIZED", "GET", "/keys/query", ``},
		{405, "M_UNRECOGNIZED", "GET", "/logout", ``},
		{404, "M_UNRECOGNIZED", "GET", "/sync/", ``},
	} {
		s.refuse(c.status, c.code, c.method, c.path, token, c.body)
	}
}

func TestProfile(t *testing.T) {
	each(t, func(s *server) {
		token := s.user("alice")
		p := "/profile/@alice:test"
		same(s.t, "new", s.must("GET", p, "", "").raw, `{"displayname":"alice"}`)
		s.must("PUT", p+"/avatar_url", token, `{"avatar_url":"mxc://test/abc"}`)
		asked(s.t, "update", s.rooms.took("roomserver.update_profile"), `{"UserID":"@alice:test","Profile":{"displayname":"alice","avatar_url":"mxc://test/abc"}}`)
		s.must("PUT", p+"/org.example.pet", token, `{"org.example.pet":{"kind":"cat"},"other":1}`)
		s.must("PUT", p+"/m.tz", token, `{"m.tz":"Europe/London"}`)
		if got := s.rooms.took("roomserver.update_profile"); got != "" {
			s.t.Errorf("rooms were told of %s", got)
		}
		same(s.t, "all", s.must("GET", p, "", "").raw, `{"displayname":"alice","avatar_url":"mxc://test/abc","org.example.pet":{"kind":"cat"},"m.tz":"Europe/London"}`)
		same(s.t, "one", s.must("GET", p+"/org.example.pet", "", "").raw, `{"org.example.pet":{"kind":"cat"}}`)
		s.must("DELETE", p+"/org.example.pet", token, "")
		s.must("DELETE", p+"/org.example.pet", token, "")
		s.must("PUT", p+"/displayname", token, `{"displayname":""}`)
		s.must("PUT", p+"/avatar_url", token, `{"avatar_url":null}`)
		asked(s.t, "update", s.rooms.took("roomserver.update_profile"), `{"UserID":"@alice:test","Profile":{}}`)
		same(s.t, "rest", s.must("GET", p, "", "").raw, `{"m.tz":"Europe/London"}`)
		s.must("DELETE", p+"/m.tz", token, "")
		same(s.t, "none", s.must("GET", p, "", "").raw, `{}`)
	})
}

func TestAccountDataFiltersAndMarkers(t *testing.T) {
	each(t, func(s *server) {
		token := s.user("alice")
		u := "/user/@alice:test"
		s.must("PUT", u+"/account_data/m.direct", token, `{"@bob:test":["!a:t"]}`)
		same(s.t, "global", s.must("GET", u+"/account_data/m.direct", token, "").raw, `{"@bob:test":["!a:t"]}`)
		s.must("PUT", u+"/rooms/"+testRoom+"/account_data/m.direct", token, `{"n":1.5}`)
		same(s.t, "room", s.must("GET", u+"/rooms/"+testRoom+"/account_data/m.direct", token, "").raw, `{"n":1.5}`)
		s.must("PUT", u+"/account_data/org.big", token, `{"x":"`+strings.Repeat("x", 300<<10)+`"}`)

		s.must("POST", "/rooms/"+testRoom+"/receipt/m.fully_read/$e1:test", token, "")
		marker := u + "/rooms/" + testRoom + "/account_data/m.fully_read"
		same(s.t, "marker", s.must("GET", marker, token, "").raw, `{"event_id":"$e1:test"}`)
		s.must("POST", "/rooms/"+testRoom+"/read_markers", token, `{"m.fully_read":"$e2:test","m.read":"$e3:test"}`)
		same(s.t, "marker", s.must("GET", marker, token, "").raw, `{"event_id":"$e2:test"}`)
		asked(s.t, "receipt", s.rooms.took("roomserver.receipt.set"), `{"RoomID":"!room:test","UserID":"@alice:test","Kind":"m.read","EventID":"$e3:test","ThreadID":""}`)
		s.must("POST", "/rooms/"+testRoom+"/read_markers", token, `{}`)
		s.rooms.failWith(merr.NotFound("Event not found"))
		s.refuse(404, "M_NOT_FOUND", "POST", "/rooms/"+testRoom+"/read_markers", token, `{"m.fully_read":"$e9:test"}`)
		s.rooms.failWith(nil)

		id := s.must("POST", u+"/filter", token, `{"room":{"timeline":{"limit":5,"types":["m.*"]}},"event_format":"client","extra":1}`).text("filter_id")
		want := `{"room":{"timeline":{"limit":5,"types":["m.*"]}},"event_format":"client","extra":1}`
		same(s.t, "filter", s.must("GET", u+"/filter/"+id, token, "").raw, want)
		for range 2 { // from the store, then from memory
			s.must("GET", "/sync?filter="+id, token, "")
			if got := s.rooms.took("sync"); !strings.Contains(got, `"limit":5`) {
				s.t.Errorf("%s", got)
			}
		}
	})
}

func TestSync(t *testing.T) {
	each(t, func(s *server) {
		token := s.user("alice")
		device := s.must("GET", "/account/whoami", token, "").text("device_id")
		same(s.t, "answer", s.must("GET", "/sync?since=s0&timeout=999999999&full_state=true&use_state_after=true&set_presence=offline&filter=%7B%22room%22%3A%7B%7D%7D", token, "").raw,
			`{"next_batch":"s1_1_0"}`)
		asked(s.t, "request", s.rooms.took("sync"), `{"UserID":"@alice:test","DeviceID":"`+device+`","Since":"s0","TimeoutMS":300000,"Filter":{"room":{}},"FullState":true,"SetPresence":"offline","UseStateAfter":true}`)
		s.rooms.failWith(merr.InvalidParam("Invalid sync token"))
		s.refuse(400, "M_INVALID_PARAM", "GET", "/sync?since=x", token, "")
		s.rooms.failWith(nil)

		web := httptest.NewServer(s.ClientHandler())
		defer web.Close()
		get := func(ctx context.Context) (*http.Response, error) {
			r, _ := http.NewRequestWithContext(ctx, "GET", web.URL+"/_matrix/client/v3/sync?timeout=30000", nil)
			r.Header.Set("Authorization", "Bearer "+token)
			return http.DefaultClient.Do(r)
		}
		ended := make(chan error, 1)
		entered := make(chan struct{}, 1)
		s.rooms.mu.Lock()
		s.rooms.sync = func(ctx context.Context, _ *viewapi.SyncRequest, send func([]byte) error) error {
			entered <- struct{}{}
			<-ctx.Done()
			ended <- ctx.Err()
			return ctx.Err()
		}
		s.rooms.mu.Unlock()
		// The client goes away: the wait ends.
		ctx, cancel := context.WithCancel(context.Background())
		go func() { <-entered; cancel() }()
		if resp, err := get(ctx); err == nil {
			resp.Body.Close()
			s.t.Error("an answer after the client left")
		}
		wait(s.t, ended)
		// The server stops: the client is told at once to come back.
		go func() { <-entered; s.stop() }()
		resp, err := get(context.Background())
		if err != nil {
			s.t.Fatal(err)
		}
		if body, err := readBody(resp); resp.StatusCode != 503 || err != nil || !strings.Contains(body, "M_UNAVAILABLE") {
			s.t.Errorf("%d %s %v", resp.StatusCode, body, err)
		}
		wait(s.t, ended)
	})
}

func TestLargeSyncIsStreamed(t *testing.T) {
	each(t, func(s *server) {
		token := s.user("alice")
		s.rooms.mu.Lock()
		s.rooms.sync = func(_ context.Context, _ *viewapi.SyncRequest, send func([]byte) error) error {
			if err := send([]byte(`{"x":"`)); err != nil {
				return err
			}
			for range 40 {
				if err := send([]byte(strings.Repeat("y", 100<<10))); err != nil {
					return err
				}
			}
			return send([]byte(`"}`))
		}
		s.rooms.mu.Unlock()
		if a := s.must("GET", "/sync", token, ""); len(a.text("x")) != 40*100<<10 {
			s.t.Errorf("%d bytes", len(a.text("x")))
		}
	})
}

func wait(t *testing.T, ch <-chan error) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(10 * time.Second):
		t.Fatal("nothing happened")
	}
}

func TestDiscovery(t *testing.T) {
	s := start(t, true, nil)
	s.refuse(404, "M_NOT_FOUND", "GET", "/.well-known/matrix/client", "", "")
	s = start(t, true, func(d *Deps) { d.PublicBaseURL = "https://hs.example.org" })
	a := s.must("GET", "/.well-known/matrix/client", "", "")
	same(t, "well-known", a.raw, `{"m.homeserver":{"base_url":"https://hs.example.org"}}`)
	if a.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("%v", a.header)
	}
	token := s.user("alice")
	l := s.must("POST", "/login", "", `{"type":"m.login.password","user":"alice","password":"`+password+`"}`)
	if !strings.Contains(l.raw, `"well_known":{"m.homeserver":{"base_url":"https://hs.example.org"}}`) {
		t.Errorf("%s", l.raw)
	}
	v := s.must("GET", "/_matrix/client/versions", "", "")
	if !strings.Contains(v.raw, `"v1.1"`) {
		t.Errorf("%s", v.raw)
	}
	c := s.must("GET", "/capabilities", token, "")
	versions := c.body["capabilities"].(map[string]any)["m.room_versions"].(map[string]any)
	if versions["default"] != "12" || len(versions["available"].(map[string]any)) != 12 {
		t.Errorf("%s", c.raw)
	}
	same(t, "turn", s.must("GET", "/voip/turnServer", token, "").raw, `{}`)
	same(t, "protocols", s.must("GET", "/thirdparty/protocols", token, "").raw, `{}`)
	same(t, "pushers", s.must("GET", "/pushers", token, "").raw, `{"pushers":[]}`)
}

func TestPushRules(t *testing.T) {
	s := start(t, true, nil)
	token := s.user("alice")
	rules := s.must("GET", "/pushrules/", token, "")
	global := rules.body["global"].(map[string]any)
	if len(global["override"].([]any)) != 10 || len(global["underride"].([]any)) != 5 || len(global["content"].([]any)) != 0 {
		t.Errorf("%s", rules.raw)
	}
	same(t, "account data", s.must("GET", "/user/@alice:test/account_data/m.push_rules", token, "").raw, rules.raw)
	same(t, "master", s.must("GET", "/pushrules/global/override/.m.rule.master", token, "").raw,
		`{"rule_id":".m.rule.master","default":true,"enabled":false,"conditions":[],"actions":[]}`)
	same(t, "invite", s.must("GET", "/pushrules/global/override/.m.rule.invite_for_me", token, "").raw,
		`{"rule_id":".m.rule.invite_for_me","default":true,"enabled":true,"conditions":[{"kind":"event_match","key":"type","pattern":"m.room.member"},
		{"kind":"event_match","key":"content.membership","pattern":"invite"},{"kind":"event_match","key":"state_key","pattern":"@alice:test"}],
		"actions":["notify",{"set_tweak":"sound","value":"default"}]}`)
	same(t, "mention", s.must("GET", "/pushrules/global/override/.m.rule.is_user_mention", token, "").raw,
		`{"rule_id":".m.rule.is_user_mention","default":true,"enabled":true,"conditions":[{"kind":"event_property_contains","key":"content.m\\.mentions.user_ids","value":"@alice:test"}],
		"actions":["notify",{"set_tweak":"sound","value":"default"},{"set_tweak":"highlight"}]}`)
	same(t, "tombstone", s.must("GET", "/pushrules/global/override/.m.rule.tombstone", token, "").raw,
		`{"rule_id":".m.rule.tombstone","default":true,"enabled":true,"conditions":[{"kind":"event_match","key":"type","pattern":"m.room.tombstone"},{"kind":"event_match","key":"state_key","pattern":""}],
		"actions":["notify",{"set_tweak":"highlight"}]}`)
	same(t, "one to one", s.must("GET", "/pushrules/global/underride/.m.rule.room_one_to_one", token, "").raw,
		`{"rule_id":".m.rule.room_one_to_one","default":true,"enabled":true,"conditions":[{"kind":"room_member_count","is":"2"},{"kind":"event_match","key":"type","pattern":"m.room.message"}],
		"actions":["notify",{"set_tweak":"sound","value":"default"}]}`)
	same(t, "enabled", s.must("GET", "/pushrules/global/override/.m.rule.master/enabled", token, "").raw, `{"enabled":false}`)
	same(t, "actions", s.must("GET", "/pushrules/global/underride/.m.rule.call/actions", token, "").raw, `{"actions":["notify",{"set_tweak":"sound","value":"ring"}]}`)
}

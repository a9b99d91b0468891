package clientapi

import (
	"strings"
	"testing"
	"time"

	"hearth/internal/merr"
)

func TestRequestsReachTheRoomserver(t *testing.T) {
	each(t, func(s *server) {
		token := s.user("alice")
		s.must("PUT", "/profile/@alice:test/displayname", token, `{"displayname":"Alice"}`)
		asked(s.t, "update profile", s.rooms.awaited(s.t, "roomserver.update_profile"), `{"UserID":"@alice:test","Profile":{"displayname":"Alice"}}`)
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
			`{"start":"t1","end":"s7_0_0_0_0","event":`+message(testEvent)+`,"events_before":[],"events_after":[],"state":[]}`)

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

func TestProfile(t *testing.T) {
	each(t, func(s *server) {
		token := s.user("alice")
		p := "/profile/@alice:test"
		same(s.t, "new", s.must("GET", p, "", "").raw, `{"displayname":"alice"}`)
		s.must("PUT", p+"/avatar_url", token, `{"avatar_url":"mxc://test/abc"}`)
		asked(s.t, "update", s.rooms.awaited(s.t, "roomserver.update_profile"), `{"UserID":"@alice:test","Profile":{"displayname":"alice","avatar_url":"mxc://test/abc"}}`)
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
		told := s.rooms.awaited(s.t, "roomserver.update_profile")
		for strings.Contains(told, "mxc:") { // of the first change alone
			told = s.rooms.awaited(s.t, "roomserver.update_profile")
		}
		asked(s.t, "update", told, `{"UserID":"@alice:test","Profile":{}}`)
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

package clientapi

import (
	"strings"
	"testing"
)

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
		{404, "M_UNRECOGNIZED", "GET", "/keys/none", ``},
		{405, "M_UNRECOGNIZED", "GET", "/logout", ``},
		{404, "M_UNRECOGNIZED", "GET", "/sync/", ``},
	} {
		s.refuse(c.status, c.code, c.method, c.path, token, c.body)
	}
}

package rooms

import (
	"net/url"
	"testing"
)

// TestSummaryWithoutToken: nobody sees what anybody may see, and no more (client-server
// API, "GET /room_summary").
func TestSummaryWithoutToken(t *testing.T) {
	each(t, func(t *testing.T, s *server) {
		alice, nobody := s.user("alice"), &user{server: s}
		path := func(id string) string { return "/_matrix/client/v1/room_summary/" + url.PathEscape(id) }
		public := alice.create(`{"preset":"public_chat","name":"Public","room_alias_name":"public"}`)
		readable := alice.create(`{"preset":"private_chat","name":"Readable","initial_state":[{"type":"m.room.history_visibility","content":{"history_visibility":"world_readable"}}]}`)
		knock := alice.create(`{"preset":"private_chat","name":"Knock","initial_state":[{"type":"m.room.join_rules","content":{"join_rule":"knock"}}]}`)
		private := alice.create(`{"preset":"private_chat","name":"Private"}`)
		for id, name := range map[string]string{public: "Public", "#public:" + name: "Public", readable: "Readable", knock: "Knock"} {
			a := nobody.must("GET", path(id), "")
			if a.text("name") != name || a.at("membership") != nil {
				t.Errorf("%s: %s", name, a.raw)
			}
		}
		nobody.refused(404, "M_NOT_FOUND", "GET", path(private), "")
		nobody.refused(404, "M_NOT_FOUND", "GET", path("!unknown:"+name), "")
		nobody.refused(400, "M_INVALID_PARAM", "GET", path("public"), "")
		if a := alice.must("GET", path(private), ""); a.text("membership") != "join" {
			t.Errorf("%s", a.raw)
		}
		(&user{server: s, token: "hrt_unknown"}).refused(401, "M_UNKNOWN_TOKEN", "GET", path(public), "")
	})
}

package rooms

import (
	"strings"
	"testing"
)

func TestBlockedInvites(t *testing.T) {
	each(t, func(t *testing.T, s *server) {
		alice, bob := s.user("alice"), s.user("bob")
		room, earlier := alice.create(`{}`), alice.create(`{"invite":["`+bob.id+`"]}`)
		set := func(content string) {
			bob.must("PUT", "/user/"+bob.id+"/account_data/m.invite_permission_config", content)
		}
		invite, member := in(room)+"/invite", in(room)+"/state/m.room.member/"+bob.id
		set(`{"default_action":"block"}`)
		alice.refused(403, "M_INVITE_BLOCKED", "POST", invite, `{"user_id":"`+bob.id+`"}`)
		alice.refused(403, "M_INVITE_BLOCKED", "PUT", member, `{"membership":"invite"}`)
		alice.refused(403, "M_INVITE_BLOCKED", "POST", "/createRoom", `{"invite":["`+bob.id+`"]}`)
		alice.must("PUT", member, `{"membership":"ban"}`)
		alice.must("POST", in(room)+"/unban", `{"user_id":"`+bob.id+`"}`)
		if whole := bob.must("GET", "/sync", ""); strings.Contains(whole.raw, earlier) {
			t.Errorf("bob is shown an invite: %s", whole.raw)
		}
		bob.join(earlier) // an invite that is not shown is one all the same
		for _, other := range []string{`{}`, `{"default_action":"allow"}`, `{"default_action":5}`} {
			set(other)
			alice.must("POST", invite, `{"user_id":"`+bob.id+`"}`)
			bob.leave(room)
		}
	})
}

package clientapi

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestPresence(t *testing.T) {
	eachWith(t, func(d *Deps) { d.Presence = true }, func(s *server) {
		alice, bob := s.user("alice"), s.user("bob")
		const path, other = "/presence/@alice:test/status", "/presence/@bob:test/status"
		same(s.t, "never seen", s.must("GET", path, alice, "").raw, `{"presence":"offline"}`)
		s.must("PUT", path, alice, `{"presence":"online","status_msg":"here"}`)
		s.clock.add(1500 * time.Millisecond)
		same(s.t, "online", s.must("GET", path, alice, "").raw, `{"presence":"online","currently_active":true,"last_active_ago":1500,"status_msg":"here"}`)
		same(s.t, "to others", s.must("GET", path, bob, "").raw, `{"presence":"online","currently_active":true,"last_active_ago":1500,"status_msg":"here"}`)
		s.must("PUT", path, alice, `{"presence":"unavailable"}`)
		same(s.t, "no status", s.must("GET", path, alice, "").raw, `{"presence":"unavailable","last_active_ago":1500}`)

		s.must("GET", "/sync?set_presence=offline", bob, "")
		same(s.t, "unseen", s.must("GET", other, bob, "").raw, `{"presence":"offline"}`)
		s.must("GET", "/sync?timeout=1000", bob, "")
		same(s.t, "syncing", s.must("GET", other, alice, "").raw, `{"presence":"online","currently_active":true,"last_active_ago":0}`)
		s.clock.add(50 * time.Second)
		s.must("GET", "/sync", bob, "")
		s.clock.add(20 * time.Second)
		same(s.t, "idle", s.must("GET", other, alice, "").raw, `{"presence":"online","currently_active":false,"last_active_ago":70000}`)
		s.must("PUT", "/rooms/"+testRoom+"/send/m.x/1", bob, `{}`)
		same(s.t, "busy", s.must("GET", other, alice, "").raw, `{"presence":"online","currently_active":true,"last_active_ago":0}`)
		s.must("GET", "/sync?set_presence=unavailable", bob, "")
		if a := s.must("GET", other, alice, ""); a.text("presence") != "unavailable" {
			s.t.Errorf("%s", a.raw)
		}
		s.must("GET", "/sync?set_presence=offline", bob, "")
		if a := s.must("GET", other, alice, ""); a.text("presence") != "offline" {
			s.t.Errorf("%s", a.raw)
		}

		s.refuse(403, "M_FORBIDDEN", "PUT", other, alice, `{"presence":"online"}`)
		s.refuse(403, "M_FORBIDDEN", "GET", "/presence/@stranger:test/status", alice, "")
		s.refuse(400, "M_INVALID_PARAM", "GET", "/presence/alice/status", alice, "")
		s.refuse(400, "M_MISSING_PARAM", "PUT", path, alice, `{}`)
		s.refuse(400, "M_INVALID_PARAM", "PUT", path, alice, `{"presence":"busy"}`)
		s.refuse(400, "M_BAD_JSON", "PUT", path, alice, `{"presence":5}`)
		s.refuse(400, "M_INVALID_PARAM", "PUT", path, alice, fmt.Sprintf(`{"presence":"online","status_msg":%q}`, strings.Repeat("x", 2000)))
	})
}

func TestNoPresence(t *testing.T) {
	s := start(t, true, nil)
	token := s.user("alice")
	s.must("GET", "/sync", token, "")
	s.refuse(403, "M_FORBIDDEN", "PUT", "/presence/@alice:test/status", token, `{"presence":"online"}`)
	s.refuse(404, "M_NOT_FOUND", "GET", "/presence/@alice:test/status", token, "")
}

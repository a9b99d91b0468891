package clientapi

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestRateLimits(t *testing.T) {
	s := start(t, true, func(d *Deps) { d.RateLimits = true })
	token := s.user("alice")
	wrong := `{"type":"m.login.password","user":"alice","password":"wrong"}`
	for range 10 {
		s.refuse(403, "M_FORBIDDEN", "POST", "/login", "", wrong)
	}
	a := s.refuse(429, "M_LIMIT_EXCEEDED", "POST", "/login", "", wrong)
	if a.header.Get("Retry-After") != "5" || a.body["retry_after_ms"] != 5000.0 {
		t.Errorf("%v %s", a.header, a.raw)
	}
	s.clock.add(5 * time.Second)
	s.refuse(403, "M_FORBIDDEN", "POST", "/login", "", wrong)
	s.refuse(429, "M_LIMIT_EXCEEDED", "POST", "/login", "", wrong)
	s.clock.add(-time.Hour)
	s.refuse(429, "M_LIMIT_EXCEEDED", "POST", "/login", "", wrong)
	s.clock.add(2 * time.Hour)
	for range 200 {
		s.must("PUT", "/rooms/"+testRoom+"/send/m.room.message/t", token, `{}`)
	}
	s.refuse(429, "M_LIMIT_EXCEEDED", "PUT", "/rooms/"+testRoom+"/send/m.room.message/t", token, `{}`)
	for range 10 {
		s.do("POST", "/register", "", `{"username":"bob"}`)
	}
	s.refuse(429, "M_LIMIT_EXCEEDED", "POST", "/register", "", `{"username":"bob"}`)
	for i := range 2 * maxBuckets {
		_ = s.limits.send.take(fmt.Sprint(i))
	}
	if n := s.limits.send.buckets.Len(); n > maxBuckets {
		t.Errorf("%d buckets", n)
	}
}

// TestLimitsOfRoutes: each kind of request has its limit, and each rule means a route.
func TestLimitsOfRoutes(t *testing.T) {
	s := start(t, true, func(d *Deps) { d.RateLimits = true })
	routes := append(s.clientRoutes(), s.keyRoutes()...)
	for _, rule := range s.limitRules() {
		for _, p := range rule.paths {
			one := limitRule{paths: []string{p}}
			found := p == v3+"/notifications" || p == v3+"/pushers/set" // of another table
			for _, r := range routes {
				found = found || r.Method == rule.method && one.covers(r.Path)
			}
			if !found && rule.limit != s.limits.settings { // whose list is for several methods
				t.Errorf("no route is %s %s", rule.method, p)
			}
		}
	}
	token, other := s.user("alice"), s.user("bob")
	const r = "/rooms/" + testRoom
	for _, c := range []struct {
		burst              int
		method, path, body string
	}{
		{1000, "PUT", "/sendToDevice/m.x/1", `{"messages":{}}`},
		{300, "POST", "/keys/query", `{"device_keys":{}}`},
		{300, "PUT", r + "/typing/@alice:test", `{"typing":false}`},
		{200, "PUT", "/user/@alice:test/account_data/m.x", `{}`},
		{500, "GET", r + "/messages?dir=b", ""},
		{200, "POST", r + "/kick", `{"user_id":"@x:test"}`},
	} {
		for i := range c.burst {
			if a := s.do(c.method, c.path, token, c.body); a.status == 429 {
				t.Fatalf("%s %s: the %dth is refused", c.method, c.path, i)
			}
		}
		a := s.refuse(429, "M_LIMIT_EXCEEDED", c.method, c.path, token, c.body)
		if a.header.Get("Retry-After") == "" {
			t.Errorf("%s %s: %v", c.method, c.path, a.header)
		}
		if a := s.do(c.method, strings.Replace(c.path, "@alice", "@bob", 1), other, c.body); a.status == 429 {
			t.Errorf("%s %s: another user is refused", c.method, c.path)
		}
	}
	for range 60 {
		if a := s.do("GET", "/publicRooms", "", ""); a.status == 429 {
			t.Fatal("nobody is refused at once")
		}
	}
	s.refuse(429, "M_LIMIT_EXCEEDED", "GET", "/publicRooms", "", "")
}

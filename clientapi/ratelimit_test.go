package clientapi

import (
	"fmt"
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

package clientapi

import "testing"

func TestDelegate(t *testing.T) {
	const path = "/.well-known/matrix/server"
	start(t, true, nil).refuse(404, "M_NOT_FOUND", "GET", path, "", "")
	s := start(t, true, func(d *Deps) { d.Delegate = "hs.example.org:443" })
	same(t, "well-known", s.must("GET", path, "", "").raw, `{"m.server":"hs.example.org:443"}`)
}

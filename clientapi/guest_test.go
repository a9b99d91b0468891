package clientapi

import (
	"strings"
	"testing"

	"hearth/internal/matrixhttp"
)

func guests(d *Deps) { d.Registration.Guests = true }

func (s *server) guestToken() (userID, token string) {
	s.t.Helper()
	a := s.must("POST", "/register?kind=guest", "", `{"username":"ignored","password":"ignored"}`)
	return a.text("user_id"), a.text("access_token")
}

func TestGuest(t *testing.T) {
	eachWith(t, guests, func(s *server) {
		id, token := s.guestToken()
		if who := s.must("GET", "/account/whoami", token, ""); who.body["is_guest"] != true || who.text("user_id") != id || strings.Contains(id, "ignored") {
			s.t.Errorf("%s", who.raw)
		}
		s.must("POST", "/rooms/"+testRoom+"/join", token, "")
		asked(s.t, "join", s.rooms.took("roomserver.join"), `{"RoomIDOrAlias":"`+testRoom+`","UserID":"`+id+`","IsGuest":true,"Profile":{"displayname":"`+id[1:13]+`"}}`)
		s.must("PUT", "/rooms/"+testRoom+"/send/m.x/1", token, `{}`)
		s.must("PUT", "/profile/"+id+"/displayname", token, `{"displayname":"Guest"}`)
		s.refuse(403, "M_GUEST_ACCESS_FORBIDDEN", "PUT", "/profile/"+id+"/avatar_url", token, `{"avatar_url":"mxc://a/b"}`)
		s.refuse(403, "M_GUEST_ACCESS_FORBIDDEN", "DELETE", "/profile/"+id+"/m.tz", token, ``)
		s.refuse(403, "M_GUEST_ACCESS_FORBIDDEN", "POST", "/createRoom", token, `{}`)

		name := strings.TrimSuffix(id[1:], ":test")
		upgrade := func(name, guest string) string {
			return strings.Replace(registering(name, `{"type":"m.login.dummy"}`), "{", `{"guest_access_token":"`+guest+`",`, 1)
		}
		s.refuse(400, "M_INVALID_PARAM", "POST", "/register", "", upgrade("other", token))
		s.refuse(400, "M_MISSING_PARAM", "POST", "/register", "", upgrade("", token))
		s.refuse(401, "M_UNKNOWN_TOKEN", "POST", "/register", "", upgrade(name, "x"))
		s.refuse(403, "M_FORBIDDEN", "POST", "/register", "", upgrade("alice", s.user("alice")))
		s.refuse(400, "M_USER_IN_USE", "POST", "/register", "", registering(name, `{"type":"m.login.dummy"}`))
		full := s.must("POST", "/register", "", upgrade(name, token))
		if full.text("user_id") != id {
			s.t.Errorf("%s", full.raw)
		}
		if who := s.must("GET", "/account/whoami", full.text("access_token"), ""); who.body["is_guest"] != false {
			s.t.Errorf("%s", who.raw)
		}
		s.must("POST", "/login", "", `{"type":"m.login.password","user":"`+name+`","password":"`+password+`"}`)
	})
}

// guestPaths are those that the spec's module "Guest Access" lists.
var guestPaths = map[string]bool{
	"GET /account/whoami": true, "GET /devices": true, "GET /devices/{deviceId}": true, "PUT /devices/{deviceId}": true, "GET /sync": true, "GET /events": true,
	"PUT /profile/{userId}/{keyName}": true, "DELETE /profile/{userId}/{keyName}": true,
	"POST /rooms/{roomId}/join": true, "POST /rooms/{roomId}/leave": true, "PUT /rooms/{roomId}/send/{eventType}/{txnId}": true,
	"PUT /rooms/{roomId}/state/{eventType}": true, "PUT /rooms/{roomId}/state/{eventType}/": true, "PUT /rooms/{roomId}/state/{eventType}/{stateKey}": true,
	"GET /rooms/{roomId}/state": true, "GET /rooms/{roomId}/state/{eventType}": true, "GET /rooms/{roomId}/state/{eventType}/": true,
	"GET /rooms/{roomId}/state/{eventType}/{stateKey}": true, "GET /rooms/{roomId}/members": true, "GET /rooms/{roomId}/event/{eventId}": true,
	"GET /rooms/{roomId}/messages": true, "GET /rooms/{roomId}/context/{eventId}": true, "GET /rooms/{roomId}/initialSync": true,
	"POST /keys/upload": true, "POST /keys/upload/{deviceId}": true, "POST /keys/query": true, "POST /keys/claim": true, "PUT /sendToDevice/{eventType}/{txnId}": true,
	"GET /media/download/{serverName}/{mediaId}": true, "GET /media/download/{serverName}/{mediaId}/{fileName}": true, "GET /media/thumbnail/{serverName}/{mediaId}": true,
}

// TestEveryRouteForGuests asks the authentication of each route what it does with a guest.
func TestEveryRouteForGuests(t *testing.T) {
	s := start(t, true, guests)
	_, token := s.guestToken()
	for _, route := range s.clientRoutes() {
		if route.Auth == nil {
			continue
		}
		path := strings.NewReplacer("/_matrix/client/(r0|v3)", "", "/_matrix/client/v1", "").Replace(route.Path)
		routes := []matrixhttp.Route{{Method: route.Method, Path: route.Path, Auth: route.Auth, Handle: func(*matrixhttp.Request) (any, error) { return nil, nil }}}
		mux, err := matrixhttp.New(matrixhttp.Options{Routes: routes})
		must(t, err)
		status := serve(mux, route.Method, concrete(route.Path), token)
		if allowed := status == 200; allowed != guestPaths[route.Method+" "+path] {
			t.Errorf("%s %s: %d for a guest", route.Method, path, status)
		}
	}
}

func TestNoGuests(t *testing.T) {
	s := start(t, true, nil)
	s.refuse(403, "M_GUEST_ACCESS_FORBIDDEN", "POST", "/register?kind=guest", "", `{}`)
}

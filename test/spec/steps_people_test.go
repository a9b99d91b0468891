package spec

import (
	"net/http"
	"net/url"
	"strings"
)

// peopleSteps make the accounts and what others see of them.
var peopleSteps = []step{
	{"what the server says of itself", func(w *world) {
		w.some(w.do(nil, "getVersions", request{}), "versions")
		w.must(w.do(nil, "getWellknown", request{}), w.server.URL(), "m.homeserver", "base_url")
		w.must(w.do(nil, "getWellknownSupport", request{}), "admin@example.org", "contacts", "0", "email_address")
		w.some(w.do(nil, "getLoginFlows", request{}), "flows")
	}},
	{"register", func(w *world) {
		w.must(w.do(nil, "checkUsernameAvailability", request{query: url.Values{"username": {"alice"}}}), true, "available")
		w.alice, w.bob, w.carol = w.register("alice"), w.register("bob"), w.register("carol")
		w.refused(nil, "checkUsernameAvailability", request{query: url.Values{"username": {"alice"}}}, http.StatusBadRequest, "M_USER_IN_USE")
		w.must(w.do(w.alice, "getTokenOwner", request{}), w.alice.id, "user_id")
		w.do(w.alice, "getCapabilities", request{})
	}},
	{"single sign-on", func(w *world) {
		w.must(w.do(nil, "getLoginFlows", request{}), "example", "flows", "3", "identity_providers", "0", "id")
		back := request{path: in("idpId", "example"), query: url.Values{"redirectUrl": {"https://app.example.org/"}}}
		w.do(nil, "redirectToSSO", back)
		w.do(nil, "redirectToIdP", back)
		w.refused(nil, "getAuthMetadata", request{}, http.StatusNotFound, "M_UNRECOGNIZED")
	}},
	{"profile", func(w *world) {
		me := in("userId", w.alice.id, "keyName", "displayname")
		w.do(w.alice, "setProfileField", request{path: me, body: object{"displayname": "Alice"}})
		w.must(w.do(w.bob, "getProfileField", request{path: me}), "Alice", "displayname")
		pronouns := in("userId", w.alice.id, "keyName", "org.example.pronouns")
		w.do(w.alice, "setProfileField", request{path: pronouns, body: object{"org.example.pronouns": []string{"she"}}})
		w.must(w.do(w.bob, "getUserProfile", request{path: me}), "Alice", "displayname")
		w.do(w.alice, "deleteProfileField", request{path: pronouns})
		w.refused(w.bob, "setProfileField", request{path: me, body: object{"displayname": "Bob"}}, http.StatusForbidden, "M_FORBIDDEN")
	}},
	{"presence", func(w *world) {
		me := in("userId", w.alice.id)
		w.do(w.alice, "setPresence", request{path: me, body: object{"presence": "unavailable", "status_msg": "away"}})
		w.must(w.do(w.alice, "getPresence", request{path: me}), "away", "status_msg")
	}},
	{"account data", func(w *world) {
		global := in("userId", w.alice.id, "type", "org.example.data")
		w.do(w.alice, "setAccountData", request{path: global, body: object{"a": 1}})
		w.must(w.do(w.alice, "getAccountData", request{path: global}), 1, "a")
		w.do(w.alice, "setAccountData", request{path: in("userId", w.alice.id, "type", "m.direct"), body: object{w.bob.id: []string{}}})
		w.refused(w.bob, "getAccountData", request{path: global}, http.StatusForbidden, "M_FORBIDDEN")
	}},
	{"calls", func(w *world) {
		w.some(w.do(w.alice, "getTurnServer", request{}), "uris")
	}},
	{"openid", func(w *world) {
		v := w.do(w.alice, "requestOpenIdToken", request{path: in("userId", w.alice.id), body: object{}})
		w.must(v, "Bearer", "token_type")
	}},
}

// register makes an account as a client does: it asks what is needed and does that.
func (w *world) register(name string) *person {
	w.Helper()
	p := &person{password: "password of " + name}
	body := object{"username": name, "password": p.password}
	asked := w.refused(nil, "register", request{body: body}, http.StatusUnauthorized, "")
	body["auth"] = object{"type": "m.login.dummy", "session": asked.text("session")}
	v := w.do(nil, "register", request{body: body})
	p.id, p.device, p.token = v.text("user_id"), v.text("device_id"), v.text("access_token")
	if p.id != "@"+name+":localhost" || p.device == "" || p.token == "" {
		w.Fatalf("registered as %+v", p)
	}
	return p
}

// login opens another session of a person.
func (w *world) login(p *person, more object) (*person, value) {
	w.Helper()
	body := object{
		"type": "m.login.password", "password": p.password,
		"identifier": object{"type": "m.id.user", "user": strings.TrimPrefix(p.id, "@")[:strings.Index(p.id, ":")-1]},
	}
	for k, v := range more {
		body[k] = v
	}
	v := w.do(nil, "login", request{body: body})
	return &person{id: p.id, device: v.text("device_id"), token: v.text("access_token"), password: p.password}, v
}

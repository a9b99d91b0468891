package spec

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"net/http"

	"hearth/test/harness"
)

// adminSteps are what administrators do, and what users tell them.
var adminSteps = []step{
	{"reports", func(w *world) {
		reason := object{"reason": "It makes me sad"}
		w.do(w.bob, "reportEvent", request{path: in("roomId", w.room, "eventId", w.event), body: reason})
		w.do(w.carol, "reportRoom", request{path: in("roomId", w.room), body: reason})
		w.do(w.carol, "reportUser", request{path: in("userId", w.alice.id), body: reason})
		w.refused(w.bob, "reportEvent", request{path: in("roomId", w.room, "eventId", "$nothing"), body: reason}, http.StatusNotFound, "M_NOT_FOUND")
		w.refused(w.carol, "reportUser", request{path: in("userId", w.alice.id), body: object{}}, http.StatusBadRequest, "M_MISSING_PARAM")
	}},
	{"restrictions", func(w *world) {
		admin, eve := w.admin("warden"), w.register("eve")
		path := in("userId", eve.id)
		w.do(eve, "getWhoIs", request{path: path})
		w.do(admin, "getWhoIs", request{path: path})
		w.refused(eve, "getWhoIs", request{path: in("userId", admin.id)}, http.StatusForbidden, "M_FORBIDDEN")
		w.must(w.do(admin, "setAdminSuspendUser", request{path: path, body: object{"suspended": true}}), true, "suspended")
		w.must(w.do(admin, "getAdminSuspendUser", request{path: path}), true, "suspended")
		w.refused(eve, "createRoom", request{body: object{}}, http.StatusForbidden, "M_USER_SUSPENDED")
		w.do(admin, "setAdminLockUser", request{path: path, body: object{"locked": true}})
		w.must(w.do(admin, "getAdminLockUser", request{path: path}), true, "locked")
		w.refused(eve, "getTokenOwner", request{}, http.StatusUnauthorized, "M_USER_LOCKED")
		for _, id := range []string{"setAdminSuspendUser", "setAdminLockUser"} {
			w.refused(w.bob, id, request{path: path, body: object{"locked": false, "suspended": false}}, http.StatusForbidden, "M_FORBIDDEN")
		}
	}},
}

// admin makes an administrator by the shared secret.
func (w *world) admin(name string) *person {
	w.Helper()
	const path = "/_synapse/admin/v1/register"
	c := harness.NewClient(w.server.AdminURL())
	var nonce struct{ Nonce string }
	if _, err := c.Do(http.MethodGet, path, nil, &nonce); err != nil {
		w.Fatal(err)
	}
	p := &person{password: "password of " + name}
	mac := hmac.New(sha1.New, []byte(w.server.SharedSecret()))
	fmt.Fprintf(mac, "%s\x00%s\x00%s\x00admin", nonce.Nonce, name, p.password)
	var session struct {
		UserID      string `json:"user_id"`
		DeviceID    string `json:"device_id"`
		AccessToken string `json:"access_token"`
	}
	if _, err := c.Do(http.MethodPost, path, object{
		"nonce": nonce.Nonce, "username": name, "password": p.password, "admin": true, "mac": hex.EncodeToString(mac.Sum(nil)),
	}, &session); err != nil {
		w.Fatal(err)
	}
	p.id, p.device, p.token = session.UserID, session.DeviceID, session.AccessToken
	return p
}

package spec

import (
	"net/http"
	"net/url"
)

// accountSteps open sessions and end them, at last the account itself.
var accountSteps = []step{
	{"devices", func(w *world) {
		second, _ := w.login(w.carol, object{"device_id": "SECOND", "initial_device_display_name": "Second"})
		w.login(w.carol, object{"device_id": "THIRD"})
		here := in("deviceId", second.device)
		w.must(w.do(w.carol, "getDevice", request{path: here}), "Second", "display_name")
		w.do(w.carol, "updateDevice", request{path: here, body: object{"display_name": "Phone"}})
		if v := w.do(w.carol, "getDevices", request{}); len(v.list("devices")) != 3 {
			w.Errorf("the devices are %v", v.any)
		}
		w.confirmed(w.carol, "deleteDevice", request{path: here})
		w.confirmed(w.carol, "deleteDevices", request{body: object{"devices": []string{"THIRD"}}})
		w.refused(w.carol, "getDevice", request{path: here}, http.StatusNotFound, "M_NOT_FOUND")
	}},
	{"refresh", func(w *world) {
		_, v := w.login(w.carol, object{"refresh_token": true})
		if w.built("refresh") {
			w.do(nil, "refresh", request{body: object{"refresh_token": v.text("refresh_token")}})
		}
	}},
	{"log-in by a token", func(w *world) {
		v := w.confirmed(w.carol, "generateLoginToken", request{})
		if w.built("generateLoginToken") {
			w.do(nil, "login", request{body: object{"type": "m.login.token", "token": v.text("login_token")}})
		}
		w.must(w.do(nil, "registrationTokenValidity", request{query: url.Values{"token": {"unknown"}}}), false, "valid")
	}},
	{"administration", func(w *world) {
		w.must(w.do(w.alice, "getWhoIs", request{path: in("userId", w.alice.id)}), w.alice.id, "user_id")
	}},
	{"change the password", func(w *world) {
		w.confirmed(w.carol, "changePassword", request{body: object{"new_password": "another password of carol", "logout_devices": false}})
		w.carol.password = "another password of carol"
	}},
	{"log out", func(w *world) {
		second, _ := w.login(w.carol, nil)
		w.do(second, "logout", request{})
		w.refused(second, "getTokenOwner", request{}, http.StatusUnauthorized, "M_UNKNOWN_TOKEN")
		third, _ := w.login(w.carol, nil)
		w.do(third, "logout_all", request{})
		w.refused(w.carol, "getTokenOwner", request{}, http.StatusUnauthorized, "M_UNKNOWN_TOKEN")
	}},
	{"deactivate", func(w *world) {
		last, _ := w.login(w.carol, nil)
		w.confirmed(last, "deactivateAccount", request{body: object{"erase": true}})
		w.refused(nil, "login", request{body: object{"type": "m.login.password", "password": last.password,
			"identifier": object{"type": "m.id.user", "user": last.id}}}, http.StatusForbidden, "M_USER_DEACTIVATED")
	}},
}

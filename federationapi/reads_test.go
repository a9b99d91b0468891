package federationapi

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"hearth/federationapi/xmatrix"
)

// TestReads: what others ask about events, rooms, users.
func TestReads(t *testing.T) {
	o := newOwners(t)
	room := escape(ourRoom)
	ids := func(n int) string { return `["$` + strings.Join(make([]string, n), `","$`) + `"]` }
	for _, tc := range []struct {
		method, uri, body string
		status            int
		want              string
	}{
		{"GET", "/event/$known", "", 200, `"pdus":[{"event_id":"$known"}]}`},
		{"GET", "/event/$unknown", "", 404, "M_NOT_FOUND"},
		{"GET", "/event/x", "", 400, ""},
		{"GET", "/state/" + room + "?event_id=$e", "", 200, `{"ids":false,"event":"$e"}`},
		{"GET", "/state_ids/" + room + "?event_id=$e", "", 200, `{"ids":true,"event":"$e"}`},
		{"GET", "/state_ids/" + room, "", 400, "M_MISSING_PARAM"},
		{"GET", "/state_ids/" + room + "?event_id=x", "", 400, ""},
		{"GET", "/state/" + escape(unknownRoom) + "?event_id=$e", "", 403, "M_FORBIDDEN"},
		{"GET", "/state/x?event_id=$e", "", 400, ""},
		{"GET", "/event_auth/" + room + "/$e", "", 200, `{"auth_chain":[]}`},
		{"GET", "/event_auth/" + room + "/e", "", 400, ""},
		{"GET", "/backfill/" + room + "?v=$a&v=$b&limit=3", "", 200, `"pdus":[{"n":0},{"n":1},{"n":2}]}`},
		{"GET", "/backfill/" + room + "?v=$a&limit=0", "", 200, `"pdus":[]}`},
		{"GET", "/backfill/" + room + "?v=$a&limit=999999", "", 200, fmt.Sprintf(`{"n":%d}]}`, maxBackfill-1)},
		{"GET", "/backfill/" + room + "?v=$a&limit=-1", "", 400, "M_INVALID_PARAM"},
		{"GET", "/backfill/" + room + "?v=$a", "", 400, "M_MISSING_PARAM"},
		{"GET", "/backfill/" + room + "?limit=5", "", 400, "M_MISSING_PARAM"},
		{"GET", "/backfill/" + room + "?limit=5&v=x", "", 400, ""},
		{"GET", "/backfill/" + room + "?limit=5&" + strings.Repeat("v=$a&", maxNamedIDs+1), "", 400, "M_INVALID_PARAM"},
		{"POST", "/get_missing_events/" + room, `{"earliest_events":["$a"],"latest_events":["$b"]}`, 200, `{"events":[{"limit":10,"depth":0}]}`},
		{"POST", "/get_missing_events/" + room, `{"earliest_events":[],"latest_events":["$b"],"limit":1000,"min_depth":-5}`, 200, `{"events":[{"limit":50,"depth":0}]}`},
		{"POST", "/get_missing_events/" + room, `{"earliest_events":[],"latest_events":[]}`, 200, `{"events":[]}`},
		{"POST", "/get_missing_events/" + room, `{"latest_events":"$b"}`, 400, "M_BAD_JSON"},
		{"POST", "/get_missing_events/" + room, `{"latest_events":["x"]}`, 400, ""},
		{"POST", "/get_missing_events/" + room, `{"latest_events":` + ids(maxNamedIDs+1) + `}`, 400, "M_INVALID_PARAM"},
		{"GET", "/timestamp_to_event/" + room + "?ts=5&dir=b", "", 200, `{"event_id":"$true","origin_server_ts":5}`},
		{"GET", "/timestamp_to_event/" + room + "?ts=5&dir=x", "", 400, "M_INVALID_PARAM"},
		{"GET", "/timestamp_to_event/" + room + "?dir=f", "", 400, "M_MISSING_PARAM"},
		{"GET", "/timestamp_to_event/" + room + "?ts=x&dir=f", "", 400, "M_INVALID_PARAM"},
		{"GET", "/hierarchy/" + room + "?suggested_only=true", "", 200, `{"suggested":true}`},
		{"GET", "/hierarchy/" + room + "?suggested_only=1", "", 400, "M_INVALID_PARAM"},
		{"GET", "/publicRooms", "", 200, `"name":"500[] true"`},
		{"GET", "/publicRooms?limit=3&since=n1_2", "", 200, `"name":"3n1_2[] true"`},
		{"GET", "/publicRooms?limit=-1", "", 400, "M_INVALID_PARAM"},
		{"GET", "/publicRooms?third_party_instance_id=irc", "", 200, `"chunk":[]`},
		{"POST", "/publicRooms", `{"filter":{"generic_search_term":"x","room_types":[null,"m.space"]},"limit":2}`, 200, `"name":"2x[ m.space] false"`},
		{"POST", "/publicRooms", `{"limit":-2}`, 400, "M_INVALID_PARAM"},
		{"POST", "/publicRooms", `{"filter":5}`, 400, "M_BAD_JSON"},
		{"GET", "/user/devices/" + escape("@alice:example.org"), "", 200, `{"user_id":"@alice:example.org","stream_id":7,"devices":[{"device_id":"A","device_display_name":"phone","keys":{"k":1,"unsigned":{"device_display_name":"phone"}}},{"device_id":"B","keys":{"k":2}}],"master_key":{"m":1}}`},
		{"GET", "/user/devices/" + escape("@eve:example.org"), "", 404, "M_NOT_FOUND"},
		{"GET", "/user/devices/" + escape("@alice:other.example"), "", 404, "M_NOT_FOUND"},
		{"POST", "/user/keys/query", `{"device_keys":{"@alice:example.org":[],"@eve:example.org":["X"],"@x:other.example":[]}}`, 200,
			`{"device_keys":{"@alice:example.org":{"A":{"k":1,"unsigned":{"device_display_name":"phone"}},"B":{"k":2}},"@eve:example.org":{}},"master_keys":{"@alice:example.org":{"m":1}},"self_signing_keys":{}}`},
		{"POST", "/user/keys/query", `{"device_keys":{}}`, 200, `{"device_keys":{},"master_keys":{},"self_signing_keys":{}}`},
		{"POST", "/user/keys/query", `{"device_keys":{"@eve:example.org":[]}}`, 200, `{"device_keys":{"@eve:example.org":{}},"master_keys":{},"self_signing_keys":{}}`},
		{"POST", "/user/keys/query", `{}`, 400, "M_MISSING_PARAM"},
		{"POST", "/user/keys/query", `{"device_keys":[]}`, 400, "M_BAD_JSON"},
		{"POST", "/user/keys/claim", `{"one_time_keys":{"@alice:example.org":{"A":"signed_curve25519"},"@x:other.example":{"B":"signed_curve25519"}}}`, 200,
			`{"one_time_keys":{"@alice:example.org":{"A":{"signed_curve25519:AAA":{"key":"x"}}}}}`},
		{"POST", "/user/keys/claim", `{"one_time_keys":{}}`, 200, `{"one_time_keys":{}}`},
		{"POST", "/user/keys/claim", `{"one_time_keys":{"@alice:example.org":5}}`, 400, "M_BAD_JSON"},
		{"POST", "/user/keys/claim", `{}`, 400, "M_MISSING_PARAM"},
	} {
		status, answer := o.request(tc.method, fedV1+tc.uri, tc.body)
		if status != tc.status || !strings.Contains(answer, tc.want) {
			t.Errorf("%s %.80s %.80s: %d %s", tc.method, tc.uri, tc.body, status, answer)
		}
		if status == 200 && !json.Valid([]byte(answer)) {
			t.Errorf("%s: %s", tc.uri, answer)
		}
	}
	for token, want := range map[string]int{"good": 200, "bad": 401, "": 401} {
		if status, answer := o.ask(o.server.Handler(), "GET", fedV1+"/openid/userinfo?access_token="+token, ""); status != want || status == 200 && answer != `{"sub":"@alice:example.org"}` {
			t.Errorf("%q: %d %s", token, status, answer)
		}
	}
	if fmt.Sprint(o.reached) != "[claim @alice:example.org]" {
		t.Errorf("%q", o.reached)
	}
}

func TestMedia(t *testing.T) {
	o := newOwners(t)
	for uri, want := range map[string]string{"/media/download/good": "0x0", "/media/thumbnail/good?width=32&height=20&method=crop": "32x20"} {
		header := o.sign(xmatrix.Request{Method: "GET", URI: fedV1 + uri, Destination: "example.org"}, "ed25519:1")
		req := httptest.NewRequest("GET", fedV1+uri, nil)
		req.Header.Set("Authorization", header)
		w := httptest.NewRecorder()
		o.server.Handler().ServeHTTP(w, req)
		kind, params, err := mime.ParseMediaType(w.Header().Get("Content-Type"))
		if err != nil || kind != "multipart/mixed" || w.Code != 200 {
			t.Fatalf("%s: %d %s %v", uri, w.Code, kind, err)
		}
		parts := multipart.NewReader(w.Body, params["boundary"])
		meta, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		if object, err := io.ReadAll(meta); err != nil || string(object) != "{}" || meta.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%q %v", object, err)
		}
		file, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(file)
		if err != nil || string(content) != "hello" || file.Header.Get("Content-Disposition") != "inline; filename="+want || file.Header.Get("X-Evil") != "" {
			t.Errorf("%q %v %v", content, file.Header, err)
		}
		if _, err := parts.NextPart(); err != io.EOF {
			t.Errorf("a third part: %v", err)
		}
	}
	for uri, want := range map[string]int{
		"/media/download/gone": 404, "/media/thumbnail/good": 400, "/media/thumbnail/good?width=0&height=5": 400,
		"/media/thumbnail/good?width=x&height=5": 400, "/media/download/good?timeout_ms=x": 400, "/media/thumbnail/good?width=1&height=1&method=x": 400,
	} {
		if status, answer := o.request("GET", fedV1+uri, ""); status != want || !strings.Contains(answer, "errcode") {
			t.Errorf("%s: %d %s", uri, status, answer)
		}
	}
}

// TestNeighboursAreNotHeldUp: a server with too much under way waits for itself alone.
func TestTooMuch(t *testing.T) {
	o := newOwners(t)
	o.server.gate.Enter(t.Context(), quick, "x") //nolint:errcheck // it is only there
	var leaves []func()
	for range limits()[files].Each {
		leave, err := o.server.gate.Enter(t.Context(), files, o.peer.Name)
		if err != nil {
			t.Fatal(err)
		}
		leaves = append(leaves, leave)
	}
	done := make(chan int)
	go func() {
		status, _ := o.request("GET", fedV1+"/media/download/good", "")
		done <- status
	}()
	select {
	case status := <-done:
		t.Errorf("it was answered at once: %d", status)
	case <-time.After(50 * time.Millisecond):
	}
	if status, _ := o.request("GET", fedV1+"/event/$known", ""); status != 200 {
		t.Errorf("another kind of request: %d", status)
	}
	leaves[0]()
	if status := <-done; status != 200 {
		t.Errorf("%d", status)
	}
	for _, leave := range leaves[1:] {
		leave()
	}
}

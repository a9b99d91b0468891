package sliding

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"

	"hearth/test/harness"
)

// TestThreadSubscriptions subscribes to threads (MSC4306) and hears of it in a sliding sync
// and in what comes after it (MSC4308).
func TestThreadSubscriptions(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	alice, bob := s.Register(t, "alice"), s.Register(t, "bob")
	room, err := alice.CreateRoom(object{"preset": "private_chat", "invite": []string{bob.UserID}})
	if err != nil {
		t.Fatal(err)
	}
	send := func(n string, relates object) string {
		t.Helper()
		content := object{"msgtype": "m.text", "body": n}
		if relates != nil {
			content["m.relates_to"] = relates
		}
		id, err := alice.Send(room, "m.room.message", n, content)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	reply := func(n, root string) string { return send(n, object{"rel_type": "m.thread", "event_id": root}) }
	root, other := send("root", nil), send("other", nil)
	first := reply("first", root)
	do := func(c *harness.Client, status int, code, method, event string, body any) json.RawMessage {
		t.Helper()
		var out json.RawMessage
		path := "/_matrix/client/unstable/io.element.msc4306/rooms/" + url.PathEscape(room) + "/thread/" + url.PathEscape(event) + "/subscription"
		got, e := c.Do(method, path, body, &out)
		if got != status || code != "" && (e == nil || e.Code != code) {
			t.Errorf("%s %s %v: %d %v, want %d %s", method, event, body, got, e, status, code)
		}
		return out
	}
	const put, get, del = http.MethodPut, http.MethodGet, http.MethodDelete
	cause := func(id string) object { return object{"automatic": id} }
	do(alice, 404, "M_NOT_FOUND", get, root, nil)
	do(bob, 404, "M_NOT_FOUND", put, root, object{}) // is invited only
	do(alice, 404, "M_NOT_FOUND", put, "$nothing", object{})
	do(alice, 404, "M_NOT_FOUND", put, first, object{})
	do(alice, 400, "IO.ELEMENT.MSC4306.M_NOT_IN_THREAD", put, root, cause(other))
	do(alice, 400, "IO.ELEMENT.MSC4306.M_NOT_IN_THREAD", put, root, cause("$nothing"))
	do(alice, 400, "", put, root, object{"automatic": 5})
	do(alice, 200, "", put, root, cause(first))
	if got := do(alice, 200, "", get, root, nil); string(got) != `{"automatic":true}` {
		t.Errorf("%s", got)
	}
	do(alice, 200, "", del, root, nil)
	do(alice, 200, "", del, root, nil)
	do(alice, 409, "IO.ELEMENT.MSC4306.M_CONFLICTING_UNSUBSCRIPTION", put, root, cause(first))
	do(alice, 200, "", put, root, cause(reply("second", root)))
	do(alice, 200, "", put, root, object{})
	if got := do(alice, 200, "", get, root, nil); string(got) != `{"automatic":false}` {
		t.Errorf("%s", got)
	}
	do(alice, 200, "", put, other, object{})
	third := send("third", nil)
	do(alice, 200, "", put, third, object{})
	do(alice, 200, "", del, third, nil)

	type body struct {
		Subscribed   map[string]map[string]struct{ Automatic bool } `json:"subscribed"`
		Unsubscribed map[string]map[string]any                      `json:"unsubscribed"`
		PrevBatch    string                                         `json:"prev_batch"`
		End          string                                         `json:"end"`
	}
	var answer struct {
		Extensions map[string]body `json:"extensions"`
	}
	const name = "io.element.msc4308.thread_subscriptions"
	if _, e := alice.Do(http.MethodPost, "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync",
		object{"extensions": object{name: object{"enabled": true, "limit": 1}}}, &answer); e != nil {
		t.Fatal(e)
	}
	latest := answer.Extensions[name]
	if len(latest.Subscribed) != 0 || len(latest.Unsubscribed[room]) != 1 || latest.Unsubscribed[room][third] == nil || latest.PrevBatch == "" {
		t.Fatalf("%+v", latest)
	}
	seen := map[string]bool{}
	from, pages := latest.PrevBatch, 0
	for ; from != "" && pages < 5; pages++ {
		var page body
		if _, e := alice.Do(http.MethodGet, "/_matrix/client/unstable/io.element.msc4308/thread_subscriptions?dir=b&limit=1&from="+url.QueryEscape(from), nil, &page); e != nil {
			t.Fatal(e)
		}
		for id, sub := range page.Subscribed[room] {
			seen[id] = !sub.Automatic
		}
		from = page.End
	}
	if pages != 2 || len(seen) != 2 || !seen[root] || !seen[other] {
		t.Errorf("%d pages: %v", pages, seen)
	}
	for _, query := range []string{"", "?dir=f", "?dir=b&from=x", "?dir=b&to=x", "?dir=b&limit=0"} {
		if status, _ := alice.Do(http.MethodGet, "/_matrix/client/unstable/io.element.msc4308/thread_subscriptions"+query, nil, nil); status != 400 {
			t.Errorf("%q: %d", query, status)
		}
	}
}

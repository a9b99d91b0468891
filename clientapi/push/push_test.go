package push

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"hearth/internal/merr"
	"hearth/internal/pushrules"
	"hearth/roomserver/roomapi"
)

func TestNotification(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.owners.say(`{"body":"before the pusher"}`)
		f.set(alice, phone, "key", "")
		f.owners.say(`{"msgtype":"m.notice","body":"not for anybody"}`)
		f.owners.event(roomID, alice, "m.room.message", nil, `{"body":"her own"}`)
		f.owners.locked(func() { f.owners.unread = 3 })
		id := f.owners.say(`{"body":"hi","m.mentions":{"user_ids":["@alice:h"]}}`)
		n := f.gateway.wait(t, 1)[0]
		device := n["devices"].([]any)[0].(map[string]any)
		delete(device, "pushkey_ts")
		want := map[string]any{
			"event_id": id, "room_id": roomID, "type": "m.room.message", "sender": bob, "sender_display_name": "Bob",
			"room_name": "The room", "room_alias": "#room:h", "prio": "high",
			"content": map[string]any{"body": "hi", "m.mentions": map[string]any{"user_ids": []any{alice}}},
			"counts":  map[string]any{"unread": 3.0},
			"devices": []any{map[string]any{
				"app_id": "app", "pushkey": "key", "data": map[string]any{"custom": "x"},
				"tweaks": map[string]any{"sound": "default", "highlight": true},
			}},
		}
		if !reflect.DeepEqual(n, want) {
			t.Errorf("got  %v\nwant %v", n, want)
		}
		f.gateway.none(t, "more")
	})
}

func TestIDsOnly(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.set(alice, phone, "key", eventIDOnly)
		f.owners.locked(func() { f.owners.unread = -1 })
		id := f.owners.say(`{"body":"secret"}`)
		n := f.gateway.wait(t, 1)[0]
		device := n["devices"].([]any)[0].(map[string]any)
		delete(device, "pushkey_ts")
		want := map[string]any{"event_id": id, "room_id": roomID, "prio": "high", "devices": []any{map[string]any{
			"app_id": "app", "pushkey": "key", "data": map[string]any{"custom": "x", "format": eventIDOnly},
		}}}
		if !reflect.DeepEqual(n, want) {
			t.Errorf("got  %v\nwant %v", n, want)
		}
	})
}

// Rules, redactions and what the user may not see are looked at.
func TestWhatIsNotSent(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.set(alice, phone, "key", "")
		f.gateway.with(func(g *fakeGateway) { g.block = make(chan struct{}) })
		first := f.owners.say(`{"body":"first"}`)
		f.gateway.wait(t, 1)
		hidden := f.owners.say(`{"body":"hidden"}`)
		redacted := f.owners.say(`{"body":"redacted"}`)
		last := f.owners.say(`{"body":"last"}`)
		f.owners.locked(func() {
			f.owners.hidden[hidden] = true
			f.owners.find(redacted).RedactedBecause = json.RawMessage(`{}`)
		})
		f.gateway.with(func(g *fakeGateway) { close(g.block); g.block = nil })
		same(t, "after "+first, eventIDs(f.gateway.wait(t, 1)), []string{last})

		f.owners.changeRules(func(rs *pushrules.Ruleset) { _ = rs.SetEnabled(pushrules.Override, pushrules.Master, true) })
		time.Sleep(100 * time.Millisecond) // for the user log
		f.owners.say(`{"body":"all is off"}`)
		f.gateway.none(t, "the master rule")
		f.owners.changeRules(func(*pushrules.Ruleset) {})
		time.Sleep(100 * time.Millisecond)
		member := alice
		f.owners.event(roomID, alice, "m.room.member", &member, `{"membership":"leave"}`)
		f.owners.say(`{"body":"she has left"}`)
		f.gateway.none(t, "who has left")
		invite := f.owners.event("!other:h", bob, "m.room.member", &member, `{"membership":"invite"}`)
		n := f.gateway.wait(t, 1)
		same(t, "invite", eventIDs(n), []string{invite})
		if n[0]["user_is_target"] != true || n[0]["sender_display_name"] != "B" || n[0]["room_name"] != "Elsewhere" {
			t.Errorf("invite: %v", n[0])
		}
	})
}

// What was not delivered is tried again, in order, also by another process.
func TestRetryAndCrash(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.set(alice, phone, "key", "")
		f.gateway.with(func(g *fakeGateway) { g.answer = func(map[string]any) (int, string) { return 502, "" } })
		var want []string
		for i := range 5 {
			want = append(want, f.owners.say(fmt.Sprintf(`{"body":"%d"}`, i)))
		}
		f.gateway.wait(t, 3)
		f.stop()
		for len(f.gateway.arrived) > 0 {
			<-f.gateway.arrived
		}
		f.gateway.take()
		f.gateway.with(func(g *fakeGateway) { g.answer = nil })
		want = append(want, f.owners.say(`{"body":"while nobody listened"}`))
		f.start()
		same(t, "after the restart", eventIDs(f.gateway.wait(t, 6)), want)
		f.gateway.none(t, "twice")
	})
}

func TestRejectedPushersGo(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.set(alice, phone, "bad", "")
		f.set(alice, "TABLET", "good", "")
		f.gateway.with(func(g *fakeGateway) {
			g.answer = func(n map[string]any) (int, string) {
				key := n["devices"].([]any)[0].(map[string]any)["pushkey"]
				if key == "bad" {
					return 200, `{"rejected":["bad","good"]}`
				}
				return 200, `no JSON`
			}
		})
		f.owners.say(`{"body":"1"}`)
		f.gateway.wait(t, 2)
		f.owners.say(`{"body":"2"}`)
		n := f.gateway.wait(t, 1)
		if key := n[0]["devices"].([]any)[0].(map[string]any)["pushkey"]; key != "good" {
			t.Errorf("sent to %v", key)
		}
		f.gateway.none(t, "the rejected one")
		// A device that logs out takes its pusher along.
		f.owners.locked(func() { delete(f.owners.devices, alice+"TABLET") })
		f.owners.say(`{"body":"3"}`)
		f.gateway.none(t, "a device that is gone")
		if list, err := f.s.db.pushers(t.Context()); err != nil || len(list) != 0 || !f.s.users.none() {
			t.Errorf("pushers: %v, %v", list, err)
		}
	})
}

func TestBadgeIsCleared(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.set(alice, phone, "key", "")
		read := func(n int) {
			f.owners.locked(func() { f.owners.unread = n })
			f.owners.append(&roomapi.Entry{Kind: roomapi.KindReceipt, RoomID: roomID, Receipt: &roomapi.Receipt{UserID: alice, Kind: "m.read", EventID: "$1"}})
		}
		read(0)
		f.gateway.none(t, "nothing was there to clear")
		f.owners.locked(func() { f.owners.unread = 2 })
		f.owners.say(`{"body":"x"}`)
		f.gateway.wait(t, 1)
		f.badge(2)
		f.stop()
		f.start()
		read(0)
		n := f.gateway.wait(t, 1)[0]
		if counts, _ := n["counts"].(map[string]any); counts["unread"] != 0.0 || n["event_id"] != nil {
			t.Errorf("cleared by %v", n)
		}
		f.badge(0)
		read(0)
		f.gateway.none(t, "it is clear already")
	})
}

func TestBoundsOfWaiting(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.set(alice, phone, "key", "")
		id := f.s.users.pushers(alice)[0].id
		f.gateway.with(func(g *fakeGateway) { g.answer = func(map[string]any) (int, string) { return 500, "" } })
		notices := make([]notice, maxWaiting+50)
		for i := range notices {
			notices[i] = notice{pusher: id, room: roomID, event: fmt.Sprintf("$n%d", i), tweaks: []byte("{}")}
		}
		if err := f.s.db.advance(t.Context(), 0, notices); err != nil {
			t.Fatal(err)
		}
		n, err := f.s.db.next(t.Context(), id)
		if err != nil || n.event != "$n50" {
			t.Errorf("the oldest is %+v, %v", n, err)
		}
		f.mu.Lock()
		f.offset = maxAge + time.Minute
		f.mu.Unlock()
		f.s.sender.wake(id)
		for range 1000 {
			if n, err = f.s.db.next(t.Context(), id); err != nil || n == nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if n != nil || err != nil {
			t.Errorf("what is too old waits still: %+v, %v", n, err)
		}
		f.gateway.none(t, "what is too old")
	})
}

func TestAnotherUserOfTheSamePhone(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.set(alice, phone, "key", "")
		f.set(bob, phone, "key", "")
		if len(f.s.users.pushers(alice)) != 0 || len(f.s.users.pushers(bob)) != 1 {
			t.Errorf("alice %v, bob %v", f.s.users.pushers(alice), f.s.users.pushers(bob))
		}
		f.owners.say(`{"body":"from bob"}`)
		f.gateway.none(t, "to bob or the old pusher")
		gone, err := f.s.db.remove(t.Context(), bob, "app", "key")
		if err != nil || len(gone) != 1 {
			t.Errorf("removed %v, %v", gone, err)
		}
	})
}

func TestRefusedPushers(t *testing.T) {
	s := &Server{}
	text := func(v string) *string { return &v }
	good := func() *setRequest {
		return &setRequest{
			PushKey: text("key"), Kind: []byte(`"http"`), AppID: text("app"), AppName: text("a"), DeviceName: text("d"), Lang: text("en"),
			Data: []byte(`{"url":"https://push.example.org/_matrix/push/v1/notify"}`),
		}
	}
	if _, _, err := s.check(alice, phone, good()); err != nil {
		t.Errorf("refused: %v", err)
	}
	for name, c := range map[string]struct {
		change func(r *setRequest)
		code   string
	}{
		"no kind":        {func(r *setRequest) { r.Kind = nil }, "M_MISSING_PARAM"},
		"no key":         {func(r *setRequest) { r.PushKey = nil }, "M_MISSING_PARAM"},
		"no language":    {func(r *setRequest) { r.Lang, r.Data = nil, nil }, "M_MISSING_PARAM"},
		"long key":       {func(r *setRequest) { r.PushKey = text(strings.Repeat("x", maxPushKey+1)) }, "M_INVALID_PARAM"},
		"long app id":    {func(r *setRequest) { r.AppID = text(strings.Repeat("é", maxAppID+1)) }, "M_INVALID_PARAM"},
		"long name":      {func(r *setRequest) { r.AppName = text(strings.Repeat("x", maxText+1)) }, "M_INVALID_PARAM"},
		"NUL":            {func(r *setRequest) { r.PushKey = text("a\x00") }, "M_INVALID_PARAM"},
		"e-mail":         {func(r *setRequest) { r.Kind = []byte(`"email"`) }, "M_INVALID_PARAM"},
		"kind is number": {func(r *setRequest) { r.Kind = []byte(`1`) }, "M_INVALID_PARAM"},
		"no URL":         {func(r *setRequest) { r.Data = []byte(`{}`) }, "M_MISSING_PARAM"},
		"data is text":   {func(r *setRequest) { r.Data = []byte(`"x"`) }, "M_BAD_JSON"},
		"large data":     {func(r *setRequest) { r.Data = []byte(`{"x":"` + strings.Repeat("x", maxData) + `"}`) }, "M_INVALID_PARAM"},
		"without TLS":    {func(r *setRequest) { r.Data = []byte(`{"url":"http://h/_matrix/push/v1/notify"}`) }, "M_INVALID_PARAM"},
		"another path":   {func(r *setRequest) { r.Data = []byte(`{"url":"https://h/_matrix/push/v1/notify/x"}`) }, "M_INVALID_PARAM"},
		"a file":         {func(r *setRequest) { r.Data = []byte(`{"url":"file:///_matrix/push/v1/notify"}`) }, "M_INVALID_PARAM"},
		"a password":     {func(r *setRequest) { r.Data = []byte(`{"url":"https://a:b@h/_matrix/push/v1/notify"}`) }, "M_INVALID_PARAM"},
	} {
		r := good()
		c.change(r)
		if _, _, err := s.check(alice, phone, r); merr.From(err) == nil || merr.From(err).Code != c.code {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
	r := &setRequest{PushKey: text("key"), AppID: text("app"), Kind: []byte(`null`)}
	if _, remove, err := s.check(alice, phone, r); err != nil || !remove {
		t.Errorf("removal: %v, %v", remove, err)
	}
}

func TestTooManyPushers(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for i := range maxPushers {
			f.set(alice, phone, fmt.Sprint(i), "")
		}
		f.set(alice, phone, "7", eventIDOnly)
		p := *f.s.users.pushers(alice)[0]
		p.pushKey = "one more"
		if _, _, err := f.s.db.set(t.Context(), p, true); merr.From(err).Code != "M_FORBIDDEN" {
			t.Errorf("one more: %v", err)
		}
	})
}

// A gateway in a network that is not allowed is not asked, whatever its name.
func TestInsideIsNotReached(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		s, err := New(t.Context(), Deps{
			Bus: f.bus, ServerName: server, DataDir: t.TempDir(), Log: f.options.Log, Now: f.now,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		f.set(alice, phone, "key", "")
		p := f.s.users.pushers(alice)[0]
		if _, err := s.post(t.Context(), p, &notification{}); err == nil {
			t.Error("an address of the inside was reached")
		}
		f.gateway.none(t, "the inside")
	})
}

func TestTokens(t *testing.T) {
	for _, n := range []int64{1, 35, 1 << 50} {
		if got, err := parseToken(token(n)); err != nil || got != n {
			t.Errorf("%d: %d, %v", n, got, err)
		}
	}
	for _, bad := range []string{"x", "n", "n-1", "n0", "nZZ!"} {
		if _, err := parseToken(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

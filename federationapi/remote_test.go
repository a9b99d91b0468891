package federationapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/federationapi/internal/peertest"
	"hearth/federationapi/remoteapi"
	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/internal/pduwire"
)

// distant is a room on the peer, of which tests make events.
type distant struct {
	*neighbours
	v    *pdu.RoomVersion
	room string
	ts   int64
}

func newDistant(t testing.TB, version string) *distant {
	n := newNeighbours(t)
	v, ok := pdu.Version(version)
	if !ok {
		t.Fatal(version)
	}
	return &distant{neighbours: n, v: v, room: "!room:" + n.peer.Name, ts: n.clock.now.UnixMilli()}
}

func (d *distant) user() string { return "@far:" + d.peer.Name }

// event builds an event of the peer's; a key makes it a state event.
func (d *distant) event(typ string, key *string, content string) *pdu.Event {
	d.t.Helper()
	return d.build(pdu.Template{RoomID: d.room, Type: typ, Sender: d.user(), StateKey: key, Content: []byte(content)}, peertest.Signer(d.peer.Name, "ed25519:1"))
}

func (d *distant) build(t pdu.Template, s pdu.Signer) *pdu.Event {
	d.t.Helper()
	d.ts++
	t.OriginServerTS, t.Depth = d.ts, 1
	e, err := pdu.Build(d.v, t, s)
	if err != nil {
		d.t.Fatal(err)
	}
	return e
}

func key(s string) *string { return &s }

// ours is a member event of a user of ours.
func (d *distant) ours(membership, extra string) *pdu.Event {
	return d.build(pdu.Template{
		RoomID: d.room, Type: "m.room.member", Sender: "@near:example.org", StateKey: key("@near:example.org"),
		Content: []byte(fmt.Sprintf(`{"membership":%q%s}`, membership, extra)),
	}, d.server.deps.Key)
}

// list is a JSON array of events.
func list(events ...*pdu.Event) string {
	var all []string
	for _, e := range events {
		all = append(all, string(e.JSON))
	}
	return "[" + strings.Join(all, ",") + "]"
}

// cosign adds the signature of a server.
func (d *distant) cosign(e *pdu.Event, server, keyID string) string {
	d.t.Helper()
	signed, err := e.Sign(peertest.Signer(server, keyID))
	if err != nil {
		d.t.Fatal(err)
	}
	return string(signed.JSON)
}

// refuses runs a call against answers that are not what the endpoint gives; each must
// be an error that is not the user's fault.
func (d *distant) refuses(path string, call func() error, answers map[string]string) {
	d.t.Helper()
	all := map[string]string{
		"no JSON": `<html>`, "nothing": ``, "an array": `[]`, "a number": `7`, "null": `null`, "an empty object": `{}`,
		"cut off": `{"a":`, "a key twice": `{"a":1,"a":2}`, "no text": "{\"a\":\"\xff\"}", "deep": strings.Repeat(`{"a":`, 5000),
	}
	for name, answer := range answers {
		all[name] = answer
	}
	for name, answer := range all {
		d.peer.Answer(path, 200, answer)
		d.server.health.Retry(d.peer.Name)
		var e *merr.Error
		if err := call(); !errors.As(err, &e) || e.Status != 502 {
			d.t.Errorf("%s: %v", name, err)
		}
	}
	for name, h := range map[string]http.HandlerFunc{
		"gzip": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write([]byte(`{}`))
		},
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://127.0.0.1:1/", http.StatusFound)
		},
		"dropped":  func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"an error": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"a token": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(401)
			_, _ = w.Write([]byte(`{"errcode":"M_UNKNOWN_TOKEN"}`))
		},
	} {
		d.peer.Handle(path, h)
		d.server.health.Retry(d.peer.Name)
		var e *merr.Error
		if err := call(); !errors.As(err, &e) || e.Status != 502 {
			d.t.Errorf("%s: %v", name, err)
		}
	}
	d.server.health.Retry(d.peer.Name)
}

// must returns what a call gives, or ends the test.
func must[Req, Resp any](t testing.TB, b *bus.Bus, c bus.Call[Req, Resp], req *Req) *Resp {
	t.Helper()
	resp, err := c.Do(context.Background(), b, req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

func failing[Req, Resp any](b *bus.Bus, c bus.Call[Req, Resp], req *Req) func() error {
	return func() error {
		_, err := c.Do(context.Background(), b, req)
		return err
	}
}

func TestRemoteMakeMembership(t *testing.T) {
	d := newDistant(t, "10")
	b := d.server.deps.Bus
	at := "/_matrix/federation/v1/make_join/" + d.room + "/@near:example.org"
	req := &remoteapi.MakeRequest{Destinations: []string{"example.org", d.peer.Name}, RoomID: d.room, UserID: "@near:example.org", Membership: "join", Versions: []string{"9", "10"}}
	template := `{"room_id":"` + d.room + `","sender":"@near:example.org","state_key":"@near:example.org","type":"m.room.member","content":{"membership":"join"}}`
	d.peer.Answer(at, 200, `{"room_version":"10","event":`+template+`}`)
	got := must(t, b, remoteapi.MakeMembership, req)
	if got.Destination != d.peer.Name || got.RoomVersion != "10" || pdu.Kind(got.Event) != '{' {
		t.Errorf("%+v", got)
	}
	if uri := d.peer.LastTo(at).URI; !strings.HasSuffix(uri, "?ver=9&ver=10") {
		t.Error(uri)
	}
	answers := map[string]string{"no version": `{"event":` + template + `}`}
	for _, change := range [][2]string{
		{d.room, "!other:" + d.peer.Name}, {`"sender":"@near`, `"sender":"@evil`}, {`"state_key":"@near`, `"state_key":"@evil`},
		{"m.room.member", "m.room.create"}, {`"membership":"join"`, `"membership":"ban"`}, {`{"membership":"join"}`, `"x"`},
	} {
		answers[change[1]] = `{"room_version":"10","event":` + strings.Replace(template, change[0], change[1], 1) + `}`
	}
	delete(answers, "no version")
	d.refusesButVersion(at, failing(b, remoteapi.MakeMembership, req), answers)
	for _, version := range []string{`"8"`, `"99"`} {
		d.peer.Answer(at, 200, `{"room_version":`+version+`,"event":`+template+`}`)
		if _, err := remoteapi.MakeMembership.Do(context.Background(), b, req); !errors.Is(err, merr.New(400, "M_INCOMPATIBLE_ROOM_VERSION", "")) {
			t.Errorf("version %s: %v", version, err)
		}
	}
	d.peer.Answer(at, 403, `{"errcode":"M_FORBIDDEN","error":"Not invited"}`)
	if _, err := remoteapi.MakeMembership.Do(context.Background(), b, req); !errors.Is(err, merr.Forbidden("")) {
		t.Error(err)
	}
	// A refusal says more than silence, whatever the order.
	for _, order := range [][]string{{"127.0.0.1:1", d.peer.Name}, {d.peer.Name, "127.0.0.1:1"}} {
		r := *req
		r.Destinations = order
		if _, err := remoteapi.MakeMembership.Do(context.Background(), b, &r); !errors.Is(err, merr.Forbidden("")) {
			t.Error(err)
		}
	}
	if _, err := remoteapi.MakeMembership.Do(context.Background(), b, &remoteapi.MakeRequest{RoomID: d.room, UserID: "@near:example.org", Membership: "join"}); !errors.Is(err, merr.NotFound("")) {
		t.Error(err)
	}
}

// refusesButVersion is refuses for make_join: an object without a version is of version 1.
func (d *distant) refusesButVersion(path string, call func() error, answers map[string]string) {
	d.t.Helper()
	d.peer.Answer(path, 200, `{}`)
	if err := call(); !errors.Is(err, merr.New(400, "M_INCOMPATIBLE_ROOM_VERSION", "")) {
		d.t.Error(err)
	}
	d.refuses(path, func() error {
		err := call()
		if errors.Is(err, merr.New(400, "M_INCOMPATIBLE_ROOM_VERSION", "")) {
			return merr.New(502, "M_UNKNOWN", "as expected")
		}
		return err
	}, answers)
}

func TestRemoteSendMembership(t *testing.T) {
	d := newDistant(t, "10")
	b := d.server.deps.Bus
	knock, leave := d.ours("knock", ""), d.ours("leave", "")
	send := func(e *pdu.Event, membership string) *remoteapi.SendRequest {
		return &remoteapi.SendRequest{Destination: d.peer.Name, RoomID: d.room, RoomVersion: "10", Membership: membership, Event: pduwire.Of(e)}
	}
	at := "/_matrix/federation/v1/send_knock/" + d.room + "/" + knock.EventID
	stripped := `{"content":{"room_version":"10"},"sender":"@a:b","state_key":"","type":"m.room.create"}`
	d.peer.Answer(at, 200, `{"knock_room_state":[`+stripped+`,{"type":7},"x"]}`)
	if got := must(t, b, remoteapi.SendMembership, send(knock, "knock")); string(got.StrippedState) != "["+stripped+"]" {
		t.Errorf("%s", got.StrippedState)
	}
	if last := d.peer.LastTo(at); string(last.Body) != string(knock.JSON) {
		t.Errorf("sent %s", last.Body)
	}
	d.refuses(at, failing(b, remoteapi.SendMembership, send(knock, "knock")), map[string]string{
		"too many": `{"knock_room_state":[` + strings.Repeat("{},", maxStripped) + `{}]}`, "no list": `{"knock_room_state":{}}`,
	})
	at = "/_matrix/federation/v2/send_leave/" + d.room + "/" + leave.EventID
	d.peer.Answer(at, 200, `{}`)
	must(t, b, remoteapi.SendMembership, send(leave, "leave"))
	d.peer.Answer(at, 404, `{"errcode":"M_UNRECOGNIZED"}`)
	d.peer.Answer("/_matrix/federation/v1/send_leave/"+d.room+"/"+leave.EventID, 200, `[200,{}]`)
	must(t, b, remoteapi.SendMembership, send(leave, "leave"))
	for _, answer := range []string{`[200]`, `[403,{}]`, `{}`, `[200,{}],[]`, `[200,{}]}`, `[200,{}`} {
		d.peer.Answer("/_matrix/federation/v1/send_leave/"+d.room+"/"+leave.EventID, 200, answer)
		if _, err := remoteapi.SendMembership.Do(context.Background(), b, send(leave, "leave")); err == nil {
			t.Errorf("%s was taken", answer)
		}
	}
}

func TestRemoteSendInvite(t *testing.T) {
	d := newDistant(t, "10")
	b := d.server.deps.Bus
	invite := func() *pdu.Event {
		return d.build(pdu.Template{RoomID: "!here:example.org", Type: "m.room.member", Sender: "@near:example.org", StateKey: key(d.user()), Content: []byte(`{"displayname":"F","membership":"invite"}`)}, d.server.deps.Key)
	}
	e := invite()
	req := &remoteapi.InviteRequest{Destination: d.peer.Name, RoomID: e.RoomID, RoomVersion: "10", Event: pduwire.Of(e), State: json.RawMessage(`[{"type":"m.room.name"}]`)}
	at := "/_matrix/federation/v2/invite/" + e.RoomID + "/" + e.EventID
	good := d.cosign(e, d.peer.Name, "ed25519:1")
	d.peer.Answer(at, 200, `{"event":`+good+`}`)
	got := must(t, b, remoteapi.SendInvite, req)
	if string(got.Event.JSON) != good || got.Event.EventID != e.EventID {
		t.Errorf("%s", got.Event.JSON)
	}
	var body struct {
		Version string          `json:"room_version"`
		Event   json.RawMessage `json:"event"`
		State   json.RawMessage `json:"invite_room_state"`
	}
	if err := json.Unmarshal(d.peer.LastTo(at).Body, &body); err != nil || body.Version != "10" || string(body.Event) != string(e.JSON) || string(body.State) != string(req.State) {
		t.Errorf("sent %s", d.peer.LastTo(at).Body)
	}
	// Ours stays if they lose it, and theirs alone is taken.
	own, _ := pdu.Get([]byte(good), "signatures")
	theirs, _ := pdu.Delete(own, "example.org")
	more, _ := pdu.Set(own, "third.example", []byte(`{"ed25519:x":"AAAA"}`))
	for _, signatures := range [][]byte{theirs, more} {
		changed, _ := pdu.Set([]byte(good), "signatures", signatures)
		d.peer.Answer(at, 200, `{"event":`+string(changed)+`}`)
		if got := must(t, b, remoteapi.SendInvite, req); string(got.Event.JSON) != good {
			t.Errorf("%s", got.Event.JSON)
		}
	}
	other := invite()
	renamed, _ := pdu.Set([]byte(good), "content", []byte(`{"membership":"invite","reason":"evil"}`))
	d.refuses(at, failing(b, remoteapi.SendInvite, req), map[string]string{
		"not signed": `{"event":` + string(e.JSON) + `}`, "another event": `{"event":` + d.cosign(other, d.peer.Name, "ed25519:1") + `}`,
		"changed content":  `{"event":` + string(renamed) + `}`,
		"a wrong key":      `{"event":` + strings.Replace(d.cosign(e, d.peer.Name, "ed25519:2"), "ed25519:2", "ed25519:1", 1) + `}`,
		"an unknown key":   `{"event":` + d.cosign(e, d.peer.Name, "ed25519:7") + `}`,
		"another's":        `{"event":` + d.cosign(e, "third.example", "ed25519:1") + `}`,
		"no object":        `{"event":7}`,
		"a large addition": `{"event":` + strings.Replace(good, `"type":`, `"junk":"`+strings.Repeat("x", 100_000)+`","type":`, 1) + `}`,
	})
	d.peer.Answer(at, 404, `{"errcode":"M_UNRECOGNIZED"}`)
	if _, err := remoteapi.SendInvite.Do(context.Background(), b, req); err == nil {
		t.Error("an invite to a room of version 10 was sent in the old way")
	}
	d.peer.Answer(at, 403, `{"errcode":"M_FORBIDDEN","error":"No"}`)
	if _, err := remoteapi.SendInvite.Do(context.Background(), b, req); !errors.Is(err, merr.Forbidden("")) {
		t.Error(err)
	}
}

func TestRemoteSendInviteInTheOldWay(t *testing.T) {
	d := newDistant(t, "2")
	e := d.build(pdu.Template{RoomID: "!here:example.org", Type: "m.room.member", Sender: "@near:example.org", StateKey: key(d.user()), Content: []byte(`{"membership":"invite"}`)}, d.server.deps.Key)
	good := d.cosign(e, d.peer.Name, "ed25519:1")
	at := "/_matrix/federation/v1/invite/" + e.RoomID + "/" + e.EventID
	d.peer.Answer(at, 200, `[200,{"event":`+good+`}]`)
	got := must(t, d.server.deps.Bus, remoteapi.SendInvite, &remoteapi.InviteRequest{
		Destination: d.peer.Name, RoomID: e.RoomID, RoomVersion: "2", Event: pduwire.Of(e), State: json.RawMessage(`[{"type":"m.room.name"}]`),
	})
	if string(got.Event.JSON) != good {
		t.Errorf("%s", got.Event.JSON)
	}
	unsigned, _ := pdu.Get(d.peer.LastTo(at).Body, "unsigned")
	if string(unsigned) != `{"invite_room_state":[{"type":"m.room.name"}]}` {
		t.Errorf("sent %s", d.peer.LastTo(at).Body)
	}
}

func TestRemoteMissingEventsAndBackfill(t *testing.T) {
	d := newDistant(t, "10")
	b := d.server.deps.Bus
	first, second := d.event("m.room.message", nil, `{"body":"1"}`), d.event("m.room.message", nil, `{"body":"2"}`)
	elsewhere := d.build(pdu.Template{RoomID: "!other:" + d.peer.Name, Type: "m.room.message", Sender: d.user(), Content: []byte(`{}`)}, peertest.Signer(d.peer.Name, "ed25519:1"))
	forged := d.build(pdu.Template{RoomID: d.room, Type: "m.room.message", Sender: d.user(), Content: []byte(`{}`)}, peertest.Signer(d.peer.Name, "ed25519:2"))
	changed := strings.Replace(string(d.event("m.room.message", nil, `{"body":"3"}`).JSON), `"3"`, `"4"`, 1)
	answer := `[` + string(first.JSON) + `,` + string(elsewhere.JSON) + `,{"type":1},"x",` + string(forged.JSON) + `,` + changed + `,` + string(first.JSON) + `,` + string(second.JSON) + `]`
	check := func(got *remoteapi.PDUs) {
		t.Helper()
		if len(got.Events) != 3 || got.Events[0].EventID != first.EventID || got.Events[2].EventID != second.EventID || !got.Events[1].Redacted || got.Bad != 4 {
			t.Errorf("%d bad, %+v", got.Bad, got.Events)
		}
	}
	at := "/_matrix/federation/v1/get_missing_events/" + d.room
	missing := &remoteapi.MissingRequest{Destination: d.peer.Name, RoomID: d.room, RoomVersion: "10", Earliest: []string{"$a"}, Latest: []string{"$b"}, Limit: 10, MinDepth: 3}
	d.peer.Answer(at, 200, `{"events":`+answer+`}`)
	check(must(t, b, remoteapi.MissingEvents, missing))
	if body := string(d.peer.LastTo(at).Body); body != `{"earliest_events":["$a"],"latest_events":["$b"],"limit":10,"min_depth":3}` {
		t.Error(body)
	}
	d.refuses(at, failing(b, remoteapi.MissingEvents, missing), map[string]string{
		"too many": `{"events":[` + strings.Repeat("{},", 10) + `{}]}`, "no list": `{"events":{}}`, "twice": `{"events":[],"events":[]}`, "more after it": `{"events":[]}{}`,
	})
	at = "/_matrix/federation/v1/backfill/" + d.room
	backfill := &remoteapi.BackfillRequest{Destination: d.peer.Name, RoomID: d.room, RoomVersion: "10", From: []string{"$a", "$b"}, Limit: 10}
	d.peer.Answer(at, 200, `{"origin":"x","pdus":`+answer+`}`)
	check(must(t, b, remoteapi.Backfill, backfill))
	if uri := d.peer.LastTo(at).URI; !strings.HasSuffix(uri, "?limit=10&v="+url.QueryEscape("$a")+"&v="+url.QueryEscape("$b")) {
		t.Error(uri)
	}
	d.refuses(at, failing(b, remoteapi.Backfill, backfill), map[string]string{"too many": `{"pdus":[` + strings.Repeat("{},", 12) + `{}]}`})
}

func TestRemoteLargeBatchesFitIntoAMessage(t *testing.T) {
	for _, front := range []bool{true, false} {
		p := &remoteapi.PDUs{}
		for i := range 100 {
			p.Events = append(p.Events, pduwire.PDU{EventID: fmt.Sprint(i), JSON: make([]byte, 60_000)})
		}
		fit(p, front)
		ids := []string{p.Events[0].EventID, p.Events[len(p.Events)-1].EventID}
		if n := len(p.Events); n != 15 || front && ids[1] != "99" || !front && ids[0] != "0" {
			t.Errorf("%d events, %v", n, ids)
		}
	}
}

func TestRemoteStateIDs(t *testing.T) {
	d := newDistant(t, "10")
	at := "/_matrix/federation/v1/state_ids/" + d.room
	req := &remoteapi.StateIDsRequest{Destination: d.peer.Name, RoomID: d.room, RoomVersion: "10", EventID: "$x"}
	d.peer.Answer(at, 200, `{"pdu_ids":["$a","$b"],"auth_chain_ids":["$c"],"more":{}}`)
	got := must(t, d.server.deps.Bus, remoteapi.StateIDs, req)
	if !slices.Equal(got.State, []string{"$a", "$b"}) || !slices.Equal(got.AuthChain, []string{"$c"}) {
		t.Errorf("%+v", got)
	}
	if uri := d.peer.LastTo(at).URI; !strings.HasSuffix(uri, "?event_id=%24x") {
		t.Error(uri)
	}
	d.refuses(at, failing(d.server.deps.Bus, remoteapi.StateIDs, req), map[string]string{
		"one list": `{"pdu_ids":[]}`, "no ids": `{"pdu_ids":["x"],"auth_chain_ids":[]}`, "numbers": `{"pdu_ids":[1],"auth_chain_ids":[]}`,
		"old ids": `{"pdu_ids":["$a:b"],"auth_chain_ids":[]}`, "an object": `{"pdu_ids":{},"auth_chain_ids":[]}`,
	})
}

func TestRemoteEvents(t *testing.T) {
	d := newDistant(t, "10")
	var ids []string
	for i := range 20 {
		e := d.event("m.room.message", nil, fmt.Sprintf(`{"body":"%d"}`, i))
		ids = append(ids, e.EventID)
		answer := `{"origin":"x","pdus":[` + string(e.JSON) + `]}`
		switch i {
		case 3:
			answer = `{"pdus":[]}`
		case 4:
			answer = `{"pdus":[` + string(d.event("m.room.message", nil, `{}`).JSON) + `]}`
		case 5:
			answer = strings.Replace(answer, d.room, "!other:"+d.peer.Name, 1)
		case 6:
			answer = `nonsense`
		case 7:
			answer = `{"pdus":[` + string(e.JSON) + `,` + string(e.JSON) + `]}`
		}
		d.peer.Answer("/_matrix/federation/v1/event/"+e.EventID, 200, answer)
	}
	got := map[string]bool{}
	read := func(ids []string) error {
		return remoteapi.ReadEvents(context.Background(), d.server.deps.Bus, &remoteapi.EventsRequest{
			Destination: d.peer.Name, RoomID: d.room, RoomVersion: "10", EventIDs: ids,
		}, func(p pduwire.PDU) error { got[p.EventID] = true; return nil })
	}
	if err := read(ids); err != nil {
		t.Fatal(err)
	}
	for i, id := range ids {
		if want := i < 3 || i > 7; got[id] != want {
			t.Errorf("event %d came: %v", i, got[id])
		}
	}
	if err := read(make([]string, maxFetched+1)); err == nil {
		t.Error("too many were fetched")
	}
	stop := errors.New("stop")
	err := remoteapi.ReadEvents(context.Background(), d.server.deps.Bus, &remoteapi.EventsRequest{
		Destination: d.peer.Name, RoomID: d.room, RoomVersion: "10", EventIDs: ids,
	}, func(pduwire.PDU) error { return stop })
	if !errors.Is(err, stop) {
		t.Error(err)
	}
	d.peer.Handle("/_matrix/federation/v1/event/$gone", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) })
	if err := read([]string{"$gone"}); err == nil || !merr.From(err).Temporary {
		t.Errorf("a server that does not answer: %v", err)
	}
}

func TestRemoteAServerThatDoesNotAnswerIsLeftAlone(t *testing.T) {
	d := newDistant(t, "10")
	at := "/_matrix/federation/v1/user/devices/" + d.user()
	d.peer.Handle(at, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	call := failing(d.server.deps.Bus, remoteapi.UserDevices, &remoteapi.UserRequest{UserID: d.user()})
	for range 3 {
		if err := call(); err == nil || !merr.From(err).Temporary {
			t.Fatal(err)
		}
	}
	if n := d.peer.Requests(at); n > 2 { // net/http may try a connection that was in use once more
		t.Errorf("%d attempts", n)
	}
	// A user who wants to join may try.
	d.peer.Answer("/_matrix/federation/v1/query/directory", 200, `{"room_id":"`+d.room+`","servers":["a.example","not a name"]}`)
	got := must(t, d.server.deps.Bus, remoteapi.ResolveAlias, &remoteapi.AliasRequest{Alias: "#x:" + d.peer.Name})
	if got.RoomID != d.room || !slices.Equal(got.Servers, []string{"a.example"}) {
		t.Errorf("%+v", got)
	}
	if d.server.health.Wait(d.peer.Name) != 0 {
		t.Error("a server that answers is left alone")
	}
}

func TestRemoteARequestOfAServerShowsThatItLives(t *testing.T) {
	d := newDistant(t, "10")
	d.server.health.Failed(d.peer.Name, time.Hour)
	header := d.sign(xmatrixPut(`{}`), "ed25519:1")
	if status, body := d.ask(d.mux, "PUT", echoURI, `{}`, header); status != 200 {
		t.Fatal(body)
	}
	if d.server.health.Wait(d.peer.Name) != 0 {
		t.Error("the server has to wait")
	}
}

func TestRemoteServersThatAreDenied(t *testing.T) {
	d := newDistant(t, "10")
	d.server.deps.Servers.Deny = []string{"127.0.0.*"}
	header := d.sign(xmatrixPut(`{}`), "ed25519:1")
	if status, body := d.ask(d.mux, "PUT", echoURI, `{}`, header); status != 403 || !strings.Contains(body, "M_FORBIDDEN") {
		t.Errorf("%d %s", status, body)
	}
}

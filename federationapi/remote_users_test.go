package federationapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"hearth/federationapi/remoteapi"
	"hearth/federationapi/xmatrix"
	"hearth/internal/merr"
)

func xmatrixPut(body string) xmatrix.Request {
	return xmatrix.Request{Method: "PUT", URI: echoURI, Destination: "example.org", Content: []byte(body)}
}

// same compares JSON texts.
func same(t *testing.T, got []byte, want string) {
	t.Helper()
	var a, b any
	if json.Unmarshal(got, &a) != nil || json.Unmarshal([]byte(want), &b) != nil || fmt.Sprint(a) != fmt.Sprint(b) {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestRemoteProfile(t *testing.T) {
	d := newDistant(t, "10")
	b := d.server.deps.Bus
	const at = "/_matrix/federation/v1/query/profile"
	d.peer.Answer(at, 200, `{"displayname":"F","avatar_url":7,"m.tz":"X","gone":null}`)
	same(t, must(t, b, remoteapi.Profile, &remoteapi.ProfileRequest{UserID: d.user()}).JSON, `{"displayname":"F","m.tz":"X"}`)
	same(t, must(t, b, remoteapi.Profile, &remoteapi.ProfileRequest{UserID: d.user(), Field: "m.tz"}).JSON, `{"m.tz":"X"}`)
	if _, err := remoteapi.Profile.Do(context.Background(), b, &remoteapi.ProfileRequest{UserID: d.user(), Field: "gone"}); !errors.Is(err, merr.NotFound("")) {
		t.Error(err)
	}
	for _, user := range []string{"@near:example.org", "x", ""} {
		if _, err := remoteapi.Profile.Do(context.Background(), b, &remoteapi.ProfileRequest{UserID: user}); err == nil {
			t.Errorf("%q has a profile elsewhere", user)
		}
	}
	d.peer.Answer(at, 404, `{"errcode":"M_NOT_FOUND"}`)
	if _, err := remoteapi.Profile.Do(context.Background(), b, &remoteapi.ProfileRequest{UserID: d.user()}); !errors.Is(err, merr.NotFound("")) {
		t.Error(err)
	}
}

func (d *distant) device(user, id string) string {
	return fmt.Sprintf(`{"algorithms":["a"],"device_id":%q,"keys":{"ed25519:%s":"k"},"signatures":{},"user_id":%q}`, id, id, user)
}

func TestRemoteQueryKeys(t *testing.T) {
	d := newDistant(t, "10")
	const at = "/_matrix/federation/v1/user/keys/query"
	other := "@other:" + d.peer.Name
	cross := `{"keys":{"ed25519:m":"m"},"usage":["master"],"user_id":"` + d.user() + `"}`
	d.peer.Answer(at, 200, fmt.Sprintf(`{"device_keys":{%q:{"A":%s,"B":%s,"C":%s,"D":7},%q:{},"@near:example.org":{"A":%s}},"master_keys":{%q:%s,%q:%s},"self_signing_keys":{%q:{}}}`,
		d.user(), d.device(d.user(), "A"), d.device(d.user(), "X"), d.device("@near:example.org", "C"),
		other, d.device("@near:example.org", "A"), d.user(), cross, other, cross, d.user()))
	req := &remoteapi.KeysRequest{Destination: d.peer.Name, Keys: json.RawMessage(fmt.Sprintf(`{%q:[],"@near:example.org":[]}`, d.user()))}
	same(t, must(t, d.server.deps.Bus, remoteapi.QueryKeys, req).JSON,
		fmt.Sprintf(`{"device_keys":{%q:{"A":%s}},"master_keys":{%q:%s},"self_signing_keys":{}}`, d.user(), d.device(d.user(), "A"), d.user(), cross))
	same(t, d.peer.LastTo(at).Body, fmt.Sprintf(`{"device_keys":{%q:[],"@near:example.org":[]}}`, d.user()))
	d.peer.Handle(at, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	req.TimeoutMS = 50
	start := time.Now()
	if _, err := remoteapi.QueryKeys.Do(context.Background(), d.server.deps.Bus, req); err == nil || time.Since(start) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
	if d.server.health.Wait(d.peer.Name) != 0 {
		t.Error("a short wait of a user counts as a failure of the server")
	}
}

func TestRemoteClaimKeys(t *testing.T) {
	d := newDistant(t, "10")
	const at = "/_matrix/federation/v1/user/keys/claim"
	d.peer.Answer(at, 200, fmt.Sprintf(`{"one_time_keys":{%q:{"A":{"signed_curve25519:1":{"key":"k"}},"B":{"x:1":"k"},"C":{"x:1":1},"D":{"x:1":"a","x:2":"b"},"E":{"x:1":"k"}},"@near:example.org":{"A":{"x:1":"k"}}}}`, d.user()))
	req := &remoteapi.KeysRequest{Destination: d.peer.Name, Keys: json.RawMessage(fmt.Sprintf(`{%q:{"A":"signed_curve25519","B":"x","C":"x","D":"x"},"@near:example.org":{"A":"x"}}`, d.user()))}
	same(t, must(t, d.server.deps.Bus, remoteapi.ClaimKeys, req).JSON, fmt.Sprintf(`{"one_time_keys":{%q:{"A":{"signed_curve25519:1":{"key":"k"}},"B":{"x:1":"k"}}}}`, d.user()))
}

func TestRemoteUserDevices(t *testing.T) {
	d := newDistant(t, "10")
	at := "/_matrix/federation/v1/user/devices/" + d.user()
	entry := func(id, user string) string {
		return fmt.Sprintf(`{"device_id":%q,"keys":%s}`, id, d.device(user, id))
	}
	cross := `{"keys":{"ed25519:m":"m"},"usage":["master"],"user_id":"` + d.user() + `"}`
	d.peer.Answer(at, 200, fmt.Sprintf(`{"user_id":%q,"stream_id":5,"devices":[%s,%s,{"device_id":"X"}],"master_key":%s,"self_signing_key":{"user_id":"@x:y"}}`,
		d.user(), entry("A", d.user()), entry("B", "@near:example.org"), cross))
	req := &remoteapi.UserRequest{UserID: d.user()}
	same(t, must(t, d.server.deps.Bus, remoteapi.UserDevices, req).JSON,
		fmt.Sprintf(`{"user_id":%q,"stream_id":5,"devices":[%s],"master_key":%s}`, d.user(), entry("A", d.user()), cross))
	d.refuses(at, failing(d.server.deps.Bus, remoteapi.UserDevices, req), map[string]string{
		"another user": `{"user_id":"@x:y","stream_id":5,"devices":[]}`, "no stream": fmt.Sprintf(`{"user_id":%q,"devices":[]}`, d.user()),
		"too large": `{"a":"` + strings.Repeat("x", maxCallAnswer) + `"}`,
	})
}

func TestRemoteOpenID(t *testing.T) {
	d := newDistant(t, "10")
	const at = "/_matrix/federation/v1/openid/userinfo"
	req := &remoteapi.OpenIDRequest{Destination: d.peer.Name, Token: "a b&c"}
	d.peer.Answer(at, 200, `{"sub":"`+d.user()+`","more":1}`)
	same(t, must(t, d.server.deps.Bus, remoteapi.OpenID, req).JSON, `{"sub":"`+d.user()+`"}`)
	if last := d.peer.LastTo(at); last.Header.Get("Authorization") != "" || !strings.HasSuffix(last.URI, "?access_token=a+b%26c") {
		t.Errorf("%+v", last)
	}
	d.refuses(at, failing(d.server.deps.Bus, remoteapi.OpenID, req), map[string]string{"a user of ours": `{"sub":"@near:example.org"}`, "no user": `{"sub":"far"}`})
}

func TestRemoteEventAt(t *testing.T) {
	d := newDistant(t, "10")
	at := "/_matrix/federation/v1/timestamp_to_event/" + d.room
	req := &remoteapi.EventAtRequest{Destinations: []string{d.peer.Name}, RoomID: d.room, TS: 100}
	d.peer.Answer(at, 200, `{"event_id":"$x","origin_server_ts":120}`)
	got := must(t, d.server.deps.Bus, remoteapi.EventAt, req)
	if got.EventID != "$x" || got.TS != 120 || got.Destination != d.peer.Name || !strings.HasSuffix(d.peer.LastTo(at).URI, "?dir=f&ts=100") {
		t.Errorf("%+v", got)
	}
	d.refuses(at, failing(d.server.deps.Bus, remoteapi.EventAt, req), map[string]string{
		"the other side": `{"event_id":"$x","origin_server_ts":90}`, "no id": `{"event_id":"x","origin_server_ts":120}`, "no time": `{"event_id":"$x"}`,
	})
}

func TestRemoteHierarchy(t *testing.T) {
	d := newDistant(t, "10")
	at := "/_matrix/federation/v1/hierarchy/" + d.room
	room := func(id string) string {
		return fmt.Sprintf(`{"children_state":[],"guest_can_join":false,"num_joined_members":3,"room_id":%q,"world_readable":true}`, id)
	}
	req := &remoteapi.HierarchyRequest{Destinations: []string{d.peer.Name}, RoomID: d.room}
	d.peer.Answer(at, 200, `{"room":`+room(d.room)+`,"children":[`+room("!a:b")+`,`+room("no room")+`,{"room_id":"!c:d"}],"inaccessible_children":["!e:f","x",7]}`)
	got := must(t, d.server.deps.Bus, remoteapi.Hierarchy, req)
	if string(got.Room) != room(d.room) || len(got.Children) != 1 || string(got.Children[0]) != room("!a:b") || len(got.Inaccessible) != 1 {
		t.Errorf("%+v", got)
	}
	d.refuses(at, failing(d.server.deps.Bus, remoteapi.Hierarchy, req), map[string]string{
		"another room": `{"room":` + room("!a:b") + `,"children":[]}`, "no children": `{"room":` + room(d.room) + `}`,
		"a name that is none": `{"room":` + strings.Replace(room(d.room), `{`, `{"name":7,`, 1) + `,"children":[]}`,
	})
}

func TestRemotePublicRooms(t *testing.T) {
	d := newDistant(t, "10")
	const at = "/_matrix/federation/v1/publicRooms"
	room := `{"guest_can_join":false,"num_joined_members":3,"room_id":"!a:b","world_readable":true}`
	req := &remoteapi.PublicRoomsRequest{Destination: d.peer.Name, Body: json.RawMessage(`{"limit":5}`)}
	d.peer.Answer(at, 200, `{"chunk":[`+room+`,{"room_id":"!c:d"},7],"next_batch":"n","total_room_count_estimate":9,"evil":1}`)
	same(t, must(t, d.server.deps.Bus, remoteapi.PublicRooms, req).JSON, `{"chunk":[`+room+`],"next_batch":"n","total_room_count_estimate":9}`)
	if body := string(d.peer.LastTo(at).Body); body != `{"limit":5}` {
		t.Error(body)
	}
	d.refuses(at, failing(d.server.deps.Bus, remoteapi.PublicRooms, req), map[string]string{"no chunk": `{"chunk":{}}`})
}

func TestRemoteResolveAlias(t *testing.T) {
	d := newDistant(t, "10")
	const at = "/_matrix/federation/v1/query/directory"
	req := &remoteapi.AliasRequest{Alias: "#x:" + d.peer.Name}
	d.refuses(at, failing(d.server.deps.Bus, remoteapi.ResolveAlias, req), map[string]string{
		"no room": `{"room_id":"x","servers":[]}`, "no servers": `{"room_id":"` + d.room + `"}`,
	})
	d.peer.Answer(at, 404, `{"errcode":"M_NOT_FOUND"}`)
	if _, err := remoteapi.ResolveAlias.Do(context.Background(), d.server.deps.Bus, req); !errors.Is(err, merr.NotFound("")) {
		t.Error(err)
	}
	for _, alias := range []string{"#x:example.org", "x", "#x"} {
		if _, err := remoteapi.ResolveAlias.Do(context.Background(), d.server.deps.Bus, &remoteapi.AliasRequest{Alias: alias}); err == nil {
			t.Errorf("%s was asked for", alias)
		}
	}
}

func TestRemotePolicySignAndExchange(t *testing.T) {
	d := newDistant(t, "10")
	const at = "/_matrix/policy/v1/sign"
	req := &remoteapi.PolicySignRequest{Destination: d.peer.Name, Event: json.RawMessage(`{"type":"m.x"}`)}
	d.peer.Answer(at, 200, fmt.Sprintf(`{%q:{"ed25519:policy_server":"sig"},"third.example":{"ed25519:x":"s"}}`, d.peer.Name))
	same(t, must(t, d.server.deps.Bus, remoteapi.PolicySign, req).JSON, fmt.Sprintf(`{%q:{"ed25519:policy_server":"sig"}}`, d.peer.Name))
	d.refuses(at, failing(d.server.deps.Bus, remoteapi.PolicySign, req), map[string]string{
		"no strings": fmt.Sprintf(`{%q:{"ed25519:policy_server":7}}`, d.peer.Name), "nothing": fmt.Sprintf(`{%q:{}}`, d.peer.Name), "another's": `{"third.example":{"ed25519:x":"s"}}`,
	})
	d.peer.Answer(at, 400, `{"errcode":"M_FORBIDDEN","error":"spam"}`)
	if _, err := remoteapi.PolicySign.Do(context.Background(), d.server.deps.Bus, req); !errors.Is(err, merr.Forbidden("")) {
		t.Error(err)
	}
	exchange := "/_matrix/federation/v1/exchange_third_party_invite/" + d.room
	d.peer.Answer(exchange, 200, `{}`)
	must(t, d.server.deps.Bus, remoteapi.ExchangeInvite, &remoteapi.ExchangeRequest{Destination: d.peer.Name, RoomID: d.room, Event: json.RawMessage(`{"type":"m.room.member"}`)})
	if body := string(d.peer.LastTo(exchange).Body); body != `{"type":"m.room.member"}` {
		t.Error(body)
	}
}

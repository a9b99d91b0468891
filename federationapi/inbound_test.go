package federationapi

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"hearth/clientapi/userapi"
	"hearth/federationapi/internal/peertest"
	"hearth/federationapi/xmatrix"
	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/internal/pduwire"
	"hearth/roomserver/roomapi"
)

const (
	ourRoom     = "!room:example.org"
	newRoom     = "!new" // and 40 characters: a room of version 12
	unknownRoom = "!unknown:example.org"
	fedV1       = "/_matrix/federation/v1"
	fedV2       = "/_matrix/federation/v2"
)

// owners script the components behind the server-server API. They note what reached them.
type owners struct {
	*neighbours
	reached []string
}

func newOwners(t testing.TB) *owners {
	t.Helper()
	o := &owners{neighbours: newNeighbours(t)}
	b := o.server.deps.Bus
	stream := func(what, body string) func([]byte) string {
		return func([]byte) string { o.reached = append(o.reached, what); return body }
	}
	member := func(id string) json.RawMessage { return json.RawMessage(`{"event_id":"` + id + `"}`) }
	for _, err := range []error{
		bus.Handle(b, roomapi.FederationRoom, func(_ context.Context, r *roomapi.FederationRoomRequest) (*roomapi.FederationRoomResponse, error) {
			if r.RoomID != ourRoom || r.Origin != o.peer.Name && r.Origin != "" {
				return nil, merr.NotFound("Unknown room")
			}
			return &roomapi.FederationRoomResponse{Version: "10", Joined: true}, nil
		}),
		bus.Handle(b, roomapi.Receive, func(_ context.Context, r *roomapi.ReceiveRequest) (*roomapi.ReceiveResponse, error) {
			for _, p := range r.PDUs {
				o.reached = append(o.reached, "receive "+p.EventID)
			}
			return &roomapi.ReceiveResponse{}, nil
		}),
		bus.Handle(b, userapi.MayJoin, func(_ context.Context, r *userapi.MayJoinRequest) (*userapi.Empty, error) {
			if strings.HasPrefix(r.UserID, "@denied:") && r.Asked && r.RoomID == ourRoom {
				return nil, merr.Forbidden("Not here")
			}
			return &userapi.Empty{}, nil
		}),
		bus.Handle(b, roomapi.MakeMembership, func(_ context.Context, r *roomapi.MakeMembershipRequest) (*roomapi.MakeMembershipResponse, error) {
			o.reached = append(o.reached, fmt.Sprint("make ", r.Membership, " ", r.UserID, " ", r.Versions))
			return &roomapi.MakeMembershipResponse{RoomVersion: "10", Event: json.RawMessage(`{"type":"m.room.member"}`)}, nil
		}),
		bus.HandleStream(b, roomapi.AcceptJoin, func(_ context.Context, r *roomapi.AcceptRequest, send func([]byte) error) error {
			body := stream(fmt.Sprint("join ", r.Event.EventID, " ", r.OmitMembers), `{"state":[],"auth_chain":[]}`)(nil)
			if err := send([]byte(body[:5])); err != nil {
				return err
			}
			return send([]byte(body[5:]))
		}),
		bus.Handle(b, roomapi.AcceptMembership, func(_ context.Context, r *roomapi.AcceptRequest) (*roomapi.AcceptResponse, error) {
			o.reached = append(o.reached, r.Membership+" "+r.Event.EventID)
			return &roomapi.AcceptResponse{StrippedState: json.RawMessage(`[{"type":"x"}]`)}, nil
		}),
		bus.Handle(b, roomapi.AcceptInvite, func(_ context.Context, r *roomapi.AcceptInviteRequest) (*roomapi.AcceptInviteResponse, error) {
			o.reached = append(o.reached, "invite "+r.Event.EventID+" "+string(r.State))
			return &roomapi.AcceptInviteResponse{Event: pduwire.PDU{EventID: r.Event.EventID, JSON: member("signed")}}, nil
		}),
		bus.Handle(b, roomapi.AcceptExchange, func(_ context.Context, r *roomapi.AcceptExchangeRequest) (*roomapi.Empty, error) {
			o.reached = append(o.reached, "exchange "+r.RoomID)
			return &roomapi.Empty{}, nil
		}),
		bus.Handle(b, roomapi.FederationEvent, func(_ context.Context, r *roomapi.FederationEventRequest) (*pduwire.PDU, error) {
			if r.EventID != "$known" {
				return nil, merr.NotFound("no")
			}
			return &pduwire.PDU{EventID: r.EventID, JSON: member(r.EventID)}, nil
		}),
		bus.HandleStream(b, roomapi.FederationState, func(_ context.Context, r *roomapi.FederationStateRequest, send func([]byte) error) error {
			if r.RoomID != ourRoom {
				return merr.Forbidden("no")
			}
			return send([]byte(fmt.Sprintf(`{"ids":%v,"event":%q}`, r.IDs, r.EventID)))
		}),
		bus.HandleStream(b, roomapi.FederationEventAuth, func(_ context.Context, r *roomapi.FederationEventRequest, send func([]byte) error) error {
			return send([]byte(`{"auth_chain":[]}`))
		}),
		bus.HandleStream(b, roomapi.FederationBackfill, func(_ context.Context, r *roomapi.FederationBackfillRequest, send func([]byte) error) error {
			w := pduwire.NewWriter(send)
			for i := range r.Limit {
				if err := w.Write('e', pduwire.PDU{EventID: r.From[0], JSON: json.RawMessage(fmt.Sprintf(`{"n":%d}`, i))}); err != nil {
					return err
				}
				if err := w.Flush(); err != nil {
					return err
				}
			}
			return nil
		}),
		bus.HandleStream(b, roomapi.FederationMissing, func(_ context.Context, r *roomapi.FederationMissingRequest, send func([]byte) error) error {
			w := pduwire.NewWriter(send)
			err := w.Write('e', pduwire.PDU{EventID: "$x", JSON: json.RawMessage(fmt.Sprintf(`{"limit":%d,"depth":%d}`, r.Limit, r.MinDepth))})
			if err != nil {
				return err
			}
			return w.Flush()
		}),
		bus.Handle(b, roomapi.FederationEventAt, func(_ context.Context, r *roomapi.FederationEventAtRequest) (*roomapi.FederationEventAtResponse, error) {
			return &roomapi.FederationEventAtResponse{EventID: fmt.Sprint("$", r.Backwards), TS: r.TS}, nil
		}),
		bus.Handle(b, roomapi.FederationHierarchy, func(_ context.Context, r *roomapi.FederationHierarchyRequest) (*roomapi.FederationHierarchyResponse, error) {
			return &roomapi.FederationHierarchyResponse{Body: json.RawMessage(fmt.Sprintf(`{"suggested":%v}`, r.SuggestedOnly))}, nil
		}),
		bus.Handle(b, roomapi.PublicRooms, func(_ context.Context, r *roomapi.PublicRoomsRequest) (*roomapi.PublicRoomsResponse, error) {
			return &roomapi.PublicRoomsResponse{Chunk: []roomapi.Summary{{RoomID: ourRoom, Name: fmt.Sprint(r.Limit, r.Since, r.Term, r.RoomTypes, r.AnyType)}}}, nil
		}),
		bus.Handle(b, userapi.OpenIDUser, func(_ context.Context, r *userapi.OpenIDRequest) (*userapi.UserRequest, error) {
			if r.Token != "good" {
				return nil, merr.UnknownToken(false)
			}
			return &userapi.UserRequest{UserID: "@alice:example.org"}, nil
		}),
		bus.Handle(b, userapi.GetUser, func(_ context.Context, r *userapi.UserRequest) (*userapi.User, error) {
			if r.UserID != "@alice:example.org" {
				return nil, merr.NotFound("no such user")
			}
			return &userapi.User{UserID: r.UserID}, nil
		}),
		bus.Handle(b, userapi.DeviceListPosition, func(context.Context, *userapi.UserRequest) (*userapi.Position, error) {
			return &userapi.Position{Pos: 7}, nil
		}),
		bus.HandleStream(b, userapi.QueryKeys, func(_ context.Context, r *userapi.QueryKeysRequest, send func([]byte) error) error {
			if _, ok := r.Users["@alice:example.org"]; !ok {
				return nil
			}
			var out []byte
			for _, p := range []userapi.KeyPart{
				{Part: userapi.DeviceKeysPart, UserID: "@alice:example.org", DeviceID: "A", Keys: json.RawMessage(`{"k":1,"unsigned":{"device_display_name":"phone"}}`)},
				{Part: userapi.DeviceKeysPart, UserID: "@alice:example.org", DeviceID: "B", Keys: json.RawMessage(`{"k":2}`)},
				{Part: userapi.MasterPart, UserID: "@alice:example.org", Keys: json.RawMessage(`{"m":1}`)},
			} {
				out = p.Append(out)
			}
			return send(out)
		}),
		bus.Handle(b, userapi.ClaimKeys, func(_ context.Context, r *userapi.ClaimKeysRequest) (*userapi.ClaimKeysResponse, error) {
			out := &userapi.ClaimKeysResponse{}
			for _, c := range r.Claims {
				o.reached = append(o.reached, "claim "+c.UserID)
				out.Keys = append(out.Keys, userapi.ClaimedKey{Name: c.Algorithm + ":AAA", Key: json.RawMessage(`{"key":"x"}`)})
			}
			return out, nil
		}),
		bus.HandleStream(b, userapi.LocalMedia, func(_ context.Context, r *userapi.LocalMediaRequest, send func([]byte) error) error {
			if r.MediaID != "good" {
				return merr.NotFound("Media not found")
			}
			head, _ := json.Marshal(userapi.LocalMediaHeader{ContentType: "text/plain\r\nX-Evil: 1", Disposition: fmt.Sprintf("inline; filename=%dx%d", r.Width, r.Height), Size: 5})
			if err := send(head); err != nil {
				return err
			}
			if err := send([]byte("he")); err != nil {
				return err
			}
			return send([]byte("llo"))
		}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return o
}

// request sends a signed request of the peer.
func (o *owners) request(method, uri, body string) (int, string) {
	o.t.Helper()
	signed := xmatrix.Request{Method: method, URI: uri, Destination: "example.org"}
	if body != "" {
		signed.Content = []byte(body)
	}
	return o.ask(o.server.Handler(), method, uri, body, o.signDeep(signed))
}

// signDeep signs also what the gate for events would not let through.
func (o *owners) signDeep(r xmatrix.Request) string {
	o.t.Helper()
	object := `"destination":"` + r.Destination + `","method":"` + r.Method + `","origin":"` + o.peer.Name + `","uri":` + string(pdu.AppendString(nil, r.URI)) + "}"
	if r.Content != nil {
		content, _, err := pdu.Envelope(r.Content)
		if err != nil {
			content = []byte("{}")
		}
		object = `"content":` + string(content) + "," + object
	}
	key := peertest.Signer(o.peer.Name, "ed25519:1").Key
	signature := base64.RawStdEncoding.EncodeToString(ed25519.Sign(key, []byte("{"+object)))
	return `X-Matrix origin="` + o.peer.Name + `",destination="` + r.Destination + `",key="ed25519:1",sig="` + signature + `"`
}

// event builds an event of the peer.
func (o *owners) event(version string, change func(*pdu.Template), signers ...pdu.Signer) *pdu.Event {
	o.t.Helper()
	v, ok := pdu.Version(version)
	if !ok {
		o.t.Fatal(version)
	}
	user := "@bob:" + o.peer.Name
	tmpl := pdu.Template{
		RoomID: ourRoom, Type: "m.room.member", Sender: user, StateKey: &user, Content: []byte(`{"membership":"join"}`), Depth: 3,
		OriginServerTS: o.clock.Now().UnixMilli(), PrevEvents: []pdu.Ref{{EventID: "$" + strings.Repeat("p", 43), SHA256: make([]byte, 32)}},
	}
	if change != nil {
		change(&tmpl)
	}
	first := peertest.Signer(o.peer.Name, "ed25519:1")
	if len(signers) > 0 {
		first = signers[0]
	}
	e, err := pdu.Build(v, tmpl, first)
	if err != nil {
		o.t.Fatal(err)
	}
	return e
}

func escape(s string) string {
	return strings.NewReplacer("!", "%21", ":", "%3A", "@", "%40", "$", "%24").Replace(s)
}

// TestEveryRouteWantsASignature: nothing but what is public is answered without one.
func TestEveryRouteWantsASignature(t *testing.T) {
	o := newOwners(t)
	public := map[string]bool{
		"GET " + fedV1 + "/version": true, "GET /_matrix/key/v2/server": true, "GET /_matrix/key/v2/server/{keyID}": true,
		"GET /_matrix/key/v2/query/{serverName}": true, "POST /_matrix/key/v2/query": true, "GET " + fedV1 + "/openid/userinfo": true,
		"PUT " + fedV1 + "/3pid/onbind": true,
	}
	n := 0
	for _, r := range o.server.routes() {
		if public[r.Method+" "+r.Path] {
			n++
			continue
		}
		path := r.Path
		for _, name := range []string{"roomId", "eventId", "userId", "txnId", "mediaId"} {
			path = strings.ReplaceAll(path, "{"+name+"}", "x")
		}
		body := ""
		if r.Method != http.MethodGet {
			body = "{}"
		}
		for _, header := range []string{"", "Bearer x", `X-Matrix origin="` + o.peer.Name + `",destination="example.org",key="ed25519:1",sig="AAAA"`} {
			status, answer := o.ask(o.server.Handler(), r.Method, path, body, header)
			if status != 401 || !strings.Contains(answer, "M_UNAUTHORIZED") {
				t.Errorf("%s %s with %q: %d %s", r.Method, path, header, status, answer)
			}
		}
		if status, _ := o.ask(o.server.Handler(), r.Method, path+"/extra", body); status != 404 && status != 401 {
			t.Errorf("%s %s/extra: %d", r.Method, path, status)
		}
	}
	if n != len(public) {
		t.Errorf("%d public routes", n)
	}
	if len(o.reached) != 0 {
		t.Errorf("reached: %q", o.reached)
	}
}

func TestMakeMembership(t *testing.T) {
	o := newOwners(t)
	bob := escape("@bob:" + o.peer.Name)
	room := escape(ourRoom)
	for _, tc := range []struct {
		uri    string
		status int
		want   string
	}{
		{"/make_join/" + room + "/" + bob + "?ver=1&ver=10", 200, `{"event":{"type":"m.room.member"},"room_version":"10"}`},
		{"/make_join/" + room + "/" + bob, 200, ""},
		{"/make_knock/" + room + "/" + bob + "?ver=7", 200, ""},
		{"/make_leave/" + room + "/" + bob, 200, ""},
		{"/make_join/" + room + "/" + escape("@bob:other.example"), 403, "M_FORBIDDEN"},
		{"/make_join/" + room + "/" + escape("@alice:example.org"), 403, "M_FORBIDDEN"},
		{"/make_join/" + room + "/bob", 403, "M_FORBIDDEN"},
		{"/make_join/" + room + "/" + escape("@denied:"+o.peer.Name), 403, "Not here"},
		{"/make_join/x/" + bob, 400, ""},
		{"/make_join/%21..%2F..%2Fx%3Ay/" + bob, 400, ""},
		{"/make_leave/" + room + "/" + bob + "?ver=%ff", 400, "M_INVALID_PARAM"},
		{"/make_join/" + room + "/" + bob + "?" + strings.Repeat("ver=1&", maxVersions+1), 400, "M_INVALID_PARAM"},
	} {
		if status, answer := o.request("GET", fedV1+tc.uri, ""); status != tc.status || !strings.Contains(answer, tc.want) {
			t.Errorf("%s: %d %s", tc.uri, status, answer)
		}
	}
	want := []string{"make join @bob:" + o.peer.Name + " [1 10]", "make join @bob:" + o.peer.Name + " [1]", "make knock @bob:" + o.peer.Name + " [7]", "make leave @bob:" + o.peer.Name + " []"}
	if fmt.Sprint(o.reached) != fmt.Sprint(want) {
		t.Errorf("%q", o.reached)
	}
}

// TestSubmitted: the events of send_join, send_knock and send_leave are what their paths say, or nothing
// is signed or kept.
func TestSubmitted(t *testing.T) {
	o := newOwners(t)
	content := func(c string) func(*pdu.Template) { return func(t *pdu.Template) { t.Content = []byte(c) } }
	join := o.event("10", nil)
	knock, leave := o.event("10", content(`{"membership":"knock"}`)), o.event("10", content(`{"membership":"leave"}`))
	restricted := o.event("10", content(`{"join_authorised_via_users_server":"@alice:example.org","membership":"join"}`))
	elsewhere := o.event("10", content(`{"join_authorised_via_users_server":"@x:other.example","membership":"join"}`))
	other := "@x:other.example"
	put := func(path, room string, e *pdu.Event, body string) (int, string) {
		if body == "" {
			body = string(e.JSON)
		}
		return o.request("PUT", path+"/"+escape(room)+"/"+escape(e.EventID), body)
	}
	for name, tc := range map[string]struct {
		path string
		e    *pdu.Event
		want string
	}{
		"join":       {fedV2 + "/send_join", join, `{"state":[],"auth_chain":[]}`},
		"join, old":  {fedV1 + "/send_join", join, `[200,{"state":[],"auth_chain":[]}]`},
		"restricted": {fedV2 + "/send_join", restricted, `{"state":[],"auth_chain":[]}`},
		"knock":      {fedV1 + "/send_knock", knock, `{"knock_room_state":[{"type":"x"}]}`},
		"leave":      {fedV2 + "/send_leave", leave, `{}`},
		"leave, old": {fedV1 + "/send_leave", leave, `[200,{}]`},
	} {
		if status, answer := put(tc.path, ourRoom, tc.e, ""); status != 200 || answer != tc.want {
			t.Errorf("%s: %d %s", name, status, answer)
		}
	}
	if status, _ := o.request("PUT", fedV2+"/send_join/"+escape(ourRoom)+"/"+escape(join.EventID)+"?omit_members=true", string(join.JSON)); status != 200 || o.reached[len(o.reached)-1] != "join "+join.EventID+" true" {
		t.Errorf("%d %q", status, o.reached)
	}
	o.reached = nil
	foreign := o.event("10", func(t *pdu.Template) { t.RoomID = unknownRoom })
	message := o.event("10", func(t *pdu.Template) { t.Type, t.StateKey = "m.room.message", nil })
	power := o.event("10", func(t *pdu.Template) { t.Type = "m.room.power_levels" })
	stateless := o.event("10", func(t *pdu.Template) { t.StateKey = nil })
	aboutOther := o.event("10", func(t *pdu.Template) { t.StateKey = &other })
	ofOther := o.event("10", func(t *pdu.Template) { t.Sender, t.StateKey = other, &other })
	forged := o.event("10", func(t *pdu.Template) { t.Sender, t.StateKey = other, &other }, peertest.Signer("other.example", "ed25519:1"))
	invite := o.event("10", content(`{"membership":"invite"}`))
	changed := strings.Replace(string(join.JSON), `"membership":"join"`, `"displayname":"x","membership":"join"`, 1)
	for name, tc := range map[string]struct {
		path, room string
		e          *pdu.Event
		body       string
		status     int
	}{
		"another room":                 {fedV2 + "/send_join", ourRoom, foreign, "", 400},
		"an unknown room":              {fedV2 + "/send_join", unknownRoom, foreign, "", 404},
		"another id":                   {fedV2 + "/send_join", ourRoom, leave, string(join.JSON), 400},
		"a knock as join":              {fedV2 + "/send_join", ourRoom, knock, "", 400},
		"a join as knock":              {fedV1 + "/send_knock", ourRoom, join, "", 400},
		"a join as leave":              {fedV2 + "/send_leave", ourRoom, join, "", 400},
		"an invite as join":            {fedV2 + "/send_join", ourRoom, invite, "", 400},
		"a message":                    {fedV2 + "/send_join", ourRoom, message, "", 400},
		"power levels":                 {fedV2 + "/send_join", ourRoom, power, "", 400},
		"no state":                     {fedV2 + "/send_join", ourRoom, stateless, "", 400},
		"about somebody else":          {fedV2 + "/send_leave", ourRoom, aboutOther, "", 400},
		"of another server":            {fedV2 + "/send_join", ourRoom, ofOther, "", 400},
		"of another server, signed":    {fedV2 + "/send_join", ourRoom, forged, "", 400},
		"authorised by another server": {fedV2 + "/send_join", ourRoom, elsewhere, "", 400},
		"another content":              {fedV2 + "/send_join", ourRoom, join, changed, 400},
		"nothing":                      {fedV2 + "/send_join", ourRoom, join, "{}", 400},
		"nested":                       {fedV2 + "/send_join", ourRoom, join, `{"content":` + strings.Repeat(`{"a":`, 1500) + "1" + strings.Repeat("}", 1501), 400},
	} {
		status, answer := put(tc.path, tc.room, tc.e, tc.body)
		if status != tc.status || tc.status == 400 && !strings.Contains(answer, `"M_`) {
			t.Errorf("%s: %d %s", name, status, answer)
		}
	}
	if len(o.reached) != 0 {
		t.Errorf("reached: %q", o.reached)
	}
}

func TestInvites(t *testing.T) {
	o := newOwners(t)
	alice, bob := "@alice:example.org", "@bob:"+o.peer.Name
	invite := func(change func(*pdu.Template)) func(*pdu.Template) {
		return func(t *pdu.Template) {
			t.StateKey, t.Content = &alice, []byte(`{"membership":"invite"}`)
			if change != nil {
				change(t)
			}
		}
	}
	good, old := o.event("10", invite(nil)), o.event("2", invite(nil))
	stripped := `{"content":{"name":"N"},"sender":"` + bob + `","state_key":"","type":"m.room.name"}`
	create := o.event("12", func(t *pdu.Template) {
		empty := ""
		t.RoomID, t.Type, t.StateKey, t.Content, t.PrevEvents, t.Depth = "", "m.room.create", &empty, []byte(`{"room_version":"12"}`), nil, 1
	})
	twelve := o.event("12", invite(func(t *pdu.Template) { t.RoomID = create.RoomID }))
	foreignState := o.event("12", func(t *pdu.Template) { t.RoomID = "!" + strings.Repeat("x", 43) })
	badCreate := strings.Replace(string(create.JSON), `"depth":1`, `"depth":2`, 1)
	body := func(version string, e *pdu.Event, state string) string {
		if state == "" {
			return `{"event":` + string(e.JSON) + `,"room_version":"` + version + `"}`
		}
		return `{"event":` + string(e.JSON) + `,"invite_room_state":` + state + `,"room_version":"` + version + `"}`
	}
	for name, tc := range map[string]struct {
		path, room string
		e          *pdu.Event
		body       string
		status     int
		state      string // what the roomserver gets
	}{
		"good":                  {fedV2, ourRoom, good, body("10", good, "["+stripped+"]"), 200, "[" + stripped + "]"},
		"more than is stripped": {fedV2, ourRoom, good, body("10", good, "["+strings.Replace(stripped, `{"content"`, `{"age":1,"content"`, 1)+"]"), 200, "[" + stripped + "]"},
		"no state":              {fedV2, ourRoom, good, body("10", good, ""), 200, "[]"},
		"null state":            {fedV2, ourRoom, good, body("10", good, "null"), 200, "[]"},
		"number as state":       {fedV2, ourRoom, good, body("10", good, "5"), 200, "[]"},
		"object as state":       {fedV2, ourRoom, good, body("10", good, "{}"), 200, "[]"},
		"noise in the state":    {fedV2, ourRoom, good, body("10", good, `[null,5,"x",{},[],{"type":"m.room.name"},`+stripped+`]`), 200, "[" + stripped + "]"},
		"old":                   {fedV1, ourRoom, old, strings.TrimSuffix(string(old.JSON), "}") + `,"unsigned":{"invite_room_state":[` + stripped + `]}}`, 200, "[" + stripped + "]"},
		"version 12":            {fedV2, create.RoomID, twelve, body("12", twelve, "["+string(create.JSON)+"]"), 200, ""},
		"version 12, no create": {fedV2, create.RoomID, twelve, body("12", twelve, "["+stripped+"]"), 400, ""},
		"another room's event":  {fedV2, create.RoomID, twelve, body("12", twelve, "["+string(create.JSON)+","+string(foreignState.JSON)+"]"), 400, ""},
		"a forged create":       {fedV2, create.RoomID, twelve, body("12", twelve, "["+badCreate+"]"), 400, ""},
		"another room":          {fedV2, unknownRoom, good, body("10", good, ""), 400, ""},
		"an unknown version":    {fedV2, ourRoom, good, body("org.example", good, ""), 400, ""},
		"another version":       {fedV2, ourRoom, good, body("2", good, ""), 400, ""},
		"no version":            {fedV2, ourRoom, good, `{"event":` + string(good.JSON) + `}`, 400, ""},
		"no event":              {fedV2, ourRoom, good, `{"event":5,"room_version":"10"}`, 400, ""},
	} {
		o.reached = nil
		status, answer := o.request("PUT", tc.path+"/invite/"+escape(tc.room)+"/"+escape(tc.e.EventID), tc.body)
		if status != tc.status {
			t.Errorf("%s: %d %s", name, status, answer)
			continue
		}
		if status != 200 {
			if len(o.reached) != 0 {
				t.Errorf("%s reached %q", name, o.reached)
			}
			continue
		}
		want := `{"event":{"event_id":"signed"}}`
		if tc.path == fedV1 {
			want = "[200," + want + "]"
		}
		if answer != want || len(o.reached) != 1 || tc.state != "" && o.reached[0] != "invite "+tc.e.EventID+" "+tc.state {
			t.Errorf("%s: %s, reached %q", name, answer, o.reached)
		}
	}
	o.reached = nil
	stranger := "@x:other.example"
	for name, e := range map[string]*pdu.Event{
		"a user of another server": o.event("10", invite(func(t *pdu.Template) { t.StateKey = &stranger })),
		"a join":                   o.event("10", invite(func(t *pdu.Template) { t.Content = []byte(`{"membership":"join"}`) })),
		"power levels":             o.event("10", invite(func(t *pdu.Template) { t.Type = "m.room.power_levels" })),
		"of another server's user": o.event("10", invite(func(t *pdu.Template) { t.Sender = stranger })),
	} {
		status, answer := o.request("PUT", fedV2+"/invite/"+escape(ourRoom)+"/"+escape(e.EventID), body("10", e, ""))
		if status != 400 || len(o.reached) != 0 {
			t.Errorf("%s: %d %s, reached %q", name, status, answer, o.reached)
		}
	}
}

func TestExchange(t *testing.T) {
	o := newOwners(t)
	const good = `{"content":{"membership":"invite","third_party_invite":{"display_name":"a","signed":{"mxid":"@bob:x","signatures":{},"token":"t"}}},` +
		`"room_id":"!room:example.org","sender":"@alice:example.org","state_key":"@bob:x","type":"m.room.member"}`
	for body, status := range map[string]int{
		good: 200,
		strings.Replace(good, "!room:", "!other:", 1):                  400,
		strings.Replace(good, "m.room.member", "m.room.name", 1):       400,
		strings.Replace(good, `"invite"`, `"join"`, 1):                 400,
		strings.Replace(good, `"mxid":"@bob:x"`, `"mxid":"@eve:x"`, 1): 400,
		strings.Replace(good, `"token":"t"`, `"token":5`, 1):           400,
		strings.Replace(good, `"@alice:example.org"`, `"alice"`, 1):    400,
		`{}`: 400,
	} {
		if got, answer := o.request("PUT", fedV1+"/exchange_third_party_invite/"+escape(ourRoom), body); got != status {
			t.Errorf("%s: %d %s", body, got, answer)
		}
	}
	if len(o.reached) != 1 {
		t.Errorf("%q", o.reached)
	}
}

// TestOnBind: the invites that an identity server brings are completed by the inviter's server if we
// are not in the room. What is wrong with one does not concern the others.
func TestOnBind(t *testing.T) {
	o := newOwners(t)
	const exchange = fedV1 + "/exchange_third_party_invite/!far:x.example"
	o.peer.Answer(exchange, 200, "{}")
	invite := func(room, sender, mxid string) string {
		return `{"address":"a@b.c","medium":"email","mxid":"` + mxid + `","room_id":"` + room + `","sender":"` + sender +
			`","signed":{"mxid":"` + mxid + `","signatures":{"id.example":{"ed25519:0":"AA"}},"token":"t"}}`
	}
	const alice = "@alice:example.org"
	body := func(mxid string, invites ...string) string {
		return `{"address":"a@b.c","invites":[` + strings.Join(invites, ",") + `],"medium":"email","mxid":"` + mxid + `"}`
	}
	far := invite("!far:x.example", "@bob:"+o.peer.Name, alice)
	for b, want := range map[string]int{
		body(alice, `5`, `{}`, invite("!far:x.example", "bob", alice), invite("!far:x.example", "@bob:"+o.peer.Name, "@eve:example.org"), far): 200,
		body("@nobody:example.org", far): 404,
		body("@x:other.example", far):    400,
		body(alice, strings.Split(strings.Repeat(far+"\n", maxBoundInvites+1), "\n")[:maxBoundInvites+1]...): 400,
		`{}`: 400, `[]`: 400,
	} {
		if status, answer := o.ask(o.server.Handler(), "PUT", fedV1+"/3pid/onbind", b); status != want {
			t.Errorf("%.80s: %d %s", b, status, answer)
		}
	}
	if n := o.peer.Requests(exchange); n != 1 {
		t.Errorf("the inviter's server was asked %d times", n)
	}
	if status, _ := o.ask(o.server.Handler(), "PUT", fedV1+"/3pid/onbind", body(alice, invite(ourRoom, "@bob:"+o.peer.Name, alice))); status != 200 {
		t.Errorf("%d", status)
	}
	if fmt.Sprint(o.reached) != "[exchange "+ourRoom+"]" {
		t.Errorf("%q", o.reached)
	}
}

package federationapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/federationapi/internal/peertest"
	"hearth/federationapi/remoteapi"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/internal/pduwire"
)

// joined is what came of a join.
type joined struct {
	heads []remoteapi.JoinHeader
	state []string
	auth  []string
}

func (d *distant) join(e *pdu.Event, omit bool) (*joined, error) {
	j := &joined{}
	err := remoteapi.ReadJoin(context.Background(), d.server.deps.Bus, &remoteapi.SendJoinRequest{
		Destination: d.peer.Name, RoomID: d.room, RoomVersion: d.v.ID, Event: pduwire.Of(e), OmitMembers: omit,
	}, func(h *remoteapi.JoinHeader) error {
		if len(j.state)+len(j.auth) > 0 {
			d.t.Error("the header comes after events")
		}
		j.heads = append(j.heads, *h)
		return nil
	}, func(kind byte, p pduwire.PDU) error {
		if kind == remoteapi.KindState {
			j.state = append(j.state, p.EventID)
		} else {
			j.auth = append(j.auth, p.EventID)
		}
		return nil
	})
	return j, err
}

func ids(events ...*pdu.Event) (out []string) {
	for _, e := range events {
		out = append(out, e.EventID)
	}
	return out
}

func TestRemoteSendJoin(t *testing.T) {
	d := newDistant(t, "10")
	e := d.ours("join", "")
	create := d.event("m.room.create", key(""), `{}`)
	name := d.event("m.room.name", key(""), `{"name":"N"}`)
	message := d.event("m.room.message", nil, `{}`)
	forged := d.build(pdu.Template{RoomID: d.room, Type: "m.room.topic", Sender: d.user(), StateKey: key(""), Content: []byte(`{}`)}, peertest.Signer(d.peer.Name, "ed25519:2"))
	elsewhere := d.build(pdu.Template{RoomID: "!other:" + d.peer.Name, Type: "m.room.topic", Sender: d.user(), StateKey: key(""), Content: []byte(`{}`)}, peertest.Signer(d.peer.Name, "ed25519:1"))
	at := "/_matrix/federation/v2/send_join/" + d.room + "/" + e.EventID
	state, auth := list(create, message, forged, elsewhere, name), list(create)
	d.peer.Answer(at, 200, `{"origin":"x","auth_chain":`+auth+`,"state":`+state+`,"event":{"x":1},"members_omitted":false}`)
	got, err := d.join(e, false)
	if err != nil || len(got.heads) != 1 || got.heads[0].Event.EventID != "" || !slices.Equal(got.state, ids(create, name)) || !slices.Equal(got.auth, ids(create)) {
		t.Errorf("%+v %v", got, err)
	}
	if last := d.peer.LastTo(at); string(last.Body) != string(e.JSON) || !strings.HasSuffix(last.URI, "?omit_members=false") {
		t.Errorf("sent %s to %s", last.Body, last.URI)
	}
	d.refuses(at, func() error { _, err := d.join(e, false); return err }, map[string]string{
		"no state": `{"auth_chain":[]}`, "no auth chain": `{"state":[]}`, "twice": `{"state":[],"state":[],"auth_chain":[]}`,
		"members left out": `{"auth_chain":[],"state":[],"members_omitted":true}`, "cut off in a list": `{"auth_chain":` + auth + `,"state":[` + string(name.JSON),
		"more after it": `{"auth_chain":[],"state":[]}{"state":[]}`, "a large value": `{"auth_chain":["` + strings.Repeat("x", 3<<20) + `"],"state":[]}`,
		"a pair": `[200,{"auth_chain":[],"state":[]}]`,
	})
	d.peer.Answer(at, 400, `{"errcode":"M_UNABLE_TO_AUTHORISE_JOIN"}`)
	if _, err := d.join(e, false); !errors.Is(err, merr.New(400, "M_UNABLE_TO_AUTHORISE_JOIN", "")) {
		t.Error(err)
	}
	// Servers of long ago.
	d.peer.Answer(at, 404, `{"errcode":"M_UNRECOGNIZED"}`)
	old := "/_matrix/federation/v1/send_join/" + d.room + "/" + e.EventID
	d.peer.Answer(old, 200, `[200,{"auth_chain":`+auth+`,"state":`+state+`}]`)
	got, err = d.join(e, false)
	if err != nil || !slices.Equal(got.state, ids(create, name)) {
		t.Errorf("%+v %v", got, err)
	}
	for _, answer := range []string{`[200]`, `[403,{"auth_chain":[],"state":[]}]`, `[200,{"auth_chain":[],"state":[]},1]`, `{"auth_chain":[],"state":[]}`, `[]`} {
		d.peer.Answer(old, 200, answer)
		if _, err := d.join(e, false); err == nil {
			t.Errorf("%s was taken", answer)
		}
	}
}

func TestRemoteSendJoinWithoutMembers(t *testing.T) {
	d := newDistant(t, "10")
	e := d.ours("join", "")
	name := d.event("m.room.name", key(""), `{"name":"N"}`)
	at := "/_matrix/federation/v2/send_join/" + d.room + "/" + e.EventID
	for _, answer := range []string{
		`{"state":` + list(name) + `,"auth_chain":[],"members_omitted":true,"servers_in_room":["a.example","not a name",7]}`,
		`{"members_omitted":true,"servers_in_room":["a.example"],"auth_chain":[],"state":` + list(name) + `}`,
	} {
		d.peer.Answer(at, 200, answer)
		got, err := d.join(e, true)
		if err != nil || len(got.heads) != 1 || !got.heads[0].MembersOmitted || !slices.Equal(got.heads[0].ServersInRoom, []string{"a.example"}) || len(got.state) != 1 {
			t.Errorf("%+v %v", got, err)
		}
	}
}

func TestRemoteSendJoinToARestrictedRoom(t *testing.T) {
	d := newDistant(t, "10")
	e := d.ours("join", fmt.Sprintf(`,"join_authorised_via_users_server":%q`, d.user()))
	at := "/_matrix/federation/v2/send_join/" + d.room + "/" + e.EventID
	signed := d.cosign(e, d.peer.Name, "ed25519:1")
	var names []*pdu.Event
	for i := range 1000 { // more than waits in memory
		names = append(names, d.event("m.room.name", key(fmt.Sprint(i)), `{"name":"`+strings.Repeat("N", 10_000)+`"}`))
	}
	all := list(names...)
	d.peer.Answer(at, 200, `{"auth_chain":`+list(names[0])+`,"state":`+all+`,"event":`+signed+`}`)
	got, err := d.join(e, false)
	if err != nil || len(got.heads) != 1 || string(got.heads[0].Event.JSON) != signed || !slices.Equal(got.state, ids(names...)) || len(got.auth) != 1 {
		t.Errorf("%d %d %v", len(got.heads), len(got.state), err)
	}
	if left, err := os.ReadDir(d.server.deps.DataDir); err != nil || slices.ContainsFunc(left, func(f os.DirEntry) bool { return strings.HasPrefix(f.Name(), ".join") }) {
		t.Errorf("%v %v", left, err)
	}
	for name, event := range map[string]string{
		"not signed": string(e.JSON), "another's signature": d.cosign(e, "third.example", "ed25519:1"), "another event": string(names[0].JSON), "no event": `7`,
		"a wrong key": strings.Replace(d.cosign(e, d.peer.Name, "ed25519:2"), "ed25519:2", "ed25519:1", 1),
	} {
		d.peer.Answer(at, 200, `{"auth_chain":[],"state":[],"event":`+event+`}`)
		if _, err := d.join(e, false); err == nil || merr.From(err).Status != 502 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRemoteStateAndEventAuth(t *testing.T) {
	d := newDistant(t, "12")
	create := d.build(pdu.Template{Type: "m.room.create", Sender: d.user(), StateKey: key(""), Content: []byte(`{"room_version":"12"}`)}, peertest.Signer(d.peer.Name, "ed25519:1"))
	d.room = create.RoomID
	name := d.event("m.room.name", key(""), `{"name":"N"}`)
	at := "/_matrix/federation/v1/state/" + d.room
	state := func() error {
		var kinds string
		err := remoteapi.ReadState(context.Background(), d.server.deps.Bus, &remoteapi.StateIDsRequest{
			Destination: d.peer.Name, RoomID: d.room, RoomVersion: "12", EventID: "$x",
		}, func(kind byte, p pduwire.PDU) error { kinds += string(kind) + p.EventID; return nil })
		if want := "s" + create.EventID + "s" + name.EventID + "a" + create.EventID; err == nil && kinds != want {
			t.Errorf("got %s, want %s", kinds, want)
		}
		return err
	}
	d.peer.Answer(at, 200, `{"pdus":`+list(create, name)+`,"auth_chain":`+list(create)+`}`)
	if err := state(); err != nil {
		t.Error(err)
	}
	d.refuses(at, state, map[string]string{"one list": `{"pdus":[]}`, "cut off": `{"pdus":[` + string(name.JSON)})
	at = "/_matrix/federation/v1/event_auth/" + d.room + "/$x"
	auth := func() error {
		n := 0
		err := remoteapi.ReadEventAuth(context.Background(), d.server.deps.Bus, &remoteapi.EventAuthRequest{
			Destination: d.peer.Name, RoomID: d.room, RoomVersion: "12", EventID: "$x",
		}, func(p pduwire.PDU) error { n++; return nil })
		if err == nil && n != 1 {
			t.Errorf("%d events", n)
		}
		return err
	}
	d.peer.Answer(at, 200, `{"auth_chain":`+list(create)+`}`)
	if err := auth(); err != nil {
		t.Error(err)
	}
	d.refuses(at, auth, nil)
}

// A server that sends for ever is stopped, and what it sends does not stay in memory.
func TestRemoteAnEndlessAnswer(t *testing.T) {
	d := newDistant(t, "10")
	e := d.ours("join", "")
	for name, part := range map[string]string{
		"a string": strings.Repeat("x", 64<<10), "junk events": strings.Repeat(`x"},{"type":"`, 4000), "open arrays": strings.Repeat("[", 64<<10),
	} {
		d.server.health.Retry(d.peer.Name)
		sent := 0
		d.peer.Handle("/_matrix/federation/v2/send_join/"+d.room+"/"+e.EventID, func(w http.ResponseWriter, r *http.Request) {
			start := `{"state":[{"type":"`
			if part[0] == '[' {
				start = `{"state":[`
			}
			_, _ = w.Write([]byte(start))
			for sent < 300<<20 && r.Context().Err() == nil {
				n, err := w.Write([]byte(part))
				if err != nil {
					return
				}
				sent += n
			}
		})
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		peak := watchMemory(ctx)
		err := remoteapi.ReadJoin(ctx, d.server.deps.Bus, &remoteapi.SendJoinRequest{
			Destination: d.peer.Name, RoomID: d.room, RoomVersion: "10", Event: pduwire.Of(e),
		}, func(*remoteapi.JoinHeader) error { return nil }, func(byte, pduwire.PDU) error { return nil })
		cancel()
		if err == nil {
			t.Errorf("%s: the join succeeds", name)
		}
		if mb := <-peak; mb > 150 {
			t.Errorf("%s: %d MB in memory after %d MB", name, mb, sent>>20)
		}
	}
}

// watchMemory returns the peak of the heap in MB until ctx ends.
func watchMemory(ctx context.Context) <-chan uint64 {
	out := make(chan uint64, 1)
	go func() {
		var peak uint64
		var m runtime.MemStats
		for {
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapAlloc>>20)
			select {
			case <-ctx.Done():
				out <- peak
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	return out
}

// BenchmarkJoin reads the answer to a join of a room with 10,000 members.
func BenchmarkRemoteJoin(b *testing.B) {
	d := newDistant(b, "10")
	e := d.ours("join", "")
	var all strings.Builder
	for i := range 10_000 {
		if i > 0 {
			all.WriteByte(',')
		}
		user := fmt.Sprintf("@u%d:%s", i, d.peer.Name)
		m := d.build(pdu.Template{
			RoomID: d.room, Type: "m.room.member", Sender: user, StateKey: &user, Content: []byte(`{"displayname":"User","membership":"join"}`),
		}, peertest.Signer(d.peer.Name, "ed25519:1"))
		all.Write(m.JSON)
	}
	body := `{"auth_chain":[],"state":[` + all.String() + `]}`
	d.peer.Answer("/_matrix/federation/v2/send_join/"+d.room+"/"+e.EventID, 200, body)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		got, err := d.join(e, false)
		if err != nil || len(got.state) != 10_000 {
			b.Fatal(len(got.state), err)
		}
	}
}

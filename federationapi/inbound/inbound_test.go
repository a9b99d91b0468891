package inbound

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"hearth/clientapi/userapi"
	"hearth/federationapi/internal/peertest"
	"hearth/federationapi/keys"
	"hearth/federationapi/storage"
	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/internal/store"
	"hearth/roomserver/roomapi"
)

const (
	origin = "a.example"
	known  = "!known:a.example"
)

// ring knows the keys that peertest makes.
type ring struct{}

func (ring) Keys(_ context.Context, wants []keys.Want) []keys.Result {
	out := make([]keys.Result, len(wants))
	for i, w := range wants {
		out[i].Key = []byte(peertest.Signer(w.Server, w.KeyID).Key[32:])
	}
	return out
}

// home is an Inbound with a scripted roomserver.
type home struct {
	*Inbound
	t  *testing.T
	mu sync.Mutex // guards the rest
	// rooms are those that are known, with their versions.
	rooms    map[string]string
	receive  func(*roomapi.ReceiveRequest) (*roomapi.ReceiveResponse, error)
	received []*roomapi.ReceiveRequest
	order    []string // of what reached the owners
	full     error    // of messages to devices
}

func newHome(t *testing.T) *home {
	t.Helper()
	l := logrus.New()
	l.SetOutput(t.Output())
	b, err := bus.Connect(t.Context(), bus.Options{Local: true, Log: logrus.NewEntry(l)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	db, err := storage.Open(t.Context(), store.Options{DataDir: t.TempDir(), Log: logrus.NewEntry(l), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	h := &home{t: t, rooms: map[string]string{known: "10"}}
	h.Inbound = New(Deps{Bus: b, ServerName: "home.example", Ring: ring{}, DB: db, Log: logrus.NewEntry(l), Now: time.Now})
	t.Cleanup(func() {
		h.Close()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	h.handle(b)
	return h
}

func (h *home) handle(b *bus.Bus) {
	for _, err := range []error{
		bus.Handle(b, roomapi.FederationRoom, func(_ context.Context, r *roomapi.FederationRoomRequest) (*roomapi.FederationRoomResponse, error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			switch version := h.rooms[r.RoomID]; version {
			case "":
				return nil, merr.NotFound("Unknown room")
			case "denied":
				return nil, merr.Forbidden("Your server is denied access to the room")
			default:
				return &roomapi.FederationRoomResponse{Version: version, Joined: true}, nil
			}
		}),
		bus.Handle(b, roomapi.Receive, func(_ context.Context, r *roomapi.ReceiveRequest) (*roomapi.ReceiveResponse, error) {
			h.mu.Lock()
			h.received = append(h.received, r)
			h.order = append(h.order, "pdus")
			script := h.receive
			h.mu.Unlock()
			if script != nil {
				return script(r)
			}
			return &roomapi.ReceiveResponse{}, nil
		}),
		bus.Handle(b, roomapi.RemoteTyping, func(_ context.Context, r *roomapi.RemoteTypingRequest) (*roomapi.Empty, error) {
			h.note(fmt.Sprintf("typing %s %s %s %v", r.Origin, r.RoomID, r.UserID, r.Typing))
			return &roomapi.Empty{}, nil
		}),
		bus.Handle(b, roomapi.RemoteReceipts, func(_ context.Context, r *roomapi.RemoteReceiptsRequest) (*roomapi.Empty, error) {
			h.note("receipts " + r.Origin + " " + string(r.Content))
			return &roomapi.Empty{}, nil
		}),
		bus.Handle(b, userapi.SendToDeviceFromRemote, func(_ context.Context, r *userapi.RemoteToDeviceRequest) (*userapi.Empty, error) {
			h.note("to-device " + r.Origin + " " + string(r.Content))
			h.mu.Lock()
			defer h.mu.Unlock()
			return &userapi.Empty{}, h.full
		}),
		bus.Handle(b, userapi.DeviceListUpdate, func(_ context.Context, r *userapi.DeviceListUpdateRequest) (*userapi.DeviceListState, error) {
			h.note("device list " + r.Origin + " " + string(r.Content))
			return &userapi.DeviceListState{}, nil
		}),
		bus.Handle(b, userapi.RemotePresence, func(_ context.Context, r *userapi.RemotePresenceRequest) (*userapi.Empty, error) {
			h.note("presence " + r.Origin + " " + string(r.Content))
			return &userapi.Empty{}, nil
		}),
		bus.Handle(b, userapi.SigningKeyUpdate, func(_ context.Context, r *userapi.SigningKeyUpdateRequest) (*userapi.DeviceListState, error) {
			h.note("signing key " + r.Origin + " " + string(r.Content))
			return &userapi.DeviceListState{}, nil
		}),
	} {
		if err != nil {
			h.t.Fatal(err)
		}
	}
}

func (h *home) note(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.order = append(h.order, what)
}

// message makes an event that differs from others by n.
func message(t testing.TB, room, version string, n int) *pdu.Event {
	t.Helper()
	v, ok := pdu.Version(version)
	if !ok {
		t.Fatal(version)
	}
	e, err := pdu.Build(v, pdu.Template{
		RoomID: room, Type: "m.room.message", Sender: "@u:" + origin, Content: []byte(fmt.Sprintf(`{"body":"%d"}`, n)),
		PrevEvents: []pdu.Ref{{EventID: "$p" + strings.Repeat("p", 42), SHA256: make([]byte, 32)}}, Depth: 3, OriginServerTS: time.Now().UnixMilli(),
	}, peertest.Signer(origin, "ed25519:1"))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func body(pdus []string, edus ...string) json.RawMessage {
	return json.RawMessage(`{"edus":[` + strings.Join(edus, ",") + `],"origin":"a.example","origin_server_ts":1,"pdus":[` + strings.Join(pdus, ",") + `]}`)
}

// ask sends a transaction, which must be answered with 200.
func (h *home) ask(txn string, b json.RawMessage) map[string]string {
	h.t.Helper()
	answer, err := h.Transaction(h.t.Context(), origin, txn, b)
	if err != nil {
		h.t.Fatal(err)
	}
	var parsed struct {
		PDUs map[string]struct {
			Error string `json:"error"`
		} `json:"pdus"`
	}
	if err := json.Unmarshal(answer, &parsed); err != nil || parsed.PDUs == nil {
		h.t.Fatalf("%s: %v", answer, err)
	}
	out := map[string]string{}
	for id, r := range parsed.PDUs {
		out[id] = r.Error
	}
	return out
}

func TestShapes(t *testing.T) {
	h := newHome(t)
	e := string(message(t, known, "10", 1).JSON)
	many := func(s string, n int) []string {
		out := make([]string, n)
		for i := range out {
			out[i] = s
		}
		return out
	}
	for name, tc := range map[string]struct {
		txn  string
		body json.RawMessage
		want int
	}{
		"no pdus":           {"1", json.RawMessage(`{"edus":[]}`), 400},
		"pdus no array":     {"1", json.RawMessage(`{"pdus":{}}`), 400},
		"edus no array":     {"1", json.RawMessage(`{"edus":{},"pdus":[]}`), 400},
		"51 pdus":           {"1", body(many(e, 51)), 400},
		"101 edus":          {"1", body(nil, many(`{}`, 101)...), 400},
		"empty id":          {"", body(nil), 400},
		"long id":           {strings.Repeat("x", 256), body(nil), 400},
		"nothing":           {"2", json.RawMessage(`{"pdus":[]}`), 200},
		"no edus":           {"3", json.RawMessage(`{"edus":null,"pdus":[]}`), 200},
		"50 pdus":           {"4", body(many(e, 50)), 200},
		"100 empty edus":    {"5", body(nil, many(`{}`, 100)...), 200},
		"noise":             {"6", body([]string{"1", "null", `"x"`, "[]", "{}", `{"room_id":5}`, `{"room_id":"!../..:x"}`}, "1", "null", "[]"), 200},
		"unknown edu":       {"7", body(nil, `{"content":{},"edu_type":"x.y"}`), 200},
		"edu of wrong type": {"8", body(nil, `{"content":[],"edu_type":"m.typing"}`, `{"content":{},"edu_type":5}`), 200},
	} {
		_, err := h.Transaction(t.Context(), origin, tc.txn, tc.body)
		status := 200
		if err != nil {
			status = merr.From(err).Status
		}
		if status != tc.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(h.received) != 1 || len(h.received[0].PDUs) != 1 {
		t.Errorf("%d batches reached the roomserver", len(h.received))
	}
	if len(h.order) != 1 {
		t.Errorf("reached the owners: %q", h.order)
	}
}

func TestEventsByRoom(t *testing.T) {
	h := newHome(t)
	const old, denied, unknown = "!old:a.example", "!denied:a.example", "!unknown:a.example"
	h.rooms[old], h.rooms[denied] = "1", "denied"
	good1, good2, oldOne := message(t, known, "10", 1), message(t, known, "10", 2), message(t, old, "1", 3)
	bad := message(t, known, "10", 4)
	changed := message(t, known, "10", 5)
	refused := message(t, known, "10", 6)
	stranger, strangerOld := message(t, unknown, "10", 7), message(t, unknown, "1", 8)
	shut := message(t, denied, "10", 9)
	h.receive = func(r *roomapi.ReceiveRequest) (*roomapi.ReceiveResponse, error) {
		return &roomapi.ReceiveResponse{Errors: map[string]string{refused.EventID: "You may not"}}, nil
	}
	got := h.ask("1", body([]string{
		string(good1.JSON), string(oldOne.JSON), strings.Replace(string(bad.JSON), `"depth":3`, `"depth":4`, 1),
		strings.Replace(string(changed.JSON), `"body":"5"`, `"body":"x"`, 1), string(refused.JSON), `{"room_id":"` + known + `"}`,
		string(stranger.JSON), string(strangerOld.JSON), string(shut.JSON), string(good2.JSON), string(good1.JSON),
	}))
	for id, failed := range map[string]bool{
		good1.EventID: false, good2.EventID: false, oldOne.EventID: false, changed.EventID: false, refused.EventID: true, strangerOld.EventID: true,
	} {
		if failure, ok := got[id]; !ok || (failure != "") != failed {
			t.Errorf("%s: %q %v", id, failure, ok)
		}
		delete(got, id)
	}
	delete(got, bad.EventID)
	for id, failure := range got {
		if failure == "" {
			t.Errorf("%s was said to be taken", id)
		}
	}
	if len(h.received) != 2 {
		t.Fatalf("%d batches", len(h.received))
	}
	for _, r := range h.received {
		var ids []string
		for _, p := range r.PDUs {
			ids = append(ids, p.EventID)
			if p.Redacted != (p.EventID == changed.EventID) {
				t.Errorf("%s: redacted %v", p.EventID, p.Redacted)
			}
		}
		want := []string{good1.EventID, changed.EventID, refused.EventID, good2.EventID}
		if r.RoomID == old {
			want = []string{oldOne.EventID}
		}
		if fmt.Sprint(ids) != fmt.Sprint(want) || r.Origin != origin {
			t.Errorf("%s of %s: %v", r.RoomID, r.Origin, ids)
		}
	}
}

func TestSameAnswerAgain(t *testing.T) {
	h := newHome(t)
	e := message(t, known, "10", 1)
	h.receive = func(*roomapi.ReceiveRequest) (*roomapi.ReceiveResponse, error) {
		return &roomapi.ReceiveResponse{Errors: map[string]string{e.EventID: "the first time"}}, nil
	}
	first := h.ask("1", body([]string{string(e.JSON)}))
	h.receive = nil
	for _, b := range []json.RawMessage{body([]string{string(e.JSON)}), body(nil)} {
		if again := h.ask("1", b); fmt.Sprint(again) != fmt.Sprint(first) {
			t.Errorf("%v, then %v", first, again)
		}
	}
	if _, err := h.Transaction(t.Context(), "b.example", "1", body([]string{string(e.JSON)})); err != nil {
		t.Error(err)
	}
	if len(h.received) != 2 || h.received[1].Origin != "b.example" {
		t.Errorf("%d batches", len(h.received))
	}
}

func TestPutOff(t *testing.T) {
	h := newHome(t)
	e := message(t, known, "10", 1)
	b := body([]string{string(e.JSON)})
	h.receive = func(*roomapi.ReceiveRequest) (*roomapi.ReceiveResponse, error) {
		return nil, merr.Unavailable("The database is full")
	}
	for range 2 {
		if _, err := h.Transaction(t.Context(), origin, "1", b); err == nil || merr.From(err).Status != 503 {
			t.Fatalf("%v", err)
		}
	}
	h.receive = nil
	if got := h.ask("1", b); len(got) != 1 || got[e.EventID] != "" {
		t.Errorf("%v", got)
	}
	// What does not pass is answered in the end.
	h.receive = func(*roomapi.ReceiveRequest) (*roomapi.ReceiveResponse, error) {
		return nil, merr.Unavailable("a room that is broken")
	}
	var err error
	for range maxFailures {
		if _, err = h.Transaction(t.Context(), origin, "2", b); err == nil {
			t.Fatal("it was answered too soon")
		}
	}
	if got := h.ask("2", b); got[e.EventID] == "" {
		t.Errorf("%v", got)
	}
	// An error that stays concerns its room alone.
	h.receive = func(*roomapi.ReceiveRequest) (*roomapi.ReceiveResponse, error) { return nil, errors.New("broken") }
	if got := h.ask("3", b); got[e.EventID] == "" || strings.Contains(got[e.EventID], "broken") {
		t.Errorf("%v", got)
	}
}

// TestQueue: a server's transactions are worked on in order, one at a time, and
// not too many wait; others are not held up.
func TestQueue(t *testing.T) {
	h := newHome(t)
	e := message(t, known, "10", 1)
	hold, begun := make(chan struct{}), make(chan struct{}, 100)
	h.receive = func(r *roomapi.ReceiveRequest) (*roomapi.ReceiveResponse, error) {
		if r.Origin == origin {
			begun <- struct{}{}
			<-hold
		}
		return &roomapi.ReceiveResponse{}, nil
	}
	results := make(chan error, 3*maxQueued)
	send := func(txn string) {
		_, err := h.Transaction(context.Background(), origin, txn, body([]string{string(e.JSON)}))
		results <- err
	}
	go send("0")
	<-begun
	for range 3 {
		go send("0") // wait for the same answer
	}
	for i := range maxQueued {
		go send(fmt.Sprint(i + 1))
	}
	// One of them finds the queue full.
	if err := <-results; !errors.Is(err, merr.LimitExceeded(0)) {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, err := h.Transaction(context.Background(), "b.example", "1", body([]string{string(e.JSON)}))
		done <- err
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := h.Transaction(ctx, origin, "0", body(nil)); err == nil {
		t.Error("a request that was cancelled got an answer")
	}
	close(hold)
	for range 3 + maxQueued {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if n := len(h.received); n != maxQueued+1 {
		t.Errorf("%d batches", n)
	}
	h.Inbound.mu.Lock()
	defer h.Inbound.mu.Unlock()
	if len(h.queues) != 0 || h.bytes != 0 {
		t.Errorf("%d queues and %d bytes are left", len(h.queues), h.bytes)
	}
}

func TestClose(t *testing.T) {
	h := newHome(t)
	e := message(t, known, "10", 1)
	begun := make(chan struct{})
	h.receive = func(*roomapi.ReceiveRequest) (*roomapi.ReceiveResponse, error) {
		close(begun)
		return nil, merr.Busy(time.Second)
	}
	result := make(chan error)
	go func() {
		_, err := h.Transaction(context.Background(), origin, "1", body([]string{string(e.JSON)}))
		result <- err
	}()
	<-begun
	h.receive = nil
	h.Close()
	if err := <-result; err == nil {
		t.Error("it was answered")
	}
	if _, err := h.Transaction(context.Background(), origin, "2", body(nil)); err == nil || !merr.From(err).Temporary {
		t.Errorf("%v", err)
	}
}

func TestEDUs(t *testing.T) {
	h := newHome(t)
	e := message(t, known, "10", 1)
	typing := func(user, room, on string) string {
		return `{"content":{"room_id":"` + room + `","typing":` + on + `,"user_id":"` + user + `"},"edu_type":"m.typing"}`
	}
	h.ask("1", body([]string{string(e.JSON)},
		typing("@u:a.example", known, "true"),
		typing("@u:b.example", known, "true"),
		typing("@u:home.example", known, "true"),
		typing("u", known, "true"),
		typing("@u:a.example", "!../x", "true"),
		typing("@u:a.example", known, `"yes"`),
		typing("@u:a.example", known, "false"),
		`{"content":{"x":"`+strings.Repeat("x", maxEDU)+`"},"edu_type":"m.receipt"}`,
		`{"content":{"!r:a":{"m.read":{}}},"edu_type":"m.receipt"}`,
		`{"content":{"push":[]},"edu_type":"m.presence"}`,
		`{"content":{"sender":"@u:a.example"},"edu_type":"m.direct_to_device"}`,
		`{"content":{"sender":"@u:b.example"},"edu_type":"m.direct_to_device"}`,
		`{"content":{"sender":5},"edu_type":"m.direct_to_device"}`,
		`{"content":{"user_id":"@u:a.example"},"edu_type":"m.device_list_update"}`,
		`{"content":{"user_id":"@u:b.example"},"edu_type":"m.device_list_update"}`,
		`{"content":{},"edu_type":"m.device_list_update"}`,
		`{"content":{"user_id":"@u:a.example"},"edu_type":"m.signing_key_update"}`,
		`{"content":{"user_id":"@u:home.example"},"edu_type":"m.signing_key_update"}`,
	))
	want := []string{
		`to-device a.example {"sender":"@u:a.example"}`,
		`device list a.example {"user_id":"@u:a.example"}`,
		`signing key a.example {"user_id":"@u:a.example"}`,
		"pdus",
		"typing a.example " + known + " @u:a.example true",
		"typing a.example " + known + " @u:a.example false",
		`receipts a.example {"!r:a":{"m.read":{}}}`,
		`presence a.example {"push":[]}`,
	}
	if fmt.Sprint(h.order) != fmt.Sprint(want) {
		t.Errorf("%q", h.order)
	}
}

// TestMessagesToDevicesAreNotLost: what cannot be stored now is asked for again.
func TestMessagesToDevicesAreNotLost(t *testing.T) {
	h := newHome(t)
	b := body(nil, `{"content":{"sender":"@u:a.example"},"edu_type":"m.direct_to_device"}`)
	h.full = merr.Unavailable("The database is full")
	if _, err := h.Transaction(t.Context(), origin, "1", b); err == nil || merr.From(err).Status != 503 {
		t.Errorf("%v", err)
	}
	h.full = nil
	h.ask("1", b)
	h.full = merr.InvalidParam("no")
	h.ask("2", b)
	if len(h.order) != 3 {
		t.Errorf("%q", h.order)
	}
}

func FuzzTransaction(f *testing.F) {
	f.Add([]byte(body([]string{"{}", `{"room_id":"!known:a.example"}`}, `{"content":{},"edu_type":"m.typing"}`)))
	f.Add([]byte(`{"pdus":[],"edus":[{"edu_type":"m.receipt","content":{"!r:x":{"m.read":{"@u:a.example":{"event_ids":["$x"],"data":{"ts":1}}}}}}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		_, b, err := pdu.Envelope(raw)
		if err != nil {
			return
		}
		txn, err := read(b)
		if err != nil {
			if merr.From(err).Status != 400 {
				t.Fatal(err)
			}
			return
		}
		n := len(txn.lost)
		for _, room := range txn.rooms {
			n += len(room.pdus)
		}
		if n > maxPDUs || len(txn.edus) > maxEDUs {
			t.Fatalf("%d events, %d EDUs", n, len(txn.edus))
		}
	})
}

// FuzzEDU: no content of an EDU stops the worker, and what reaches the owners is of the origin.
func FuzzEDU(f *testing.F) {
	for _, typ := range []string{"m.typing", "m.receipt", "m.presence", "m.direct_to_device", "m.device_list_update", "m.signing_key_update"} {
		f.Add(typ, []byte(`{"room_id":"!r:a","user_id":"@u:a.example","sender":"@u:a.example","typing":true,"push":[{"user_id":"@u:a.example","presence":"online","last_active_ago":1}]}`))
	}
	l := logrus.New()
	l.SetOutput(io.Discard)
	b, err := bus.Connect(context.Background(), bus.Options{Local: true, Log: logrus.NewEntry(l)})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(b.Close)
	var wrong error
	owner := func(userID string) {
		if pdu.Domain(userID) != origin {
			wrong = fmt.Errorf("%q reached its owner", userID)
		}
	}
	for _, err := range []error{
		bus.Handle(b, roomapi.RemoteTyping, func(_ context.Context, r *roomapi.RemoteTypingRequest) (*roomapi.Empty, error) {
			owner(r.UserID)
			return &roomapi.Empty{}, nil
		}),
		bus.Handle(b, userapi.SendToDeviceFromRemote, func(_ context.Context, r *userapi.RemoteToDeviceRequest) (*userapi.Empty, error) {
			sender, _ := pdu.GetString(r.Content, "sender")
			owner(sender)
			return &userapi.Empty{}, nil
		}),
		bus.Handle(b, userapi.DeviceListUpdate, func(_ context.Context, r *userapi.DeviceListUpdateRequest) (*userapi.DeviceListState, error) {
			user, _ := pdu.GetString(r.Content, "user_id")
			owner(user)
			return &userapi.DeviceListState{}, nil
		}),
		bus.Handle(b, userapi.SigningKeyUpdate, func(_ context.Context, r *userapi.SigningKeyUpdateRequest) (*userapi.DeviceListState, error) {
			user, _ := pdu.GetString(r.Content, "user_id")
			owner(user)
			return &userapi.DeviceListState{}, nil
		}),
		bus.Handle(b, roomapi.RemoteReceipts, func(_ context.Context, r *roomapi.RemoteReceiptsRequest) (*roomapi.Empty, error) {
			owner("@x:" + r.Origin)
			return &roomapi.Empty{}, nil
		}),
	} {
		if err != nil {
			f.Fatal(err)
		}
	}
	w := &worker{in: &Inbound{d: Deps{Bus: b, Log: logrus.NewEntry(l), Now: time.Now}}, origin: origin, errors: map[string]string{}}
	f.Fuzz(func(t *testing.T, typ string, content []byte) {
		content, err := pdu.Canonical(content, false)
		if err != nil {
			return
		}
		for _, when := range []phase{before, after} {
			if err := w.edus(context.Background(), []edu{{typ, content}}, when); err != nil {
				t.Fatal(err)
			}
		}
		if wrong != nil {
			t.Fatal(wrong)
		}
	})
}

package crash

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"hearth/test/harness"
)

// fakeEvent is an event in the order of everything.
type fakeEvent struct {
	pos  int
	room string
	harness.Event
}

// fake is a homeserver in memory that can be made to break its promises. It knows
// just what the load asks for.
type fake struct {
	mu       sync.Mutex // guards all fields
	fault    string
	faulty   bool // the load has begun
	rng      *rand.Rand
	head     int // of everything
	events   []fakeEvent
	rooms    []string
	txns     map[string]string
	receipts map[string]map[string]any // room → content of m.receipt
	data     map[string]json.RawMessage
}

// fakeToken marks positions as tokens.
func fakeToken(pos int) string { return "p" + strconv.Itoa(pos) }

func fakePos(token string, without int) int {
	if pos, err := strconv.Atoi(strings.TrimPrefix(token, "p")); err == nil {
		return pos
	}
	return without
}

// startFake returns how to make users of a new fake.
func startFake(t *testing.T, fault string) (*fake, register) {
	f := &fake{
		fault: fault, rng: rand.New(rand.NewPCG(1, 1)), txns: map[string]string{},
		receipts: map[string]map[string]any{}, data: map[string]json.RawMessage{},
	}
	mux := http.NewServeMux()
	const v3 = "/_matrix/client/v3"
	for pattern, h := range map[string]func(user string, r *http.Request) (any, error){
		"POST " + v3 + "/createRoom":                          f.create,
		"POST " + v3 + "/join/{room}":                         f.join,
		"PUT " + v3 + "/rooms/{room}/send/{type}/{txn}":       f.send,
		"PUT " + v3 + "/rooms/{room}/state/{type}/{key}":      f.send,
		"GET " + v3 + "/rooms/{room}/state":                   f.state,
		"GET " + v3 + "/rooms/{room}/messages":                f.messages,
		"POST " + v3 + "/rooms/{room}/receipt/m.read/{event}": f.receipt,
		"PUT " + v3 + "/user/{user}/account_data/{type}":      f.setData,
		"GET " + v3 + "/user/{user}/account_data/{type}":      f.getData,
		"GET " + v3 + "/sync":                                 f.sync,
		"POST " + slidingPath:                                 f.slide,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { f.serve(w, r, h) })
	}
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return f, func(name string) *harness.Client {
		c := harness.NewClient(srv.URL)
		c.UserID, c.Token = "@"+name+":fake", name
		return c
	}
}

// chance is true once in n times, after the load has begun and for one fault only.
func (f *fake) chance(fault string, n int) bool {
	return f.faulty && (f.fault == fault || fault == "") && f.rng.IntN(n) == 0
}

// serve answers, or fails as a server may that is killed now and then.
func (f *fake) serve(w http.ResponseWriter, r *http.Request, h func(string, *http.Request) (any, error)) {
	f.mu.Lock()
	early, late := f.chance("", 40), f.chance("", 40)
	wrong, bare := f.chance("wrong answer", 60), f.chance("no Matrix error", 60)
	f.mu.Unlock()
	refuse := func(status int, body string) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
	switch {
	case wrong:
		refuse(401, `{"errcode":"M_UNKNOWN_TOKEN","error":"?"}`)
		return
	case bare:
		refuse(503, `<html>`)
		return
	case early:
		refuse(503, `{"errcode":"M_UNAVAILABLE","error":"try again"}`)
		return
	}
	answer, err := h("@"+strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")+":fake", r)
	if late || err != nil {
		panic(http.ErrAbortHandler) // it was done, and nobody hears of it
	}
	_ = json.NewEncoder(w).Encode(answer)
}

// add appends an event; f.mu is held.
func (f *fake) add(room, user, eventType string, key *string, content string) string {
	f.head++
	id := fmt.Sprintf("$%d", f.head)
	f.events = append(f.events, fakeEvent{f.head, room, harness.Event{
		EventID: id, Type: eventType, Sender: user, StateKey: key, Content: json.RawMessage(content),
	}})
	return id
}

func (f *fake) create(user string, _ *http.Request) (any, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	room := fmt.Sprintf("!%d", len(f.rooms))
	f.rooms = append(f.rooms, room)
	key := ""
	f.add(room, user, "m.room.create", &key, "{}")
	return map[string]string{"room_id": room}, nil
}

func (f *fake) join(user string, r *http.Request) (any, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.add(r.PathValue("room"), user, "m.room.member", &user, `{"membership":"join"}`)
	return struct{}{}, nil
}

func (f *fake) send(user string, r *http.Request) (any, error) {
	var body json.RawMessage
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	room, key := r.PathValue("room"), (*string)(nil)
	txn := user + r.PathValue("txn")
	if r.PathValue("key") != "" {
		k := r.PathValue("key")
		key, txn = &k, string(body)
	}
	if id, ok := f.txns[txn]; ok && !f.chance("forgotten transaction", 10) {
		return map[string]string{"event_id": id}, nil
	}
	id := f.add(room, user, r.PathValue("type"), key, string(body))
	f.txns[txn] = id
	if f.chance("lost", 50) {
		f.events = f.events[:len(f.events)-1]
	}
	return map[string]string{"event_id": id}, nil
}

// in returns the events of a room after one position and up to another.
func (f *fake) in(room string, after, upTo int) []harness.Event {
	out := []harness.Event{}
	for _, e := range f.events {
		if e.room == room && e.pos > after && e.pos <= upTo {
			out = append(out, e.Event)
		}
	}
	return out
}

func stateOf(events []harness.Event) []harness.Event {
	last := map[string]int{}
	for i, e := range events {
		if e.StateKey != nil {
			last[e.Type+" "+*e.StateKey] = i
		}
	}
	out := []harness.Event{}
	for i, e := range events {
		if e.StateKey != nil && last[e.Type+" "+*e.StateKey] == i {
			out = append(out, e)
		}
	}
	return out
}

func (f *fake) state(_ string, r *http.Request) (any, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return stateOf(f.in(r.PathValue("room"), 0, f.head)), nil
}

func (f *fake) messages(_ string, r *http.Request) (any, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	q := r.URL.Query()
	limit, _ := strconv.Atoi(q.Get("limit"))
	page := harness.Page{}
	if q.Get("dir") == "b" {
		page.Chunk = f.in(r.PathValue("room"), fakePos(q.Get("to"), 0), fakePos(q.Get("from"), f.head))
		slices.Reverse(page.Chunk)
	} else {
		page.Chunk = f.in(r.PathValue("room"), fakePos(q.Get("from"), 0), fakePos(q.Get("to"), f.head))
	}
	if len(page.Chunk) > limit {
		page.Chunk = page.Chunk[:limit]
		pos := fakePos(strings.TrimPrefix(page.Chunk[limit-1].EventID, "$"), 0)
		if q.Get("dir") == "b" {
			pos--
		}
		page.End = fakeToken(pos)
	}
	if len(page.Chunk) > 1 && q.Get("to") != "" && f.chance("hole in a gap", 4) {
		page.Chunk = page.Chunk[1:]
	}
	return page, nil
}

func (f *fake) receipt(user string, r *http.Request) (any, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.head++
	room := r.PathValue("room")
	if f.receipts[room] == nil {
		f.receipts[room] = map[string]any{}
	}
	if !f.chance("old receipt", 2) {
		f.receipts[room][user] = r.PathValue("event")
	}
	return struct{}{}, nil
}

func (f *fake) setData(user string, r *http.Request) (any, error) {
	var body json.RawMessage
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.head++
	f.data[user] = body
	return struct{}{}, nil
}

func (f *fake) getData(user string, _ *http.Request) (any, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.data[user], nil
}

func (f *fake) sync(user string, r *http.Request) (any, error) {
	q := r.URL.Query()
	wait, _ := strconv.Atoi(q.Get("timeout"))
	var filter struct {
		Room struct{ Timeline struct{ Limit int } }
	}
	_ = json.Unmarshal([]byte(q.Get("filter")), &filter)
	since := fakePos(q.Get("since"), 0)
	for end := time.Now().Add(time.Duration(wait) * time.Millisecond); ; time.Sleep(time.Millisecond) {
		f.mu.Lock()
		if f.head > since || time.Now().After(end) || r.Context().Err() != nil {
			defer f.mu.Unlock()
			return f.answer(user, since, filter.Room.Timeline.Limit), nil
		}
		f.mu.Unlock()
	}
}

func (f *fake) answer(user string, since, limit int) *harness.SyncResponse {
	out := &harness.SyncResponse{NextBatch: fakeToken(f.head)}
	out.Rooms.Join = map[string]harness.JoinedRoom{}
	if raw, ok := f.data[user]; ok && !f.chance("no account data", 1) {
		out.AccountData.Events = []harness.Event{{Type: dataType, Content: raw}}
	}
	for _, room := range f.rooms {
		events := f.in(room, since, f.head)
		if len(events) == 0 && f.receipts[room] == nil {
			continue
		}
		j := harness.JoinedRoom{}
		if n := len(events) - limit; n > 0 {
			j.Timeline.Limited = true
			if !f.chance("no state", 1) {
				j.State.Events = stateOf(events[:n])
			}
			j.Timeline.PrevBatch = fakeToken(fakePos(strings.TrimPrefix(events[n-1].EventID, "$"), 0))
			events = events[n:]
		}
		if n := len(events); n > 1 {
			switch {
			case f.chance("skipped in sync", 10):
				events = events[1:]
			case f.chance("repeated in sync", 10):
				events = append(events, events[0])
			case f.chance("swapped in sync", 10):
				events[0], events[1] = events[1], events[0]
			case f.chance("token too far", 10):
				events = events[:n-1]
			}
		}
		j.Timeline.Events = events
		content := map[string]any{}
		for user, event := range f.receipts[room] {
			id := event.(string)
			if content[id] == nil {
				content[id] = map[string]map[string]any{"m.read": {}}
			}
			content[id].(map[string]map[string]any)["m.read"][user] = struct{}{}
		}
		raw, _ := json.Marshal(content)
		j.Ephemeral.Events = []harness.Event{{Type: "m.receipt", Content: raw}}
		out.Rooms.Join[room] = j
	}
	return out
}

// slide answers sliding sync with what /sync would tell.
func (f *fake) slide(user string, r *http.Request) (any, error) {
	q := r.URL.Query()
	q.Set("since", q.Get("pos"))
	q.Set("filter", `{"room":{"timeline":{"limit":10}}}`)
	r.URL.RawQuery = q.Encode()
	answer, err := f.sync(user, r)
	if err != nil {
		return nil, err
	}
	told := answer.(*harness.SyncResponse)
	rooms, receipts := map[string]any{}, map[string]harness.Event{}
	for id, j := range told.Rooms.Join {
		receipts[id] = j.Ephemeral.Events[0]
		if len(j.Timeline.Events) > 0 {
			rooms[id] = map[string]any{
				"timeline": j.Timeline.Events, "limited": j.Timeline.Limited, "prev_batch": j.Timeline.PrevBatch,
				"required_state": append(j.State.Events, stateOf(j.Timeline.Events)...), "initial": q.Get("pos") == "",
			}
		}
	}
	return map[string]any{"pos": told.NextBatch, "rooms": rooms, "extensions": map[string]any{
		"account_data": map[string]any{"global": told.AccountData.Events}, "receipts": map[string]any{"rooms": receipts},
	}}, nil
}

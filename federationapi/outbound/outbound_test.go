package outbound

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/federationapi/remoteapi"
	"hearth/federationapi/storage"
	"hearth/roomserver/roomapi"
)

func TestEventsArriveInOrder(t *testing.T) {
	for _, local := range []bool{true, false} {
		t.Run(fmt.Sprintf("local=%v", local), func(t *testing.T) { inOrder(t, newWorldOn(t, local)) })
	}
}

func inOrder(t *testing.T, w *world) {
	a, b := w.far.name(1), w.far.name(2)
	w.rooms.hosts["!x"] = []string{a, b}
	w.rooms.hosts["!y"] = []string{b, home}
	w.start()
	var toA, toB []string
	for i := range 200 {
		w.rooms.entry(roomapi.Entry{Kind: roomapi.KindEvent, RoomID: "!z", Event: &roomapi.Event{Type: "m.room.message", JSON: json.RawMessage(`{}`)}})
		x := w.rooms.send("!x", fmt.Sprint(i))
		toA, toB = append(toA, x), append(toB, x)
		if i%3 == 0 {
			toB = append(toB, w.rooms.send("!y", fmt.Sprint(i)))
		}
	}
	w.settled()
	for server, want := range map[string][]string{a: toA, b: toB} {
		if got, _ := w.far.took(server); !slices.Equal(got, want) {
			t.Errorf("%s got %v\nwant %v", server, got, want)
		}
		if d, ok := w.row(server); ok {
			t.Errorf("a server that keeps up has the row %+v", d)
		}
	}
	w.until("the cursor is at the end", func() bool {
		pos, _, err := w.db.Cursor(context.Background())
		return err == nil && pos == w.rooms.head()
	})
}

func TestTheSameTransactionIsSentAgain(t *testing.T) {
	w := newWorld(t)
	a := w.far.name(1)
	w.rooms.hosts["!x"] = []string{a}
	w.far.set(status(500))
	w.start()
	first := w.rooms.send("!x", "1")
	w.until("it was tried twice", func() bool { return len(w.far.all(a)) >= 2 })
	second := w.rooms.send("!x", "2")
	w.until("it was tried 4 times", func() bool { return len(w.far.all(a)) >= 4 })
	w.far.set(nil)
	w.settled()
	all := w.far.all(a)
	for _, s := range all {
		if s.id == all[0].id && s.body != all[0].body {
			t.Errorf("%s was sent as\n%s\nand as\n%s", s.id, all[0].body, s.body)
		}
	}
	for i, s := range all {
		if i > 0 && s.id != all[i-1].id && !all[i-1].took {
			t.Errorf("%s was sent before %s was answered", s.id, all[i-1].id)
		}
	}
	got, _ := w.far.took(a)
	if len(got) < 2 || got[0] != first || got[len(got)-1] != second {
		t.Errorf("got %v", got)
	}
	if _, ok := w.row(a); ok {
		t.Error("the row is still there")
	}
}

// After a short failure a server gets everything, not only the newest.
func TestAShortFailureLosesNothing(t *testing.T) {
	w := newWorld(t)
	w.first, w.tune.Hold = time.Hour, 50*time.Millisecond
	a := w.far.name(1)
	w.rooms.hosts["!x"] = []string{a}
	w.far.set(status(503))
	w.start()
	want := []string{w.rooms.send("!x", "0")}
	w.until("the server is behind", func() bool { d, ok := w.row(a); return ok && d.Behind == 0 })
	for i := range 100 {
		want = append(want, w.rooms.send("!x", fmt.Sprint(i)))
	}
	w.until("the cursor passes", func() bool {
		pos, _, err := w.db.Cursor(context.Background())
		return err == nil && pos == w.rooms.head()
	})
	w.far.set(nil)
	w.health.Alive(a)
	w.settled()
	if got, _ := w.far.took(a); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	if _, ok := w.row(a); ok {
		t.Error("the row is still there")
	}
}

func TestARequestOfTheServerEndsTheBackOff(t *testing.T) {
	w := newWorld(t)
	w.first = time.Hour
	a := w.far.name(1)
	w.rooms.hosts["!x"] = []string{a}
	w.far.set(status(503))
	w.start()
	w.rooms.send("!x", "1")
	w.until("the server is behind", func() bool { d, ok := w.row(a); return ok && d.Behind >= 0 && d.Failures == 1 })
	w.far.set(nil)
	last := w.rooms.send("!x", "2")
	time.Sleep(50 * time.Millisecond)
	if n := len(w.far.all(a)); n != 1 {
		t.Fatalf("%d attempts within the hour", n)
	}
	w.health.Alive(a)
	w.settled()
	if got, _ := w.far.took(a); len(got) == 0 || got[len(got)-1] != last {
		t.Errorf("got %v, want %s at the end", got, last)
	}
}

func TestAnAdministratorEndsTheBackOff(t *testing.T) {
	w := newWorld(t)
	w.first = time.Hour
	a := w.far.name(1)
	w.rooms.hosts["!x"] = []string{a}
	w.far.set(status(503))
	w.start()
	w.rooms.send("!x", "1")
	w.until("the server is behind", func() bool { d, ok := w.row(a); return ok && d.Behind >= 0 })
	w.rooms.send("!x", "2")
	w.until("it is known to be behind", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.servers[a].state == catching && w.track.handed() == 2
	})
	resp, err := w.Destinations(context.Background(), &remoteapi.DestinationsRequest{})
	if err != nil || len(resp.Destinations) != 1 || resp.More {
		t.Fatalf("%+v %v", resp, err)
	}
	if d := resp.Destinations[0]; d.Name != a || d.Failures != 1 || d.RoomsBehind != 1 || d.RetryAt < time.Now().UnixMilli() {
		t.Errorf("%+v", d)
	}
	w.far.set(nil)
	if _, err := w.Retry(context.Background(), &remoteapi.DestinationRequest{Name: a}); err != nil {
		t.Fatal(err)
	}
	w.settled()
	if resp, err = w.Destinations(context.Background(), &remoteapi.DestinationsRequest{Limit: 1}); err != nil || resp.Destinations[0].RoomsBehind != 0 || resp.Destinations[0].LastSuccess == 0 {
		t.Errorf("%+v %v", resp, err)
	}
}

func TestAfterALongAbsenceTheNewestAreSent(t *testing.T) {
	for _, local := range []bool{true, false} {
		t.Run(fmt.Sprintf("local=%v", local), func(t *testing.T) { longAbsence(t, newWorldOn(t, local)) })
	}
}

func longAbsence(t *testing.T, w *world) {
	w.first, w.tune.Hold, w.tune.Queue, w.tune.Keep = time.Hour, time.Minute, 2000, time.Nanosecond
	a, b := w.far.name(1), w.far.name(2)
	for i := range 10 {
		w.rooms.hosts[fmt.Sprintf("!%d", i)] = []string{a, b}
	}
	w.rooms.hosts["!quiet"] = []string{a, b}
	w.start()
	quiet := w.rooms.send("!quiet", "0")
	w.settled()
	w.far.set(func(server string, _ sent) int {
		if server == a {
			return 502
		}
		return 200
	})
	var all []string
	newest := map[string]string{}
	first := w.rooms.send("!0", `"first"`)
	w.until("the server is behind", func() bool { d, ok := w.row(a); return ok && d.Behind >= 0 })
	for i := range 1000 {
		room := fmt.Sprintf("!%d", i%10)
		newest[room] = w.rooms.send(room, fmt.Sprint(i))
		all = append(all, newest[room])
	}
	w.until("the other server has all", func() bool { got, _ := w.far.took(b); return len(got) == 1002 })
	w.until("the cursor passes the server that is away", func() bool {
		pos, _, err := w.db.Cursor(context.Background())
		return err == nil && pos == w.rooms.head()
	})
	w.far.set(nil)
	w.health.Alive(a)
	w.settled()
	got, _ := w.far.took(a)
	want := []string{quiet, first}
	for i := range 10 {
		want = append(want, newest[fmt.Sprintf("!%d", i)])
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	if got, _ := w.far.took(b); !slices.Equal(got, append([]string{quiet, first}, all...)) {
		t.Errorf("the other server got %d events", len(got))
	}
	last := w.rooms.send("!3", `"after"`)
	w.settled()
	if got, _ := w.far.took(a); got[len(got)-1] != last {
		t.Error("what comes after does not arrive")
	}
}

func TestWhoIsAwayHearsThatItsUsersWereRemoved(t *testing.T) {
	w := newWorld(t)
	w.first = time.Hour
	a := w.far.name(1)
	w.rooms.hosts["!x"] = []string{a}
	w.rooms.hosts["!y"] = []string{a}
	w.far.set(status(502))
	w.start()
	first := w.rooms.send("!x", "1")
	w.until("the server is behind", func() bool { d, ok := w.row(a); return ok && d.Behind >= 0 })
	w.rooms.mu.Lock()
	w.rooms.hosts["!y"] = nil
	w.rooms.mu.Unlock()
	kick := w.rooms.add("!y", `"m.room.member"`, `{"membership":"leave"}`, []string{a})
	w.rooms.send("!y", `"not for it"`)
	w.until("the kick is stored", func() bool {
		list, err := w.db.ExtraEvents(context.Background(), a, 10)
		return err == nil && len(list) == 1
	})
	w.crash()
	w.far.set(nil)
	w.start()
	w.health.Alive(a)
	w.settled()
	got, _ := w.far.took(a)
	if !slices.Contains(got, first) || !slices.Contains(got, kick) || len(got) > 3 {
		t.Errorf("got %v, want %s and %s", got, first, kick)
	}
	if list, err := w.db.ExtraEvents(context.Background(), a, 10); err != nil || len(list) != 0 {
		t.Errorf("%v %v", list, err)
	}
}

// A kick that waits in the queue when the server falls behind is remembered too.
func TestAQueuedKickIsNotLost(t *testing.T) {
	w := newWorld(t)
	a := w.far.name(1)
	w.rooms.hosts["!x"] = []string{a}
	hang := make(chan struct{})
	w.far.hang[a] = hang
	w.start()
	w.rooms.send("!x", "1")
	w.until("the first is on its way", func() bool { return len(w.far.all(a)) == 1 })
	w.rooms.mu.Lock()
	w.rooms.hosts["!x"] = nil
	w.rooms.mu.Unlock()
	kick := w.rooms.add("!x", `"m.room.member"`, `{"membership":"ban"}`, []string{a})
	w.until("the server is behind", func() bool { d, ok := w.row(a); return ok && d.Behind == 0 })
	w.crash()
	w.far.mu.Lock()
	delete(w.far.hang, a)
	w.far.mu.Unlock()
	close(hang)
	w.start()
	w.settled()
	if got, _ := w.far.took(a); !slices.Contains(got, kick) {
		t.Errorf("got %v, want %s", got, kick)
	}
}

func TestAHangingServerDelaysNobody(t *testing.T) {
	w := newWorld(t)
	w.tune.AtOnce, w.tune.Answer = 4, 20*time.Second
	hang := make(chan struct{})
	defer close(hang)
	var hosts []string
	for i := range 3 {
		hosts = append(hosts, w.far.name(i))
		w.far.hang[hosts[i]] = hang
	}
	good := w.far.name(100)
	w.rooms.hosts["!x"] = append(hosts, good)
	w.start()
	start := time.Now()
	var last string
	for i := range 100 {
		last = w.rooms.send("!x", fmt.Sprint(i))
	}
	w.until("the good server has all", func() bool {
		got, _ := w.far.took(good)
		return len(got) == 100 && got[99] == last
	})
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	w.until("those that hang do not hold the cursor", func() bool {
		pos, _, err := w.db.Cursor(context.Background())
		return err == nil && pos == w.rooms.head()
	})
}

func TestEDUsArriveInOrderAndSurvive(t *testing.T) {
	w := newWorld(t)
	a, b := w.far.name(1), w.far.name(2)
	w.far.set(status(500))
	w.start()
	queue := func(kind, key, content string, to ...string) {
		t.Helper()
		if _, err := w.QueueEDU(context.Background(), &remoteapi.EDURequest{Destinations: to, Type: kind, Key: key, Content: json.RawMessage(content)}); err != nil {
			t.Fatal(err)
		}
	}
	var want []string
	for i := range 250 {
		queue("m.direct_to_device", "", fmt.Sprintf(`{"n":%d}`, i), a, b, home, a)
		want = append(want, fmt.Sprintf(`{"content":{"n":%d},"edu_type":"m.direct_to_device"}`, i))
	}
	for i := range 5 {
		queue("m.device_list_update", "@u:home.example", fmt.Sprintf(`{"list":%d}`, i), a, b)
	}
	want = append(want, `{"content":{"list":4},"edu_type":"m.device_list_update"}`)
	w.until("it was tried", func() bool { return len(w.far.all(a)) > 0 && len(w.far.all(b)) > 0 })
	w.crash()
	w.far.set(nil)
	w.start()
	w.settled()
	for _, server := range []string{a, b} {
		if _, got := w.far.took(server); !slices.Equal(got, want) {
			t.Errorf("%s got %d EDUs: %v", server, len(got), got)
		}
	}
	if n, err := w.db.CountEDUs(context.Background()); err != nil || len(n) != 0 {
		t.Errorf("%v %v", n, err)
	}
}

func TestBadEDUsAreRefused(t *testing.T) {
	w := newWorld(t)
	a := w.far.name(1)
	w.start()
	for _, req := range []remoteapi.EDURequest{
		{Destinations: []string{a}, Content: json.RawMessage(`{}`)},
		{Destinations: []string{a}, Type: "m.x"},
		{Destinations: []string{a}, Type: "m.x", Content: json.RawMessage(`[]`)},
		{Destinations: []string{a}, Type: "m.x", Content: json.RawMessage(`{"a":1,"a":2}`)},
		{Destinations: []string{a}, Type: "m.x", Content: json.RawMessage(`{"a":"` + strings.Repeat("x", maxEDU) + `"}`)},
	} {
		if _, err := w.QueueEDU(context.Background(), &req); err == nil {
			t.Errorf("%.60s was taken", req.Content)
		}
	}
	w.settled()
}

func TestOldEDUsAreForgottenIfThereAreTooMany(t *testing.T) {
	w := newWorld(t)
	w.tune.EDUs = 50
	w.first = time.Hour
	a := w.far.name(1)
	w.far.set(status(500))
	w.start()
	for i := range 120 {
		if _, err := w.QueueEDU(context.Background(), &remoteapi.EDURequest{Destinations: []string{a}, Type: "m.x", Content: json.RawMessage(fmt.Sprintf(`{"n":%d}`, i))}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := w.db.EDUs(context.Background(), a, 0, 200)
	if err != nil || len(list) > 50 || len(list) < 45 || string(list[len(list)-1].JSON) != `{"content":{"n":119},"edu_type":"m.x"}` {
		t.Errorf("%d EDUs are left: %v", len(list), err)
	}
}

func TestWhatMayBeLost(t *testing.T) {
	w := newWorld(t)
	w.first = time.Hour
	a, b := w.far.name(1), w.far.name(2)
	w.rooms.hosts["!x"] = []string{a, b}
	w.far.set(func(server string, _ sent) int {
		if server == b {
			return 503
		}
		return 200
	})
	w.start()
	w.rooms.send("!x", "1")
	w.until("one server fails", func() bool { return w.health.State(b).Failures == 1 })
	roomapi.TypingTopic.Publish(w.bus, &roomapi.Typing{RoomID: "!x", UserIDs: []string{"@u:home.example", "@v:s1.far:1"}})
	roomapi.TypingTopic.Publish(w.bus, &roomapi.Typing{RoomID: "!x", UserIDs: []string{"@u:home.example"}})
	remoteapi.PresenceTopic.Publish(w.bus, &remoteapi.EDURequest{Destinations: []string{a, b, home}, Type: "m.presence", Content: json.RawMessage(`{"push":[]}`)})
	read := func(user, thread, kind, event string) {
		w.rooms.entry(roomapi.Entry{Kind: roomapi.KindReceipt, RoomID: "!x", Federate: kind == "m.read", Receipt: &roomapi.Receipt{
			UserID: user, Kind: kind, EventID: event, ThreadID: thread, TS: 7,
		}})
	}
	read("@u:home.example", "", "m.read", "$1")
	read("@u:home.example", "main", "m.read", "$1")
	read("@w:home.example", "", "m.read.private", "$1")
	want := []string{
		`{"content":{"room_id":"!x","typing":true,"user_id":"@u:home.example"},"edu_type":"m.typing"}`,
		`{"content":{"push":[]},"edu_type":"m.presence"}`,
		`{"content":{"!x":{"m.read":{"@u:home.example":{"data":{"ts":7},"event_ids":["$1"]}}}},"edu_type":"m.receipt"}`,
		`{"content":{"!x":{"m.read":{"@u:home.example":{"data":{"thread_id":"main","ts":7},"event_ids":["$1"]}}}},"edu_type":"m.receipt"}`,
	}
	w.until("they arrive", func() bool { _, got := w.far.took(a); return len(got) >= len(want) })
	_, got := w.far.took(a)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	w.far.set(nil)
	w.health.Alive(b)
	w.settled()
	if _, got := w.far.took(b); len(got) != 0 {
		t.Errorf("a server that was away gets %v", got)
	}
	roomapi.TypingTopic.Publish(w.bus, &roomapi.Typing{RoomID: "!x"})
	w.until("who ceases to type is told of", func() bool {
		_, got := w.far.took(b)
		return slices.Equal(got, []string{`{"content":{"room_id":"!x","typing":false,"user_id":"@u:home.example"},"edu_type":"m.typing"}`})
	})
}

func TestReceiptsAreSentTogether(t *testing.T) {
	f := fleeting{}
	for i := range 300 {
		f.receipt("!x", &roomapi.Receipt{UserID: fmt.Sprintf("@%d:home.example", i%100), Kind: "m.read", EventID: fmt.Sprintf("$%d", i)})
		f.receipt("!y", &roomapi.Receipt{UserID: fmt.Sprintf("@%d:home.example", i%100), Kind: "m.read", EventID: "$y"})
	}
	out := f.take(100)
	if len(out) != 1 || strings.Count(string(out[0]), "event_ids") != 200 || !strings.Contains(string(out[0]), `"$299"`) || f.len() != 0 {
		t.Errorf("%d EDUs, %d left: %.300s", len(out), f.len(), out[0])
	}
	for i := range 2 * maxFleeting {
		f.add(fleetingEDU{"", json.RawMessage(fmt.Sprint(i))})
	}
	if f.len() != maxFleeting || string(f.take(1)[0]) != fmt.Sprint(maxFleeting) {
		t.Errorf("%d wait", f.len())
	}
}

func TestDeniedServersGetNothing(t *testing.T) {
	w := newWorld(t)
	a, b := w.far.name(1), w.far.name(2)
	w.deny = []string{"s1.*"}
	w.rooms.hosts["!x"] = []string{a, b}
	w.start()
	w.rooms.send("!x", "1")
	if _, err := w.QueueEDU(context.Background(), &remoteapi.EDURequest{Destinations: []string{a}, Type: "m.x", Content: json.RawMessage(`{}`)}); err != nil {
		t.Fatal(err)
	}
	w.settled()
	if got, _ := w.far.took(b); len(got) != 1 {
		t.Errorf("the other server got %v", got)
	}
	if len(w.far.all(a)) != 0 {
		t.Error("the server that is denied got a transaction")
	}
}

// One event that a server will never take must not keep it from all others.
func TestATransactionThatIsRefusedForEverIsGivenUp(t *testing.T) {
	w := newWorld(t)
	a := w.far.name(1)
	w.rooms.hosts["!bad"] = []string{a}
	w.rooms.hosts["!good"] = []string{a}
	w.far.set(func(_ string, s sent) int {
		if strings.Contains(s.body, "poison") {
			return 400
		}
		return 200
	})
	w.start()
	w.rooms.send("!bad", `"poison"`)
	w.until("it was tried", func() bool { return len(w.far.all(a)) > 0 })
	good := w.rooms.send("!good", "1")
	w.until("the good event arrives", func() bool { got, _ := w.far.took(a); return slices.Contains(got, good) })
	w.settled()
}

func TestTheRoomserverMayFailForAWhile(t *testing.T) {
	w := newWorld(t)
	a := w.far.name(1)
	w.rooms.hosts["!x"] = []string{a}
	w.rooms.fails = 3
	w.start()
	var want []string
	for i := range 40 {
		want = append(want, w.rooms.send("!x", fmt.Sprint(i)))
	}
	w.settled()
	if got, _ := w.far.took(a); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestAQueueThatIsTooLongIsGivenUp(t *testing.T) {
	w := newWorld(t)
	w.tune.Queue, w.tune.Hold, w.tune.Answer = 100, time.Hour, time.Hour
	a := w.far.name(1)
	w.rooms.hosts["!x"] = []string{a}
	hang := make(chan struct{})
	w.far.hang[a] = hang
	w.start()
	var last string
	for i := range 500 {
		last = w.rooms.send("!x", fmt.Sprint(i))
	}
	w.until("the server is behind", func() bool { d, ok := w.row(a); return ok && d.Behind >= 0 })
	w.until("the queue is empty", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.servers[a].queue) == 0 && w.track.handed() == 500
	})
	w.far.mu.Lock()
	delete(w.far.hang, a)
	w.far.mu.Unlock()
	close(hang)
	w.until("the newest arrives", func() bool { got, _ := w.far.took(a); return slices.Contains(got, last) })
	w.settled()
}

func TestALogThatWasPutBackIsFollowedFromItsEnd(t *testing.T) {
	w := newWorld(t)
	a := w.far.name(1)
	w.rooms.hosts["!x"] = []string{a}
	w.start()
	w.rooms.send("!x", "1")
	w.settled()
	w.end()
	db, err := storage.Open(context.Background(), w.storeOptions())
	if err != nil {
		t.Fatal(err)
	}
	pos := int64(1000)
	if err := db.WriteProgress(context.Background(), storage.Progress{Cursor: &pos}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	w.start()
	w.until("the end is found", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.track.first == 2
	})
	last := w.rooms.send("!x", "2")
	w.until("what follows arrives", func() bool { got, _ := w.far.took(a); return len(got) > 0 && got[len(got)-1] == last })
}

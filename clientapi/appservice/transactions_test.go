package appservice

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hearth/roomserver/roomapi"
)

func TestInterest(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		users, byAlias, byRoom, silent := newFakeService(t), newFakeService(t), newFakeService(t), newFakeService(t)
		alias := registration(t, "alias", byAlias.URL)
		alias.Aliases = []Namespace{namespace(t, "#net_.*")}
		room := registration(t, "room", byRoom.URL)
		room.Rooms = []Namespace{namespace(t, "!special:")}
		f.start(fast(), registration(t, "users", users.URL, "@net_.*"), alias, room, registration(t, "silent", ""))
		f.settle()
		f.rooms.mu.Lock()
		f.rooms.aliases["!a:test"] = []string{"#other:test", "#net_a:test"}
		f.rooms.mu.Unlock()
		f.rooms.append(
			event("!r:test", "@alice:test", "$nobody"),
			member("!r:test", "@alice:test", "@net_bob:test", "invite", "$invite"),
			event("!r:test", "@alice:test", "$only-invited"),
			member("!r:test", "@net_bob:test", "@net_bob:test", "join", "$join"),
			event("!r:test", "@alice:test", "$joined"),
			member("!r:test", "@net_bob:test", "@net_bob:test", "join", "$profile"),
			member("!r:test", "@net_two:test", "@net_two:test", "join", "$two"),
			member("!r:test", "@net_two:test", "@net_two:test", "leave", "$one-left"),
			event("!r:test", "@alice:test", "$still"),
			member("!r:test", "@net_eve:other", "@net_eve:other", "join", "$foreign"),
			member("!r:test", "@alice:test", "@net_bob:test", "leave", "$kick"),
			event("!r:test", "@net_eve:other", "$gone"),
			event("!r:test", "@net_x:test", "$sender"),
			event("!a:test", "@alice:test", "$alias"),
			event("!special:test", "@alice:test", "$special"),
			member("!s:test", "@users:test", "@users:test", "join", "$bot"),
			event("!s:test", "@alice:test", "$with-bot"),
		)
		users.await(t, "$invite", "$join", "$joined", "$profile", "$two", "$one-left", "$still", "$foreign", "$kick", "$sender", "$bot", "$with-bot")
		byAlias.await(t, "$alias")
		byRoom.await(t, "$special")
		f.settle()
		if got := silent.requests(); len(got) != 0 {
			t.Errorf("a service without a URL gets %v", got)
		}
		for _, a := range users.requests() {
			if a.auth != "Bearer hs-users" || a.query != "" || !strings.HasPrefix(a.path, "/_matrix/app/v1/transactions/") {
				t.Errorf("%+v", a)
			}
		}
		first := users.requests()[0].content(t).Events[0]
		if first.RoomID != "!r:test" || first.Unsigned["age"] == nil {
			t.Errorf("%+v", first)
		}
	})
}

func TestAliasThatComesLater(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		service := newFakeService(t)
		r := registration(t, "alias", service.URL)
		r.Aliases = []Namespace{namespace(t, "#net_.*")}
		f.start(fast(), r)
		f.settle()
		f.rooms.append(event("!a:test", "@alice:test", "$before"))
		f.settle()
		f.rooms.mu.Lock()
		f.rooms.aliases["!a:test"] = []string{"#net_a:test"}
		f.rooms.mu.Unlock()
		f.s.AliasChanged("!a:test")
		f.rooms.append(event("!a:test", "@alice:test", "$after"))
		service.await(t, "$after")
	})
}

// The history of a server that had no service is not sent, but who is joined counts.
func TestFirstStartOnAnOldServer(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		service, later := newFakeService(t), newFakeService(t)
		f.rooms.append(
			member("!r:test", "@net_a:test", "@net_a:test", "join", "$1"), event("!r:test", "@alice:test", "$2"),
			member("!q:test", "@alice:test", "@alice:test", "join", "$3"),
		)
		one := registration(t, "one", service.URL, "@net_.*")
		f.start(fast(), one)
		f.settle()
		f.rooms.append(event("!r:test", "@alice:test", "$4"))
		service.await(t, "$4")
		// A service that comes later knows its users too, and one whose namespaces grow.
		one.Users = append(one.Users, namespace(t, "@alice"))
		f.start(fast(), one, registration(t, "later", later.URL, "@net_.*"))
		f.rooms.append(event("!r:test", "@bob:test", "$5"), event("!q:test", "@bob:test", "$6"))
		service.await(t, "$4", "$5", "$6")
		later.await(t, "$5")
		if n := f.rows("service"); n != 2 {
			t.Errorf("%d services", n)
		}
	})
}

func TestSameTransactionUntilConfirmed(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		service := newFakeService(t)
		r := registration(t, "one", service.URL, "@net_.*")
		f.start(fast(), r)
		f.settle()
		for _, status := range []int{500, 404, 401, 302, -1, 429} {
			service.always(status)
			before := len(service.requests())
			f.rooms.append(event("!r:test", "@net_a:test", fmt.Sprint("$", status)))
			service.until(t, func() bool { return len(service.requests()) >= before+3 })
			f.rooms.append(event("!r:test", "@net_a:test", fmt.Sprint("$more", status)))
			f.settle()
			if status == 500 {
				f.start(fast(), r) // what is in progress survives
			}
			service.always(200)
			want := len(service.events(t))
			service.until(t, func() bool { return len(service.events(t)) > want })
		}
		service.await(t, "$500", "$more500", "$404", "$more404", "$401", "$more401", "$302", "$more302", "$-1", "$more-1", "$429", "$more429")
		if service.overlap {
			t.Error("two transactions were in progress at a time")
		}
	})
}

func TestBatches(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		service := newFakeService(t)
		service.always(500)
		r := registration(t, "one", service.URL, "@net_.*")
		f.start(fast(), r)
		f.settle()
		var want []string
		add := func(n, size int) {
			for range n {
				id := fmt.Sprint("$", len(want))
				e := event("!r:test", "@net_a:test", id)
				e.Event.JSON = json.RawMessage(strings.Replace(string(e.Event.JSON), "hi", strings.Repeat("x", size), 1))
				want = append(want, id)
				f.rooms.append(e, event("!other:test", "@alice:test", "$other"))
			}
		}
		add(250, 10)
		add(40, 60_000)
		f.settle()
		f.start(fast(), r) // nothing is in memory any more
		service.always(200)
		service.await(t, want...)
		for _, a := range service.requests() {
			if n := len(a.content(t).Events); n > maxEntries || len(a.body) > maxBody+70_000 {
				t.Errorf("a transaction has %d events, %d bytes", n, len(a.body))
			}
		}
		f.settle()
		for deadline := time.Now().Add(10 * time.Second); f.rows("pending")+f.rows("txn") > 0; {
			if time.Now().After(deadline) {
				t.Fatalf("%d positions and %d transactions stay", f.rows("pending"), f.rows("txn"))
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
}

// Whatever fails, each event arrives in order, under one transaction id.
func TestFailuresOfBothSides(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		service := newFakeService(t)
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		var mu sync.Mutex
		rng := rand.New(rand.NewPCG(seed, 1))
		roll := func(n int) int { mu.Lock(); defer mu.Unlock(); return rng.IntN(n) }
		service.set(func(arrival) (int, string) {
			switch roll(5) {
			case 0:
				return 500, ""
			case 1:
				return -1, ""
			case 2:
				time.Sleep(time.Duration(roll(10)) * time.Millisecond)
			}
			return 200, "{}"
		})
		r := registration(t, "one", service.URL, "@net_.*")
		f.start(fast(), r)
		f.settle()
		var want []string
		for round := range 12 {
			for range 1 + roll(60) {
				id := fmt.Sprint("$", len(want))
				want = append(want, id)
				f.rooms.append(event("!r:test", "@net_a:test", id), event("!q:test", "@alice:test", "$no"))
			}
			time.Sleep(time.Duration(roll(30)) * time.Millisecond)
			switch round % 3 {
			case 0:
				f.start(fast(), r)
			case 1:
				f.rooms.mu.Lock()
				f.rooms.down = !f.rooms.down
				f.rooms.mu.Unlock()
			}
		}
		f.rooms.mu.Lock()
		f.rooms.down = false
		f.rooms.mu.Unlock()
		service.await(t, want...)
		if service.overlap {
			t.Error("two transactions were in progress at a time")
		}
	})
}

func TestServicesDoNotWaitForEachOther(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		good, bad := newFakeService(t), newFakeService(t)
		hold := make(chan struct{})
		bad.set(func(arrival) (int, string) { <-hold; return 200, "{}" })
		defer close(hold)
		f.start(fast(), registration(t, "bad", bad.URL, "@net_.*"), registration(t, "good", good.URL, "@net_.*"))
		f.settle()
		f.rooms.append(event("!r:test", "@net_a:test", "$1"))
		bad.until(t, func() bool { return len(bad.requests()) == 1 })
		f.rooms.append(event("!r:test", "@net_a:test", "$2"))
		good.await(t, "$1", "$2")
	})
}

func TestPingEndsTheWait(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		service := newFakeService(t)
		service.always(500)
		r := registration(t, "one", service.URL, "@net_.*")
		slow := fast()
		slow.backoffMin, slow.backoffMax = time.Hour, time.Hour
		f.start(slow, r)
		f.settle()
		f.rooms.append(event("!r:test", "@net_a:test", "$1"))
		service.until(t, func() bool { return len(service.requests()) == 1 })
		service.always(200)
		if _, err := f.s.Ping(t.Context(), r, "x"); err != nil {
			t.Fatal(err)
		}
		service.until(t, func() bool { return len(service.requests()) == 3 }) // with the ping
		service.await(t, "$1")
	})
}

func TestServiceThatIsGone(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		service := newFakeService(t)
		service.always(500)
		one, two := registration(t, "one", service.URL, "@net_.*"), registration(t, "two", "")
		f.start(fast(), one, two)
		f.settle()
		f.rooms.append(event("!r:test", "@net_a:test", "$1"))
		service.until(t, func() bool { return len(service.requests()) > 0 })
		f.rooms.append(event("!r:test", "@net_a:test", "$2"))
		f.settle()
		f.start(fast(), two)
		if n := f.rows("pending") + f.rows("txn"); n != 0 {
			t.Errorf("%d rows wait for a service that is gone", n)
		}
		old := service.requests()[0].txn()
		service.always(200)
		f.start(fast(), one, two)
		f.rooms.append(event("!r:test", "@net_a:test", "$3"))
		service.until(t, func() bool { return slices.Contains(service.events(t), "$3") })
		if last := service.requests()[len(service.requests())-1]; last.txn() == old || slices.Contains(service.events(t), "$2") {
			t.Errorf("it comes back with %s %v", last.txn(), service.events(t))
		}
	})
}

func TestRoomLogThatWasPutBack(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		service := newFakeService(t)
		r := registration(t, "one", service.URL, "@net_.*")
		f.start(fast(), r)
		f.settle()
		f.rooms.append(member("!r:test", "@net_a:test", "@net_a:test", "join", "$1"))
		for i := range 20 {
			f.rooms.append(event("!r:test", "@alice:test", fmt.Sprint("$", i+2)))
		}
		f.settle()
		f.stop()
		f.rooms.mu.Lock()
		f.rooms.log = f.rooms.log[:2] // the settling and the join
		f.rooms.mu.Unlock()
		f.start(fast(), r)
		for deadline := time.Now().Add(20 * time.Second); ; {
			if pos, quiet, _, err := f.s.db.progress(t.Context()); err == nil && pos <= 2 && quiet == 2 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the follower does not begin again")
			}
			time.Sleep(10 * time.Millisecond)
		}
		f.rooms.append(event("!r:test", "@alice:test", "$new"))
		service.until(t, func() bool { return slices.Contains(service.events(t), "$new") })
	})
}

func TestEphemeral(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		wants, not, old := newFakeService(t), newFakeService(t), newFakeService(t)
		r, o := registration(t, "wants", wants.URL, "@net_.*"), registration(t, "old", old.URL, "@net_.*")
		r.Ephemeral, r.stableEphemeral, o.Ephemeral, o.unstableEphemeral = true, true, true, true
		f.start(fast(), r, registration(t, "not", not.URL, "@net_.*"), o)
		f.settle()
		f.rooms.append(
			member("!r:test", "@net_a:test", "@net_a:test", "join", "$1"),
			receipt("!r:test", "@alice:test", "m.read", "$1"),
			receipt("!r:test", "@alice:test", "m.read.private", "$1"),
			receipt("!r:test", "@net_a:test", "m.read.private", "$1"),
			receipt("!q:test", "@alice:test", "m.read", "$0"),
		)
		ephemeral := func() (out []string) {
			for _, a := range wants.requests() {
				for _, e := range a.content(t).Ephemeral {
					out = append(out, e.Type+" "+e.RoomID+" "+string(e.Content))
				}
			}
			return out
		}
		wants.until(t, func() bool { return len(ephemeral()) == 2 })
		f.settle()
		roomapi.TypingTopic.Publish(f.bus, &roomapi.Typing{Serial: 1, RoomID: "!q:test", UserIDs: []string{"@alice:test"}})
		roomapi.TypingTopic.Publish(f.bus, &roomapi.Typing{Serial: 2, RoomID: "!r:test", UserIDs: []string{"@alice:test", "@b\"b:test"}})
		wants.until(t, func() bool { return len(ephemeral()) == 3 })
		want := []string{
			`m.receipt !r:test {"$1":{"m.read":{"@alice:test":{"ts":5}}}}`,
			`m.receipt !r:test {"$1":{"m.read.private":{"@net_a:test":{"ts":5}}}}`,
			`m.typing !r:test {"user_ids":["@alice:test","@b\"b:test"]}`,
		}
		if got := ephemeral(); !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		not.await(t, "$1")
		for _, a := range not.requests() {
			if strings.Contains(a.body, "ephemeral") {
				t.Errorf("not wanted: %s", a.body)
			}
		}
		old.until(t, func() bool {
			return slices.ContainsFunc(old.requests(), func(a arrival) bool {
				return strings.Contains(a.body, `"de.sorunome.msc2409.ephemeral":[{`) && !strings.Contains(a.body, `"ephemeral"`)
			})
		})
	})
}

func TestReplacedReceiptLeavesNothing(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		service := newFakeService(t)
		service.always(500)
		r := registration(t, "one", service.URL, "@net_.*")
		r.Ephemeral = true
		f.start(fast(), r)
		f.settle()
		f.rooms.append(event("!r:test", "@net_a:test", "$1"))
		service.until(t, func() bool { return len(service.requests()) > 0 })
		for range 150 {
			f.rooms.append(receipt("!r:test", "@net_a:test", "m.read", "$1"))
		}
		f.rooms.append(event("!r:test", "@net_a:test", "$2"))
		f.settle()
		f.stop()
		f.rooms.mu.Lock()
		for i, e := range f.rooms.log {
			if e.Kind == roomapi.KindReceipt {
				f.rooms.log[i] = &roomapi.Entry{}
			}
		}
		f.rooms.mu.Unlock()
		service.always(200)
		f.start(fast(), r)
		service.await(t, "$1", "$2")
		txns := map[string]bool{}
		for _, a := range service.requests() {
			txns[a.txn()] = true
		}
		if len(txns) != 2 {
			t.Errorf("%d transactions", len(txns))
		}
	})
}

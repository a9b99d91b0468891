package torture

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"hearth/test/harness"
)

// jumps are by how much the clock is wrong, in this order.
var jumps = []struct {
	name string
	off  func() time.Duration
}{
	{"right", func() time.Duration { return 0 }},
	{"an hour late", func() time.Duration { return -time.Hour }},
	{"a day early", func() time.Duration { return 24 * time.Hour }},
	{"1970", func() time.Duration { return -time.Since(time.Unix(60, 0)) }},
	{"right again", func() time.Duration { return 0 }},
}

// Whatever time the clock tells, and however it jumps, users can send, sync, log in and make
// rooms, and the order of events is that in which they were sent, also after a restart.
func TestClockJumps(t *testing.T) {
	rounds(t, func(t *testing.T, rng *rand.Rand) {
		home := t.TempDir()
		file := filepath.Join(home, "clock")
		s := harness.Start(t, harness.Options{Dir: home, Tags: "hearth_clock", Env: []string{"CLOCK_FILE=" + file}})
		alice := s.Register(t, "alice")
		room, err := alice.CreateRoom(nil)
		if err != nil {
			t.Fatal(err)
		}
		first, err := alice.Sync("", 0)
		if err != nil {
			t.Fatal(err)
		}
		since := first.NextBatch
		var sent, synced []string
		step := func(when string) {
			t.Helper()
			for range 3 {
				id, err := alice.SendText(room, fmt.Sprint(when, len(sent)), fmt.Sprint(rng.Uint64()))
				if err != nil {
					t.Fatalf("%s: send: %v", when, err)
				}
				sent = append(sent, id)
			}
			answer, err := alice.Sync(since, time.Second)
			if err != nil {
				t.Fatalf("%s: sync: %v", when, err)
			}
			since = answer.NextBatch
			for _, e := range answer.Rooms.Join[room].Timeline.Events {
				synced = append(synced, e.EventID)
			}
		}
		for i, j := range jumps {
			// The file is replaced, so that nobody reads half of it.
			if err := os.WriteFile(file+".new", fmt.Appendf(nil, "%d", int64(j.off()/time.Second)), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(file+".new", file); err != nil {
				t.Fatal(err)
			}
			step(j.name)
			told := checkTime(t, alice, room, sent[len(sent)-1])
			if want := time.Now().Add(j.off()); told.Sub(want).Abs() > time.Minute {
				t.Errorf("%s: an event is dated %v, the clock says %v", j.name, told, want)
			}
			newcomer := s.Register(t, fmt.Sprint("newcomer", i))
			if _, err := newcomer.CreateRoom(nil); err != nil {
				t.Errorf("%s: a new room: %v", j.name, err)
			}
			s.Process("hearth").Restart()
			step(j.name + ", after a restart")
		}
		if fmt.Sprint(synced) != fmt.Sprint(sent) {
			t.Errorf("sent %v\nsynced %v", sent, synced)
		}
		checkReads(t, alice, room, sent)
		s.Stop()
	})
}

// checkTime returns when an event was sent as its server says.
func checkTime(t *testing.T, c *harness.Client, room, event string) time.Time {
	t.Helper()
	var e harness.Event
	if _, err := c.Do("GET", harness.Path("rooms", room, "event", event), nil, &e); err != nil {
		t.Fatalf("read %s: %v", event, err)
	}
	return time.UnixMilli(e.OriginServerTS)
}

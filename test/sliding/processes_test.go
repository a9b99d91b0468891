package sliding

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"hearth/test/harness"
)

// TestSeveralProcesses has two processes answer syncs, any request any of them, while one
// after the other is killed. Nobody misses an event or sees one twice.
func TestSeveralProcesses(t *testing.T) {
	s := harness.Start(t, harness.Options{Wiring: harness.FourProcesses, Syncs: 2})
	alice, bob := s.Register(t, "alice"), s.Register(t, "bob")
	room, err := alice.CreateRoom(object{"preset": "public_chat"})
	if err != nil {
		t.Fatal(err)
	}
	if err := bob.Join(room); err != nil {
		t.Fatal(err)
	}
	const events = 120
	chain := start(t, bob, room)
	slide := &slider{conn: conn{t: t, c: bob, body: roomList(100)}, room: room, seen: map[string]int{}}
	slide.follow()
	var sending sync.WaitGroup
	sending.Go(func() {
		for i := range events {
			if _, err := alice.SendText(room, fmt.Sprint("m", i), fmt.Sprint(i)); err != nil {
				t.Error(err)
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
	names := []string{"syncapi", "syncapi2"}
	for round := 0; round < 80 || len(chain.seen) < events || len(slide.seen) < events; round++ {
		if round > 400 || t.Failed() {
			t.Fatalf("%d events by /sync and %d by sliding sync of %d", len(chain.seen), len(slide.seen), events)
		}
		if round == 10 || round == 30 {
			s.Process(names[round/20]).Kill()
		}
		if round == 20 || round == 40 {
			s.Process(names[round/40]).Restart()
		}
		chain.follow()
		slide.follow()
	}
	sending.Wait()
	for i := range events {
		if chain.seen[fmt.Sprint(i)] != 1 {
			t.Errorf("/sync told event %d %d times", i, chain.seen[fmt.Sprint(i)])
		}
	}
	for _, name := range names {
		if answered(t, s, name) == 0 {
			t.Errorf("%s has answered nothing since it was started again", name)
		}
	}
}

// chain is a chain of /sync.
type chain struct {
	t     *testing.T
	c     *harness.Client
	room  string
	since string
	seen  map[string]int // messages by their text
}

func start(t *testing.T, c *harness.Client, room string) *chain {
	k := &chain{t: t, c: c, room: room, seen: map[string]int{}}
	k.follow()
	return k
}

// follow makes one request; a process that is killed while it answers is asked again.
func (k *chain) follow() {
	k.t.Helper()
	for try := 0; ; try++ {
		a, err := k.c.SyncFilter(context.Background(), k.since, `{"room":{"timeline":{"limit":200}}}`, 50*time.Millisecond)
		if err != nil {
			again(k.t, try, err)
			continue
		}
		k.since = a.NextBatch
		for _, e := range a.Rooms.Join[k.room].Timeline.Events {
			count(k.seen, e.Type, e.Content)
		}
		return
	}
}

// again waits before another try.
func again(t *testing.T, try int, err error) {
	t.Helper()
	if try > 200 {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond)
}

func count(seen map[string]int, typ string, raw json.RawMessage) {
	var c struct {
		Body string `json:"body"`
	}
	if typ == "m.room.message" && json.Unmarshal(raw, &c) == nil {
		seen[c.Body]++
	}
}

// slider is a connection of sliding sync. It begins anew when its process is gone.
type slider struct {
	conn
	room string
	seen map[string]int
}

func (k *slider) follow() {
	k.t.Helper()
	for try := 0; ; try++ {
		a, status, code := k.raw(k.pos, 50*time.Millisecond)
		if status != http.StatusOK {
			if code == "M_UNKNOWN_POS" {
				k.pos = ""
			}
			again(k.t, try, fmt.Errorf("sliding sync: %d %s", status, code))
			continue
		}
		k.pos = a.Pos
		for _, e := range a.Rooms[k.room].Timeline {
			body, ok := e.Content["body"].(string)
			if !ok {
				continue
			}
			if k.seen[body]++; k.seen[body] > 1 && !a.Rooms[k.room].Initial {
				k.t.Errorf("sliding sync told event %s again", body)
			}
		}
		return
	}
}

// answered is how many syncs a process has answered.
func answered(t *testing.T, s *harness.Server, name string) (n float64) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.Dir, name+".listeners"))
	if err != nil {
		t.Fatal(err)
	}
	var addresses map[string]string
	if err := json.Unmarshal(text, &addresses); err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get("http://" + addresses["metrics"] + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var metrics strings.Builder
	if err := resp.Write(&metrics); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(metrics.String()) {
		var value float64
		if strings.HasPrefix(line, "hearth_sync_render_seconds_count") {
			if _, err := fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &value); err == nil {
				n += value
			}
		}
	}
	return n
}

package outbound

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/federationapi/remoteapi"
)

// Servers fail, hang and come back, we crash and start again, while events and EDUs are sent. In
// the end everybody has the newest event of each room, every departure of theirs, and all
// EDUs in their order.
func TestNothingIsLost(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { chaos(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

type chaosModel struct {
	servers []string
	rooms   []string
	newest  map[string]string
	kicks   map[string][]string
	edus    map[string][]string
}

func chaos(t *testing.T, r *rand.Rand) {
	w := newWorld(t)
	w.tune.Hold, w.tune.Queue, w.tune.Answer = 50*time.Millisecond, 60, 100*time.Millisecond
	w.tune.Keep = []time.Duration{1, 100 * time.Millisecond, time.Hour}[r.IntN(3)]
	m := &chaosModel{newest: map[string]string{}, kicks: map[string][]string{}, edus: map[string][]string{}}
	for i := range 5 {
		m.servers = append(m.servers, w.far.name(i))
	}
	for i := range 8 {
		room := fmt.Sprintf("!%d", i)
		m.rooms = append(m.rooms, room)
		for _, s := range m.servers {
			if r.IntN(3) > 0 {
				w.rooms.hosts[room] = append(w.rooms.hosts[room], s)
			}
		}
	}
	w.start()
	for range 400 {
		m.act(t, w, r)
	}
	w.far.set(nil)
	for _, s := range m.servers {
		w.far.unhang(s)
	}
	w.until("everybody has got everything", func() bool {
		for _, s := range m.servers {
			w.health.Retry(s)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.servers) == 0 && w.track.open() == 0 && w.track.handed() == w.rooms.head()
	})
	for _, s := range m.servers {
		pdus, edus := w.far.took(s)
		for _, room := range m.rooms {
			if slices.Contains(w.rooms.hosts[room], s) && m.newest[room] != "" && !slices.Contains(pdus, m.newest[room]) {
				t.Errorf("%s lacks %s, the newest of %s", s, m.newest[room], room)
			}
		}
		for _, kick := range m.kicks[s] {
			if !slices.Contains(pdus, kick) {
				t.Errorf("%s lacks %s, which removes its user", s, kick)
			}
		}
		var once []string
		for _, e := range edus {
			if !slices.Contains(once, e) {
				once = append(once, e)
			}
		}
		if !slices.Equal(once, m.edus[s]) {
			t.Errorf("%s got the EDUs\n%v\nwant\n%v", s, once, m.edus[s])
		}
	}
}

// act does one random thing.
func (m *chaosModel) act(t *testing.T, w *world, r *rand.Rand) {
	server := m.servers[r.IntN(len(m.servers))]
	switch n := r.IntN(100); {
	case n < 60:
		room := m.rooms[r.IntN(len(m.rooms))]
		m.newest[room] = w.rooms.send(room, "1")
	case n < 70:
		id := w.rooms.add(fmt.Sprintf("!gone%d", r.Int()), `"m.room.member"`, `{"membership":"leave"}`, []string{server})
		m.kicks[server] = append(m.kicks[server], id)
	case n < 80:
		content := fmt.Sprintf(`{"n":%d}`, r.Int64N(1<<50))
		if _, err := w.QueueEDU(context.Background(), &remoteapi.EDURequest{Destinations: []string{server}, Type: "m.x", Content: json.RawMessage(content)}); err != nil {
			t.Fatal(err)
		}
		m.edus[server] = append(m.edus[server], `{"content":`+content+`,"edu_type":"m.x"}`)
	case n < 86:
		bad := server
		w.far.set(func(s string, _ sent) int {
			if s == bad {
				return 500
			}
			return 200
		})
	case n < 90:
		w.far.hangUp(server)
	case n < 95:
		w.far.unhang(server)
		w.health.Alive(server)
	case n < 98:
		time.Sleep(time.Duration(r.IntN(60)) * time.Millisecond)
	default:
		if r.IntN(2) == 0 {
			w.crash()
		} else {
			w.end()
		}
		w.start()
	}
}

// hangUp lets a server answer nothing more.
func (f *far) hangUp(server string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hang[server] == nil {
		f.hang[server] = make(chan struct{})
	}
}

// unhang lets it answer again.
func (f *far) unhang(server string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.hang[server]; c != nil {
		close(c)
		delete(f.hang, server)
	}
}

func BenchmarkFanOut(b *testing.B) {
	w := newWorld(b)
	w.tune.Hold, w.tune.Answer = time.Minute, time.Minute
	var hosts []string
	for i := range 500 {
		hosts = append(hosts, w.far.name(i))
	}
	w.rooms.hosts["!x"] = hosts
	w.start()
	w.rooms.send("!x", "1") // connects
	w.settledIn(b, 2*time.Minute)
	content := `"` + strings.Repeat("x", 500) + `"`
	for b.Loop() {
		w.rooms.send("!x", content)
		w.settledIn(b, time.Minute)
	}
	b.ReportMetric(float64(500*b.N)/b.Elapsed().Seconds(), "PDUs/s")
}

// settledIn waits longer than settled.
func (w *world) settledIn(b *testing.B, d time.Duration) {
	for end := time.Now().Add(d); ; time.Sleep(time.Millisecond) {
		w.mu.Lock()
		done := w.track.open() == 0 && w.track.handed() == w.rooms.head()
		w.mu.Unlock()
		if done {
			return
		}
		if time.Now().After(end) {
			b.Fatal("not in time")
		}
	}
}

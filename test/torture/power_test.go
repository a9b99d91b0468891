package torture

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hearth/test/harness"
)

// ack is a 200 and how long the record was when it arrived: whatever the server did for it
// is before that place.
type ack struct {
	sender int
	event  string
	at     int64
}

// recorded is a server's life until it was killed.
type recorded struct {
	ops     []op
	acks    []ack
	data    string // its data directory
	room    string
	client  *harness.Client
	started int64 // where in the record the sending began
}

// live runs a server under the recorder while users send, and kills it.
func live(t *testing.T, tags string, sending time.Duration) *recorded {
	t.Helper()
	home := t.TempDir()
	file, data := filepath.Join(home, "record"), filepath.Join(home, "data")
	s := harness.Start(t, harness.Options{Dir: home, Tags: tags, Env: []string{
		"LD_PRELOAD=" + buildShim(t), "RECORD_FILE=" + file, "RECORD_DIR=" + data,
	}})
	r := &recorded{data: data, client: s.Register(t, "user0")}
	clients := []*harness.Client{r.client}
	room, err := r.client.CreateRoom(map[string]any{"preset": "public_chat"})
	if err != nil {
		t.Fatal(err)
	}
	r.room = room
	for i := range 3 {
		c := s.Register(t, fmt.Sprintf("user%d", i+1))
		if err := c.Join(room); err != nil {
			t.Fatal(err)
		}
		clients = append(clients, c)
	}
	size := func() int64 {
		info, err := os.Stat(file)
		if err != nil {
			t.Error(err)
			return 0
		}
		return info.Size()
	}
	r.started = size()
	var mu sync.Mutex // guards r.acks
	var group sync.WaitGroup
	end := time.Now().Add(sending)
	for i, c := range clients {
		group.Go(func() {
			for n := 0; time.Now().Before(end); n++ {
				id, err := c.SendText(room, fmt.Sprint(n), strings.Repeat("x", n%2000))
				if err != nil {
					t.Errorf("send: %v", err)
					return
				}
				a := ack{i, id, size()}
				mu.Lock()
				r.acks = append(r.acks, a)
				mu.Unlock()
			}
		})
	}
	group.Wait()
	s.Process("hearth").Kill()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if r.ops, err = parseRecord(text); err != nil {
		t.Fatal(err)
	}
	return r
}

// bench is a testing.TB whose failures are collected.
type bench struct {
	testing.TB
	mu    sync.Mutex // guards found
	found []string
}

func (b *bench) add(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.found = append(b.found, text)
}

func (b *bench) Helper()                           {}
func (b *bench) Failed() bool                      { return false } // the logs of a server that must not start say nothing
func (b *bench) Error(args ...any)                 { b.add(fmt.Sprint(args...)) }
func (b *bench) Errorf(format string, args ...any) { b.add(fmt.Sprintf(format, args...)) }
func (b *bench) Fatal(args ...any)                 { b.Error(args...); runtime.Goexit() }
func (b *bench) Fatalf(format string, args ...any) { b.Errorf(format, args...); runtime.Goexit() }

// cut lets the power fail at a place of the record, starts a server on what the disk may
// hold, and returns what is wrong.
func (r *recorded) cut(t *testing.T, at int64, rng *rand.Rand) (problems []string, checked, dropped int) {
	t.Helper()
	m, dropped := powerCut(r.ops, at, rng)
	home := t.TempDir()
	data := filepath.Join(home, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(r.data, "signing.key"))
	if err == nil {
		err = os.WriteFile(filepath.Join(data, "signing.key"), key, 0o600)
	}
	if err == nil {
		err = m.put(r.data, data)
	}
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s := harness.Start(b, harness.Options{Dir: home})
		checked = r.check(b, s.As(r.client), at)
		s.Stop()
	}()
	<-done
	return b.found, checked, dropped
}

// check returns how many acknowledged events it looked for.
func (r *recorded) check(b *bench, c *harness.Client, at int64) (checked int) {
	place := map[string]int{}
	from := ""
	for {
		page, err := c.Messages(r.room, "f", from, "", 500)
		if err != nil {
			b.Fatalf("messages: %v", err)
		}
		for _, e := range page.Chunk {
			if _, ok := place[e.EventID]; ok {
				b.Errorf("%s is there twice", e.EventID)
			}
			place[e.EventID] = len(place)
		}
		if from = page.End; from == "" {
			break
		}
	}
	last := map[int]int{}
	for _, a := range r.acks {
		if a.at > at {
			continue
		}
		checked++
		n, ok := place[a.event]
		if !ok {
			b.Errorf("%s was acknowledged before the cut and is lost", a.event)
			continue
		}
		if n < last[a.sender] {
			b.Errorf("%s is before an event that its sender sent earlier", a.event)
		}
		last[a.sender] = n
	}
	if _, err := c.SendText(r.room, fmt.Sprint("after the cut at ", at), "hello"); err != nil {
		b.Errorf("a send after the cut: %v", err)
	}
	return checked
}

// cuts lets the power fail n times and returns all problems.
func (r *recorded) cuts(t *testing.T, n int, rng *rand.Rand) (problems []string) {
	t.Helper()
	last := r.ops[len(r.ops)-1].end
	checked, dropped := 0, 0
	for range n {
		at := r.started + rng.Int64N(last-r.started) + 1
		if rng.IntN(2) == 0 { // right after an answer is where the most is at stake
			at = r.acks[rng.IntN(len(r.acks))].at
		}
		p, c, d := r.cut(t, at, rng)
		problems, checked, dropped = append(problems, p...), checked+c, dropped+d
	}
	t.Logf("%d power cuts in %d operations: %d acknowledged events looked for, %d unsynced pages dropped, %d problems",
		n, len(r.ops), checked, dropped, len(problems))
	return problems
}

// cutsEach is how often the power fails in one life of a server.
const cutsEach = 5

// Whatever a disk drops of what was not synced when the power fails, everything that was
// acknowledged is there, once and in order.
func TestPowerCut(t *testing.T) {
	rounds(t, func(t *testing.T, rng *rand.Rand) {
		for _, p := range live(t, "", 2*time.Second).cuts(t, cutsEach, rng) {
			t.Error(p)
		}
	})
}

// The same with a program that syncs its databases once less than it must: the test above
// can fail. The short form, which has no time to build such a program, leaves the syncs of the
// WAL out of the record.
func TestPowerCutFindsABrokenBuild(t *testing.T) {
	rounds(t, func(t *testing.T, rng *rand.Rand) {
		var r *recorded
		if *minutes > 0 {
			r = live(t, "hearth_lose_commits", time.Second)
		} else {
			r = live(t, "", time.Second)
			r.ops = slices.DeleteFunc(r.ops, func(o op) bool { return o.kind == opSync && strings.HasSuffix(o.path, "-wal") })
		}
		if problems := r.cuts(t, 3, rng); len(problems) == 0 {
			t.Error("a program that loses commits was not noticed")
		}
	})
}

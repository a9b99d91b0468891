package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"hearth/test/harness"
)

// bench is a server with the people that use it.
type bench struct {
	*sizes
	t      *shim
	server *harness.Server
	users  []*harness.Client
	// generation tells the names of accounts apart that are made for different measurements.
	generation int
}

// measure measures everything; memory first, because a heap that was large once
// stays larger.
func measure(t *shim, s *sizes) []figure {
	t.verbose = s.log
	o := harness.Options{Dir: s.dir, Config: func(m map[string]any) { m["logging"] = map[string]any{"level": "info"} }}
	if s.fourProcesses {
		o.Wiring = harness.FourProcesses
	}
	load := loadAverage(t)
	t.say("building and starting")
	b := &bench{sizes: s, t: t, server: harness.Start(t, o)}
	figures := append([]figure{plain("load average of the machine before", "", load)}, b.memory()...)
	figures = append(figures, b.sends()...)
	figures = append(figures, b.deliveries()...)
	figures = append(figures, b.startUp()...)
	if s.fourProcesses { // the aims are for one
		for i := range figures {
			figures[i].Aim = nil
		}
	}
	return figures
}

// together calls f for 0 … n-1 on a few goroutines, and ends the measurement if one fails.
func (b *bench) together(workers, n int, f func(i int) error) {
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, workers)
	for w := range workers {
		wg.Go(func() {
			for errs[w] == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				errs[w] = f(i)
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			b.t.Fatal(err)
		}
	}
}

// setupWorkers is how many requests at a time prepare a measurement.
const setupWorkers = 4

// register makes the accounts. They share a few connections: idle ones would count
// in the server's memory.
func (b *bench) register() {
	b.t.say("making %d accounts", b.sizes.users())
	b.users = make([]*harness.Client, b.sizes.users())
	shared := b.server.Client()
	b.together(setupWorkers, len(b.users), func(i int) error {
		name := fmt.Sprintf("user%d", i)
		var session struct {
			UserID      string `json:"user_id"`
			AccessToken string `json:"access_token"`
		}
		_, err := shared.Do(http.MethodPost, harness.Path("register"), map[string]any{
			"username": name, "password": "password of " + name, "auth": map[string]string{"type": "m.login.dummy"},
		}, &session)
		if err != nil {
			return fmt.Errorf("register: %w", err)
		}
		user := *shared
		user.UserID, user.Token = session.UserID, session.AccessToken
		b.users[i] = &user
		return nil
	})
}

// room makes a room with the given people; the first creates it.
func (b *bench) room(name string, people []*harness.Client) (string, error) {
	id, err := people[0].CreateRoom(map[string]any{"preset": "public_chat", "name": name})
	if err != nil {
		return "", fmt.Errorf("create a room: %w", err)
	}
	for _, c := range people[1:] {
		if err := c.Join(id); err != nil {
			return "", fmt.Errorf("join a room: %w", err)
		}
	}
	return id, nil
}

// message is a body for PUT …/send; mark makes it recognisable.
func (b *bench) message(mark string) []byte {
	text := mark + strings.Repeat(".", max(0, b.bodyBytes-len(mark)))
	return []byte(`{"msgtype":"m.text","body":"` + text + `"}`)
}

// startUp measures how long it takes from the start of the process to its first
// healthy answer, with the data of everything before.
func (b *bench) startUp() []figure {
	b.t.say("starting %d times", b.starts)
	var times []time.Duration
	for range b.starts {
		b.server.Stop()
		start := time.Now()
		for _, p := range b.server.Processes() {
			p.Begin()
		}
		for _, p := range b.server.Processes() {
			p.Await()
		}
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	return []figure{below("start-up with all this data", "s", quantile(times, 0.5).Seconds(), 1)}
}

// quantile of sorted times.
func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

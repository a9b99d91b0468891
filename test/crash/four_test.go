package crash

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"hearth/test/harness"
)

// refusal is how soon a request that cannot be served must be refused.
const refusal = 6 * time.Second

// Outcomes of a request while a process is down.
type outcome int

const (
	served  outcome = iota // 200
	failing                // a temporary Matrix error
	nobody                 // no connection
	any3                   // one of these
)

// victims are killed in turn. While one is down the others go on: what a request then
// gets.
var victims = []struct {
	name               string // "": all at once
	send, sync, whoami outcome
}{
	{"roomserver", failing, any3, served},
	{"federationapi", served, served, served},
	{"clientapi", nobody, nobody, nobody},
	{"syncapi", served, failing, served},
	{harness.NATS, failing, failing, served},
	{"", nobody, nobody, nobody},
}

func TestFourProcessesAreKilledInTurn(t *testing.T) {
	s := harness.Start(t, harness.Options{Wiring: harness.FourProcesses})
	seed, rng := choose(t)
	l := newLoad(t, func(name string) *harness.Client { return s.Register(t, name) }, seed,
		settings{senders: 6, rooms: 3, pace: 8 * time.Millisecond})
	l.start()
	recoveries := map[string]times{}
	turns := max(1, *rounds*3/50)
	for range turns {
		for _, i := range rng.Perm(len(victims)) {
			v := victims[i]
			time.Sleep(between(rng, 50*time.Millisecond, 500*time.Millisecond))
			processes := named(s, v.name)
			for _, j := range rng.Perm(len(processes)) {
				processes[j].Kill()
			}
			l.checkDown(t, v.name, v.send, v.sync, v.whoami)
			time.Sleep(between(rng, 0, 500*time.Millisecond))
			begin := restart(rng, processes)
			recoveries[v.name] = append(recoveries[v.name], l.recovers(t, begin))
		}
	}
	for _, v := range victims {
		recoveries[v.name].log(t, "recovery after the death of "+orAll(v.name))
	}
	conclude(t, l)
}

// named returns the process of that name, or all.
func named(s *harness.Server, name string) []*harness.Process {
	if name != "" {
		return []*harness.Process{s.Process(name)}
	}
	return s.Processes()
}

// restart starts processes in any order, sometimes kills one while it starts, and
// waits until all answer. It returns the time of the last start.
func restart(rng *rand.Rand, processes []*harness.Process) time.Time {
	for _, i := range rng.Perm(len(processes)) {
		processes[i].Begin()
	}
	begin := time.Now()
	if rng.IntN(3) == 0 {
		time.Sleep(between(rng, 0, 200*time.Millisecond))
		begin = time.Now()
		processes[rng.IntN(len(processes))].Begin()
	}
	for _, p := range processes {
		p.Await()
	}
	return begin
}

func orAll(name string) string {
	if name == "" {
		return "all processes"
	}
	return name
}

// checkDown makes one request of each sort. A message that was not served is sent
// again, with its transaction id, after the restart.
func (l *load) checkDown(t *testing.T, victim string, send, sync, whoami outcome) {
	t.Helper()
	check := func(what string, want outcome, f func() error) {
		t.Helper()
		begin := time.Now()
		err := f()
		if got := outcomeOf(err); want != got && (want != any3 || got == any3) {
			t.Errorf("%s is down: %s got %v", orAll(victim), what, err)
		}
		if took := time.Since(begin); took > refusal {
			t.Errorf("%s is down: %s took %v to get %v", orAll(victim), what, took, err)
		}
	}
	a := Ack{Txn: l.probe.next(), Room: l.rooms[rand.IntN(len(l.rooms))]}
	l.record.attempt(a.Txn, a.Room)
	l.probe.sent = append(l.probe.sent, a)
	check("a message", send, func() error { _, err := l.probe.once(a); return err })
	check("/sync", sync, func() error { _, err := l.probe.client.Sync("", 0); return err })
	check("whoami", whoami, func() error {
		if _, err := l.probe.client.Do("GET", harness.Path("account", "whoami"), nil, nil); err != nil {
			return err
		}
		return nil
	})
}

func outcomeOf(err error) outcome {
	var e *harness.MatrixError
	switch {
	case err == nil:
		return served
	case !errors.As(err, &e):
		return any3
	case e.Status == 0:
		return nobody
	case refused(e):
		return failing
	}
	return any3
}

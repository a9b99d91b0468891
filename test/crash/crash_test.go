package crash

import (
	"flag"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"hearth/test/harness"
)

var (
	rounds = flag.Int("crash.rounds", 50, "how often the one process is killed; the four together a third as often")
	seed   = flag.Uint64("crash.seed", 0, "seed of all random choices; 0: a new one")
)

// recovery is how long a restarted server may take until everybody has everything.
const recovery = 10 * time.Second

func choose(t *testing.T) (uint64, *rand.Rand) {
	s := *seed
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("seed %d", s)
	return s, rand.New(rand.NewPCG(s, 0))
}

func between(rng *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(rng.Int64N(int64(high-low)))
}

// times collects durations for the summary.
type times []time.Duration

func (d times) log(t *testing.T, what string) {
	t.Helper()
	if len(d) == 0 {
		return
	}
	slices.Sort(d)
	t.Logf("%s: median %v, worst %v (%d times)", what,
		d[len(d)/2].Round(time.Millisecond), d[len(d)-1].Round(time.Millisecond), len(d))
}

// conclude checks everything.
func conclude(t *testing.T, l *load) {
	t.Helper()
	h := l.finish()
	t.Log(l.summary(h))
	l.judge(h)
}

func TestOneProcessIsKilled(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	seed, rng := choose(t)
	l := newLoad(t, func(name string) *harness.Client { return s.Register(t, name) }, seed,
		settings{senders: 6, rooms: 3, pace: 8 * time.Millisecond})
	l.start()
	p := s.Process("hearth")
	var starts, recoveries times
	for range *rounds {
		time.Sleep(between(rng, 50*time.Millisecond, 700*time.Millisecond))
		p.Kill()
		begin := time.Now()
		p.Begin()
		if rng.IntN(4) == 0 { // it is killed while it starts, too
			time.Sleep(between(rng, 0, 200*time.Millisecond))
			begin = time.Now()
			p.Restart()
		} else {
			p.Await()
		}
		starts = append(starts, time.Since(begin))
		if rng.IntN(2) == 0 { // else it may be killed again while everybody is behind
			recoveries = append(recoveries, l.recovers(t, begin))
		}
	}
	starts.log(t, "start")
	recoveries.log(t, "until a send was answered and all had seen everything")
	conclude(t, l)
}

// recovers repeats what the probe has sent and not got through, sends one more
// message and waits until all readers have everything.
func (l *load) recovers(t *testing.T, begin time.Time) time.Duration {
	t.Helper()
	if n := len(l.probe.sent); n > 0 {
		if _, err := l.probe.put(l.ctx, l.probe.sent[n-1]); err != nil {
			t.Fatalf("no repeat after a restart: %v", err)
		}
	}
	if _, err := l.probe.message(l.ctx, l.rooms[0]); err != nil {
		t.Fatalf("no send after a restart: %v", err)
	}
	if _, err := l.caughtUp(recovery); err != nil {
		t.Fatalf("after a restart %v", err)
	}
	took := time.Since(begin)
	if took > recovery {
		t.Errorf("recovery took %v", took)
	}
	return took
}

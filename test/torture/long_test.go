package torture

import (
	"flag"
	"math/rand/v2"
	"testing"
	"time"
)

var (
	minutes = flag.Float64("torture.minutes", 0, "how long each test repeats; 0: once")
	seed    = flag.Uint64("torture.seed", 0, "seed of the first round; 0: a new one")
)

// rounds runs f once, or as often as the time allows, each time with another seed.
func rounds(t *testing.T, f func(t *testing.T, rng *rand.Rand)) {
	t.Helper()
	end := time.Now().Add(time.Duration(*minutes * float64(time.Minute)))
	s := *seed
	for n := 1; ; n++ {
		if s == 0 {
			s = rand.Uint64()
		}
		t.Logf("round %d, repeat with -torture.seed=%d", n, s)
		f(t, rand.New(rand.NewPCG(s, 0)))
		if t.Failed() || time.Now().After(end) {
			return
		}
		s = 0
	}
}

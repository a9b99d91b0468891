package bus

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"hearth/internal/testkit/natsserver"
)

// pair is what every test of a mode works with: where calls are made and where they
// are handled.
type pair struct{ caller, owner *Bus }

// quick is a tuning whose waits are short enough for tests.
func quick() tuning {
	t := defaults()
	t.beat, t.silence = 100*time.Millisecond, 500*time.Millisecond
	t.grace = 2 * time.Second
	t.head, t.headIdle = 20*time.Millisecond, 100*time.Millisecond
	return t
}

// open connects a bus and closes it when the test ends.
func open(t testing.TB, o Options, tune tuning) *Bus {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	if o.Log == nil {
		o.Log = logrus.NewEntry(log)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	b, err := connect(ctx, o, tune)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// each runs a test with direct calls, with everything over the embedded server, and
// with two buses over an external server.
func each(t *testing.T, tune tuning, test func(t *testing.T, p pair)) {
	t.Run("Local", func(t *testing.T) {
		b := open(t, Options{Local: true}, tune)
		test(t, pair{b, b})
	})
	overNATS(t, tune, test)
}

// overNATS is each without direct calls.
func overNATS(t *testing.T, tune tuning, test func(t *testing.T, p pair)) {
	t.Run("Embedded", func(t *testing.T) {
		b := open(t, Options{}, tune)
		test(t, pair{b, b})
	})
	t.Run("External", func(t *testing.T) {
		urls := []string{natsserver.Start(t).URL()}
		test(t, pair{
			caller: open(t, Options{URLs: urls, Local: true}, tune),
			owner:  open(t, Options{URLs: urls, Local: true}, tune),
		})
	})
}

// within fails the test if it takes longer than d from now until done is called.
func within(t *testing.T, d time.Duration) (done func()) {
	t.Helper()
	start := time.Now()
	return func() {
		t.Helper()
		if took := time.Since(start); took > d {
			t.Fatalf("took %v, want at most %v", took, d)
		}
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	if !poll(10*time.Second, ok) {
		t.Fatalf("not within 10 s: %s", what)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

package bus

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// storm loses 10 % of a log's messages, repeats 10 % and delays 10 %.
func storm() func(data []byte, deliver func([]byte)) {
	var mu sync.Mutex
	src := rand.New(rand.NewPCG(1, 2))
	var held [][]byte
	return func(data []byte, deliver func([]byte)) {
		mu.Lock()
		defer mu.Unlock()
		switch dice := src.IntN(100); {
		case dice < 10:
		case dice < 20:
			deliver(data)
			deliver(data)
		case dice < 30:
			held = append(held, data)
		default:
			deliver(data)
		}
		if len(held) > 3 {
			for _, i := range src.Perm(len(held)) {
				deliver(held[i])
			}
			held = nil
		}
	}
}

func TestFollowIsExactlyOnceInOrderThroughStorms(t *testing.T) {
	const entries = 20_000
	tune := quick()
	tune.tap = storm()
	each(t, tune, func(t *testing.T, p pair) {
		o := newOwner(t, p.owner)
		go func() {
			for i := range entries {
				o.append("x")
				if i%100 == 0 {
					time.Sleep(time.Millisecond)
				}
			}
		}()
		steady := &checker{t: t}
		steady.follow(p.caller)
		// The other follower is ended again and again, in mid batch too.
		restarted, rounds := &checker{t: t}, 0
		for restarted.cursor.Load() < entries {
			rounds++
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(5+rand.IntN(40))*time.Millisecond)
			crash := errors.New("crash")
			err := Follow(ctx, p.caller, testLog, restarted.cursor.Load(), func(ctx context.Context, batch []Positioned[entry]) error {
				if rand.IntN(20) == 0 {
					return crash // rolled back
				}
				return restarted.apply(ctx, batch)
			})
			cancel()
			if err != crash && !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("Follow: %v", err)
			}
			if rounds > 20_000 {
				t.Fatal("no progress")
			}
		}
		steady.reaches(t, entries)
		if rounds < 5 {
			t.Fatalf("only %d rounds", rounds)
		}
		t.Logf("%d restarts, %d reads from the owner", rounds, o.reads.Load())
	})
}

func TestLostTailIsFoundByTheHead(t *testing.T) {
	tune := quick()
	tune.tap = func(data []byte, deliver func([]byte)) {
		if data[0] == logHead {
			deliver(data)
		}
	}
	each(t, tune, func(t *testing.T, p pair) {
		o, c := newOwner(t, p.owner), &checker{t: t}
		c.follow(p.caller)
		for i := range 5 {
			o.append("lost")
			done := within(t, time.Second)
			c.reaches(t, int64(i)+1)
			done()
		}
	})
}

func TestHeadThatTheOwnerDeniesIsForgotten(t *testing.T) {
	each(t, quick(), func(t *testing.T, p pair) {
		o, c := newOwner(t, p.owner), &checker{t: t}
		o.append("one")
		c.follow(p.caller)
		c.reaches(t, 1)
		time.Sleep(50 * time.Millisecond)
		before := o.reads.Load()
		must(t, o.pub.send(logHead, 1000))
		time.Sleep(300 * time.Millisecond)
		if n := o.reads.Load() - before; n != 1 {
			t.Fatalf("%d reads", n)
		}
		o.append("two")
		c.reaches(t, 2)
	})
}

func TestMalformedMessagesOnTheLogAreSurvived(t *testing.T) {
	each(t, quick(), func(t *testing.T, p pair) {
		o, c := newOwner(t, p.owner), &checker{t: t}
		c.follow(p.caller)
		for _, m := range []string{"", "\x01", "\x01\x01", "\x01\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "\x09\x05", "\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\x01\x01\x02\x7fx"} {
			must(t, p.owner.publish(logSubject+testLog.Name, "", []byte(m)))
			o.append("x")
		}
		c.reaches(t, o.head())
	})
}

func TestFollowReportsALogThatWentBack(t *testing.T) {
	each(t, quick(), func(t *testing.T, p pair) {
		o, c := newOwner(t, p.owner), &checker{t: t}
		o.append("x")
		err := Follow(context.Background(), p.caller, testLog, 5, c.apply)
		if !errors.Is(err, ErrLog) {
			t.Fatalf("got %v", err)
		}
		if n := o.reads.Load(); n != brokenReads {
			t.Fatalf("believed after %d reads", n)
		}
	})
}

func TestFollowReportsAHole(t *testing.T) {
	each(t, quick(), func(t *testing.T, p pair) {
		o, c := newOwner(t, p.owner), &checker{t: t}
		for range 10 {
			o.commit("x")
		}
		o.entries = append(o.entries[:4:4], o.entries[5:]...)
		err := Follow(context.Background(), p.caller, testLog, 0, c.apply)
		if !errors.Is(err, ErrLog) || c.cursor.Load() != 0 {
			t.Fatalf("got %v at %d", err, c.cursor.Load())
		}
	})
}

func TestSlowFollowerReadsWhatOverflowed(t *testing.T) {
	each(t, quick(), func(t *testing.T, p pair) {
		o := newOwner(t, p.owner)
		c := &checker{t: t}
		gate, entered := make(chan struct{}), make(chan struct{}, 1)
		slow := func(ctx context.Context, batch []Positioned[entry]) error {
			select {
			case entered <- struct{}{}:
			default:
			}
			<-gate
			return c.apply(ctx, batch)
		}
		go func() { _ = Follow(t.Context(), p.caller, testLog, 0, slow) }()
		o.append("first")
		<-entered
		const n = inboxEntries + 3000
		for range n {
			o.append("x")
		}
		close(gate)
		c.reaches(t, n+1)
	})
}

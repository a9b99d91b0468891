package bus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hearth/internal/merr"
	"hearth/internal/testkit/natsserver"
)

type entry struct {
	N    int64
	Body string
}

func (e *entry) AppendWire(buf []byte) []byte {
	w := NewEncoder(buf)
	w.Int(e.N)
	w.String(e.Body)
	return w.Buffer()
}

func (e *entry) ParseWire(data []byte) error {
	d := NewDecoder(data)
	e.N, e.Body = d.Int(), d.String()
	return d.Done()
}

var testLog = Log[entry]{Name: "test"}

// owner is a log in memory.
type owner struct {
	mu      sync.Mutex
	entries []Positioned[entry]
	reads   atomic.Int64
	fail    atomic.Bool
	pub     *Publisher[entry]
}

func newOwner(t testing.TB, b *Bus) *owner {
	t.Helper()
	o := &owner{}
	o.serve(t, b)
	return o
}

// serve publishes and serves the log on b.
func (o *owner) serve(t testing.TB, b *Bus) {
	t.Helper()
	o.pub = NewPublisher(b, testLog, o.head)
	must(t, ServeLog(b, testLog, o.read))
}

func (o *owner) head() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return int64(len(o.entries))
}

func (o *owner) read(_ context.Context, after int64, limit int) ([]Positioned[entry], int64, error) {
	o.reads.Add(1)
	if o.fail.Load() {
		return nil, 0, errors.New("broken disk")
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	head := int64(len(o.entries))
	from := min(max(after, 0), head)
	return slices.Clone(o.entries[from:min(from+int64(limit), head)]), head, nil
}

// commit appends an entry without telling anybody.
func (o *owner) commit(body string) (int64, *entry) {
	o.mu.Lock()
	defer o.mu.Unlock()
	pos := int64(len(o.entries)) + 1
	e := &entry{N: pos, Body: body}
	o.entries = append(o.entries, Positioned[entry]{Pos: pos, Entry: e})
	return pos, e
}

func (o *owner) append(body string) { o.pub.Publish(o.commit(body)) }

// checker is a consumer that keeps its cursor and complains of anything that is not
// the next entry.
type checker struct {
	t      testing.TB
	cursor atomic.Int64
	batch  atomic.Int64 // greatest
}

func (c *checker) apply(_ context.Context, batch []Positioned[entry]) error {
	for i, p := range batch {
		if want := c.cursor.Load() + int64(i) + 1; p.Pos != want || p.Entry.N != want {
			c.t.Errorf("got %d (%d), want %d", p.Pos, p.Entry.N, want)
			return errors.New("out of order")
		}
	}
	c.batch.Store(max(c.batch.Load(), int64(len(batch))))
	c.cursor.Store(batch[len(batch)-1].Pos)
	return nil
}

// follow runs a follower until the test ends.
func (c *checker) follow(b *Bus) {
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- Follow(ctx, b, testLog, c.cursor.Load(), c.apply) }()
	c.t.Cleanup(func() {
		cancel()
		if err := <-over; !errors.Is(err, context.Canceled) && status(err) != 503 {
			c.t.Errorf("Follow: %v", err)
		}
	})
}

func (c *checker) reaches(t *testing.T, n int64) {
	t.Helper()
	eventually(t, fmt.Sprintf("cursor at %d", n), func() bool { return c.cursor.Load() == n })
}

func TestFollowFromTheStartAndLive(t *testing.T) {
	each(t, defaults(), func(t *testing.T, p pair) {
		o, c := newOwner(t, p.owner), &checker{t: t}
		for range 2000 {
			o.commit("old")
		}
		c.follow(p.caller)
		c.reaches(t, 2000)
		for range 2000 {
			o.append("new")
		}
		c.reaches(t, 4000)
		if n := c.batch.Load(); n > 512 {
			t.Fatalf("a batch of %d", n)
		}
		if head, err := Head(context.Background(), p.caller, testLog); err != nil || head != 4000 {
			t.Fatalf("head %d, %v", head, err)
		}
	})
}

func TestHeadOfAnEmptyAndOfAMissingLog(t *testing.T) {
	each(t, defaults(), func(t *testing.T, p pair) {
		if _, err := Head(context.Background(), p.caller, testLog); status(err) != 503 {
			t.Fatalf("missing: %v", err)
		}
		o := newOwner(t, p.owner)
		if head, err := Head(context.Background(), p.caller, testLog); err != nil || head != 0 {
			t.Fatalf("empty: %d, %v", head, err)
		}
		o.fail.Store(true)
		if _, err := Head(context.Background(), p.caller, testLog); status(err) != 500 {
			t.Fatalf("broken: %v", err)
		}
	})
}

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

func TestIdleFollowerAsksNobody(t *testing.T) {
	each(t, quick(), func(t *testing.T, p pair) {
		o, c := newOwner(t, p.owner), &checker{t: t}
		o.append("one")
		c.follow(p.caller)
		c.reaches(t, 1)
		time.Sleep(50 * time.Millisecond)
		before := o.reads.Load()
		time.Sleep(5 * p.owner.tune.headIdle)
		if n := o.reads.Load() - before; n > 0 {
			t.Fatalf("%d reads while idle", n)
		}
		for range 1000 {
			o.append("live")
		}
		c.reaches(t, 1001)
		if n := o.reads.Load() - before; n > 2 {
			t.Fatalf("%d reads while everything came by NATS", n)
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
		for _, m := range []string{"", "\x01", "\x01\x01", "\x01\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "\x09\x05", "\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\x01\x01\x02\x7fx"} {
			must(t, p.owner.publish(logSubject+testLog.Name, "", []byte(m)))
			o.append("x")
		}
		c.reaches(t, o.head())
	})
}

func TestLargeEntriesComeFromTheOwner(t *testing.T) {
	each(t, quick(), func(t *testing.T, p pair) {
		o := newOwner(t, p.owner)
		var got atomic.Int64
		c := &checker{t: t}
		c.follow(p.caller)
		go func() {
			_ = Follow(t.Context(), p.caller, testLog, 0, func(_ context.Context, batch []Positioned[entry]) error {
				for _, e := range batch {
					got.Add(int64(len(e.Entry.Body)))
				}
				return nil
			})
		}()
		total := int64(0)
		for _, size := range []int{10, 899_000, 950_000, 3 << 20, 10, 1 << 20} {
			o.append(strings.Repeat("x", size))
			total += int64(size)
		}
		c.reaches(t, 6)
		eventually(t, "all bytes", func() bool { return got.Load() == total })
	})
}

func TestReadsOfLargeEntriesArePagedByBytes(t *testing.T) {
	o := &owner{}
	for range 600 {
		o.commit(strings.Repeat("x", 10_000))
	}
	entries, head, err := o.read(context.Background(), 0, 512)
	must(t, err)
	page, err := appendPage(entries, head)
	must(t, err)
	if len(page) > pageSize || len(page) < pageSize-20_000 {
		t.Fatalf("a page of %d bytes", len(page))
	}
	back, head, err := parsePage[entry](page)
	must(t, err)
	if head != 600 || len(back) != 52 || back[51].Pos != 52 || len(back[51].Entry.Body) != 10_000 {
		t.Fatalf("head %d, %d entries", head, len(back))
	}
	for cut := 0; cut < len(page); cut += 9973 {
		back, _, err := parsePage[entry](page[:cut])
		for _, e := range back {
			if len(e.Entry.Body) != 10_000 {
				t.Fatalf("cut at %d: an entry of %d bytes", cut, len(e.Entry.Body))
			}
		}
		if err == nil {
			t.Fatalf("a page cut at %d was accepted", cut)
		}
	}
}

func TestFollowWaitsForAnOwnerThatIsNotThereOrFails(t *testing.T) {
	each(t, quick(), func(t *testing.T, p pair) {
		c := &checker{t: t}
		c.follow(p.caller)
		time.Sleep(100 * time.Millisecond)
		o := &owner{}
		o.commit("x")
		o.fail.Store(true)
		o.serve(t, p.owner)
		eventually(t, "failing reads", func() bool { return o.reads.Load() > 1 })
		if c.cursor.Load() != 0 {
			t.Fatal("applied something")
		}
		o.fail.Store(false)
		c.reaches(t, 1)
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

func TestFollowReturnsTheErrorOfApplyAndStopsWithTheBus(t *testing.T) {
	each(t, quick(), func(t *testing.T, p pair) {
		o := newOwner(t, p.owner)
		o.append("x")
		mine := merr.Forbidden("mine")
		for _, live := range []bool{false, true} {
			err := Follow(context.Background(), p.caller, testLog, 0, func(_ context.Context, batch []Positioned[entry]) error {
				if live && batch[0].Pos == 1 {
					o.append("y")
					return nil
				}
				return mine
			})
			if err != mine {
				t.Fatalf("got %v", err)
			}
		}
		over := make(chan error, 1)
		c := &checker{t: t}
		go func() { over <- Follow(context.Background(), p.caller, testLog, 0, c.apply) }()
		c.reaches(t, 2)
		p.caller.Close()
		if err := <-over; status(err) != 503 {
			t.Fatalf("closed: %v", err)
		}
		if err := Follow(context.Background(), p.caller, testLog, 0, c.apply); status(err) != 503 {
			t.Fatalf("on the closed bus: %v", err)
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

func TestRestartOfNATSInTheMiddle(t *testing.T) {
	server := natsserver.Start(t)
	urls := []string{server.URL()}
	owner, caller := open(t, Options{URLs: urls}, quick()), open(t, Options{URLs: urls}, quick())
	o, c := newOwner(t, owner), &checker{t: t}
	must(t, Handle(owner, echo, func(ctx context.Context, a *ask) (*reply, error) {
		if a.N > 0 {
			<-ctx.Done()
		}
		return &reply{}, ctx.Err()
	}))
	c.follow(caller)
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Microsecond):
				o.append("x")
			}
		}
	})
	for range 3 {
		hanging := make(chan error, 1)
		go func() { _, err := echo.Do(context.Background(), caller, &ask{N: 1}); hanging <- err }()
		eventually(t, "call in progress", func() bool { return owner.active.Load() > 0 })
		server.Stop()
		done := within(t, time.Second)
		if err := <-hanging; status(err) != 503 {
			t.Fatalf("call in progress: %v", err)
		}
		if _, err := echo.Do(context.Background(), caller, &ask{}); status(err) != 503 {
			t.Fatalf("call without NATS: %v", err)
		}
		done()
		server.Restart()
		eventually(t, "calls work again", func() bool {
			_, err := echo.Do(context.Background(), caller, &ask{})
			return err == nil
		})
		now := o.head()
		eventually(t, "follower goes on", func() bool { return c.cursor.Load() > now })
	}
	close(stop)
	writer.Wait()
	c.reaches(t, o.head())
}

func TestKilledNATSProcessIsSurvived(t *testing.T) {
	server := natsserver.StartProcess(t)
	urls := []string{server.URL()}
	owner, caller := open(t, Options{URLs: urls}, defaults()), open(t, Options{URLs: urls}, defaults())
	o, c := newOwner(t, owner), &checker{t: t}
	c.follow(caller)
	o.append("x")
	c.reaches(t, 1)
	server.Kill()
	o.append("unheard")
	server.Restart()
	done := within(t, 3*time.Second)
	c.reaches(t, 2)
	done()
}

func TestConnectWaitsForTheServerUntilTheContextEnds(t *testing.T) {
	server := natsserver.Start(t)
	server.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	done := within(t, 3*time.Second)
	if _, err := Connect(ctx, Options{URLs: []string{server.URL()}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	done()
	result := make(chan error, 1)
	go func() {
		b, err := Connect(context.Background(), Options{URLs: []string{server.URL()}})
		if err == nil {
			b.Close()
		}
		result <- err
	}()
	time.Sleep(300 * time.Millisecond)
	server.Restart()
	must(t, <-result)
}

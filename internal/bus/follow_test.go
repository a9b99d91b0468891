package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hearth/internal/merr"
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

package health_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"hearth/federationapi/health"
	"hearth/federationapi/storage"
	"hearth/internal/merr"
	"hearth/internal/store/storetest"
)

type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func open(t *testing.T, db *storage.DB, c *clock) *health.Book {
	t.Helper()
	l := logrus.New()
	l.SetOutput(t.Output())
	b, err := health.Open(context.Background(), health.Options{DB: db, Log: logrus.NewEntry(l), Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newDB(t *testing.T) *storage.DB {
	t.Helper()
	db, err := storage.Open(context.Background(), storetest.SQLite(t).Options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func TestWaitsGrowFromAMinuteToADay(t *testing.T) {
	c := &clock{time.UnixMilli(1_700_000_000_000)}
	b := open(t, newDB(t), c)
	want := time.Minute
	for i := range 20 {
		b.Failed("a.example", 0)
		wait := b.Wait("a.example")
		if wait < want || wait > want*5/4 {
			t.Fatalf("after failure %d: %v, want %v or up to a quarter more", i+1, wait, want)
		}
		b.Failed("a.example", 0) // at the same time
		if again := b.Wait("a.example"); again != wait {
			t.Fatalf("a failure during the wait moved it from %v to %v", wait, again)
		}
		if s := b.State("a.example"); s.Failures != i+1 || s.FailingFrom.UnixMilli() != 1_700_000_000_000 {
			t.Fatalf("%+v", s)
		}
		c.now = c.now.Add(wait)
		if err := b.Check("a.example"); err != nil {
			t.Fatal(err)
		}
		want = min(2*want, 24*time.Hour)
	}
	b.Succeeded("a.example")
	if s := b.State("a.example"); s.Failures != 0 || !s.RetryAt.IsZero() || s.LastSuccess.UnixMilli() != c.now.UnixMilli() {
		t.Errorf("%+v", s)
	}
	b.Failed("a.example", time.Hour)
	if wait := b.Wait("a.example"); wait < time.Hour {
		t.Errorf("the server asked for an hour, it gets %v", wait)
	}
}

func TestCheckIsATemporaryError(t *testing.T) {
	c := &clock{time.UnixMilli(1_700_000_000_000)}
	b := open(t, newDB(t), c)
	b.Failed("a.example", 0)
	var e *merr.Error
	if err := b.Check("a.example"); !errors.As(err, &e) || !e.Temporary || e.Status != 502 || e.RetryAfter < time.Minute {
		t.Errorf("%+v", e)
	}
	if err := b.Check("b.example"); err != nil {
		t.Error(err)
	}
}

func TestLifeEndsTheWaitButNotAllTheTime(t *testing.T) {
	c := &clock{time.UnixMilli(1_700_000_000_000)}
	b := open(t, newDB(t), c)
	for range 8 {
		b.Failed("a.example", 0)
		c.now = c.now.Add(b.Wait("a.example"))
	}
	b.Failed("a.example", 0)
	b.Alive("a.example")
	if b.Wait("a.example") != 0 {
		t.Fatal("the server lives and has to wait")
	}
	b.Failed("a.example", 0)
	c.now = c.now.Add(30 * time.Second)
	b.Alive("a.example")
	if wait := b.Wait("a.example"); wait < time.Hour {
		t.Errorf("a server that sends but does not answer waits %v", wait)
	}
	c.now = c.now.Add(31 * time.Second)
	b.Alive("a.example")
	if wait := b.Wait("a.example"); wait != 0 {
		t.Errorf("a minute later it still waits %v", wait)
	}
	b.Alive("b.example")
	if s := b.State("b.example"); s.Failures != 0 {
		t.Errorf("%+v", s)
	}
}

func TestAnAdministratorEndsTheWait(t *testing.T) {
	c := &clock{time.UnixMilli(1_700_000_000_000)}
	b := open(t, newDB(t), c)
	b.Failed("a.example", 0)
	b.Retry("a.example")
	if s := b.State("a.example"); s.Failures != 0 || b.Wait("a.example") != 0 || b.Failing() != 0 {
		t.Errorf("%+v", s)
	}
}

func TestFailuresSurviveARestart(t *testing.T) {
	c := &clock{time.UnixMilli(1_700_000_000_000)}
	e := storetest.SQLite(t)
	var before health.State
	for round := range 2 {
		db, err := storage.Open(context.Background(), e.Options)
		if err != nil {
			t.Fatal(err)
		}
		b := open(t, db, c)
		if round == 1 {
			if s := b.State("a.example"); s != before || b.Wait("b.example") != 0 {
				t.Errorf("%+v, want %+v", s, before)
			}
		} else {
			b.Succeeded("a.example")
			b.Failed("a.example", 0)
			b.Failed("b.example", 0)
			b.Succeeded("b.example")
			before = b.State("a.example")
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

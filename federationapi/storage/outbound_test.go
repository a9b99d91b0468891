package storage

import (
	"context"
	"fmt"
	"reflect"
	"testing"

	"hearth/internal/store/storetest"
)

func eachDB(t *testing.T, test func(t *testing.T, db *DB)) {
	storetest.EachEngine(t, func(t *testing.T, e storetest.Engine) {
		db, err := Open(context.Background(), e.Options)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
		test(t, db)
	})
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestDestinations(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		ctx := context.Background()
		list := func(want ...Destination) {
			t.Helper()
			ok(t, db.WriteProgress(ctx, Progress{})) // what was not waited for is written then
			got, err := db.Destinations(ctx, "", 100)
			if err != nil || len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v %v\nwant %+v", got, err, want)
			}
		}
		list()
		// Neither half of a row overwrites the other.
		ok(t, db.NoteHealth(Destination{Server: "b", Failures: 2, FailingFrom: 3, RetryAt: 4, LastSuccess: 5}))
		ok(t, db.WriteProgress(ctx, Progress{Behind: map[string]int64{"a": 7, "b": 8}}))
		b := Destination{Server: "b", Failures: 2, FailingFrom: 3, RetryAt: 4, LastSuccess: 5, Behind: 8}
		list(Destination{Server: "a", Behind: 7}, b)
		ok(t, db.NoteHealth(Destination{Server: "a", Failures: 1, RetryAt: 9}))
		list(Destination{Server: "a", Failures: 1, RetryAt: 9, Behind: 7}, b)
		if got, err := db.Destinations(ctx, "a", 1); err != nil || len(got) != 1 || got[0] != b {
			t.Errorf("%+v %v", got, err)
		}
		// A row goes when both halves say nothing, in either order.
		ok(t, db.NoteHealth(Destination{Server: "a", LastSuccess: 10}))
		list(Destination{Server: "a", LastSuccess: 10, Behind: 7}, b)
		ok(t, db.WriteProgress(ctx, Progress{Behind: map[string]int64{"a": Current, "b": Current}}))
		b.Behind = Current
		list(b)
		// Old failures go, unless something waits.
		ok(t, db.AddEDU(ctx, []string{"b"}, []byte(`{}`), "m.x", ""))
		ok(t, db.ForgetFailures(ctx, 100))
		list(b)
		ok(t, db.DropEDUs(ctx, "b", 1<<40))
		ok(t, db.ForgetFailures(ctx, 4))
		list(b)
		ok(t, db.ForgetFailures(ctx, 5))
		list()
	})
}

func TestProgress(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		ctx := context.Background()
		if pos, known, err := db.Cursor(ctx); err != nil || known || pos != 0 {
			t.Errorf("%d %v %v", pos, known, err)
		}
		for _, want := range []int64{0, 5} {
			ok(t, db.WriteProgress(ctx, Progress{Cursor: &want}))
			if pos, known, err := db.Cursor(ctx); err != nil || !known || pos != want {
				t.Errorf("%d %v %v", pos, known, err)
			}
		}
		ok(t, db.WriteProgress(ctx, Progress{
			Behind: map[string]int64{"a": 1}, Extra: []ServerEvent{{"a", 3}, {"a", 2}, {"b", 2}, {"a", 3}},
		}))
		extra := func(server string, limit int, want ...int64) {
			t.Helper()
			if got, err := db.ExtraEvents(ctx, server, limit); err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%v %v, want %v", got, err, want)
			}
		}
		extra("a", 10, 2, 3)
		extra("a", 1, 2)
		ok(t, db.WriteProgress(ctx, Progress{Sent: []ServerEvent{{"a", 2}, {"a", 9}}}))
		extra("a", 10, 3)
		ok(t, db.WriteProgress(ctx, Progress{Behind: map[string]int64{"a": Current}}))
		extra("a", 10)
		extra("b", 10, 2)
	})
}

func TestEDUs(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		ctx := context.Background()
		add := func(key, json string, servers ...string) {
			t.Helper()
			ok(t, db.AddEDU(ctx, servers, []byte(json), "m.x", key))
		}
		list := func(server string, want ...string) (last int64) {
			t.Helper()
			got, err := db.EDUs(ctx, server, 0, 100)
			ok(t, err)
			var texts []string
			for _, e := range got {
				if e.Seq <= last {
					t.Errorf("%d follows %d", e.Seq, last)
				}
				last = e.Seq
				texts = append(texts, string(e.JSON))
			}
			if fmt.Sprint(texts) != fmt.Sprint(want) {
				t.Errorf("%s: got %v, want %v", server, texts, want)
			}
			return last
		}
		add("", "1", "a", "b")
		add("k", "2", "a", "b")
		add("", "3", "a")
		add("k", "4", "a")
		add("", "5", "a")
		list("a", "1", "3", "4", "5")
		last := list("b", "1", "2")
		add("k", "6", "b")
		ok(t, db.DropEDUs(ctx, "b", last))
		list("b", "6")
		if n, err := db.CountEDUs(ctx); err != nil || !reflect.DeepEqual(n, map[string]int64{"a": 4, "b": 1}) {
			t.Errorf("%v %v", n, err)
		}
		if left, err := db.TrimEDUs(ctx, "a", 10); err != nil || left != 4 {
			t.Errorf("%d %v", left, err)
		}
		if left, err := db.TrimEDUs(ctx, "a", 2); err != nil || left != 2 {
			t.Errorf("%d %v", left, err)
		}
		list("a", "4", "5")
	})
}

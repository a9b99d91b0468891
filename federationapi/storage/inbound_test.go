package storage

import (
	"context"
	"fmt"
	"testing"

	"hearth/internal/store/storetest"
)

func TestAnswers(t *testing.T) {
	storetest.EachEngine(t, func(t *testing.T, e storetest.Engine) {
		ctx := context.Background()
		db, err := Open(ctx, e.Options)
		if err != nil {
			t.Fatal(err)
		}
		want := func(origin, txn, answer string) {
			t.Helper()
			if got, err := db.Answer(ctx, origin, txn); err != nil || string(got) != answer || (got == nil) != (answer == "") {
				t.Errorf("%s %s: %q %v, want %q", origin, txn, got, err, answer)
			}
		}
		put := func(origin, txn, answer string, at int64) {
			t.Helper()
			if err := db.PutAnswer(ctx, origin, txn, []byte(answer), at, 3); err != nil {
				t.Fatal(err)
			}
		}
		want("a.example", "1", "")
		put("a.example", "1", "first", 10)
		put("a.example", "1", "second", 11)
		want("a.example", "1", "first")
		want("b.example", "1", "")
		put("b.example", "1", "other", 5)
		for i := 2; i <= 5; i++ {
			put("a.example", fmt.Sprint(i), "x", int64(10*i))
		}
		want("a.example", "1", "")
		want("a.example", "2", "")
		want("a.example", "3", "x")
		want("b.example", "1", "other")
		if more, err := db.ExpireAnswers(ctx, 45, 2); err != nil || !more {
			t.Errorf("%v %v", more, err)
		}
		want("b.example", "1", "")
		want("a.example", "3", "")
		want("a.example", "4", "x")
		for range 2 {
			if more, err := db.ExpireAnswers(ctx, 45, 2); err != nil || more {
				t.Errorf("%v %v", more, err)
			}
		}
		want("a.example", "4", "")
		want("a.example", "5", "x")
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
}

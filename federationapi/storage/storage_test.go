package storage

import (
	"context"
	"fmt"
	"reflect"
	"testing"

	"hearth/internal/store/storetest"
)

func TestServers(t *testing.T) {
	storetest.EachEngine(t, func(t *testing.T, e storetest.Engine) {
		ctx := context.Background()
		open := func() *DB {
			db, err := Open(ctx, e.Options)
			if err != nil {
				t.Fatal(err)
			}
			return db
		}
		db := open()
		if s, err := db.Get(ctx, "a.example"); err != nil || !reflect.DeepEqual(s, &Server{}) {
			t.Fatalf("%+v %v", s, err)
		}
		want := &Server{
			Keys:   []Key{{"ed25519:a", make([]byte, 32), 5, false, true}, {"ed25519:b", make([]byte, 32), 3, true, false}},
			Answer: []byte(`{}`), ValidUntil: 7, Fetched: 9,
		}
		for range 2 { // the second replaces the first
			if got, err := db.Update(ctx, "a.example", func(*Server) *Server { return want }); err != nil || got != want {
				t.Fatalf("%+v %v", got, err)
			}
		}
		if _, err := db.Update(ctx, "A.example", func(old *Server) *Server { return old }); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		db = open()
		defer db.Close()
		if got, err := db.Get(ctx, "a.example"); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v %v", got, err)
		}
		if got, err := db.Get(ctx, "A.example"); err != nil || len(got.Keys) != 0 || got.Answer != nil {
			t.Errorf("%+v %v", got, err)
		}
	})
}

func TestPrune(t *testing.T) {
	storetest.EachEngine(t, func(t *testing.T, e storetest.Engine) {
		ctx := context.Background()
		db, err := Open(ctx, e.Options)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		for i := range 10 {
			_, err := db.Update(ctx, fmt.Sprint(i), func(*Server) *Server {
				return &Server{Fetched: int64(100 - i), Keys: []Key{{ID: "k", Public: []byte{1}}}}
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, want := range []int{4, 2, 0} {
			if n, err := db.Prune(ctx, 4, 4); err != nil || n != want {
				t.Errorf("%d %v, want %d", n, err, want)
			}
		}
		for i := range 10 {
			if s, err := db.Get(ctx, fmt.Sprint(i)); err != nil || (len(s.Keys) == 1) != (i < 4) {
				t.Errorf("%d: %+v %v", i, s, err)
			}
		}
	})
}

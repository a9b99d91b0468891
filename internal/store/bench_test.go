package store_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"hearth/internal/store"
	"hearth/internal/store/storetest"
)

// eventSchema has the rows that a sent message makes: a skeleton with an index by id
// and by room, and a body.
var eventSchema = fstest.MapFS{"0001_event.sql": {Data: []byte(`
CREATE TABLE event (nid BIGINT PRIMARY KEY, room BIGINT NOT NULL, id {blob} NOT NULL, ord BIGINT NOT NULL,
	type BIGINT NOT NULL, sender BIGINT NOT NULL, ts BIGINT NOT NULL, depth BIGINT NOT NULL, links {blob} NOT NULL) {strict};
CREATE UNIQUE INDEX event_id ON event (id);
CREATE INDEX event_order ON event (room, ord);
CREATE TABLE body (nid BIGINT PRIMARY KEY, json {blob} NOT NULL) {strict};
`)}}

func insertEvent(id, links, body []byte, room int64) func(tx *store.Tx) error {
	return func(tx *store.Tx) error {
		nid := tx.Next()
		err := tx.Exec(`INSERT INTO event (nid, room, id, ord, type, sender, ts, depth, links)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`, nid, room, id, nid<<20, 1, 7, tx.Now().UnixMilli(), nid, links)
		if err != nil {
			return err
		}
		return tx.Exec("INSERT INTO body (nid, json) VALUES ($1, $2)", nid, body)
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkGroupCommit stores events of 600 bytes, each acknowledged when it is
// durable. Only the CPU of this process is counted, not that of the PostgreSQL server.
func BenchmarkGroupCommit(b *testing.B) {
	for _, engine := range []func(testing.TB) storetest.Engine{storetest.SQLite, storetest.Postgres} {
		for _, submitters := range []int{1, 16, 256} {
			e := engine(b)
			b.Run(fmt.Sprintf("%s/%d", e.Name, submitters), func(b *testing.B) {
				e := engine(b)
				e.Options.Migrations = eventSchema
				db := storetest.Open(b, e.Options)
				body := make([]byte, 600)
				var wg sync.WaitGroup
				before, start := db.Stats(), cpu()
				b.ResetTimer()
				for s := range submitters {
					wg.Go(func() {
						random := rand.NewChaCha8([32]byte{byte(s), byte(s >> 8)})
						for range b.N/submitters + 1 {
							id := make([]byte, 32)
							random.Read(id)
							if err := db.Write(context.Background(), insertEvent(id, id, body, int64(s))); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.StopTimer()
				used, after := cpu()-start, db.Stats()
				ops := after.Ops - before.Ops
				b.ReportMetric(float64(ops)/b.Elapsed().Seconds(), "ops/s")
				b.ReportMetric(float64(used.Microseconds())/float64(ops), "cpu-µs/op")
				b.ReportMetric(float64(ops)/float64(after.Commits-before.Commits), "ops/commit")
			})
		}
	}
}

// BenchmarkRead reads one row by its key in a snapshot of its own.
func BenchmarkRead(b *testing.B) {
	for _, engine := range []func(testing.TB) storetest.Engine{storetest.SQLite, storetest.Postgres} {
		e := engine(b)
		e.Options.Migrations = eventSchema
		db := storetest.Open(b, e.Options)
		write(b, db, insertEvent([]byte("id"), []byte("links"), make([]byte, 600), 1))
		b.Run(e.Name, func(b *testing.B) {
			for b.Loop() {
				err := db.Read(context.Background(), func(r *store.Reader) error {
					var body []byte
					return r.Row("SELECT json FROM body WHERE nid = $1", 1).Scan(&body)
				})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

package search

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hearth/internal/bus"
	"hearth/internal/store/storetest"
	"hearth/roomserver/roomapi"
)

// chatter makes messages of about ten words, with words as often as in a language.
type chatter struct {
	rnd  *rand.Rand
	zipf *rand.Zipf
	pos  int64
}

func newChatter() *chatter {
	rnd := rand.New(rand.NewPCG(1, 2))
	return &chatter{rnd: rnd, zipf: rand.NewZipf(rnd, 1.1, 8, 60_000)}
}

func (c *chatter) batch(n, rooms int) []bus.Positioned[roomapi.Entry] {
	batch := make([]bus.Positioned[roomapi.Entry], n)
	for i := range batch {
		c.pos++
		words := make([]string, 4+c.rnd.IntN(13))
		for j := range words {
			words[j] = fmt.Sprintf("w%d", c.zipf.Uint64())
		}
		room := fmt.Sprintf("!%d:x", c.rnd.IntN(rooms))
		batch[i] = said(c.pos, room, fmt.Sprintf("@u%d:x", c.rnd.IntN(200)), strings.Join(words, " "))
	}
	return batch
}

const indexed = 100_000

// BenchmarkIndex measures what a message costs, from the log entry to the disk, and the
// size of the index for 100,000 messages in 50 rooms.
func BenchmarkIndex(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		e := storetest.SQLite(b)
		x := open(b, e.Options)
		c := newChatter()
		var batches [][]bus.Positioned[roomapi.Entry]
		for range indexed / 500 {
			batches = append(batches, c.batch(500, 50))
		}
		b.StartTimer()
		begin := time.Now()
		for _, batch := range batches {
			x.take(b, batch...)
		}
		x.store(b)
		b.ReportMetric(indexed/time.Since(begin).Seconds(), "messages/s")
		b.StopTimer()
		if err := x.Close(); err != nil {
			b.Fatal(err)
		}
		file, err := os.Stat(filepath.Join(e.Options.DataDir, "search.db"))
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(file.Size())/indexed, "B/message")
		b.StartTimer()
	}
}

// BenchmarkFind searches 100,000 messages of one user: in a single room, in 200 rooms,
// for rare and for very usual words.
func BenchmarkFind(b *testing.B) {
	for _, engine := range []func(testing.TB) storetest.Engine{storetest.SQLite, storetest.Postgres} {
		for _, rooms := range []int{1, 200} {
			e := engine(b)
			x := open(b, e.Options)
			c := newChatter()
			for range indexed / 500 {
				x.take(b, c.batch(500, rooms)...)
			}
			x.store(b)
			var ids []string
			for i := range rooms {
				ids = append(ids, fmt.Sprintf("!%d:x", i))
			}
			for _, term := range []string{"w1", "w1 w2 w3", "w40000", "w500 w700"} {
				b.Run(fmt.Sprintf("%s/%d rooms/%s", e.Name, rooms, term), func(b *testing.B) {
					var count int
					for b.Loop() {
						a, err := x.Find(context.Background(), &Request{Query: ParseQuery(term), Rooms: ids, Kinds: Any, Limit: 500})
						if err != nil {
							b.Fatal(err)
						}
						count = a.Count
					}
					b.ReportMetric(float64(count), "matches")
				})
			}
			if err := x.Close(); err != nil {
				b.Fatal(err)
			}
		}
	}
}

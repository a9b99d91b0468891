package roomserver

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hearth/roomserver/roomapi"
)

// BenchmarkSend measures durable sends by 16 senders in 50 rooms, without HTTP.
func BenchmarkSend(b *testing.B) {
	f := newFixture(b, b.TempDir(), "", true)
	rooms := make([]string, 50)
	for i := range rooms {
		rooms[i] = do(f, roomapi.Create, roomapi.CreateRequest{Creator: alice}).RoomID
	}
	content := []byte(`{"msgtype":"m.text","body":"a message of a usual length, as people write it all day long"}`)
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for w := range 16 {
		wg.Go(func() {
			for {
				n := next.Add(1)
				if n > int64(b.N) {
					return
				}
				_, err := roomapi.Send.Do(b.Context(), f.bus, &roomapi.SendRequest{
					RoomID: rooms[n%50], Sender: alice, DeviceID: "D", TxnID: fmt.Sprint(w, "-", n), Type: "m.room.message", Content: content,
				})
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "sends/s")
}

// atOnce runs f for 0 … n-1, 32 at a time.
func atOnce(b *testing.B, n int, f func(i int) error) {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := f(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if b.Failed() {
		b.FailNow()
	}
}

// BenchmarkMessages pages back through a room of 100,000 events, 100 a page. The cost
// of a page must not depend on its place: the first and the last hundred pages are
// reported apart.
func BenchmarkMessages(b *testing.B) {
	f := newFixture(b, b.TempDir(), "", true)
	room := f.create(roomapi.CreateRequest{Creator: alice})
	atOnce(b, 100_000, func(i int) error {
		_, err := roomapi.Send.Do(b.Context(), f.bus, &roomapi.SendRequest{
			RoomID: room, Sender: alice, DeviceID: "D", TxnID: fmt.Sprint(i), Type: "m.room.message",
			Content: []byte(`{"msgtype":"m.text","body":"a message of a usual length, as people write it all day long"}`),
		})
		return err
	})
	for b.Loop() {
		req := roomapi.MessagesRequest{RoomID: room, UserID: alice, Backwards: true, Limit: 100}
		var times []time.Duration
		for {
			begin := time.Now()
			page := do(f, roomapi.Messages, req)
			times = append(times, time.Since(begin))
			if req.From = page.End; req.From.IsZero() {
				break
			}
		}
		if len(times) < 1000 {
			b.Fatalf("%d pages", len(times))
		}
		b.ReportMetric(mean(times[:100]), "ms/first-page")
		b.ReportMetric(mean(times[len(times)-100:]), "ms/last-page")
	}
}

func mean(times []time.Duration) float64 {
	sum := time.Duration(0)
	for _, t := range times {
		sum += t
	}
	return float64(sum.Microseconds()) / 1000 / float64(len(times))
}

// BenchmarkJoin joins a public room of 10,000 members, that is in memory or not.
func BenchmarkJoin(b *testing.B) {
	f := newFixture(b, b.TempDir(), "", true)
	room := f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat", Name: "Crowd"})
	join := func(i int) error {
		_, err := roomapi.Join.Do(b.Context(), f.bus, &roomapi.JoinRequest{
			RoomIDOrAlias: room, UserID: fmt.Sprintf("@u%d:test.example", i), Profile: roomapi.Profile{DisplayName: fmt.Sprint("User ", i)},
		})
		return err
	}
	atOnce(b, 10_000, join)
	next := 10_000
	one := func(b *testing.B) {
		if err := join(next); err != nil {
			b.Fatal(err)
		}
		next++
	}
	b.Run("warm", func(b *testing.B) {
		for b.Loop() {
			one(b)
		}
	})
	b.Run("cold", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			f.restart()
			b.StartTimer()
			one(b)
		}
	})
}

// BenchmarkDirectory searches a directory of 10,000 rooms: for all, for a word of few
// rooms, and for one of none.
func BenchmarkDirectory(b *testing.B) {
	f := newFixture(b, b.TempDir(), "", true)
	atOnce(b, 10_000, func(i int) error {
		_, err := roomapi.Create.Do(b.Context(), f.bus, &roomapi.CreateRequest{
			Creator: fmt.Sprintf("@u%d:test.example", i%500), Preset: "public_chat", Public: true,
			Name: fmt.Sprintf("Room %d", i), Topic: fmt.Sprintf("Where people talk about subject %d and other things", i%100),
		})
		return err
	})
	for name, term := range map[string]string{"all": "", "few": "subject 37 ", "one": "room 9876", "none": "xyzzy"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				page := do(f, roomapi.PublicRooms, roomapi.PublicRoomsRequest{Limit: 50, Term: term, AnyType: true})
				if n := len(page.Chunk); name == "all" && n != 50 || name == "few" && n != 50 || name == "one" && n != 1 || name == "none" && n != 0 {
					b.Fatalf("%d rooms", n)
				}
			}
		})
	}
}

package roomserver

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

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

package clientapi

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/roomserver/roomapi"
)

// BenchmarkSend is the cost of the gateway and net/http for one message, without
// the roomserver; cpu-µs/op counts the client of the benchmark too.
func BenchmarkSend(b *testing.B) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	bb, err := bus.Connect(ctx, bus.Options{Local: true})
	if err != nil {
		b.Fatal(err)
	}
	defer bb.Close()
	log := logrus.New()
	log.SetOutput(io.Discard)
	s, err := New(ctx, Deps{Bus: bb, ServerName: "test", DataDir: b.TempDir(), Log: logrus.NewEntry(log), Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	if err := bus.Handle(bb, roomapi.Send, func(context.Context, *roomapi.SendRequest) (*roomapi.SendResponse, error) {
		return &roomapi.SendResponse{EventID: testEvent}, nil
	}); err != nil {
		b.Fatal(err)
	}
	session, err := userapi.Register.Do(ctx, bb, &userapi.RegisterRequest{Username: "alice"})
	if err != nil {
		b.Fatal(err)
	}
	body := []byte(`{"msgtype":"m.text","body":"` + string(bytes.Repeat([]byte("hello "), 20)) + `"}`)
	request := func(url string) *http.Request {
		r, err := http.NewRequest("PUT", url+"/_matrix/client/v3/rooms/!room:test/send/m.room.message/txn", bytes.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+session.Token)
		return r
	}
	b.Run("handler", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			w := httptest.NewRecorder()
			s.ClientHandler().ServeHTTP(w, request(""))
			if w.Code != 200 {
				b.Fatal(w.Body)
			}
		}
	})
	b.Run("http", func(b *testing.B) {
		web := httptest.NewServer(s.ClientHandler())
		defer web.Close()
		before := cpu()
		b.ResetTimer()
		for range b.N {
			resp, err := http.DefaultClient.Do(request(web.URL))
			if err != nil {
				b.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-µs/op")
	})
}

func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

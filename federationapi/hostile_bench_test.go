package federationapi

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"hearth/federationapi/inbound"
	"hearth/federationapi/xmatrix"
	"hearth/internal/pdu"
)

// costly are transactions of 50 events that cost much, by kind.
func costly(o *owners) map[string]string {
	out := map[string]string{}
	add := func(kind string, event func(i int) string) {
		var list []string
		for i := range 50 {
			list = append(list, event(i))
		}
		out[kind] = `{"pdus":[` + strings.Join(list, ",") + `]}`
	}
	build := func(content string, i int) string {
		return string(o.event("11", func(t *pdu.Template) {
			t.Type, t.StateKey, t.Content, t.OriginServerTS = "m.room.message", nil, []byte(content), t.OriginServerTS-int64(i)
		}).JSON)
	}
	add("honest", func(i int) string { return build(`{"body":"hello","msgtype":"m.text"}`, i) })
	add("large", func(i int) string { return build(`{"body":"`+strings.Repeat("x", 60_000)+`"}`, i) })
	add("escapes", func(i int) string {
		return strings.Replace(build(`{"body":"`+strings.Repeat("x", 37_000)+`"}`, i), strings.Repeat("x", 37_000), strings.Repeat(`\u0078`, 37_000), 1)
	})
	var keys, reversed []string
	for k := range 3500 {
		keys = append(keys, fmt.Sprintf(`"%05d":%d`, k, k))
		reversed = append(reversed, fmt.Sprintf(`"%05d":%d`, 3500-k, 3500-k))
	}
	add("keys", func(i int) string { return build("{"+strings.Join(keys, ",")+"}", i) })
	add("keys out of order", func(i int) string {
		return strings.Replace(build(`{"a":1}`, i), `{"a":1}`, "{"+strings.Join(reversed, ",")+"}", 1)
	})
	add("nested out of order", func(i int) string {
		return strings.Replace(build(`{"a":1}`, i), `{"a":1}`, strings.Repeat(`{"b":0,"a":`, 80)+`"`+strings.Repeat("x", 55_000)+`"`+strings.Repeat("}", 80), 1)
	})
	return out
}

// processorTime is what the process has used so far.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkTransaction is the whole way of a transaction of 50 events up to the
// roomserver.
func BenchmarkTransaction(b *testing.B) {
	for _, kind := range []string{"honest", "large", "escapes", "keys", "keys out of order", "nested out of order"} {
		b.Run(kind, func(b *testing.B) {
			o := newOwners(b)
			body := costly(o)[kind]
			if len(body) > inbound.MaxBody {
				b.Fatalf("%d bytes", len(body))
			}
			n := 0
			var used time.Duration
			for b.Loop() {
				b.StopTimer()
				n++
				uri := fmt.Sprint(fedV1, "/send/", n)
				header := o.signDeep(xmatrix.Request{Method: "PUT", URI: uri, Destination: "example.org", Content: []byte(body)})
				req := httptest.NewRequest("PUT", uri, strings.NewReader(body))
				req.Header.Set("Authorization", header)
				w := httptest.NewRecorder()
				before := processorTime(b)
				b.StartTimer()
				o.server.Handler().ServeHTTP(w, req)
				if w.Code != 200 && w.Code != 401 {
					b.Fatalf("%d %s", w.Code, w.Body)
				}
				used += processorTime(b) - before
			}
			b.ReportMetric(float64(used.Microseconds())/1000/float64(n), "cpu-ms/txn")
		})
	}
}

package media

import (
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hearth/internal/store/storetest"
)

// stream is n bytes that are made while they are read.
func stream(n int64) io.Reader { return io.LimitReader(zeros{}, n) }

// transfer sends a request and throws the answer away.
func transfer(t testing.TB, method, url string, body io.Reader, size int64) int64 {
	t.Helper()
	r, err := http.NewRequest(method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = size
	r.Header.Set("Authorization", "Bearer "+alice)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("status %d, %v", resp.StatusCode, err)
	}
	return n
}

// watchHeap samples the heap until the function that it returns is called, which
// returns the peak in bytes.
func watchHeap() func() uint64 {
	var peak atomic.Uint64
	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak.Store(max(peak.Load(), m.HeapInuse))
			select {
			case <-end:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	return func() uint64 {
		close(end)
		<-done
		return peak.Load()
	}
}

// TestMemoryIsFlat moves a file that is much larger than the memory for it.
func TestMemoryIsFlat(t *testing.T) {
	const size = 256 << 20
	d := deps(t, storetest.SQLite(t))
	d.MaxUpload = size
	s := start(t, d)
	transfer(t, "POST", s.http.URL+uploadPath, strings.NewReader("warm"), 4)
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	peak := watchHeap()
	for _, announced := range []int64{size, -1} {
		transfer(t, "POST", s.http.URL+uploadPath, stream(size), announced)
	}
	list, err := s.ByUser(t.Context(), alice, nil, 10)
	if err != nil || len(list) != 3 {
		t.Fatalf("%d items, %v", len(list), err)
	}
	large := slices.IndexFunc(list, func(i *Item) bool { return i.Size == size }) // all were made in one millisecond
	uri := strings.TrimPrefix(list[large].String(), "mxc://")
	if n := transfer(t, "GET", s.http.URL+downloadPath+uri, nil, 0); n != size {
		t.Errorf("%d bytes", n)
	}
	s.mustHave(2)
	if grown := int64(peak()) - int64(before.HeapInuse); grown > 16<<20 {
		t.Errorf("the heap has grown by %d MiB", grown>>20)
	}
}

func BenchmarkTransfer(b *testing.B) {
	for name, size := range map[string]int64{"64KiB": 64 << 10, "64MiB": 64 << 20} {
		d := deps(b, storetest.SQLite(b))
		d.MaxUpload = size
		d.Log = nil
		s := start(b, d)
		b.Run("upload-"+name, func(b *testing.B) {
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				transfer(b, "POST", s.http.URL+uploadPath, stream(size), size)
			}
		})
		list, err := s.ByUser(b.Context(), alice, nil, 1)
		if err != nil || len(list) == 0 {
			b.Fatal(err)
		}
		uri := strings.TrimPrefix(list[0].String(), "mxc://")
		b.Run("download-"+name, func(b *testing.B) {
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				transfer(b, "GET", s.http.URL+downloadPath+uri, nil, 0)
			}
		})
	}
}

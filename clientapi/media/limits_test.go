package media

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/store/storetest"
)

// slow is a body that waits in the middle.
type slow struct {
	first, second io.Reader
	reached, on   chan struct{}
}

func newSlow(content string) *slow {
	half := len(content) / 2
	return &slow{strings.NewReader(content[:half]), strings.NewReader(content[half:]), make(chan struct{}), make(chan struct{})}
}

func (s *slow) Read(p []byte) (int, error) {
	if n, err := s.first.Read(p); err == nil {
		return n, nil
	}
	select {
	case <-s.reached:
	default:
		close(s.reached)
	}
	<-s.on
	return s.second.Read(p)
}

func TestTooLarge(t *testing.T) {
	s := start(t, deps(t, storetest.SQLite(t)))
	large := bytes.Repeat([]byte("x"), 1<<20+1)
	s.must(s.do("POST", uploadPath, alice, bytes.NewReader(large)), 413, "M_TOO_LARGE")
	s.must(s.do("POST", uploadPath, alice, io.MultiReader(bytes.NewReader(large))), 413, "M_TOO_LARGE")
	s.must(s.do("POST", uploadPath, alice, bytes.NewReader(large), "Content-Type", "multipart/form-data; boundary=x"), 413, "M_TOO_LARGE")
	s.mustHave(0)
	// A size that is announced is refused before anything is sent.
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.http.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 1000000000\r\n\r\n", uploadPath, alice)
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != 413 {
		t.Errorf("%v, %v", resp, err)
	}
	s.put(string(large[1:]), "text/plain", "")
}

// A client that goes away in the middle leaves nothing.
func TestAbortedUpload(t *testing.T) {
	s := start(t, deps(t, storetest.SQLite(t)))
	for _, head := range []string{"Content-Length: 1000", "Transfer-Encoding: chunked"} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.http.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n%s\r\n\r\n5\r\nhello\r\n", uploadPath, alice, head)
		eventually(t, "the upload begins", func() bool { _, d := s.onDisk(); return d == 1 })
		conn.Close()
		eventually(t, "the draft goes", func() bool { _, d := s.onDisk(); return d == 0 })
	}
	s.mustHave(0)
	if files, sum, err := s.Usage(t.Context(), alice); err != nil || files != 0 || sum != 0 {
		t.Errorf("%d files, %d bytes, %v", files, sum, err)
	}
}

func TestConcurrentUploads(t *testing.T) {
	s := start(t, deps(t, storetest.SQLite(t)))
	var bodies []*slow
	answers := make(chan answer, uploadsPerUser)
	for range uploadsPerUser {
		b := newSlow("hello world")
		bodies = append(bodies, b)
		go func() { answers <- s.do("POST", uploadPath, alice, b) }()
		<-b.reached
	}
	eventually(t, "all are at work", func() bool { _, d := s.onDisk(); return d == uploadsPerUser })
	a := s.must(s.do("POST", uploadPath, alice, strings.NewReader("x")), 429, "M_LIMIT_EXCEEDED")
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	s.must(s.do("POST", uploadPath, bob, strings.NewReader("x")), 200, "")
	for _, b := range bodies {
		close(b.on)
	}
	for range bodies {
		s.must(<-answers, 200, "")
	}
	s.put("x", "", "")
	if len(s.uploads.users) != 0 || s.uploads.inside != 0 {
		t.Errorf("%v", s.uploads.users)
	}
	s.mustHave(2)
}

func TestTurnstile(t *testing.T) {
	g := newTurnstile(2, 3)
	leave, _ := g.enter("a")
	g.enter("a")
	if _, err := g.enter("a"); merr.From(err).Status != 429 {
		t.Error(err)
	}
	g.enter("b")
	if _, err := g.enter("c"); merr.From(err).Status != 503 {
		t.Error(err)
	}
	leave()
	if _, err := g.enter("c"); err != nil {
		t.Error(err)
	}
}

func TestQuota(t *testing.T) {
	each(t, func(d *Deps) { d.UserFiles, d.UserBytes = 3, 100 }, func(t *testing.T, s *server) {
		first := s.put(strings.Repeat("a", 60), "", "")
		body := strings.Repeat("b", 41)
		s.must(s.do("POST", uploadPath, alice, strings.NewReader(body)), 403, "M_FORBIDDEN")
		s.must(s.do("POST", uploadPath, alice, io.MultiReader(strings.NewReader(body))), 403, "M_FORBIDDEN")
		s.mustHave(1)
		s.must(s.do("POST", uploadPath, bob, strings.NewReader(body)), 200, "")
		s.put(strings.Repeat("a", 40), "", "")
		s.put("", "", "")
		s.must(s.do("POST", uploadPath, alice, strings.NewReader("")), 403, "M_FORBIDDEN")
		if err := s.Delete(t.Context(), mxc(t, first)); err != nil {
			t.Fatal(err)
		}
		if files, sum, err := s.Usage(t.Context(), alice); err != nil || files != 2 || sum != 40 {
			t.Errorf("%d files, %d bytes, %v", files, sum, err)
		}
		s.put(strings.Repeat("c", 60), "", "")
	})
}

func createURI(s *server, user string) string {
	s.t.Helper()
	a := s.must(s.do("POST", "/_matrix/media/v1/create", user, nil), 200, "")
	return strings.TrimPrefix(a.text("content_uri"), "mxc://")
}

func TestCreate(t *testing.T) {
	each(t, nil, func(t *testing.T, s *server) {
		a := s.must(s.do("POST", "/_matrix/media/v1/create", alice, strings.NewReader("{}")), 200, "")
		if !strings.Contains(string(a.body), fmt.Sprintf(`"unused_expires_at":%d`, s.now.now().Add(pendingLifetime).UnixMilli())) {
			t.Errorf("%s", a.body)
		}
		uri := strings.TrimPrefix(a.text("content_uri"), "mxc://")
		s.must(s.get(downloadPath+uri+"?timeout_ms=0"), 504, "M_NOT_YET_UPLOADED")
		s.must(s.get(thumbPath+uri+"?width=1&height=1&timeout_ms=10"), 504, "M_NOT_YET_UPLOADED")
		s.must(s.get(downloadPath+uri+"?timeout_ms=-1"), 400, "M_INVALID_PARAM")
		s.must(s.get(downloadPath+uri+"?timeout_ms=x"), 400, "M_INVALID_PARAM")

		put := func(uri, user string) answer {
			return s.do("PUT", uploadPath+"/"+uri+"?filename=n.txt", user, strings.NewReader("late"), "Content-Type", "text/plain")
		}
		s.must(put(uri, bob), 403, "M_FORBIDDEN")
		s.must(put("example.org/"+strings.TrimPrefix(uri, "test/"), alice), 404, "M_NOT_FOUND")
		s.must(put("test/unknown", alice), 404, "M_NOT_FOUND")
		waiter := make(chan answer, 1)
		go func() { waiter <- s.get(downloadPath + uri) }()
		eventually(t, "a request waits", func() bool { s.waiting.mu.Lock(); defer s.waiting.mu.Unlock(); return s.waiting.n == 1 })
		if a := s.must(put(uri, alice), 200, ""); string(a.body) != "{}" {
			t.Errorf("%s", a.body)
		}
		if a := s.must(<-waiter, 200, ""); string(a.body) != "late" || a.header.Get("Content-Disposition") != `inline; filename="n.txt"` {
			t.Errorf("%q %v", a.body, a.header)
		}
		eventually(t, "nobody waits", func() bool { s.waiting.mu.Lock(); defer s.waiting.mu.Unlock(); return s.waiting.n == 0 })
		s.must(put(uri, alice), 409, "M_CANNOT_OVERWRITE_MEDIA")
		s.must(put(uri, bob), 403, "M_FORBIDDEN")
		s.must(put(s.put("there", "", ""), alice), 409, "M_CANNOT_OVERWRITE_MEDIA")

		// Two uploads at the same time: one of them is stored.
		uri = createURI(s, alice)
		b := newSlow("slow and steady")
		done := make(chan answer, 1)
		go func() { done <- s.do("PUT", uploadPath+"/"+uri, alice, b) }()
		<-b.reached
		s.must(put(uri, alice), 200, "")
		close(b.on)
		s.must(<-done, 409, "M_CANNOT_OVERWRITE_MEDIA")
		s.must(s.get(downloadPath+uri), 200, "")
		s.mustHave(2)
	})
}

func TestPendingAreLimitedAndExpire(t *testing.T) {
	each(t, nil, func(t *testing.T, s *server) {
		first := createURI(s, alice)
		s.now.add(time.Hour)
		for range pendingPerUser - 1 {
			createURI(s, alice)
		}
		a := s.must(s.do("POST", "/_matrix/media/v1/create", alice, nil), 429, "M_LIMIT_EXCEEDED")
		if a.header.Get("Retry-After") != fmt.Sprint(23*3600) {
			t.Errorf("Retry-After %s", a.header.Get("Retry-After"))
		}
		createURI(s, bob)
		s.now.add(23 * time.Hour)
		s.must(s.do("PUT", uploadPath+"/"+first, alice, strings.NewReader("x")), 404, "M_NOT_FOUND")
		s.must(s.get(downloadPath+first), 404, "M_NOT_FOUND")
		last := createURI(s, alice)
		s.must(s.do("PUT", uploadPath+"/"+last, alice, strings.NewReader("x")), 200, "")
		s.now.add(25 * time.Hour)
		if err := s.expire(t.Context()); err != nil {
			t.Fatal(err)
		}
		list, err := s.ByUser(t.Context(), alice, nil, 100)
		if err != nil || len(list) != 1 || list[0].String() != "mxc://"+last {
			t.Errorf("%d items, %v", len(list), err)
		}
		s.must(s.get(downloadPath+last), 200, "")
		s.mustHave(1)
	})
}

// Requests that wait for an upload do not hold the server up.
func TestWaitingEndsWithRun(t *testing.T) {
	s := start(t, deps(t, storetest.SQLite(t)))
	uri := createURI(s, alice)
	done := make(chan answer, 1)
	go func() { done <- s.get(downloadPath + uri + "?timeout_ms=60000") }()
	eventually(t, "a request waits", func() bool { s.waiting.mu.Lock(); defer s.waiting.mu.Unlock(); return s.waiting.n == 1 })
	s.end()
	if a := <-done; a.status != 503 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// Guests may look, and no more (client-server API, "Guest Access").
func TestGuests(t *testing.T) {
	s := start(t, deps(t, storetest.SQLite(t)))
	routes := s.Routes(func(*matrixhttp.Request) error { return merr.Forbidden("no guests") }, byToken)
	mux, err := matrixhttp.New(matrixhttp.Options{Routes: routes})
	if err != nil {
		t.Fatal(err)
	}
	uri := s.put("x", "", "")
	guests := *s
	guests.http = httptest.NewServer(mux)
	defer guests.http.Close()
	for _, path := range []string{downloadPath + uri, downloadPath + uri + "/name", oldPath + uri} {
		guests.must(guests.get(path), 200, "")
	}
	guests.must(guests.get(thumbPath+uri+"?width=1&height=1"), 400, "M_UNKNOWN")
	for _, path := range []string{"/_matrix/client/v1/media/config", "/_matrix/client/v1/media/preview_url", "/_matrix/media/v3/config"} {
		guests.must(guests.get(path), 403, "M_FORBIDDEN")
	}
	guests.must(guests.do("POST", uploadPath, alice, strings.NewReader("x")), 403, "M_FORBIDDEN")
	guests.must(guests.do("POST", "/_matrix/media/v1/create", alice, nil), 403, "M_FORBIDDEN")
	guests.must(guests.do("PUT", uploadPath+"/"+uri, alice, strings.NewReader("x")), 403, "M_FORBIDDEN")
}

package media

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"hearth/internal/merr"
	"hearth/internal/store/storetest"
)

func TestByUser(t *testing.T) {
	each(t, nil, func(t *testing.T, s *server) {
		var want []string
		for i := range 7 {
			want = append(want, "mxc://"+s.put(fmt.Sprint(i), "text/plain", "?filename=f"))
			if i%2 == 1 {
				s.now.add(time.Second)
			}
		}
		s.must(s.do("POST", uploadPath, bob, strings.NewReader("bob's")), 200, "")
		got := map[string]bool{}
		var last *Item
		for {
			page, err := s.ByUser(t.Context(), alice, last, 3)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range page {
				if last != nil && i.Created < last.Created || i.UserID != alice || i.Size != 1 || i.FileName != "f" || i.ContentType != "text/plain" {
					t.Errorf("%+v", i)
				}
				got[i.String()] = true
				last = i
			}
			if len(page) < 3 {
				break
			}
		}
		if len(got) != len(want) {
			t.Errorf("%d of %d", len(got), len(want))
		}
		for _, uri := range want {
			if !got[uri] {
				t.Errorf("%s is not in the list", uri)
			}
		}
	})
}

func TestQuarantine(t *testing.T) {
	each(t, nil, func(t *testing.T, s *server) {
		picture := string(asPNG(t, 400, 300))
		uri, twin, other := s.put(picture, "image/png", ""), s.put(picture, "image/png", ""), s.put("other", "", "")
		small := "?width=32&height=32&method=crop"
		s.must(s.get(thumbPath+uri+small), 200, "")
		if err := s.Quarantine(t.Context(), mxc(t, uri), true); err != nil {
			t.Fatal(err)
		}
		later := s.put(picture, "image/png", "")
		created := createURI(s, alice)
		s.must(s.do("PUT", uploadPath+"/"+created, alice, strings.NewReader(picture)), 200, "")
		for _, hidden := range []string{uri, twin, later, created} {
			s.must(s.get(downloadPath+hidden), 404, "M_NOT_FOUND")
			s.must(s.get(oldPath+hidden), 404, "M_NOT_FOUND")
			s.must(s.get(thumbPath+hidden+small), 404, "M_NOT_FOUND")
		}
		s.must(s.get(downloadPath+other), 200, "")
		if i, err := s.Get(t.Context(), mxc(t, uri)); err != nil || !i.Quarantined {
			t.Errorf("%+v, %v", i, err)
		}
		if err := s.Quarantine(t.Context(), mxc(t, later), false); err != nil {
			t.Fatal(err)
		}
		for _, shown := range []string{uri, twin, later, created} {
			s.must(s.get(downloadPath+shown), 200, "")
		}
		if err := s.Quarantine(t.Context(), MXC{Origin: "test", ID: "unknown"}, true); merr.From(err).Status != 404 {
			t.Error(err)
		}
		pending := createURI(s, alice)
		if err := s.Quarantine(t.Context(), mxc(t, pending), true); err != nil {
			t.Fatal(err)
		}
	})
}

func TestDeleteTakesThumbnails(t *testing.T) {
	each(t, nil, func(t *testing.T, s *server) {
		picture := string(asPNG(t, 700, 500))
		uri, twin := s.put(picture, "image/png", ""), s.put(picture, "image/png", "")
		for _, q := range []string{"?width=32&height=32&method=crop", "?width=320&height=240", "?width=640&height=480"} {
			s.must(s.get(thumbPath+uri+q), 200, "")
		}
		s.mustHave(4)
		if err := s.Delete(t.Context(), mxc(t, uri)); err != nil {
			t.Fatal(err)
		}
		s.mustHave(4)
		if err := s.Delete(t.Context(), mxc(t, twin)); err != nil {
			t.Fatal(err)
		}
		s.mustHave(0)
	})
}

func TestSweep(t *testing.T) {
	each(t, nil, func(t *testing.T, s *server) {
		kept := s.put("kept", "", "")
		root := filepath.Join(s.options.DataDir, "media", "files")
		for i := range 300 {
			name := fmt.Sprintf("%062x", i)
			if err := os.WriteFile(filepath.Join(root, fmt.Sprintf("%02x", i%256), name), []byte("orphan"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(root, "00", "lost+found"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if n, err := s.Sweep(t.Context()); err != nil || n != 300 {
			t.Errorf("%d removed, %v", n, err)
		}
		s.mustHave(2)
		s.must(s.get(downloadPath+kept), 200, "")
	})
}

// A start removes drafts and orphans without being asked.
func TestStartCleans(t *testing.T) {
	d := deps(t, storetest.SQLite(t))
	s := start(t, d)
	uri := s.put("kept", "", "")
	s.end()
	root := filepath.Join(d.DataDir, "media")
	for _, name := range []string{"tmp/12345", "files/ab/" + strings.Repeat("cd", 31)} {
		if err := os.WriteFile(filepath.Join(root, name), []byte("left"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = start(t, d)
	eventually(t, "only what is needed is there", func() bool { f, d := s.onDisk(); return f == 1 && d == 0 })
	s.must(s.get(downloadPath+uri), 200, "")
}

// fakeRemote is another server.
type fakeRemote struct {
	calls atomic.Int32
	gate  chan struct{}
}

func (f *fakeRemote) Download(_ context.Context, server, id string, _ time.Duration) (*RemoteFile, error) {
	f.calls.Add(1)
	if f.gate != nil {
		<-f.gate
	}
	r := &RemoteFile{Size: -1, ContentType: "text/plain\r\nX-Evil: 1", FileName: "../a\x00b.txt"}
	switch id {
	case "good":
		r.Body = io.NopCloser(strings.NewReader("from " + server))
	case "announced":
		r.Body, r.Size = io.NopCloser(strings.NewReader("x")), 1<<40
	case "endless":
		r.Body = io.NopCloser(zeros{})
	case "cut":
		r.Body, r.Size = io.NopCloser(strings.NewReader("short")), 10
	case "broken":
		r.Body = io.NopCloser(io.MultiReader(strings.NewReader("x"), iotest.ErrReader(io.ErrUnexpectedEOF)))
	case "big":
		r.Body = io.NopCloser(bytes.NewReader(make([]byte, 60)))
	case "huge":
		r.Body = io.NopCloser(bytes.NewReader(hugePNG(30_000, 30_000)))
	default:
		return nil, merr.NotFound("no such file")
	}
	return r, nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestRemote(t *testing.T) {
	remote := &fakeRemote{}
	each(t, func(d *Deps) { d.Remote, remote = &fakeRemote{}, nil }, func(t *testing.T, s *server) {
		remote = s.options.Remote.(*fakeRemote)
		remote.gate = make(chan struct{})
		answers := make(chan answer, 5)
		for range 5 {
			go func() { answers <- s.get(downloadPath + "example.org/good") }()
		}
		eventually(t, "a fetch begins", func() bool { return remote.calls.Load() == 1 })
		time.Sleep(20 * time.Millisecond)
		close(remote.gate)
		for range 5 {
			a := s.must(<-answers, 200, "")
			if string(a.body) != "from example.org" || a.header.Get("Content-Disposition") != `attachment; filename=".._ab.txt"` ||
				a.header.Get("Content-Type") != "application/octet-stream" || a.header.Get("X-Evil") != "" {
				t.Errorf("%q %v", a.body, a.header)
			}
		}
		s.must(s.get(downloadPath+"example.org/good"), 200, "")
		if n := remote.calls.Load(); n > 2 { // one, unless a request came after the first fetch had ended
			t.Errorf("fetched %d times", n)
		}
		for id, want := range map[string]struct {
			status int
			code   string
		}{
			"unknown": {404, "M_NOT_FOUND"}, "announced": {502, "M_TOO_LARGE"}, "endless": {502, "M_TOO_LARGE"},
			"cut": {502, "M_UNKNOWN"}, "broken": {502, "M_UNKNOWN"},
		} {
			s.must(s.get(downloadPath+"example.org/"+id), want.status, want.code)
		}
		s.mustHave(1)
		s.must(s.get(thumbPath+"example.org/huge?width=1&height=1"), 502, "M_TOO_LARGE")
		s.must(s.get(oldPath+"example.org/new?allow_remote=false"), 404, "M_NOT_FOUND")
		s.must(s.get(oldPath+"example.org/good?allow_remote=false"), 200, "")
		// Copies expire.
		s.now.add(remoteLifetime)
		if err := s.expire(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.mustHave(0)
	})
}

func TestCacheIsBounded(t *testing.T) {
	each(t, func(d *Deps) { d.Remote, d.CacheBytes = &fakeRemote{}, 130 }, func(t *testing.T, s *server) {
		mine := s.put(strings.Repeat("m", 500), "", "")
		for i := range 4 { // 60 bytes each
			s.must(s.get(downloadPath+fmt.Sprintf("s%d.example.org/big", i)), 200, "")
			s.now.add(time.Second)
		}
		eventually(t, "only what has room is there", func() bool {
			_, sum, err := s.Usage(t.Context(), "")
			return err == nil && sum == 120
		})
		_, err0 := s.Get(t.Context(), MXC{Origin: "s0.example.org", ID: "big"})
		_, err3 := s.Get(t.Context(), MXC{Origin: "s3.example.org", ID: "big"})
		if merr.From(err0).Status != 404 || err3 != nil {
			t.Errorf("the first: %v, the last: %v", err0, err3)
		}
		s.must(s.get(downloadPath+mine), 200, "")
	})
}

func TestNoRemote(t *testing.T) {
	s := start(t, deps(t, storetest.SQLite(t)))
	s.must(s.get(downloadPath+"example.org/good"), 404, "M_NOT_FOUND")
	var known *merr.Error
	if _, err := s.Get(t.Context(), MXC{Origin: "example.org", ID: "good"}); !errors.As(err, &known) {
		t.Error(err)
	}
}

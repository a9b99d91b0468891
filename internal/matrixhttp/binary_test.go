package matrixhttp

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hearth/internal/merr"
)

func binaryServer(t *testing.T, routes []Route) *httptest.Server {
	t.Helper()
	m, err := New(Options{Routes: routes, CORS: []string{"/"}})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(m)
	t.Cleanup(s.Close)
	return s
}

func TestServe(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<20) // 16 MiB: more than one part
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	s := binaryServer(t, []Route{
		{Method: "GET", Path: "/file", Handle: func(*Request) (any, error) {
			return Serve(func(w http.ResponseWriter, r *http.Request) error {
				f, err := os.Open(name)
				if err != nil {
					return err
				}
				defer f.Close()
				w.Header().Set("Content-Type", "image/png")
				w.Header().Set("ETag", `"x"`)
				http.ServeContent(w, r, "", time.Time{}, f)
				return nil
			}), nil
		}},
		{Method: "GET", Path: "/early", Handle: func(*Request) (any, error) {
			return Serve(func(w http.ResponseWriter, _ *http.Request) error {
				w.Header().Set("Content-Type", "image/png")
				return merr.NotFound("no")
			}), nil
		}},
		{Method: "GET", Path: "/late", Handle: func(*Request) (any, error) {
			return Serve(func(w http.ResponseWriter, _ *http.Request) error {
				w.Header().Set("Content-Length", "10")
				io.WriteString(w, "12345")
				return errors.New("the disk is gone")
			}), nil
		}},
	})
	get := func(path, header, value string) (*http.Response, []byte, error) {
		r, _ := http.NewRequest("GET", s.URL+path, nil)
		r.Header.Set(header, value)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return nil, nil, err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return resp, body, err
	}
	resp, body, err := get("/file", "X", "")
	if err != nil || !bytes.Equal(body, content) || resp.Header.Get("Content-Type") != "image/png" || resp.ContentLength != 16<<20 {
		t.Errorf("whole: %v, %d bytes, %v", err, len(body), resp.Header)
	}
	resp, body, err = get("/file", "Range", "bytes=5000000-5000015")
	if err != nil || resp.StatusCode != 206 || string(body) != "0123456789abcdef" {
		t.Errorf("range: %v %d %q", err, resp.StatusCode, body)
	}
	if resp, _, err = get("/file", "If-None-Match", `"x"`); err != nil || resp.StatusCode != 304 {
		t.Errorf("condition: %v %d", err, resp.StatusCode)
	}
	resp, body, err = get("/early", "X", "")
	if err != nil || resp.StatusCode != 404 || resp.Header.Get("Content-Type") != "application/json" ||
		!strings.Contains(string(body), "M_NOT_FOUND") || resp.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("early error: %v %d %s %v", err, resp.StatusCode, body, resp.Header)
	}
	if _, body, err = get("/late", "X", ""); err == nil {
		t.Errorf("a cut answer is taken for a whole one: %q", body)
	}
}

func TestStreamedBody(t *testing.T) {
	var got int64
	var failed error
	s := binaryServer(t, []Route{{Method: "POST", Path: "/in", Body: Body{Max: 1000}, Handle: func(r *Request) (any, error) {
		src, err := r.Stream()
		if err != nil {
			got, failed = -1, err
			return nil, err
		}
		got, failed = io.Copy(io.Discard, src)
		return nil, failed
	}}})
	for _, c := range []struct {
		size, read int64
		chunked    bool
		status     int
	}{
		{0, 0, false, 200}, {1000, 1000, false, 200}, {1000, 1000, true, 200}, {1001, -1, false, 413}, {5000, 0, true, 413},
	} {
		var body io.Reader = strings.NewReader(strings.Repeat("x", int(c.size)))
		if c.chunked {
			body = io.MultiReader(body) // hides the length
		}
		resp, err := http.Post(s.URL+"/in", "text/plain", body)
		if err != nil {
			t.Fatal(err)
		}
		answer, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != c.status || c.status == 413 && !strings.Contains(string(answer), "M_TOO_LARGE") {
			t.Errorf("%+v: %d %s", c, resp.StatusCode, answer)
		}
		if c.status == 200 && got != c.read || c.status == 413 && (failed == nil || got > 1000) {
			t.Errorf("%+v: read %d, %v", c, got, failed)
		}
	}
}

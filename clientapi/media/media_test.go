package media

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/store/storetest"
)

// server is a content repository behind HTTP. The access token of a user is the
// user id.
type server struct {
	*Server
	t    testing.TB
	http *httptest.Server
	now  *clock
	end  func()
}

type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func byToken(r *matrixhttp.Request) error {
	token, _ := strings.CutPrefix(r.HTTP.Header.Get("Authorization"), "Bearer ")
	switch {
	case token == "":
		return merr.MissingToken()
	case !strings.HasPrefix(token, "@"):
		return merr.UnknownToken(false)
	}
	r.Identity.UserID = token
	return nil
}

// deps are those of a server with a database of its own.
func deps(t testing.TB, e storetest.Engine) Deps {
	log := logrus.New()
	log.SetOutput(t.Output())
	d := Deps{ServerName: "test", DataDir: e.Options.DataDir, DatabaseURL: e.Options.URL, Log: logrus.NewEntry(log), MaxUpload: 1 << 20}
	if d.DataDir == "" {
		d.DataDir = t.TempDir()
	}
	return d
}

func start(t testing.TB, d Deps) *server {
	t.Helper()
	s := &server{t: t, now: &clock{at: time.UnixMilli(1_700_000_000_000)}}
	d.Now = s.now.now
	var err error
	if s.Server, err = New(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	mux, err := matrixhttp.New(matrixhttp.Options{Routes: s.Routes(byToken, byToken), Log: d.Log, CORS: []string{"/_matrix/"}})
	if err != nil {
		t.Fatal(err)
	}
	s.http = httptest.NewServer(mux)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	s.end = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		s.http.Close()
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	t.Cleanup(s.end)
	return s
}

// each runs a test on both engines.
func each(t *testing.T, change func(d *Deps), test func(t *testing.T, s *server)) {
	storetest.EachEngine(t, func(t *testing.T, e storetest.Engine) {
		d := deps(t, e)
		if change != nil {
			change(&d)
		}
		test(t, start(t, d))
	})
}

const alice, bob = "@alice:test", "@bob:test"

type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) text(key string) string {
	var m map[string]any
	_ = json.Unmarshal(a.body, &m)
	s, _ := m[key].(string)
	return s
}

// do sends a request; pairs are headers.
func (s *server) do(method, path, user string, body io.Reader, pairs ...string) answer {
	s.t.Helper()
	r, err := http.NewRequest(method, s.http.URL+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	if user != "" {
		r.Header.Set("Authorization", "Bearer "+user)
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		r.Header.Set(pairs[i], pairs[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, all}
}

func (s *server) get(path string, pairs ...string) answer {
	s.t.Helper()
	return s.do("GET", path, alice, nil, pairs...)
}

// must checks the status, and the errcode if there is one.
func (s *server) must(a answer, status int, code string) answer {
	s.t.Helper()
	if a.status != status || a.text("errcode") != code {
		s.t.Fatalf("got %d %.200s, want %d %s", a.status, a.body, status, code)
	}
	return a
}

const (
	uploadPath   = "/_matrix/media/v3/upload"
	downloadPath = "/_matrix/client/v1/media/download/"
	thumbPath    = "/_matrix/client/v1/media/thumbnail/"
	oldPath      = "/_matrix/media/v3/download/"
)

// put uploads content of alice and returns the URI without the scheme.
func (s *server) put(content, contentType, query string) string {
	s.t.Helper()
	a := s.must(s.do("POST", uploadPath+query, alice, strings.NewReader(content), "Content-Type", contentType), 200, "")
	uri := a.text("content_uri")
	if x, err := ParseMXC(uri); err != nil || x.Origin != "test" || len(x.ID) < 24 {
		s.t.Fatalf("URI %q: %v", uri, err)
	}
	return strings.TrimPrefix(uri, "mxc://")
}

// onDisk counts files and drafts.
func (s *server) onDisk() (files, drafts int) {
	s.t.Helper()
	root := filepath.Join(s.options.DataDir, "media")
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if strings.HasPrefix(path, filepath.Join(root, "tmp")) {
			drafts++
		} else {
			files++
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return files, drafts
}

func (s *server) mustHave(files int) {
	s.t.Helper()
	if f, d := s.onDisk(); f != files || d != 0 {
		s.t.Errorf("%d files and %d drafts, want %d files", f, d, files)
	}
}

func mxc(t testing.TB, uri string) MXC {
	t.Helper()
	x, err := ParseMXC("mxc://" + uri)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// eventually waits for what happens in the background.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for range 500 {
		if f() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("not within 5 s: %s", what)
}

func TestUploadAndDownload(t *testing.T) {
	each(t, nil, func(t *testing.T, s *server) {
		content := strings.Repeat("all that glitters ", 40_000)
		uri := s.put(content, "text/plain; charset=UTF-8", "?filename=gold.txt")
		a := s.must(s.get(downloadPath+uri), 200, "")
		if string(a.body) != content {
			t.Errorf("%d bytes", len(a.body))
		}
		for name, want := range map[string]string{
			"Content-Type": "text/plain; charset=UTF-8", "Content-Disposition": `inline; filename="gold.txt"`,
			"Content-Security-Policy": "sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf; style-src 'unsafe-inline'; object-src 'self';",
			"X-Content-Type-Options":  "nosniff", "Cross-Origin-Resource-Policy": "cross-origin",
			"Access-Control-Allow-Origin": "*", "Accept-Ranges": "bytes",
		} {
			if got := a.header.Get(name); got != want {
				t.Errorf("%s: %q", name, got)
			}
		}
		if !strings.HasPrefix(a.header.Get("Cache-Control"), "private") {
			t.Errorf("Cache-Control: %q", a.header.Get("Cache-Control"))
		}
		if a := s.must(s.get(downloadPath+uri+"/other%20name.txt"), 200, ""); a.header.Get("Content-Disposition") != `inline; filename="other name.txt"` {
			t.Error(a.header)
		}
		// Ranges and conditions.
		part := s.get(downloadPath+uri, "Range", "bytes=4-8")
		if part.status != 206 || string(part.body) != content[4:9] || part.header.Get("Content-Disposition") == "" {
			t.Errorf("range: %d %q", part.status, part.body)
		}
		if a := s.get(downloadPath+uri, "If-None-Match", a.header.Get("ETag")); a.status != 304 || len(a.body) != 0 {
			t.Errorf("condition: %d", a.status)
		}
		if a := s.get(downloadPath+uri, "Range", "bytes=99999999-"); a.status != 416 {
			t.Errorf("range beyond the end: %d", a.status)
		}
		empty := s.put("", "", "")
		a = s.must(s.get(downloadPath+empty), 200, "")
		if len(a.body) != 0 || a.header.Get("Content-Type") != "application/octet-stream" || a.header.Get("Content-Disposition") != "attachment" {
			t.Errorf("%v %q", a.header, a.body)
		}
		var size struct {
			N int64 `json:"m.upload.size"`
		}
		for _, path := range []string{"/_matrix/client/v1/media/config", "/_matrix/media/r0/config"} {
			if err := json.Unmarshal(s.must(s.get(path), 200, "").body, &size); err != nil || size.N != 1<<20 {
				t.Errorf("config: %+v, %v", size, err)
			}
		}
	})
}

// The endpoints without authentication were frozen before the first upload.
func TestFrozen(t *testing.T) {
	s := start(t, deps(t, storetest.SQLite(t)))
	uri := s.put("secret", "text/plain", "")
	thumb := "/_matrix/media/v3/thumbnail/" + uri + "?width=1&height=1"
	for _, path := range []string{oldPath + uri, "/_matrix/media/r0/download/" + uri + "/name", thumb} {
		for _, user := range []string{"", "wrong"} {
			s.must(s.do("GET", path, user, nil), 404, "M_NOT_FOUND")
		}
	}
	if a := s.must(s.get(oldPath+uri), 200, ""); string(a.body) != "secret" {
		t.Errorf("%q", a.body)
	}
	s.must(s.get(thumb), 400, "M_UNKNOWN")
	for _, path := range []string{downloadPath + uri, thumbPath + uri, "/_matrix/client/v1/media/config", "/_matrix/client/v1/media/preview_url", "/_matrix/media/v3/config"} {
		s.must(s.do("GET", path, "", nil), 401, "M_MISSING_TOKEN")
		s.must(s.do("GET", path, "wrong", nil), 401, "M_UNKNOWN_TOKEN")
	}
	for _, path := range []string{uploadPath, "/_matrix/media/v1/create"} {
		s.must(s.do("POST", path, "", strings.NewReader("x")), 401, "M_MISSING_TOKEN")
	}
	s.must(s.get("/_matrix/client/v1/media/preview_url?url=http://example.org"), 404, "M_UNRECOGNIZED")
}

// What browsers could take for a page of ours is for saving only.
func TestTypes(t *testing.T) {
	s := start(t, deps(t, storetest.SQLite(t)))
	for given, want := range map[string]string{
		"image/png": "inline", "IMAGE/PNG": "inline", "video/mp4; codecs=avc1": "inline", "text/html": "attachment",
		"TEXT/HTML; x": "attachment", "image/svg+xml": "attachment", "application/xhtml+xml": "attachment",
		"image/png, text/html": "attachment", "image/png;": "inline", "text/html;image/png": "attachment",
		"nonsense": "attachment", "multipart/form-data; boundary=x": "attachment", "image/png; a=1; a=2": "attachment",
	} {
		a := s.must(s.get(downloadPath+s.put("<script>alert(1)</script>", given, "")), 200, "")
		if got := a.header.Get("Content-Disposition"); got != want {
			t.Errorf("%s: %s", given, got)
		}
		if a.header.Get("X-Content-Type-Options") != "nosniff" || !strings.HasPrefix(a.header.Get("Content-Security-Policy"), "sandbox;") {
			t.Errorf("%s: %v", given, a.header)
		}
	}
}

func TestBadURIs(t *testing.T) {
	s := start(t, deps(t, storetest.SQLite(t)))
	uri := s.put("x", "text/plain", "")
	if err := os.WriteFile(filepath.Join(s.options.DataDir, "canary"), []byte("canary"), 0o600); err != nil {
		t.Fatal(err)
	}
	id := strings.TrimPrefix(uri, "test/")
	for _, path := range []string{
		"matrix.org%2F../" + id, "test/..%2F" + id, "test/GerZ%2F..", "test/..%2f..%2fcanary", "..%2f/canary", "test/a.b",
		"test/%C3%A4", "te st/" + "x", "test%0a/" + id, "/" + id, "test/" + strings.Repeat("a", 256), "test/nothing", "Test/" + id,
		"[::1/" + id, "example.org/" + id,
	} {
		path = strings.ReplaceAll(path, " ", "%20")
		for _, prefix := range []string{downloadPath, thumbPath, oldPath} {
			a := s.get(prefix + path + "?width=1&height=1")
			if a.status != 404 {
				t.Errorf("%s: %d %.100s", path, a.status, a.body)
			}
		}
		a := s.do("PUT", uploadPath+"/"+path, alice, strings.NewReader("x"))
		if a.status != 404 {
			t.Errorf("PUT %s: %d %.100s", path, a.status, a.body)
		}
	}
	for _, path := range []string{"test/%00", "test/%ff", "%00/" + id} {
		s.must(s.get(downloadPath+path), 400, "M_INVALID_PARAM")
	}
	for _, path := range []string{"test/..", "test/%2e%2e", "../" + id} {
		a := s.get(downloadPath + path)
		if a.status != 404 {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	s.mustHave(1)
	for _, uri := range []string{"", "mxc:", "mxc://", "mxc://test", "mxc://test/", "mxc:///x", "http://test/x", "mxc://test/a/b", "mxc://te/st/x", "mxc://test/é"} {
		if x, err := ParseMXC(uri); err == nil {
			t.Errorf("%q is read as %v", uri, x)
		}
	}
}

func TestSameContentOnce(t *testing.T) {
	each(t, nil, func(t *testing.T, s *server) {
		var uris []string
		var mu sync.Mutex
		var wg sync.WaitGroup
		for range uploadsPerUser {
			wg.Go(func() {
				uri := s.put("the same", "text/plain", "")
				mu.Lock()
				defer mu.Unlock()
				uris = append(uris, uri)
			})
		}
		wg.Wait()
		s.mustHave(1)
		for i, uri := range uris {
			s.must(s.get(downloadPath+uri), 200, "")
			if err := s.Delete(t.Context(), mxc(t, uri)); err != nil {
				t.Fatal(err)
			}
			s.must(s.get(downloadPath+uri), 404, "M_NOT_FOUND")
			if i < len(uris)-1 {
				s.mustHave(1)
			}
		}
		s.mustHave(0)
		if err := s.Delete(t.Context(), mxc(t, uris[0])); merr.From(err).Status != 404 {
			t.Errorf("deleted twice: %v", err)
		}
	})
}

// Uploads and removals of the same content at the same time: what was acknowledged
// and not removed is there.
func TestUploadAgainstDelete(t *testing.T) {
	each(t, nil, func(t *testing.T, s *server) {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 25 {
					uri := s.put("contended", "text/plain", "")
					if a := s.get(downloadPath + uri); a.status != 200 || !bytes.Equal(a.body, []byte("contended")) {
						t.Errorf("%d %s", a.status, a.body)
					}
					if err := s.Delete(t.Context(), mxc(t, uri)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		s.mustHave(0)
	})
}

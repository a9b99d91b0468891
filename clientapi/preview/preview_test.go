package preview

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hearth/internal/merr"
	"hearth/internal/safedial"
)

// album keeps what begins with "image".
type album struct {
	mu   sync.Mutex
	kept []string
}

func (a *album) Keep(_ context.Context, src io.Reader, _ int64) (*Image, error) {
	body, err := io.ReadAll(src)
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(body, []byte("image")) {
		return nil, errors.New("no image")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.kept = append(a.kept, string(body[:min(len(body), 20)]))
	return &Image{URI: "mxc://test/abc", ContentType: "image/png", Width: 4, Height: 3, Size: int64(len(body))}, nil
}

// web is a Previewer and a web server that it may connect to.
type web struct {
	*Previewer
	t     *testing.T
	url   string
	hits  atomic.Int32
	pages map[string]func(w http.ResponseWriter, r *http.Request)
	album album
	mu    sync.Mutex
	now   time.Time
}

func newWeb(t *testing.T, allow ...string) *web {
	t.Helper()
	w := &web{t: t, now: time.UnixMilli(1_700_000_000_000), pages: map[string]func(http.ResponseWriter, *http.Request){}}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.hits.Add(1)
		page := w.pages[r.URL.Path]
		if page == nil {
			http.NotFound(rw, r)
			return
		}
		page(rw, r)
	}))
	t.Cleanup(server.Close)
	w.url = server.URL
	networks, err := safedial.Parse(allow)
	if err != nil {
		t.Fatal(err)
	}
	dialer, err := safedial.New(nil, networks)
	if err != nil {
		t.Fatal(err)
	}
	w.Previewer = New(Deps{Dialer: dialer, Images: &w.album, Now: func() time.Time {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.now
	}})
	return w
}

func (w *web) add(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// html serves a page.
func (w *web) html(path, body string) {
	w.pages[path] = func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(rw, body)
	}
}

func (w *web) preview(path string) map[string]any {
	w.t.Helper()
	body, err := w.Get(w.t.Context(), w.url+path)
	if err != nil {
		w.t.Fatalf("%s: %v", path, err)
	}
	var m map[string]any
	if err := json.Unmarshal(body, &m); err != nil {
		w.t.Fatal(err)
	}
	return m
}

func (w *web) refuse(url string, status int, code string) {
	w.t.Helper()
	_, err := w.Get(w.t.Context(), url)
	if e := merr.From(err); e == nil || e.Status != status || e.Code != code {
		w.t.Errorf("%s: %v, want %d %s", url, err, status, code)
	}
}

func same(t *testing.T, got map[string]any, want string) {
	t.Helper()
	text, _ := json.Marshal(got)
	if string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
}

func TestPages(t *testing.T) {
	w := newWeb(t, "127.0.0.0/8")
	w.html("/og", `<!doctype html><html><head><title>no</title><meta name="description" content="no">
		<meta property="og:title" content="A &amp; B"><meta property="og:description" content=" two
		lines "><meta property="og:image" content="pic.png"><meta property="og:image:width" content="9999">
		<meta property="og:site_name" content="Site"><meta property="og:title" content="second">
		<meta property="og:<script>" content="x"></head><body><meta property="og:type" content="late"></body>`)
	w.pages["/pic.png"] = func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Referer") != "" || r.Header.Get("Cookie") != "" {
			t.Errorf("headers %v", r.Header)
		}
		io.WriteString(rw, "image data")
	}
	same(t, w.preview("/og"), `{"matrix:image:size":10,"og:description":"two lines","og:image":"mxc://test/abc","og:image:height":3,"og:image:type":"image/png","og:image:width":4,"og:site_name":"Site","og:title":"A \u0026 B"}`)

	w.html("/plain", `<title>Just <b>a title</title><meta name=description content="what it is">`)
	same(t, w.preview("/plain"), `{"og:description":"what it is","og:title":"Just \u003cb\u003ea title"}`)
	w.html("/twitter", `<meta name="twitter:title" content="T"><meta name="twitter:image" content="//`+strings.TrimPrefix(w.url, "http://")+`/pic.png">`)
	if got := w.preview("/twitter"); got["og:image"] != "mxc://test/abc" || got["og:title"] != "T" {
		t.Errorf("%v", got)
	}
	w.html("/noimage", `<meta property="og:title" content="x"><meta property="og:image" content="/gone">`)
	same(t, w.preview("/noimage"), `{"og:title":"x"}`)
	w.html("/badimage", `<meta property="og:title" content="x"><meta property="og:image" content="/og">`)
	same(t, w.preview("/badimage"), `{"og:title":"x"}`)
	for _, ref := range []string{"file:///etc/passwd", "data:image/png;base64,xx", "http://u:p@127.0.0.1/", "http://127.0.0.1:25/", "http://10.0.0.1/x", ":", "javascript:alert(1)"} {
		w.html("/evil", `<meta property="og:title" content="x"><meta property="og:image" content="`+ref+`">`)
		w.cache.Delete(w.url + "/evil")
		same(t, w.preview("/evil"), `{"og:title":"x"}`)
	}
	w.pages["/latin"] = func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/html; charset=iso-8859-1")
		io.WriteString(rw, "<title>caf\xe9</title>")
	}
	same(t, w.preview("/latin"), `{"og:title":"café"}`)
	w.pages["/jis"] = func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/html")
		io.WriteString(rw, "<meta charset=shift_jis><title>\x93\xfa\x96{</title>")
	}
	same(t, w.preview("/jis"), `{"og:title":"日本"}`)
	w.pages["/image"] = func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "image/png")
		io.WriteString(rw, "image itself")
	}
	if got := w.preview("/image"); got["og:image"] != "mxc://test/abc" || got["matrix:image:size"] != 12.0 {
		t.Errorf("%v", got)
	}
	w.pages["/text"] = func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/plain")
		io.WriteString(rw, "<title>x</title>")
	}
	same(t, w.preview("/text"), `{}`)
	w.html("/empty", "")
	same(t, w.preview("/empty"), `{}`)
}

func TestBounds(t *testing.T) {
	w := newWeb(t, "127.0.0.0/8")
	w.html("/long", "<title>"+strings.Repeat("é", 2000)+"</title>"+`<meta property="og:site_name" content="`+strings.Repeat("x", 5000)+`">`)
	got := w.preview("/long")
	if len(got["og:site_name"].(string)) != maxValue || len(got["og:title"].(string)) != maxValue {
		t.Errorf("%d, %d bytes", len(got["og:site_name"].(string)), len(got["og:title"].(string)))
	}
	var many strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&many, `<meta property="og:p%d" content="x">`, i)
	}
	w.html("/many", many.String())
	if got := w.preview("/many"); len(got) != maxProperties {
		t.Errorf("%d properties", len(got))
	}
	// A title beyond the first MiB, and a tag that never ends.
	w.html("/late", strings.Repeat(" ", maxPage)+"<title>late</title>")
	same(t, w.preview("/late"), `{}`)
	w.html("/tag", "<title>t</title><meta "+strings.Repeat("x", 200<<10)+">")
	same(t, w.preview("/tag"), `{"og:title":"t"}`)
	// Zeros that compress well, and a body without an end.
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write([]byte("<title>zip</title>"))
	for range 64 {
		z.Write(make([]byte, 1<<20))
	}
	z.Close()
	w.pages["/zip"] = func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/html")
		rw.Header().Set("Content-Encoding", "gzip")
		rw.Write(zipped.Bytes())
	}
	same(t, w.preview("/zip"), `{"og:title":"zip"}`)
	w.pages["/endless"] = func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/html")
		for r.Context().Err() == nil {
			if _, err := rw.Write([]byte(strings.Repeat("<p>x</p>", 1000))); err != nil {
				return
			}
		}
	}
	same(t, w.preview("/endless"), `{}`)
	w.pages["/huge.png"] = func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "image/png")
		io.WriteString(rw, "image")
		rw.Write(make([]byte, maxImage))
	}
	same(t, w.preview("/huge.png"), `{}`)
}

func TestAddressesAreChecked(t *testing.T) {
	w := newWeb(t) // allows nothing of the inside
	w.html("/", "<title>secret</title>")
	port := w.url[strings.LastIndexByte(w.url, ':'):]
	for _, host := range []string{
		"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]", "[::1]", "127.1", "0x7f.1", "2130706433", "017700000001",
		"[64:ff9b::7f00:1]", "[2002:7f00:1::]", "169.254.169.254", "[::ffff:10.0.0.1]", "[fe80::1%25lo]",
	} {
		w.refuse("http://"+host+port+"/", 502, "M_UNKNOWN")
	}
	if n := w.hits.Load(); n != 0 {
		t.Errorf("%d requests arrived", n)
	}
	// The log gets to know why, and not which page.
	for _, page := range []string{"http://localhost" + port + "/canary", "http://canary.invalid/", "https://127.0.0.1" + port + "/canary"} {
		if _, err := w.Get(t.Context(), page); err == nil || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), port) {
			t.Errorf("%v", err)
		}
	}
	if _, err := w.Get(t.Context(), "http://127.0.0.1"+port+"/why"); !errors.Is(err, safedial.ErrDenied) {
		t.Errorf("%v", err)
	}
}

func TestRedirects(t *testing.T) {
	// 127.0.0.1 may be asked, 127.0.0.2 not.
	w := newWeb(t, "127.0.0.1")
	w.html("/end", "<title>end</title><meta property=og:image content=pic>")
	hop := func(from, to string) {
		w.pages[from] = func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, to, http.StatusFound) }
	}
	hop("/1", "/end")
	hop("/2", "/1")
	hop("/3", "/2")
	hop("/4", "/3")
	hop("/loop", "/loop")
	hop("/inside", strings.Replace(w.url, "127.0.0.1", "127.0.0.2", 1)+"/end")
	hop("/file", "file:///etc/passwd")
	hop("/port", "http://127.0.0.1:22/")
	hop("/password", strings.Replace(w.url, "http://", "http://u:p@", 1)+"/end")
	if got := w.preview("/3"); got["og:title"] != "end" {
		t.Errorf("%v", got)
	}
	for _, path := range []string{"/4", "/loop", "/inside", "/file", "/port", "/password", "/missing"} {
		w.refuse(w.url+path, 502, "M_UNKNOWN")
	}
	// The error does not tell what there is inside.
	_, inside := w.Get(t.Context(), w.url+"/inside")
	_, missing := w.Get(t.Context(), w.url+"/missing")
	if string(merr.From(inside).Body()) != string(merr.From(missing).Body()) {
		t.Errorf("%v, %v", inside, missing)
	}
}

func TestBadURLs(t *testing.T) {
	w := newWeb(t)
	for _, url := range []string{
		"", "x", "/", "//example.org/", "ftp://example.org/", "file:///etc/passwd", "gopher://example.org/", "http:", "http://", "http:///x",
		"http:example.org", "http://u:p@example.org/", "http://u@example.org/", "http://example.org:22/", "http://example.org:99999/",
		"http://example.org:0/", "http://exa mple.org/", "http://example.org/%zz", "http://[::1/", "http://example.org/" + strings.Repeat("x", maxURL), "javascript:alert(1)",
	} {
		w.refuse(url, 400, "M_INVALID_PARAM")
	}
}

func TestCache(t *testing.T) {
	w := newWeb(t, "127.0.0.0/8")
	w.html("/page", "<title>x</title>")
	gate := make(chan struct{})
	w.pages["/slow"] = func(rw http.ResponseWriter, _ *http.Request) {
		<-gate
		rw.WriteHeader(http.StatusTeapot)
	}
	for range 3 {
		w.preview("/page")
		w.preview("/page#part")
	}
	if n := w.hits.Load(); n != 1 {
		t.Errorf("%d requests", n)
	}
	w.add(goodFor)
	w.preview("/page")
	if n := w.hits.Load(); n != 2 {
		t.Errorf("%d requests after an hour", n)
	}
	// Those who ask at the same time share a request, and one who leaves gets no answer.
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() { _, err := w.Get(ctx, w.url+"/slow"); left <- err }()
	for w.hits.Load() < 3 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() { w.refuse(w.url+"/slow", 502, "M_UNKNOWN") })
	}
	time.Sleep(20 * time.Millisecond)
	close(gate)
	wg.Wait()
	w.refuse(w.url+"/slow", 502, "M_UNKNOWN")
	if n := w.hits.Load(); n != 3 {
		t.Errorf("%d requests for a page that fails", n)
	}
	w.add(badFor)
	w.refuse(w.url+"/slow", 502, "M_UNKNOWN")
	if n := w.hits.Load(); n != 4 {
		t.Errorf("%d requests after a minute", n)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`<meta property="og:title" content="x"><title>y</title>`), "text/html")
	f.Add([]byte("<meta charset=shift_jis><title>\x93\xfa"), "text/html; charset=x")
	f.Fuzz(func(t *testing.T, body []byte, contentType string) {
		p := parse(bytes.NewReader(body), contentType)
		if len(p.properties) > maxProperties+3 {
			t.Fatalf("%d properties", len(p.properties))
		}
		for k, v := range p.properties {
			if !strings.HasPrefix(k, "og:") || !plain(k) || len(v) > maxValue || v != tidy(v) {
				t.Fatalf("%q: %q", k, v)
			}
		}
	})
}

// The dialer is what protects; without it these tests would prove nothing.
func TestWithoutDenyListThePageIsThere(t *testing.T) {
	w := newWeb(t)
	open, err := safedial.New([]netip.Prefix{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.client = newClient(open)
	w.html("/", "<title>there</title>")
	same(t, w.preview("/"), `{"og:title":"there"}`)
}

package matrixhttp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"

	"hearth/internal/merr"
)

const base = "/_matrix/client/(r0|v3)"

// echo answers with the parameters of the path.
func echo(r *Request) (any, error) {
	params := map[string]string{}
	for _, name := range r.route.params {
		params[name] = r.Param(name)
	}
	return params, nil
}

type sample struct {
	Name string `json:"name"`
	List []struct {
		N int `json:"n"`
	} `json:"list"`
	Inner *struct {
		On bool `json:"on"`
	} `json:"inner"`
}

func sampleRoutes() []Route {
	decode := func(r *Request) (any, error) { return Decode[sample](r) }
	return []Route{
		{Method: "GET", Path: base + "/sync", Handle: echo},
		{Method: "PUT", Path: base + "/rooms/{roomId}/send/{type}/{txn}", Handle: echo},
		{Method: "GET", Path: base + "/rooms/{roomId}/state", Handle: echo},
		{Method: "GET", Path: base + "/rooms/{roomId}/state/{type}", Handle: echo},
		{Method: "GET", Path: base + "/rooms/{roomId}/state/{type}/", Handle: echo},
		{Method: "GET", Path: base + "/rooms/{roomId}/state/{type}/{key}", Handle: echo},
		{Method: "GET", Path: base + "/directory/room/{alias}", Handle: echo},
		{Method: "POST", Path: base + "/decode", Body: Body{Max: 1 << 10}, Handle: decode},
		{Method: "POST", Path: base + "/maybe", Body: Body{Max: 1 << 10, MayBeEmpty: true}, Handle: decode},
		{Method: "POST", Path: base + "/deep", Body: Body{Max: 64 << 10}, Handle: decode},
		{Method: "GET", Path: "/_synapse/admin/v1/thing", Handle: echo},
		{Method: "GET", Path: base + "/panic", Handle: func(*Request) (any, error) { panic("boom") }},
		{Method: "GET", Path: base + "/internal", Handle: func(*Request) (any, error) { return nil, errors.New("the disk burns") }},
		{Method: "GET", Path: base + "/slow", Handle: func(*Request) (any, error) { return nil, merr.LimitExceeded(1500 * time.Millisecond) }},
		{Method: "GET", Path: base + "/stream/ok", Handle: func(*Request) (any, error) {
			return Stream(func(w io.Writer) error { _, err := io.WriteString(w, `{"a":1}`); return err }), nil
		}},
		{Method: "GET", Path: base + "/stream/early", Handle: func(*Request) (any, error) {
			return Stream(func(io.Writer) error { return merr.Forbidden("no") }), nil
		}},
		{Method: "GET", Path: base + "/stream/late", Handle: func(*Request) (any, error) {
			return Stream(func(w io.Writer) error {
				_, _ = io.WriteString(w, strings.Repeat("x", 64<<10))
				return errors.New("broken")
			}), nil
		}},
		{Method: "GET", Path: base + "/private", Auth: func(r *Request) error {
			if r.HTTP.Header.Get("Authorization") != "Bearer canary-token" {
				return merr.MissingToken()
			}
			r.Identity.UserID = "@alice:test"
			return nil
		}, Handle: echo},
	}
}

func newMux(t testing.TB, change func(*Options)) *Mux {
	t.Helper()
	o := Options{Routes: sampleRoutes(), CORS: []string{"/_matrix/"}}
	if change != nil {
		change(&o)
	}
	m, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func do(m http.Handler, method, target, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	w := httptest.NewRecorder()
	m.ServeHTTP(w, r)
	return w
}

func errcode(w *httptest.ResponseRecorder) string {
	var e struct {
		Code string `json:"errcode"`
	}
	_ = json.Unmarshal(w.Body.Bytes(), &e)
	return e.Code
}

func TestPathsAreExactAndDecodedOnce(t *testing.T) {
	m := newMux(t, nil)
	for path, want := range map[string]string{
		"/_matrix/client/v3/sync":                                         `{}`,
		"/_matrix/client/r0/sync":                                         `{}`,
		"/_matrix/client/v3/directory/room/%23a%2Fb%3Atest":               `{"alias":"#a/b:test"}`,
		"/_matrix/client/v3/directory/room/%2523a":                        `{"alias":"%23a"}`,
		"/_matrix/client/v3/rooms/!r:test/state/m.room.name":              `{"roomId":"!r:test","type":"m.room.name"}`,
		"/_matrix/client/v3/rooms/!r:test/state/m.room.name/":             `{"roomId":"!r:test","type":"m.room.name"}`,
		"/_matrix/client/v3/rooms/!r:test/state/a/b":                      `{"key":"b","roomId":"!r:test","type":"a"}`,
		"/_matrix/client/v3/rooms/%21r:test/state/a/%F0%9F%8E%89%20x+y":   `{"key":"🎉 x+y","roomId":"!r:test","type":"a"}`,
		"/_matrix/client/v3/rooms/!..%2F..%2Fr:x/state/m.room.power%2E":   `{"roomId":"!../../r:x","type":"m.room.power."}`,
		"/_matrix/client/v3/rooms/%252e%252e/state/m.room.name?limit=%ff": `{"roomId":"%2e%2e","type":"m.room.name"}`,
	} {
		w := do(m, "GET", path, "")
		if got := w.Body.String(); w.Code != 200 || got != want {
			t.Errorf("%s: %d %s, want %s", path, w.Code, got, want)
		}
	}
}

func TestPathsThatAreNotThere(t *testing.T) {
	m := newMux(t, nil)
	for _, path := range []string{
		"/", "/_matrix", "/_matrix/client", "/_matrix/client/v3", "/_matrix/client/v3/", "/_matrix/client/v3/sync/",
		"//_matrix/client/v3/sync", "/_matrix//client/v3/sync", "/_matrix/client/v3/sync/extra", "/_matrix/client/v2/sync",
		"/_matrix/client/v3/./sync", "/_matrix/client/v3/x/../sync", "/_matrix/client/v3/%73ync", "/_matrix%2Fclient/v3/sync",
		"/_MATRIX/client/v3/sync", "/_matrix/client/v3/rooms//state", "/_matrix/client/v3/rooms/!r:t/state/m.room.name//",
		"/_matrix/client/v3/rooms/../state", "/_matrix/client/v3/rooms/%2e%2e/state", "/_matrix/client/v3/rooms/%2E/state",
		"/_matrix/client/v3/rooms/!r:t/state/a/b/c", "/_matrix/client/v3/sync%00", "/_matrix/client/v3/sync;x",
		"/" + strings.Repeat("a/", 5000),
	} {
		w := do(m, "GET", path, "")
		if w.Code != 404 || errcode(w) != "M_UNRECOGNIZED" {
			t.Errorf("%.60s: %d %s", path, w.Code, w.Body)
		}
	}
	for _, r := range sampleRoutes() {
		path := strings.NewReplacer("(r0|v3)", "v3", "{", "", "}", "").Replace(r.Path)
		for _, tail := range []string{"/extra/extra/extra", "//", "/%2e%2e", "/.."} {
			if w := do(m, r.Method, path+tail, "{}"); w.Code != 404 {
				t.Errorf("%s %s: %d", r.Method, path+tail, w.Code)
			}
		}
	}
}

func TestTextOfThePathMustBeClean(t *testing.T) {
	m := newMux(t, nil)
	for _, path := range []string{"/_matrix/client/v3/directory/room/%ff", "/_matrix/client/v3/directory/room/a%00b"} {
		if w := do(m, "GET", path, ""); w.Code != 400 || errcode(w) != "M_INVALID_PARAM" {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

func TestWrongMethod(t *testing.T) {
	m := newMux(t, nil)
	for _, method := range []string{"POST", "HEAD", "DELETE", "BREW"} {
		w := do(m, method, "/_matrix/client/v3/rooms/!r:t/state/a/b", "")
		if w.Code != 405 || w.Header().Get("Allow") != "GET" {
			t.Errorf("%s: %d %v", method, w.Code, w.Header())
		}
		if method != "HEAD" && errcode(w) != "M_UNRECOGNIZED" {
			t.Errorf("%s: %s", method, w.Body)
		}
	}
}

func TestCORS(t *testing.T) {
	m := newMux(t, nil)
	w := do(m, "OPTIONS", "/_matrix/client/v3/private", "")
	if w.Code != 204 || w.Header().Get("Access-Control-Allow-Origin") != "*" ||
		w.Header().Get("Access-Control-Allow-Methods") != "GET, POST, PUT, DELETE, OPTIONS" ||
		w.Header().Get("Access-Control-Allow-Headers") != "X-Requested-With, Content-Type, Authorization" {
		t.Errorf("preflight: %d %v", w.Code, w.Header())
	}
	for _, path := range []string{"/_matrix/client/v3/sync", "/_matrix/client/v3/nothing", "/_matrix/client/v3/panic", "/_matrix/client/v3/private"} {
		if w := do(m, "GET", path, ""); w.Header().Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: %v", path, w.Header())
		}
	}
	if w := do(m, "GET", "/_synapse/admin/v1/thing", ""); w.Code != 200 || w.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("admin: %v", w.Header())
	}
	if w := do(m, "OPTIONS", "/_synapse/admin/v1/thing", ""); w.Code != 405 || w.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("admin preflight: %d %v", w.Code, w.Header())
	}
}

func TestBodies(t *testing.T) {
	m := newMux(t, nil)
	for name, c := range map[string]struct {
		path, body string
		status     int
		code, says string
	}{
		"good":               {"decode", ` {"name":"x","list":[{"n":1}],"inner":{"on":true},"more":[1.5]} `, 200, "", `{"name":"x","list":[{"n":1}],"inner":{"on":true}}`},
		"null is absent":     {"decode", `{"name":null,"inner":null}`, 200, "", `{"name":"","list":null,"inner":null}`},
		"empty":              {"decode", ``, 400, "M_NOT_JSON", ""},
		"empty allowed":      {"maybe", ``, 200, "", `{"name":"","list":null,"inner":null}`},
		"broken":             {"decode", `{"name":`, 400, "M_NOT_JSON", ""},
		"two values":         {"decode", `{}{}`, 400, "M_NOT_JSON", ""},
		"array":              {"decode", `[]`, 400, "M_BAD_JSON", ""},
		"string":             {"decode", `"x"`, 400, "M_BAD_JSON", ""},
		"null":               {"decode", `null`, 400, "M_BAD_JSON", ""},
		"NaN":                {"decode", `{"name":NaN}`, 400, "M_NOT_JSON", ""},
		"bad UTF-8":          {"decode", "{\"name\":\"\xff\"}", 400, "M_NOT_JSON", ""},
		"lone surrogate":     {"decode", `{"name":"\ud800"}`, 400, "M_NOT_JSON", ""},
		"key twice":          {"decode", `{"name":"a","name":"b"}`, 400, "M_BAD_JSON", ""},
		"key twice, escaped": {"decode", `{"name":"a","n\u0061me":"b"}`, 400, "M_BAD_JSON", ""},
		"another case":       {"decode", `{"NAME":"a","Inner":{"on":true},"list":[{"N":7}],"inner":{"ON":true}}`, 200, "", `{"name":"","list":[{"n":0}],"inner":{"on":false}}`},
		"folded letter":      {"decode", `{"liſt":[{"n":1}]}`, 200, "", `{"name":"","list":null,"inner":null}`},
		"wrong type":         {"decode", `{"name":5}`, 400, "M_BAD_JSON", "name must be a string"},
		"wrong deep type":    {"decode", `{"list":[{"n":"x"}]}`, 400, "M_BAD_JSON", "list.n must be an integer"},
		"fraction":           {"decode", `{"list":[{"n":1.5}]}`, 400, "M_BAD_JSON", ""},
		"too large":          {"decode", `{"name":"` + strings.Repeat("x", 1<<10) + `"}`, 413, "M_TOO_LARGE", ""},
		"brackets":           {"decode", strings.Repeat("[", 40<<20), 413, "M_TOO_LARGE", ""},
		"deep":               {"deep", strings.Repeat(`{"a":`, 9900) + "1" + strings.Repeat("}", 9900), 400, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := do(m, "POST", "/_matrix/client/v3/"+c.path, c.body)
			if w.Code != c.status || c.code != "" && errcode(w) != c.code || !strings.Contains(w.Body.String(), c.says) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("type %q", w.Header().Get("Content-Type"))
			}
		})
	}
}

// endless is a body without a length that never ends.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	e.read += len(p)
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}

func TestEndlessBodyIsCut(t *testing.T) {
	m := newMux(t, nil)
	body := &endless{}
	r := httptest.NewRequest("POST", "/_matrix/client/v3/decode", body)
	r.ContentLength = -1
	r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
	w := httptest.NewRecorder()
	m.ServeHTTP(w, r)
	if w.Code != 413 || body.read > 4<<10 {
		t.Errorf("%d after %d bytes", w.Code, body.read)
	}
	r = httptest.NewRequest("POST", "/_matrix/client/v3/decode", body)
	r.ContentLength, body.read = 1<<30, 0
	w = httptest.NewRecorder()
	m.ServeHTTP(w, r)
	if w.Code != 413 || body.read != 0 {
		t.Errorf("%d after %d bytes", w.Code, body.read)
	}
}

func TestErrors(t *testing.T) {
	var log bytes.Buffer
	m := newMux(t, func(o *Options) { o.Log = jsonLog(&log) })
	if w := do(m, "GET", "/_matrix/client/v3/panic", ""); w.Code != 500 || errcode(w) != "M_UNKNOWN" || strings.Contains(w.Body.String(), "boom") {
		t.Errorf("panic: %d %s", w.Code, w.Body)
	}
	if !strings.Contains(log.String(), "boom") || !strings.Contains(log.String(), "mux_test.go") {
		t.Errorf("the log does not show the panic: %s", &log)
	}
	log.Reset()
	if w := do(m, "GET", "/_matrix/client/v3/internal", ""); w.Code != 500 || strings.Contains(w.Body.String(), "disk") {
		t.Errorf("internal: %d %s", w.Code, w.Body)
	}
	if !strings.Contains(log.String(), "the disk burns") {
		t.Errorf("the log does not show the cause: %s", &log)
	}
	w := do(m, "GET", "/_matrix/client/v3/slow", "")
	if w.Code != 429 || w.Header().Get("Retry-After") != "2" || !strings.Contains(w.Body.String(), `"retry_after_ms":1500`) {
		t.Errorf("limit: %d %v %s", w.Code, w.Header(), w.Body)
	}
	if w := do(m, "GET", "/_matrix/client/v3/private", ""); w.Code != 401 || errcode(w) != "M_MISSING_TOKEN" {
		t.Errorf("auth: %d %s", w.Code, w.Body)
	}
}

func TestStreams(t *testing.T) {
	server := httptest.NewServer(newMux(t, nil))
	defer server.Close()
	get := func(path string) (int, string, error) {
		resp, err := http.Get(server.URL + "/_matrix/client/v3/stream/" + path)
		if err != nil {
			return 0, "", err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body), err
	}
	if status, body, err := get("ok"); status != 200 || body != `{"a":1}` || err != nil {
		t.Errorf("ok: %d %s %v", status, body, err)
	}
	if status, body, err := get("early"); status != 403 || !strings.Contains(body, "M_FORBIDDEN") || err != nil {
		t.Errorf("early: %d %s %v", status, body, err)
	}
	if _, _, err := get("late"); err == nil {
		t.Error("a stream that broke off looks complete")
	}
}

func TestTooManyAtOnce(t *testing.T) {
	enter, leave := make(chan struct{}), make(chan struct{})
	m, err := New(Options{MaxInFlight: 2, Routes: []Route{{Method: "GET", Path: "/wait", Handle: func(*Request) (any, error) {
		enter <- struct{}{}
		<-leave
		return nil, nil
	}}}})
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() { do(m, "GET", "/wait", "") })
		<-enter
	}
	if w := do(m, "GET", "/wait", ""); w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("third: %d", w.Code)
	}
	close(leave)
	group.Wait()
	group.Go(func() { <-enter })
	if w := do(m, "GET", "/wait", ""); w.Code != 200 {
		t.Errorf("after: %d", w.Code)
	}
	group.Wait()
}

func TestSlowBodyDoesNotHoldAHandler(t *testing.T) {
	// A client that sends its head and then nothing has its body cut by a deadline,
	// which must be on the connection while the body is read and gone after it.
	m := newMux(t, nil)
	server := httptest.NewServer(m)
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range 2 { // the second request shows that the connection lives on
		fmt.Fprintf(conn, "POST /_matrix/client/v3/decode HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n")
		time.Sleep(20 * time.Millisecond)
		fmt.Fprintf(conn, "{}")
		buf := make([]byte, 1024)
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		n, err := conn.Read(buf)
		if err != nil || !strings.HasPrefix(string(buf[:n]), "HTTP/1.1 200") {
			t.Fatalf("%q %v", buf[:n], err)
		}
	}
}

func jsonLog(w io.Writer) *logrus.Entry {
	l := logrus.New()
	l.SetOutput(w)
	l.SetFormatter(&logrus.JSONFormatter{})
	return logrus.NewEntry(l)
}

func TestOneLineARequestWithoutSecrets(t *testing.T) {
	var log bytes.Buffer
	reg := prometheus.NewRegistry()
	metrics, err := NewMetrics(reg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewMetrics(reg); err != nil {
		t.Fatalf("a second listener: %v", err)
	}
	m := newMux(t, func(o *Options) { o.Log, o.Metrics = jsonLog(&log), metrics })
	r := httptest.NewRequest("GET", "/_matrix/client/r0/private?access_token=canary-query", strings.NewReader("canary-body"))
	r.Header.Set("Authorization", "Bearer canary-token")
	r.RemoteAddr = "198.51.100.7:4711"
	m.ServeHTTP(httptest.NewRecorder(), r)
	do(m, "GET", "/_matrix/client/v3/directory/room/%23canary-alias:test", "")
	do(m, "GET", "/canary-path/%0Aforged", "")
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 3 {
		t.Fatalf("%d lines: %s", len(lines), &log)
	}
	var first map[string]any
	if err := json.Unmarshal([]byte(lines[0]), &first); err != nil {
		t.Fatal(err)
	}
	if first["route"] != "/_matrix/client/v3/private" || first["method"] != "GET" || first["status"] != 200.0 ||
		first["user"] != "@alice:test" || len(fmt.Sprint(first["trace"])) != 16 || first["ms"] == nil {
		t.Errorf("line: %v", first)
	}
	if s := log.String(); strings.Contains(s, "canary") || strings.Contains(s, "198.51") {
		t.Errorf("a secret is in the log: %s", s)
	}
	got := samples(t, reg)
	for key, want := range map[string]float64{
		"hearth_http_requests_total 2xx GET /_matrix/client/v3/private": 1,
		"hearth_http_requests_total 4xx other unknown":                  1,
		"hearth_http_request_seconds GET /_matrix/client/v3/private":    1,
		"hearth_http_requests_in_flight":                                0,
	} {
		if n, ok := got[key]; !ok || n != want {
			t.Errorf("%s: %v, want %v", key, n, want)
		}
	}
}

// samples returns the values of all metrics by name and values of labels.
func samples(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			key := family.GetName()
			for _, label := range m.GetLabel() {
				key += " " + label.GetValue()
			}
			values[key] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return values
}

func TestBadTables(t *testing.T) {
	for name, routes := range map[string][]Route{
		"twice":    {{Method: "GET", Path: "/a/{x}", Handle: echo}, {Method: "GET", Path: "/a/{y}", Handle: echo}},
		"no slash": {{Method: "GET", Path: "a", Handle: echo}},
		"params":   {{Method: "GET", Path: "/{a}/{b}/{c}/{d}/{e}/{f}/{g}", Handle: echo}},
	} {
		if _, err := New(Options{Routes: routes}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestQuery(t *testing.T) {
	query := func(s string) *Query {
		return (&Request{HTTP: httptest.NewRequest("GET", "/x?"+s, nil)}).Query()
	}
	q := query("n=5&big=999&on=true&via=a&via=b&dir=b")
	if q.Int("n", 1, 0, 10) != 5 || q.Int("big", 1, 0, 10) != 10 || q.Int("none", 7, 0, 10) != 7 || !q.Bool("on") ||
		len(q.All("via")) != 2 || q.Enum("dir", "f", "b", "f") != "b" || q.Enum("none", "f", "b", "f") != "f" || q.Err() != nil {
		t.Errorf("%v", q)
	}
	for _, s := range []string{"n=-1", "n=x", "n=9999999999999999999", "n=1%00", "n=%ff", "n=%zz", "n=1;x=2"} {
		q := query(s)
		q.Int("n", 1, 0, 10)
		if e := merr.From(q.Err()); e == nil || e.Code != "M_INVALID_PARAM" {
			t.Errorf("%s: %v", s, e)
		}
	}
}

func FuzzPath(f *testing.F) {
	m := newMux(f, nil)
	for _, s := range []string{"/_matrix/client/v3/sync", "/_matrix/client/v3/rooms/%2e%2e/state", "//", "/%", "/a//b/", "*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		r := httptest.NewRequest("GET", "/", nil)
		u, err := r.URL.Parse(path)
		if err != nil {
			return
		}
		r.URL = u
		w := httptest.NewRecorder()
		m.ServeHTTP(w, r)
		if w.Code >= 500 && u.Path != "/_matrix/client/v3/panic" && u.Path != "/_matrix/client/v3/internal" &&
			!strings.Contains(u.Path, "panic") && !strings.Contains(u.Path, "internal") {
			t.Errorf("%q: %d", path, w.Code)
		}
	})
}

func BenchmarkRequest(b *testing.B) {
	metrics, _ := NewMetrics(nil)
	m := newMux(b, func(o *Options) { o.Log, o.Metrics = jsonLog(io.Discard), metrics })
	r := httptest.NewRequest("PUT", "/_matrix/client/v3/rooms/!abc:test/send/m.room.message/txn1", nil)
	b.ReportAllocs()
	for b.Loop() {
		m.ServeHTTP(httptest.NewRecorder(), r)
	}
}

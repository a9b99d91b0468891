package matrixhttp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

func BenchmarkRequest(b *testing.B) {
	metrics, _ := NewMetrics(nil)
	m := newMux(b, func(o *Options) { o.Log, o.Metrics = jsonLog(io.Discard), metrics })
	r := httptest.NewRequest("PUT", "/_matrix/client/v3/rooms/!abc:test/send/m.room.message/txn1", nil)
	b.ReportAllocs()
	for b.Loop() {
		m.ServeHTTP(httptest.NewRecorder(), r)
	}
}

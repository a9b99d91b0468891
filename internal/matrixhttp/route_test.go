package matrixhttp

import (
	"net/http/httptest"
	"strings"
	"testing"
)

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

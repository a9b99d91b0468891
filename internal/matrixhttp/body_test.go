package matrixhttp

import (
	"fmt"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

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

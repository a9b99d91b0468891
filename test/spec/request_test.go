package spec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// maxAnswer bounds what is read of an answer.
const maxAnswer = 16 << 20

// request is what an operation is called with.
type request struct {
	path  map[string]string // parameters by name
	query url.Values
	body  any    // JSON
	raw   []byte // instead of body
	kind  string // Content-Type, if not JSON
	token string
}

// answer is what came.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// code returns the errcode.
func (a answer) code() string {
	var e struct {
		Code string `json:"errcode"`
	}
	_ = json.Unmarshal(a.body, &e) // what is no error has no code
	return e.Code
}

// unrecognized tells that there is no such path or method. A page is there, whatever its
// status, and so is what says M_UNRECOGNIZED in words of its own.
func (a answer) unrecognized() bool {
	return a.status == http.StatusMethodNotAllowed || a.status == http.StatusNotFound &&
		(a.code() == "" && !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") ||
			a.code() == "M_UNRECOGNIZED" && strings.Contains(string(a.body), `"Unrecognized request"`))
}

func (a answer) String() string { return fmt.Sprintf("%d %.600s", a.status, a.body) }

// json decodes the answer with exact numbers, as the validator wants them.
func (a answer) json() (any, error) {
	return jsonschema.UnmarshalJSON(bytes.NewReader(a.body))
}

// caller sends requests to a server.
type caller struct {
	base string
	http *http.Client
}

func newCaller(base string) *caller {
	return &caller{base: base, http: &http.Client{
		Timeout:       30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (c *caller) call(t testing.TB, o *operation, r request) answer {
	t.Helper()
	payload := r.raw
	if r.body != nil {
		var err error
		if payload, err = json.Marshal(r.body); err != nil {
			t.Fatal(err)
		}
	}
	target := c.base + o.fill(r.path)
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(t.Context(), o.method, target, bytes.NewReader(payload))
	if err != nil {
		t.Fatal(err)
	}
	if payload != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.kind != "" {
		req.Header.Set("Content-Type", r.kind)
	}
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		t.Fatalf("%v: %v", o, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		t.Fatalf("%v: read the answer: %v", o, err)
	}
	return answer{resp.StatusCode, resp.Header, body}
}

// is tells whether an answer is an error that is a Matrix error through and through.
func (a answer) is(status int, code string) error {
	if a.status != status || a.code() != code {
		return fmt.Errorf("answered %v, not %d %s", a, status, code)
	}
	if kind := a.header.Get("Content-Type"); !strings.HasPrefix(kind, "application/json") {
		return fmt.Errorf("an error of type %q", kind)
	}
	return nil
}

package clientapi

import (
	"net/http/httptest"
	"strings"
	"testing"
)

// TestContent: the content repository is behind the access tokens of the user store.
func TestContent(t *testing.T) {
	s := start(t, true, nil)
	token := s.user("alice")
	do := func(method, path, token, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		w := httptest.NewRecorder()
		s.ClientHandler().ServeHTTP(w, r)
		return w
	}
	w := do("POST", "/_matrix/media/r0/upload?filename=a.txt&access_token="+token, "", "hello")
	if w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	_, uri, _ := strings.Cut(w.Body.String(), "mxc://")
	uri, _, _ = strings.Cut(uri, `"`)
	if w := do("GET", "/_matrix/client/v1/media/download/"+uri, token, ""); w.Code != 200 || w.Body.String() != "hello" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for _, token := range []string{"", "hrt_wrong"} {
		for path, want := range map[string]int{
			"/_matrix/client/v1/media/download/": 401, "/_matrix/client/v1/media/thumbnail/": 401, "/_matrix/media/v3/download/": 404,
		} {
			if w := do("GET", path+uri, token, ""); w.Code != want {
				t.Errorf("%s: %d", path, w.Code)
			}
		}
		if w := do("POST", "/_matrix/media/v3/upload", token, "x"); w.Code != 401 {
			t.Errorf("upload: %d", w.Code)
		}
	}
}
